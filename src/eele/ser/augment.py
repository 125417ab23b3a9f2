"""PEFT-SER's augmentation of training utterances: white noise and a silenced stretch."""

from __future__ import annotations

import numpy as np

from eele.config.recognition import RecogniserTrainingConfig
from eele.ser.encoders import SAMPLE_RATE_HZ

#: 10 ms: a mask without clicks.
_FADE = SAMPLE_RATE_HZ // 100


def augment(
    samples: np.ndarray, config: RecogniserTrainingConfig, rng: np.random.Generator
) -> np.ndarray:
    """(samples,) float32 -> a variant of the same length: noise at the drawn ratio, then a mask."""
    if config.noise_snr_db is not None:
        samples = with_noise(samples, float(rng.uniform(*config.noise_snr_db)), rng)
    if config.time_mask_share is not None:
        samples = masked(samples, float(rng.uniform(*config.time_mask_share)), rng)
    return samples


def with_noise(samples: np.ndarray, snr_db: float, rng: np.random.Generator) -> np.ndarray:
    """White Gaussian noise added, `snr_db` below the utterance's mean power."""
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    spread = np.sqrt(power * 10 ** (-snr_db / 10))
    noise = rng.standard_normal(len(samples), dtype=np.float32)
    return samples + noise * np.float32(spread)


def masked(samples: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """One stretch of `share` of the utterance, at a drawn place, faded out and in and zero between."""
    length = round(share * len(samples))
    start = int(rng.integers(0, len(samples) - length + 1))
    fade = min(_FADE, length // 2)
    gain = np.zeros(length, np.float32)
    gain[:fade] = np.linspace(1, 0, fade, dtype=np.float32)
    gain[length - fade :] = np.linspace(0, 1, fade, dtype=np.float32)
    out = samples.copy()
    out[start : start + length] *= gain
    return out
