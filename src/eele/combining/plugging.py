"""Cells plugged into one neutral model together, and their strengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from eele.cells import Cell
from eele.neutral import NeutralModel
from eele.paths import StudyPaths
from eele.peft import method
from eele.peft.stored import plug

if TYPE_CHECKING:
    from eele.backbones.base import Backbone


def plug_cells(
    model: Backbone, neutral: NeutralModel, paths: StudyPaths, cells: Sequence[Cell]
) -> None:
    """Attach the trained adapter of each cell; CheckpointError where one is missing or does not fit."""
    for number, cell in enumerate(cells):
        plug(model, neutral, paths.neutral, paths.cell(cell) / "adapter", _name(number))


def set_weights(model: Backbone, cells: Sequence[Cell], weights: Sequence[float]) -> None:
    """Set the strength of each of the cells that `plug_cells` attached: 0 takes it out, 1 is as trained."""
    for number, (cell, weight) in enumerate(zip(cells, weights, strict=True)):
        method(cell.method, cell.learns_voices).scale(model, weight, _name(number))


def _name(number: int) -> str:
    return f"cell{number}"
