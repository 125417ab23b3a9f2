"""Low-rank Hadamard products (Hyeon-Woo et al., arXiv 2108.06098; LyCORIS, arXiv 2309.14859) for linear maps and
convolutions, through `peft`.

The update of a weight (out, n), n = in times kernel, is the product element by element of two maps of rank r, so
that its own rank reaches r^2: 2 r (out + n) weights, times alpha / r. One of the four matrices begins at zero.
`peft`'s dropout of the update's rows is not used: where a layer has few outputs it drops all of them, and divides
by zero.
"""

from __future__ import annotations

from typing import Any

from peft.tuners.loha import LoHaConfig
from peft.tuners.loha import layer as peft_layer
from torch import Tensor, nn

from eele.peft.base import AdapterSpec
from eele.peft.changes import Changes
from eele.peft.tuner import Tuner


class _Product(Changes):
    def change(self: Any, name: str) -> tuple[Tensor, Tensor | None]:
        change: Tensor = self.get_delta_weight(name)
        return change, None

    def update(self: Any, name: str, x: Tensor, plain: Tensor) -> Tensor:
        update: Tensor = self._get_delta_activations(name, x)
        return update


class Linear(_Product, peft_layer.Linear):
    """`peft`'s products for a linear map."""


class Conv1d(_Product, peft_layer.Conv1d):
    """`peft`'s products for a convolution padded with zeros."""


class Loha(Tuner):
    """Updates of linear maps and convolutions that are products of two low-rank maps."""

    name = "loha"

    def refusal(self, module: nn.Module) -> str | None:
        padding = getattr(module, "padding_mode", "zeros")
        if padding != "zeros":
            return f"convolution padded in mode '{padding}': peft's loha pads with zeros"
        return super().refusal(module)

    def layer(self, base: nn.Module, spec: AdapterSpec, name: str, reads: bool) -> Any:
        made: Any = Linear if isinstance(base, nn.Linear) else Conv1d
        return made(base, name, LoHaConfig(r=spec.rank), r=spec.rank, alpha=spec.alpha)

    def extend(self, layer: Any, spec: AdapterSpec, name: str) -> None:
        layer.update_layer(name, spec.rank, spec.alpha, config=LoHaConfig(r=spec.rank))

    def size(self, module: nn.Module, rank: int) -> int:
        assert isinstance(module, nn.Linear | nn.Conv1d)
        return 2 * rank * (len(module.weight) + module.weight[0].numel())
