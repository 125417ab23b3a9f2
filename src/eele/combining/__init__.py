"""Adapters of any methods and emotions plugged together and scaled, and what that does to the speech."""

from __future__ import annotations

from eele.combining.mixtures import (
    Mixture,
    Point,
    combined_cells,
    mixtures,
    parse_cell,
    weighted_cells,
)
from eele.config.models import StudyConfig
from eele.paths import StudyPaths

__all__ = [
    "Mixture",
    "Point",
    "combine",
    "combined_cells",
    "mixtures",
    "parse_cell",
    "weighted_cells",
]


def combine(study: StudyConfig, paths: StudyPaths, mixture: Mixture) -> None:
    """See `eele.combining.stage.combine`."""
    from eele.combining.stage import combine as stage

    stage(study, paths, mixture)
