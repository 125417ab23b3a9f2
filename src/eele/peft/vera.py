"""Vector-based random matrix adaptation (Kopiczko et al., arXiv 2310.11454) of linear maps, through `peft`.

The update is b * B (d * A x) with A (rank, in) and B (out, rank) random, frozen and shared by all layers of an
adapter, of which each takes the rows and columns it needs; d (rank) and b (out) are learned, so a Linear of
(in, out) gains rank + out weights. d begins at 0.1, b at zero. A and B are not stored: they are drawn again from a
fixed seed. `peft` gives a second adapter the first one's A and B, with which it would not be what it was when
trained alone; here each has its own.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners._buffer_dict import BufferDict
from peft.tuners.vera import VeraConfig
from peft.tuners.vera import layer as peft_layer
from torch import Tensor, nn
from torch.nn import functional as F

from eele.peft.base import AdapterSpec
from eele.peft.changes import Changes
from eele.peft.tuner import Tuner

_SEED = 0


class Linear(Changes, peft_layer.Linear):
    """`peft`'s vectors around a linear map."""

    def change(self: Any, name: str) -> tuple[Tensor, Tensor | None]:
        change: Tensor = self.get_delta_weight(name)
        return change, None

    def update(self: Any, name: str, x: Tensor, plain: Tensor) -> Tensor:
        down = self.vera_A[name][:, : self.in_features]
        up = self.vera_B[name][: self.out_features]
        inner = self.vera_lambda_d[name] * F.linear(self.vera_dropout[name](x), down)
        update: Tensor = self.vera_lambda_b[name] * F.linear(inner, up)
        return update


class Vera(Tuner):
    """Learned vectors around random matrices that linear maps share."""

    name = "vera"

    def prepare(self, modules: dict[str, nn.Module], spec: AdapterSpec) -> None:
        maps = [module for module in modules.values() if isinstance(module, nn.Linear)]
        outputs, inputs = max(m.out_features for m in maps), max(m.in_features for m in maps)
        generator = torch.Generator().manual_seed(_SEED)
        self._shared = [torch.empty(spec.rank, inputs), torch.empty(outputs, spec.rank)]
        for matrix in self._shared:
            nn.init.kaiming_uniform_(matrix, generator=generator)

    def layer(self, base: nn.Module, spec: AdapterSpec, name: str, reads: bool) -> Any:
        assert isinstance(base, nn.Linear)
        down, up = (
            BufferDict({name: matrix.to(base.weight.device)}, persistent=False)
            for matrix in self._shared
        )
        return Linear(base, down, up, name, config=_config(spec), r=spec.rank)

    def extend(self, layer: Any, spec: AdapterSpec, name: str) -> None:
        for held, matrix in zip((layer.vera_A, layer.vera_B), self._shared, strict=True):
            held[name] = matrix.to(layer.get_base_layer().weight.device)
        layer.update_layer(name, layer.vera_A, layer.vera_B, spec.rank, config=_config(spec))

    def size(self, module: nn.Module, rank: int) -> int:
        assert isinstance(module, nn.Linear)
        return rank + module.out_features


def _config(spec: AdapterSpec) -> VeraConfig:
    return VeraConfig(r=spec.rank, vera_dropout=spec.dropout)
