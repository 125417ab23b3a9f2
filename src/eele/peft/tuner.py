"""What the methods of `peft` have in common: a layer of theirs stands in the place of one that holds weights.

The layers are `peft`'s, put in place here: its own injection leaves the new adapter alone active in the whole
model, and cannot put layers of two methods around one convolution. Around a module there is one layer per
method, which holds all adapters of that method. Every layer adds its adapters' updates to what the layer inside
it gives, so that adapters add up, whatever their methods and order are.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import nn

from eele.errors import ConfigError
from eele.peft import METHODS
from eele.peft.base import Adapter, AdapterSpec, Attachment
from eele.peft.inserted import hand_over_hooks
from eele.peft.where import cannot

if TYPE_CHECKING:
    from eele.sites import Kind, SiteMap

_KINDS: dict[type[nn.Module], Kind] = {
    nn.Linear: "linear",
    nn.Conv1d: "convolution",
    nn.ConvTranspose1d: "transposed convolution",
    nn.Embedding: "embedding",
}


def kind(module: nn.Module) -> Kind | None:
    """The kind of a layer; None where no method of `peft` adapts it."""
    return _KINDS.get(type(module))


class Tuner(Adapter):
    """A method whose adapters live in layers of `peft` around the modules of its sites."""

    @abstractmethod
    def layer(self, base: nn.Module, spec: AdapterSpec, name: str, reads: bool) -> Any:
        """A layer of `peft` around the plain module `base`, with a fresh adapter.

        `reads`: what uses the module may compute with its weight instead of calling it.
        """

    @abstractmethod
    def extend(self, layer: Any, spec: AdapterSpec, name: str) -> None:
        """Put a fresh adapter into `layer`, which holds others."""

    @abstractmethod
    def size(self, module: nn.Module, rank: int) -> int:
        """Weights of an adapter around the plain module."""

    def refusal(self, module: nn.Module) -> str | None:
        """Why the method cannot wrap `module` with an exact merge; None when it can."""
        if getattr(module, "parametrizations", None) or hasattr(module, "weight_g"):
            return "weight-normalised: merging would lose the adapter"
        if kind(module) not in METHODS[self.name].kinds:
            return f"{type(module).__name__}: not a kind of layer that {self.name} adapts"
        if (groups := getattr(module, "groups", 1)) != 1:
            return f"grouped convolution (groups={groups}): cannot be merged"
        return None

    def attach(
        self, model: nn.Module, sites: SiteMap, spec: AdapterSpec, name: str = "adapter"
    ) -> Attachment:
        modules, refused = self.wrappable(model, sites, spec.sites)
        self.prepare(modules, spec)
        for key, stack in _stacks(model):
            if key in modules and (layer := self._of(stack)) is not None and name in held(layer):
                raise ConfigError(f"{key} already holds a {self.name} called '{name}'")
        read = any(
            block.attention is not None and block.attention.reads_weights
            for site in spec.sites
            for block in sites.blocks(model, site)
        )
        # In the model's order, so that which random numbers a layer gets does not depend on the sites' order.
        for key in [key for key, _ in model.named_modules() if key in modules]:
            self._wrap(model, key, modules[key], spec, name, read)
        self.train_alone(model, name)
        return Attachment([key for key, _ in model.named_modules() if key in modules], refused)

    def prepare(self, modules: dict[str, nn.Module], spec: AdapterSpec) -> None:
        """Make what the layers of one adapter share; most methods share nothing."""

    def wrappable(
        self, model: nn.Module, sites: SiteMap, names: tuple[str, ...]
    ) -> tuple[dict[str, nn.Module], list[dict[str, str]]]:
        """Modules of the sites `names` that the method wraps, and those it leaves alone with the reason.

        Raises ConfigError where it wraps nothing of a site.
        """
        yes: dict[str, nn.Module] = {}
        no: list[dict[str, str]] = []
        for site in names:
            modules = sites.modules(model, site)
            reasons = {key: self.refusal(module) for key, module in modules.items()}
            if all(reasons.values()):
                why = "; ".join(sorted({str(reason) for reason in reasons.values()}))
                raise ConfigError(
                    cannot(self.name, site, sites.name, f"it can wrap no module there ({why})")
                )
            for key, module in modules.items():
                if (reason := reasons[key]) is None:
                    yes[key] = module
                else:
                    no.append({"module": key, "type": type(module).__name__, "reason": reason})
        return yes, no

    def parameters(self, model: nn.Module, name: str = "adapter") -> dict[str, nn.Parameter]:
        found: dict[str, nn.Parameter] = {}
        for key, layer in self._layers(model):
            for attribute in layer.adapter_layer_names:
                parts = getattr(layer, attribute)
                if name not in parts:
                    continue
                part, prefix = parts[name], f"{key}.{attribute}"
                if isinstance(part, nn.Parameter):
                    found[prefix] = part
                else:
                    found.update((f"{prefix}.{k}", p) for k, p in part.named_parameters())
        return found

    def scale(self, model: nn.Module, weight: float, name: str = "adapter") -> None:
        for _, layer in self._layers(model):
            if name not in held(layer):
                continue
            layer.set_scale(name, weight)
            # A weight of 0 must leave the base untouched bit for bit, so the adapter is switched off.
            others = [a for a in _active(layer) if a != name]
            _activate(layer, others + [name] * (weight != 0))

    def merge(self, model: nn.Module) -> None:
        for key, stack in _stacks(model):
            layer = self._of(stack)
            if layer is None:
                continue
            if (reason := self.refusal(layer.get_base_layer())) is not None:
                raise ConfigError(f"cannot merge: {reason}")
            of_base = next((other for other in stack if getattr(other, "of_base", False)), None)
            if of_base is not None and len(stack) > 1:
                raise ConfigError(
                    f"cannot merge: {key} holds adapters of several methods, and {of_base.eele_method} is a "
                    "change of the plain weights"
                )
        for _, layer in self._layers(model):
            layer.merge(safe_merge=True)

    def formula(self, model: nn.Module, sites: SiteMap, spec: AdapterSpec) -> int:
        modules, _ = self.wrappable(model, sites, spec.sites)
        return sum(self.size(module, spec.rank) for module in modules.values())

    def _wrap(
        self,
        model: nn.Module,
        key: str,
        base: nn.Module,
        spec: AdapterSpec,
        name: str,
        reads: bool,
    ) -> None:
        outermost: Any = model.get_submodule(key)
        layer = self._of(_stack(outermost))
        if layer is not None:
            active = _active(layer)
            self.extend(layer, spec, name)
            _activate(layer, [*active, name])
            return
        layer = self.layer(base, spec, name, reads)
        layer.eele_method = self.name
        # Made around the plain module, which alone tells its sizes; put around what stands there.
        layer.base_layer = outermost
        layer.train(outermost.training)
        parent, _, child = key.rpartition(".")
        setattr(model.get_submodule(parent), child, layer)
        hand_over_hooks(outermost, layer)

    def _layers(self, model: nn.Module) -> Iterator[tuple[str, Any]]:
        """Name of the plain module and layer, of every layer of this method."""
        for key, stack in _stacks(model):
            if (layer := self._of(stack)) is not None:
                yield key, layer

    def _of(self, stack: list[Any]) -> Any | None:
        return next((layer for layer in stack if layer.eele_method == self.name), None)


def held(layer: Any) -> set[str]:
    """Names of the adapters in a layer of `peft`."""
    return {name for attribute in layer.adapter_layer_names for name in getattr(layer, attribute)}


def _stack(module: Any) -> list[Any]:
    """The layers of `peft` around one plain module, the outermost first."""
    stack = []
    while hasattr(module, "eele_method"):
        stack.append(module)
        module = module.base_layer
    return stack


def _stacks(model: nn.Module) -> Iterator[tuple[str, list[Any]]]:
    """Name of the plain module and the layers around it, wherever there are any."""
    for key, module in model.named_modules():
        if hasattr(module, "eele_method") and not key.endswith(".base_layer"):
            yield key, _stack(module)


def _active(layer: Any) -> list[str]:
    names = held(layer)
    return [] if layer.disable_adapters else [a for a in layer.active_adapters if a in names]


def _activate(layer: Any, names: list[str]) -> None:
    """Switch on these adapters of a wrapped layer and no others."""
    layer.set_adapter(names)
    layer.enable_adapters(bool(names))
