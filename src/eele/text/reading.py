"""How a word is read inside its sentence: espeak-ng's running speech, cut into the written words.

Function words sound otherwise in a sentence than alone ("the old" has ðɪ, "the new" ðə), and espeak-ng
joins some ("of the"), so what it gives for a sentence is aligned to the words before it is cut.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import zip_longest

from eele.text import espeak
from eele.text.normalise import words


def read(text: str, language: str) -> list[tuple[str, tuple[str, ...]]]:
    """(word, phones) of every word of `text` in order, each as it sounds in this sentence.

    A word that espeak-ng leaves without a phone of its own has its phones of speaking it alone, which
    may be none.
    """
    written = words(text)
    groups = espeak.phonemize(text, language)
    alone = espeak.phonemize_words(written, language)
    # Equal numbers may hide one word split and two joined: lengths tell (numbers: they may agree).
    if (
        len(groups) == len(written)
        and not any(c.isdigit() for c in text)
        and all(abs(len(a) - len(b)) < 2 for a, b in zip(alone, groups, strict=True))
    ):
        parts = groups
    else:
        parts = _cut(alone, groups)
    return [
        (word, tuple(part or single))
        for word, part, single in zip(written, parts, alone, strict=True)
    ]


def _cut(alone: Sequence[Sequence[str]], groups: Sequence[Sequence[str]]) -> list[list[str]]:
    """Phones of `groups` dealt out to the words by the shortest edit of their phones alone."""
    source = [(phone, index) for index, phones in enumerate(alone) for phone in phones]
    target = [(phone, index == 0) for group in groups for index, phone in enumerate(group)]
    parts: list[list[str]] = [[] for _ in alone]
    if not source:
        return parts
    steps = _align([phone for phone, _ in source], [phone for phone, _ in target])
    word = following = source[0][1]
    for i, j in steps:
        if i is not None:
            word = source[i][1]
            following = source[min(i + 1, len(source) - 1)][1]
        if j is not None:
            phone, starts_group = target[j]
            # Without counterpart, the start of a spoken word belongs to the next written one.
            parts[following if i is None and starts_group else word].append(phone)
    return parts


def _align(source: Sequence[str], target: Sequence[str]) -> list[tuple[int | None, int | None]]:
    """Shortest edit of `source` to `target` as (source index, target index), None for a gap."""
    from rapidfuzz.distance import Levenshtein

    steps: list[tuple[int | None, int | None]] = []
    for edit in Levenshtein.opcodes(source, target):
        sources = range(edit.src_start, edit.src_end)
        targets = range(edit.dest_start, edit.dest_end)
        steps += zip_longest(sources, targets)
    return steps


def plain_phone(symbol: str) -> str:
    """`symbol` without length, diacritics and tone: what an unknown phone is looked up by."""
    decomposed = unicodedata.normalize("NFD", symbol)
    kept = [c for c in decomposed if unicodedata.category(c) not in ("Mn", "Lm", "Nd", "No", "Sk")]
    return "".join(kept)
