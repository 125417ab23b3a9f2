"""Layers of `peft` whose adapters' updates are computed from the plain layer, so that they add up.

`peft` lets adapters of these methods act one after another: two (IA)3 vectors multiply, a DoRA magnifies what a
LoRA inside it added, and at half strength a DoRA is not half of its change. Here, with W the plain layer's weight
and W' what an adapter of strength s makes of it, the layer computes with W + sum s (W' - W). `weight` and `bias`
tell the same to whoever reads them instead of calling the layer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from eele.peft.tuner import held


class Changes(ABC):
    """Comes before a layer class of `peft` among the bases of a layer; the class gives names and initial weights."""

    #: Whether the update is a change of the plain weight, known only while that weight is there.
    of_base = False

    @abstractmethod
    def change(self, name: str) -> tuple[Tensor, Tensor | None]:
        """What adapter `name` adds to the plain weight and bias at strength 1; no bias: None."""

    @abstractmethod
    def update(self, name: str, x: Tensor, plain: Tensor) -> Tensor:
        """What adapter `name` adds to the output `plain` of the plain layer for `x`, at strength 1."""

    def set_scale(self, adapter: str, scale: float) -> None:
        """Set the strength of an adapter."""
        self._strengths[adapter] = scale

    def forward(self: Any, x: Tensor) -> Tensor:
        """The layer inside plus the updates of the adapters that act."""
        result: Tensor = self.base_layer(x)
        acting = self._acting()
        if not acting:
            return result
        base = self.get_base_layer()
        plain = result if self.base_layer is base else base(x) if self.of_base else result
        for name, strength in acting:
            update = self.update(name, x, plain)
            result = result + (update if strength == 1 else strength * update).to(result.dtype)
        return result

    def merge(self: Any, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Fold the adapters that act, or those of them that are named, into the plain layer."""
        base = self.get_base_layer()
        weight, bias, names = base.weight.data, base.bias.data if _biased(base) else None, []
        for name, strength in self._acting():
            if adapter_names is not None and name not in adapter_names:
                continue
            of_weight, of_bias = self.change(name)
            weight = weight + strength * of_weight.detach()
            bias = bias if of_bias is None else bias + strength * of_bias.detach()
            names.append(name)
        if safe_merge and not torch.isfinite(weight).all():
            raise ValueError(f"merging {', '.join(names)} gives weights that are not finite")
        if names:
            self._plain = (base.weight.data, base.bias.data if _biased(base) else None)
            base.weight.data = weight
            if bias is not None:
                base.bias.data = bias
            self.merged_adapters += names

    def unmerge(self: Any) -> None:
        """Take the adapters out again."""
        base = self.get_base_layer()
        base.weight.data, bias = self._plain
        if bias is not None:
            base.bias.data = bias
        self.merged_adapters.clear()

    @property
    def weight(self: Any) -> Tensor:
        """The adapted weight."""
        weight: Tensor = self.base_layer.weight
        for name, strength in self._acting():
            weight = weight + strength * self.change(name)[0]
        return weight

    @property
    def bias(self: Any) -> Any:
        """The adapted bias; None where the plain layer has none."""
        bias: Tensor | None = getattr(self.base_layer, "bias", None)
        for name, strength in self._acting():
            of_bias = self.change(name)[1]
            if bias is not None and of_bias is not None:
                bias = bias + strength * of_bias
        return bias

    @property
    def _strengths(self) -> dict[str, float]:
        # Made when first asked for, since peft's layers call their methods while they are made.
        strengths: dict[str, float] = self.__dict__.setdefault("_eele_strengths", {})
        return strengths

    def _acting(self: Any) -> list[tuple[str, float]]:
        if self.disable_adapters:
            return []
        names = held(self)
        return [
            (name, self._strengths.get(name, 1.0))
            for name in self.active_adapters
            if name in names and name not in self.merged_adapters
        ]


def _biased(base: Any) -> bool:
    return getattr(base, "bias", None) is not None
