"""A judge's own score: what it hears in recordings of the test sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eele.config import StudyConfig
from eele.metrics.bootstrap import interval

if TYPE_CHECKING:
    import pandas as pd


def score_on_recordings(
    study: StudyConfig, classes: Sequence[str], table: pd.DataFrame, probabilities: np.ndarray
) -> dict[str, Any]:
    """Accuracy with its interval over sentences, and confusions, as plain values for report.json.

    table: emotion and sentence of each recording; probabilities (n, classes). Values that nothing is
    known of are None.
    """
    classes = list(classes)
    predicted = probabilities.argmax(axis=1)
    truth = np.array([classes.index(emotion) for emotion in table["emotion"]], dtype=int)
    confusion = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(confusion, (truth, predicted), 1)
    hits = (predicted == truth).astype(float)
    evaluation = study.evaluation
    low, high = interval(
        lambda values, weights: (weights @ values) / weights.sum(axis=1),
        hits,
        np.ones(len(hits)),
        table["sentence"].astype(str).tolist(),
        evaluation.bootstrap_samples,
        evaluation.confidence,
        evaluation.seed,
    ) or (None, None)
    return {
        "n_test": len(table),
        "test_accuracy": float(hits.mean()) if len(table) else None,
        "test_accuracy_low": low,
        "test_accuracy_high": high,
        "confidence": evaluation.confidence,
        "confusion": {
            emotion: dict(zip(classes, row.tolist(), strict=True))
            for emotion, row in zip(classes, confusion, strict=True)
        },
    }
