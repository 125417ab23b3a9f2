"""Gather what every cell of the sweep left on disk into two tables: cells and utterances."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from eele.cells import AXES, Cell, sweep
from eele.config.models import StudyConfig
from eele.errors import DataError
from eele.io import read_json
from eele.paths import StudyPaths
from eele.reporting.columns import (
    COLUMNS,
    EXTRA_COLUMNS,
    SCORE_COLUMNS,
    TEXT_COLUMNS,
    TRAINING_COLUMNS,
    WHOLE_NUMBERS,
)
from eele.vocabulary import NOT_APPLICABLE, SCHEMES

UTTERANCE_COLUMNS = ("utterance_id", "speaker", "sentence", "predicted_emotion")


class System(NamedTuple):
    """One row of the comparison: a method at a scheme and rank, over all emotions and seeds."""

    method: str
    scheme: str = NOT_APPLICABLE
    rank: int = 0

    @property
    def label(self) -> str:
        """Short name for tables, axes and players."""
        if self.method == "lora":
            return f"{self.scheme} · rank {self.rank}"
        if self.scheme != NOT_APPLICABLE:
            return f"{self.method} {self.scheme} · {self.rank}"
        return {
            "recording": "recording",
            "copy_synthesis": "copy synthesis",
            "none": "neutral model",
            "full": "full fine-tuning",
        }.get(self.method, self.method)

    @property
    def key(self) -> str:
        """File- and HTML-safe name."""
        if self.scheme == NOT_APPLICABLE:
            return self.method
        return f"{self.method}-{self.scheme}-{self.rank}"


#: Columns that hold names, even where these are numbers.
_TEXTS = ("utterance_id", "speaker", "sentence", "reason", "testbed", "encoder", "fold")


@dataclass(frozen=True)
class Results:
    """Everything scored in a study."""

    study: StudyConfig
    paths: StudyPaths
    cells: pd.DataFrame
    utterances: pd.DataFrame

    @cached_property
    def systems(self) -> list[System]:
        """Every system of the sweep, in the sweep's order (baselines first)."""
        rows = self.cells[["method", "scheme", "rank"]].drop_duplicates()
        return [System(str(m), str(s), int(r)) for m, s, r in rows.itertuples(index=False)]

    @cached_property
    def placed(self) -> list[System]:
        """The systems with a scheme (adapters), in order."""
        return [system for system in self.systems if system.scheme != NOT_APPLICABLE]

    @cached_property
    def main_method(self) -> str | None:
        """The adaptation method whose schemes are compared: `lora` where it is swept."""
        methods = [system.method for system in self.placed]
        return "lora" if "lora" in methods else (methods[0] if methods else None)

    @cached_property
    def common_rank(self) -> int | None:
        """The rank at which most schemes of the main method were run (ties: the middle one)."""
        counts: dict[int, int] = {}
        for system in self.placed:
            if system.method == self.main_method:
                counts[system.rank] = counts.get(system.rank, 0) + 1
        if not counts:
            return None
        most = sorted(rank for rank, count in counts.items() if count == max(counts.values()))
        return most[(len(most) - 1) // 2]

    @cached_property
    def compared_schemes(self) -> list[System]:
        """The main method's schemes at the common rank, a..h first, then the config's own."""
        found = [
            s for s in self.placed if (s.method, s.rank) == (self.main_method, self.common_rank)
        ]
        order = [*SCHEMES, *self.study.schemes]
        return sorted(found, key=lambda system: order.index(system.scheme))

    @cached_property
    def ranked(self) -> dict[tuple[str, str], list[System]]:
        """(method, scheme) -> its systems by rising rank, where several ranks were run."""
        groups: dict[tuple[str, str], list[System]] = {}
        for system in self.placed:
            groups.setdefault((system.method, system.scheme), []).append(system)
        return {
            key: sorted(group, key=lambda system: system.rank)
            for key, group in groups.items()
            if len(group) > 1
        }

    def of(self, system: System, emotion: str | None = None) -> pd.DataFrame:
        """Rows of `cells` of `system`, of one emotion or of the study's emotions."""
        rows = self.cells
        chosen = (
            (rows["method"] == system.method)
            & (rows["scheme"] == system.scheme)
            & (rows["rank"] == system.rank)
        )
        wanted = [emotion] if emotion else list(self.study.emotions)
        return rows[chosen & rows["emotion"].isin(wanted)]

    def mean(self, system: System, column: str, emotion: str | None = None) -> float:
        """Mean of `column` over seeds, then over emotions; NaN where no cell has a value."""
        rows = self.of(system, emotion)
        values = rows[column].astype(float).groupby(rows["emotion"]).mean()
        return float(values.mean())

    def best_scheme(self) -> System | None:
        """The compared scheme with the highest mean emotion accuracy (ties: fewer weights)."""
        scored = [
            (self.mean(s, "emotion_accuracy"), -self.mean(s, "trainable_parameters"), s)
            for s in self.compared_schemes
        ]
        scored = [entry for entry in scored if entry[0] == entry[0]]
        return max(scored, key=lambda entry: entry[:2])[2] if scored else None


def load_results(study: StudyConfig, paths: StudyPaths) -> Results:
    """Scores of every cell of the sweep; raises DataError naming a missing or damaged file."""
    cells, utterances = [], []
    for cell in sweep(study):
        cells.append(_cell_row(cell, paths))
        utterances.append(_cell_utterances(cell, paths))
    return Results(
        study, paths, _typed(pd.DataFrame(cells)), pd.concat(utterances, ignore_index=True)
    )


def _cell_row(cell: Cell, paths: StudyPaths) -> dict[str, Any]:
    file = paths.cell(cell) / "metrics.json"
    metrics = _read(file)
    named = {axis: str(value) for axis, value in metrics.get("cell", {}).items() if axis in AXES}
    expected = {axis: str(value) for axis, value in cell.as_dict().items()}
    if named != expected:
        raise DataError(
            f"{file}: holds the scores of another cell ({named or 'none named'}); "
            "delete the file and score the cell again"
        )
    scores = metrics.get("scores", {})
    for key in SCORE_COLUMNS:
        if key not in scores:
            raise DataError(
                f"{file}: the score '{key}' is absent (null is allowed where it does not apply); "
                "delete the file and score the cell again"
            )
    row: dict[str, Any] = {**cell.as_dict(), **dict.fromkeys(TRAINING_COLUMNS)}
    row |= {key: scores[key] for key in sorted(scores)}
    for key in ("n_scored", "n_total"):
        if key not in metrics:
            raise DataError(f"{file}: '{key}' is absent; delete the file and score the cell again")
        row[key] = metrics[key]
    if cell.trained:
        training_file = paths.cell(cell) / "adapter" / "training.json"
        training = _read(training_file)
        for key in TRAINING_COLUMNS:
            if training.get(key) is None:
                raise DataError(f"{training_file}: '{key}' is absent; delete it and train again")
        row |= {key: training[key] for key in TRAINING_COLUMNS}
        row |= _facts(training)
    return row


def _facts(training: dict[str, Any]) -> dict[str, Any]:
    """`FACT_COLUMNS` of one training.json; None where it is silent."""
    facts = {key: training.get(key) for key in ("best_step", "stopped_early", "critic_parameters")}
    terms, left = training.get("loss_terms"), training.get("unwrappable")
    if terms is not None:
        facts["loss_terms"] = ", ".join(terms)
    if left is not None:
        facts["not_wrapped"] = len(left)
        counts = Counter(entry["reason"] for entry in left)
        facts["not_wrapped_reasons"] = "; ".join(f"{n} × {r}" for r, n in counts.most_common())
    return facts


def _cell_utterances(cell: Cell, paths: StudyPaths) -> pd.DataFrame:
    file = paths.cell(cell) / "utterances.csv"
    table = read_table(file, UTTERANCE_COLUMNS)
    for axis, value in reversed(cell.as_dict().items()):
        table.insert(0, axis, value)
    # An utterance without a prediction was not scored: neither hit nor miss; n_scored counts it out.
    judged = table["predicted_emotion"].notna()
    table["hit"] = (table["predicted_emotion"] == cell.emotion).astype(float).where(judged)
    return table


def read_table(file: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A CSV table that must hold `columns`; raises DataError otherwise."""
    if not file.is_file():
        raise DataError(f"{file} is missing; run the stage that writes it (snakemake {file})")
    try:
        table = pd.read_csv(file, dtype=dict.fromkeys(_TEXTS, str))
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise DataError(
            f"{file}: not a readable table ({error}); delete it and run again"
        ) from error
    absent = [column for column in columns if column not in table.columns]
    if absent:
        raise DataError(
            f"{file}: columns missing: {', '.join(absent)}; found {', '.join(map(str, table.columns))}"
        )
    return table


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise DataError(f"{file} is missing; run the stage that writes it (snakemake {file})")
    value = read_json(file)
    if not isinstance(value, dict):
        raise DataError(f"{file}: must hold a JSON object, found {type(value).__name__}")
    return value


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    further = sorted(set(table.columns) - set(COLUMNS) - set(EXTRA_COLUMNS))
    table = table.reindex(columns=[*COLUMNS, *EXTRA_COLUMNS, *further])
    for column in table.columns:
        if column in WHOLE_NUMBERS:
            table[column] = pd.to_numeric(table[column]).astype("Int64")
        elif column not in TEXT_COLUMNS:
            table[column] = pd.to_numeric(table[column]).astype(float)
    return table


def plain_system(results: Results, method: str) -> System | None:
    """The system of a method without schemes (a baseline or `full`); None where it is not swept."""
    return next((system for system in results.systems if system.method == method), None)


def score_of(results: Results, system: System | None, column: str = "emotion_accuracy") -> float:
    """Mean score of `system`; NaN where there is no such system."""
    return results.mean(system, column) if system else float("nan")
