"""One way of reading transcripts: words and pauses."""

from __future__ import annotations

import re
import unicodedata

#: What `tokens` gives where punctuation asks for a pause.
PAUSE = "|"

# Written variants of one sign: typographic apostrophes and hyphens to the plain ones.
_VARIANTS = str.maketrans(
    {"’": "'", "‘": "'", "ʼ": "'", "`": "'", "´": "'", "‐": "-", "‑": "-", "\u00ad": None}
)
# A number (3.5, 1,000, 12%), or letters and marks with apostrophes inside or at an edge ('tis, dogs').
_NUMBER = r"\d+(?:[.,:]\d+)*%?"
# Chinese characters are written without spaces: each is a word.
_HAN = r"[\u3400-\u4dbf\u4e00-\u9fff]"
_LETTERS = rf"(?:(?!{_HAN})[^\W\d_])(?:(?!{_HAN})[^\W\d_]|[\u0300-\u036f\u0900-\u0dff])*"
_WORD = rf"{_NUMBER}|{_HAN}|'?{_LETTERS}(?:'{_LETTERS})*'?"
# Signs at which a speaker pauses: sentence ends, commas, dashes between words, brackets, ellipses.
_PAUSES = r"[.,;:!?…。，、！？；：¿¡()\[\]«»—–]|\s-+\s|--+"
_TOKEN = re.compile(rf"(?P<word>{_WORD})|(?P<pause>{_PAUSES})")


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).translate(_VARIANTS).lower()


def tokens(text: str) -> list[str]:
    """Words of `text` with `PAUSE` where punctuation parts them (never first, last or twice in a row)."""
    found: list[str] = []
    for match in _TOKEN.finditer(_plain(text)):
        if match["word"]:
            found.append(_trim(match["word"]))
        elif found and found[-1] != PAUSE:
            found.append(PAUSE)
    if found and found[-1] == PAUSE:
        found.pop()
    return found


def _trim(word: str) -> str:
    # A quotation mark around a whole word is no apostrophe; 'tis and dogs' keep theirs.
    if len(word) > 2 and word[0] == word[-1] == "'":
        return word[1:-1]
    return word


def words(text: str) -> list[str]:
    """Words as the lexicon holds them: NFC, lower case, without punctuation.

    Apostrophes inside a word stay (`don't`), hyphenated compounds become their parts (`ice-cream` ->
    `ice`, `cream`), numbers stay as written and are read by the phonemiser.
    """
    return [token for token in tokens(text) if token != PAUSE]
