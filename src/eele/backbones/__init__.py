"""Text-to-speech backbones behind one interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eele.config.models import BackboneConfig

if TYPE_CHECKING:
    from eele.backbones.base import Backbone


def build(config: BackboneConfig, phones: int, speakers: int, mel: int) -> Backbone:
    """A backbone with fresh weights for `phones` phone ids, `speakers` voices and `mel` bands."""
    # torch is imported here, not with the package: listing backbones must stay instant.
    from eele.backbones.fastspeech2 import FastSpeech2

    builders = {"fastspeech2": lambda: FastSpeech2(config.fastspeech2, phones, speakers, mel)}
    return builders[config.name]()
