"""From trained recognisers to tables, figures and the page of a study of recognition."""

from __future__ import annotations

from eele.config.models import StudyConfig
from eele.paths import StudyPaths


def make_tables(study: StudyConfig, paths: StudyPaths) -> None:
    """Write `tables/recognition.csv` and `tables/recognition_folds.csv`.

    Raises DataError naming the file when a recogniser of the study lacks its results.
    """
    from eele.ser.tables import write_tables

    write_tables(study, paths)


def make_figures(study: StudyConfig, paths: StudyPaths) -> None:
    """Write `figures/`: every figure as SVG and PNG. Needs `tables/` and the recognisers' curves."""
    from eele.ser.figures import write_figures

    write_figures(study, paths)


def make_page(study: StudyConfig, paths: StudyPaths) -> None:
    """Write `report/index.html`, one file that works offline, and `provenance.json`.

    Needs `tables/` and `figures/`.
    """
    from eele.ser.page import write_page

    write_page(study, paths)
