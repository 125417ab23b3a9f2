"""What the parts of the model put out for one batch: each at most once, and from memory where it is frozen."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from eele.backbones.base import Batch
from eele.backbones.layers import length_mask
from eele.backbones.vits2 import alignment

if TYPE_CHECKING:
    from eele.backbones.vits2.constants import Values
    from eele.backbones.vits2.model import Vits2


class Parts:
    """Text, latent, its image in the prior's space, and phone durations of `batch`.

    `search_noise` perturbs the alignment search (VITS2, section 2.2); frozen parts are searched without.
    """

    def __init__(self, model: Vits2, batch: Batch, search_noise: float = 0.0) -> None:
        self.model, self.batch, self.search_noise = model, batch, search_noise
        self.voice: Tensor = model.speaker_embedding(batch.speakers)  # (batch, speaker_size)
        self.phone_mask = length_mask(batch.phone_lengths, batch.phones.shape[1])
        self.frame_mask = length_mask(batch.mel_lengths, batch.mel.shape[1])
        self._search: alignment.PendingSearch | None = None

    @cached_property
    def text(self) -> Values:
        """Hidden text, prior means, prior log standard deviations, each (batch, phones, channels)."""
        return self._once("text", ("text_encoder",), self.batch.phones.shape[1], Parts._text)

    @cached_property
    def latent(self) -> Values:
        """A sample of the posterior and the posterior's log standard deviations, (batch, frames, channels).

        The posterior encoder belongs to no site: no cell moves it.
        """
        return self._once("latent", (), self.batch.mel.shape[1], Parts._latent)

    @cached_property
    def mapped(self) -> Tensor:
        """The posterior's sample in the prior's space, (batch, frames, channels)."""
        frames = self.batch.mel.shape[1]
        return self._once("mapped", ("flow",), frames, Parts._mapped)[0]

    @cached_property
    def durations(self) -> Tensor:
        """Frames of each phone, (batch, phones) int64."""
        if self.model.config.durations == "alignment":
            return self.batch.durations
        if self._search is not None:
            return self._search.durations()
        moving = ("text_encoder", "flow")
        return self._once("durations", moving, self.batch.phones.shape[1], Parts._durations)[0]

    def start_search(self) -> None:
        """Begin the alignment search of parts that move: a GPU goes on while the CPU searches."""
        if self.model.config.durations == "search" and self.model.moves("text_encoder", "flow"):
            self._search = alignment.start_search(
                self._scores(), self.batch.phone_lengths, self.batch.mel_lengths
            )

    def _once(
        self, part: str, sites: tuple[str, ...], size: int, compute: Callable[[Parts], Values]
    ) -> Values:
        if self.model.moves(*sites):
            return compute(self)
        assert self.model.constants is not None
        return self.model.constants.get(
            part, self.batch, size, lambda one: compute(Parts(self.model, one))
        )

    def _text(self) -> Values:
        values: Values = self.model.text_encoder(self.batch.phones, self.phone_mask, self.voice)
        return values

    def _latent(self) -> Values:
        means, log_stds = self.model.posterior(self.batch.mel, self.frame_mask, self.voice)
        constants = self.model.constants
        noise = constants.noise(self.batch, means) if constants else torch.randn_like(means)
        return (means + noise * torch.exp(log_stds)) * self.frame_mask[:, :, None], log_stds

    def _mapped(self) -> Values:
        return (self.model.flow(self.latent[0], self.frame_mask, self.voice),)

    def _durations(self) -> Values:
        scores = self._scores()
        return (alignment.search(scores, self.batch.phone_lengths, self.batch.mel_lengths),)

    def _scores(self) -> Tensor:
        """Log-likelihood of each frame under each phone's prior (VITS, equation 6): (batch, phones, frames).

        A matrix product instead of a (batch, phones, frames, channels) difference. No gradient passes.
        """
        means, log_stds, mapped = (
            value.detach().float() for value in (*self.text[1:], self.mapped)
        )
        with torch.autocast(means.device.type, enabled=False):
            precision = torch.exp(-2 * log_stds)
            constant = -0.5 * math.log(2 * math.pi) - log_stds - 0.5 * means.square() * precision
            scores = torch.baddbmm(
                constant.sum(dim=2, keepdim=True),
                torch.cat((precision, means * precision), dim=2),
                torch.cat((-0.5 * mapped.square(), mapped), dim=2).transpose(1, 2),
            )
        if self.search_noise > 0:
            mask = self.phone_mask[:, :, None] & self.frame_mask[:, None, :]
            scores = alignment.with_noise(scores, mask, self.search_noise)
        return scores
