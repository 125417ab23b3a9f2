"""Insertion sites of speech encoders: the feed-forward of all Transformer layers, their attention, or both.

Layers are known by the names of their linear maps, not by their class: wav2vec 2.0, HuBERT, WavLM and their kin in
`transformers` share one set of names, Whisper has another, the project's own encoder a third.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eele.errors import ConfigError
from eele.sites import ENCODER_SITES, Layers, Part, Site, Sites

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class _Names:
    """Module names within a Transformer layer."""

    attention: str
    projections: tuple[str, str, str, str]  # query, key, value, output, within the attention
    expand: str
    contract: str
    attention_norm: str
    #: Whether that norm stands before the attention; None where it depends on the layer's class.
    norm_first: bool | None

    @property
    def maps(self) -> dict[Part, tuple[str, ...]]:
        """Linear maps of each part."""
        return {
            "attention": tuple(f"{self.attention}.{p}" for p in self.projections),
            "feed_forward": (self.expand, self.contract),
        }


_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")
_KNOWN = {
    "wav2vec 2.0, HuBERT, WavLM": _Names(
        "attention",
        _PROJECTIONS,
        "feed_forward.intermediate_dense",
        "feed_forward.output_dense",
        "layer_norm",
        None,
    ),
    "Whisper": _Names("self_attn", _PROJECTIONS, "fc1", "fc2", "self_attn_layer_norm", True),
    "small": _Names(
        "attention",
        ("query", "key", "value", "output"),
        "feed_forward.expand",
        "feed_forward.contract",
        "attention_norm",
        True,
    ),
}


def encoder_sites(encoder: nn.Module) -> Sites:
    """Where a speech encoder, bare or inside its wrapper, can be adapted: `feed_forward`, `attention`, `layers`.

    Raises ConfigError when its Transformer layers are of no known kind, or are not as many as it says.
    """
    title = f"encoder {type(encoder).__name__}"
    for names in _KNOWN.values():
        layers = {name: m for name, m in encoder.named_modules() if _is_layer(m, names)}
        if layers:
            break
    else:
        raise ConfigError(
            f"{title} has no Transformer layers of a known kind; known are: {', '.join(_KNOWN)}"
        )
    expected = _layer_count(encoder)
    if len(layers) != expected:
        raise ConfigError(f"{title} says {expected} layers and holds {len(layers)}")
    one = next(iter(layers.values()))
    sites = (_site(name, layers, names, one, parts) for name, parts in ENCODER_SITES.items())
    return Sites(title, tuple(sites), expected)


def _site(
    name: str, layers: dict[str, nn.Module], names: _Names, one: nn.Module, parts: tuple[Part, ...]
) -> Site:
    # transformers' name for the layers of large models, which normalise before each part.
    stable = type(one).__name__.endswith("StableLayerNorm")
    maps = [m for part in parts for m in names.maps[part]]
    stack = "|".join(re.escape(layer) for layer in layers)
    _, key, value, _ = names.maps["attention"]
    within = "|".join(re.escape(m) for m in maps)
    return Site(
        name,
        rf"({stack})\.({within})",
        lambda count: count * len(maps),
        Layers(
            stack,
            names.expand,
            names.contract,
            names.attention,
            key,
            value,
            names.attention_norm if names.norm_first or stable else None,
            frozenset(parts),
            # WavLM hands the weights of its maps to a function of torch's.
            hasattr(one.get_submodule(names.attention), "torch_multi_head_self_attention"),
        ),
    )


def _is_layer(module: nn.Module, names: _Names) -> bool:
    held = dict(module.named_modules())
    return all(m in held for part in names.maps.values() for m in part)


def _layer_count(encoder: nn.Module) -> int:
    config = getattr(encoder, "config", None)
    count = getattr(encoder, "layer_count", None) or getattr(config, "num_hidden_layers", None)
    if not isinstance(count, int):
        raise ConfigError(f"encoder {type(encoder).__name__} does not say how many layers it has")
    return count
