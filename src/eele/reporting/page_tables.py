"""The page's result tables, made from the study's tables."""

from __future__ import annotations

import pandas as pd

from eele.reporting.collect import Results, System, method_words
from eele.reporting.figures_detail import confusion, confusion_systems
from eele.reporting.markup import (
    Heading,
    HtmlTable,
    TableCell,
    bytes_text,
    heat,
    interval_text,
    is_empty,
    number,
    percent,
    text,
    words,
)


def _system(row: pd.Series) -> System:
    return System(str(row["method"]), str(row["scheme"]), int(row["rank"]))


def _scores(row: pd.Series, name: str) -> list[TableCell]:
    """A mean, with its interval where the table has one: of the score that counts."""
    return [number(row[name], note=interval_text(row.get(f"{name}_low"), row.get(f"{name}_high")))]


def _scored(row: pd.Series) -> TableCell:
    return TableCell(f"{row['n_scored']} of {row['n_total']}", repr(float(row["n_scored"])), "num")


def several_methods(table: pd.DataFrame) -> bool:
    """Whether schemes of more than one method stand in a table."""
    return bool(table.loc[table["scheme"] != "-", "method"].nunique() > 1)


def placed(row: pd.Series, several: bool, note: str = "") -> TableCell:
    """A scheme with its caption and, where there are several, its method; or the method where it has no scheme."""
    method = method_words(str(row["method"]))
    if row["scheme"] == "-":
        return text(method, note=note)
    caption = "" if is_empty(row["caption"]) else f" {row['caption']}"
    return text(f"{method} " * several + f"({row['scheme']}){caption}", note=note)


def _means(results: Results) -> list[Heading]:
    """Headings of the score that counts: of each emotion where there are several, the mean, its interval."""
    names = [
        *results.mean_of,
        results.mean_name,
        "interval" + " of the mean" * bool(results.mean_of),
    ]
    return [Heading(name, True) for name in names]


def _mean_cells(results: Results, row: pd.Series) -> list[TableCell]:
    """What stands below `_means`."""
    spread = TableCell(
        interval_text(row["mean_low"], row["mean_high"]) or "–",
        "" if is_empty(row["mean_low"]) else repr(float(row["mean_low"])),
        "num range",
    )
    columns = (*results.mean_of, "mean")
    return [*(heat(row[column], lowest=results.scale_from) for column in columns), spread]


def _size(row: pd.Series) -> TableCell:
    """Rank, where there is one, and the budgets it was chosen for."""
    asked = [] if is_empty(row["budget"]) else str(row["budget"]).split("; ")
    note = "for " * bool(asked) + ", ".join(number(int(b), 0).text for b in asked)
    return number(row["rank"] if row["rank"] else None, 0, note=note)


def scheme_table(results: Results, table: pd.DataFrame) -> HtmlTable:
    """Scheme x emotion heat map with baselines; sorts like every table."""
    several = several_methods(table)
    # One rank of one method is told once, above the table.
    sized = several or bool(table["budget"].notna().any())
    rows = []
    for _, row in table.iterrows():
        sites = "" if is_empty(row["sites"]) else words(str(row["sites"]))
        rows.append(
            [
                placed(row, several, note=sites),
                *([_size(row)] * sized),
                *_mean_cells(results, row),
                number(row["trainable_parameters"], 0),
                _scored(row),
            ]
        )
    headings = [
        Heading("scheme"),
        *([Heading("rank", True, "or what the method’s size counts")] * sized),
        *_means(results),
        Heading("weights trained", True),
        Heading("scored", True, "utterances scored of those there are"),
    ]
    at = f", schemes at {results.sizes_text}" if results.compared else ""
    return HtmlTable(
        "schemes",
        f"{results.goal.of_utterances}{at}",
        headings,
        rows,
        kind="heatmap",
    )


def rank_table(results: Results, table: pd.DataFrame) -> HtmlTable:
    """Accuracy, weights and errors over the rank."""
    several = len({method for method, _ in results.ranked}) > 1
    rows = [
        [
            text(f"{method_words(row['method'])} " * several + row["scheme"]),
            _size(row),
            number(row["trainable_parameters"], 0),
            TableCell(
                bytes_text(float(row["adapter_bytes"])), repr(float(row["adapter_bytes"])), "num"
            ),
            *_mean_cells(results, row),
            percent(row["phone_error_rate"]),
        ]
        for _, row in table.iterrows()
    ]
    headings = [
        Heading("scheme"),
        Heading("rank", True),
        Heading("weights trained", True),
        Heading("file", True),
        *_means(results),
        Heading("phone errors", True),
    ]
    return HtmlTable("ranks", "Over the rank", headings, rows, kind="heatmap")


