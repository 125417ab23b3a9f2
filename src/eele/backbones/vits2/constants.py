"""What frozen parts put out, computed once per utterance and kept.

With the base frozen, everything before a cell's sites gives the same for the same utterance: the text's
prior, the posterior, what the flow makes of it, the alignment. A value is computed for each utterance alone,
so that it does not depend on which others happen to share its batch, nor on when a killed run went on.
"""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

import torch
from torch import Tensor
from torch.nn import functional as F

from eele.backbones.base import Batch

Values = tuple[Tensor, ...]


class Constants:
    """Outputs of frozen parts by part, utterance and draw, up to a limit of memory."""

    def __init__(self, limit_mb: int, draws: int) -> None:
        self.draws = draws
        self._room = limit_mb * 2**20
        self._kept: dict[tuple[str, str, int], Values] = {}

    def get(self, part: str, batch: Batch, size: int, compute: Callable[[Batch], Values]) -> Values:
        """`compute`'s tensors (1, time, ...) of each utterance, stacked and padded with 0 to (batch, size, ...)."""
        rows = [self._row(part, batch, row, compute) for row in range(len(batch.items))]
        return tuple(
            torch.stack([_padded(values[i], size) for values in rows]) for i in range(len(rows[0]))
        )

    def noise(self, batch: Batch, like: Tensor) -> Tensor:
        """Standard normal noise shaped as `like` (1, time, channels), fixed by utterance and draw."""
        seed = crc32(f"{batch.items[0]} {self._draw(batch)}".encode())
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(like.shape, generator=generator).to(like.device)

    def _draw(self, batch: Batch) -> int:
        return batch.epoch % self.draws

    def _row(self, part: str, batch: Batch, row: int, compute: Callable[[Batch], Values]) -> Values:
        key = (part, batch.items[row], self._draw(batch))
        if key in self._kept:
            return self._kept[key]
        with torch.no_grad():
            values = tuple(value[0] for value in compute(batch.one(row)))
        size = sum(value.nbytes for value in values)
        if size <= self._room:
            self._room -= size
            self._kept[key] = values
        return values


def _padded(value: Tensor, size: int) -> Tensor:
    return F.pad(value, (0, 0) * (value.dim() - 1) + (0, size - len(value)))
