"""Scores of a recogniser: unweighted average recall with its interval, accuracy, confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, recall_score

from eele.metrics.bootstrap import interval

#: With fewer different ones than this, resampling them says next to nothing.
MIN_UNITS = 5


def uar(labels: Sequence[str], predicted: Sequence[str]) -> float:
    """Unweighted average recall: the mean over the classes that occur in `labels` of their recall."""
    present = sorted(set(labels))
    return float(
        recall_score(
            list(labels), list(predicted), labels=present, average="macro", zero_division=0
        )
    )


def bootstrap_units(predictions: pd.DataFrame) -> tuple[str, list[str]]:
    """What intervals are drawn over, and the unit of each row.

    Speakers, as a new speaker is what a recogniser meets; where fewer than five speak, sentences by
    speaker (`sentence` is optional), and without enough of these single utterances: the interval then
    holds for these speakers only.
    """
    speaker = predictions["speaker"].astype(str)
    if speaker.nunique() >= MIN_UNITS:
        return "speaker", speaker.tolist()
    if "sentence" in predictions:
        unit = speaker + " " + predictions["sentence"].astype(str)
        if unit.nunique() >= MIN_UNITS:
            return "sentence by speaker", unit.tolist()
    return "utterance", predictions["utterance_id"].astype(str).tolist()


def uar_interval(
    predictions: pd.DataFrame, samples: int, confidence: float, seed: int
) -> tuple[float, float] | None:
    """Percentile interval of the UAR under a cluster bootstrap over `bootstrap_units`; None without two.

    predictions: columns utterance_id, label, predicted, speaker, sentence (optional). A class of which a
    draw holds no recording does not count in that draw.
    """
    hit = (predictions["label"] == predictions["predicted"]).to_numpy(float)
    return class_mean_interval(predictions, hit, samples, confidence, seed)


def class_mean_interval(
    predictions: pd.DataFrame, values: np.ndarray, samples: int, confidence: float, seed: int
) -> tuple[float, float] | None:
    """As `uar_interval`, of the mean over the classes of the mean of `values` (one per row) in each.

    Of hits that is the UAR; of the differences between two recognisers' hits, the difference of their UARs.
    """
    names, label = np.unique(predictions["label"].astype(str), return_inverse=True)
    units, unit = np.unique(bootstrap_units(predictions)[1], return_inverse=True)
    # Summed by unit first: a test of 30,000 recordings would need gigabytes of weights otherwise.
    place, size = unit * len(names) + label, len(units) * len(names)
    sums = np.stack([np.bincount(place, values, size), np.bincount(place, minlength=size)])
    sums = sums.reshape(2, len(units), len(names)).transpose(1, 0, 2)

    def summarise(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        hits, counts = weights @ values[:, 0], weights @ values[:, 1]
        recalls = np.full(counts.shape, np.nan)
        np.divide(hits, counts, out=recalls, where=counts > 0)
        return np.nanmean(recalls, axis=1)

    ones = np.ones(len(units))
    return interval(summarise, sums, ones, list(units), samples, confidence, seed)


def score(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    samples: int = 1000,
    confidence: float = 0.95,
    seed: int = 1,
) -> dict[str, Any]:
    """All scores of one table of predictions, as plain values for a JSON file.

    predictions: one row per test utterance: utterance_id, label, predicted, speaker, sentence (optional).
    `confusion[i][j]`: recordings of class i called class j, in the order of `classes`. `recall` is None
    for a class without recordings; UAR is over the others. Raises ValueError for a label or prediction
    that is no class, or an empty table.
    """
    if predictions.empty:
        raise ValueError("no predictions to score")
    strange = sorted((set(predictions["label"]) | set(predictions["predicted"])) - set(classes))
    if strange:
        raise ValueError(
            f"{', '.join(map(str, strange))}: not among the classes {', '.join(classes)}"
        )
    matrix = confusion_matrix(predictions["label"], predictions["predicted"], labels=list(classes))
    n = matrix.sum(axis=1)
    low, high = uar_interval(predictions, samples, confidence, seed) or (None, None)
    return {
        "uar": uar(predictions["label"].tolist(), predictions["predicted"].tolist()),
        "uar_low": low,
        "uar_high": high,
        "interval_unit": bootstrap_units(predictions)[0],
        "accuracy": float(np.trace(matrix) / matrix.sum()),
        "n": int(matrix.sum()),
        "classes": list(classes),
        "n_by_class": {label: int(count) for label, count in zip(classes, n, strict=True)},
        "recall": {
            label: float(matrix[i, i] / n[i]) if n[i] else None for i, label in enumerate(classes)
        },
        "confusion": matrix.tolist(),
    }
