"""Emotion accuracy: how often the judge hears the emotion that was meant."""

from __future__ import annotations

from eele.metrics.base import Case, MetricSpec, Score


def _compute(case: Case) -> Score | None:
    if case.probabilities is None:
        return None
    # The first of equal probabilities, in the judge's order of classes.
    heard = max(case.probabilities, key=lambda emotion: case.probabilities[emotion])  # type: ignore[index]
    return Score(float(heard == case.emotion))


SPEC = MetricSpec(
    "emotion_accuracy",
    "utterances the first judge hears as the emotion that was meant",
    "1",
    "higher is better",
    ("judge",),
    _compute,
)
