"""Griffin-Lim: the waveform whose magnitude spectrum is nearest to the one the mel implies."""

from __future__ import annotations

import numpy as np
from scipy.fft import irfft, rfft

from eele.config.models import AudioConfig
from eele.features.mel import analysis_window
from eele.vocoders.base import check_mel
from eele.vocoders.inversion import first_phase, mel_to_magnitude

#: Momentum of the fast variant (Perraudin, Balazs, Sondergaard, WASPAA 2013).
_MOMENTUM = 0.99
_TINY = 1e-8
#: Blocks of frames that stay in the cache between the transforms and what is done with them.
_BLOCK_FRAMES = 64


class GriffinLim:
    """Fast Griffin-Lim on a non-negative inversion of the mel filterbank.

    The first phase is computed, not drawn: the same mel gives the same samples, bit for bit.
    """

    def __init__(self, audio: AudioConfig, iterations: int = 32) -> None:
        self.audio = audio
        self.iterations = iterations

    def synthesise(self, log_mel: np.ndarray) -> np.ndarray:
        """(frames, mel) natural log -> samples ((frames - 1) * hop_size,) float32, within -1..1.

        Raises DataError when the array is not a finite mel of the study's channels or has
        fewer than two frames.
        """
        check_mel(log_mel, self.audio.mel_channels)
        magnitude = mel_to_magnitude(log_mel, self.audio)
        padded = _griffin_lim(magnitude, self.audio, self.iterations)
        left = self.audio.fft_size // 2
        samples = padded[left : left + (len(log_mel) - 1) * self.audio.hop_size]
        peak = float(np.max(np.abs(samples)))
        # Clipping would be audible and would change the spectrum; a lower level changes neither.
        return samples / peak * np.float32(0.999) if peak > 1.0 else samples


def _griffin_lim(magnitude: np.ndarray, audio: AudioConfig, iterations: int) -> np.ndarray:
    """Samples (frames - 1) * hop + fft_size, the reflected edges included, float32."""
    frames, bins = magnitude.shape
    window = analysis_window(audio)
    size, hop = audio.fft_size, audio.hop_size
    chunks = -(-size // hop)
    norm = _overlap_norm(window, frames, hop, chunks)
    phase = first_phase(magnitude, audio)
    spectrum = np.empty((frames, bins), dtype=np.complex64)
    spectrum.real, spectrum.imag = magnitude * np.cos(phase), magnitude * np.sin(phase)
    previous = np.zeros_like(spectrum)
    momentum = np.float32(_MOMENTUM / (1 + _MOMENTUM))
    blocks = [slice(i, min(i + _BLOCK_FRAMES, frames)) for i in range(0, frames, _BLOCK_FRAMES)]
    chunked = np.zeros((_BLOCK_FRAMES, chunks * hop), dtype=np.float32)
    for _ in range(iterations):
        signal = _overlap_add(spectrum, window, norm, hop, chunked, blocks)
        view = np.lib.stride_tricks.sliding_window_view(signal, size)[::hop]
        for block in blocks:
            rebuilt = rfft(view[block] * window, axis=-1)[:, :bins]
            accelerated = rebuilt - momentum * previous[block]
            previous[block] = rebuilt
            length = np.sqrt(accelerated.real**2 + accelerated.imag**2)
            length += _TINY
            np.multiply(accelerated, magnitude[block] / length, out=spectrum[block])
    return _overlap_add(spectrum, window, norm, hop, chunked, blocks)


def _overlap_norm(window: np.ndarray, frames: int, hop: int, chunks: int) -> np.ndarray:
    """Sum of the squared windows over each sample, (frames + chunks - 1, hop)."""
    squared = np.zeros(chunks * hop, dtype=np.float32)
    squared[: len(window)] = window**2
    total = np.zeros((frames + chunks - 1, hop), dtype=np.float32)
    for chunk, part in enumerate(squared.reshape(chunks, hop)):
        total[chunk : chunk + frames] += part
    # The outermost samples lie under the windows' ends only and are cut off afterwards.
    return np.maximum(total, 1e-2 * float(total.max()))


def _overlap_add(
    spectrum: np.ndarray,
    window: np.ndarray,
    norm: np.ndarray,
    hop: int,
    chunked: np.ndarray,
    blocks: list[slice],
) -> np.ndarray:
    """Least-squares inverse of the short-time transform: (frames, bins) -> (samples,) float32."""
    size = len(window)
    chunks = chunked.shape[1] // hop
    total = np.zeros_like(norm)
    for block in blocks:
        count = block.stop - block.start
        np.multiply(irfft(spectrum[block], n=size, axis=-1), window, out=chunked[:count, :size])
        parts = chunked[:count].reshape(count, chunks, hop)
        for chunk in range(chunks):
            total[block.start + chunk : block.stop + chunk] += parts[:, chunk]
    total /= norm
    return total.reshape(-1)[: (spectrum.shape[0] - 1) * hop + size]
