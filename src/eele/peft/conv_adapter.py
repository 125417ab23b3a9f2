"""ConvAdapter of SURE (arXiv 2303.03267): grouped convolutions over time after the feed-forward of Transformer
layers; here after the layers of predictors, too (see `eele.peft.bottleneck`).

With f the feed-forward's output, before the residual is added, the layer goes on with f + SE(C3 C2 ReLU(C1 norm f)):
a layer norm; C1 of kernel 3 from d channels to `inner`, C2 of kernel 5 among these, C3 of kernel 3 back to d, all
in `inner` groups and without bias; squeeze-and-excitation (arXiv 1709.01507) of d / 16 channels, whose mean over
time is that of an item's own frames. That is 8 d + 5 inner + 2 d (d // 16) weights where `inner` divides d: nearly
all in the norm, the outer convolutions and the squeeze, whatever `inner` is. C3 begins at zero, which SURE's does
not, so that a fresh adapter changes nothing. Padding is silenced before each convolution.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from eele.peft.base import AdapterSpec
from eele.peft.bottleneck import After
from eele.peft.inserted import Inserted
from eele.peft.masks import Call, own

if TYPE_CHECKING:
    from eele.sites import Block

log = logging.getLogger(__name__)

_REDUCTION = 16
_OUTER_KERNEL, _INNER_KERNEL = 3, 5


class Convolutions(nn.Module):
    """Norm, three grouped convolutions, squeeze-and-excitation; zero at first."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        groups = math.gcd(channels, inner)

        def convolution(inputs: int, outputs: int, kernel: int) -> nn.Conv1d:
            return nn.Conv1d(
                inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False
            )

        self.norm = nn.LayerNorm(channels)
        self.narrow = convolution(channels, inner, _OUTER_KERNEL)
        self.middle = convolution(inner, inner, _INNER_KERNEL)
        self.widen = convolution(inner, channels, _OUTER_KERNEL)
        self.squeeze = nn.Linear(channels, _squeezed(channels), bias=False)
        self.excite = nn.Linear(_squeezed(channels), channels, bias=False)
        nn.init.zeros_(self.widen.weight)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """The update for states (batch, time, channels); mask (batch, time) bool, None where all are own."""
        keep = x.new_ones(1, 1, x.shape[1]) if mask is None else mask[:, None].to(x.dtype)
        hidden = torch.relu(self.narrow(self.norm(x).transpose(1, 2) * keep))
        update: Tensor = self.widen(self.middle(hidden * keep) * keep) * keep
        mean = update.sum(2) / keep.sum(2)
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(mean))))
        return (update * gate[:, :, None]).transpose(1, 2)


class Convolving(After):
    """Adds to the feed-forward's output what each adapter makes of it, within an item's own frames."""

    def __init__(self) -> None:
        super().__init__()
        self._mask: Tensor | None = None

    def listen(self, model: nn.Module, block: Block) -> None:
        super().listen(model, block)
        model.get_submodule(block.told).register_forward_pre_hook(self.look, with_kwargs=True)

    def look(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Hook before what alone is told which frames are an item's own: the attention, or a predictor."""
        self._mask = Call(module, args, kwargs).mask

    def updates(self, states: Tensor) -> Tensor | None:
        mask, self._mask = own(self._mask, states.shape[1]), None
        parts = [weight * adapter(states, mask) for adapter, weight in self.active()]
        return torch.stack(parts).sum(0) if parts else None


class ConvAdapter(Inserted):
    """Grouped convolutions over time after each feed-forward, and each layer of a predictor."""

    name = "conv_adapter"
    part = "feed_forward"
    holder = Convolving
    no_merge = "convolutions behind a norm are no weights of the feed-forward"

    def fresh(self, channels: int, spec: AdapterSpec) -> nn.Module:
        inner = _inner(channels, spec.rank)
        if inner != spec.rank:
            log.warning(
                "%d inner channels do not divide %d: %d are taken", spec.rank, channels, inner
            )
        return Convolutions(channels, inner)

    def size(self, channels: int, spec: AdapterSpec) -> int:
        inner = _inner(channels, spec.rank)
        groups = math.gcd(channels, inner)
        outer = 2 * _OUTER_KERNEL * channels * inner // groups
        return (
            2 * channels
            + outer
            + _INNER_KERNEL * inner * inner // groups
            + 2 * channels * _squeezed(channels)
        )


def _squeezed(channels: int) -> int:
    return max(1, channels // _REDUCTION)


def _inner(channels: int, size: int) -> int:
    """The largest number up to `size` that divides `channels` or is a multiple of them: groups have to."""
    if size >= channels:
        return size - size % channels
    return next(inner for inner in range(size, 0, -1) if channels % inner == 0)
