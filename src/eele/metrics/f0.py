"""F0 against the recording, along the warping path of the mel cepstra."""

from __future__ import annotations

import numpy as np

from eele.metrics.base import Case, MetricSpec, NotScoredError, Score

#: Fewer pairs of voiced frames than this say nothing about a contour.
MIN_PAIRS = 10


def _voiced_pairs(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """ln F0 of reference and utterance, each (pairs,), at the path's steps voiced in both."""
    assert case.reference is not None
    path = case.alignment
    reference = case.reference.f0_hz[case.reference.span][path.reference_frames]
    spoken = case.spoken.f0_hz[case.spoken.span][path.spoken_frames]
    both = (reference > 0) & (spoken > 0)
    if both.sum() < MIN_PAIRS:
        raise NotScoredError(f"{int(both.sum())} frames voiced in both, {MIN_PAIRS} are needed")
    return np.log(reference[both], dtype=np.float64), np.log(spoken[both], dtype=np.float64)


def _rmse(case: Case) -> Score | None:
    if case.reference is None:
        return None
    reference, spoken = _voiced_pairs(case)
    return Score(float(np.sqrt(np.mean((reference - spoken) ** 2))))


def _correlation(case: Case) -> Score | None:
    if case.reference is None:
        return None
    reference, spoken = _voiced_pairs(case)
    if min(reference.std(), spoken.std()) < 1e-6:
        raise NotScoredError("the pitch does not move, so nothing correlates with it")
    return Score(float(np.corrcoef(reference, spoken)[0, 1]))


RMSE = MetricSpec(
    "log_f0_rmse",
    "RMS difference of ln F0 (frames voiced in both, DTW)",
    "ln Hz",
    "lower is better",
    ("reference",),
    _rmse,
)
CORRELATION = MetricSpec(
    "log_f0_correlation",
    "Pearson correlation of ln F0 (frames voiced in both, DTW)",
    "1",
    "higher is better",
    ("reference",),
    _correlation,
)
SPECS = (RMSE, CORRELATION)
