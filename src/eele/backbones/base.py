"""What a backbone is to the rest of the project."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Batch:
    """Padded training batch. Pitch, energy and mel are normalised (see `eele.training.data`)."""

    phones: Tensor  # (batch, phones) int64, 0 = padding
    phone_lengths: Tensor  # (batch,) int64
    speakers: Tensor  # (batch,) int64
    durations: Tensor  # (batch, phones) int64 frames
    pitch: Tensor  # (batch, phones) standard deviations of the speaker's neutral ln F0
    energy: Tensor  # (batch, phones) standard deviations of the speaker's neutral dB
    mel: Tensor  # (batch, frames, mel)
    mel_lengths: Tensor  # (batch,) int64

    def to(self, device: torch.device) -> Batch:
        """The batch on `device`, copied without blocking where memory is pinned."""
        return Batch(*(getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)))


@dataclass(frozen=True)
class Spoken:
    """Output of synthesis, still normalised."""

    mel: Tensor  # (batch, frames, mel)
    mel_lengths: Tensor  # (batch,)
    durations: Tensor  # (batch, phones) int64 frames


class Backbone(nn.Module, ABC):
    """A text-to-speech model with named sites. Emotion is never one of its inputs."""

    name: str
    #: Loss terms that each site can lower; the others need not be computed while only it trains.
    site_losses: dict[str, tuple[str, ...]]
    #: Weight of each loss term in the sum that is minimised and that early stopping watches.
    loss_weights: dict[str, float]

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of loss terms (a scalar)."""
        weighted = [self.loss_weights[name] * value for name, value in losses.items()]
        return torch.stack(weighted).sum()

    @abstractmethod
    def losses(self, batch: Batch, terms: Collection[str] | None = None) -> dict[str, Tensor]:
        """Training losses by name (scalars); with `terms`, only those."""

    @abstractmethod
    def synthesise(self, phones: Tensor, phone_lengths: Tensor, speakers: Tensor) -> Spoken:
        """Speak (batch, phones) phone ids in the voices (batch,)."""
