"""Insertion sites as data: which modules of a backbone belong to a site, and how many must be there.

A site that matches fewer or more modules than expected stops the run: a half-matched site looks like a
weak result.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eele.config.models import BackboneConfig, FastSpeech2Config
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


SITES: dict[str, tuple[Site, ...]] = {"fastspeech2": _fastspeech2()}


def site_modules(model: nn.Module, config: BackboneConfig, site: str) -> dict[str, nn.Module]:
    """Name -> module of every weight-holding leaf module of `site`, on the plain (unadapted) model.

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
        for name, module in model.named_modules()
        if pattern.fullmatch(name) and any(True for _ in module.parameters(recurse=False))
    }
    expected = sites[site].expected(getattr(config, config.name))
    if len(found) != expected:
        raise ConfigError(
            f"site '{site}' of backbone {config.name} matches {len(found)} modules, expected {expected}: "
            f"{', '.join(found)}"
        )
    return found
