"""Embedding prompts: learned vectors in front of the states of every Transformer layer, dropped after it.

Attention alone mixes positions there, so the vectors are put in front of what the attention reads and their
outputs are dropped right behind it; what else the layer would make of them is never used. In layers that
normalise before the attention the vectors pass through that norm, as they would in front of the layer. They are
never masked and stand at the positions before the first frame, whose distances to each other stay as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from eele.peft.base import AdapterSpec
from eele.peft.inserted import Inserted, Insertion
from eele.peft.masks import Call, longer

if TYPE_CHECKING:
    from eele.sites import Block


class Vectors(nn.Module):
    """The learned vectors (count, channels) of one layer."""

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        # As published: Xavier's bounds for a tensor (1, count, channels).
        self.vectors = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, count, channels))[0])

    def forward(self) -> Tensor:
        """(count, channels)."""
        return self.vectors


class InFront(Insertion):
    """Lengthens what an attention reads, and shortens what it puts out."""

    def __init__(self) -> None:
        super().__init__()
        # In a tuple, so that it does not count as a module of this one.
        self._norm: tuple[nn.Module, ...] = ()

    def listen(self, model: nn.Module, block: Block) -> None:
        assert block.attention is not None
        if block.attention.norm is not None:
            self._norm = (model.get_submodule(block.attention.norm),)
        attention = model.get_submodule(block.attention.name)
        # Before other adapters lengthen what the attention reads: prompts are neighbours of the frames.
        attention.register_forward_pre_hook(self.lengthen, prepend=True, with_kwargs=True)
        attention.register_forward_hook(self.shorten)

    def vectors(self) -> Tensor | None:
        """The vectors of all adapters that act (count, channels), each times its strength."""
        parts = [weight * adapter() for adapter, weight in self.active()]
        return torch.cat(parts) if parts else None

    def lengthen(self, module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        """Hook before the attention: states (batch, time, channels) and mask grow at the front."""
        vectors = self.vectors()
        if vectors is None:
            return None
        call = Call(module, args, kwargs)
        for norm in self._norm:
            vectors = norm(vectors)
        mask = None if call.mask is None else longer(call.mask, len(vectors))
        return call.put_in_front(vectors, mask)

    def shorten(self, module: nn.Module, args: Any, output: Any) -> Any:
        """Hook after the attention. Position biases in its output keep their length for the next layer's."""
        count = sum(len(adapter()) for adapter, _ in self.active())
        if count == 0:
            return output
        return without(output, count)


def without(output: Any, count: int) -> Any:
    """An attention's output without its first `count` states."""
    if isinstance(output, tuple):
        return (output[0][:, count:], *output[1:])
    return output[:, count:]


class Prompt(Inserted):
    """Learned vectors in front of the states of each Transformer layer."""

    name = "prompt"
    identity_at_start = False
    part = "attention"
    holder = InFront
    no_merge = "prompts are states, not weights of the model"

    def fresh(self, channels: int, spec: AdapterSpec) -> nn.Module:
        return Vectors(channels, spec.rank)

    def size(self, channels: int, spec: AdapterSpec) -> int:
        return spec.rank * channels
