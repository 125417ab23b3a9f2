"""The study's figures, each as SVG and PNG, with the words that describe them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from eele.config.models import StudyConfig
from eele.paths import StudyPaths
from eele.reporting import style
from eele.reporting.bootstrap import Bootstrap
from eele.reporting.collect import Results, System, load_results, method_words
from eele.reporting.examples import write_examples
from eele.reporting.figures_combining import draw_combining
from eele.reporting.figures_cost import draw_cost, references, score_axis
from eele.reporting.figures_curves import curve_figures, draw_curves
from eele.reporting.figures_detail import draw_confusion, draw_shifts
from eele.reporting.figures_methods import METHOD_BY_SCHEME, compares_methods, draw_methods
from eele.reporting.tables import caption, shown_systems
from eele.vocabulary import NOT_APPLICABLE


@dataclass(frozen=True)
class Words:
    """Title and caption of a figure; `{score}` stands for the score that counts."""

    title: str
    caption: str

    def of(self, results: Results) -> str:
        """The caption in a study."""
        return self.caption.replace("{score}", results.goal.name)


_CURVES = (
    "each loss over steps, on training batches (averaged where they are many) and on validation sentences. "
    "Where discriminators train along, their terms are part of the sum in training only."
)

WORDS = {
    "scheme_by_emotion": Words(
        "Where should the adapter sit?",
        "The {score} by insertion scheme and emotion, with the baselines.",
    ),
    METHOD_BY_SCHEME: Words(
        "Which method where?",
        "The {score} of each method (rows) at each insertion scheme (columns), mean over emotions and seeds, with its "
        "interval; the best of each scheme in bold. A dash: the method has no place there, or was not run.",
    ),
    "rank_curve": Words(
        "How large must it be?",
        "The {score} over the rank; the band is the interval of the mean, thin lines are emotions.",
    ),
    "cost_accuracy": Words(
        "What does it cost?",
        "The {score} against trainable weights, a mark per method and scheme; bars are intervals, thin lines "
        "join the sizes of one scheme. Ringed marks on the stepped line are the Pareto front: no adapter "
        "scores as well with fewer weights.",
    ),
    "confusion": Words(
        "What is heard instead?",
        "Emotion asked for (rows) and recognised (columns), share of utterances.",
    ),
    "prosody_shifts": Words(
        "Does the prosody move as in the recordings?",
        "Shift from neutral, synthetic speech beside recordings.",
    ),
    "pretraining_curves": Words(
        "Did training settle?",
        f"The neutral model: {_CURVES}",
    ),
    "vocoder_curves": Words(
        "Did training settle?",
        f"The vocoder: {_CURVES}",
    ),
    "training_curves": Words(
        "Did training settle?",
        "The best scheme's cells: the losses they can lower over steps, on validation sentences.",
    ),
}


def figure_names(study: StudyConfig) -> list[str]:
    """Names of the study's figures, but for the examples and mixtures: those of `WORDS` that it has."""
    drawn = (*curve_figures(study), *(METHOD_BY_SCHEME,) * compares_methods(study))
    optional = [name for name in WORDS if name.endswith("_curves") or name == METHOD_BY_SCHEME]
    return [name for name in WORDS if name not in optional or name in drawn]


def write_figures(study: StudyConfig, paths: StudyPaths) -> None:
    """Write every figure of the study below `figures/`."""
    results = load_results(study, paths)
    bootstrap = Bootstrap(results)
    with style.drawing() as plt:
        for draw in (
            _heat_map,
            draw_methods,
            _rank_curve,
            draw_cost,
            draw_confusion,
            draw_shifts,
            draw_curves,
            draw_combining,
        ):
            draw(plt, results, bootstrap, paths.figures)
        write_examples(plt, results)


def row_name(results: Results, system: System) -> str:
    """Name of a system in a table of schemes: the letter and the paper's caption, or the baseline; the method
    in front where there are several."""
    if system.scheme == NOT_APPLICABLE:
        return system.label
    words = caption(system.scheme, results.study)
    method = f"{method_words(system.method)}  " * (len(results.methods) > 1)
    return method + (f"{system.scheme}  {words}" if words else system.scheme)


def _heat_map(plt: Any, results: Results, _: Bootstrap, folder: Path) -> None:
    systems, emotions = shown_systems(results), results.mean_of
    score = results.goal.score
    values = np.array(
        [[results.mean(s, score, e) for e in emotions] + [results.mean(s, score)] for s in systems]
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
    axes.set_xticks(centres, [*emotions, results.mean_name])
    axes.set_yticks(np.arange(len(systems)) + 0.5, [row_name(results, s) for s in systems])
    style.as_table(axes)
    style.save(figure, folder, "scheme_by_emotion")


def _rank_curve(plt: Any, results: Results, bootstrap: Bootstrap, folder: Path) -> None:
    """One panel per method with several ranks: what a rank is differs between methods."""
    methods = dict.fromkeys(method for method, _ in results.ranked) or {"": None}
    columns = min(2, len(methods))
    rows = -(-len(methods) // columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(4.6 if columns == 1 else style.PAGE_WIDTH, 3.3 * rows),
        squeeze=False,
        layout="constrained" if columns > 1 else None,
    )
    for axes in grid.flat[len(methods) :]:
        axes.axis("off")
    for axes, method in zip(grid.flat, methods, strict=False):
        _ranks_of(axes, results, bootstrap, method)
        if columns > 1:
            axes.set_title(method_words(method))
    style.save(figure, folder, "rank_curve")


def _ranks_of(axes: Any, results: Results, bootstrap: Bootstrap, method: str) -> None:
    groups = {k: g for k, g in results.ranked.items() if k[0] == method}
    score = results.goal.score
    for colour, ((_, scheme), group) in zip(cycle(style.CATEGORIES), groups.items(), strict=False):
        ranks = [system.rank for system in group]
        mean = [results.mean(s, score) for s in group]
        bounds = np.array([bootstrap.interval(bootstrap.mean_draws(s)) for s in group])
        if len(groups) <= 2:  # more bands hide each other
            axes.fill_between(
                ranks, bounds[:, 0], bounds[:, 1], color=colour, alpha=0.15, linewidth=0
            )
        axes.plot(
            ranks, mean, "o-", color=colour, markersize=5, zorder=4, label=f"scheme {scheme}, mean"
        )
        if len(groups) == 1:
            for index, emotion in enumerate(results.mean_of):
                others = style.CATEGORIES[1:]
                axes.plot(
                    ranks,
                    [results.mean(s, score, emotion) for s in group],
                    linestyle="-" if index < len(others) else "--",
                    color=others[index % len(others)],
                    linewidth=1.0,
                    label=emotion,
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
    score_axis(axes, results)
    references(axes, results, {"recording": "recording", "full": "full", "none": "neutral\nmodel"})
