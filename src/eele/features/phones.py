"""From frames to phones: averages and speaking rate."""

from __future__ import annotations

import numpy as np

#: Symbols of lexicon/phones.json that are not phones of the text.
NOT_SPOKEN = ("_", "sil", "spn")
SILENT = ("_", "sil")


def phone_means(values: np.ndarray, durations: np.ndarray) -> np.ndarray:
    """Mean of `values` (frames,) over each phone's frames; `durations` (phones,) -> (phones,) float32.

    A phone of zero frames reads the frame at its boundary.
    """
    ends = np.cumsum(durations)
    starts = ends - durations
    running = np.concatenate(([0.0], np.cumsum(values, dtype=np.float64)))
    means = (running[ends] - running[starts]) / np.maximum(durations, 1)
    boundary = np.asarray(values)[np.minimum(starts, len(values) - 1)]
    return np.where(durations > 0, means, boundary).astype(np.float32)


def phones_per_s(silent: np.ndarray, durations: np.ndarray, hop_s: float) -> float | None:
    """Speaking rate: phones per second from the first to the last phone, pauses inside included.

    `silent` (phones,) bool marks silence, `durations` (phones,) frames of `hop_s` seconds. None
    when nothing is spoken or it takes no time.
    """
    spoken = np.flatnonzero(~np.asarray(silent, dtype=bool))
    if spoken.size == 0:
        return None
    frames = int(np.sum(durations[spoken[0] : spoken[-1] + 1]))
    return float(spoken.size / (frames * hop_s)) if frames else None
