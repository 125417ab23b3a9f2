"""UAR that PEFT-SER (Feng and Narayanan, ACII 2023, arXiv 2306.05350) shows on IEMOCAP, four classes, five folds by
session. The paper prints no numbers: these are read off its figure, to about half a point."""

from __future__ import annotations

from eele.config.models import StudyConfig
from eele.ser.cells import recognition_of

SOURCE = "read off the figure of arXiv 2306.05350"

#: Last part of a model's name -> column of `IEMOCAP`.
ENCODERS = {
    "whisper-tiny": "Whisper tiny",
    "whisper-base": "Whisper base",
    "whisper-small": "Whisper small",
    "wav2vec2-base": "wav2vec 2.0 base",
    "wavlm-base-plus": "WavLM Base+",
}

#: Method -> UAR by encoder, in the order of `ENCODERS`. LoRA stands at the feed-forward.
IEMOCAP = {
    "bottleneck": (0.597, 0.613, 0.647, 0.661, 0.692),
    "parallel_bottleneck": (0.587, 0.592, 0.613, 0.618, 0.688),
    "prompt": (0.561, 0.599, 0.578, 0.652, 0.694),
    "lora": (0.641, 0.674, 0.651, 0.652, 0.709),
    "head": (0.666, 0.671, 0.668, 0.650, 0.674),
}


def is_iemocap(study: StudyConfig, testbed: str) -> bool:
    """Whether a testbed is the published one: IEMOCAP alone, four classes, a session at a time."""
    config = recognition_of(study).testbeds[testbed]
    adapters = {c.adapter for c in study.corpora if not config.corpora or c.id in config.corpora}
    kind = (config.target, config.labels, config.folds)
    return adapters == {"iemocap"} and kind == ("emotion", "four", "session")


def known_as(study: StudyConfig, encoder: str) -> str:
    """Last part of the model's name, of the hub or of a folder; empty for an encoder of the study's own."""
    model = study.encoders[encoder].model
    return model.rstrip("/").rsplit("/", 1)[-1] if model else ""


def published(study: StudyConfig, encoder: str, method: str, sites: str) -> float | None:
    """The published UAR of an encoder of the study with a method; None where the paper shows none."""
    name = known_as(study, encoder)
    if name not in ENCODERS or method not in IEMOCAP:
        return None
    if method == "lora" and sites != "feed_forward":
        return None
    return IEMOCAP[method][list(ENCODERS).index(name)]
