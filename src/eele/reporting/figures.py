"""The study's figures, each as SVG and PNG, with the words that describe them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eele.config.models import StudyConfig
from eele.paths import StudyPaths
from eele.reporting import style
from eele.reporting.bootstrap import Bootstrap
from eele.reporting.collect import Results, System, load_results
from eele.reporting.columns import SHIFTS
from eele.reporting.examples import write_examples
from eele.reporting.tables import caption, shown_systems
from eele.vocabulary import EMOTIONS, NOT_APPLICABLE


@dataclass(frozen=True)
class Words:
    """Title, caption and alternative text of a figure."""

    title: str
    caption: str


WORDS = {
    "scheme_by_emotion": Words(
        "Where should the adapter sit?",
        "Emotion accuracy by insertion scheme and emotion, with the baselines.",
    ),
    "rank_curve": Words(
        "How large must it be?",
        "Emotion accuracy over the rank; the band is the interval of the mean, thin lines are emotions.",
    ),
    "cost_accuracy": Words(
        "What does it cost?",
        "Emotion accuracy against trainable weights; bars are intervals, the line joins the ranks of one scheme.",
    ),
    "confusion": Words(
        "What is heard instead?",
        "Emotion asked for (rows) and recognised (columns), share of utterances.",
    ),
    "prosody_shifts": Words(
        "Does the prosody move as in the recordings?",
        "Shift from neutral, synthetic speech beside recordings.",
    ),
    "training_curves": Words(
        "Did training settle?",
        "Loss over steps: the neutral model, and the best scheme's adapters on validation sentences.",
    ),
}


def write_figures(study: StudyConfig, paths: StudyPaths) -> None:
    """Write every figure of the study below `figures/`."""
    results = load_results(study, paths)
    bootstrap = Bootstrap(results)
    with style.drawing() as plt:
        for draw in (
            _heat_map,
            _rank_curve,
            _cost,
            _confusion,
            _shifts,
            _curves,
        ):
            draw(plt, results, bootstrap, paths.figures)
        write_examples(plt, results)


def row_name(results: Results, system: System) -> str:
    """Name of a system in a table of schemes: the letter and the paper's caption, or the baseline."""
    if system.scheme == NOT_APPLICABLE:
        return system.label
    words = caption(system.scheme, results.study)
    return f"{system.scheme}  {words}" if words else system.scheme


def _heat_map(plt: Any, results: Results, _: Bootstrap, folder: Path) -> None:
    systems, emotions = shown_systems(results), list(results.study.emotions)
    values = np.array(
        [
            [results.mean(s, "emotion_accuracy", e) for e in emotions]
            + [results.mean(s, "emotion_accuracy")]
            for s in systems
        ]
    )
    height = 0.55 + 0.27 * len(systems)
    figure, axes = plt.subplots(figsize=(min(style.PAGE_WIDTH, 3.4 + 0.75 * len(emotions)), height))
    # The mean stands apart by a gap: it is a summary, not an emotion.
    edges_x = np.r_[np.arange(len(emotions) + 1), len(emotions) + 0.15, len(emotions) + 1.15]
    centres = [*(np.arange(len(emotions)) + 0.5), len(emotions) + 0.65]
    with_gap = np.insert(values, len(emotions), np.nan, axis=1)
    edges_y = np.arange(len(systems) + 1)
    axes.pcolormesh(
        edges_x,
        edges_y,
        np.ma.masked_invalid(with_gap),
        cmap=style.HEAT,
        vmin=0,
        vmax=1.15,
        edgecolors="white",
        linewidth=1.5,
    )
    for i, j in np.ndindex(values.shape):
        value = float(values[i, j])
        text = "–" if np.isnan(value) else f"{value:.2f}"
        colour = style.MUTED if np.isnan(value) else style.ink_on(value)
        axes.text(centres[j], i + 0.5, text, ha="center", va="center", color=colour, fontsize=8.5)
    axes.set_xticks(centres, [*emotions, "mean"])
    axes.set_yticks(np.arange(len(systems)) + 0.5, [row_name(results, s) for s in systems])
    axes.tick_params(colors=style.INK)
    axes.xaxis.tick_top()
    axes.invert_yaxis()
    for spine in axes.spines.values():
        spine.set_visible(False)
    style.save(figure, folder, "scheme_by_emotion")


