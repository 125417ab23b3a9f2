"""Which cells are plugged together, and with which weights. Import-light: read when a config is read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from eele.cells import Cell, check_cell
from eele.config.models import StudyConfig
from eele.errors import ConfigError
from eele.peft import METHODS
from eele.vocabulary import NOT_APPLICABLE

#: The neutral model itself, no adapter attached: every point is held against it.
NEUTRAL = "neutral"


@dataclass(frozen=True)
class Point:
    """One mixture of a series: where it lies on its axis, and the weight of each cell there.

    Of the neutral model (`NEUTRAL`): no place, and no weights.
    """

    name: str
    at: float | None
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Mixture:
    """An entry of `combining`: cells, and the points at which they are plugged together."""

    name: str
    axis: Literal["line", "intensity"]
    cells: tuple[Cell, ...]
    points: tuple[Point, ...]

    @property
    def emotions(self) -> tuple[str, ...]:
        """Emotions of the cells, each once, in their order."""
        return tuple(dict.fromkeys(cell.emotion for cell in self.cells))

    def meant(self, point: Point) -> tuple[str, ...]:
        """Emotions whose adapters weigh something at `point`; neutral where none does."""
        weighty = [c.emotion for c, w in zip(self.cells, point.weights, strict=False) if w > 0]
        return tuple(dict.fromkeys(weighty)) or ("neutral",)


def mixtures(study: StudyConfig) -> dict[str, Mixture]:
    """Entry of `combining` -> its mixture. Raises ConfigError for a cell that the study cannot build."""
    found = {}
    for name, config in study.combining.items():
        cells, weights = zip(
            *weighted_cells(config.cells, study, f"combining.{name}.cells"), strict=True
        )
        if config.points is None:
            places = [(at, [at * weight for weight in weights]) for at in config.intensities]
        else:
            ends = [number / (config.points - 1) for number in range(config.points)]
            places = [(t, [(1 - t) * weights[0], t * weights[1]]) for t in ends]
        found[name] = Mixture(
            name,
            "intensity" if config.points is None else "line",
            cells,
            tuple(Point(str(n), at, tuple(some)) for n, (at, some) in enumerate(places)),
        )
    return found


def combined_cells(study: StudyConfig) -> list[Cell]:
    """The cells of all mixtures, each once."""
    return list(dict.fromkeys(c for mixture in mixtures(study).values() for c in mixture.cells))


def weighted_cells(
    texts: Sequence[str], study: StudyConfig, where: str
) -> list[tuple[Cell, float]]:
    """Cells written as CELL[:WEIGHT], with their weights (1 where none is given).

    Raises ConfigError, beginning with `where`, for what is no cell of the study or cannot be mixed.
    """
    found = [_weighted(text, study, where) for text in texts]
    cells = [cell for cell, _ in found]
    if len(set(cells)) != len(cells):
        raise ConfigError(f"{where}: the same cell is named twice; give it one weight")
    if any(cell.method == "full" for cell in cells) and len(cells) > 1:
        raise ConfigError(
            f"{where}: method full moves every weight and cannot be mixed with others"
        )
    return found


def _weighted(text: str, study: StudyConfig, where: str) -> tuple[Cell, float]:
    name, colon, number = text.rpartition(":")
    try:
        weight = float(number) if colon else 1.0
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise ConfigError(f"{where} {text}: the weight '{number}' is not a number")
    try:
        return parse_cell(name if colon else text, study), weight
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def parse_cell(text: str, study: StudyConfig) -> Cell:
    """A trained cell named by its folder or as METHOD/SCHEME/RANK/EMOTION[/SEED], in the sweep or not."""
    if "~" in text:
        cell = Cell.parse(text)
    else:
        parts = text.split("/")
        if parts[0] in METHODS and not METHODS[parts[0]].sited and len(parts) in (2, 3):
            parts = [parts[0], NOT_APPLICABLE, "0", *parts[1:]]
        if len(parts) not in (4, 5) or not parts[2].isdigit():
            raise ConfigError(
                f"cell '{text}': expected METHOD/SCHEME/RANK/EMOTION[/SEED], full/EMOTION[/SEED], "
                "or a cell's folder"
            )
        seed = parts[4] if len(parts) == 5 else str(study.seeds[0])
        cell = Cell(study.backbone.name, parts[0], parts[1], int(parts[2]), parts[3], seed)
    if not cell.trained:
        raise ConfigError(f"cell '{text}' has no adapter to plug; the neutral voice needs no cell")
    return check_cell(cell, study)
