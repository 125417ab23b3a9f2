"""Wrong text: found from how well an utterance's sound fits the phones it was forced to.

The measure of one utterance is its mean log-likelihood ratio per speech frame, forced phones against
the best-fitting state of any phone (as the goodness of pronunciation of Witt & Young, Speech
Communication 30, 2000, without the phone loop). Noise, shouting or whispering lower both terms, wrong text only the
first: expressive speech is not set aside for being expressive. What counts as low is decided within
each speaker, by robust statistics.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eele.align.mixtures import Matrix, Mixture
from eele.align.outcome import WRONG_TEXT, Outcome

#: Utterances a speaker needs for a median and a spread of its own; others share the corpus's.
MIN_UTTERANCES = 20
#: Nats per frame: the spread is taken to be at least this. Real speakers show 0.25 to 0.45; where all
#: utterances score alike, one stretched vowel would otherwise look like wrong text. Exchanged texts lie
#: 3 nats and more below (measured on nEMO, EmoDB and the generated corpus).
MIN_SPREAD = 0.45
#: Score every second frame (10 ms): neighbours hardly differ.
_STEP = 2


class Evidence:
    """Scores utterances against the mixtures of a trained model."""

    def __init__(self, mixtures: Sequence[Mixture]) -> None:
        """`mixtures`: one per state (pdf)."""
        self._whole = Mixture(
            np.concatenate([mixture.weights for mixture in mixtures]),
            np.concatenate([mixture.means for mixture in mixtures]),
            np.concatenate([mixture.variances for mixture in mixtures]),
        )
        sizes = [len(mixture.weights) for mixture in mixtures]
        self._starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])

    def ratio(self, frames: Matrix, states: NDArray[np.int64], speech: NDArray[np.bool_]) -> float:
        """Mean over speech frames of log p(frame | own state) - max over states, in nats (<= 0).

        `frames` (frames, dim); `states` (frames,) of the forced path; `speech` (frames,) false in
        silence. Densities are those of the best component, which spares the sum over components.
        """
        chosen = np.flatnonzero(speech)[::_STEP]
        scores = self._whole.component_log_likelihoods(frames[chosen])
        per_state = np.maximum.reduceat(scores, self._starts, axis=1)
        own = per_state[np.arange(len(chosen)), states[chosen]]
        return float((own - per_state.max(1)).mean())


def deviations(scores: NDArray[np.float64], speakers: Sequence[str]) -> NDArray[np.float64]:
    """Each score's distance from its speaker's median in robust standard deviations (1.4826 MAD).

    `scores` (utterances,), NaN where there is none (NaN comes back).
    """
    groups = np.array(speakers)
    centre = np.full(len(scores), np.nanmedian(scores) if np.isfinite(scores).any() else np.nan)
    small = np.ones(len(scores), dtype=bool)
    spread = np.zeros(len(scores))
    for speaker in sorted(set(speakers)):
        mine = (groups == speaker) & np.isfinite(scores)
        if mine.sum() >= MIN_UTTERANCES:
            centre[groups == speaker] = np.median(scores[mine])
            spread[groups == speaker] = 1.4826 * np.median(np.abs(scores[mine] - centre[mine]))
            small[groups == speaker] = False
    rest = small & np.isfinite(scores)
    if rest.any():
        everyone = np.isfinite(scores)
        spread[small] = 1.4826 * np.median(np.abs(scores[everyone] - centre[everyone]))
    return np.asarray((scores - centre) / np.maximum(spread, MIN_SPREAD))


def set_aside(outcomes: Sequence[Outcome], max_deviation: float) -> list[Outcome]:
    """`outcomes`, all of one language, with those of too low a score failed as wrong text."""
    scores: NDArray[np.float64] = np.array(
        [np.nan if outcome.score is None else outcome.score for outcome in outcomes], dtype=float
    )
    distance = deviations(scores, [outcome.item.speaker for outcome in outcomes])
    return [
        outcome.failed(
            WRONG_TEXT,
            f"the score lies {-far:.1f} robust standard deviations below the speaker's median "
            f"(allowed: {max_deviation:g})",
        )
        if outcome.aligned and far < -max_deviation
        else outcome
        for outcome, far in zip(outcomes, distance.tolist(), strict=True)
    ]
