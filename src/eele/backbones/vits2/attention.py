"""Transformer blocks with learned relative positions (Shaw et al., arXiv 1803.02155), as in VITS's text encoder.

Every projection is a plain Linear or Conv1d, so adapters can wrap it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eele.backbones.layers import Conv


class RelativeAttention(nn.Module):
    """Multi-head self-attention; keys and values carry a learned part for distances within a window.

    The relative vectors are shared by the heads (Shaw et al., section 3.2).
    """

    def __init__(self, channels: int, heads: int, window: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)
        size = channels // heads
        self.relative_keys = nn.Parameter(torch.randn(2 * window + 1, size) * size**-0.5)
        self.relative_values = nn.Parameter(torch.randn(2 * window + 1, size) * size**-0.5)
        self.dropout = nn.Dropout(dropout)
        for projection in (self.query, self.key, self.value):
            nn.init.xavier_uniform_(projection.weight)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(batch, time, channels), (batch, time) bool -> (batch, time, channels)."""
        batch, time, channels = x.shape
        query, key, value = (
            projection(x).view(batch, time, self.heads, -1).transpose(1, 2)
            for projection in (self.query, self.key, self.value)
        )
        query = query / math.sqrt(channels // self.heads)
        scores = query @ key.transpose(2, 3) + spread(query @ self.relative_keys.T, self.window)
        scores = scores.masked_fill(~mask[:, None, None, :], -1e4)
        weights = self.dropout(F.softmax(scores, dim=-1))
        mixed = weights @ value + gather(weights, self.window) @ self.relative_values
        out: Tensor = self.output(mixed.transpose(1, 2).reshape(batch, time, channels))
        return out


def spread(band: Tensor, window: int) -> Tensor:
    """(..., time, 2 window + 1) values by distance -> (..., time, time) by position, 0 beyond the window.

    Rows of width W read at width W - 1 move one place to the right from row to row: a view, no index.
    """
    time, width = band.shape[-2], 2 * window + 1
    rows = F.pad(band, (0, time)).flatten(-2)[..., : time * (time + width - 1)]
    return rows.unflatten(-1, (time, time + width - 1))[..., window : window + time]


def gather(square: Tensor, window: int) -> Tensor:
    """(..., time, time) -> (..., time, 2 window + 1): the entries within the window, 0 outside. Undoes `spread`."""
    time, width = square.shape[-1], 2 * window + 1
    rows = F.pad(square, (window, window)).flatten(-2)
    return F.pad(rows, (0, time)).unflatten(-1, (time, time + width))[..., :width]


class RelativeBlock(nn.Module):
    """Attention and a two-convolution feed-forward, each with residual and normalisation after it."""

    def __init__(
        self, channels: int, heads: int, filter_size: int, kernel: int, window: int, dropout: float
    ) -> None:
        super().__init__()
        self.attention = RelativeAttention(channels, heads, window, dropout)
        self.attention_norm = nn.LayerNorm(channels)
        self.expand = Conv(channels, filter_size, kernel)
        self.contract = Conv(filter_size, channels, kernel)
        self.feed_norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(batch, time, channels), (batch, time) bool -> (batch, time, channels), zero where masked."""
        keep = mask[:, :, None].to(x.dtype)
        x = self.attention_norm(x + self.dropout(self.attention(x, mask)))
        # Padding is zeroed before each convolution, so that a padded batch gives each item's lone result.
        hidden = self.dropout(F.relu(self.expand(x * keep))) * keep
        x = self.feed_norm(x + self.dropout(self.contract(hidden)))
        return x * keep
