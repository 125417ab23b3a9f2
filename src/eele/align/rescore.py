"""The wrong-text score for phone times of any aligner: mixtures are fitted to the times themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eele.align import frontend
from eele.align.hmm import STATES
from eele.align.mixtures import VARIANCE_FLOOR, Matrix, Mixture, em_step, shares
from eele.align.outcome import Outcome
from eele.align.textgrid import SILENCE, to_frames
from eele.align.verify import Evidence

#: Mixture components in all and EM passes; only the ranking of utterances depends on them.
_COMPONENTS, _PASSES = 600, 6


def scored(outcomes: Sequence[Outcome], max_deviation: float) -> list[Outcome]:
    """`outcomes` with scores (see `eele.align.verify`), the misfits failed as wrong text."""
    from eele.align.gmm import set_aside

    scores: dict[str, float] = {}
    for language in sorted({outcome.item.language for outcome in outcomes}):
        mine = [o for o in outcomes if o.aligned and o.item.language == language]
        scores.update(_score_language(mine))
    return set_aside(
        [
            Outcome(o.item, o.grid, scores.get(o.item.utterance_id), o.reason, o.detail)
            for o in outcomes
        ],
        max_deviation,
    )


def _score_language(outcomes: Sequence[Outcome]) -> dict[str, float]:
    by_speaker: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_speaker[outcome.item.speaker].append(outcome)
    phones: dict[str, int] = {SILENCE: 0}
    frames: list[Matrix] = []
    states: list[NDArray[np.int64]] = []
    names: list[str] = []
    for speaker in sorted(by_speaker):
        for outcome, matrix in zip(by_speaker[speaker], _frames(by_speaker[speaker]), strict=True):
            assert outcome.grid is not None
            symbols, durations = to_frames(outcome.grid.phones, len(matrix), frontend.SHIFT_S)
            numbers = [phones.setdefault(symbol, len(phones)) for symbol in symbols]
            states.append(_states(numbers, durations))
            frames.append(matrix)
            names.append(outcome.item.utterance_id)
    if not frames:
        return {}
    evidence = Evidence(_fit(frames, states, len(phones) * STATES))
    return {
        name: evidence.ratio(matrix, state, state >= STATES)
        for name, matrix, state in zip(names, frames, states, strict=True)
        if (state >= STATES).any()
    }


def _frames(outcomes: Sequence[Outcome]) -> list[Matrix]:
    import soundfile

    cepstra = []
    for outcome in outcomes:
        samples, rate = soundfile.read(outcome.item.path, dtype="float32", always_2d=True)
        cepstra.append(frontend.mfcc(samples.mean(1), rate))
    return frontend.normalised(cepstra)


def _states(phones: Sequence[int], durations: NDArray[np.int32]) -> NDArray[np.int64]:
    """State of each frame: a phone's frames divided evenly over its STATES states."""
    parts = [
        phone * STATES + np.arange(count) * STATES // count
        for phone, count in zip(phones, durations.tolist(), strict=True)
        if count
    ]
    return np.concatenate(parts).astype(np.int64)


def _fit(
    frames: Sequence[Matrix], states: Sequence[NDArray[np.int64]], n_states: int
) -> list[Mixture]:
    """Mixtures of all states by EM with fixed states; components grow from pass to pass."""
    total = sum(map(len, frames))
    mean = sum(part.sum(0, dtype=np.float64) for part in frames) / total
    variance = sum(((part - mean) ** 2).sum(0) for part in frames) / total
    mixtures = [
        Mixture(np.ones(1), mean[None].copy(), variance[None].copy()) for _ in range(n_states)
    ]
    for number in range(_PASSES):
        occupancies = em_step(mixtures, frames, states, VARIANCE_FLOOR * variance)
        components = n_states + (_COMPONENTS - n_states) * (number + 1) // _PASSES
        for mixture, target in zip(mixtures, shares(occupancies, components), strict=True):
            mixture.split(int(target))
    em_step(mixtures, frames, states, VARIANCE_FLOOR * variance)
    return mixtures
