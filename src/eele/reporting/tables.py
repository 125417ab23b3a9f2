"""The study's tables, each as CSV (numbers in full) and LaTeX (rounded, booktabs)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd

from eele.config.models import StudyConfig
from eele.io import write_csv, write_text
from eele.paths import StudyPaths
from eele.reporting.bootstrap import Bootstrap
from eele.reporting.collect import Results, System, load_results
from eele.reporting.columns import SCORE_COLUMNS
from eele.reporting.combining import combining_table
from eele.reporting.comparisons import comparisons_table
from eele.reporting.findings import MAP_NOTE, findings_table
from eele.reporting.goal import goal_of
from eele.reporting.judges import AGREEMENT_COLUMNS, agreement_table, judges_table
from eele.reporting.tasks import TASK_COLUMNS, synthesis_rows, tasks_table
from eele.vocabulary import NOT_APPLICABLE, SCHEMES, scheme_sites

#: Scores of which a row holds means over emotions and seeds; intervals of the one that counts alone.
MEAN_SCORES = tuple(c for c in SCORE_COLUMNS if not c.endswith(("_low", "_high")))

TABLES = (
    *("cells", "scheme_by_emotion", "rank", "methods", "costs", "findings"),
    *("judges", "agreement", "comparisons", "combining", "tasks"),
)

COST_COLUMNS = (
    *("method", "scheme", "caption", "sites", "loss_terms", "critic_parameters", "ranks"),
    *("trainable_parameters_least", "trainable_parameters_most", "n_cells"),
    *("seconds_per_step", "ratio_to_full", "steps_least", "steps_most", "train_seconds"),
    *("not_wrapped", "not_wrapped_reasons"),
)


def write_tables(study: StudyConfig, paths: StudyPaths) -> None:
    """Write every table of `TABLES` below `tables/` as .csv and .tex."""
    results = load_results(study, paths)
    bootstrap = Bootstrap(results)
    tables = {
        "cells": results.cells,
        "scheme_by_emotion": scheme_by_emotion(results, bootstrap),
        "rank": rank_table(results, bootstrap),
        "methods": methods_table(results, bootstrap),
        "costs": costs_table(results),
        "findings": findings_table(results, bootstrap),
        "judges": judges_table(results),
        "agreement": agreement_table(results),
        "comparisons": comparisons_table(results, bootstrap),
        "combining": combining_table(study, paths),
        "tasks": tasks_table(synthesis_rows(results, bootstrap)),
    }
    for name, table in tables.items():
        write_csv(paths.tables / f"{name}.csv", table)
        write_text(paths.tables / f"{name}.tex", to_latex(name, table, study))


def caption(scheme: str, study: StudyConfig) -> str:
    """The paper's caption of a scheme, or a word for a scheme of the config."""
    if scheme in SCHEMES:
        return SCHEMES[scheme][0]
    return "scheme of this study" if scheme in study.schemes else ""


def sites_text(system: System, study: StudyConfig) -> str:
    """Sites a system adapts, as text."""
    if system.scheme == NOT_APPLICABLE:
        return {"full": "every weight", "voice": "speaker table"}.get(system.method, "")
    return ", ".join(scheme_sites(system.scheme, study.backbone.name, study.schemes))


def shown_systems(results: Results) -> list[System]:
    """Rows of the scheme table: recordings and copy first, the schemes of each method, then full, voice and none."""
    plain = {s.method: s for s in results.systems if s.scheme == NOT_APPLICABLE}
    first = [plain[m] for m in ("recording", "copy_synthesis") if m in plain]
    return [*first, *results.compared, *(plain[m] for m in ("full", "voice", "none") if m in plain)]


def _describe(results: Results, system: System) -> dict[str, object]:
    trained = results.mean(system, "trainable_parameters")
    return {
        "method": system.method,
        "scheme": system.scheme,
        "rank": system.rank,
        "budget": results.budget(system),
        "caption": caption(system.scheme, results.study),
        "sites": sites_text(system, results.study),
        "trainable_parameters": None if math.isnan(trained) else round(trained),
    }


def _score(results: Results, bootstrap: Bootstrap, system: System, name: str) -> dict[str, float]:
    """The score that counts and its interval, in columns called `name`."""
    low, high = bootstrap.interval(bootstrap.mean_draws(system))
    return {
        name: results.mean(system, results.goal.score),
        f"{name}_low": low,
        f"{name}_high": high,
    }


def _by_emotion(results: Results, system: System) -> dict[str, float]:
    return {e: results.mean(system, results.goal.score, e) for e in results.study.adapted}


def _counts(results: Results, system: System) -> dict[str, int]:
    rows = results.of(system)
    return {"n_scored": int(rows["n_scored"].sum()), "n_total": int(rows["n_total"].sum())}


