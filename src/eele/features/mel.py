"""Log-mel spectrogram and frame energy of one signal; no torch, so that light jobs start fast.

Frames: frame `t` is centred on sample `t * hop_size`, the signal is reflected at both ends, so a signal
of `n` samples has `1 + n // hop_size` frames (as `torch.stft(center=True)`).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from eele.config.models import AudioConfig
from eele.errors import DataError

#: Smallest mel magnitude; its natural log is what silence reads.
MEL_FLOOR = 1e-5
ENERGY_FLOOR_DB = -100.0

# A block of frames that stays in the cache between the FFT, the magnitude and the filterbank.
_BLOCK_FRAMES = 128


def frame_count(samples: int, audio: AudioConfig) -> int:
    """Number of frames of a signal of `samples` samples."""
    return 1 + samples // audio.hop_size


@lru_cache(maxsize=8)
def mel_filterbank(audio: AudioConfig) -> np.ndarray:
    """Triangular mel filters (fft_size // 2 + 1, mel_channels), float32, read-only.

    Slaney's mel scale and area normalisation, equal to `librosa.filters.mel` (a test holds them
    together); written out because importing librosa costs more than scoring ten utterances.
    Cached by the whole audio specification.
    """
    edges_hz = _mel_to_hz(
        np.linspace(
            _hz_to_mel(audio.mel_fmin_hz), _hz_to_mel(audio.mel_fmax_hz), audio.mel_channels + 2
        )
    )
    bins_hz = np.fft.rfftfreq(audio.fft_size, 1.0 / audio.sample_rate_hz)
    ramps = bins_hz[:, None] - edges_hz[None, :]
    widths = np.diff(edges_hz)
    rising = ramps[:, :-2] / widths[:-1]
    falling = -ramps[:, 2:] / widths[1:]
    filters = np.maximum(0.0, np.minimum(rising, falling))
    filters *= 2.0 / (edges_hz[2:] - edges_hz[:-2])
    filters = filters.astype(np.float32)
    filters.setflags(write=False)
    return filters


def _hz_to_mel(hz: float) -> float:
    # Slaney (Auditory Toolbox, 1998): linear below 1 kHz (15 mel), logarithmic above, 27 steps to 6.4 kHz.
    return 3 * hz / 200 if hz < 1000 else 15 + 27 * float(np.log(hz / 1000)) / float(np.log(6.4))


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, 200 * mel / 3, 1000 * np.exp(np.log(6.4) * (mel - 15) / 27))


@lru_cache(maxsize=8)
def analysis_window(audio: AudioConfig) -> np.ndarray:
    """Periodic Hann window of window_size, centred in fft_size zeros; (fft_size,) float32, read-only."""
    window = np.zeros(audio.fft_size, dtype=np.float32)
    start = (audio.fft_size - audio.window_size) // 2
    phase = 2 * np.pi * np.arange(audio.window_size) / audio.window_size
    window[start : start + audio.window_size] = 0.5 - 0.5 * np.cos(phase)
    window.setflags(write=False)
    return window


def frames_of(samples: np.ndarray, audio: AudioConfig, size: int) -> np.ndarray:
    """Overlapping frames (frames, size) of `samples` (samples,), centred and reflected; a view.

    Raises DataError when the signal is not one-dimensional or has fewer than two samples.
    """
    if samples.ndim != 1 or samples.size < 2:
        raise DataError(
            f"a signal of shape {samples.shape} cannot be framed; allowed: one channel, two samples or more"
        )
    left = size // 2
    padded = np.pad(samples, (left, size - left), mode="reflect")
    count = frame_count(samples.size, audio)
    return sliding_window_view(padded, size)[:: audio.hop_size][:count]


def log_mel(samples: np.ndarray, audio: AudioConfig) -> np.ndarray:
    """Natural log of the mel magnitude spectrum, floored at 1e-5: (samples,) -> (frames, mel) float32.

    Magnitude (not power) spectrum of a Hann window, Slaney mel filters. Raises DataError for a
    signal that cannot be framed.
    """
    from scipy.fft import rfft

    frames = frames_of(np.asarray(samples, dtype=np.float32), audio, audio.fft_size)
    window = analysis_window(audio)
    magnitude = np.empty((len(frames), audio.fft_size // 2 + 1), dtype=np.float32)
    for start in range(0, len(frames), _BLOCK_FRAMES):
        block = slice(start, start + _BLOCK_FRAMES)
        spectrum = rfft(frames[block] * window, axis=-1)
        np.sqrt(spectrum.real**2 + spectrum.imag**2, out=magnitude[block])
    mel = magnitude @ mel_filterbank(audio)
    np.maximum(mel, MEL_FLOOR, out=mel)
    return np.log(mel, out=mel)


def energy_db(samples: np.ndarray, audio: AudioConfig) -> np.ndarray:
    """Level of each frame in dBFS: 20 log10 of the RMS of its window_size samples, floored at -100 dB.

    (samples,) -> (frames,) float32, aligned with `log_mel`.
    """
    samples = np.asarray(samples, dtype=np.float64)
    size = audio.window_size
    if samples.ndim != 1 or samples.size < 2:
        frames_of(samples, audio, size)  # raises, with the one message about such signals
    left = size // 2
    squares = np.square(np.pad(samples, (left, size - left), mode="reflect"))
    # Differences of the running sum: one pass whatever the overlap.
    running = np.concatenate(([0.0], np.cumsum(squares)))
    starts = np.arange(frame_count(samples.size, audio)) * audio.hop_size
    power = np.maximum(running[starts + size] - running[starts], 0.0) / size
    floor = 10 ** (ENERGY_FLOOR_DB / 10)
    return (10 * np.log10(np.maximum(power, floor))).astype(np.float32)
