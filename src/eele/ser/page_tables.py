"""Tables of the page of a study of recognition, made from the study's tables."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from eele.reporting.markup import (
    Heading,
    HtmlTable,
    TableCell,
    duration_text,
    heat,
    interval_text,
    number,
    percent,
    text,
    words,
)
from eele.reporting.page_tables import confusion_table as confusion_matrix
from eele.ser.figures import by_uar, system_of
from eele.ser.published import ENCODERS, IEMOCAP, SOURCE, is_iemocap, known_as
from eele.ser.results import METHOD_WORDS, Recognised, System
from eele.vocabulary import GENDERS, SPLITS


def ranking_table(rows: pd.DataFrame, testbed: str) -> HtmlTable:
    """Every method on a testbed, best first."""
    several = rows["encoder"].nunique() > 1
    shown = rows["published_uar"].notna().any()
    cells = []
    for _, row in by_uar(rows).iterrows():
        cells.append(
            [
                text(system_of(row).label, note=str(row["encoder"]) if several else ""),
                number(row["uar"], 3, note=interval_text(row["uar_low"], row["uar_high"])),
                _between(row["uar_fold_least"], row["uar_fold_most"]),
                number(
                    row["gain"],
                    3,
                    signed=True,
                    note=interval_text(row["gain_low"], row["gain_high"], 3),
                ),
                *([number(row["published_uar"], 3)] if shown else []),
                number(row["encoder_parameters"], 0),
                number(row["head_parameters"], 0),
                percent(row["share_of_model"]),
                TableCell(
                    duration_text(row["train_seconds"]), repr(float(row["train_seconds"])), "num"
                ),
                TableCell(
                    f"{row['n_scored']} of {row['n_total']}", repr(float(row["n_scored"])), "num"
                ),
            ]
        )
    headings = [
        Heading("method"),
        Heading("UAR", True),
        Heading("over folds", True, "lowest and highest UAR of a fold"),
        Heading("above head only", True, "difference of UARs on the same recordings"),
        *([Heading("published", True, SOURCE)] if shown else []),
        Heading("weights in the encoder", True),
        Heading("in the head", True),
        Heading("share of all", True, "weights trained of all weights of the recogniser"),
        Heading("training, all folds", True),
        Heading("scored", True, "test recordings scored of those there are"),
    ]
    return HtmlTable(f"ranking-{testbed}", f"{testbed}: methods by UAR", headings, cells)


def _between(least: float, most: float) -> TableCell:
    return TableCell(interval_text(least, most) or "–", repr(float(least)), "num range")


def fairness_table(rows: pd.DataFrame, testbed: str) -> HtmlTable:
    """Both measures of every method, and how many recordings of each gender they rest on."""
    several = rows["encoder"].nunique() > 1
    cells = [
        [
            text(system_of(row).label, note=str(row["encoder"]) if several else ""),
            number(row["statistical_parity"], 3),
            number(row["equality_of_opportunity"], 3),
            number(row["statistical_parity_worst_class"], 3),
            number(row["equality_of_opportunity_worst_class"], 3),
            *(number(row[f"n_{gender}"], 0) for gender in GENDERS),
        ]
        for _, row in by_uar(rows).iterrows()
    ]
    headings = [
        Heading("method"),
        Heading("statistical parity", True),
        Heading("equality of opportunity", True),
        Heading("parity, worst emotion", True, "largest difference in how often one is heard"),
        Heading("opportunity, worst emotion", True, "largest difference in one’s recall"),
        *(Heading(gender, True, "test recordings") for gender in GENDERS),
    ]
    return HtmlTable(f"fairness-{testbed}", f"{testbed}: lower is fairer", headings, cells)


def fairness_note(rows: pd.DataFrame) -> str:
    """Why there is no measure, where there is none."""
    reasons = rows["fairness_reason"].dropna().unique()
    return f"Not applicable: {'; '.join(map(str, reasons))}." if len(reasons) else ""


def recognisers_table(results: Recognised) -> HtmlTable:
    """Every recogniser, to sort and filter."""
    cells, tags = [], []
    for _, row in results.runs.iterrows():
        cells.append(
            [
                text(system_of(row).label),
                text(row["encoder"]),
                text(row["testbed"]),
                text(row["fold"]),
                number(row["seed"], 0),
                heat(row["uar"]),
                heat(row["validation_uar"]),
                number(row["best_epoch"], 0),
                number(row["utterances"], 0),
                number(row["validation_utterances"], 0),
                number(row["test_utterances"], 0),
                number(row["train_seconds"], 0, suffix=" s"),
            ]
        )
        tags.append({"testbed": str(row["testbed"]), "method": METHOD_WORDS[str(row["method"])]})
    headings = [
        *(Heading(label) for label in ("method", "encoder", "testbed", "fold")),
        Heading("seed", True),
        Heading("UAR", True),
        Heading("on validation", True),
        Heading("best epoch", True),
        *(Heading(part, True, "recordings") for part in SPLITS),
        Heading("training", True),
    ]
    return HtmlTable("recognisers", "Every recogniser", headings, cells, tags)


def folds_table(folds: pd.DataFrame, testbed: str) -> HtmlTable:
    """Recordings per fold and class: training / validation / test."""
    counted = [c for c in folds.columns if c not in ("fold", "part")]
    rows = []
    for fold, parts in folds.groupby("fold", sort=False):
        by_part = parts.set_index("part").loc[list(SPLITS)]
        rows.append(
            [
                text(fold),
                *(
                    TableCell(
                        " / ".join(map(str, by_part[c])), repr(float(by_part[c].sum())), "num"
                    )
                    for c in counted
                ),
            ]
        )
    headings = [Heading("fold"), *(Heading(words(c), True) for c in counted)]
    return HtmlTable(f"folds-{testbed}", f"{testbed}: training / validation / test", headings, rows)


def shown_confusions(results: Recognised, rows: pd.DataFrame) -> list[System]:
    """Head only, full fine-tuning and the best method, of the encoder of the best method."""
    best = system_of(by_uar(rows).iloc[0])
    there = [s for s in results.systems if (s.testbed, s.encoder) == (best.testbed, best.encoder)]
    return [s for s in there if s.method in ("head", "full") or s == best]


def confusion_table(results: Recognised, system: System) -> HtmlTable:
    """Shares of each class's recordings, over folds and seeds."""
    predictions, names = results.predicted(system), results.classes[system.testbed]
    counts = pd.crosstab(predictions["label"], predictions["predicted"])
    counts = counts.reindex(index=names, columns=names, fill_value=0)
    # A class of which no fold tests a recording stays empty.
    shares = counts.div(counts.sum(axis=1), axis=0)
    name = "-".join(map(str, system))
    found = confusion_matrix(name, f"{system.label}, {system.encoder}", shares)
    return replace(found, headings=[Heading("recording"), *found.headings[1:]])


def published_table(results: Recognised, table: pd.DataFrame) -> HtmlTable | None:
    """The paper's UARs on IEMOCAP with ours; None where the study has no such testbed."""
    ours = table[[is_iemocap(results.study, name) for name in table["testbed"]]]
    if ours.empty:
        return None
    mine = {
        (str(row["method"]), known_as(results.study, str(row["encoder"]))): row["uar"]
        for _, row in ours[ours["published_uar"].notna()].iterrows()
    }
    rows = [
        [
            text(METHOD_WORDS[method]),
            text(title),
            number(value, 3),
            number(mine.get((method, name)), 3),
        ]
        for method, values in IEMOCAP.items()
        for (name, title), value in zip(ENCODERS.items(), values, strict=True)
    ]
    headings = [
        Heading("method"),
        Heading("encoder"),
        Heading("published UAR", True),
        Heading("ours", True),
    ]
    return HtmlTable("published", f"IEMOCAP, four classes: {SOURCE}", headings, rows)
