"""The score that counts against weights: what each system costs, and which are worth it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from eele.reporting import style
from eele.reporting.bootstrap import Bootstrap
from eele.reporting.collect import Results, System, method_words, plain_system, score_of
from eele.reporting.comparisons import front

_MARKERS = "oDs^vPX"
#: The colour of full fine-tuning is no adapter's.
_COLOURS = tuple(colour for colour in style.CATEGORIES if colour != style.FULL)


def method_looks(results: Results) -> dict[str, tuple[str, str]]:
    """Method -> its colour and marker."""
    return {
        method: (_COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)])
        for i, method in enumerate(results.methods)
    }


def draw_cost(plt: Any, results: Results, bootstrap: Bootstrap, folder: Path) -> None:
    """A mark per method x scheme x size, the Pareto front among them; `none`, `full` and recordings as lines:
    a mark for `full`, far to the right, would press systems of one budget together.
    """
    several = len(results.methods) > 1
    figure, axes = plt.subplots(figsize=(style.PAGE_WIDTH, 4.6) if several else (4.6, 3.3))
    points: list[tuple[float, float, str, str]] = []
    edge = front(results)
    looks = method_looks(results)

    def place(system: System) -> tuple[float, float]:
        return (
            results.mean(system, "trainable_parameters"),
            results.mean(system, results.goal.score),
        )

    def put(system: System, look: tuple[str, str], size: float, label: str) -> None:
        (x, y), (colour, marker) = place(system), look
        if not (np.isfinite(x) and np.isfinite(y)):
            return
        low, high = bootstrap.interval(bootstrap.mean_draws(system))
        if np.isfinite(low) and label:
            axes.plot([x, x], [low, high], color=colour, linewidth=0.9, alpha=0.45, zorder=2)
        ring = style.INK if system in edge else "white"
        axes.plot(x, y, marker, color=colour, markersize=size, zorder=4, markeredgecolor=ring)
        if label:
            points.append((x, y, label, colour))

    # Ranks are named where one scheme has them; eight schemes would bury the plot in names.
    one = len(results.ranked) == 1
    for (method, _), group in results.ranked.items():
        axes.plot(
            *np.array([place(system) for system in group]).T,
            color=looks[method][0],
            linewidth=0.9,
            alpha=0.5,
            zorder=2,
        )
    for system in results.placed:
        if system not in results.compared:
            put(system, looks[system.method], 4.5, f"r{system.rank}" if one else "")
    for system in results.compared:
        put(system, looks[system.method], 7.5, system.scheme)
    if len(edge) > 1:
        axes.plot(
            *np.array([place(system) for system in edge]).T,
            color=style.INK,
            linewidth=0.8,
            linestyle=(0, (1, 2)),
            drawstyle="steps-post",
            zorder=3,
        )
    axes.set_xscale("log")
    _round_numbers(axes)
    _label_points(figure, axes, points)
    axes.set_xlabel("trainable weights (log scale)")
    score_axis(axes, results)
    full = plain_system(results, "full")
    weights = results.mean(full, "trainable_parameters") if full else 0.0
    names = {
        "recording": "recording",
        "full": f"full, {weights / 1e6:.1f} M",
        "voice": "voice vector",
        "none": "neutral\nmodel",
    }
    references(axes, results, names)
    if several:
        for method, (colour, marker) in looks.items():
            axes.plot([], [], marker, color=colour, label=method_words(method))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=5, handletextpad=0.2)
    style.save(figure, folder, "cost_accuracy")


def _round_numbers(axes: Any) -> None:
    """Weights as 50k and 1.5M; within a decade at all its multiples, within two at some."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    low, high = axes.get_xlim()
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(EngFormatter(sep="") if high < 100 * low else NullFormatter())
    if 10 * low <= high < 100 * low:
        axes.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))


def references(axes: Any, results: Results, methods: dict[str, str]) -> None:
    """Dashed lines at baselines, labels kept apart by moving the lower ones down; one below the axis is named there."""
    lowest = results.scale_from
    apart = 0.055 * (1 - lowest)
    lines = []
    for method, label in methods.items():
        system = plain_system(results, method)
        value = score_of(results, system)
        if np.isfinite(value):
            lines.append((value, label))
    last = float("inf")
    for value, label in sorted(lines, reverse=True):
        if value < lowest:
            label = f"{label}\n{value:.2f} ↓".replace("-", "−")
        place = min(max(value, lowest), last - apart * (1 + label.count("\n") / 2))
        last = place
        if value >= lowest:
            axes.axhline(value, color=style.MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        axes.annotate(
            label,
            (1, place),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=style.MUTED,
        )


def score_axis(axes: Any, results: Results) -> None:
    """The score that counts, upwards to 1."""
    lowest = results.scale_from
    axes.set_ylim(lowest - 0.03 * (1 - lowest), 1 + 0.03 * (1 - lowest))
    axes.set_yticks(np.arange(lowest, 1.01, 0.2 if lowest < 0.4 else 0.1))
    axes.set_ylabel(results.goal.name)
    axes.grid(axis="y", color=style.RULE, linewidth=0.6)
    axes.set_axisbelow(True)


def _label_points(figure: Any, axes: Any, points: list[tuple[float, float, str, str]]) -> None:
    """Name each point beside it, at the first of eight places that hides no point and no name."""
    figure.canvas.draw()
    taken = [axes.transData.transform((x, y)) for x, y, _, _ in points]
    around = [(9, 0), (0, 10), (0, -10), (-9, 0), (8, 8), (8, -8), (-8, 8), (-8, -8)]
    scale = figure.dpi / 72
    names: list[np.ndarray] = []
    for (x, y, label, colour), own in zip(points, list(taken), strict=True):
        width = 3 + 2.5 * len(label)
        # Ranks lie on a line: a name above is not struck through.
        places = [(0, 10), *around] if label.startswith("r") else around

        def crowding(place: tuple[int, int], own: np.ndarray = own, width: float = width) -> float:
            spot = own + np.array(place) * scale * (1 + 0.04 * width)
            others = [p for p in taken if p is not own] + names
            hidden = sum(max(0.0, 13 * scale - float(np.hypot(*(spot - p)))) for p in others)
            return hidden + max(0.0, float(spot[0]) + width * scale - axes.bbox.x1)

        place = min(places, key=crowding)
        names.append(own + np.array(place) * scale)
        axes.annotate(
            label,
            (x, y),
            xytext=place,
            textcoords="offset points",
            ha={-1: "right", 0: "center", 1: "left"}[int(np.sign(place[0]))]
            if place[0]
            else "center",
            va="center",
            fontsize=8.5,
            color=colour,
            fontweight="bold",
            zorder=5,
        )
