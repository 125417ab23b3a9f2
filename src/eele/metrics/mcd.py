"""Mel-cepstral distortion along a dynamic-time-warping path."""

from __future__ import annotations

import numpy as np

from eele.metrics.base import Alignment, Case, MetricSpec, NotScoredError, Score
from eele.metrics.dtw import warping_path
from eele.metrics.speech import Speech

#: c1..c13: the spectral envelope without level (c0) and without the harmonics.
COEFFICIENTS = 13
#: Bands this far below the utterance's loudest are held there: the depth of silence is no distortion.
RANGE_DB = 60.0
_NEPER_DB = 20 / np.log(10)


def mel_cepstrum(log_mel: np.ndarray, count: int = COEFFICIENTS) -> np.ndarray:
    """c_m = 2/N sum_k L_k cos(pi m (k + 1/2) / N), m = 1..count: (frames, N) ln -> (frames, count).

    In this scaling `10 / ln 10 * sqrt(2 sum_m (dc_m)^2)` is the RMS difference over the N bands, in dB, of
    the two envelopes that the coefficients describe (Kubichek, 1993).
    """
    bands = log_mel.shape[1]
    m = np.arange(1, count + 1)[:, None]
    basis = 2 / bands * np.cos(np.pi * m * (np.arange(bands)[None, :] + 0.5) / bands)
    return np.asarray(log_mel, dtype=np.float64) @ basis.T


def align(reference: Speech, spoken: Speech) -> Alignment:
    """DTW path of the mel cepstra between the first and last phone of both. Raises NotScoredError."""
    cepstra = []
    for speech in (reference, spoken):
        if not np.all(np.isfinite(speech.mel)):
            raise NotScoredError("the mel spectrum is not finite")
        floor = float(speech.mel.max()) - RANGE_DB / _NEPER_DB
        cepstra.append(mel_cepstrum(np.maximum(speech.mel[speech.span], floor)))
    a, b = cepstra
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
    distance = np.sqrt(np.maximum(squared, 0.0))
    rows, columns = warping_path(distance)
    return Alignment(rows, columns, distance[rows, columns])


def _compute(case: Case) -> Score | None:
    if case.reference is None:
        return None
    return Score(float(10 / np.log(10) * np.sqrt(2) * case.alignment.distance.mean()))


SPEC = MetricSpec(
    "mcd_db",
    "mel-cepstral distortion (c1-c13, DTW, edge silence cut)",
    "dB",
    "lower is better",
    ("reference",),
    _compute,
)
