"""Intervals of the score that counts and of paired differences: sentences and seeds drawn together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from eele.metrics.bootstrap import bounds
from eele.reporting.collect import Results, System

#: With fewer test sentences than this, resampling sentences alone says next to nothing.
MIN_SENTENCES = 5


class Bootstrap:
    """Cluster bootstrap over sentences, with seeds drawn along where there are several.

    All systems and emotions share the draws, so differences between them are paired: a sentence
    that is hard to say counts for both sides. Each draw takes as many sentences as there are, with
    replacement (Efron & Tibshirani 1993, chapter 8), and as many seeds as the study has.
    Where fewer than five sentences exist, the unit is a sentence by one speaker instead.
    """

    def __init__(self, results: Results) -> None:
        evaluation = results.study.evaluation
        self.confidence = evaluation.confidence
        self.seeds = tuple(str(seed) for seed in results.study.seeds)
        table = results.utterances
        table = table[table["score"].notna()]
        #: emotions the study adapts to that have scored test utterances at all
        self.emotions = tuple(e for e in results.study.adapted if (table["emotion"] == e).any())
        #: whether an utterance scores 0 or 1
        self.counts = bool(table["score"].isin((0.0, 1.0)).all())
        self.unit = "sentence"
        unit = table["sentence"].astype(str)
        if unit.nunique() < MIN_SENTENCES:
            self.unit = "sentence by speaker"
            unit = unit + " " + table["speaker"].astype(str)
        units = sorted(unit.unique())
        self.n_units = len(units)
        rng = np.random.default_rng(evaluation.seed)
        samples = evaluation.bootstrap_samples
        #: (draws, units) how often each unit was drawn
        self._weights = (
            rng.multinomial(self.n_units, np.full(self.n_units, 1 / self.n_units), size=samples)
            if units
            else np.zeros((samples, 0), int)
        )
        #: (draws, seeds) how often each seed was drawn
        k = len(self.seeds)
        self._seed_weights = rng.multinomial(k, np.full(k, 1 / k), size=samples)
        self._sums = _sums(table, unit, units)

    def draws(self, system: System, emotion: str) -> np.ndarray:
        """(draws,) score of `system` on `emotion`; NaN where a draw holds none of its utterances."""
        per_seed = [
            self._ratio(self._sums[key]) for key in self._keys(system, emotion) if key in self._sums
        ]
        if not per_seed:
            return np.full(len(self._weights), np.nan)
        if len(per_seed) != len(self.seeds):  # baselines have no seed
            return np.mean(per_seed, axis=0)
        return np.sum(np.stack(per_seed, axis=1) * self._seed_weights, axis=1) / len(self.seeds)

    def mean_draws(self, system: System, emotions: Sequence[str] | None = None) -> np.ndarray:
        """(draws,) score averaged over emotions, each emotion weighing the same."""
        return np.mean([self.draws(system, e) for e in emotions or self.emotions], axis=0)

    def point(self, system: System, emotion: str) -> float:
        """Score over all utterances, averaged over seeds; NaN without any."""
        values = [
            scores.sum() / counts.sum()
            for scores, counts in (
                self._sums[key] for key in self._keys(system, emotion) if key in self._sums
            )
        ]
        return float(np.mean(values)) if values else float("nan")

    def mean_point(self, system: System, emotions: Sequence[str] | None = None) -> float:
        """Score averaged over emotions, each weighing the same."""
        return float(np.mean([self.point(system, e) for e in emotions or self.emotions]))

    def interval(self, draws: np.ndarray, comparisons: int = 1) -> tuple[float, float]:
        """Percentile interval of `draws`; Bonferroni-widened for `comparisons`; NaN without spread.

        Fewer than two units say nothing about other sentences: the interval is then unknown (NaN),
        not of width zero.
        """
        finite = draws[np.isfinite(draws)]
        if self.n_units < 2 or len(finite) < 0.5 * len(draws):
            return float("nan"), float("nan")
        tail = (1 - self.confidence) / 2 / comparisons
        return bounds(finite, tail)

    def utterances(self, systems: Sequence[System], emotions: Sequence[str] | None = None) -> int:
        """Scored utterances of the system of `systems` that has fewest."""
        return min(
            sum(
                int(self._sums[key][1].sum())
                for emotion in emotions or self.emotions
                for key in self._keys(system, emotion)
                if key in self._sums
            )
            for system in systems
        )

    def difference_interval(
        self, draws: np.ndarray, estimate: float, utterances: int, comparisons: int = 1
    ) -> tuple[float, float]:
        """Interval of a difference; where no draw differs from another, by the rule of three.

        A bootstrap of utterances that all agree has width zero, which claims too much: n agreeing
        utterances leave room for a share of 1 - tail^(1/n) that does not (Hanley & Lippman-Hand 1983). Only
        hits and misses agree by chance: where scores are measured, equal draws are equal speech.
        """
        low, high = self.interval(draws, comparisons)
        if not self.counts or high - low > 1e-12 or not np.isfinite(high - low):
            return low, high
        room = 1 - ((1 - self.confidence) / 2 / comparisons) ** (1 / max(1, utterances))
        return max(-1.0, estimate - room), min(1.0, estimate + room)

    def conditions(self) -> str:
        """One phrase on what the intervals cover."""
        seeds = (
            f"{len(self.seeds)} seeds"
            if len(self.seeds) > 1
            else "one seed, so no spread over trainings"
        )
        return f"{self.confidence:.0%} intervals over {self.n_units} units ({self.unit}); {seeds}"

    def _keys(self, system: System, emotion: str) -> list[tuple[str, str, int, str, str]]:
        return [(*system, emotion, seed) for seed in (*self.seeds, "-")]

    def _ratio(self, sums: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        scores, counts = sums
        n = self._weights @ counts
        with np.errstate(invalid="ignore"):
            return np.where(n > 0, (self._weights @ scores) / np.maximum(n, 1), np.nan)


def _sums(
    table: pd.DataFrame, unit: pd.Series, units: list[str]
) -> dict[tuple[str, str, int, str, str], tuple[np.ndarray, np.ndarray]]:
    """(method, scheme, rank, emotion, seed) -> sum of scores and utterances per unit, each (units,)."""
    position = {name: index for index, name in enumerate(units)}
    sums = {}
    keys = ["method", "scheme", "rank", "emotion", "seed"]
    for key, rows in table.assign(_unit=unit.map(position)).groupby(keys, sort=False):
        index = rows["_unit"].to_numpy()
        scores = np.bincount(index, weights=rows["score"].to_numpy(), minlength=len(units))
        counts = np.bincount(index, minlength=len(units))
        method, scheme, rank, emotion, seed = key
        sums[(str(method), str(scheme), int(str(rank)), str(emotion), str(seed))] = (scores, counts)
    return sums
