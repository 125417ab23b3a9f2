"""Training: the neutral model and the cells."""

from __future__ import annotations

from eele.cells import Cell
from eele.config import StudyConfig
from eele.paths import StudyPaths


def pretrain(study: StudyConfig, paths: StudyPaths) -> None:
    """See `eele.training.stages.pretrain`."""
    from eele.training.stages import pretrain as stage

    stage(study, paths)


def train_cell(study: StudyConfig, paths: StudyPaths, cell: Cell) -> None:
    """See `eele.training.stages.train_cell`."""
    from eele.training.stages import train_cell as stage

    stage(study, paths, cell)
