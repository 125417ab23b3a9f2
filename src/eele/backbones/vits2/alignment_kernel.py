"""The dynamic programme of monotonic alignment search, compiled. Imported by the first search: numba is slow to load."""

from __future__ import annotations

import numba
import numpy as np

#: Frames worked on at once: their float32 scores of one phone are one or two lines of the processor's cache.
TILE = 32


@numba.njit(nogil=True, cache=True, inline="never")
def _align(scores: np.ndarray, phones: int, frames: int, durations: np.ndarray) -> None:
    """One item: (phones, frames) float32 -> durations (phones,) int64, which come in as zeros.

    best[n] is the greatest score of a path that ends in phone n at the present frame. Frames run in the
    outer loop, so that the inner one over phones is free of dependencies (two of a phone's neighbours
    are read, one is written) and is vectorised; a tile of frames is transposed first to make its reads contiguous.
    """
    last, now = np.empty(phones + 1, np.float32), np.empty(phones + 1, np.float32)
    # Entry 0 stands for what comes before the first phone; no path is there after the first frame.
    last[:] = -np.inf
    now[:] = -np.inf
    last[0] = 0.0
    moved = np.empty((frames, phones), np.bool_)
    tile = np.empty((TILE, phones), np.float32)
    for start in range(0, frames, TILE):
        stop = min(start + TILE, frames)
        # Only these phones can be reached from the start, and reach the end, in this tile.
        low = max(0, phones - (frames - start))
        high = min(phones, stop)
        reached, length = high - low, stop - start
        window = scores[low:high, start:stop]
        for n in range(reached):
            for t in range(length):
                tile[t, n] = window[n, t]
        for t in range(length):
            # Counting from 0 within slices, numba knows that no index is negative, and vectorises.
            row, steps, best = tile[t], moved[start + t, low:high], now[low + 1 : high + 1]
            stays, moves = last[low + 1 : high + 1], last[low:high]
            for n in range(reached):
                stay, move = stays[n], moves[n]
                steps[n] = move > stay
                best[n] = row[n] + (move if move > stay else stay)
            last, now = now, last
            last[0] = -np.inf
    n = phones - 1
    for t in range(frames - 1, -1, -1):
        durations[n] += 1
        # A path with a phone left for each frame left must move, whatever the scores are.
        if n > 0 and (n == t or moved[t, n]):
            n -= 1


@numba.njit(nogil=True, cache=True, parallel=True)
def align_all(
    scores: np.ndarray,
    phone_lengths: np.ndarray,
    frame_lengths: np.ndarray,
    durations: np.ndarray,
) -> None:
    """Each item in a thread: (batch, phones, frames) float32, (batch,) int64 twice -> durations
    (batch, phones) int64, which come in as zeros."""
    for item in numba.prange(scores.shape[0]):
        _align(scores[item], phone_lengths[item], frame_lengths[item], durations[item])


def run(
    scores: np.ndarray, phone_lengths: np.ndarray, frame_lengths: np.ndarray, threads: int
) -> np.ndarray:
    """Durations (batch, phones) int64 of checked arguments, in at most `threads` threads."""
    durations = np.zeros(scores.shape[:2], np.int64)
    most: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    numba.set_num_threads(max(1, min(threads, most)))
    align_all(scores, phone_lengths, frame_lengths, durations)
    return durations
