"""Shifts of pitch, rate and level away from neutral speech.

Synthetic speech is held against the neutral model's speech of the same sentence and speaker, recordings
against the mean of the same speaker's neutral recordings. A cell's shifts are to be read beside those of the
recordings, which stand in the columns `recording_*`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from eele.metrics.base import Case, MetricSpec, NotScoredError, Score


def _both(case: Case, name: str, what: str) -> tuple[float, float] | None:
    """The utterance's and its neutral counterpart's value; None without a counterpart."""
    if case.neutral is None:
        return None
    own, neutral = getattr(case.spoken.prosody, name), getattr(case.neutral, name)
    if own is None:
        raise NotScoredError(f"no {what}")
    if neutral is None:
        raise NotScoredError(f"no {what} in the neutral speech it is compared with")
    return own, neutral


def _f0_mean(case: Case) -> Score | None:
    pair = _both(case, "f0_mean_hz", "voiced frame")
    return Score(12 * math.log2(pair[0] / pair[1])) if pair else None


def _f0_range(case: Case) -> Score | None:
    pair = _both(case, "f0_range_st", "voiced frame")
    return Score(pair[0] - pair[1]) if pair else None


def _rate(case: Case) -> Score | None:
    pair = _both(case, "rate_phones_per_s", "spoken phone")
    return Score(pair[0] / pair[1]) if pair else None


def _energy(case: Case) -> Score | None:
    if not case.level_comparable:
        return None
    pair = _both(case, "energy_db", "spoken frame")
    return Score(pair[0] - pair[1]) if pair else None


def _shift(
    name: str, label: str, unit: str, compute: Callable[[Case], Score | None], **more: object
) -> MetricSpec:
    return MetricSpec(
        name,
        label,
        unit,
        "nearer to the recordings is better",
        ("neutral",),
        compute,
        of_recordings=True,
        **more,  # type: ignore[arg-type]
    )


SPECS = (
    _shift("f0_mean_shift_st", "shift of mean F0 (geometric) from neutral", "semitones", _f0_mean),
    _shift(
        "f0_range_shift_st",
        "change of F0 range (5th to 95th percentile) from neutral",
        "semitones",
        _f0_range,
    ),
    _shift(
        "rate_ratio",
        "phones per second over neutral's, edge silence cut",
        "1",
        _rate,
        mean="geometric",
    ),
    _shift("energy_shift_db", "shift of the level of spoken frames from neutral", "dB", _energy),
)
