"""Text-to-speech backbones behind one interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eele.config.models import AudioConfig, BackboneConfig

if TYPE_CHECKING:
    from eele.backbones.base import Backbone


def build(config: BackboneConfig, phones: int, speakers: int, audio: AudioConfig) -> Backbone:
    """A backbone with fresh weights for `phones` phone ids, `speakers` voices and the study's audio."""
    # torch is imported here, not with the package: listing backbones must stay instant.
    if config.name == "vits2":
        from eele.backbones.vits2.model import Vits2

        return Vits2(config.vits2, phones, speakers, audio)
    from eele.backbones.fastspeech2 import FastSpeech2

    return FastSpeech2(config.fastspeech2, phones, speakers, audio.mel_channels)
