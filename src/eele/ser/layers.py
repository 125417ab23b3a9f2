"""The sum of an encoder's layers that every head begins with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def weighted_sum(weights: Tensor, states: Sequence[Tensor]) -> Tensor:
    """weights (layers,), `Encoder.forward`'s states (B, T, hidden) each -> (B, T, hidden).

    Softmax-weighted; what enters the first layer is left out, as published (arXiv 2306.05350).
    """
    shares = weights.softmax(0)
    return torch.stack(tuple(states)[1:], -1) @ shares.to(states[0].dtype)
