"""Adapters that stand beside the modules of layers and act on what passes through them.

Such an adapter is a module of the layer itself, under `inserted_<method>.<adapter>`, and acts through hooks on the
layer's modules: the model's own weights keep their names. Hooks are bound methods of a module of the model, so a
copy of the model is adapted by its own copy of the adapter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from torch import nn

from eele.errors import ConfigError
from eele.peft import METHODS
from eele.peft.base import Adapter, AdapterSpec, Attachment
from eele.peft.where import cannot
from eele.sites import width

if TYPE_CHECKING:
    from eele.sites import Block, Part, SiteMap

_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
)


class Insertion(nn.ModuleDict, ABC):
    """The adapters of one method in one layer, by name."""

    is_inserted = True  # to the site maps: no module of the model's

    def __init__(self) -> None:
        super().__init__()
        self.strengths: dict[str, float] = {}

    @abstractmethod
    def listen(self, model: nn.Module, block: Block) -> None:
        """Act on the modules of `block` from now on."""

    def active(self) -> list[tuple[nn.Module, float]]:
        """Adapters that act, with their strengths; one of strength 0 is out, so that nothing changes."""
        return [(self[name], weight) for name, weight in self.strengths.items() if weight != 0]


class Inserted(Adapter):
    """A method whose adapters are `Insertion`s."""

    part: ClassVar[Part]  # the part of a layer it acts on
    holder: ClassVar[type[Insertion]]
    no_merge: ClassVar[str]  # why it has no place in the model's weights

    @abstractmethod
    def fresh(self, channels: int, spec: AdapterSpec) -> nn.Module:
        """A new adapter of one layer whose states have so many channels."""

    @abstractmethod
    def size(self, channels: int, spec: AdapterSpec) -> int:
        """Weights of such an adapter."""

    def attach(
        self, model: nn.Module, sites: SiteMap, spec: AdapterSpec, name: str = "adapter"
    ) -> Attachment:
        wrapped = self.insert(model, self.blocks(model, sites, spec), spec, name)
        self.train_alone(model, name)
        return Attachment(wrapped)

    def blocks(self, model: nn.Module, sites: SiteMap, spec: AdapterSpec) -> list[Block]:
        """The layers of the spec's sites. Raises ConfigError where the method makes no sense at a site."""
        found: dict[str, Block] = {}
        for site in spec.sites:
            blocks = sites.blocks(model, site)
            held = {part for block in blocks for part in block.parts}
            reason = METHODS[spec.method].lacks((), held)
            if reason is not None:
                raise ConfigError(cannot(spec.method, site, sites.name, reason))
            found.update((block.name, block) for block in blocks)
        return list(found.values())

    def insert(
        self, model: nn.Module, blocks: list[Block], spec: AdapterSpec, name: str
    ) -> list[str]:
        """Put a fresh adapter into each layer; returns the modules it acts on."""
        for block in blocks:
            layer = model.get_submodule(block.name)
            holder = getattr(layer, self._attribute, None)
            if holder is None:
                holder = self.holder()
                layer.add_module(self._attribute, holder)
                holder.listen(model, block)
            assert isinstance(holder, Insertion)
            if name in holder:
                raise ConfigError(f"{block.name} already holds a {self.name} called '{name}'")
            like = next(layer.parameters())
            holder[name] = self.fresh(width(model, block), spec).to(like.device, like.dtype)
            holder[name].train(layer.training)
            holder.strengths[name] = 1.0
        return [block.told if self.part == "attention" else block.contract for block in blocks]

    def parameters(self, model: nn.Module, name: str = "adapter") -> dict[str, nn.Parameter]:
        return {
            f"{key}.{inner}": parameter
            for key, holder in self._holders(model)
            if name in holder
            for inner, parameter in holder[name].named_parameters()
        }

    def scale(self, model: nn.Module, weight: float, name: str = "adapter") -> None:
        for _, holder in self._holders(model):
            if name in holder:
                holder.strengths[name] = weight

    def merge(self, model: nn.Module) -> None:
        raise ConfigError(f"cannot merge: {self.no_merge}")

    def formula(self, model: nn.Module, sites: SiteMap, spec: AdapterSpec) -> int:
        return self.total(model, self.blocks(model, sites, spec), spec)

    def total(self, model: nn.Module, blocks: list[Block], spec: AdapterSpec) -> int:
        """Weights that `insert` would give."""
        return sum(self.size(width(model, block), spec) for block in blocks)

    @property
    def _attribute(self) -> str:
        return f"inserted_{self.name}"

    def _holders(self, model: nn.Module) -> list[tuple[str, Insertion]]:
        return [
            (key, module)
            for key, module in model.named_modules()
            if isinstance(module, Insertion) and key.rpartition(".")[2] == self._attribute
        ]


def hand_over_hooks(inner: nn.Module, outer: nn.Module) -> None:
    """Let what listens to `inner` listen to `outer`, which now stands in its place."""
    for kind in _HOOKS:
        hooks = getattr(inner, kind)
        getattr(outer, kind).update(hooks)
        hooks.clear()
