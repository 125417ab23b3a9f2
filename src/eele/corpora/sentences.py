"""When two texts are the same sentence."""

from __future__ import annotations

import unicodedata


def sentence_key(text: str) -> str:
    """`text` without case, punctuation and spaces: equal keys are the same sentence."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    # Letters, digits and the marks that belong to letters; NFC so that both ways to write é agree.
    kept = (c for c in folded if unicodedata.category(c)[0] in "LNM")
    return unicodedata.normalize("NFC", "".join(kept))
