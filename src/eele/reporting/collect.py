"""Gather what every cell of the sweep left on disk into two tables: cells and utterances."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from eele.cells import AXES, Cell, placements, sweep
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
from eele.reporting.goal import Goal, goal_of
from eele.reporting.markup import words
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
        name = method_words(self.method)
        if self.scheme == NOT_APPLICABLE:
            return name
        size = f" · {'rank' if self.method == 'lora' else 'size'} {self.rank}"
        return f"{name} {self.scheme}" + size * bool(self.rank)

    @property
    def key(self) -> str:
        """File- and HTML-safe name."""
        if self.scheme == NOT_APPLICABLE:
            return self.method
        return f"{self.method}-{self.scheme}-{self.rank}"


class Size(NamedTuple):
    """What schemes are compared at: one rank, or one budget for which each got a rank of its own."""

    kind: str  # rank | budget
    value: int

    @property
    def words(self) -> str:
        """`rank 8`, `a budget of 50,000 weights`."""
        if self.kind == "budget":
            return f"a budget of {self.value:,} weights"
        return f"rank {self.value}" if self.value else "its one size"


_METHOD_WORDS = {
    "none": "neutral model",
    "full": "full fine-tuning",
    "lora": "LoRA",
    "dora": "DoRA",
    "rslora": "rsLoRA",
    "loha": "LoHa",
    "ia3": "IA³",
    "vera": "VeRA",
    "voice": "voice vector alone",
}


def method_words(method: str) -> str:
    """A method or baseline as it is shown."""
    return _METHOD_WORDS.get(method, words(method))


#: Columns that hold names, even where these are numbers.
_TEXTS = (
    *("utterance_id", "speaker", "sentence", "reason", "testbed", "encoder", "fold"),
    *("budget", "point", "weights"),
)


@dataclass(frozen=True)
class Results:
    """Everything scored in a study."""

    study: StudyConfig
    paths: StudyPaths
    cells: pd.DataFrame
    utterances: pd.DataFrame

    @cached_property
    def goal(self) -> Goal:
        """What the cells are adapted to, and the score that counts."""
        return goal_of(self.study)

    @property
    def mean_of(self) -> tuple[str, ...]:
        """Emotions whose scores stand beside their mean: none where there is one, whose score the mean is."""
        return self.study.adapted if len(self.study.adapted) > 1 else ()

    @property
    def mean_name(self) -> str:
        """What the mean is called in figures and on the page."""
        if self.mean_of:
            return "mean"
        return self.goal.name if self.study.adapts_voices else self.study.adapted[0]

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
    def methods(self) -> list[str]:
        """The adaptation methods with schemes, in the sweep's order, the main one first."""
        methods = list(dict.fromkeys(system.method for system in self.placed))
        return sorted(methods, key=lambda method: method != "lora")

    @cached_property
    def main_method(self) -> str | None:
        """The adaptation method that the paper's outcomes are tested on: `lora` where it is swept."""
        return self.methods[0] if self.methods else None

    @cached_property
    def sizes(self) -> dict[str, dict[Size, list[System]]]:
        """Method -> every rank and budget its schemes were run at -> its systems there."""
        found: dict[str, dict[Size, list[System]]] = {}
        for method, scheme, rank, budget in placements(self.study):
            if scheme == NOT_APPLICABLE:
                continue
            size = Size("rank", rank) if budget is None else Size("budget", budget)
            systems = found.setdefault(method, {}).setdefault(size, [])
            system = System(method, scheme, rank)
            systems += [system] * (system not in systems)
        return found

    def budget(self, system: System) -> str:
        """The budgets that a system was sized for; empty where the config names its rank."""
        found = self.of(system)["budget"].dropna()
        return str(found.iloc[0]) if len(found) else ""

    def common_size(self, method: str | None) -> Size | None:
        """Where most schemes of `method` were run (ties: a budget, then the middle one); a further method's
        is the main one's budget where it was run at that."""
        counts = {size: len(systems) for size, systems in self.sizes.get(method or "", {}).items()}
        if not counts:
            return None
        if method != self.main_method:
            same = self.common_size(self.main_method)
            if same is not None and same.kind == "budget" and same in counts:
                return same
        most = sorted(size for size, count in counts.items() if count == max(counts.values()))
        alike = [size for size in most if size.kind == most[0].kind]
        return alike[(len(alike) - 1) // 2]

    def schemes_of(self, method: str | None) -> list[System]:
        """The schemes of `method` at its common size, a..h first, then the config's own."""
        size = self.common_size(method)
        found = self.sizes[method][size] if method is not None and size is not None else []
        order = [*SCHEMES, *self.study.schemes]
        return sorted(found, key=lambda system: order.index(system.scheme))

    @property
    def sizes_text(self) -> str:
        """What the compared schemes are compared at: `rank 8`, `LoRA rank 8, bottleneck rank 16`."""
        sizes = {method: self.common_size(method) for method in self.methods}
        if len(set(sizes.values())) == 1:
            return next(size.words for size in sizes.values() if size is not None)
        return ", ".join(f"{method_words(m)} {z.words}" for m, z in sizes.items() if z is not None)

    @cached_property
    def compared_schemes(self) -> list[System]:
        """The main method's schemes at its common size."""
        return self.schemes_of(self.main_method)

    @cached_property
    def compared(self) -> list[System]:
        """Every method's schemes at its common size."""
        return [system for method in self.methods for system in self.schemes_of(method)]

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
        """Rows of `cells` of `system`, of one emotion or of those the study adapts to."""
        rows = self.cells
        chosen = (
            (rows["method"] == system.method)
            & (rows["scheme"] == system.scheme)
            & (rows["rank"] == system.rank)
        )
        wanted = [emotion] if emotion else list(self.study.adapted)
        return rows[chosen & rows["emotion"].isin(wanted)]

    def mean(self, system: System, column: str, emotion: str | None = None) -> float:
        """Mean of `column` over seeds, then over emotions; NaN where no cell has a value."""
        rows = self.of(system, emotion)
        values = rows[column].astype(float).groupby(rows["emotion"]).mean()
        return float(values.mean())

    @cached_property
    def scale_from(self) -> float:
        """Where axes and colours of the score that counts begin: at 0, or where it may be negative a tenth or
        two below all but the neutral model, which may lie far away from what was adapted."""
        values = [self.mean(s, self.goal.score) for s in self.systems if s.method != "none"]
        values = [value for value in values if value == value]
        return math.floor(10 * min(values) - 1) / 10 if self.goal.signed and values else 0.0

    def best_scheme(self) -> System | None:
        """The best of all compared schemes, whichever their method."""
        return self.best_of(self.compared)

    def best_of(self, systems: Sequence[System]) -> System | None:
        """The system with the highest mean of the score that counts (ties: fewer weights); None where none has one."""
        scored = [
            (self.mean(s, self.goal.score), -self.mean(s, "trainable_parameters"), s)
            for s in systems
        ]
        scored = [entry for entry in scored if entry[0] == entry[0]]
        return max(scored, key=lambda entry: entry[:2])[2] if scored else None


def load_results(study: StudyConfig, paths: StudyPaths) -> Results:
    """Scores of every cell of the sweep; raises DataError naming a missing or damaged file."""
    cells, utterances = [], []
    budgets = _budgets(study)
    for cell in sweep(study):
        system = System(cell.method, cell.scheme, cell.rank)
        cells.append(_cell_row(cell, paths, budgets.get(system)))
        utterances.append(_cell_utterances(cell, paths, goal_of(study)))
    return Results(
        study, paths, _typed(pd.DataFrame(cells)), pd.concat(utterances, ignore_index=True)
    )


def _budgets(study: StudyConfig) -> dict[System, str]:
    """The budgets that systems were sized for, as cells.csv has them."""
    found: dict[System, dict[int, None]] = {}
    for method, scheme, rank, budget in placements(study):
        if budget is not None:
            found.setdefault(System(method, scheme, rank), {})[budget] = None
    return {system: "; ".join(map(str, sorted(asked))) for system, asked in found.items()}


def _cell_row(cell: Cell, paths: StudyPaths, budget: str | None) -> dict[str, Any]:
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
    row: dict[str, Any] = {**cell.as_dict(), **dict.fromkeys(TRAINING_COLUMNS), "budget": budget}
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


def _cell_utterances(cell: Cell, paths: StudyPaths, goal: Goal) -> pd.DataFrame:
    """utterances.csv with the cell's axes, and `score`: what counts, of each utterance."""
    file = paths.cell(cell) / "utterances.csv"
    voices = ("speaker_similarity",) * (goal.score == "speaker_similarity")
    table = read_table(file, (*UTTERANCE_COLUMNS, *voices))
    for axis, value in reversed(cell.as_dict().items()):
        table.insert(0, axis, value)
    if voices:
        table["score"] = table["speaker_similarity"].astype(float)
        return table
    # An utterance without a prediction was not scored: neither hit nor miss; n_scored counts it out.
    judged = table["predicted_emotion"].notna()
    table["score"] = (table["predicted_emotion"] == cell.emotion).astype(float).where(judged)
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


def score_of(results: Results, system: System | None, column: str = "") -> float:
    """Mean of `column` of `system`, or of the score that counts; NaN where there is no such system."""
    return results.mean(system, column or results.goal.score) if system else float("nan")
