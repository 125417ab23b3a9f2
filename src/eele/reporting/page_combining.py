"""The page's section on adapters plugged together: figure, sentences and table of each mixture."""

from __future__ import annotations

from typing import Any

import pandas as pd

from eele.combining import Mixture, mixtures
from eele.combining.mixtures import NEUTRAL
from eele.reporting.collect import Results
from eele.reporting.combining import axis_words, cell_words, findings, points_of
from eele.reporting.markup import Heading, HtmlTable, heat, interval_text, number, text


def combining_section(results: Results) -> list[dict[str, Any]]:
    """Title, sentences and table of each mixture of the study, in the order of the config."""
    shown = []
    for mixture in mixtures(results.study).values():
        rows = points_of(results, mixture)
        shown.append(
            {
                "mixture": mixture,
                "title": _title(mixture),
                "found": findings(results.study, mixture, rows),
                "table": _table(results, mixture, rows),
            }
        )
    return shown


def _title(mixture: Mixture) -> str:
    named = [cell_words(cell) for cell in mixture.cells]
    if mixture.axis == "line":
        return f"From {named[0]} to {named[1]}"
    return f"Intensity of {' with '.join(named)}"


def _table(results: Results, mixture: Mixture, rows: pd.DataFrame) -> HtmlTable:
    several = len(results.study.evaluation.judges) > 1
    emotions = ("neutral", *results.study.emotions)
    table = []
    for _, row in rows.iterrows():
        place = "neutral model" if row["point"] == NEUTRAL else f"{row['at']:g}"
        cells = [text(place, note="" if row["point"] == NEUTRAL else str(row["weights"]))]
        cells += [text(row["judge"])] * several
        cells.append(number(row["accuracy"], note=_spread(row, "accuracy")))
        cells += [heat(row[f"probability_{emotion}"]) for emotion in emotions]
        for column, digits in (("f0_mean_shift_st", 2), ("f0_range_shift_st", 2)):
            cells.append(number(row[column], digits, signed=True, note=_spread(row, column)))
        cells.append(number(row["rate_ratio"], note=_spread(row, "rate_ratio")))
        for column in ("phone_error_rate", "speaker_similarity"):
            cells.append(number(row[column], note=_spread(row, column)))
        cells.append(text(f"{row['n_scored']:.0f} of {row['n_total']:.0f}"))
        table.append(cells)
    headings = [
        Heading(axis_words(mixture), title="weights of the adapters below it"),
        *[Heading("judge")] * several,
        Heading(
            "heard as meant", True, "as an emotion whose adapter weighs something; neutral at 0"
        ),
        *(Heading(emotion, True, "mean probability") for emotion in emotions),
        Heading("F0 mean", True, "semitones from the neutral model’s speech of the same sentences"),
        Heading("F0 range", True, "semitones from the neutral model’s"),
        Heading("rate", True, "over the neutral model’s"),
        Heading("phone errors", True, "rate, by the study’s recogniser"),
        Heading("same speaker", True, "speaker similarity to the recordings"),
        Heading("scored"),
    ]
    return HtmlTable(f"combining-{mixture.name}", _title(mixture), headings, table)


def _spread(row: pd.Series, column: str) -> str:
    return interval_text(row[f"{column}_low"], row[f"{column}_high"])
