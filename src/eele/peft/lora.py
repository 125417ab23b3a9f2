"""Low-rank adaptation (Hu et al., arXiv 2106.09685) of linear, embedding and convolution layers, through `peft`.

Rank means peft's `r`: a Linear of (in, out) gains r (in + out) weights, a Conv1d or ConvTranspose1d of kernel k
r (in k + out), an Embedding of (entries, size) r (entries + size). The update is scaled by alpha / r.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from eele.errors import ConfigError
from eele.peft.base import Adapter, AdapterSpec, Attachment
from eele.peft.inserted import hand_over_hooks

if TYPE_CHECKING:
    from eele.sites import SiteMap

_CONVOLUTIONS = (nn.Conv1d, nn.ConvTranspose1d)


def refusal(module: nn.Module) -> str | None:
    """Why LoRA cannot wrap `module` with an exact merge; None when it can."""
    if getattr(module, "parametrizations", None) or hasattr(module, "weight_g"):
        return "weight-normalised: merging would lose the adapter"
    if type(module) in _CONVOLUTIONS:
        groups = module.groups
        return None if groups == 1 else f"grouped convolution (groups={groups}): cannot be merged"
    if type(module) in (nn.Linear, nn.Embedding):
        return None
    return f"{type(module).__name__}: not a kind of layer that LoRA adapts"


def parameters_per_rank(module: nn.Module) -> int:
    """LoRA weights per unit of rank for one wrappable layer."""
    if isinstance(module, _CONVOLUTIONS):
        return module.in_channels * module.kernel_size[0] + module.out_channels
    if isinstance(module, nn.Embedding):
        return module.num_embeddings + module.embedding_dim
    assert isinstance(module, nn.Linear)
    return module.in_features + module.out_features


def wrappable(
    model: nn.Module, sites: SiteMap, names: tuple[str, ...]
) -> tuple[dict[str, nn.Module], list[dict[str, str]]]:
    """Modules of the sites `names` that LoRA wraps, and those it leaves alone with the reason."""
    yes: dict[str, nn.Module] = {}
    no: list[dict[str, str]] = []
    for site in names:
        for name, module in sites.modules(model, site).items():
            reason = refusal(module)
            if reason is None:
                yes[name] = module
            else:
                no.append({"module": name, "type": type(module).__name__, "reason": reason})
    return yes, no


class Lora(Adapter):
    """LoRA through `peft`, injected into the plain model."""

    name = "lora"

    def attach(
        self, model: nn.Module, sites: SiteMap, spec: AdapterSpec, name: str = "adapter"
    ) -> Attachment:
        from peft import LoraConfig, inject_adapter_in_model

        from eele.peft.lora_convolutions import LAYERS
        from eele.peft.lora_read import READ_LAYERS

        modules, refused = wrappable(model, sites, spec.sites)
        if not modules:
            raise ConfigError(f"lora can wrap no module of the sites {', '.join(spec.sites)}")
        config = LoraConfig(
            r=spec.rank,
            lora_alpha=spec.alpha,  # type: ignore[arg-type]  # any number works
            lora_dropout=spec.dropout,
            target_modules=_exactly(modules),
            bias="none",
        )
        read = any(block.reads_weights for s in spec.sites for block in sites.blocks(model, s))
        config._register_custom_module({**LAYERS, **(READ_LAYERS if read else {})})
        active = {layer: _active(layer) for layer in _layers(model)}
        with warnings.catch_warnings():
            # Several adapters side by side are meant here.
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")
            inject_adapter_in_model(config, model, adapter_name=name)
        for layer in _layers(model):
            # peft leaves the new adapter alone active, in the whole model.
            _activate(layer, active.get(layer, []) + [name] * (name in layer.r))
            hand_over_hooks(layer.get_base_layer(), layer)
        wrapped = [n for n, m in model.named_modules() if name in getattr(m, "r", {})]
        if sorted(wrapped) != sorted(modules):
            difference = set(wrapped) ^ set(modules)
            raise ConfigError(
                f"lora wrapped other modules than its sites hold: {sorted(difference)}"
            )
        self.train_alone(model, name)
        return Attachment(wrapped, refused)

    def parameters(self, model: nn.Module, name: str = "adapter") -> dict[str, nn.Parameter]:
        pattern = re.compile(rf"(\.lora_[A-Za-z_]+)\.{re.escape(name)}(?=\.|$)")
        return {
            pattern.sub(r"\1", key): parameter
            for key, parameter in model.named_parameters()
            if pattern.search(key)
        }

    def scale(self, model: nn.Module, weight: float, name: str = "adapter") -> None:
        for layer in _layers(model):
            if name not in layer.r:
                continue
            layer.set_scale(name, weight)
            # A weight of 0 must leave the base untouched bit for bit, so the adapter is switched off.
            others = [a for a in _active(layer) if a != name]
            _activate(layer, others + [name] * (weight != 0))

    def merge(self, model: nn.Module) -> None:
        for layer in _layers(model):
            reason = refusal(layer.get_base_layer())
            if reason is not None:
                raise ConfigError(f"cannot merge: {reason}")
            layer.merge(safe_merge=True)

    def formula(self, model: nn.Module, sites: SiteMap, spec: AdapterSpec) -> int:
        modules, _ = wrappable(model, sites, spec.sites)
        return spec.rank * sum(parameters_per_rank(module) for module in modules.values())


def _layers(model: nn.Module) -> Iterator[Any]:
    from peft.tuners.lora import LoraLayer

    for module in model.modules():
        if isinstance(module, LoraLayer):
            yield module


def _active(layer: Any) -> list[str]:
    return [] if layer.disable_adapters else [a for a in layer.active_adapters if a in layer.r]


def _activate(layer: Any, names: list[str]) -> None:
    """Switch on these adapters of a wrapped layer and no others."""
    layer.set_adapter(names)
    layer.enable_adapters(bool(names))


def _exactly(names: Mapping[str, nn.Module]) -> str:
    """A pattern that peft matches against whole module names: these and no others."""
    return "|".join(re.escape(name) for name in names)
