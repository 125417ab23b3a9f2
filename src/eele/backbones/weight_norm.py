"""Weight normalisation (Salimans and Kingma, arXiv 1602.07868) that comes and goes.

Models are built, saved and adapted with plain weights: adapters wrap plain layers exactly. A training run
that wants it normalises the weights first and folds them afterwards; both leave the function as it is.
"""

from __future__ import annotations

from torch import nn
from torch.nn.utils import parametrizations, parametrize


def normalise(model: nn.Module) -> None:
    """Weight-normalise every convolution of `model` marked by `normalised`, once."""
    for module in list(model.modules()):
        if getattr(module, "weight_normalised", False) and not parametrize.is_parametrized(module):
            # Transposed convolutions too are normalised over dimension 0, as published.
            parametrizations.weight_norm(module)


def fold(model: nn.Module) -> None:
    """Give every weight-normalised layer of `model` its plain weight back."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")  # type: ignore[arg-type]


def normalised(layer: nn.Module) -> nn.Module:
    """Mark a convolution as one that `normalise` normalises."""
    layer.weight_normalised = True  # type: ignore[assignment]
    return layer
