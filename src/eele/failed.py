"""Cells that failed of themselves, noted for the next plan.

Snakemake takes the cells of one Slurm job for one thing: when one fails, all count as failed, and what the
others had finished is deleted. So a cell that has failed goes alone the next time, and takes no neighbour
with it. A job that was killed or told to stop says nothing about its cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol


class Cell(Protocol):
    """A cell of synthesis or of recognition."""

    @property
    def path(self) -> Path:
        """Where it lies, which names it."""


@contextmanager
def noted(study_folder: Path, cell: Cell) -> Iterator[None]:
    """Around a stage of `cell`: leave a note when it fails, remove an earlier one when it succeeds."""
    note = _folder(study_folder) / _name(cell)
    try:
        yield
    except Exception:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()
        raise
    note.unlink(missing_ok=True)


def names(study_folder: Path) -> frozenset[str]:
    """The cells with a note, as `group` knows them: one look at one folder."""
    folder = _folder(study_folder)
    return frozenset(path.name for path in folder.iterdir()) if folder.is_dir() else frozenset()


def group(cell: Cell, noted: frozenset[str]) -> str:
    """The Slurm group of a trained cell: `cell`, of which several make a job, or `failed_cell`, of which none do."""
    return "failed_cell" if noted and _name(cell) in noted else "cell"


def _folder(study_folder: Path) -> Path:
    return study_folder / "logs" / "failed_cells"


def _name(cell: Cell) -> str:
    return ",".join(cell.path.parts)