def methods_table(results: Results, table: pd.DataFrame) -> HtmlTable:
    """Methods side by side, each at its best scheme."""
    rows = []
    for _, row in table.iterrows():
        system = _system(row)
        name = method_words(system.method)
        if system.scheme != "-":
            name += f", scheme {system.scheme}" + f", rank {system.rank}" * bool(system.rank)
        rows.append(
            [
                text(name, title=str(row["chosen"])),
                *_scores(row, "emotion_accuracy"),
                percent(row["phone_error_rate"]),
                number(row["mcd_db"]),
                number(row["log_f0_rmse"], 3),
                number(row["log_f0_correlation"]),
                *_scores(row, "speaker_similarity"),
                number(row["trainable_parameters"], 0),
                percent(row["share_of_full"]),
                number(row["train_seconds"], 0, suffix=" s"),
                _scored(row),
            ]
        )
    headings = [
        Heading("method"),
        Heading("emotion accuracy", True),
        Heading("phone errors", True),
        Heading("MCD, dB", True, "mel-cepstral distortion to the recording"),
        Heading("log-F0 RMSE", True),
        Heading("log-F0 correlation", True),
        Heading("same speaker", True, "speaker similarity to the recordings"),
        Heading("weights trained", True),
        Heading("share of full", True),
        Heading("training a cell", True),
        Heading("scored", True),
    ]
    return HtmlTable(
        "methods",
        f"Means over {'voices' if results.study.adapts_voices else 'emotions'} and seeds. Higher is better for emotion accuracy, log-F0 correlation and same speaker, lower for the other scores",
        headings,
        rows,
    )


def findings_html(table: pd.DataFrame) -> HtmlTable:
    """Every outcome of the paper with ours."""
    rows = []
    for _, row in table.iterrows():
        verdict = str(row["agrees"])
        share = str(row["measure"]).startswith("share")
        rows.append(
            [
                text(row["finding"], note=str(row["source"])),
                TableCell(verdict, verdict, "badge-cell " + verdict.replace(" ", "-")),
                number(
                    row["ours"],
                    3,
                    signed=not share,
                    note=interval_text(row["interval_low"], row["interval_high"], 3),
                ),
                text(row["measure"], note="" if is_empty(row["detail"]) else str(row["detail"])),
                text(row["conditions"], "small"),
            ]
        )
    headings = [
        Heading("outcome in the paper"),
        Heading("agrees"),
        Heading("ours", True),
        Heading("what ours measures"),
        Heading("conditions"),
    ]
    return HtmlTable(
        "findings",
        "Each known outcome of the paper, held against ours",
        headings,
        rows,
        kind="prose",
    )


_CELL_COLUMNS = (
    ("emotion_accuracy", 2, "emotion accuracy"),
    ("phone_error_rate", 3, "phone error rate"),
    ("mcd_db", 2, "MCD, dB"),
    ("log_f0_rmse", 3, "log-F0 RMSE"),
    ("log_f0_correlation", 2, "log-F0 corr."),
    ("f0_mean_shift_st", 2, "F0 mean, st"),
    ("f0_range_shift_st", 2, "F0 range, st"),
    ("rate_ratio", 2, "rate ratio"),
    ("energy_shift_db", 2, "energy, dB"),
    ("speaker_similarity", 2, "same speaker"),
)


def cells_table(results: Results) -> HtmlTable:
    """Every cell of the sweep, to sort and filter."""
    rows, tags = [], []
    for _, row in results.cells.iterrows():
        method = str(row["method"])
        rows.append(
            [
                text(method_words(method)),
                text(row["scheme"]) if row["scheme"] != "-" else TableCell("–", "", "empty"),
                _size(row),
                text(row["emotion"]),
                text(row["seed"]) if row["seed"] != "-" else TableCell("–", "", "empty"),
                number(row["trainable_parameters"], 0),
                *(
                    heat(row[c], lowest=results.scale_from)
                    if c == results.goal.score
                    else number(row[c], digits)
                    for c, digits, _ in _CELL_COLUMNS
                ),
                _scored(row),
            ]
        )
        tags.append({"method": method, "emotion": str(row["emotion"])})
    headings = [
        Heading("method"),
        Heading("scheme"),
        Heading("rank", True),
        Heading("emotion"),
        Heading("seed"),
        Heading("weights trained", True),
        *(Heading(label, True) for _, _, label in _CELL_COLUMNS),
        Heading("scored", True),
    ]
    return HtmlTable("cells", "Every cell of the sweep", headings, rows, tags)


def _share(value: float) -> TableCell:
    """A share in a confusion matrix; nothing heard there stays quiet."""
    return TableCell("0", "0.0", "num heat none") if value < 0.005 else heat(value)


def confusion_tables(results: Results) -> list[HtmlTable]:
    """Confusions of the recordings, the neutral model, full fine-tuning and the best scheme."""
    tables = []
    for system in confusion_systems(results):
        table = confusion(results, system)
        if table.empty:
            continue
        tables.append(confusion_table(system.key, system.label, table))
    return tables


def confusion_table(name: str, caption: str, table: pd.DataFrame) -> HtmlTable:
    """One confusion matrix: shares, rows the emotion asked for, columns the one recognised."""
    headings = [Heading("asked for"), *(Heading(str(e), True) for e in table.columns)]
    rows = [
        [text(emotion), *(_share(value) for value in values)]
        for emotion, values in zip(table.index, table.to_numpy(), strict=True)
    ]
    return HtmlTable(f"confusion-{name}", caption, headings, rows, kind="heatmap", sortable=False)


def failures(results: Results) -> HtmlTable | None:
    """Utterances that could not be scored, by reason; None when all were."""
    rows = results.utterances
    if "reason" not in rows:
        return None
    lost = rows[rows["reason"].notna() & (rows["reason"].astype(str) != "")]
    if lost.empty:
        return None
    counts = lost.groupby(["method", "reason"]).size()
    found = [
        [text(words(str(reason))), text(method), number(count, 0)]
        for method, reason, count in counts.reset_index(name="count").itertuples(index=False)
    ]
    return HtmlTable(
        "failures",
        "Utterances that could not be scored in full",
        [Heading("reason"), Heading("method"), Heading("utterances", True)],
        found,
    )
