"""Metrics: one file each, declared here; `score_cell` computes them for a cell.

Import-light: metrics need NumPy only; what a stage needs is imported when it runs.
"""

from __future__ import annotations

from eele.cells import Cell
from eele.config.models import StudyConfig
from eele.metrics import emotion, f0, mcd, phone_errors, prosody, speaker_similarity
from eele.metrics.base import MetricSpec
from eele.paths import StudyPaths
from eele.registry import Registry

#: Score columns by name.
METRICS: Registry[MetricSpec] = Registry("metric")
for _spec in (
    emotion.SPEC,
    phone_errors.SPEC,
    mcd.SPEC,
    *f0.SPECS,
    *prosody.SPECS,
    speaker_similarity.SPEC,
):
    METRICS.register(_spec.name, _spec)

__all__ = ["METRICS", "score_cell"]


def score_cell(study: StudyConfig, paths: StudyPaths, cell: Cell) -> None:
    """See `eele.metrics.score.score_cell`."""
    from eele.metrics.score import score_cell as stage

    stage(study, paths, cell)
