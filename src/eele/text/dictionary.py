"""Pronouncing dictionaries on disk: plain, CMU and MFA formats."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from eele.errors import DataError

_ALTERNATIVE = re.compile(r"\(\d+\)$")
_RESERVED = ("_", "sil")


def read_dictionary(path: Path) -> dict[str, list[tuple[str, ...]]]:
    """Word (lower-case NFC) -> pronunciations in the order of the file.

    Accepts `word<TAB>ph on es`, CMU's `WORD(2)  P1 P2` with `;;;` comments, and MFA's dictionaries with
    one to four columns of probabilities between word and phones. Raises DataError naming file and line.
    """
    if not path.is_file():
        raise DataError(
            f"lexicon.dictionary: {path} is no file; give a pronouncing dictionary with one "
            "`word<TAB>ph on es` per line, or set lexicon.source: espeak"
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"lexicon.dictionary: {path} is not UTF-8 ({error}); convert it") from error
    entries: dict[str, list[tuple[str, ...]]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith((";;;", "##")):
            continue
        word, phones = _entry(line)
        wrong = [phone for phone in phones if phone in _RESERVED]
        if not word or not phones or wrong:
            what = f"the phone '{wrong[0]}' is reserved" if wrong else "no word or no phones"
            raise DataError(
                f"lexicon.dictionary: {path}, line {number}: {what} in '{line}'; "
                "expected `word<TAB>ph on es`"
            )
        ways = entries.setdefault(word, [])
        if phones not in ways:
            ways.append(phones)
    if not entries:
        raise DataError(f"lexicon.dictionary: {path} holds no entry")
    return entries


def _entry(line: str) -> tuple[str, tuple[str, ...]]:
    if "\t" in line:
        first, *columns = line.rstrip().split("\t")
        rest = " ".join(columns).split()
    else:
        first, *rest = line.split()
    while rest and _number(rest[0]):
        rest = rest[1:]
    word = unicodedata.normalize("NFC", _ALTERNATIVE.sub("", first.strip())).lower()
    return word.replace("’", "'"), tuple(rest)


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return any(c.isdigit() for c in text)