def _plain(results: Results, method: str) -> System | None:
    return next((s for s in results.systems if s.method == method), None)


def _references(axes: Any, results: Results, methods: dict[str, str]) -> None:
    """Dashed lines at baselines, labels kept apart by moving the lower ones down."""
    lines = []
    for method, label in methods.items():
        system = _plain(results, method)
        value = results.mean(system, "emotion_accuracy") if system else float("nan")
        if np.isfinite(value):
            lines.append((value, label))
    last = float("inf")
    for value, label in sorted(lines, reverse=True):
        place = min(value, last - 0.055)
        last = place
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


def _accuracy_axis(axes: Any, grid: bool = True) -> None:
    axes.set_ylim(-0.03, 1.03)
    axes.set_yticks(np.arange(0, 1.01, 0.2))
    axes.set_ylabel("emotion accuracy")
    if grid:
        axes.grid(axis="y", color=style.RULE, linewidth=0.6)
    axes.set_axisbelow(True)


def _rank_curve(plt: Any, results: Results, bootstrap: Bootstrap, folder: Path) -> None:
    figure, axes = plt.subplots(figsize=(4.6, 3.3))
    groups = {k: g for k, g in results.ranked.items() if k[0] == results.main_method}
    for colour, ((_, scheme), group) in zip(style.CATEGORIES, groups.items(), strict=False):
        ranks = [system.rank for system in group]
        mean = [results.mean(s, "emotion_accuracy") for s in group]
        bounds = np.array([bootstrap.interval(bootstrap.mean_draws(s)) for s in group])
        axes.fill_between(ranks, bounds[:, 0], bounds[:, 1], color=colour, alpha=0.15, linewidth=0)
        axes.plot(
            ranks, mean, "o-", color=colour, markersize=5, zorder=4, label=f"scheme {scheme}, mean"
        )
        if len(groups) == 1:
            for line, emotion in zip(
                ("-", "--", ":", "-.", (0, (1, 3)), (0, (5, 1, 1, 1))),
                results.study.emotions,
                strict=False,
            ):
                values = [results.mean(s, "emotion_accuracy", emotion) for s in group]
                axes.plot(
                    ranks, values, linestyle=line, color=style.MUTED, linewidth=0.9, label=emotion
                )
    if groups:
        shown = sorted({system.rank for group in groups.values() for system in group})
        axes.set_xscale("log", base=2)
        axes.set_xticks(shown, [str(rank) for rank in shown])
        axes.minorticks_off()
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.18),
            ncols=3,
            handlelength=2.2,
            columnspacing=1.2,
        )
    else:
        axes.text(
            0.5, 0.5, "one rank only", transform=axes.transAxes, ha="center", color=style.MUTED
        )
        axes.set_xticks([])
    axes.set_xlabel("rank")
    _accuracy_axis(axes)
    _references(axes, results, {"recording": "recording", "full": "full", "none": "neutral\nmodel"})
    style.save(figure, folder, "rank_curve")


def _cost(plt: Any, results: Results, bootstrap: Bootstrap, folder: Path) -> None:
    figure, axes = plt.subplots(figsize=(4.6, 3.3))
    points: list[tuple[float, float, str, str]] = []

    def put(system: System, colour: str, marker: str, size: float, label: str) -> None:
        x, y = (
            results.mean(system, "trainable_parameters"),
            results.mean(system, "emotion_accuracy"),
        )
        if not (np.isfinite(x) and np.isfinite(y)):
            return
        low, high = bootstrap.interval(bootstrap.mean_draws(system))
        if np.isfinite(low):
            axes.plot([x, x], [low, high], color=colour, linewidth=0.9, alpha=0.45, zorder=2)
        axes.plot(x, y, marker, color=colour, markersize=size, zorder=4, markeredgecolor="white")
        if label:
            points.append((x, y, label, colour))

    for group in results.ranked.values():
        axes.plot(
            [results.mean(s, "trainable_parameters") for s in group],
            [results.mean(s, "emotion_accuracy") for s in group],
            color=style.BEST,
            linewidth=0.9,
            alpha=0.5,
            zorder=2,
        )
        for system in group:
            if system not in results.compared_schemes:
                put(system, style.BEST, "o", 4.5, f"r{system.rank}")
    for system in results.compared_schemes:
        put(system, style.BEST, "o", 7.5, system.scheme)
    full = _plain(results, "full")
    if full:
        put(full, style.FULL, "s", 7.5, "full")
    axes.set_xscale("log")
    _label_points(figure, axes, points)
    axes.set_xlabel("trainable weights (log scale)")
    _accuracy_axis(axes)
    _references(axes, results, {"recording": "recording", "none": "neutral\nmodel"})
    style.save(figure, folder, "cost_accuracy")


