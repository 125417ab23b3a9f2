"""Figures behind the headline: confusions and prosody shifts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eele.reporting import style
from eele.reporting.bootstrap import Bootstrap
from eele.reporting.collect import Results, System, plain_system
from eele.reporting.columns import SHIFTS
from eele.reporting.quality import energy_comparable
from eele.vocabulary import EMOTIONS


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
    chosen = [plain_system(results, m) for m in ("recording", "none", "voice", "full")] + [
        results.best_scheme()
    ]
    return [system for system in chosen if system is not None]


def draw_confusion(plt: Any, results: Results, _: Bootstrap, folder: Path) -> None:
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
        if table.empty:
            axes.axis("off")
            axes.set_title(f"{system.label}: not judged")
            continue
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
    recording = plain_system(results, "recording")
    if recording is not None:
        value = results.mean(recording, shift, emotion)
        if np.isfinite(value):
            return value
    rows = results.cells[results.cells["emotion"] == emotion]
    return float(rows[f"recording_{shift}"].astype(float).mean())


def draw_shifts(plt: Any, results: Results, _: Bootstrap, folder: Path) -> None:
    emotions = list(results.study.adapted)
    best, full = results.best_scheme(), plain_system(results, "full")
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
        comparable = shift != "energy_shift_db" or energy_comparable(results.study, results.paths)
        axes.set_title(title)
        axes.set_xlabel(unit if comparable else f"{unit}, not comparable")
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
