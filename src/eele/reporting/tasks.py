"""`tables/tasks.csv`: task x corpus x model x method with score and weights, the shape of SURE's tables (Li et al.,
arXiv 2303.03267). Studies of synthesis and of recognition write the same columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from eele.io import read_json
from eele.reporting.bootstrap import Bootstrap
from eele.reporting.collect import Results, System, method_words, read_table
from eele.reporting.markup import (
    Heading,
    HtmlTable,
    TableCell,
    interval_text,
    is_empty,
    number,
    percent,
    text,
    words,
)
from eele.vocabulary import NOT_APPLICABLE, scheme_sites

#: `share_percent`: trainable weights of all the model has, adapters not counted, in per cent.
TASK_COLUMNS = (
    *("task", "corpus", "model", "method", "sites", "size"),
    *("score", "value", "low", "high", "n_scored", "n_total"),
    *("trainable_parameters", "share_percent"),
)


def tasks_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """`TASK_COLUMNS` of rows that may lack what does not apply, and have `model_parameters` for the share."""
    table = pd.DataFrame(list(rows), columns=[*TASK_COLUMNS, "model_parameters"])
    trained = pd.to_numeric(table["trainable_parameters"])
    table["share_percent"] = 100 * trained / pd.to_numeric(table.pop("model_parameters"))
    for column in ("size", "n_scored", "n_total", "trainable_parameters"):
        table[column] = pd.to_numeric(table[column]).round().astype("Int64")
    return table


def synthesis_rows(results: Results, bootstrap: Bootstrap) -> list[dict[str, Any]]:
    """Every system of a study of synthesis: what counts, over the emotions or voices adapted to."""
    speakers = set(results.utterances["speaker"].astype(str))
    manifest = read_table(results.paths.manifest, ("speaker", "corpus"))
    corpora = sorted(set(manifest.loc[manifest["speaker"].isin(speakers), "corpus"]))
    # Every weight of the neutral model is trained in pre-training.
    whole = read_json(results.paths.neutral / "training.json")["trainable_parameters"]
    return [
        {
            "task": results.goal.task,
            "corpus": ", ".join(map(str, corpora)),
            "model": results.study.backbone.name,
            "method": system.method,
            "sites": _sites(results, system),
            "size": system.rank or None,
            "score": results.goal.score,
            **_scored(results, bootstrap, system),
            "trainable_parameters": results.mean(system, "trainable_parameters"),
            "model_parameters": whole,
        }
        for system in results.systems
    ]


def _scored(results: Results, bootstrap: Bootstrap, system: System) -> dict[str, Any]:
    low, high = bootstrap.interval(bootstrap.mean_draws(system))
    rows = results.of(system)
    return {
        "value": results.mean(system, results.goal.score),
        "low": low,
        "high": high,
        "n_scored": rows["n_scored"].sum(),
        "n_total": rows["n_total"].sum(),
    }


def _sites(results: Results, system: System) -> str:
    study = results.study
    if system.scheme == NOT_APPLICABLE:
        return NOT_APPLICABLE
    return "+".join(scheme_sites(system.scheme, study.backbone.name, study.schemes))


def tasks_html(table: pd.DataFrame) -> HtmlTable:
    """The table as a page shows it."""
    rows = [
        [
            text(row["task"], note=str(row["corpus"])),
            text(row["model"]),
            text(method_words(str(row["method"])), note=_placed(row)),
            text(words(str(row["score"]))),
            number(row["value"], 3, note=interval_text(row["low"], row["high"], 3)),
            TableCell(
                f"{row['n_scored']:.0f} of {row['n_total']:.0f}",
                repr(float(row["n_scored"])),
                "num",
            ),
            number(row["trainable_parameters"], 0),
            percent(None if is_empty(row["share_percent"]) else row["share_percent"] / 100, 2),
        ]
        for _, row in table.iterrows()
    ]
    headings = [
        Heading("task"),
        Heading("model"),
        Heading("method"),
        Heading("score"),
        Heading("value", True),
        Heading("scored", True),
        Heading("weights trained", True),
        Heading("share of the model", True, "of all its weights, adapters not counted"),
    ]
    return HtmlTable("tasks", "Every task and method", headings, rows)


def _placed(row: pd.Series) -> str:
    """Where a method sits, and its size."""
    sites = "" if row["sites"] == NOT_APPLICABLE else words(str(row["sites"])).replace("+", ", ")
    return sites + ("" if is_empty(row["size"]) else f"; size {row['size']:.0f}")
