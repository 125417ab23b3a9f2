"""Training curves, one axis per loss term: the weighted sum alone would show its largest term only."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from eele.cells import AXES
from eele.config.models import StudyConfig
from eele.reporting import style
from eele.reporting.bootstrap import Bootstrap
from eele.reporting.collect import Results
from eele.reporting.columns import LOSS_TERMS
from eele.reporting.markup import words
from eele.workflow import trains_vocoder

_COLUMNS = 3
#: Of longer names fewer stand side by side in the legend.
_SHORT_NAME = 15
#: Where a term falls further than this, its last steps are flat on a linear axis.
_LINEAR_RANGE = 8.0
#: More points than this are averaged: single batches of a long run hide its course.
_POINTS = 150


class Curve(NamedTuple):
    """One line of every panel: `rows` has a column `step` and one per term."""

    label: str
    colour: str
    rows: pd.DataFrame
    marker: str = ""


def curve_figures(study: StudyConfig) -> tuple[str, ...]:
    """Names of the study's figures of training curves."""
    return ("pretraining_curves", *("vocoder_curves",) * trains_vocoder(study), "training_curves")


def draw_curves(plt: Any, results: Results, _: Bootstrap, folder: Path) -> None:
    """The neutral model's curves, the vocoder's where the study trains one, and the best scheme's cells'."""
    for name in curve_figures(results.study):
        style.save(draw_panels(plt, curves_of(results, name)), folder, name)


def curves_of(results: Results, name: str) -> list[Curve]:
    """What the figure `name` of `curve_figures` draws."""
    if name == "training_curves":
        return _best_cells(results)
    return _run(results.paths.vocoder if name == "vocoder_curves" else results.paths.neutral)


def last_values(curves: list[Curve]) -> str:
    """The last value of every line, in words."""
    found = []
    for curve in curves:
        values = {term: curve.rows[term].dropna() for term in shown_terms([curve])}
        ends = [f"{_title(term)} {v.iloc[-1]:.3g}" for term, v in values.items()]
        if ends:
            found.append(f"{curve.label}: {', '.join(ends)}")
    return "; ".join(found)


def _title(term: str) -> str:
    return "weighted sum" if term == "loss" else LOSS_TERMS.get(term, words(term))


def _run(folder: Path) -> list[Curve]:
    """Training and validation of one run."""
    rows = _read_curves(folder / "curves.csv")
    return [
        Curve("training", style.NEUTRAL, rows[rows["split"] == "train"]),
        Curve("validation", style.BEST, rows[rows["split"] == "validation"], "o"),
    ]


def _best_cells(results: Results) -> list[Curve]:
    """Validation of each cell of the best scheme, a colour per emotion."""
    best = results.best_scheme()
    curves = []
    for colour, emotion in zip(style.CATEGORIES, results.study.adapted, strict=False):
        for row in results.of(best, emotion).to_dict("records") if best else ():
            cell = Path(*(f"{axis}~{row[axis]}" for axis in AXES))
            rows = _read_curves(results.paths.root / "cells" / cell / "adapter" / "curves.csv")
            curves.append(Curve(emotion, colour, rows[rows["split"] == "validation"], "o"))
    return curves


def shown_terms(curves: list[Curve]) -> list[str]:
    """Columns that hold a value in some curve: `loss`, then the terms in the order of `LOSS_TERMS`."""
    found = {
        str(column)
        for curve in curves
        for column in curve.rows.columns
        if curve.rows[column].notna().any()
    }
    order = ["loss", *LOSS_TERMS]
    known = [term for term in order if term in found]
    return known + sorted(found - set(order) - {"step", "split"})


def draw_panels(plt: Any, curves: list[Curve], unit: str = "step") -> Any:
    """A figure with one axis per term of `shown_terms`, each with the curves that hold it; `unit`: what `step`
    counts."""
    terms = shown_terms(curves)
    columns = min(_COLUMNS, len(terms)) or 1
    rows = -(-len(terms) // columns) or 1
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(style.PAGE_WIDTH if columns > 1 else 4.6, 1.85 * rows + 0.35),
        squeeze=False,
        layout="constrained",
    )
    handles: dict[str, Any] = {}
    for axes in grid.flat[len(terms) :]:
        axes.axis("off")
    for axes, term in zip(grid.flat, terms, strict=False):
        for curve in curves:
            if term not in curve.rows or not curve.rows[term].notna().any():
                continue
            drawn = averaged(curve.rows[["step", term]].dropna())
            # Past a few dozen points a line of dots is a thick line.
            marker = curve.marker if len(drawn) <= 40 else ""
            (handles[curve.label],) = axes.plot(
                drawn["step"],
                drawn[term],
                color=curve.colour,
                marker=marker,
                markersize=2.5,
                linewidth=1.3,
                label=curve.label,
            )
        _dress(axes, _title(term))
    for column in range(columns):
        # The lowest panel of a column names its axis.
        below = [axes for axes in grid[:, column] if axes.axison]
        if terms and below:
            below[-1].set_xlabel(unit)
    if terms:
        columns = 6 if max(map(len, handles)) <= _SHORT_NAME else 3
        figure.legend(
            list(handles.values()), list(handles), loc="outside lower center", ncols=columns
        )
    else:
        grid[0, 0].text(0.5, 0.5, "no curves", ha="center", color=style.MUTED)
        grid[0, 0].axis("off")
    return figure


def averaged(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows`, or means of neighbouring ones where there are more than `_POINTS`."""
    if len(rows) <= _POINTS:
        return rows
    return rows.groupby(np.arange(len(rows)) * _POINTS // len(rows)).mean()


def _dress(axes: Any, title: str) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    values = [y for line in axes.lines for y in line.get_ydata()]
    low, high = min(values), max(values)
    if low > 0 and high > _LINEAR_RANGE * low:
        axes.set_yscale("log")
        steps = (1, 2, 5) if high < 300 * low else (1,)
        axes.yaxis.set_major_locator(LogLocator(subs=steps))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
        title += " (log scale)"
    axes.set_title(title)
    axes.locator_params(axis="x", nbins=4, integer=True)
    axes.grid(axis="y", color=style.RULE, linewidth=0.6)


def _read_curves(file: Path) -> pd.DataFrame:
    """step, split, loss; a run may leave none (early runs), which is an empty panel, not an error."""
    if not file.is_file():
        return pd.DataFrame(columns=["step", "split", "loss"])
    return pd.read_csv(file)
