"""Phone error rate: what a recogniser hears against what was to be said."""

from __future__ import annotations

from collections.abc import Sequence

from eele.metrics.base import Case, MetricSpec, NotScoredError, Score


def phone_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Substitutions, deletions and insertions of the best alignment of two phone strings."""
    if not hypothesis:
        return len(reference)
    import jiwer

    found = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    return int(found.substitutions + found.deletions + found.insertions)


def _compute(case: Case) -> Score | None:
    if case.hypothesis is None:
        return None
    reference = case.spoken.said
    if not reference:
        raise NotScoredError("no known phone was to be said")
    # Weighted by length: the cell's rate is all errors over all phones.
    return Score(phone_errors(reference, case.hypothesis) / len(reference), len(reference))


SPEC = MetricSpec(
    "phone_error_rate",
    "phone error rate of the study's recogniser (errors over phones)",
    "1",
    "lower is better",
    ("recogniser",),
    _compute,
)
