"""Insertion sites as data: which modules of a backbone belong to a site, and how many must be there.

A site that matches fewer or more modules than expected stops the run: a half-matched site looks like a
weak result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eele.config.models import BackboneConfig, FastSpeech2Config, Vits2Config
from eele.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Site:
    """A named part of a backbone."""

    name: str
    pattern: str  # matched against whole module names
    expected: Callable[[Any], int]  # number of weight-holding modules, from the backbone's sizes


_BLOCK = 6  # query, key, value, output, expand, contract
_BLOCK_NORMS = 2
_PREDICTOR = 5  # two convolutions, two norms, read-out


def _fastspeech2() -> tuple[Site, ...]:
    def stack(layers: int) -> int:
        return layers * (_BLOCK + _BLOCK_NORMS) + 1

    def encoder(c: FastSpeech2Config) -> int:
        return stack(c.encoder_layers) + 1

    def decoder(c: FastSpeech2Config) -> int:
        return stack(c.decoder_layers) + 1 + 2 * c.postnet_layers - 1

    return (
        Site("text_encoder", r"phone_embedding|encoder\..+", encoder),
        Site("duration", r"duration_predictor\..+", lambda c: _PREDICTOR),
        Site(
            "variance",
            r"(pitch|energy)_predictor\..+|(pitch|energy)_embedding\..+",
            lambda c: 2 * _PREDICTOR + 2,
        ),
        Site("decoder", r"decoder\..+|mel_projection|postnet\..+", decoder),
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

    return (
        Site("text_encoder", r"text_encoder\..+", text_encoder),
        Site("duration", r"duration_predictor\..+", duration),
        Site("flow", r"flow\..+", flow),
        Site("decoder", r"decoder\..+", decoder),
    )


SITES: dict[str, tuple[Site, ...]] = {"fastspeech2": _fastspeech2(), "vits2": _vits2()}


def site_modules(model: nn.Module, config: BackboneConfig, site: str) -> dict[str, nn.Module]:
    """Name -> module of every module of `site` that itself holds weights; adapters are seen through.

    Raises ConfigError when the site is unknown or the number of modules is not the expected one.
    """
    sites = {entry.name: entry for entry in SITES[config.name]}
    if site not in sites:
        raise ConfigError(
            f"unknown site '{site}' of backbone {config.name}; allowed: {', '.join(sites)}"
        )
    pattern = re.compile(sites[site].pattern)
    found = {
        name: module
        for name, module in _plain(model)
        if pattern.fullmatch(name) and _holds_weights(module)
    }
    expected = sites[site].expected(getattr(config, config.name))
    if len(found) != expected:
        raise ConfigError(
            f"site '{site}' of backbone {config.name} matches {len(found)} modules, expected {expected}: "
            f"{', '.join(found)}"
        )
    return found


def _plain(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules of `model`; one that an adapter wraps stands for itself, under the name of the wrapper.

    Several adapters can be plugged side by side; the second must find the plain modules of its sites.
    """
    inside: str | None = None
    for name, module in model.named_modules():
        if inside is not None and name.startswith(inside):
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
