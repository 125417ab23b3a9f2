"""Acoustic frames of the embedded aligner: MFCC with differences, normalised per speaker.

Time convention: frame t is centred at (t + 1/2) shifts and so stands for the stretch from t to t + 1
shifts (Kaldi's `snip_edges=false`). The boundary between frames t - 1 and t therefore lies at
t * shift seconds; no correction is needed afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

#: Sample rate the frames are computed at; speech above 8 kHz hardly helps to find boundaries.
SAMPLE_RATE_HZ = 16000
#: Frame shift: 5 ms instead of the usual 10 halves the grid on which boundaries can lie.
SHIFT_S = 0.005
#: Window: shorter than the usual 25 ms, which smears the boundary between two phones.
WINDOW_S = 0.020
#: MFCC per frame, C0 included; with first and second differences, 39 values.
CEPSTRA = 13
DIMENSION = 3 * CEPSTRA
#: Half width in frames of the regression window of the differences (20 ms, as usual).
_DELTA_FRAMES = 4


def mfcc(samples: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float32]:
    """MFCC of mono `samples` (range -1..1), shape (frames, CEPSTRA); frames = duration / SHIFT_S.

    The dither that keeps digital silence finite is drawn from a fixed seed, so equal samples give
    equal frames.
    """
    import kaldi_native_fbank as knf
    import soxr

    if sample_rate_hz != SAMPLE_RATE_HZ:
        samples = soxr.resample(samples, sample_rate_hz, SAMPLE_RATE_HZ)
    wave = samples.astype(np.float32) * 32768.0
    wave += np.random.default_rng(0).standard_normal(len(wave), dtype=np.float32)
    options = knf.MfccOptions()
    options.frame_opts.samp_freq = SAMPLE_RATE_HZ
    options.frame_opts.frame_shift_ms = SHIFT_S * 1000
    options.frame_opts.frame_length_ms = WINDOW_S * 1000
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = False
    options.num_ceps = CEPSTRA
    options.use_energy = False
    computer = knf.OnlineMfcc(options)
    computer.accept_waveform(SAMPLE_RATE_HZ, wave.tolist())
    computer.input_finished()
    frames = [computer.get_frame(index) for index in range(computer.num_frames_ready)]
    return np.array(frames, dtype=np.float32).reshape(len(frames), CEPSTRA)


def differences(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Regression slope of each column over +-_DELTA_FRAMES frames, same shape."""
    n = _DELTA_FRAMES
    padded = np.pad(frames, ((n, n), (0, 0)), "edge")
    count = len(frames)
    slope = np.zeros_like(frames)
    for step in range(1, n + 1):
        slope += step * (padded[n + step : n + step + count] - padded[n - step : n - step + count])
    return (slope / (2 * sum(step * step for step in range(1, n + 1)))).astype(np.float32)


def normalised(cepstra: Sequence[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Frames of one speaker's utterances, (frames, DIMENSION) each: mean and variance over the
    speaker removed (voice and channel), first and second differences appended."""
    if not cepstra:
        return
    total = sum(len(c) for c in cepstra)
    mean = sum((c.sum(0, dtype=np.float64) for c in cepstra), np.zeros(CEPSTRA)) / total
    square = sum(((c - mean) ** 2).sum(0) for c in cepstra) / total
    scale = 1.0 / np.sqrt(np.maximum(square, 1e-6))
    for c in cepstra:
        static = ((c - mean) * scale).astype(np.float32)
        first = differences(static)
        yield np.ascontiguousarray(np.hstack([static, first, differences(first)]))
