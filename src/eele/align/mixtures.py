"""Gaussian mixtures with diagonal covariance, one per HMM state, trained by EM in matrix products.

kaldi-hmm-gmm accumulates one frame per Python call; here a state's frames are one matrix. Formulas: Young et
al., The HTK Book (3.4), sections 8.1 and 10.6 (splitting by +-0.2 standard deviations, floors).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

#: Variances stay above this share of the whole material's variance.
VARIANCE_FLOOR = 0.01
#: A component seen in fewer frames is dropped (the last one of a state is kept unchanged).
MIN_OCCUPANCY = 10.0
#: Components a state gets grow with this power of its frames (Kaldi's gmm-est --power).
OCCUPANCY_POWER = 0.25
#: Fewest frames per component when states are split.
MIN_FRAMES_PER_COMPONENT = 40.0

#: Frames taken at a time.
_BLOCK = 500_000

Matrix = NDArray[np.float32]


@dataclass
class Mixture:
    """One state's density: `weights` (components,), `means` and `variances` (components, dim)."""

    weights: NDArray[np.float64]
    means: NDArray[np.float64]
    variances: NDArray[np.float64]
    _sums: tuple[NDArray[np.float64], ...] | None = field(default=None, repr=False)

    def component_log_likelihoods(self, frames: Matrix) -> Matrix:
        """Log of weight times density, shape (frames, components)."""
        precision = 1.0 / self.variances
        constant = np.log(self.weights) - 0.5 * (
            np.log(2 * np.pi * self.variances).sum(1) + (self.means**2 * precision).sum(1)
        )
        scores = frames @ (self.means * precision).T.astype(np.float32)
        scores -= 0.5 * (frames * frames) @ precision.T.astype(np.float32)
        scores += constant.astype(np.float32)
        return scores

    def log_likelihoods(self, frames: Matrix) -> Matrix:
        """Log density of each frame, shape (frames,)."""
        scores = self.component_log_likelihoods(frames)
        peak = scores.max(1)
        return peak + np.log(np.exp(scores - peak[:, None]).sum(1))

    def accumulate(self, frames: Matrix) -> None:
        """Add `frames` (frames, dim) to the sums of the coming EM step."""
        posterior = self.component_log_likelihoods(frames)
        posterior -= posterior.max(1, keepdims=True)
        np.exp(posterior, out=posterior)
        posterior /= posterior.sum(1, keepdims=True)
        sums = (
            posterior.sum(0, dtype=np.float64),
            (posterior.T @ frames).astype(np.float64),
            (posterior.T @ (frames * frames)).astype(np.float64),
        )
        before = self._sums
        self._sums = sums if before is None else tuple(map(np.add, before, sums))

    def maximise(self, floor: NDArray[np.float64]) -> None:
        """End the EM step: new parameters from the sums; variances stay above `floor` (dim,)."""
        if self._sums is None:
            return
        occupancy, first, second = self._sums
        self._sums = None
        kept = occupancy >= MIN_OCCUPANCY
        if not kept.any():
            return
        count = occupancy[kept, None]
        self.means = first[kept] / count
        self.variances = np.maximum(second[kept] / count - self.means**2, floor)
        self.weights = occupancy[kept] / occupancy[kept].sum()

    def split(self, components: int) -> None:
        """Grow to `components` by halving the heaviest component again and again."""
        while len(self.weights) < components:
            heaviest = int(np.argmax(self.weights))
            shift = 0.2 * np.sqrt(self.variances[heaviest])
            self.weights[heaviest] /= 2
            self.weights = np.append(self.weights, self.weights[heaviest])
            self.variances = np.vstack([self.variances, self.variances[heaviest]])
            self.means = np.vstack([self.means, self.means[heaviest] - shift])
            self.means[heaviest] += shift


def shares(occupancies: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Components per state, `total` in all where the frames allow it: grows with a power of the
    state's frames, at least one, at most one per MIN_FRAMES_PER_COMPONENT frames."""
    wanted = np.maximum(occupancies, 1.0) ** OCCUPANCY_POWER
    wanted *= total / wanted.sum()
    most = np.maximum(occupancies // MIN_FRAMES_PER_COMPONENT, 1)
    return np.clip(np.floor(wanted), 1, most).astype(np.int64)


def em_step(
    mixtures: Sequence[Mixture],
    frames: Sequence[Matrix],
    states: Sequence[NDArray[np.int64]],
    floor: NDArray[np.float64],
) -> NDArray[np.float64]:
    """One EM step of all mixtures; returns the frames of each state, shape (states,).

    `frames` and `states`: per utterance (frames, dim) and (frames,). Utterances are taken in blocks of
    _BLOCK frames, so memory does not grow with the corpus.
    """
    occupancies = np.zeros(len(mixtures))
    for first, end in _blocks([len(part) for part in states]):
        matrix = np.concatenate(frames[first:end])
        numbers = np.concatenate(states[first:end])
        order = np.argsort(numbers, kind="stable")
        counts = np.bincount(numbers, minlength=len(mixtures))
        occupancies += counts
        bounds = np.concatenate([[0], np.cumsum(counts)])
        for index in np.flatnonzero(counts).tolist():
            mixtures[index].accumulate(matrix[order[bounds[index] : bounds[index + 1]]])
    for mixture in mixtures:
        mixture.maximise(floor)
    return occupancies


def _blocks(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    first = total = 0
    for index, length in enumerate(lengths):
        total += length
        if total >= _BLOCK or index == len(lengths) - 1:
            yield first, index + 1
            first, total = index + 1, 0
