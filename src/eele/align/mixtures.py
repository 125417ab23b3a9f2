"""Gaussian mixtures with diagonal covariance, one per HMM state, trained by EM in matrix products.

kaldi-hmm-gmm accumulates one frame per Python call; here a state's frames are one matrix. Formulas: Young et
al., The HTK Book (3.4), sections 8.1 and 10.6 (splitting by +-0.2 standard deviations, floors).
"""

from __future__ import annotations

from dataclasses import dataclass

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

Matrix = NDArray[np.float32]


@dataclass
class Mixture:
    """One state's density: `weights` (components,), `means` and `variances` (components, dim)."""

    weights: NDArray[np.float64]
    means: NDArray[np.float64]
    variances: NDArray[np.float64]

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

    def fit(self, frames: Matrix, floor: NDArray[np.float64]) -> None:
        """One EM step on `frames` (frames, dim); variances stay above `floor` (dim,)."""
        posterior = self.component_log_likelihoods(frames)
        posterior -= posterior.max(1, keepdims=True)
        np.exp(posterior, out=posterior)
        posterior /= posterior.sum(1, keepdims=True)
        occupancy = posterior.sum(0, dtype=np.float64)
        kept = occupancy >= MIN_OCCUPANCY
        if not kept.any():
            return
        count = occupancy[kept, None]
        means = (posterior.T @ frames)[kept] / count
        squares = (posterior.T @ (frames * frames))[kept] / count
        self.weights = occupancy[kept] / occupancy[kept].sum()
        self.means = means
        self.variances = np.maximum(squares - means**2, floor)

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
