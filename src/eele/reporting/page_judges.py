"""The page's section on the judges: each one's own score, what it says of the schemes, how far they agree."""

from __future__ import annotations

from typing import Any

import pandas as pd

from eele.reporting.collect import Results, plain_system, read_table
from eele.reporting.figures_detail import confusion
from eele.reporting.judges import (
    AGREEMENT_COLUMNS,
    BEST,
    EQUAL,
    JUDGE_COLUMNS,
    KAPPA,
    RANKING,
    heard_by,
    system_scores,
)
from eele.reporting.markup import (
    Heading,
    HtmlTable,
    heat,
    interval_text,
    is_empty,
    number,
    shown,
    text,
    words,
)
from eele.reporting.page_tables import confusion_table
from eele.reporting.tables import shown_systems

_MEASURES = {
    EQUAL: "equal decisions",
    KAPPA: "Cohen’s kappa",
    RANKING: "rank correlation of the schemes",
    BEST: "best scheme, share of draws",
}
_KINDS = {
    "statistics": "statistics and discriminant, trained on this study’s recordings",
    "encoder": "encoder of this study, adapted to its recordings",
    "published": "trained by others, used as it is",
}


def judges_section(results: Results) -> dict[str, Any]:
    """Values of the template's section on judges."""
    tables = results.paths.tables
    judged = read_table(tables / "judges.csv", JUDGE_COLUMNS)
    agreement = read_table(tables / "agreement.csv", AGREEMENT_COLUMNS)
    several = len(results.study.evaluation.judges) > 1
    return {
        "judges": _judges(results, judged),
        "judge_warnings": _warnings(judged),
        "judge_schemes": _schemes(results) if several else None,
        "agreement": _agreement(agreement) if several else None,
        "agreement_words": _words(agreement),
        "judge_confusions": _confusions(results) if several else [],
    }


def _judges(results: Results, table: pd.DataFrame) -> HtmlTable:
    """One row per judge: what it is, and its score on recordings and on the same through the vocoder."""
    rows = []
    for judge in results.study.evaluation.judges:
        own = table[table["judge"] == judge]

        def mean(method: str, own: pd.DataFrame = own) -> float:
            meant = own[(own["method"] == method) & own["emotion"].isin(results.study.adapted)]
            return float(meant["accuracy"].mean())

        kind = str(own["kind"].iloc[0])
        warning = own["warning"].iloc[0]
        rows.append(
            [
                text(judge, note=_KINDS[kind]),
                heat(mean("recording")),
                heat(mean("copy_synthesis")),
                number(own.loc[own["method"] == "recording", "n"].sum(), 0),
                text(warning),
            ]
        )
    headings = [
        Heading("judge"),
        Heading("on recordings", True, "mean over the study's emotions"),
        Heading("on copy synthesis", True, "mean over the study's emotions"),
        Heading("recordings heard", True, "test recordings, neutral ones too"),
        Heading("warning"),
    ]
    return HtmlTable("judges", "Emotion accuracy of each judge on test recordings", headings, rows)


def _warnings(table: pd.DataFrame) -> list[str]:
    pairs = table[["judge", "warning"]].dropna().drop_duplicates()
    return [f"{judge}: {warning}." for judge, warning in pairs.itertuples(index=False)]


def _schemes(results: Results) -> HtmlTable:
    scores = system_scores(results, shown_systems(results))
    judges = list(scores)
    rows = []
    for system in scores[judges[0]]:
        cells = [text(system.label)]
        for judge in judges:
            value, low, high = scores[judge][system]
            cells.append(number(value, note=interval_text(low, high)))
        rows.append(cells)
    return HtmlTable(
        "judge-schemes",
        "Emotion accuracy by judge, mean over emotions and seeds, of what all judges heard",
        [Heading("system"), *(Heading(judge, True) for judge in judges)],
        rows,
    )


def _agreement(table: pd.DataFrame) -> HtmlTable:
    rows = [
        [
            text(_MEASURES[str(row["measure"])]),
            text(row["judge"] if is_empty(row["other"]) else f"{row['judge']} and {row['other']}"),
            text(words(str(row["speech"]))),
            number(row["value"], note=interval_text(row["low"], row["high"])),
            number(row["n"], 0),
            text(row["detail"]),
        ]
        for _, row in table.iterrows()
    ]
    headings = [
        Heading("measure"),
        Heading("judges"),
        Heading("on"),
        Heading("value", True, "with its interval over sentences"),
        Heading("of", True, "utterances, or schemes"),
        Heading("in words"),
    ]
    return HtmlTable("agreement", "How far the judges agree", headings, rows, kind="prose")


def _words(table: pd.DataFrame) -> list[str]:
    """The order of the schemes between judges, one sentence per pair."""
    found = []
    for _, row in table[table["measure"] == RANKING].iterrows():
        spread = interval_text(row["low"], row["high"])
        value = "" if is_empty(row["value"]) else f" (rank correlation {shown(row['value'])}"
        value += f", {spread})" if value and spread else ")" * bool(value)
        found.append(f"{row['judge']} and {row['other']}: {row['detail']}{value}.")
    return found


def _confusions(results: Results) -> list[HtmlTable]:
    """What each judge after the first hears in recordings and in the best scheme's speech."""
    systems = [plain_system(results, "recording"), results.best_scheme()]
    tables = []
    for judge in results.study.evaluation.judges[1:]:
        heard = heard_by(results, judge)
        for system in systems:
            table = None if system is None else confusion(heard, system)
            if system is not None and table is not None and not table.empty:
                name = f"{judge}-{system.key}"
                tables.append(confusion_table(name, f"{judge}: {system.label}", table))
    return tables
