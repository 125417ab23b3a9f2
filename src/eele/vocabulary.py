"""The words of the study: emotions, sites, schemes, methods, splits. Import-light on purpose."""

from __future__ import annotations

from typing import Literal, get_args

#: What the generated corpus can act.
DemoEmotion = Literal[
    "neutral",
    "calm",
    "happy",
    "sad",
    "angry",
    "fearful",
    "disgusted",
    "surprised",
    "bored",
]
#: The demo's, and what only corpora of spontaneous or elicited speech are labelled with.
Emotion = Literal[DemoEmotion, "excited", "frustrated", "contemptuous"]
EMOTIONS: tuple[Emotion, ...] = get_args(Emotion)

CorpusAdapter = Literal[
    "vctk",
    "esd",
    "ljspeech",
    "libritts_r",
    "ravdess",
    "cremad",
    "emodb",
    "nemo",
    "emovdb",
    "iemocap",
    "msp_improv",
    "msp_podcast",
    "folder",
    "demo",
]
CORPORA: tuple[CorpusAdapter, ...] = get_args(CorpusAdapter)

SPLITS = ("train", "validation", "test")

Gender = Literal["female", "male"]
GENDERS: tuple[Gender, ...] = get_args(Gender)

#: Sites of each backbone, in the order of the signal path.
SITES = {
    "fastspeech2": ("text_encoder", "duration", "variance", "decoder"),
    "vits2": ("text_encoder", "duration", "flow", "decoder"),
}

#: `distribution` stands for the backbone's own word: `flow` (vits2) or `variance` (fastspeech2).
_DISTRIBUTION = {"fastspeech2": "variance", "vits2": "flow"}

#: The study's eight schemes. The captions are EELE's (arXiv 2408.10852); which modules they hold is
#: our reading, and is labelled so wherever it is shown.
SCHEMES: dict[str, tuple[str, tuple[str, ...]]] = {
    "a": ("text information modelling", ("text_encoder",)),
    "b": ("distribution transformation", ("distribution",)),
    "c": ("decode", ("decoder",)),
    "d": ("acoustic information modelling", ("distribution", "decoder")),
    "e": ("duration", ("duration",)),
    "f": ("duration and text", ("duration", "text_encoder")),
    "g": ("duration and acoustic", ("duration", "distribution", "decoder")),
    "h": (
        "duration, text and acoustic",
        ("duration", "text_encoder", "distribution", "decoder"),
    ),
}

#: Baselines stand in the table of cells beside the adapted ones.
BASELINES = ("none", "recording", "copy_synthesis")

#: What stands in a path or table where an axis does not apply.
NOT_APPLICABLE = "-"


def scheme_sites(
    scheme: str, backbone: str, extra: dict[str, tuple[str, ...]] | None = None
) -> tuple[str, ...]:
    """Sites of `scheme` for `backbone`; `extra` holds schemes named by the config."""
    sites = (extra or {}).get(scheme) or SCHEMES[scheme][1]
    return tuple(_DISTRIBUTION[backbone] if s == "distribution" else s for s in sites)
