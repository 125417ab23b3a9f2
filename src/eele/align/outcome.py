"""What goes into an aligner and what comes out of it, whichever aligner it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eele.align.textgrid import TextGrid

#: Word -> pronunciations (tuples of phones).
Lexicon = Mapping[str, Sequence[tuple[str, ...]]]
#: Language -> its lexicon.
Lexicons = Mapping[str, Lexicon]

#: Why an utterance has no phone times; alignment.csv writes `<reason>: <detail>`.
NO_WORDS = "no words"
UNKNOWN_WORD = "unknown word"
NO_PATH = "no path"
NO_TEXTGRID = "no TextGrid"
WRONG_TEXT = "wrong text"
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Item:
    """One utterance to align; `words` as `eele.text.normalise.words` gives them, `duration_s` as listed."""

    utterance_id: str
    speaker: str
    language: str
    path: Path
    words: tuple[str, ...]
    duration_s: float


@dataclass(frozen=True)
class Outcome:
    """An aligned utterance (`grid`) or a failed one (`reason`, `detail`).

    `score`: how well sound and text agree, higher is better, None where it could not be computed.
    """

    item: Item
    grid: TextGrid | None = None
    score: float | None = None
    reason: str = ""
    detail: str = ""

    @property
    def aligned(self) -> bool:
        return self.grid is not None

    def failed(self, reason: str, detail: str) -> Outcome:
        """The same utterance, set aside."""
        return replace(self, grid=None, reason=reason, detail=detail)


def check_words(item: Item, lexicons: Lexicons) -> Outcome | None:
    """A failed outcome where the text holds no word or one without pronunciation, else None."""
    if not item.words:
        return Outcome(item, reason=NO_WORDS, detail="the text holds no word")
    known = lexicons.get(item.language, {})
    missing = sorted({word for word in item.words if not known.get(word)})
    if missing:
        return Outcome(
            item,
            reason=UNKNOWN_WORD,
            detail=f"not in the lexicon ({item.language}): {', '.join(missing[:5])}",
        )
    return None
