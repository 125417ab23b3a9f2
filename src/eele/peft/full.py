"""Full fine-tuning: every weight of the model moves. The yardstick, not an adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from eele.errors import CheckpointError, ConfigError
from eele.peft.base import AdapterSpec, Attachment, Method

if TYPE_CHECKING:
    from eele.sites import SiteMap

_BASE = "_eele_full_base"
_DELTA = "_eele_full_delta"
_ALONE = "fully tuned weights can only be plugged into the plain neutral model, alone"


class Full(Method):
    """All weights; plugging with a strength w gives base + w (tuned - base)."""

    name = "full"

    def attach(
        self, model: nn.Module, sites: SiteMap, spec: AdapterSpec, name: str = "adapter"
    ) -> Attachment:
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        return Attachment(wrapped=[n for n, m in model.named_modules() if m._parameters])

    def state(self, model: nn.Module, name: str = "adapter") -> dict[str, Tensor]:
        return {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}

    def load(self, model: nn.Module, state: Mapping[str, Tensor], name: str = "adapter") -> None:
        own = model.state_dict()
        if own.keys() != state.keys():
            raise CheckpointError(_ALONE)
        # The base is kept so that a strength can be set, and unset exactly.
        setattr(model, _BASE, {key: value.detach().clone() for key, value in own.items()})
        setattr(model, _DELTA, {key: state[key].to(own[key].device) for key in own})
        self.scale(model, 1.0, name)

    def scale(self, model: nn.Module, weight: float, name: str = "adapter") -> None:
        base: dict[str, Tensor] | None = getattr(model, _BASE, None)
        if base is None:
            raise ConfigError("full: load the tuned weights before setting their strength")
        own = model.state_dict()
        if own.keys() != base.keys():
            raise ConfigError(_ALONE)
        tuned: dict[str, Tensor] = getattr(model, _DELTA)
        exact = {0.0: base, 1.0: tuned}.get(weight)
        with torch.no_grad():
            for key, value in own.items():
                value.copy_(exact[key] if exact else torch.lerp(base[key], tuned[key], weight))

    def merge(self, model: nn.Module) -> None:
        """Nothing to fold: the weights are the model's own."""

    def formula(self, model: nn.Module, sites: SiteMap, spec: AdapterSpec) -> int:
        return sum(parameter.numel() for parameter in model.parameters())