def scheme_by_emotion(results: Results, bootstrap: Bootstrap) -> pd.DataFrame:
    """The score that counts: rows baselines and each method's schemes at its common rank or budget; columns emotions,
    then their mean."""
    rows = []
    for system in shown_systems(results):
        row = _describe(results, system)
        row |= _by_emotion(results, system)
        row |= _score(results, bootstrap, system, "mean")
        rows.append(row | _counts(results, system))
    return _whole(pd.DataFrame(rows))


def rank_table(results: Results, bootstrap: Bootstrap) -> pd.DataFrame:
    """The score that counts, and cost, over the rank, for every scheme run at several ranks."""
    rows = []
    for group in results.ranked.values():
        for system in group:
            row = _describe(results, system)
            row["adapter_bytes"] = round(results.mean(system, "adapter_bytes"))
            row |= _by_emotion(results, system)
            row |= _score(results, bootstrap, system, "mean")
            row["phone_error_rate"] = results.mean(system, "phone_error_rate")
            row["mcd_db"] = results.mean(system, "mcd_db")
            rows.append(row | _counts(results, system))
    columns = [
        "method",
        "scheme",
        "rank",
        "budget",
        "caption",
        "sites",
        "trainable_parameters",
        "adapter_bytes",
    ]
    columns += [*results.study.adapted, "mean", "mean_low", "mean_high"]
    columns += ["phone_error_rate", "mcd_db", "n_scored", "n_total"]
    return _whole(pd.DataFrame(rows, columns=columns))


def methods_table(results: Results, bootstrap: Bootstrap) -> pd.DataFrame:
    """One row per method, at its best scheme and its common rank or budget: scores, weights, time.

    `chosen` says how a row was picked: a best scheme is chosen on the very utterances it is scored
    on, so its score is slightly flattered.
    """
    full = next((s for s in results.systems if s.method == "full"), None)
    whole = results.mean(full, "trainable_parameters") if full else float("nan")
    rows = []
    for system, chosen in _chosen(results):
        row = _describe(results, system)
        row["share_of_full"] = results.mean(system, "trainable_parameters") / whole
        for column in ("adapter_bytes", "train_seconds"):
            row[column] = results.mean(system, column)
        row |= _score(results, bootstrap, system, results.goal.score)
        further = (column for column in MEAN_SCORES if column not in row)
        row |= {column: results.mean(system, column) for column in further}
        rows.append(row | _counts(results, system) | {"chosen": chosen})
    return _whole(pd.DataFrame(rows))


def _chosen(results: Results) -> Iterable[tuple[System, str]]:
    """One system per method, and how it was picked."""
    for method in dict.fromkeys(system.method for system in results.systems):
        group = [system for system in results.systems if system.method == method]
        size = results.common_size(method)
        if len(group) == 1 or size is None:
            yield group[0], "the only one"
            continue
        group = results.schemes_of(method)
        best = results.best_of(group) or group[0]
        yield best, f"best of {len(group)} at {size.words}, on the same test utterances"


def costs_table(results: Results) -> pd.DataFrame:
    """One row per scheme over all its ranks, emotions and seeds, then `full`: what is trained, and how long
    a step takes.

    `seconds_per_step` is the mean of `train_seconds` / `steps` over the cells, `ratio_to_full` what it is
    of `full`'s (NaN without such cells); `train_seconds` is the sum. `_least` and `_most` are the ends of
    a range over the cells. A fact that no training.json of the row states is empty.
    """
    order = [*SCHEMES, *results.study.schemes, NOT_APPLICABLE]
    trained = results.cells[results.cells["steps"].notna()]
    groups = {(str(m), str(s)): rows for (m, s), rows in trained.groupby(["method", "scheme"])}
    pace = {key: float((g["train_seconds"] / g["steps"]).mean()) for key, g in groups.items()}
    whole = pace.get(("full", NOT_APPLICABLE), float("nan"))
    table = []
    for key in sorted(groups, key=lambda key: (order.index(key[1]), key[0])):
        method, scheme = key
        rows = groups[key]
        row: dict[str, object] = {
            "method": method,
            "scheme": scheme,
            "caption": caption(scheme, results.study),
            "sites": sites_text(System(method, scheme), results.study),
            "ranks": ", ".join(str(rank) for rank in sorted(set(rows["rank"])) if rank),
            "n_cells": len(rows),
            "seconds_per_step": pace[key],
            "ratio_to_full": pace[key] / whole,
            "train_seconds": float(rows["train_seconds"].sum()),
        }
        # The sites decide these, so every cell of a row says the same.
        for column in ("loss_terms", "critic_parameters", "not_wrapped", "not_wrapped_reasons"):
            known = rows[column].dropna()
            row[column] = known.iloc[0] if len(known) else None
        for column in ("trainable_parameters", "steps"):
            row[f"{column}_least"], row[f"{column}_most"] = rows[column].min(), rows[column].max()
        table.append(row)
    return _whole(pd.DataFrame(table, columns=list(COST_COLUMNS)))


