"""Insertion sites as data: which modules of a model belong to a site, and how many must be there.

A site that matches fewer or more modules than expected stops the run: a half-matched site looks like a
weak result. Adaptation methods know models through a `SiteMap` alone: here are those of the synthesisers, in
`eele.ser.sites` those of speech encoders.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from eele.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    # Configs ask which methods go where, so this file cannot ask for them when it is read.
    from eele.config.models import BackboneConfig, FastSpeech2Config, Vits2Config


#: The two halves of a Transformer layer, and a layer of a predictor: convolution, ReLU, norm.
Part = Literal["attention", "feed_forward", "predictor"]
#: Kinds of layers that adaptation methods tell apart.
Kind = Literal["linear", "convolution", "transposed convolution", "embedding"]


@dataclass(frozen=True)
class Attention:
    """The attention of a Transformer layer, by the names of its modules in the model."""

    name: str  # takes states (batch, time, channels) and a mask
    key: str  # linear map
    value: str  # linear map
    norm: str | None  # where it stands before the attention; None where it follows it
    reads_weights: bool  # it computes with its maps' weights instead of calling the maps


@dataclass(frozen=True)
class Block:
    """One layer that adapters can stand in, by the names of its modules in the model."""

    name: str
    expand: str  # first map of the feed-forward, or the convolution
    contract: str  # last map of the feed-forward, or the norm behind the convolution
    told: str  # what is called with the mask of the states
    parts: frozenset[Part]  # what of the layer belongs to the site
    attention: Attention | None = None  # None in a predictor


@dataclass(frozen=True)
class PredictorLayers:
    """The layers of predictors: a module of convolutions `first`, `second`, ... and norms `first_norm`, ..."""

    pattern: str  # matched against whole names of convolutions
    parts: frozenset[Part] = frozenset(("predictor",))

    def block(self, name: str) -> Block:
        """The layer whose convolution is called `name`."""
        return Block(name, name, f"{name}_norm", name.rpartition(".")[0], self.parts)


@dataclass(frozen=True)
class Layers:
    """The Transformer layers of a site; module names are those within a layer."""

    pattern: str  # matched against whole names of layers
    expand: str
    contract: str
    attention: str
    key: str
    value: str
    attention_norm: str | None = None
    parts: frozenset[Part] = frozenset(("attention", "feed_forward"))
    reads_weights: bool = False

    def block(self, name: str) -> Block:
        """The layer called `name`."""
        norm = self.attention_norm
        attention = Attention(
            f"{name}.{self.attention}",
            f"{name}.{self.key}",
            f"{name}.{self.value}",
            f"{name}.{norm}" if norm else None,
            self.reads_weights,
        )
        return Block(
            name,
            f"{name}.{self.expand}",
            f"{name}.{self.contract}",
            attention.name,
            self.parts,
            attention,
        )


@dataclass(frozen=True)
class Site:
    """A named part of a model."""

    name: str
    pattern: str  # matched against whole module names
    expected: Callable[[Any], int]  # number of weight-holding modules, from the model's sizes
    layers: Layers | PredictorLayers | None = None  # None where the site has neither
    kinds: tuple[Kind, ...] = ("linear",)  # kinds of layers that methods can adapt there


class SiteMap(Protocol):
    """Where a model can be adapted."""

    @property
    def name(self) -> str:
        """The model, for messages."""

    @property
    def names(self) -> tuple[str, ...]:
        """The sites."""

    def modules(self, model: nn.Module, site: str) -> dict[str, nn.Module]:
        """Name -> module of every module of `site` that itself holds weights; adapters are seen through.

        Raises ConfigError when the site is unknown or the number of modules is not the expected one.
        """

    def blocks(self, model: nn.Module, site: str) -> list[Block]:
        """The layers of Transformers or predictors of `site`, in the model's order; none where it has none.

        Raises ConfigError as `modules` does.
        """


@dataclass(frozen=True)
class Sites:
    """The site map of a model whose sites are given as data."""

    name: str
    sites: tuple[Site, ...]
    sizes: Any  # what the sites' `expected` asks

    @property
    def names(self) -> tuple[str, ...]:
        """The sites."""
        return tuple(site.name for site in self.sites)

    def modules(self, model: nn.Module, site: str) -> dict[str, nn.Module]:
        """See `SiteMap.modules`."""
        entry = self._site(site)
        pattern = re.compile(entry.pattern)
        found = {
            name: module
            for name, module in _plain(model)
            if pattern.fullmatch(name) and _holds_weights(module)
        }
        expected = entry.expected(self.sizes)
        if len(found) != expected:
            raise ConfigError(
                f"site '{site}' of {self.name} matches {len(found)} modules, expected {expected}: "
                f"{', '.join(found)}"
            )
        return found

    def blocks(self, model: nn.Module, site: str) -> list[Block]:
        """See `SiteMap.blocks`."""
        self.modules(model, site)
        layers = self._site(site).layers
        if layers is None:
            return []
        pattern = re.compile(layers.pattern)
        return [layers.block(name) for name, _ in _plain(model) if pattern.fullmatch(name)]

    def _site(self, name: str) -> Site:
        for site in self.sites:
            if site.name == name:
                return site
        raise ConfigError(f"unknown site '{name}' of {self.name}; allowed: {', '.join(self.names)}")


def width(model: nn.Module, block: Block) -> int:
    """Channels of the states that pass through `block`."""
    from torch import nn

    for _, module in _plain(model.get_submodule(block.contract)):
        for size in ("out_features", "out_channels"):
            if hasattr(module, size):
                return int(getattr(module, size))
        if isinstance(module, nn.LayerNorm):
            return int(module.normalized_shape[-1])
    raise ConfigError(f"{block.contract} holds no linear map, no convolution and no norm")


#: Names of a layer's modules that both synthesisers use.
_LAYER = ("expand", "contract", "attention", "attention.key", "attention.value")
_BLOCK = 6  # query, key, value, output, expand, contract
_BLOCK_NORMS = 2
_PREDICTOR = 5  # two convolutions, two norms, read-out
_PREDICTOR_LAYER = "(first|second)"


def _fastspeech2() -> tuple[Site, ...]:
    def stack(layers: int) -> int:
        return layers * (_BLOCK + _BLOCK_NORMS) + 1

    def encoder(c: FastSpeech2Config) -> int:
        return stack(c.encoder_layers) + 1

    def decoder(c: FastSpeech2Config) -> int:
        return stack(c.decoder_layers) + 1 + 2 * c.postnet_layers - 1

    def layers(stack: str) -> Layers:
        return Layers(rf"{stack}\.blocks\.\d+", *_LAYER, "attention_norm")

    return (
        Site(
            "text_encoder",
            r"phone_embedding|encoder\..+",
            encoder,
            layers("encoder"),
            ("linear", "convolution", "embedding"),
        ),
        Site(
            "duration",
            r"duration_predictor\..+",
            lambda c: _PREDICTOR,
            PredictorLayers(rf"duration_predictor\.{_PREDICTOR_LAYER}"),
            ("linear", "convolution"),
        ),
        Site(
            "variance",
            r"(pitch|energy)_predictor\..+|(pitch|energy)_embedding\..+",
            lambda c: 2 * _PREDICTOR + 2,
            PredictorLayers(rf"(pitch|energy)_predictor\.{_PREDICTOR_LAYER}"),
            ("linear", "convolution"),
        ),
        Site(
            "decoder",
            r"decoder\..+|mel_projection|postnet\..+",
            decoder,
            layers("decoder"),
            ("linear", "convolution"),
        ),
    )


_RELATIVE_BLOCK = _BLOCK + _BLOCK_NORMS + 1  # and the attention, which holds relative positions
_SEPARABLE = 3 * 4  # layers of two convolutions and two norms
_SPLINE_COUPLINGS = 4


def _vits2() -> tuple[Site, ...]:
    def text_encoder(c: Vits2Config) -> int:
        # Embedding, speaker, projection.
        return c.encoder_layers * _RELATIVE_BLOCK + 3

    def duration(c: Vits2Config) -> int:
        if c.duration_predictor == "adversarial":
            # Voice and noise; two convolutions, two norms, read-out.
            return 2 + _PREDICTOR
        # Of text and of durations; each of these networks, and each coupling, has a layer before and after.
        conditions = 2 * (_SEPARABLE + 2)
        # Prior and posterior; each itself holds an affine map.
        flows = 2 * (1 + _SPLINE_COUPLINGS * (_SEPARABLE + 2))
        return 1 + conditions + flows

    def flow(c: Vits2Config) -> int:
        wavenet = 1 + 2 * c.flow_layers
        return c.flow_couplings * (2 + c.flow_transformer_layers * _RELATIVE_BLOCK + wavenet)

    def decoder(c: Vits2Config) -> int:
        d = c.decoder
        residual = 2 * len(d.resblock_kernels) * len(d.resblock_dilations)
        # First, speaker and last layer.
        return 3 + len(d.upsample_rates) * (1 + residual)

    def layers(stacks: str) -> Layers:
        return Layers(rf"{stacks}\.blocks\.\d+", *_LAYER)

    return (
        Site(
            "text_encoder",
            r"text_encoder\..+",
            text_encoder,
            layers("text_encoder"),
            ("linear", "convolution", "embedding"),
        ),
        Site(
            "duration",
            r"duration_predictor\..+",
            duration,
            # A predictor that is a flow has none of these.
            PredictorLayers(rf"duration_predictor\.convs\.{_PREDICTOR_LAYER}"),
            ("linear", "convolution"),
        ),
        Site(
            "flow",
            r"flow\..+",
            flow,
            layers(r"flow\.couplings\.\d+"),
            ("linear", "convolution"),
        ),
        Site(
            "decoder",
            r"decoder\..+",
            decoder,
            kinds=("convolution", "transposed convolution"),
        ),
    )


SITES: dict[str, tuple[Site, ...]] = {"fastspeech2": _fastspeech2(), "vits2": _vits2()}

#: Sites of encoders of speech, all of linear maps -> the parts of a Transformer layer that belong to them.
ENCODER_SITES: dict[str, tuple[Part, ...]] = {
    "feed_forward": ("feed_forward",),
    "attention": ("attention",),
    "layers": ("attention", "feed_forward"),
}


def holds(model: str, site: str) -> tuple[str, tuple[Kind, ...], tuple[Part, ...]]:
    """Of a backbone, or of `encoder`: its title for messages, the kinds of layers and the parts of layers that
    `site` holds. ConfigError when there is no such model or site."""
    found: dict[str, tuple[tuple[Kind, ...], tuple[Part, ...]]] = {}
    if model == "encoder":
        title = model
        found.update((name, (("linear",), parts)) for name, parts in ENCODER_SITES.items())
    elif model in SITES:
        title = f"backbone {model}"
        for entry in SITES[model]:
            found[entry.name] = entry.kinds, tuple(entry.layers.parts) if entry.layers else ()
    else:
        raise ConfigError(f"unknown model '{model}'; allowed: {', '.join((*SITES, 'encoder'))}")
    if site not in found:
        raise ConfigError(f"unknown site '{site}' of {title}; allowed: {', '.join(found)}")
    return title, *found[site]


def backbone_sites(config: BackboneConfig) -> Sites:
    """Where the synthesiser of `config` can be adapted."""
    return Sites(f"backbone {config.name}", SITES[config.name], getattr(config, config.name))


def _plain(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules of `model`; one that an adapter wraps stands for itself, under the name of the wrapper.

    Several adapters can be plugged side by side; the second must find the plain modules of its sites.
    """
    inside: str | None = None
    for name, module in model.named_modules():
        if inside is not None and name.startswith(inside):
            continue
        if getattr(module, "is_inserted", False):
            # An adapter that stands beside the model's modules.
            inside = f"{name}."
            continue
        if hasattr(module, "get_base_layer"):
            inside, module = f"{name}.", module.get_base_layer()
        elif hasattr(module, "parametrizations"):
            # How its weight is made up is no module of the backbone's.
            inside = f"{name}."
        yield name, module


def _holds_weights(module: nn.Module) -> bool:
    own = any(True for _ in module.parameters(recurse=False))
    return own or hasattr(module, "parametrizations")
