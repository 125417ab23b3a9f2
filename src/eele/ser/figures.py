"""Figures of a study of recognition, each as SVG and PNG, with the words that describe them."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from eele.config.models import StudyConfig
from eele.io import read_json
from eele.paths import StudyPaths
from eele.reporting import style
from eele.reporting.collect import read_table
from eele.reporting.figures_curves import Curve, draw_panels, last_values
from eele.reporting.markup import interval_text
from eele.ser.cells import RecognitionCell, recognition_of
from eele.ser.results import KEYS, System, is_of, systems_of
from eele.ser.scores import LOWER_IS_BETTER, SCORE_WORDS, SCORES
from eele.ser.tables import COLUMNS

_MARKERS = "osD^v"
_FOLD = "#b4bec7"


def figure_words(study: StudyConfig, paths: StudyPaths) -> dict[str, tuple[str, str]]:
    """Name of each figure -> caption and what it says in words, for those who cannot see it."""
    table = read_main(paths)
    found = {}
    for testbed in recognition_of(study).testbeds:
        rows = table[table["testbed"] == testbed]
        said = "; ".join(_said(row) for _, row in by_score(rows).iterrows())
        score = score_words(rows)
        chance = chance_of(study, paths, testbed)
        found[f"ranking_{testbed}"] = (
            f"{testbed}: {score} over the test recordings of all folds, with intervals; small dots are folds"
            + ("." if chance is None else ", the dashed line is chance."),
            said,
        )
        found[f"parameters_{testbed}"] = (
            f"{testbed}: {score} against the weights that are trained, the head’s among them; bars are intervals.",
            said,
        )
        for encoder in recognition_of(study).encoders:
            found[f"curves_{testbed}_{encoder}"] = (
                f"{testbed}, encoder {encoder}: loss and {score} over epochs, means over folds and seeds. "
                f"The weights of the best epoch by validation {score} are kept.",
                last_values(_curves(study, paths, testbed, encoder)),
            )
    for encoder in _trained(study, paths):
        found[f"encoder_{encoder}"] = (
            f"Encoder {encoder}: loss of masked prediction on recordings without labels, over steps.",
            last_values(_masked_prediction(paths, encoder)),
        )
    return found


def write_figures(study: StudyConfig, paths: StudyPaths) -> None:
    """Draw every figure of `figure_words` below `figures/`."""
    table = read_main(paths)
    folds = read_table(paths.tables / "recognition_folds.csv", (*KEYS, "fold", "value"))
    config = recognition_of(study)
    colours = _colours(systems_of(table))
    several = len(config.encoders) > 1
    with style.drawing() as plt:
        for testbed in config.testbeds:
            rows = by_score(table[table["testbed"] == testbed])
            chance = chance_of(study, paths, testbed)
            style.save(
                _ranking(plt, rows, folds, chance, colours, several),
                paths.figures,
                f"ranking_{testbed}",
            )
            style.save(
                _parameters(plt, rows, chance, colours, several),
                paths.figures,
                f"parameters_{testbed}",
            )
            for encoder in config.encoders:
                curves = _curves(study, paths, testbed, encoder)
                style.save(
                    draw_panels(plt, curves, "epoch"), paths.figures, f"curves_{testbed}_{encoder}"
                )
        for encoder in _trained(study, paths):
            curves = _masked_prediction(paths, encoder)
            style.save(draw_panels(plt, curves), paths.figures, f"encoder_{encoder}")


def read_main(paths: StudyPaths) -> pd.DataFrame:
    """tables/recognition.csv; `sites` is a text where there is none, too."""
    return read_table(paths.tables / "recognition.csv", COLUMNS)


def by_score(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of one testbed, best first; of equals, fewer weights first."""
    lower = bool(rows["score"].isin(LOWER_IS_BETTER).all())
    return rows.sort_values(
        ["value", "trainable_parameters"], ascending=[lower, True], kind="stable"
    )


def score_words(rows: pd.DataFrame) -> str:
    """The score of one testbed's rows, as it is shown."""
    return SCORE_WORDS[str(rows["score"].iloc[0])]


def chance_of(study: StudyConfig, paths: StudyPaths, testbed: str) -> float | None:
    """What guessing scores: one class of all by UAR, the most frequent test class by accuracy; None of phones."""
    target = recognition_of(study).testbeds[testbed].target
    if target == "phones":
        return None
    folds = read_table(paths.testbed(testbed) / "folds.csv", ("fold", "part", "utterances"))
    names = [c for c in folds.columns if c not in ("fold", "part", "speakers", "utterances")]
    if SCORES[target] == "uar":
        return 1 / len(names)
    tested = folds.loc[folds["part"] == "test", names].sum()
    return float(tested.max() / tested.sum())


def system_of(row: pd.Series) -> System:
    """The system of a row of a table."""
    return System(
        str(row["testbed"]),
        str(row["encoder"]),
        str(row["method"]),
        str(row["sites"]),
        int(row["size"]),
    )


def _said(row: pd.Series) -> str:
    spread = interval_text(row["value_low"], row["value_high"])
    return (
        f"{system_of(row).label}, {row['encoder']}: {row['value']:.2f}"
        + f" ({spread})" * bool(spread)
        + f" with {int(row['trainable_parameters'])} weights"
    )


def _colours(systems: list[System]) -> dict[tuple[str, str, int], str]:
    """One colour per method, sites and size, the same on every testbed; grey is the head alone."""
    heads = {system.way: style.NEUTRAL for system in systems if system.method == "head"}
    ways = dict.fromkeys(system.way for system in systems if system.way not in heads)
    return heads | {way: style.CATEGORIES[i % len(style.CATEGORIES)] for i, way in enumerate(ways)}


