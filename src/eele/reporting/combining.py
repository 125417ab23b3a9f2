"""What mixing adapters does: one table of all mixtures, and what it says in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from eele.cells import Cell
from eele.combining import Mixture, mixtures
from eele.combining.mixtures import NEUTRAL
from eele.combining.summary import point_columns
from eele.config.models import StudyConfig
from eele.paths import StudyPaths
from eele.reporting.collect import Results, System, read_table
from eele.reporting.markup import interval_text, is_empty, shown

MIXTURE_COLUMNS = ("mixture", "axis", "cells")


@dataclass(frozen=True)
class Moved:
    """A quantity that is followed along an axis: its columns, and how it is called."""

    name: str
    column: str
    step: str
    unit: str
    rest: float  # what a step is where nothing moves


F0 = Moved("F0 mean", "f0_mean_shift_st", "f0_mean_step_st", "semitones from neutral", 0.0)
RATE = Moved("Speaking rate", "rate_ratio", "rate_step", "over neutral’s", 1.0)
SIMILARITY = Moved(
    *("Speaker similarity", "speaker_similarity", "speaker_similarity_step"),
    *("cosine to the recordings", 0.0),
)


def combining_table(study: StudyConfig, paths: StudyPaths) -> pd.DataFrame:
    """One row per mixture, point and judge: `MIXTURE_COLUMNS`, then those of the mixtures' points.csv.

    Empty where the study combines nothing. Raises DataError naming a missing or damaged file.
    """
    columns = point_columns(study)
    tables = []
    for mixture in mixtures(study).values():
        table = read_table(paths.combining(mixture.name) / "points.csv", columns)[list(columns)]
        cells = "; ".join(_path(cell) for cell in mixture.cells)
        for place, value in enumerate((mixture.name, mixture.axis, cells)):
            table.insert(place, MIXTURE_COLUMNS[place], value)
        tables.append(table)
    if not tables:
        return pd.DataFrame(columns=[*MIXTURE_COLUMNS, *columns])
    return pd.concat(tables, ignore_index=True)


def points_of(results: Results, mixture: Mixture) -> pd.DataFrame:
    """The rows of a mixture in tables/combining.csv, the neutral model's included."""
    columns = (*MIXTURE_COLUMNS, *point_columns(results.study))
    table = read_table(results.paths.tables / "combining.csv", columns)
    return table[table["mixture"] == mixture.name]


def on_axis(rows: pd.DataFrame, judge: str) -> pd.DataFrame:
    """What one judge says of the points, the neutral model's own row left out."""
    return rows[(rows["judge"] == judge) & (rows["point"] != NEUTRAL)]


def cell_words(cell: Cell) -> str:
    """A cell as it is shown: method, scheme, size and emotion."""
    return f"{System(cell.method, cell.scheme, cell.rank).label}, {cell.emotion}"


def axis_words(mixture: Mixture) -> str:
    """What the axis of a mixture's figure counts."""
    if mixture.axis == "intensity":
        return "intensity"
    first, second = (cell.emotion for cell in mixture.cells)
    named = (first, second) if first != second else ("the first", "the second")
    return f"from {named[0]} (0) to {named[1]} (1)"


def moving(points: pd.DataFrame) -> tuple[Moved, ...]:
    """What is followed along an axis: with one speaker in a study voices are not compared."""
    return (F0, RATE, *(SIMILARITY,) * bool(points[SIMILARITY.column].notna().any()))


def findings(study: StudyConfig, mixture: Mixture, rows: pd.DataFrame) -> list[str]:
    """What the points show, in sentences."""
    found = []
    for judge in study.evaluation.judges:
        heard = on_axis(rows, judge)
        courses = [course(heard, emotion) for emotion in mixture.emotions]
        found.append(f"{judge}: {'; '.join(courses)}.")
    points = on_axis(rows, study.evaluation.judges[0])
    found += [movement(what, points) for what in moving(points)]
    for _, point in points.iterrows():
        if not any(float(weight) for weight in str(point["weights"]).split()):
            found.append(
                f"At weight 0 {int(point['same_as_neutral'])} of {int(point['n_total'])} files are the neutral "
                "model’s, bit for bit."
            )
    lost = int((rows["n_total"] - rows["n_scored"])[rows["judge"] == rows["judge"].iloc[0]].sum())
    if lost:
        found.append(f"{lost} utterances could not be measured in full (utterances.csv says why).")
    return found


