"""Fundamental frequency on the frames of the spectrogram."""

from __future__ import annotations

import warnings
from types import ModuleType

import numpy as np

from eele.config.models import AudioConfig, FeatureConfig
from eele.errors import DataError
from eele.features.mel import frame_count


def f0_hz(samples: np.ndarray, audio: AudioConfig, features: FeatureConfig) -> np.ndarray:
    """F0 of each frame in Hz, 0 = unvoiced: (samples,) -> (frames,) float32.

    Frame `t` lies at `t * hop_size` samples, as in `eele.features.mel`. The method is
    `features.f0_method`: `dio` (WORLD's DIO refined by StoneMask, Morise et al. 2009, 2016) or
    `praat` (autocorrelation, Boersma 1993). Raises DataError for a signal the method cannot analyse.
    """
    count = frame_count(samples.size, audio)
    signal = np.ascontiguousarray(samples, dtype=np.float64)
    estimate = _METHODS[features.f0_method](signal, audio, features, count)
    # Both refine their candidates and may leave the range asked for; that is no measurement.
    estimate[(estimate < features.f0_floor_hz) | (estimate > features.f0_ceiling_hz)] = 0.0
    return estimate.astype(np.float32)


def _dio(signal: np.ndarray, audio: AudioConfig, features: FeatureConfig, count: int) -> np.ndarray:
    pyworld = _import_pyworld()
    raw, times_s = pyworld.dio(
        signal,
        audio.sample_rate_hz,
        f0_floor=features.f0_floor_hz,
        f0_ceil=features.f0_ceiling_hz,
        frame_period=1000 * audio.hop_s,
    )
    refined = pyworld.stonemask(signal, raw, times_s, audio.sample_rate_hz)
    # DIO counts its frames in floating point and is one short for some lengths.
    return np.pad(refined, (0, max(0, count - len(refined))))[:count]


def _import_pyworld() -> ModuleType:
    with warnings.catch_warnings():
        # pyworld asks pkg_resources for its own version, which warns at every start.
        warnings.simplefilter("ignore", UserWarning)
        import pyworld
    return pyworld


def _praat(
    signal: np.ndarray, audio: AudioConfig, features: FeatureConfig, count: int
) -> np.ndarray:
    import parselmouth

    try:
        pitch = parselmouth.Sound(signal, audio.sample_rate_hz).to_pitch_ac(
            time_step=audio.hop_s,
            pitch_floor=features.f0_floor_hz,
            pitch_ceiling=features.f0_ceiling_hz,
        )
    except parselmouth.PraatError as error:
        raise DataError(
            f"Praat finds no pitch frame in {len(signal) / audio.sample_rate_hz:.3f} s of signal "
            f"({str(error).splitlines()[0]}); use longer recordings or a higher features.f0_floor_hz"
        ) from error
    values = pitch.selected_array["frequency"]
    # Praat centres its frames in the recording: read its contour at the times of our frames.
    position = (np.arange(count) * audio.hop_s - pitch.x1) / pitch.dx
    below = np.clip(np.floor(position), 0, len(values) - 1).astype(int)
    above = np.minimum(below + 1, len(values) - 1)
    share = np.clip(position - below, 0.0, 1.0)
    nearest = np.where(share < 0.5, values[below], values[above])
    both = (values[below] > 0) & (values[above] > 0)
    result = np.where(both, (1 - share) * values[below] + share * values[above], nearest)
    # Outside Praat's first and last frame (more than half a frame away) nothing was measured.
    result[(position < -0.5) | (position > len(values) - 0.5)] = 0.0
    return result


_METHODS = {"dio": _dio, "praat": _praat}


def interpolate_log_f0(f0: np.ndarray, fallback_hz: float) -> np.ndarray:
    """ln F0 without gaps: (frames,) Hz with 0 = unvoiced -> (frames,) float32.

    Linear in ln F0 between voiced frames, constant before the first and after the last; an
    utterance without a voiced frame reads ln `fallback_hz` throughout.
    """
    voiced = np.flatnonzero(f0 > 0)
    if voiced.size == 0:
        return np.full(len(f0), np.log(fallback_hz), dtype=np.float32)
    contour = np.interp(np.arange(len(f0)), voiced, np.log(f0[voiced]))
    return contour.astype(np.float32)
