"""Vocoders: from mel to waveform, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from eele.config.models import StudyConfig
from eele.paths import StudyPaths
from eele.registry import Registry

if TYPE_CHECKING:
    from eele.vocoders.base import Vocoder

#: Name (config key synthesis.vocoder) -> builder.
VOCODERS: Registry[Callable[[StudyConfig, StudyPaths | None], Vocoder]] = Registry("vocoder")


def _griffin_lim(study: StudyConfig, paths: StudyPaths | None) -> Vocoder:
    from eele.vocoders.griffin_lim import GriffinLim

    return GriffinLim(study.audio, study.synthesis.griffin_lim_iterations)


VOCODERS.register("griffin_lim", _griffin_lim)


def load(study: StudyConfig, paths: StudyPaths | None = None) -> Vocoder:
    """The study's vocoder, ready to speak. `paths` is for vocoders that have weights."""
    return VOCODERS[study.synthesis.vocoder](study, paths)