def course(heard: pd.DataFrame, emotion: str) -> str:
    """How the mean probability of an emotion goes along the axis, with its ends and its peak."""
    column = f"probability_{emotion}"
    known = heard[heard[column].notna()]
    if known.empty:
        return f"no probability of {emotion}"
    first, last = known.iloc[0], known.iloc[-1]
    top = known.iloc[int(known[column].to_numpy(float).argmax())]
    text = f"probability of {emotion} {_valued(first, column)} to {_valued(last, column)}"
    if top["at"] not in (first["at"], last["at"]):
        text += f", at most {_valued(top, column)}"
    return text


def movement(what: Moved, points: pd.DataFrame) -> str:
    """Whether a quantity moves monotonically along the axis, and where not, from its steps and their intervals."""
    steps = [
        _Step(float(before["at"]), float(after["at"]), *_three(after, what.step), what.rest)
        for (_, before), (_, after) in zip(points.iterrows(), points[1:].iterrows(), strict=False)
        if not is_empty(after[what.step])
    ]
    if len(steps) < len(points) - 1:
        return f"{what.name} could not be measured at every point."
    if all(step.sign == 0 for step in steps):
        return f"{what.name} does not move."
    total = sum(step.change for step in steps)
    way, other = ("rises", "falls") if total > 0 else ("falls", "rises")
    against = [step for step in steps if step.sign * total < 0]
    firm = [step for step in against if step.sure]
    if firm:
        return (
            f"{what.name} does not move monotonically: it {way} on the whole, but {other} by more than its interval "
            f"{_listed(firm)}."
        )
    if against:
        return (
            f"{what.name} {way} on the whole; it {other} {_listed(against)}, which its interval does not "
            "tell from no movement."
        )
    unsure = [step for step in steps if not step.sure]
    if unsure:
        return f"{what.name} {way} monotonically; not told from no movement by its interval {_listed(unsure)}."
    return f"{what.name} {way} monotonically, at every step by more than its interval."


@dataclass(frozen=True)
class _Step:
    start: float
    end: float
    value: float
    low: float
    high: float
    rest: float

    @property
    def change(self) -> float:
        """How far it goes; of a ratio its logarithm, so that steps add up."""
        return math.log(self.value) if self.rest == 1 else self.value

    @property
    def sign(self) -> int:
        return (self.value > self.rest) - (self.value < self.rest)

    @property
    def sure(self) -> bool:
        """Whether the whole interval lies on one side of no movement; a missing one does not."""
        return self.low > self.rest or self.high < self.rest


def _listed(steps: Sequence[_Step]) -> str:
    named = []
    for step in steps:
        spread = interval_text(step.low, step.high)
        value = shown(step.value) if step.rest == 1 else f"{step.value:+.2f}".replace("-", "−")
        named.append(
            f"from {step.start:g} to {step.end:g} ({value}{f', {spread}' if spread else ''})"
        )
    return ", ".join(named)


def _three(row: pd.Series, column: str) -> tuple[float, float, float]:
    value, low, high = (float(row[f"{column}{end}"]) for end in ("", "_low", "_high"))
    return value, low, high


def _valued(row: pd.Series, column: str) -> str:
    value, low, high = _three(row, column)
    spread = interval_text(low, high)
    return f"{shown(value)}{f' ({spread})' if spread else ''} at {row['at']:g}"


def _path(cell: Cell) -> str:
    return f"{cell.method}/{cell.scheme}/{cell.rank}/{cell.emotion}/{cell.seed}"
