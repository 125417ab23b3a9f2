"""Judges: speech-emotion recognisers that score speech; trained on recordings of training sentences only.

A judge is a module with `train(study, paths)` and `load(study, paths)`; it loads on first use, so that
importing this package stays cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

import numpy as np

from eele.config import StudyConfig
from eele.paths import StudyPaths
from eele.registry import Registry


class Judge(Protocol):
    """A trained judge."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Emotions it chooses from: neutral and the study's emotions, in the order of the columns."""
        ...

    def probabilities(
        self,
        samples: Sequence[np.ndarray],
        sample_rate_hz: int,
        phone_counts: Sequence[int],
        speakers: Sequence[str],
    ) -> np.ndarray:
        """Emotion probabilities of utterances: (n, classes) float64, rows sum to one.

        samples: mono float32 signals (samples,) at `sample_rate_hz`; phone_counts: phones each speaks,
        silence apart; speakers: who is heard. Raises DataError for a signal that cannot be
        analysed (naming its position) and for a speaker the judge does not know.
        """
        ...


@dataclass(frozen=True)
class JudgeSpec:
    """Name of a judge, the module behind it, and what it is in one line."""

    name: str
    module: str
    description: str


JUDGES: Registry[JudgeSpec] = Registry("judge")
JUDGES.register(
    "statistics",
    JudgeSpec(
        "statistics",
        "eele.judges.statistics",
        "prosodic and spectral statistics, speaker-adapted linear discriminant",
    ),
)


def train(study: StudyConfig, paths: StudyPaths, judge: str) -> None:
    """Train the judge `judge` and write judges/<judge>/. Raises ConfigError for an unknown name."""
    function: Callable[[StudyConfig, StudyPaths], None] = import_module(JUDGES[judge].module).train
    function(study, paths)


def load(study: StudyConfig, paths: StudyPaths, name: str) -> Judge:
    """The trained judge `name` of a study. Raises DataError when it is absent or belongs to another config."""
    function: Callable[[StudyConfig, StudyPaths], Judge] = import_module(JUDGES[name].module).load
    return function(study, paths)
