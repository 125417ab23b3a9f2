"""Bottleneck adapters (Houlsby et al., arXiv 1902.00751) after the feed-forward of Transformer layers, and after
the layers of predictors.

With f the feed-forward's output, before the residual is added, the layer goes on with
f + 0.1 U dropout(ReLU(D f + c)) + u. D (inner, channels), U (channels, inner) and their biases c, u are
`inner (2 channels + 1) + channels` weights; U and the biases begin at zero. ReLU and the factor 0.1 are those of
PEFT-SER (arXiv 2306.05350), whose code adds the adapted state itself a second time, so that it does not begin at
the pretrained model; here only the update is added. Of a predictor's layer f is what its norm puts out, before
the dropout; the FastPitch of NVIDIA's NeMo has bottlenecks behind those layers, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from eele.peft.base import AdapterSpec
from eele.peft.inserted import Inserted, Insertion

if TYPE_CHECKING:
    from eele.sites import Block

SCALE = 0.1


class Squeeze(nn.Module):
    """Down to a few channels, ReLU, dropout, and up again; zero at first."""

    def __init__(self, channels: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.down = nn.Linear(channels, inner)
        self.up = nn.Linear(inner, channels)
        self.dropout = nn.Dropout(dropout)
        for weight in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(weight)

    def forward(self, x: Tensor) -> Tensor:
        """The update for states (batch, time, channels)."""
        update: Tensor = SCALE * self.up(self.dropout(torch.relu(self.down(x))))
        return update


class After(Insertion):
    """Adds to the output of a feed-forward, or of a predictor's layer, what each adapter makes of it."""

    def listen(self, model: nn.Module, block: Block) -> None:
        model.get_submodule(block.contract).register_forward_hook(self.add)

    def add(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        """Hook on the last module of the feed-forward or layer."""
        return output + updates if (updates := self.updates(output)) is not None else output

    def updates(self, states: Tensor) -> Tensor | None:
        """The sum of what the adapters make of `states`; None while none acts."""
        parts = [weight * adapter(states) for adapter, weight in self.active()]
        return torch.stack(parts).sum(0) if parts else None


class Bottleneck(Inserted):
    """Bottleneck adapters after each feed-forward, and each layer of a predictor."""

    name = "bottleneck"
    part = "feed_forward"
    holder = After
    no_merge = "a bottleneck is not linear, so no weights of the model can take it in"

    def fresh(self, channels: int, spec: AdapterSpec) -> nn.Module:
        return Squeeze(channels, spec.rank, spec.dropout)

    def size(self, channels: int, spec: AdapterSpec) -> int:
        return spec.rank * (2 * channels + 1) + channels
