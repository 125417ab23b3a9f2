"""Signal work of cleaning: where speech is, how loud it is, cutting edges. Mono arrays in, numbers out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float32]

#: Analysis frames: 20 ms long, one every 5 ms.
SHIFT_S = 0.005
_SHIFTS = 4
FRAME_S = _SHIFTS * SHIFT_S
#: How much speech tells the level of the loud frames (the median of the loudest 0.3 s).
_LOUD_S = 0.3
#: Frames within this many dB of the noise are not speech...
_FLOOR_MARGIN_DB = 6.0
#: ... unless they are within this many dB of the loud frames.
_NEVER_SILENT_DB = 25.0
#: Weak sounds (a final [xt] is 25 to 40 dB down) lie this close to the core; noise is measured beyond...
_CORE_MARGIN_S = 0.35
#: ... when there is at least this much of it.
_EDGE_NEEDED_S = 0.3
#: A burst shorter than this with silence on both sides is a click, not speech.
_CLICK_S = 0.05
_CLICK_GAP_S = 0.15
#: Margin of the active speech level: ITU-T P.56 (2011), method B.
_P56_MARGIN_DB = 15.9
#: Levels are floored here (dBFS).
FLOOR_DB = -120.0


def frame_levels(signal: Signal, rate_hz: int) -> NDArray[np.float64]:
    """RMS level of every frame in dBFS (0 dB: RMS of 1.0), shape (frames,).

    Frame i covers samples [i * shift, (i + 4) * shift); the last ones are cut short.
    """
    shift = max(1, round(SHIFT_S * rate_hz))
    blocks = np.zeros((max(1, -(-len(signal) // shift)), shift), np.float32)
    blocks.reshape(-1)[: len(signal)] = signal
    counts = np.full(len(blocks), shift)
    counts[-1] -= blocks.size - len(signal)
    energy = np.einsum("ij,ij->i", blocks, blocks).astype(np.float64)
    power = _forward_sums(energy) / np.maximum(1, _forward_sums(counts))
    return 10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10)))


def _forward_sums(values: NDArray[Any]) -> NDArray[np.float64]:
    """Sum of each value and those after it that share its frame."""
    padded = np.concatenate((values, np.zeros(_SHIFTS - 1, values.dtype)))
    return sum((padded[i : i + len(values)] for i in range(_SHIFTS)), np.zeros(len(values)))


def loud_level(levels: NDArray[np.float64]) -> float:
    """Level of the utterance's loud frames in dBFS, whatever share of it is silent."""
    count = min(len(levels), round(_LOUD_S / SHIFT_S))
    return float(np.median(np.sort(levels)[-count:]))


def speech_frames(levels: NDArray[np.float64], below_loud_db: float) -> NDArray[np.bool_]:
    """Which frames are speech, shape (frames,).

    The threshold lies `below_loud_db` under the loud frames, or just above the noise of the edges
    where that is higher, but never less than 25 dB under the loud frames. Lone clicks are left out.
    """
    loud = loud_level(levels)
    noise = _edge_noise(levels, _without_clicks(levels > loud - _NEVER_SILENT_DB))
    threshold = max(loud - below_loud_db, min(noise + _FLOOR_MARGIN_DB, loud - _NEVER_SILENT_DB))
    return _without_clicks(levels > threshold)


def _edge_noise(levels: NDArray[np.float64], core: NDArray[np.bool_]) -> float:
    """Level that the frames outside the core of the utterance seldom exceed, in dBFS.

    Gated or breathing noise (RAVDESS) has a low floor and reaches 40 dB under the speech all the
    same, so the 90th percentile of the edges counts, not their quietest moments. Recordings without
    edges to speak of give their quietest frames instead.
    """
    within = np.flatnonzero(core)
    if not len(within):
        return float(np.percentile(levels, 5))
    margin = round(_CORE_MARGIN_S / SHIFT_S)
    edges = np.concatenate(
        (levels[: max(0, within[0] - margin)], levels[within[-1] + 1 + margin :])
    )
    if len(edges) * SHIFT_S < _EDGE_NEEDED_S:
        return float(np.percentile(levels, 5))
    return float(np.percentile(edges, 90))


