"""Judges: speech-emotion recognisers that score speech; trained on recordings of training sentences only.

A judge is a module with `train(study, paths, name)` and `load(study, paths, name)`; it loads on first use,
so that importing this package stays cheap. What it may have heard: `eele.judges.rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from eele.config import StudyConfig
from eele.config.evaluation import JudgeKind
from eele.errors import ConfigError
from eele.judges import rules
from eele.paths import StudyPaths


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


#: Kind of judge -> its module.
_MODULES: dict[JudgeKind, str] = {
    "statistics": "eele.judges.statistics",
    "encoder": "eele.judges.encoder",
    "published": "eele.judges.published",
}


def train(study: StudyConfig, paths: StudyPaths, judge: str) -> None:
    """Train the judge `judge`, or fetch it, and write judges/<judge>/.

    Raises ConfigError for an unknown name, DataError where a rule of `eele.judges.rules` is broken.
    """
    function: Callable[[StudyConfig, StudyPaths, str], None] = _module(study, judge).train
    function(study, paths, judge)


def load(study: StudyConfig, paths: StudyPaths, name: str) -> Judge:
    """The trained judge `name` of a study.

    Raises DataError when it is absent, belongs to another config or may not judge this study.
    """
    function: Callable[[StudyConfig, StudyPaths, str], Judge] = _module(study, name).load
    judge = function(study, paths, name)
    rules.refuse_emotions(name, judge.classes, study)
    rules.check_stored(study, paths, name)
    return judge


def _module(study: StudyConfig, name: str) -> Any:
    kinds = study.evaluation.judge_kinds
    if name not in kinds:
        raise ConfigError(f"unknown judge '{name}'; allowed: {', '.join(kinds)}")
    return import_module(_MODULES[kinds[name]])
