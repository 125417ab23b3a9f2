"""Dynamic time warping, a row at a time."""

from __future__ import annotations

import numpy as np


def warping_path(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cheapest path through `cost` (rows, columns) from corner to corner: row and column of each step.

    Steps (1, 1), (1, 0), (0, 1), all of weight 1, as `librosa.sequence.dtw` has them (a test holds the
    two together; importing librosa takes longer than all paths of a cell). Within a row,
    D[i, j] = min_k<=j (M[k] + cost[i, k] + ... + cost[i, j]), with M the cheapest entry from the row
    above, is a running minimum of differences of running sums. Ties go to the diagonal.
    """
    rows, columns = cost.shape
    total = np.empty((rows + 1, columns + 1))
    total[0, 1:] = total[1:, 0] = np.inf
    total[0, 0] = 0.0
    sums = np.cumsum(cost, axis=1)
    for i in range(rows):
        entry = np.minimum(total[i, 1:], total[i, :-1])
        before = np.concatenate(([0.0], sums[i, :-1]))
        total[i + 1, 1:] = np.minimum.accumulate(entry - before) + sums[i]
    path = []
    i, j = rows, columns
    while i > 0 and j > 0:
        path.append((i - 1, j - 1))
        diagonal, up, left = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
        if diagonal <= up and diagonal <= left:
            i, j = i - 1, j - 1
        elif up <= left:
            i -= 1
        else:
            j -= 1
    steps = np.array(path[::-1], dtype=int)
    return steps[:, 0], steps[:, 1]
