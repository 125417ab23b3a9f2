"""Vocoders: from mel to waveform, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from eele.config.models import StudyConfig
from eele.errors import ConfigError
from eele.paths import StudyPaths
from eele.registry import Registry

if TYPE_CHECKING:
    from eele.vocoders.base import Vocoder

#: Name (config key synthesis.vocoder) -> builder.
VOCODERS: Registry[Callable[[StudyConfig, StudyPaths | None], Vocoder]] = Registry("vocoder")


def _griffin_lim(study: StudyConfig, paths: StudyPaths | None) -> Vocoder:
    from eele.vocoders.griffin_lim import GriffinLim

    return GriffinLim(study.audio, study.synthesis.griffin_lim_iterations)


def _hifigan(study: StudyConfig, paths: StudyPaths | None) -> Vocoder:
    from eele.vocoders.hifigan import HifiGan

    if paths is None:
        raise ConfigError("the vocoder hifigan is trained in a study: its folder must be given")
    return HifiGan.open(paths.vocoder, study.audio)


VOCODERS.register("griffin_lim", _griffin_lim)
VOCODERS.register("hifigan", _hifigan)


def load(study: StudyConfig, paths: StudyPaths | None = None) -> Vocoder:
    """The study's vocoder, ready to speak. `paths` is for vocoders that have weights."""
    return VOCODERS[study.synthesis.vocoder](study, paths)


def train_vocoder(study: StudyConfig, paths: StudyPaths) -> None:
    """See `eele.vocoders.training.train_vocoder`."""
    from eele.vocoders.training import train_vocoder as stage

    stage(study, paths)
