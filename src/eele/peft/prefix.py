"""Prefix tuning (Li and Liang, arXiv 2101.00190) of the self-attention of Transformer layers: learned vectors in
front of its keys and values, which every state reads.

As in SURE (arXiv 2303.03267): vectors of their own in every layer, normally distributed at first, not made by a
network, with dropout. So a fresh prefix already changes the model.

The attention is shown as many more states in front, whose keys and values are exchanged for the learned ones
behind the attention's own maps and whose outputs are dropped. They stand at no position: where the attention
knows relative positions, unreadable states between them and the first frame keep them out of its window. A
prefix of strength s weighs s times as much as its scores say, so that it fades out towards 0.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from eele.errors import ConfigError
from eele.peft.base import AdapterSpec
from eele.peft.inserted import Inserted, Insertion
from eele.peft.masks import Call, additive, hidden, preceded
from eele.peft.prompt import without
from eele.peft.where import cannot

if TYPE_CHECKING:
    from eele.sites import Block, SiteMap


class Vectors(nn.Module):
    """The learned keys and values (count, channels) of one layer."""

    def __init__(self, channels: int, count: int, dropout: float) -> None:
        super().__init__()
        self.keys = nn.Parameter(torch.randn(count, channels))
        self.values = nn.Parameter(torch.randn(count, channels))
        self.dropout = nn.Dropout(dropout)

    def forward(self, part: str) -> Tensor:
        """`keys` or `values`, (count, channels)."""
        kept: Tensor = self.dropout(getattr(self, part))
        return kept


class KeysAndValues(Insertion):
    """Lengthens what an attention reads, sets the keys and values there, and shortens what it puts out."""

    def __init__(self) -> None:
        super().__init__()
        self._gap = 0

    def listen(self, model: nn.Module, block: Block) -> None:
        assert block.attention is not None
        attention = model.get_submodule(block.attention.name)
        self._gap = int(getattr(attention, "window", 0))
        attention.register_forward_pre_hook(self.lengthen, with_kwargs=True)
        attention.register_forward_hook(self.shorten)
        model.get_submodule(block.attention.key).register_forward_hook(self.set_keys)
        model.get_submodule(block.attention.value).register_forward_hook(self.set_values)

    def front(self) -> list[float]:
        """What is added to the scores of the states in front: those of all adapters that act, and the gap."""
        scores: list[float] = []
        for adapter, strength in self.active():
            assert isinstance(adapter, Vectors)
            scores += [math.log(strength)] * len(adapter.keys)
        return scores + hidden(self._gap) if scores else []

    def lengthen(self, module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        """Hook before the attention."""
        front = self.front()
        if not front:
            return None
        call = Call(module, args, kwargs)
        states = call.states
        mask = preceded(additive(call), states.new_tensor(front))
        return call.put_in_front(states.new_zeros(len(front), states.shape[2]), mask)

    def set_keys(self, module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        """Hook on the attention's key map."""
        return self._set("keys", output)

    def set_values(self, module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        """Hook on the attention's value map."""
        return self._set("values", output)

    def shorten(self, module: nn.Module, args: Any, output: Any) -> Any:
        """Hook after the attention."""
        return without(output, len(self.front()))

    def _set(self, part: str, output: Tensor) -> Tensor | None:
        vectors = [adapter(part) for adapter, _ in self.active()]
        if not vectors:
            return None
        front = torch.cat(vectors).to(output.dtype)
        return torch.cat((front.expand(len(output), -1, -1), output[:, len(front) :]), dim=1)


class Prefix(Inserted):
    """Learned vectors in front of the keys and values of the self-attention of each Transformer layer."""

    name = "prefix"
    identity_at_start = False
    part = "attention"
    holder = KeysAndValues
    no_merge = "prefixes are keys and values, not weights of the model"

    def fresh(self, channels: int, spec: AdapterSpec) -> nn.Module:
        return Vectors(channels, spec.rank, spec.dropout)

    def size(self, channels: int, spec: AdapterSpec) -> int:
        return 2 * spec.rank * channels

    def blocks(self, model: nn.Module, sites: SiteMap, spec: AdapterSpec) -> list[Block]:
        found = super().blocks(model, sites, spec)
        if any(block.attention and block.attention.reads_weights for block in found):
            reason = (
                "its attention computes with the weights of its maps instead of calling them, which leaves "
                "keys and values no way in"
            )
            raise ConfigError(cannot(self.name, spec.sites[0], sites.name, reason))
        return found

    def scale(self, model: nn.Module, weight: float, name: str = "adapter") -> None:
        if weight < 0:
            raise ConfigError(f"the strength of a prefix cannot be negative: {weight:g}")
        super().scale(model, weight, name)
