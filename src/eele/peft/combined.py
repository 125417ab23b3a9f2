"""Bottlenecks, a prompt and LoRA at once. One size serves all: LoRA's rank r, 4 r inner channels of the bottlenecks
and one vector per layer, so that r = 32 is the published combination (adapter 128, prompt 1, LoRA 32)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import nn

from eele.errors import ConfigError
from eele.peft.base import Adapter, AdapterSpec, Attachment
from eele.peft.bottleneck import Bottleneck
from eele.peft.lora import Lora
from eele.peft.prompt import Prompt

if TYPE_CHECKING:
    from eele.sites import SiteMap

_INNER_PER_RANK = 4
_PROMPTS = 1


class Combined(Adapter):
    """Bottlenecks and LoRA at the sites, and a prompt in front of each of their Transformer layers."""

    name = "combined"
    identity_at_start = Prompt.identity_at_start

    def __init__(self) -> None:
        self._lora, self._bottleneck, self._prompt = Lora(), Bottleneck(), Prompt()

    def attach(
        self, model: nn.Module, sites: SiteMap, spec: AdapterSpec, name: str = "adapter"
    ) -> Attachment:
        inner, prompts = _specs(spec)
        layers = self._bottleneck.blocks(model, sites, spec)
        attached = self._lora.attach(model, sites, spec, name)
        attached.wrapped += self._bottleneck.insert(model, layers, inner, name)
        attached.wrapped += self._prompt.insert(model, layers, prompts, name)
        self.train_alone(model, name)
        return attached

    def parameters(self, model: nn.Module, name: str = "adapter") -> dict[str, nn.Parameter]:
        return {
            key: parameter
            for part in (self._lora, self._bottleneck, self._prompt)
            for key, parameter in part.parameters(model, name).items()
        }

    def scale(self, model: nn.Module, weight: float, name: str = "adapter") -> None:
        for part in (self._lora, self._bottleneck, self._prompt):
            part.scale(model, weight, name)

    def merge(self, model: nn.Module) -> None:
        raise ConfigError(f"cannot merge: {Bottleneck.no_merge}")

    def formula(self, model: nn.Module, sites: SiteMap, spec: AdapterSpec) -> int:
        inner, prompts = _specs(spec)
        layers = self._bottleneck.blocks(model, sites, spec)
        return (
            self._lora.formula(model, sites, spec)
            + self._bottleneck.total(model, layers, inner)
            + self._prompt.total(model, layers, prompts)
        )


def _specs(spec: AdapterSpec) -> tuple[AdapterSpec, AdapterSpec]:
    """Of the bottlenecks, of the prompts."""
    return replace(spec, rank=_INNER_PER_RANK * spec.rank), replace(spec, rank=_PROMPTS)
