"""Scores of a recogniser with their intervals: unweighted average recall, accuracy, phone error rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, recall_score

from eele.config.recognition import Target
from eele.metrics.bootstrap import interval, units_of

#: With fewer different ones than this, resampling them says next to nothing.
MIN_UNITS = 5

#: Target -> the score that counts.
SCORES: dict[Target, str] = {"emotion": "uar", "speaker": "accuracy", "phones": "per"}
LOWER_IS_BETTER = ("per",)
SCORE_WORDS = {"uar": "UAR", "accuracy": "accuracy", "per": "phone error rate"}


def uar(labels: Sequence[str], predicted: Sequence[str]) -> float:
    """Unweighted average recall: the mean over the classes that occur in `labels` of their recall."""
    present = sorted(set(labels))
    return float(
        recall_score(
            list(labels), list(predicted), labels=present, average="macro", zero_division=0
        )
    )


def bootstrap_units(predictions: pd.DataFrame, target: Target = "emotion") -> tuple[str, list[str]]:
    """What intervals are drawn over, and the unit of each row.

    Of emotions: speakers, as a new speaker is what a recogniser meets; where fewer than five speak, sentences by
    speaker (`sentence` is optional), and without enough of these single utterances: the interval then
    holds for these speakers only. Of speakers and phones: sentences by whomever, as what is unlike from one
    recording to the next is what is said.
    """
    speaker = predictions["speaker"].astype(str)
    if target != "emotion":
        sentence = predictions["sentence"].astype(str).tolist()
        few = len(set(sentence)) < MIN_UNITS
        return "sentence by speaker" if few else "sentence", units_of(sentence, speaker.tolist())
    if speaker.nunique() >= MIN_UNITS:
        return "speaker", speaker.tolist()
    if "sentence" in predictions:
        unit = speaker + " " + predictions["sentence"].astype(str)
        if unit.nunique() >= MIN_UNITS:
            return "sentence by speaker", unit.tolist()
    return "utterance", predictions["utterance_id"].astype(str).tolist()


def uar_interval(
    predictions: pd.DataFrame,
    samples: int,
    confidence: float,
    seed: int,
    target: Target = "emotion",
) -> tuple[float, float] | None:
    """Percentile interval of the UAR under a cluster bootstrap over `bootstrap_units`; None without two.

    predictions: columns utterance_id, label, predicted, speaker, sentence (optional). A class of which a
    draw holds no recording does not count in that draw.
    """
    hit, _ = parts(predictions, "emotion")
    return class_mean_interval(predictions, hit, samples, confidence, seed, target)


def class_mean_interval(
    predictions: pd.DataFrame,
    values: np.ndarray,
    samples: int,
    confidence: float,
    seed: int,
    target: Target = "emotion",
) -> tuple[float, float] | None:
    """As `uar_interval`, of the mean over the classes of the mean of `values` (one per row) in each.

    Of hits that is the UAR; of the differences between two recognisers' hits, the difference of their UARs.
    """
    names, label = np.unique(predictions["label"].astype(str), return_inverse=True)
    units, unit = np.unique(bootstrap_units(predictions, target)[1], return_inverse=True)
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


def parts(predictions: pd.DataFrame, target: Target) -> tuple[np.ndarray, np.ndarray]:
    """Of each row what is counted and out of how many: errors and phones, else whether the class is right and 1."""
    if target == "phones":
        return predictions["errors"].to_numpy(float), predictions["phones"].to_numpy(float)
    hit = (predictions["label"] == predictions["predicted"]).to_numpy(float)
    return hit, np.ones(len(hit))


def value(predictions: pd.DataFrame, target: Target) -> float:
    """The score that counts (`SCORES`) of a table of predictions."""
    if target == "emotion":
        return uar(predictions["label"].tolist(), predictions["predicted"].tolist())
    counted, of = parts(predictions, target)
    return float(counted.sum() / of.sum())


def value_interval(
    predictions: pd.DataFrame,
    target: Target,
    samples: int,
    confidence: float,
    seed: int,
    counted: np.ndarray | None = None,
) -> tuple[float, float] | None:
    """Percentile interval of `value` under a cluster bootstrap over `bootstrap_units`; None without two.

    `counted`: in the place of what `parts` counts, such as the difference of two recognisers'.
    """
    own, of = parts(predictions, target)
    counted = own if counted is None else counted
    if target == "emotion":
        return class_mean_interval(predictions, counted, samples, confidence, seed)
    units, unit = np.unique(bootstrap_units(predictions, target)[1], return_inverse=True)
    sums = np.stack([np.bincount(unit, counted), np.bincount(unit, of)], axis=1)

    def summarise(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        found: np.ndarray = (weights @ values[:, 0]) / (weights @ values[:, 1])
        return found

    ones = np.ones(len(units))
    return interval(summarise, sums, ones, list(units), samples, confidence, seed)


def score_phones(
    predictions: pd.DataFrame, samples: int = 1000, confidence: float = 0.95, seed: int = 1
) -> dict[str, Any]:
    """Phone error rate of a table of transcriptions: columns phones, errors, speaker, sentence.

    All errors over all phones, as plain values for a JSON file. Raises ValueError for an empty table.
    """
    if predictions.empty:
        raise ValueError("no predictions to score")
    low, high = value_interval(predictions, "phones", samples, confidence, seed) or (None, None)
    return {
        "per": value(predictions, "phones"),
        "per_low": low,
        "per_high": high,
        "interval_unit": bootstrap_units(predictions, "phones")[0],
        "n": len(predictions),
        "n_phones": int(predictions["phones"].sum()),
        "n_errors": int(predictions["errors"].sum()),
    }


def score(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    samples: int = 1000,
    confidence: float = 0.95,
    seed: int = 1,
    target: Target = "emotion",
) -> dict[str, Any]:
    """All scores of one table of predicted classes, as plain values for a JSON file.

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
    low, high = uar_interval(predictions, samples, confidence, seed, target) or (None, None)
    return {
        "uar": uar(predictions["label"].tolist(), predictions["predicted"].tolist()),
        "uar_low": low,
        "uar_high": high,
        "interval_unit": bootstrap_units(predictions, target)[0],
        "accuracy": float(np.trace(matrix) / matrix.sum()),
        "n": int(matrix.sum()),
        "classes": list(classes),
        "n_by_class": {label: int(count) for label, count in zip(classes, n, strict=True)},
        "recall": {
            label: float(matrix[i, i] / n[i]) if n[i] else None for i, label in enumerate(classes)
        },
        "confusion": matrix.tolist(),
    }
