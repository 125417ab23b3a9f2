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
from eele.ser.figures import by_score, score_words, system_of
from eele.ser.published import ENCODERS, IEMOCAP, SOURCE, is_iemocap, known_as
from eele.ser.results import Recognised, System, method_words
from eele.ser.scores import LOWER_IS_BETTER, SCORE_WORDS
from eele.vocabulary import GENDERS, SPLITS


def ranking_table(rows: pd.DataFrame, testbed: str) -> HtmlTable:
    """Every method on a testbed, best first."""
    several = rows["encoder"].nunique() > 1
    shown = rows["published_uar"].notna().any()
    cells = []
    for _, row in by_score(rows).iterrows():
        cells.append(
            [
                text(system_of(row).label, note=str(row["encoder"]) if several else ""),
                _valued(row),
                _between(row["value_fold_least"], row["value_fold_most"]),
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
    score = score_words(rows)
    fewer = rows["score"].isin(LOWER_IS_BETTER).all()
    headings = [
        Heading("method"),
        Heading(score, True, "lower is better" if fewer else ""),
        Heading("over folds", True, f"lowest and highest {score} of a fold"),
        Heading(
            "below head only" if fewer else "above head only",
            True,
            f"how much better the {score} is on the same recordings",
        ),
        *([Heading("published", True, SOURCE)] if shown else []),
        Heading("weights in the encoder", True),
        Heading("in the head", True),
        Heading("share of all", True, "weights trained of all weights of the recogniser"),
        Heading("training, all folds", True),
        Heading("scored", True, "test recordings scored of those there are"),
    ]
    return HtmlTable(f"ranking-{testbed}", f"{testbed}: methods by {score}", headings, cells)


def tasks_table(results: Recognised, table: pd.DataFrame) -> HtmlTable:
    """Every testbed's score of every method, the weights it moves in the encoder, and their share of it: the
    shape of SURE's tables (arXiv 2303.03267)."""
    testbeds = list(results.config.testbeds)
    several = len(results.config.encoders) > 1
    cells = []
    for _, ways in table.groupby(["encoder", "method", "sites", "size"], sort=False):
        first = ways.iloc[0]
        by_testbed = {str(row["testbed"]): row for _, row in ways.iterrows()}
        whole = first["model_parameters"] - first["head_parameters"]
        cells.append(
            [
                text(system_of(first).label, note=str(first["encoder"]) if several else ""),
                number(first["encoder_parameters"], 0),
                percent(first["encoder_parameters"] / whole, 2),
                *(_valued(by_testbed[name]) for name in testbeds),
            ]
        )
    headings = [
        Heading("method"),
        Heading("weights in the encoder", True),
        Heading("share of the encoder", True, "weights trained in it of all it has"),
        *(
            Heading(f"{name}: {score_words(table[table['testbed'] == name])}", True)
            for name in testbeds
        ),
    ]
    return HtmlTable("tasks", "Every task: score with interval", headings, cells)


def _valued(row: pd.Series) -> TableCell:
    return number(row["value"], 3, note=interval_text(row["value_low"], row["value_high"]))


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
        for _, row in by_score(rows).iterrows()
    ]
    headings = [
        Heading("method"),
        Heading("statistical parity", True),
        Heading("equality of opportunity", True),
        Heading("parity, worst class", True, "largest difference in how often one is heard"),
        Heading("opportunity, worst class", True, "largest difference in one’s recall"),
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
                text(SCORE_WORDS[str(row["score"])]),
                heat(row["value"]),
                heat(row["validation_value"]),
                number(row["best_epoch"], 0),
                number(row["utterances"], 0),
                number(row["validation_utterances"], 0),
                number(row["test_utterances"], 0),
                number(row["train_seconds"], 0, suffix=" s"),
            ]
        )
        tags.append({"testbed": str(row["testbed"]), "method": method_words(str(row["method"]))})
    headings = [
        *(Heading(label) for label in ("method", "encoder", "testbed", "fold")),
        Heading("seed", True),
        Heading("score"),
        Heading("on test", True),
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
    best = system_of(by_score(rows).iloc[0])
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
            text(method_words(method)),
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