def _label_points(figure: Any, axes: Any, points: list[tuple[float, float, str, str]]) -> None:
    """Name each point beside it, at the first of eight places that hides no point and no name."""
    axes.set_ylim(-0.03, 1.03)
    figure.canvas.draw()
    taken = [axes.transData.transform((x, y)) for x, y, _, _ in points]
    places = [(9, 0), (0, 10), (0, -10), (-9, 0), (8, 8), (8, -8), (-8, 8), (-8, -8)]
    scale = figure.dpi / 72
    names: list[np.ndarray] = []
    for (x, y, label, colour), own in zip(points, list(taken), strict=True):
        width = 3 + 2.5 * len(label)

        def crowding(place: tuple[int, int], own: np.ndarray = own, width: float = width) -> float:
            spot = own + np.array(place) * scale * (1 + 0.04 * width)
            others = [p for p in taken if p is not own] + names
            return sum(max(0.0, 13 * scale - float(np.hypot(*(spot - p)))) for p in others)

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


def confusion(results: Results, system: System) -> pd.DataFrame:
    """Share of utterances: index = emotion asked for, columns = emotion recognised."""
    rows = results.utterances
    chosen = (
        (rows["method"] == system.method)
        & (rows["scheme"] == system.scheme)
        & (rows["rank"] == system.rank)
        & rows["predicted_emotion"].notna()
    )
    counts = pd.crosstab(rows[chosen]["emotion"], rows[chosen]["predicted_emotion"])
    known = [e for e in EMOTIONS if e in {"neutral", *results.study.emotions}]
    columns = [e for e in EMOTIONS if e in known or e in counts.columns]
    counts = counts.reindex(index=[e for e in known if e in counts.index], columns=columns).fillna(
        0
    )
    return counts.div(counts.sum(axis=1), axis=0)


def confusion_systems(results: Results) -> list[System]:
    """Whose confusions are shown: recording, neutral model, full, best scheme."""
    chosen = [_plain(results, m) for m in ("recording", "none", "full")] + [results.best_scheme()]
    return [system for system in chosen if system is not None]


def _confusion(plt: Any, results: Results, _: Bootstrap, folder: Path) -> None:
    systems = confusion_systems(results)
    n = 1 + len(results.study.emotions)
    columns = 2 if n > 4 else min(4, len(systems))
    rows = -(-len(systems) // columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(style.PAGE_WIDTH, rows * (style.PAGE_WIDTH / columns * 0.72 + 0.5)),
        squeeze=False,
        layout="constrained",
    )
    for axes in grid.flat[len(systems) :]:
        axes.axis("off")
    for axes, system in zip(grid.flat, systems, strict=False):
        table = confusion(results, system)
        axes.imshow(table.to_numpy(), cmap=style.HEAT, vmin=0, vmax=1.15, aspect="auto")
        for i, j in np.ndindex(table.shape):
            value = float(table.iloc[i, j])  # type: ignore[arg-type]
            if value >= 0.005:
                axes.text(
                    j,
                    i,
                    f"{value:.2f}",
                    ha="center",
                    va="center",
                    color=style.ink_on(value),
                    fontsize=8,
                )
        axes.set_xticks(range(table.shape[1]), table.columns, rotation=35, ha="right")
        axes.set_yticks(range(table.shape[0]), table.index)
        axes.set_title(system.label)
        for spine in axes.spines.values():
            spine.set_visible(False)
    style.save(figure, folder, "confusion")


_SHIFT_WORDS = {
    "f0_mean_shift_st": ("F0 mean", "semitones", 0.0),
    "f0_range_shift_st": ("F0 range", "semitones", 0.0),
    "rate_ratio": ("speaking rate", "ratio", 1.0),
    "energy_shift_db": ("energy", "dB", 0.0),
}


