"""Layers of feed-forward Transformer text-to-speech models (FastSpeech, arXiv 1905.09263; FastSpeech 2,
arXiv 2006.04558). Every projection is a plain Linear, Conv1d or Embedding, so adapters can wrap it."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """(batch,) lengths -> (batch, size) bool, True on real positions."""
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]


def sinusoids(size: int, channels: int, device: torch.device) -> Tensor:
    """Sinusoidal positions (size, channels), as in Vaswani et al. 2017, section 3.5."""
    position = torch.arange(size, device=device, dtype=torch.float32)[:, None]
    rate = torch.exp(
        torch.arange(0, channels, 2, device=device, dtype=torch.float32)
        * (-math.log(10000.0) / channels)
    )
    table = torch.zeros(size, channels, device=device)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate)[:, : channels // 2]
    return table


class Conv(nn.Module):
    """`Conv1d` over time with 'same' zero padding, for (batch, time, channels)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x.transpose(1, 2)).transpose(1, 2)
        return out


class SelfAttention(nn.Module):
    """Multi-head self-attention with separate query, key, value and output projections."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(batch, time, channels), (batch, time) bool, or numbers added to the scores -> (batch, time, channels)."""
        batch, time, channels = x.shape
        query, key, value = (
            projection(x).view(batch, time, self.heads, -1).transpose(1, 2)
            for projection in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])
        out: Tensor = self.output(mixed.transpose(1, 2).reshape(batch, time, channels))
        return out


class FeedForwardBlock(nn.Module):
    """Self-attention and a two-convolution feed-forward, each with pre-normalisation and residual."""

    def __init__(
        self, channels: int, heads: int, filter_size: int, kernel: int, dropout: float
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(channels)
        self.attention = SelfAttention(channels, heads)
        self.feed_norm = nn.LayerNorm(channels)
        self.expand = Conv(channels, filter_size, kernel)
        self.contract = Conv(filter_size, channels, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(batch, time, channels), (batch, time) bool -> (batch, time, channels), zero where masked."""
        keep = mask[:, :, None].to(x.dtype)
        x = x + self.dropout(self.attention(self.attention_norm(x), mask))
        # Padding is zeroed before each convolution, so that a padded batch gives each item's lone result.
        hidden = self.expand(self.feed_norm(x) * keep)
        x = x + self.dropout(self.contract(F.relu(hidden)))
        return x * keep


class TransformerStack(nn.Module):
    """Positions, feed-forward Transformer blocks, final normalisation."""

    def __init__(
        self, layers: int, channels: int, heads: int, filter_size: int, kernel: int, dropout: float
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            FeedForwardBlock(channels, heads, filter_size, kernel, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(batch, time, channels), (batch, time) bool -> (batch, time, channels)."""
        keep = mask[:, :, None].to(x.dtype)
        x = (x + sinusoids(x.shape[1], x.shape[2], x.device)) * keep
        for block in self.blocks:
            x = block(x, mask)
        out: Tensor = self.norm(x) * keep
        return out


class VariancePredictor(nn.Module):
    """Two convolutions and a linear read-out: one value per phone (FastSpeech 2, section 2.3)."""

    def __init__(self, channels: int, filter_size: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.first = Conv(channels, filter_size, kernel)
        self.first_norm = nn.LayerNorm(filter_size)
        self.second = Conv(filter_size, filter_size, kernel)
        self.second_norm = nn.LayerNorm(filter_size)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(filter_size, 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(batch, phones, channels), (batch, phones) bool -> (batch, phones), zero where masked."""
        keep = mask[:, :, None].to(x.dtype)
        x = self.dropout(self.first_norm(F.relu(self.first(x * keep))))
        x = self.dropout(self.second_norm(F.relu(self.second(x * keep))))
        return self.output(x)[:, :, 0] * keep[:, :, 0]


class Postnet(nn.Module):
    """Residual convolutions over the mel. Layer normalisation instead of Tacotron's batch normalisation:
    running statistics would move in a frozen model."""

    def __init__(
        self, mel: int, channels: int, layers: int, dropout: float, kernel: int = 5
    ) -> None:
        super().__init__()
        widths = [mel, *[channels] * (layers - 1), mel]
        self.convs = nn.ModuleList(Conv(a, b, kernel) for a, b in itertools.pairwise(widths))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths[1:-1])
        self.dropout = nn.Dropout(dropout)

    def forward(self, mel: Tensor, mask: Tensor) -> Tensor:
        """(batch, frames, mel) -> the residual (batch, frames, mel)."""
        keep = mask[:, :, None].to(mel.dtype)
        x = mel * keep
        for index, conv in enumerate(self.convs):
            x = conv(x)
            if index < len(self.norms):
                x = self.dropout(torch.tanh(self.norms[index](x))) * keep
        return x * keep


def expand_phones(x: Tensor, durations: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """Length regulator: repeat each phone for its frames.

    x: (batch, phones, channels); durations: (batch, phones) int frames.
    Returns (batch, frames, channels) and the frame mask (batch, frames).
    """
    ends = torch.cumsum(durations, dim=1)
    position = torch.arange(frames, device=x.device)[None, :].expand(x.shape[0], -1)
    index = torch.searchsorted(ends, position.contiguous(), right=True)
    mask = position < ends[:, -1:]
    index = index.clamp(max=x.shape[1] - 1)
    expanded = torch.gather(x, 1, index[:, :, None].expand(-1, -1, x.shape[2]))
    return expanded * mask[:, :, None].to(x.dtype), mask
