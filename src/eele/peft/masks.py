"""The masks that modules take, of whatever kind: (batch, time) or (batch, time, 1), 1 or True where there is speech;
(batch, heads, queries, keys), True or 0 where a query may read a key; or None, where all may read all."""

from __future__ import annotations

from inspect import BoundArguments, signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Arguments of attention modules and predictors that hold a mask of the states.
_NAMES = ("attention_mask", "mask", "keep")
#: Added to the scores of what must not be read; half precision still holds it.
_HIDDEN = -1e4


class Call:
    """The arguments of one call of an attention module, or of a predictor."""

    def __init__(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        takes = signature(module.forward)
        self._bound: BoundArguments = takes.bind(*args, **kwargs)
        self._states = next(iter(self._bound.arguments))
        self._mask = next(name for name in _NAMES if name in takes.parameters)

    @property
    def states(self) -> Tensor:
        """(batch, time, channels)."""
        states: Tensor = self._bound.arguments[self._states]
        return states

    @property
    def mask(self) -> Tensor | None:
        """Of the states."""
        return self._bound.arguments.get(self._mask)

    def put_in_front(self, front: Tensor, mask: Tensor | None) -> tuple[Any, Any]:
        """The arguments with states `front` (count, channels) in front of every item's, and the mask of all."""
        expanded = front.to(self.states.dtype).expand(len(self.states), -1, -1)
        self._bound.arguments[self._states] = torch.cat((expanded, self.states), dim=1)
        if mask is not None:
            self._bound.arguments[self._mask] = mask
        return self._bound.args, self._bound.kwargs


def longer(mask: Tensor, count: int) -> Tensor:
    """The mask with `count` more positions in front, which all may read and which read what the first one reads."""
    readable = 0.0 if mask.is_floating_point() and mask.dim() == 4 else 1.0
    if mask.dim() == 4 and mask.shape[2] > 1:
        mask = torch.cat((mask[:, :, :1].expand(-1, -1, count, -1), mask), dim=2)
    return F.pad(mask, (count, 0), value=readable)


def additive(call: Call) -> Tensor:
    """What is added to the scores: the mask of a call as numbers, 0 where a state may be read."""
    states, mask = call.states, call.mask
    if mask is None:
        return states.new_zeros(len(states), 1, 1, states.shape[1])
    if mask.dim() == 4 and mask.is_floating_point():
        return mask
    return torch.where(mask.bool(), 0.0, _HIDDEN).to(states.dtype)


def preceded(scores: Tensor, front: Tensor) -> Tensor:
    """An additive mask with more positions in front, to whose scores `front` (count,) is added."""
    count = len(front)
    if scores.dim() == 4 and scores.shape[2] > 1:
        scores = torch.cat((scores[:, :, :1].expand(-1, -1, count, -1), scores), dim=2)
    return torch.cat((front.to(scores.dtype).expand(*scores.shape[:-1], -1), scores), dim=-1)


def hidden(count: int) -> list[float]:
    """What is added to the scores of positions that nobody reads."""
    return [_HIDDEN] * count


def own(mask: Tensor | None, time: int) -> Tensor | None:
    """(batch, time) bool, True on an item's own last `time` positions; None where all are."""
    if mask is None:
        return None
    if mask.dim() == 3:
        return mask[:, -time:, 0].bool()
    if mask.dim() == 4:
        mask = mask[:, 0, 0]
    readable = mask == 0 if mask.is_floating_point() else mask.bool()
    return readable[:, -time:]
