"""Intervals of a cell's scores: whole sentences are drawn, not utterances."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

#: With fewer sentences the unit is a sentence by one speaker, as in `eele.reporting`.
MIN_SENTENCES = 5


def units_of(sentences: Sequence[object], speakers: Sequence[str]) -> list[str]:
    """What is drawn: the sentence of each utterance, or sentence and speaker where sentences are few."""
    if len(set(sentences)) >= MIN_SENTENCES:
        return [str(sentence) for sentence in sentences]
    return [f"{sentence} {speaker}" for sentence, speaker in zip(sentences, speakers, strict=True)]


def interval(
    summarise: Callable[[np.ndarray, np.ndarray], np.ndarray],
    values: np.ndarray,
    weights: np.ndarray,
    units: Sequence[str],
    samples: int,
    confidence: float,
    seed: int,
) -> tuple[float, float] | None:
    """Percentile interval of `summarise(values, weights)` under a cluster bootstrap.

    values, weights, units: (n,), one per utterance; each of `samples` draws takes as many units as there
    are, with replacement, with all their utterances (Efron and Tibshirani, 1993, chapter 8). `summarise`
    takes values (n,) and weights (samples, n). None with fewer than two units: they say nothing about
    other sentences.
    """
    names, member = np.unique(np.asarray(units, dtype=str), return_inverse=True)
    if len(names) < 2:
        return None
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=samples)
    draws = summarise(values, drawn[:, member] * weights)
    return bounds(draws, (1 - confidence) / 2)


def bounds(draws: np.ndarray, tail: float) -> tuple[float, float]:
    """The quantiles `tail` and 1 - `tail` of draws (n,), without the noise of their sums: what is asked of an interval is
    whether it holds a number, and a bound of 6e-18 is none above zero."""
    low, high = np.round(np.quantile(draws, [tail, 1 - tail]), 12)
    return float(low), float(high)