def recording_shift(results: Results, shift: str, emotion: str) -> float:
    """The recordings' own shift from neutral."""
    recording = _plain(results, "recording")
    if recording is not None:
        value = results.mean(recording, shift, emotion)
        if np.isfinite(value):
            return value
    rows = results.cells[results.cells["emotion"] == emotion]
    return float(rows[f"recording_{shift}"].astype(float).mean())


def _shifts(plt: Any, results: Results, _: Bootstrap, folder: Path) -> None:
    emotions = list(results.study.emotions)
    best, full = results.best_scheme(), _plain(results, "full")
    figure, grid = plt.subplots(
        1,
        len(SHIFTS),
        figsize=(style.PAGE_WIDTH, 1.1 + 0.32 * len(emotions)),
        sharey=True,
        layout="constrained",
    )
    y = np.arange(len(emotions))
    handles: dict[str, Any] = {}
    for axes, shift in zip(grid, SHIFTS, strict=True):
        title, unit, rest = _SHIFT_WORDS[shift]
        recorded = np.array([recording_shift(results, shift, e) for e in emotions])
        axes.axvline(rest, color=style.RULE, linewidth=1.2, zorder=0)
        series: list[tuple[str, np.ndarray, dict[str, Any]]] = [
            (
                "recording",
                recorded,
                {"marker": "o", "ms": 6.5, "mfc": "white", "mec": style.RECORDING, "mew": 1.4},
            )
        ]
        if best:
            values = np.array([results.mean(best, shift, e) for e in emotions])
            for row in range(len(emotions)):
                axes.plot(
                    [recorded[row], values[row]], [row, row], color=style.RULE, lw=2, zorder=1
                )
            series.append(
                (
                    f"best scheme ({best.label})",
                    values,
                    {"marker": "o", "ms": 6.5, "color": style.BEST},
                )
            )
        if full:
            values = np.array([results.mean(full, shift, e) for e in emotions])
            series.append((full.label, values, {"marker": "s", "ms": 4.5, "color": style.FULL}))
        for name, values, look in series:
            (handles[name],) = axes.plot(values, y, linestyle="none", zorder=3, **look)
        axes.set_title(title)
        axes.set_xlabel(unit)
        axes.set_yticks(y, emotions)
        axes.tick_params(axis="y", colors=style.INK)
        axes.margins(x=0.15, y=0.12)
        axes.spines["left"].set_visible(False)
    grid[0].invert_yaxis()
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower center",
        ncols=3,
        handletextpad=0.3,
    )
    style.save(figure, folder, "prosody_shifts")


def _curves(plt: Any, results: Results, bootstrap: Bootstrap, folder: Path) -> None:
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(style.PAGE_WIDTH, 2.6), layout="constrained"
    )
    curves = _read_curves(results.paths.neutral / "curves.csv")
    for split, colour in (("train", style.NEUTRAL), ("validation", style.BEST)):
        rows = curves[curves["split"] == split]
        if len(rows):
            left.plot(rows["step"], rows["loss"], color=colour, label=split)
    left.set_title("neutral model")
    best = results.best_scheme()
    if best is not None:
        for colour, emotion in zip(style.CATEGORIES, results.study.emotions, strict=False):
            for index, row in enumerate(results.of(best, emotion).to_dict("records")):
                cell = Path(*(f"{axis}~{row[axis]}" for axis in _AXES))
                curves = _read_curves(
                    results.paths.root / "cells" / cell / "adapter" / "curves.csv"
                )
                rows = curves[curves["split"] == "validation"]
                right.plot(
                    rows["step"],
                    rows["loss"],
                    color=colour,
                    marker="o",
                    markersize=3,
                    label=emotion if index == 0 else None,
                )
        right.set_title(f"adapters, {best.label}: validation")
    for axes in (left, right):
        axes.set_xlabel("step")
        axes.set_ylabel("loss")
        axes.grid(axis="y", color=style.RULE, linewidth=0.6)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    style.save(figure, folder, "training_curves")


_AXES = ("backbone", "method", "scheme", "rank", "emotion", "seed")


def _read_curves(file: Path) -> pd.DataFrame:
    """step, split, loss; a run may leave none (early runs), which is an empty panel, not an error."""
    if not file.is_file():
        return pd.DataFrame(columns=["step", "split", "loss"])
    return pd.read_csv(file)
