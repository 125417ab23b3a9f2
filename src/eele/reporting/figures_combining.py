"""One figure per mixture: what the judges hear along its axis, and how F0, rate and voice move."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

import pandas as pd

from eele.combining import Mixture, mixtures
from eele.reporting import style
from eele.reporting.bootstrap import Bootstrap
from eele.reporting.collect import Results
from eele.reporting.combining import SIMILARITY, axis_words, moving, on_axis, points_of

#: Panels beside one another in a row.
_COLUMNS = 2


def combining_name(mixture: Mixture) -> str:
    """Name of the figure of a mixture."""
    return f"combining_{mixture.name}"


def draw_combining(plt: Any, results: Results, _: Bootstrap, folder: Path) -> None:
    for mixture in mixtures(results.study).values():
        figure = _draw(plt, results, mixture, points_of(results, mixture))
        style.save(figure, folder, combining_name(mixture))


def _draw(plt: Any, results: Results, mixture: Mixture, rows: pd.DataFrame) -> Any:
    judges = results.study.evaluation.judges
    points = on_axis(rows, judges[0])
    followed = moving(points)
    count = len(judges) + len(followed)
    lines = -(-count // _COLUMNS)
    figure, grid = plt.subplots(
        lines,
        _COLUMNS,
        figsize=(style.PAGE_WIDTH, 2.2 * lines + 0.4),
        squeeze=False,
        layout="constrained",
    )
    for axes in grid.flat[count:]:
        axes.axis("off")
    panels = iter(grid.flat)
    handles: dict[str, Any] = {}
    for judge, axes in zip(judges, panels, strict=False):
        handles |= _probabilities(axes, results, mixture, on_axis(rows, judge))
        axes.set_title(f"heard by {judge}")
    for what, axes in zip(followed, panels, strict=False):
        if what is not SIMILARITY:
            axes.axhline(what.rest, color=style.RULE, linewidth=1.2, zorder=0)
        _line(axes, points, what.column, style.INK)
        axes.set_title(what.name)
        axes.set_ylabel(what.unit)
    for axes in grid.flat[max(0, count - _COLUMNS) : count]:
        axes.set_xlabel(axis_words(mixture))
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=6)
    return figure


def _probabilities(
    axes: Any, results: Results, mixture: Mixture, points: pd.DataFrame
) -> dict[str, Any]:
    """A line per emotion; bands for those of the mixture and neutral, since more hide each other."""
    others = [e for e in results.study.emotions if e not in mixture.emotions]
    colours = {"neutral": style.NEUTRAL}
    colours |= dict(zip((*mixture.emotions, *others), cycle(style.CATEGORIES), strict=False))
    handles = {}
    for emotion, colour in colours.items():
        main = emotion not in others
        handles[emotion] = _line(axes, points, f"probability_{emotion}", colour, main, emotion)
    axes.set_ylim(-0.03, 1.03)
    axes.set_ylabel("mean probability")
    return handles


def _line(
    axes: Any, points: pd.DataFrame, column: str, colour: str, main: bool = True, label: str = ""
) -> Any:
    at = points["at"].astype(float)
    if main:
        axes.fill_between(
            at,
            points[f"{column}_low"].astype(float),
            points[f"{column}_high"].astype(float),
            color=colour,
            alpha=0.15,
            linewidth=0,
        )
    (line,) = axes.plot(
        at,
        points[column].astype(float),
        "o-" if main else "-",
        color=colour,
        markersize=4,
        linewidth=1.6 if main else 0.9,
        label=label,
    )
    axes.grid(axis="y", color=style.RULE, linewidth=0.6)
    return line
