"""What an adaptation method is: it attaches to sites, trains, and can be plugged, scaled, merged, unplugged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from eele.config.models import BackboneConfig

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class AdapterSpec:
    """What identifies an adapter's shape; stored beside its weights."""

    method: str
    sites: tuple[str, ...]
    rank: int
    alpha: float = 1.0
    dropout: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "sites": list(self.sites)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AdapterSpec:
        """The spec of `as_dict`'s values; further keys are ignored."""
        return cls(
            method=str(values["method"]),
            sites=tuple(values["sites"]),
            rank=int(values["rank"]),
            alpha=float(values["alpha"]),
            dropout=float(values["dropout"]),
        )


@dataclass
class Attachment:
    """What attaching did: wrapped module names, and those left alone with the reason."""

    wrapped: list[str] = field(default_factory=list)
    unwrappable: list[dict[str, str]] = field(default_factory=list)


class Method(ABC):
    """One way to adapt sites of a frozen backbone."""

    name: str

    @abstractmethod
    def attach(
        self, model: nn.Module, backbone: BackboneConfig, spec: AdapterSpec, name: str = "adapter"
    ) -> Attachment:
        """Insert a fresh adapter called `name` that changes nothing yet; only it is left trainable.

        New weights come from torch's global random state. Raises ConfigError when nothing can be wrapped.
        """

    @abstractmethod
    def state(self, model: nn.Module, name: str = "adapter") -> dict[str, Tensor]:
        """The adapter's weights, on the CPU, under names free of the adapter's own name."""

    @abstractmethod
    def load(self, model: nn.Module, state: Mapping[str, Tensor], name: str = "adapter") -> None:
        """Fill the attached adapter; names and shapes must match exactly (CheckpointError)."""

    @abstractmethod
    def scale(self, model: nn.Module, weight: float, name: str = "adapter") -> None:
        """Set the adapter's strength: 1 as trained, 0 the neutral model bit for bit."""

    @abstractmethod
    def merge(self, model: nn.Module) -> None:
        """Fold the active adapters into the base weights; refuses where the result would not be exact."""

    @abstractmethod
    def formula(self, model: nn.Module, backbone: BackboneConfig, spec: AdapterSpec) -> int:
        """Trainable parameters that `attach` would give, from layer shapes alone."""
