"""Method against insertion scheme: what does well where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from eele.config.models import StudyConfig
from eele.reporting import style
from eele.reporting.bootstrap import Bootstrap
from eele.reporting.collect import Results, System, method_words, plain_system
from eele.reporting.markup import shown
from eele.reporting.tables import caption
from eele.vocabulary import SCHEMES

METHOD_BY_SCHEME = "method_by_scheme"


def compares_methods(study: StudyConfig) -> bool:
    """Whether methods are compared at schemes."""
    return len({block.method for block in study.sweep if block.schemes}) > 1


def grid(results: Results) -> tuple[list[str], dict[tuple[str, str], System]]:
    """The compared schemes in their order, and (method, scheme) -> the system at the method's common size."""
    found = {(system.method, system.scheme): system for system in results.compared}
    schemes = {scheme for _, scheme in found}
    return [s for s in (*SCHEMES, *results.study.schemes) if s in schemes], found


def draw_methods(plt: Any, results: Results, bootstrap: Bootstrap, folder: Path) -> None:
    """A cell per method and scheme: the mean over emotions and seeds above its interval, the best of each scheme
    in bold; nothing where there are not several methods."""
    if not compares_methods(results.study):
        return
    schemes, systems = grid(results)
    methods, score, lowest = results.methods, results.goal.score, results.scale_from
    figure, axes = plt.subplots(
        figsize=(style.PAGE_WIDTH, 0.9 + 0.48 * len(methods)), layout="constrained"
    )
    values = np.array(
        [
            [results.mean(systems[m, s], score) if (m, s) in systems else np.nan for s in schemes]
            for m in methods
        ]
    )
    axes.pcolormesh(
        np.ma.masked_invalid(values),
        cmap=style.HEAT,
        vmin=lowest,
        vmax=1 + 0.15 * (1 - lowest),
        edgecolors="white",
        linewidth=1.5,
    )
    for i, j in np.ndindex(values.shape):
        system, value = systems.get((methods[i], schemes[j])), float(values[i, j])
        if system is None or np.isnan(value):
            axes.text(j + 0.5, i + 0.5, "–", ha="center", va="center", color=style.MUTED)
            continue
        ink = style.ink_on((value - lowest) / (1 - lowest))
        best = value >= np.nanmax(values[:, j]) and np.isfinite(values[:, j]).sum() > 1
        axes.text(
            *(j + 0.5, i + 0.38, f"{value:.2f}"),
            ha="center",
            va="center",
            color=ink,
            fontsize=9,
            fontweight="bold" if best else "normal",
        )
        low, high = bootstrap.interval(bootstrap.mean_draws(system))
        axes.text(
            *(j + 0.5, i + 0.74, f"{low:.2f}–{high:.2f}"),
            ha="center",
            va="center",
            color=ink,
            fontsize=6.5,
        )
    axes.set_xticks(np.arange(len(schemes)) + 0.5, schemes)
    axes.set_yticks(np.arange(len(methods)) + 0.5, [_row(results, m) for m in methods])
    style.as_table(axes)
    beside = [
        f"{system.label} {shown(results.mean(system, score))}"
        for system in (plain_system(results, m) for m in ("none", "voice", "full", "recording"))
        if system is not None
    ]
    captions = [f"{s} {caption(s, results.study)}" for s in schemes]
    half = -(-len(captions) // 2)
    lines = ("; ".join(beside), ", ".join(captions[:half]), ", ".join(captions[half:]))
    axes.set_xlabel("\n".join(line for line in lines if line), fontsize=7.5)
    style.save(figure, folder, METHOD_BY_SCHEME)


def _row(results: Results, method: str) -> str:
    size = results.common_size(method)
    assert size is not None
    return f"{method_words(method)}\n{size.words.removeprefix('a budget of ')}"
