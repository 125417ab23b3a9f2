"""The page's tables of cost: what is trained, how long it takes, and what it brings."""

from __future__ import annotations

import pandas as pd

from eele.cells import left_out
from eele.config.models import StudyConfig
from eele.reporting.collect import Results, method_words
from eele.reporting.columns import LOSS_TERMS
from eele.reporting.comparisons import FAMILIES, PAIR
from eele.reporting.markup import (
    Heading,
    HtmlTable,
    TableCell,
    duration_text,
    interval_text,
    is_empty,
    number,
    span,
    text,
    words,
)
from eele.reporting.page_tables import placed, several_methods

#: A budget is called missed where the weights trained are more or fewer by this factor.
FAR_OFF = 2.0


def costs_html(table: pd.DataFrame) -> HtmlTable:
    """What each scheme trains, and how long a step of it takes."""
    several = several_methods(table)
    rows = [
        [
            placed(row, several, note=words(str(row["sites"]))),
            number(row["seconds_per_step"], 3, suffix=" s"),
            number(row["ratio_to_full"], 2, suffix=" ×"),
            number(row["n_cells"], 0),
            span(row["steps_least"], row["steps_most"]),
            TableCell(
                duration_text(float(row["train_seconds"])), repr(float(row["train_seconds"])), "num"
            ),
            span(row["trainable_parameters_least"], row["trainable_parameters_most"]),
            number(row["critic_parameters"], 0),
            text(_terms_text(row["loss_terms"])),
        ]
        for _, row in table.iterrows()
    ]
    headings = [
        Heading("scheme"),
        Heading("time of a step", True, "training time over steps, mean over cells"),
        Heading("against full", True, "of the time of a step of full fine-tuning"),
        Heading("cells", True),
        Heading("steps", True, "of a cell; fewer where it stopped early"),
        Heading("training in all", True, "training time of all cells together"),
        Heading("weights trained", True, "from the smallest rank to the largest"),
        Heading("discriminator weights", True, "they train along and are not kept"),
        Heading("losses it can lower"),
    ]
    return HtmlTable("costs", "What a scheme trains, and how long it takes", headings, rows)


def _terms_text(terms: object) -> str:
    """Loss terms of a table in words and in the order of `LOSS_TERMS`."""
    if is_empty(terms):
        return ""
    named = str(terms).split(", ")
    known = [LOSS_TERMS[term] for term in LOSS_TERMS if term in named]
    return ", ".join(known + [words(term) for term in named if term not in LOSS_TERMS])


def not_wrapped(table: pd.DataFrame) -> HtmlTable | None:
    """Modules of the sites that the method could not adapt; None where it adapts all."""
    several = several_methods(table)
    rows = [
        [
            placed(row, several),
            number(row["not_wrapped"], 0),
            text(row["not_wrapped_reasons"], "long"),
        ]
        for _, row in table.iterrows()
        if not is_empty(row["not_wrapped"]) and row["not_wrapped"] > 0
    ]
    if not rows:
        return None
    headings = [Heading("scheme"), Heading("modules left alone", True), Heading("because")]
    return HtmlTable("not-wrapped", "What could not be adapted in a scheme’s sites", headings, rows)


def comparisons_html(results: Results, table: pd.DataFrame) -> HtmlTable:
    """Every paired difference with its interval, as each judge heard it."""
    table = table.fillna({"judge": "", "over": ""})
    judges = list(dict.fromkeys(table["judge"]))
    pair = ["family", *PAIR]
    heard = {judge: rows.set_index(pair) for judge, rows in table.groupby("judge")}
    rows = []
    for _, row in table[table["judge"].isin(judges[:1])].iterrows():
        key = tuple(row[pair])
        cells = [
            text(row["what"], note="" if is_empty(row["over"]) else str(row["over"])),
            text(row["than"]),
        ]
        for judge in judges:
            found = heard[judge].loc[key] if key in heard[judge].index else None
            if found is None:
                cells += [text(None), text(None)]
                continue
            spread = interval_text(found["low"], found["high"])
            cells += [
                number(found["difference"], signed=True, note=spread),
                TableCell(str(found["larger"]), str(found["larger"])),
            ]
        rows.append(
            [
                *cells,
                number(row["weights"], 0),
                number(row["weights_than"], 0),
                text(row["family"], title=FAMILIES[str(row["family"])]),
            ]
        )
    several = len(judges) > 1
    headings = [
        Heading("compared"),
        Heading("with"),
        *(
            heading
            for judge in judges
            for heading in (
                Heading(
                    "difference" + f", {judge}" * several, True, f"of mean {results.goal.name}"
                ),
                Heading("larger than its interval"),
            )
        ),
        Heading("weights", True),
        Heading("weights of the other", True),
        Heading("among"),
    ]
    return HtmlTable(
        "comparisons",
        f"Differences in {results.goal.name}, paired over sentences and seeds; intervals widened for how many of a kind there are",
        headings,
        rows,
    )


def budgets_table(results: Results) -> HtmlTable | None:
    """Budgets asked for and what was trained; None where the study has none."""
    rows = []
    for method, sizes in results.sizes.items():
        for size, systems in sizes.items():
            if size.kind != "budget":
                continue
            for system in systems:
                trained = results.mean(system, "trainable_parameters")
                off = max(trained, size.value) / min(trained, size.value)
                note = "more than a factor of 2 off" if off > FAR_OFF else ""
                rows.append(
                    [
                        text(method_words(method)),
                        text(system.scheme),
                        number(size.value, 0),
                        number(system.rank, 0),
                        number(trained, 0, note=note),
                        number(trained / size.value, 2, suffix=" ×"),
                    ]
                )
    if not rows:
        return None
    headings = [
        Heading("method"),
        Heading("scheme"),
        Heading("weights asked for", True),
        Heading("rank that comes closest", True, "or what the method’s size counts"),
        Heading("weights trained", True),
        Heading("of those asked for", True),
    ]
    return HtmlTable("budgets", "Budgets: weights asked for and trained", headings, rows)


def left_out_table(study: StudyConfig) -> HtmlTable | None:
    """What the sweep names and does not hold, and why; None where it holds all."""
    rows = [
        [text(method_words(method)), text(scheme), text(reason, "long")]
        for method, scheme, reason in left_out(study)
    ]
    if not rows:
        return None
    headings = [Heading("method"), Heading("scheme"), Heading("because")]
    return HtmlTable("left-out", "Cells left out: methods that cannot go there", headings, rows)
