"""Transformer blocks with learned relative positions (Shaw et al., arXiv 1803.02155), as in VITS's text encoder.

Every projection is a plain Linear or Conv1d, so adapters can wrap it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eele.backbones.layers import Conv

#: Added to the score of what must not be attended to; half precision still holds it.
_HIDDEN = -1e4


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
        """(batch, time, channels), (batch, time) bool, or numbers added to the scores -> (batch, time, channels).

        Keys reach `window` places beyond both ends, where the mask hides them: each query's neighbours
        then lie at the same offsets from the diagonal, and the relative parts are a strided view of the
        (time, time + 2 window) weights. The mask is one more channel of the product.
        """
        batch, time, channels = x.shape
        query, key, value = (
            projection(x).view(batch, time, self.heads, -1).transpose(1, 2)
            for projection in (self.query, self.key, self.value)
        )
        query = query / math.sqrt(channels // self.heads)
        beyond = (0, 0, self.window, self.window)
        added = mask if mask.is_floating_point() else torch.where(mask, 0.0, _HIDDEN)
        hidden = added.to(key.dtype)[:, None, :, None]
        hidden = F.pad(hidden, beyond, value=_HIDDEN).expand(-1, self.heads, -1, -1)
        keys = torch.cat((F.pad(key, beyond), hidden), dim=3)
        queries = F.pad(query, (0, 1), value=1.0)
        scores = queries @ keys.transpose(2, 3)
        neighbours(scores, self.window).add_(query @ self.relative_keys.T)
        weights = self.dropout(F.softmax(scores, dim=-1))
        near = neighbours(weights, self.window)
        mixed = weights @ F.pad(value, beyond) + near @ self.relative_values
        out: Tensor = self.output(mixed.transpose(1, 2).reshape(batch, time, channels))
        return out


def neighbours(square: Tensor, window: int) -> Tensor:
    """View of (..., time, time + 2 window), contiguous, in which row t begins at column t:
    (..., time, 2 window + 1)."""
    *outer, row, column = square.stride()
    size = (*square.shape[:-1], 2 * window + 1)
    return square.as_strided(size, (*outer, row + column, column), square.storage_offset())


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
