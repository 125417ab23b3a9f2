"""The wrong-text score for phone times of any aligner: mixtures are fitted to the times themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from eele.align import frontend
from eele.align.hmm import STATES
from eele.align.mixtures import VARIANCE_FLOOR, Matrix, Mixture, em_step, shares
from eele.align.outcome import Item, Outcome
from eele.align.speech import Speech, by_speaker, even_share, load_speaker
from eele.align.textgrid import SILENCE, TextGrid, to_frames
from eele.align.verify import Evidence

#: Mixture components in all and EM passes; only the ranking of utterances depends on them.
_COMPONENTS, _PASSES = 600, 6
#: Speech the mixtures are fitted to, evenly drawn: it bounds memory.
_FIT_S = 2 * 3600.0


def scored(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """`outcomes`, all of one language, with scores (see `eele.align.verify`), in their order."""
    items = {o.item.utterance_id: o.item for o in outcomes if o.aligned}
    speakers = by_speaker(list(items.values()))
    ordered = [item for _, mine in speakers for item in mine]
    grids = {o.item.utterance_id: o.grid for o in outcomes if o.grid is not None}
    # Numbers in order of appearance: silence is 0.
    phones = {SILENCE: 0}
    for item in ordered:
        for interval in grids[item.utterance_id].phones:
            phones.setdefault(interval.label or SILENCE, len(phones))

    def framed(mine: Sequence[Item]) -> Iterator[tuple[Item, Matrix, NDArray[np.int64]]]:
        for part in load_speaker(mine):
            if isinstance(part, Speech):
                yield part.item, part.frames, _states(part, grids[part.item.utterance_id], phones)

    chosen = by_speaker(even_share(ordered, _FIT_S))
    material = [part[1:] for _, mine in chosen for part in framed(mine)]
    if not material:
        return list(outcomes)
    frames_of, states_of = zip(*material, strict=True)
    evidence = Evidence(_fit(frames_of, states_of, len(phones) * STATES))
    del material, frames_of, states_of
    scores = {
        item.utterance_id: evidence.ratio(frames, states, states >= STATES)
        for _, mine in speakers
        for item, frames, states in framed(mine)
        if (states >= STATES).any()
    }
    return [replace(o, score=scores.get(o.item.utterance_id)) for o in outcomes]


def _states(part: Speech, grid: TextGrid, phones: Mapping[str, int]) -> NDArray[np.int64]:
    """State of each frame: a phone's frames divided evenly over its STATES states."""
    symbols, durations = to_frames(grid.phones, len(part.frames), frontend.SHIFT_S)
    parts = [
        phones[symbol] * STATES + np.arange(count) * STATES // count
        for symbol, count in zip(symbols, durations.tolist(), strict=True)
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
