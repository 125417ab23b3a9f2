"""What an adaptation method is: it attaches to sites, trains, and can be plugged, scaled, merged, unplugged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from eele.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from eele.sites import SiteMap


@dataclass(frozen=True)
class AdapterSpec:
    """What identifies an adapter's shape; stored beside its weights."""

    method: str
    sites: tuple[str, ...]
    rank: int  # the method's size: LoRA's rank, inner channels of a bottleneck, number of prompts
    alpha: float = 1.0
    dropout: float = 0.0
    voices: tuple[int, ...] = ()  # rows of the speaker table that the adapter learns beside

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `voices` where there are any."""
        values = {**asdict(self), "sites": list(self.sites), "voices": list(self.voices)}
        return {key: value for key, value in values.items() if key != "voices" or value}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AdapterSpec:
        """The spec of `as_dict`'s values; further keys are ignored."""
        return cls(
            method=str(values["method"]),
            sites=tuple(values["sites"]),
            rank=int(values["rank"]),
            alpha=float(values["alpha"]),
            dropout=float(values["dropout"]),
            voices=tuple(values.get("voices", ())),
        )


@dataclass
class Attachment:
    """What attaching did: wrapped module names, and those left alone with the reason."""

    wrapped: list[str] = field(default_factory=list)
    unwrappable: list[dict[str, str]] = field(default_factory=list)


class Method(ABC):
    """One way to adapt sites of a frozen model."""

    name: str
    identity_at_start: ClassVar[bool] = (
        True  # False where a fresh adapter already changes the model
    )

    @abstractmethod
    def attach(
        self, model: nn.Module, sites: SiteMap, spec: AdapterSpec, name: str = "adapter"
    ) -> Attachment:
        """Insert a fresh adapter called `name`; only it is left trainable.

        It changes nothing yet where `identity_at_start`. New weights come from torch's global random state.
        Raises ConfigError when nothing can be adapted, or when the method makes no sense at a site.
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
    def formula(self, model: nn.Module, sites: SiteMap, spec: AdapterSpec) -> int:
        """Trainable parameters that `attach` would give, from layer shapes alone."""


class Adapter(Method):
    """A method that leaves the model's own weights alone and adds its own."""

    @abstractmethod
    def parameters(self, model: nn.Module, name: str = "adapter") -> dict[str, nn.Parameter]:
        """The weights of adapter `name`, under names free of it."""

    def state(self, model: nn.Module, name: str = "adapter") -> dict[str, Tensor]:
        return {key: p.detach().cpu().clone() for key, p in self.parameters(model, name).items()}

    def load(self, model: nn.Module, state: Mapping[str, Tensor], name: str = "adapter") -> None:
        parameters = self.parameters(model, name)
        if parameters.keys() != state.keys():
            difference = sorted(parameters.keys() ^ state.keys())
            raise CheckpointError(
                f"adapter does not fit its sites; differing weights: {difference[:4]}"
            )
        for key, parameter in parameters.items():
            if parameter.shape != state[key].shape:
                raise CheckpointError(
                    f"adapter weight {key} has shape {tuple(state[key].shape)}, "
                    f"expected {tuple(parameter.shape)}"
                )
            parameter.data.copy_(state[key])

    def train_alone(self, model: nn.Module, name: str) -> None:
        """Leave adapter `name` trainable, and nothing else in the model."""
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for parameter in self.parameters(model, name).values():
            parameter.requires_grad_(True)
