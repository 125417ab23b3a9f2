"""(IA)3 (Liu et al., arXiv 2205.05638) on linear maps, through `peft`: every output channel times a learned
factor that begins at 1. There is no rank: a Linear of (in, out) gains `out` weights.

Published are factors for keys, values and the feed-forward's inner channels of Transformer layers; here every
linear map of a site has them, since a site need not be a Transformer layer.
"""

from __future__ import annotations

from typing import Any

from peft.tuners.ia3 import IA3Config
from peft.tuners.ia3 import layer as peft_layer
from torch import Tensor, nn

from eele.peft.base import AdapterSpec
from eele.peft.changes import Changes
from eele.peft.tuner import Tuner


class Linear(Changes, peft_layer.Linear):
    """`peft`'s factors around a linear map."""

    of_base = True

    def change(self, name: str) -> tuple[Tensor, Tensor | None]:
        base: Any = self.get_base_layer()
        by = self.ia3_l[name] - 1
        return base.weight * by, None if base.bias is None else base.bias * by.flatten()

    def update(self, name: str, x: Tensor, plain: Tensor) -> Tensor:
        by: Tensor = self.ia3_l[name] - 1
        return plain * by.flatten()


class Ia3(Tuner):
    """A factor per output channel of linear maps; takes no rank."""

    name = "ia3"

    def layer(self, base: nn.Module, spec: AdapterSpec, name: str, reads: bool) -> Any:
        return Linear(base, name, IA3Config(feedforward_modules=[]))

    def extend(self, layer: Any, spec: AdapterSpec, name: str) -> None:
        layer.update_layer(name, IA3Config(feedforward_modules=[]))

    def size(self, module: nn.Module, rank: int) -> int:
        assert isinstance(module, nn.Linear)
        return module.out_features