def _without_clicks(active: NDArray[np.bool_]) -> NDArray[np.bool_]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], active, [False])).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    if len(starts) < 2:
        return active
    click, gap = round(_CLICK_S / SHIFT_S), round(_CLICK_GAP_S / SHIFT_S)
    before = np.concatenate(([gap], starts[1:] - ends[:-1]))
    after = np.concatenate((starts[1:] - ends[:-1], [gap]))
    kept = active.copy()
    for start, end, left, right in zip(starts, ends, before, after, strict=True):
        if end - start < click and left >= gap and right >= gap:
            kept[start:end] = False
    return kept


def trim_edges(
    signal: Signal, rate_hz: int, edge_silence_s: float, below_loud_db: float
) -> tuple[Signal, float, float]:
    """The signal without long silent edges, and what was cut in front and behind, in seconds.

    At most `edge_silence_s` of silence stays at each end; shorter edges stay as they are. Where
    something was cut, the first or last 5 ms (silence) fade, so that the cut makes no click.
    """
    active = np.flatnonzero(speech_frames(frame_levels(signal, rate_hz), below_loud_db))
    if not len(active):
        return signal, 0.0, 0.0
    shift = max(1, round(SHIFT_S * rate_hz))
    length = _SHIFTS * shift
    keep = round(edge_silence_s * rate_hz)
    # An active frame says that speech lies somewhere in its 20 ms; the edge is taken at its middle.
    start = max(0, int(active[0]) * shift + length // 2 - keep)
    end = min(len(signal), int(active[-1]) * shift + length // 2 + keep)
    if end <= start:
        return signal, 0.0, 0.0
    cut = signal[start:end].copy()
    fade = min(shift, keep, len(cut) // 2)
    if fade:
        ramp = np.sin(np.linspace(0, np.pi / 2, fade, endpoint=False, dtype=np.float32)) ** 2
        if start > 0:
            cut[:fade] *= ramp
        if end < len(signal):
            cut[-fade:] *= ramp[::-1]
    return cut, start / rate_hz, (len(signal) - end) / rate_hz


def active_power(signal: Signal, rate_hz: int) -> tuple[float, int]:
    """Sum of the powers of the active frames, and their number.

    Active frames lie above the active speech level less 15.9 dB, as in ITU-T P.56 method B but on
    frames of 20 ms: silence does not lower the level. The two numbers add up over utterances.
    """
    levels = frame_levels(signal, rate_hz)
    powers = np.sort(10 ** (levels / 10))
    above = np.cumsum(powers[::-1])[::-1]
    counts = np.arange(len(powers), 0, -1)
    margin = 10 ** (-_P56_MARGIN_DB / 10)
    first = 0
    # Raising the threshold raises the level of what is left: the fixed point is met from below.
    while True:
        following = int(np.searchsorted(powers, above[first] / counts[first] * margin))
        if following <= first:
            return float(above[first]), int(counts[first])
        first = following


def level_dbfs(power_sum: float, frames: int) -> float:
    """Mean level in dBFS of `frames` frames with the given sum of powers."""
    if frames == 0 or power_sum <= 0:
        return FLOOR_DB
    return max(FLOOR_DB, 10 * float(np.log10(power_sum / frames)))


def share_at_maximum(signal: Signal) -> float:
    """Share of samples within 0.1 % of the largest magnitude.

    Next to nothing in speech; large in clipped speech, also where it was turned down afterwards.
    """
    magnitude = np.abs(signal)
    peak = float(magnitude.max(initial=0.0))
    return float(np.mean(magnitude >= 0.999 * peak)) if peak > 0 else 0.0


def to_int16(signal: Signal) -> NDArray[np.int16]:
    """Samples as 16-bit integers, rounded; full scale is 32768."""
    return np.clip(np.round(signal * 32768.0), -32768, 32767).astype(np.int16)
