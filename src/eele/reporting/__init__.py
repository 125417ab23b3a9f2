"""From scored cells to tables, findings, figures and the page of a study."""

from __future__ import annotations

from eele.config.models import StudyConfig
from eele.paths import StudyPaths
from eele.reporting.columns import COLUMNS

__all__ = ["COLUMNS", "make_figures", "make_page", "make_tables"]


def make_tables(study: StudyConfig, paths: StudyPaths) -> None:
    """Write `tables/`: cells, scheme by emotion, ranks, methods and findings, as CSV and LaTeX.

    Raises DataError naming the file when a cell of the sweep lacks its scores.
    """
    from eele.reporting.tables import write_tables

    write_tables(study, paths)


def make_figures(study: StudyConfig, paths: StudyPaths) -> None:
    """Write `figures/`: every figure as SVG and PNG. Needs the cells' scores and speech."""
    from eele.reporting.figures import write_figures

    write_figures(study, paths)


def make_page(study: StudyConfig, paths: StudyPaths) -> None:
    """Write `report/index.html`, one file that works offline, and `provenance.json`.

    Needs `tables/` and `figures/`.
    """
    from eele.reporting.page import write_page

    write_page(study, paths)
