"""FastSpeech 2 (Ren et al., arXiv 2006.04558) with phone-level pitch and energy.

Pitch and energy enter through convolutions over their normalised values (as in FastPitch, arXiv
2006.06873), not through quantised bins: a value outside the neutral range still means something, which is
what an emotional adapter needs.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eele.backbones.base import Backbone, Batch, Outcome, Spoken
from eele.backbones.layers import (
    Conv,
    Postnet,
    TransformerStack,
    VariancePredictor,
    expand_phones,
    length_mask,
)
from eele.config.models import FastSpeech2Config


class FastSpeech2(Backbone):
    """Phone encoder, variance adaptor (duration, pitch, energy), mel decoder, postnet."""

    name = "fastspeech2"
    site_losses = {  # noqa: RUF012 - constant of the class
        "text_encoder": ("mel", "postnet", "duration", "pitch", "energy"),
        "duration": ("duration",),
        "variance": ("mel", "postnet", "pitch", "energy"),
        "decoder": ("mel", "postnet"),
    }

    # Pitch and energy are hard to predict from few sentences: at full weight their overfitting, not the
    # mel, would decide when training stops.
    loss_weights = {"mel": 1.0, "postnet": 1.0, "duration": 1.0, "pitch": 0.2, "energy": 0.2}  # noqa: RUF012

    def __init__(self, config: FastSpeech2Config, phones: int, speakers: int, mel: int) -> None:
        super().__init__()
        c = config
        size = c.hidden_size
        self.phone_embedding = nn.Embedding(phones, size, padding_idx=0)
        self.encoder = TransformerStack(
            c.encoder_layers, size, c.heads, c.filter_size, c.kernel_size, c.dropout
        )
        self.speaker_embedding = nn.Embedding(speakers, size)
        predictor = (size, c.predictor_size, c.predictor_kernel, c.predictor_dropout)
        self.duration_predictor = VariancePredictor(*predictor)
        self.pitch_predictor = VariancePredictor(*predictor)
        self.energy_predictor = VariancePredictor(*predictor)
        self.pitch_embedding = Conv(1, size, c.predictor_kernel)
        self.energy_embedding = Conv(1, size, c.predictor_kernel)
        self.decoder = TransformerStack(
            c.decoder_layers, size, c.heads, c.filter_size, c.kernel_size, c.dropout
        )
        self.mel_projection = nn.Linear(size, mel)
        self.postnet = Postnet(mel, c.postnet_size, c.postnet_layers, c.dropout)

    def _encode(self, phones: Tensor, lengths: Tensor, speakers: Tensor) -> tuple[Tensor, Tensor]:
        mask = length_mask(lengths, phones.shape[1])
        hidden = self.encoder(self.phone_embedding(phones), mask)
        hidden = (hidden + self.speaker_embedding(speakers)[:, None, :]) * mask[:, :, None]
        return hidden, mask

    def _decode(
        self, hidden: Tensor, pitch: Tensor, energy: Tensor, durations: Tensor, frames: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        hidden = hidden + self.pitch_embedding(pitch[:, :, None])
        hidden = hidden + self.energy_embedding(energy[:, :, None])
        expanded, mask = expand_phones(hidden, durations, frames)
        mel = self.mel_projection(self.decoder(expanded, mask)) * mask[:, :, None]
        return mel, mel + self.postnet(mel, mask), mask

    def forward(
        self, batch: Batch, terms: Collection[str] | None = None, step: int | None = None
    ) -> Outcome:
        """Mean squared errors of duration (ln frames), pitch and energy per phone; mean absolute errors of
        the mel before (`mel`) and after the postnet (`postnet`)."""
        wanted = set(terms) if terms is not None else set(self.site_losses["text_encoder"])
        hidden, mask = self._encode(batch.phones, batch.phone_lengths, batch.speakers)
        losses: dict[str, Tensor] = {}
        if "duration" in wanted:
            target = torch.log1p(batch.durations.to(hidden.dtype))
            losses["duration"] = _masked_mse(self.duration_predictor(hidden, mask), target, mask)
        if "pitch" in wanted:
            losses["pitch"] = _masked_mse(self.pitch_predictor(hidden, mask), batch.pitch, mask)
        if "energy" in wanted:
            losses["energy"] = _masked_mse(self.energy_predictor(hidden, mask), batch.energy, mask)
        if wanted & {"mel", "postnet"}:
            mel, refined, frame_mask = self._decode(
                hidden, batch.pitch, batch.energy, batch.durations, batch.mel.shape[1]
            )
            weight = frame_mask[:, :, None].to(mel.dtype)
            count = weight.sum() * mel.shape[2]
            for name, output in (("mel", mel), ("postnet", refined)):
                losses[name] = (
                    F.l1_loss(output, batch.mel, reduction="none") * weight
                ).sum() / count
        return Outcome({name: losses[name] for name in losses if name in wanted}, {})

    def synthesise(self, phones: Tensor, phone_lengths: Tensor, speakers: Tensor) -> Spoken:
        """Speak with predicted durations (at least one frame per phone), pitch and energy."""
        hidden, mask = self._encode(phones, phone_lengths, speakers)
        durations = torch.expm1(self.duration_predictor(hidden, mask)).round().clamp(min=1)
        durations = (durations * mask).to(torch.int64)
        lengths = durations.sum(dim=1)
        _, mel, _ = self._decode(
            hidden,
            self.pitch_predictor(hidden, mask),
            self.energy_predictor(hidden, mask),
            durations,
            int(lengths.max()),
        )
        return Spoken(lengths, durations, mel=mel)


def _masked_mse(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    weight = mask.to(prediction.dtype)
    return ((prediction - target).square() * weight).sum() / weight.sum()