def _name(row: pd.Series, several: bool) -> str:
    return system_of(row).label + f", {row['encoder']}" * several


def _bars(row: pd.Series) -> list[list[float]]:
    """Lengths of an interval's arms, none where it is unknown."""
    if pd.isna(row["value_low"]):
        return [[0.0], [0.0]]
    return [
        [max(0.0, row["value"] - row["value_low"])],
        [max(0.0, row["value_high"] - row["value"])],
    ]


def _highest(rows: pd.DataFrame) -> float:
    """Upper end of the axis: errors may be more than there are phones."""
    return max(1.0, float(rows[["value", "value_high", "value_fold_most"]].max().max()))


def _ranking(
    plt: Any,
    rows: pd.DataFrame,
    folds: pd.DataFrame,
    chance: float | None,
    colours: dict[tuple[str, str, int], str],
    several: bool,
) -> Any:
    figure, axes = plt.subplots(
        figsize=(style.PAGE_WIDTH, 0.3 * len(rows) + 0.8), layout="constrained"
    )
    for place, (_, row) in enumerate(rows.iterrows()):
        system = system_of(row)
        colour = colours[system.way]
        mine = folds[is_of(folds, system)]
        by_fold = mine.groupby("fold")["value"].mean()
        if len(by_fold) > 1:
            axes.plot(by_fold, [place] * len(by_fold), "o", color=_FOLD, markersize=4, zorder=1)
        axes.errorbar(
            [row["value"]],
            [place],
            xerr=_bars(row),
            fmt="o",
            color=colour,
            markersize=5,
            capsize=2.5,
        )
    if chance is not None:
        axes.axvline(chance, color=style.MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    axes.set_yticks(range(len(rows)), [_name(row, several) for _, row in rows.iterrows()])
    axes.tick_params(axis="y", labelcolor=style.INK)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, _highest(rows))
    axes.grid(axis="x", color=style.RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(score_words(rows))
    return figure


def _parameters(
    plt: Any,
    rows: pd.DataFrame,
    chance: float | None,
    colours: dict[tuple[str, str, int], str],
    several: bool,
) -> Any:
    from matplotlib.ticker import NullLocator

    figure, axes = plt.subplots(figsize=(style.PAGE_WIDTH, 3.4), layout="constrained")
    for place, (_, row) in enumerate(rows.iterrows()):
        axes.errorbar(
            [row["trainable_parameters"]],
            [row["value"]],
            yerr=_bars(row),
            fmt=_MARKERS[place % len(_MARKERS)],
            color=colours[system_of(row).way],
            markersize=5,
            capsize=2.5,
            label=_name(row, several),
        )
    if chance is not None:
        axes.axhline(chance, color=style.MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    axes.set_xscale("log")
    low, high = rows["trainable_parameters"].min(), rows["trainable_parameters"].max()
    # Whole decades, so that there are numbers on the axis however near the methods lie.
    axes.set_xlim(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high + 1)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y", color=style.RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_ylim(0, _highest(rows))
    axes.set_xlabel("weights trained")
    axes.set_ylabel(score_words(rows))
    figure.legend(loc="outside right center")
    return figure


def _curves(study: StudyConfig, paths: StudyPaths, testbed: str, encoder: str) -> list[Curve]:
    """A curve per method, means over folds and seeds at each epoch: both losses and the score."""
    folds = read_table(paths.tables / "recognition_folds.csv", (*KEYS, "fold", "seed"))
    rows = folds[(folds["testbed"] == testbed) & (folds["encoder"] == encoder)]
    systems = systems_of(rows)
    score = SCORES[recognition_of(study).testbeds[testbed].target]
    colours = _colours(systems)
    curves: list[Curve] = []
    for system in systems:
        runs = [
            _one_run(
                paths, RecognitionCell(**system._asdict(), fold=str(fold), seed=int(seed)), score
            )
            for fold, seed in rows.loc[is_of(rows, system), ["fold", "seed"]].to_numpy().tolist()
        ]
        means = pd.concat(runs).groupby("step", as_index=False).mean()
        # Colours come again where there are many methods.
        again = any(curve.colour == colours[system.way] for curve in curves)
        curves.append(Curve(system.label, colours[system.way], means, "o" * again))
    return curves


def _one_run(paths: StudyPaths, cell: RecognitionCell, score: str) -> pd.DataFrame:
    """Columns step (the epoch), training loss, validation loss, validation score."""
    rows = read_table(
        paths.recognition(cell.path) / "curves.csv", ("epoch", "split", "loss", score)
    ).set_index("epoch")
    training, validation = (rows[rows["split"] == split] for split in ("train", "validation"))
    return pd.DataFrame(
        {
            "step": training.index,
            "training loss": training["loss"].to_numpy(),
            "validation loss": validation["loss"].to_numpy(),
            f"validation {SCORE_WORDS[score]}": validation[score].to_numpy(),
        }
    )


def _trained(study: StudyConfig, paths: StudyPaths) -> list[str]:
    """Encoders that this study trained itself."""
    return [
        name
        for name in recognition_of(study).encoders
        if read_json(paths.encoder(name) / "training.json")["steps"]
    ]


def _masked_prediction(paths: StudyPaths, encoder: str) -> list[Curve]:
    columns = ("step", "split", "loss")
    rows = read_table(paths.encoder(encoder) / "curves.csv", columns)[list(columns)]
    rows = rows.rename(columns={"loss": "loss of masked prediction"})
    return [
        Curve("training", style.NEUTRAL, rows[rows["split"] == "train"]),
        Curve("validation", style.BEST, rows[rows["split"] == "validation"], "o"),
    ]
