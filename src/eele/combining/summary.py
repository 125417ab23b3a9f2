"""From the utterances of a mixture's points to one row per point and judge, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from eele.combining.measuring import MEASURED
from eele.combining.mixtures import Mixture, Point
from eele.config.models import StudyConfig
from eele.metrics import METRICS
from eele.metrics.base import MetricSpec, Score
from eele.metrics.bootstrap import units_of
from eele.metrics.score import Estimate, estimate

#: Column of a step from the last point to this one -> the shift that moves in it.
STEPS = {
    "f0_mean_step_st": "f0_mean_shift_st",
    "rate_step": "rate_ratio",
    "speaker_similarity_step": "speaker_similarity",
}


def point_columns(study: StudyConfig) -> tuple[str, ...]:
    """Columns of points.csv."""
    measured = ("accuracy", *(f"probability_{e}" for e in ("neutral", *study.emotions)))
    return (
        *("point", "at", "weights", "judge"),
        *(f"{name}{end}" for name in measured for end in ("", "_low", "_high")),
        "n",
        *(f"{name}{end}" for name in (*MEASURED, *STEPS) for end in ("", "_low", "_high")),
        *("same_as_neutral", "n_scored", "n_total"),
    )


def point_rows(
    study: StudyConfig, mixture: Mixture, points: Sequence[Point], heard: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """One row per point and judge (`point_columns`); `heard` holds each point's utterances by its name.

    `accuracy` is the share heard as an emotion whose adapter weighs something at the point (neutral where
    none does). A step is the paired difference from the point before (a ratio for the rate), its interval
    widened for the number of steps. `same_as_neutral`: files equal to the neutral model's, bit for bit.
    """
    rows = []
    for number, point in enumerate(points):
        table = heard[point.name]
        units = units_of(table["sentence"].tolist(), table["speaker"].tolist())
        prosody: dict[str, object] = {}
        for name in MEASURED:
            weights = table["phones"] if name == "phone_error_rate" else None
            prosody |= _three(name, _mean(study, METRICS[name], table[name], units, weights))
        # The neutral model, which comes first, is no point of the axis: nothing steps from it.
        before = points[number - 1] if number and points[number - 1].at is not None else None
        for name, shift in STEPS.items():
            found = (
                _step(study, mixture, METRICS[shift], heard[before.name], table, units)
                if before is not None
                else Estimate(None, None, None)
            )
            prosody |= _three(name, found)
        for judge in study.evaluation.judges:
            rows.append(
                {
                    "point": point.name,
                    "at": point.at,
                    "weights": " ".join(f"{weight:g}" for weight in point.weights),
                    "judge": judge,
                    **_judged(study, mixture.meant(point), judge, table, units),
                    **prosody,
                    "same_as_neutral": int(table["same_as_neutral"].sum()),
                    "n_scored": int(table["reason"].isna().sum()),
                    "n_total": len(table),
                }
            )
    return pd.DataFrame(rows, columns=list(point_columns(study)))


def _judged(
    study: StudyConfig,
    meant: tuple[str, ...],
    judge: str,
    table: pd.DataFrame,
    units: Sequence[str],
) -> dict[str, object]:
    heard = table[f"heard_{judge}"]
    hits = heard.isin(meant).astype(float).where(heard.notna())
    mean = METRICS["emotion_accuracy"]
    found = _three("accuracy", _mean(study, mean, hits, units))
    for emotion in ("neutral", *study.emotions):
        values = table[f"probability_{judge}_{emotion}"]
        found |= _three(f"probability_{emotion}", _mean(study, mean, values, units))
    return {**found, "n": int(heard.notna().sum())}


def _step(
    study: StudyConfig,
    mixture: Mixture,
    spec: MetricSpec,
    before: pd.DataFrame,
    after: pd.DataFrame,
    units: Sequence[str],
) -> Estimate:
    """How far the utterances moved from one point to the next, those measured at both."""
    first, second = before[spec.name].to_numpy(float), after[spec.name].to_numpy(float)
    moved = second / first if spec.mean == "geometric" else second - first
    return _mean(study, spec, pd.Series(moved), units, comparisons=len(mixture.points) - 1)


def _mean(
    study: StudyConfig,
    spec: MetricSpec,
    values: pd.Series,
    units: Sequence[str],
    weights: pd.Series | None = None,
    comparisons: int = 1,
) -> Estimate:
    each = np.ones(len(values)) if weights is None else weights.to_numpy(float)
    scores = [
        None if np.isnan(value) else Score(float(value), float(weight))
        for value, weight in zip(values.to_numpy(float), each, strict=True)
    ]
    return estimate(study, spec, scores, units, comparisons)


def _three(name: str, found: Estimate) -> dict[str, object]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