_WHOLE = (
    *("rank", "trainable_parameters", "adapter_bytes", "n_scored", "n_total"),
    *("critic_parameters", "trainable_parameters_least", "trainable_parameters_most", "n_cells"),
    *("steps_least", "steps_most", "not_wrapped"),
)


def _whole(table: pd.DataFrame) -> pd.DataFrame:
    for column in _WHOLE:
        if column in table:
            table[column] = pd.to_numeric(table[column]).round().astype("Int64")
    return table


# LaTeX

_LATEX = {
    "cells": ("Every cell of the sweep.", 3),
    "scheme_by_emotion": (f"The {{score}} by insertion scheme; {MAP_NOTE}.", 2),
    "rank": (f"The {{score}} over the rank; {MAP_NOTE}.", 2),
    "methods": ("Methods, each at its best scheme, means over emotions and seeds.", 2),
    "costs": (
        "What a scheme trains, and how long a step takes: means over its cells, on one machine under "
        "the load of the sweep.",
        3,
    ),
    "findings": (f"Outcomes of EELE (arXiv 2408.10852) held against ours; {MAP_NOTE}.", 2),
    "judges": ("Emotion accuracy of every cell by every judge.", 2),
    "agreement": ("Agreement between the judges, with intervals over sentences.", 2),
    "comparisons": (
        "Differences in {score}, paired over sentences and seeds; intervals widened for the number of "
        f"differences of each family; {MAP_NOTE}.",
        2,
    ),
    "tasks": (
        "Task, model and method: the score that counts with its interval, weights trained, and their share of the "
        "whole model in per cent.",
        3,
    ),
    "combining": (
        "Adapters plugged together: what is heard, and F0 and rate against the neutral model's speech.",
        2,
    ),
}

#: What a LaTeX table leaves to the CSV, to fit a page.
_LATEX_COLUMNS = {
    "cells": (
        *("method", "scheme", "rank", "emotion", "seed", "trainable_parameters"),
        *("emotion_accuracy", "phone_error_rate", "mcd_db", "n_scored", "n_total"),
    ),
    "methods": (
        *("method", "scheme", "rank", "trainable_parameters", "emotion_accuracy"),
        *("emotion_accuracy_low", "emotion_accuracy_high", "phone_error_rate", "mcd_db"),
        *("speaker_similarity", "speaker_similarity_low", "speaker_similarity_high"),
    ),
    "tasks": tuple(column for column in TASK_COLUMNS if not column.startswith("n_")),
    "costs": (
        *("method", "scheme", "loss_terms", "critic_parameters", "trainable_parameters_least"),
        *("trainable_parameters_most", "seconds_per_step", "ratio_to_full", "n_cells"),
    ),
    "findings": ("finding", "ours", "interval_low", "interval_high", "agrees", "detail"),
    "judges": (
        *("method", "scheme", "rank", "emotion", "seed", "judge", "accuracy", "accuracy_low"),
        *("accuracy_high", "n", "mean_probability_target", "recording_accuracy"),
    ),
    "agreement": AGREEMENT_COLUMNS,
    "comparisons": (
        *("family", "judge", "what", "than", "over", "difference", "low", "high", "larger"),
    ),
    "combining": (
        *("mixture", "at", "weights", "judge", "accuracy", "accuracy_low", "accuracy_high"),
        *("f0_mean_shift_st", "rate_ratio", "phone_error_rate", "n_scored", "n_total"),
    ),
}

#: Wide text columns wrap.
_WRAPPED = {
    "finding": "p{0.28\\linewidth}",
    "detail": "p{0.28\\linewidth}",
    "loss_terms": "p{0.2\\linewidth}",
}


def to_latex(name: str, table: pd.DataFrame, study: StudyConfig) -> str:
    """`table` as a LaTeX table (needs the package booktabs): escaped, rounded, `--` where empty."""
    title, digits = _LATEX[name]
    title = title.replace("{score}", goal_of(study).name)
    wanted = _LATEX_COLUMNS.get(name)
    left_out = (
        {"budget", "caption", "sites", "adapter_bytes", "n_scored", "n_total"}
        if not wanted
        else set()
    )
    columns = [c for c in wanted or table.columns if c in table.columns and c not in left_out]
    shown = pd.DataFrame(
        {
            column.replace("_", " "): [_cell(value, digits) for value in table[column]]
            for column in columns
        }
    )
    alignment = "".join(
        _WRAPPED.get(c, "r" if pd.api.types.is_numeric_dtype(table[c]) else "l") for c in columns
    )
    return shown.to_latex(
        index=False,
        escape=True,
        column_format=alignment,
        caption=f"{_escape(study.title)}: {_escape(title)}",
        label=f"tab:{study.study}-{name}".replace("_", "-"),
        position="t",
    )


def _cell(value: object, digits: int) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "--"
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return str(value)


_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def _escape(text: str) -> str:
    return "".join(_SPECIAL.get(character, character) for character in text)
