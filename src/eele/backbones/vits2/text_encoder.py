"""VITS2's text encoder: relative Transformer blocks; the speaker vector enters one of them (VITS2, section 2.4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from eele.backbones.vits2.attention import RelativeBlock
from eele.config.models import Vits2Config


class TextEncoder(nn.Module):
    """Phones and speaker to hidden text, and to the prior's means and log standard deviations."""

    def __init__(self, config: Vits2Config, phones: int) -> None:
        super().__init__()
        c = config
        self.speaker_layer = c.speaker_layer - 1
        self.scale = math.sqrt(c.hidden_size)
        self.embedding = nn.Embedding(phones, c.hidden_size, padding_idx=0)
        nn.init.normal_(self.embedding.weight, 0.0, c.hidden_size**-0.5)
        self.speaker = nn.Linear(c.speaker_size, c.hidden_size)
        self.blocks = nn.ModuleList(
            RelativeBlock(
                c.hidden_size,
                c.heads,
                c.filter_size,
                c.kernel_size,
                c.attention_window,
                c.dropout,
            )
            for _ in range(c.encoder_layers)
        )
        self.projection = nn.Linear(c.hidden_size, 2 * c.hidden_size)

    def forward(self, phones: Tensor, mask: Tensor, voice: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, phones) ids, (batch, phones) bool, (batch, speaker_size) ->
        hidden, prior means, prior log standard deviations, each (batch, phones, hidden_size)."""
        keep = mask[:, :, None]
        x = self.embedding(phones) * self.scale * keep
        for index, block in enumerate(self.blocks):
            if index == self.speaker_layer:
                x = (x + self.speaker(voice)[:, None, :]) * keep
            x = block(x, mask)
        # The prior's numbers need more digits than half precision has.
        with torch.autocast(x.device.type, enabled=False):
            means, log_stds = (self.projection(x.float()) * keep).chunk(2, dim=-1)
        return x, means, log_stds
