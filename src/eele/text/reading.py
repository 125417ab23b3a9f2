"""How a word is read inside its sentence: espeak-ng's running speech, cut into the written words.

Function words sound otherwise in a sentence than alone ("the old" has ðɪ, "the new" ðə), and espeak-ng
joins some ("of the"), so what it gives for a sentence is aligned to the words before it is cut.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from eele.text import espeak
from eele.text.normalise import words

_VOWELS = frozenset("aeiouyæøœɐɑɒɔəɚɛɜɝɨɪɯɤʉʊʌʏᵻɵɘɞɶ")


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
    """Phones of `groups` dealt out to the words by the cheapest alignment with their phones alone."""
    source = [(phone, index) for index, phones in enumerate(alone) for phone in phones]
    target = [(phone, index == 0) for group in groups for index, phone in enumerate(group)]
    parts: list[list[str]] = [[] for _ in alone]
    if not source:
        return parts
    steps = _align([phone for phone, _ in source], [phone for phone, _ in target])
    word = source[0][1]
    following = [index for _, index in source]
    for i, j in steps:
        if i is not None and j is not None:
            word = source[i][1]
            parts[word].append(target[j][0])
            following = [index for _, index in source[i + 1 :]]
        elif j is not None:
            # A phone without counterpart: the start of a spoken word belongs to the next written one.
            owner = following[0] if target[j][1] and following else word
            parts[owner].append(target[j][0])
        elif i is not None:
            following = [index for _, index in source[i + 1 :]]
    return parts


def _align(source: Sequence[str], target: Sequence[str]) -> list[tuple[int | None, int | None]]:
    """Cheapest alignment of two phone strings as (source index, target index), None for a gap."""
    rows, columns = len(source) + 1, len(target) + 1
    cost = [[float(j) for j in range(columns)]]
    for i in range(1, rows):
        line = [float(i)]
        for j in range(1, columns):
            line.append(
                min(
                    cost[i - 1][j - 1] + _difference(source[i - 1], target[j - 1]),
                    cost[i - 1][j] + 1,
                    line[j - 1] + 1,
                )
            )
        cost.append(line)
    steps: list[tuple[int | None, int | None]] = []
    i, j = len(source), len(target)
    while i or j:
        if i and j:
            step = cost[i - 1][j - 1] + _difference(source[i - 1], target[j - 1])
            if abs(cost[i][j] - step) < 1e-9:
                i, j = i - 1, j - 1
                steps.append((i, j))
                continue
        if i and abs(cost[i][j] - cost[i - 1][j] - 1) < 1e-9:
            i -= 1
            steps.append((i, None))
        else:
            j -= 1
            steps.append((None, j))
    return steps[::-1]


def _difference(first: str, second: str) -> float:
    """Cost of reading one phone for another: a vowel for a vowel is cheap, for a consonant dear."""
    if first == second:
        return 0.0
    return 0.6 if (first[0] in _VOWELS) == (second[0] in _VOWELS) else 1.6


def plain_phone(symbol: str) -> str:
    """`symbol` without length, diacritics and tone: what an unknown phone is looked up by."""
    decomposed = unicodedata.normalize("NFD", symbol)
    kept = [c for c in decomposed if unicodedata.category(c) not in ("Mn", "Lm", "Nd", "No", "Sk")]
    return "".join(kept)
