"""What a backbone is to the rest of the project."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Batch(NamedTuple):
    """Padded training batch. Pitch, energy and mel are normalised (see `eele.training.data`)."""

    phones: Tensor  # (batch, phones) int64, 0 = padding
    phone_lengths: Tensor  # (batch,) int64
    speakers: Tensor  # (batch,) int64
    durations: Tensor  # (batch, phones) int64 frames
    pitch: Tensor  # (batch, phones) standard deviations of the speaker's neutral ln F0
    energy: Tensor  # (batch, phones) standard deviations of the speaker's neutral dB
    mel: Tensor  # (batch, frames, mel)
    mel_lengths: Tensor  # (batch,) int64
    #: For models that make waveforms: the recording's samples of a few frames of each utterance. Frame
    #: t is the hop_size samples around sample t * hop_size, on which the frame's spectrum is centred.
    segment_starts: Tensor | None = None  # (batch,) int64 frames
    samples: Tensor | None = None  # (batch, segment frames * hop_size)
    #: The utterances' ids, and how often the set has been gone through.
    items: tuple[str, ...] = ()
    epoch: int = 0

    def to(self, device: torch.device) -> Batch:
        """The batch on `device`, copied without blocking where memory is pinned."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """The batch in page-locked memory, from which a GPU copies while it computes."""
        return self._mapped(Tensor.pin_memory)

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> Batch:
        tensors = {k: change(v) for k, v in self._asdict().items() if isinstance(v, Tensor)}
        return self._replace(**tensors)  # type: ignore[arg-type]

    def one(self, row: int) -> Batch:
        """Utterance `row` alone, without its padding."""
        phones, frames = int(self.phone_lengths[row]), int(self.mel_lengths[row])
        here = slice(row, row + 1)
        return Batch(
            self.phones[here, :phones],
            self.phone_lengths[here],
            self.speakers[here],
            self.durations[here, :phones],
            self.pitch[here, :phones],
            self.energy[here, :phones],
            self.mel[here, :frames],
            self.mel_lengths[here],
            None if self.segment_starts is None else self.segment_starts[here],
            None if self.samples is None else self.samples[here],
            self.items[here],
            self.epoch,
        )


#: What a critic compares: name -> tensors, real ones before those the model made.
Judged = dict[str, tuple[Tensor, ...]]


class Outcome(NamedTuple):
    """Of one training batch: loss terms by name (scalars), and what a critic has to judge."""

    losses: dict[str, Tensor]
    judged: Judged


class Spoken(NamedTuple):
    """Output of synthesis: a mel, still normalised, or samples where the model makes them itself."""

    lengths: Tensor  # (batch,) frames
    durations: Tensor  # (batch, phones) int64 frames
    mel: Tensor | None = None  # (batch, frames, mel)
    samples: Tensor | None = None  # (batch, (frames - 1) * hop_size), sample 0 under frame 0


class Critic(nn.Module, ABC):
    """The model's opponent in adversarial training: it learns to tell what is judged from the real."""

    @abstractmethod
    def forward(self, judged: Judged) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Loss terms of the critic, and those it gives to the model.

        One evaluation serves both sides: they are updated from the same weights.
        """

    def compiled_parts(self) -> list[nn.Module]:
        """Modules worth compiling."""
        return []

    def normalise_weights(self) -> None:
        """Learn direction and length of the weights apart, as the model does."""
        from eele.backbones.weight_norm import normalise

        normalise(self)


class Trainable(nn.Module, ABC):
    """What the training loop trains: a backbone, or a vocoder."""

    #: Weight of each loss term in the sum that is minimised and that early stopping watches.
    loss_weights: dict[str, float]
    #: Frames of each recording whose samples a training batch holds; 0 = no samples.
    segment_frames: int = 0

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of loss terms (a scalar)."""
        weighted = [self.loss_weights[name] * value for name, value in losses.items()]
        return torch.stack(weighted).sum()

    @abstractmethod
    def forward(
        self, batch: Batch, terms: Collection[str] | None = None, step: int | None = None
    ) -> Outcome:
        """Losses of a batch; with `terms`, only those and what they need.

        `step` counts the steps of a pre-training; it is None in validation and in cells.
        """

    def normalise_weights(self) -> None:
        """Learn direction and length of convolution weights apart, where the model is trained so."""

    def compiled_parts(self) -> list[nn.Module]:
        """Modules worth compiling: heavy, and called with tensors of few shapes."""
        return []

    def fold_weights(self) -> None:
        """Undo `normalise_weights`; the weights are plain tensors again and the model is the same."""


class Backbone(Trainable):
    """A text-to-speech model with named sites. Emotion is never one of its inputs."""

    name: str
    #: A row (d,) per voice: all that the model knows of one voice alone.
    speaker_embedding: nn.Embedding
    #: Loss terms that each site can lower; the others need not be computed while only it trains.
    site_losses: dict[str, tuple[str, ...]]

    def critic(self, terms: Collection[str] | None = None) -> Critic | None:
        """A fresh critic for these loss terms (all when None); None where they need none."""
        return None

    def adapt(self, sites: tuple[str, ...], cache_mb: int) -> None:
        """Be told that nothing outside `sites` will move, before a cell is trained.

        Backbones may compute what lies before the sites once per utterance and keep up to
        `cache_mb` of it.
        """

    @abstractmethod
    def synthesise(self, phones: Tensor, phone_lengths: Tensor, speakers: Tensor) -> Spoken:
        """Speak (batch, phones) phone ids in the voices (batch,)."""

    def resynthesise(self, mel: Tensor, mel_lengths: Tensor, speakers: Tensor) -> Tensor | None:
        """Samples (batch, (frames - 1) * hop_size) of normalised mels (batch, frames, mel) through the
        model's own analysis and decoder; None where it has none and a vocoder does it."""
        return None
