"""Statistics of one utterance that tell emotions apart and survive mel and Griffin-Lim.

Chosen on nEMO (two speakers, six emotions, five random splits by sentence): means over loud, active and
voiced frames keep their value when a mel spectrogram is smoothed and resynthesised; spreads and frame
differences of the spectrum raise the score on recordings by one point but halve it on smoothed
speech, and cycle-level measures (jitter, shimmer, harmonics-to-noise) depend on the phase that
Griffin-Lim invents. Neither of the latter is used.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from eele.config.models import AudioConfig, FeatureConfig
from eele.features.f0 import f0_hz
from eele.features.mel import log_mel, mel_filterbank

#: Cepstral coefficients (C0 apart) averaged over each kind of frame.
CEPSTRA = 19
#: A frame this far below the utterance's 95th percentile of level is silence.
ACTIVE_BELOW_DB = 30.0
#: Loud frames: vowel centres mostly, above the noise that resynthesis adds.
LOUD_BELOW_DB = 15.0
#: Mel bands this far below the strongest one of the utterance are held there.
MEL_RANGE_DB = 60.0
#: Fewer voiced frames than this say nothing about pitch.
MIN_VOICED_FRAMES = 5
#: Features that mean nothing where recordings are not levelled comparably.
LEVEL_FEATURES = ("level_mean_db", "level_p10_db", "level_p50_db", "level_p90_db")

_PROSODY = (
    "f0_mean_st",
    "f0_p10_st",
    "f0_p50_st",
    "f0_p90_st",
    "f0_std_st",
    "f0_range_st",
    "f0_slope_st_per_s",
    "f0_last_less_first_third_st",
    "f0_middle_third_st",
    "f0_step_st",
    "f0_absolute_step_st",
    "level_mean_db",
    "level_std_db",
    "level_p10_db",
    "level_p50_db",
    "level_p90_db",
    "level_slope_db_per_s",
    "level_last_less_first_third_db",
    "log_phones_per_s",
    "voiced_share",
    "voiced_segments_per_s",
    "log_voiced_segment_s",
    "active_share",
)
_SHAPE = ("log_centroid", "alpha_ratio_db", "hammarberg_db", "tilt_db_per_octave")
_FRAME_KINDS = ("voiced", "active", "loud")


def feature_names(audio: AudioConfig) -> tuple[str, ...]:
    """Names of the values of `utterance_features`, in order."""
    spectral = [f"cepstrum_{k}" for k in range(1, _cepstra(audio) + 1)] + list(_SHAPE)
    return _PROSODY + tuple(f"{kind}_{name}" for kind in _FRAME_KINDS for name in spectral)


def utterance_features(
    samples: np.ndarray, audio: AudioConfig, pitch: FeatureConfig, phone_count: int
) -> np.ndarray:
    """Statistics of one utterance: (features,) float64 in the order of `feature_names`.

    samples (samples,) at audio.sample_rate_hz; `phone_count` phones spoken, silence apart. What cannot be
    measured (pitch of an unvoiced utterance) is NaN. Raises DataError for a signal that cannot be framed.
    Pitch in semitones above 55 Hz; levels in dB of the mel power sum; alpha ratio and Hammarberg
    index as in Eyben et al., The Geneva Minimalistic Acoustic Parameter Set, 2016, on mel bands.
    """
    samples = np.asarray(samples, dtype=np.float32)
    mel = log_mel(samples, audio)
    # What lies far below the utterance's strongest band is background, of the room or of the vocoder.
    np.maximum(mel, mel.max() - MEL_RANGE_DB * np.log(10) / 20, out=mel)
    f0 = f0_hz(samples, audio, pitch)
    power = np.exp(2.0 * mel.astype(np.float64))
    level = 10 * np.log10(power.sum(axis=1) + 1e-10)
    loudest = np.percentile(level, 95)
    active = level > loudest - ACTIVE_BELOW_DB
    first, last = np.flatnonzero(active)[[0, -1]]
    voiced = (f0 > 0) & active
    times = np.arange(len(mel)) * audio.hop_s
    span_s = (last - first + 1) * audio.hop_s

    values = [
        *_pitch(f0, voiced, times),
        *_level(level[active], times[active]),
        np.log(phone_count / span_s) if phone_count > 0 else np.nan,
        *_voicing(voiced, audio.hop_s, span_s, int(active.sum())),
        active.sum() / (last - first + 1),
    ]
    for chosen in (
        voiced if voiced.sum() >= MIN_VOICED_FRAMES else active,
        active,
        level > loudest - LOUD_BELOW_DB,
    ):
        values.extend(_spectrum(mel[chosen].astype(np.float64), power[chosen], audio))
    return np.array(values, dtype=np.float64)


def _cepstra(audio: AudioConfig) -> int:
    return min(CEPSTRA, audio.mel_channels - 1)


def _thirds(values: np.ndarray) -> tuple[float, float, float]:
    third = max(1, len(values) // 3)
    middle = values[third:-third] if len(values) > 2 * third else values
    return float(values[:third].mean()), float(middle.mean()), float(values[-third:].mean())


def _slope(times_s: np.ndarray, values: np.ndarray) -> float:
    centred = times_s - times_s.mean()
    spread = float(centred @ centred)
    return float(centred @ values) / spread if spread > 0 else 0.0


def _pitch(f0: np.ndarray, voiced: np.ndarray, times_s: np.ndarray) -> list[float]:
    if voiced.sum() < MIN_VOICED_FRAMES:
        return [np.nan] * 11
    semitones = 12 * np.log2(np.maximum(f0.astype(np.float64), 1.0) / 55.0)
    contour = semitones[voiced]
    low, middle, high = np.percentile(contour, [10, 50, 90])
    first, centre, last = _thirds(contour)
    # Jumps beyond three semitones a frame are octave errors, not intonation.
    steps = np.clip(np.diff(semitones)[voiced[1:] & voiced[:-1]], -3, 3)
    if steps.size == 0:
        steps = np.full(1, np.nan)
    return [
        float(contour.mean()),
        float(low),
        float(middle),
        float(high),
        float(contour.std()),
        float(high - low),
        _slope(times_s[voiced], contour),
        last - first,
        centre - float(contour.mean()),
        float(steps.mean()),
        float(np.abs(steps).mean()),
    ]


def _level(level_db: np.ndarray, times_s: np.ndarray) -> list[float]:
    first, _, last = _thirds(level_db)
    return [
        float(level_db.mean()),
        float(level_db.std()),
        *(float(value) for value in np.percentile(level_db, [10, 50, 90])),
        _slope(times_s, level_db),
        last - first,
    ]


def _voicing(voiced: np.ndarray, hop_s: float, span_s: float, active: int) -> list[float]:
    edges = np.diff(np.concatenate(([0], voiced.astype(np.int8), [0])))
    lengths_s = (np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)) * hop_s
    mean = float(np.log(lengths_s.mean())) if lengths_s.size else np.nan
    return [float(voiced.sum() / active), len(lengths_s) / span_s, mean]


def _spectrum(mel: np.ndarray, power: np.ndarray, audio: AudioConfig) -> list[float]:
    """Mean cepstra and shape of frames `mel`, `power` (frames, mel)."""
    bands = _bands(audio)
    cepstrum = mel.mean(axis=0) @ bands.cosines
    decibel = 20 / np.log(10) * mel
    total = power.sum(axis=1) + 1e-12
    low = power[:, bands.low].sum(axis=1) + 1e-12
    high = power[:, bands.high].sum(axis=1) + 1e-12
    peak_low = decibel[:, bands.below_2k].max(axis=1)
    peak_high = decibel[:, bands.above_2k].max(axis=1)
    return [
        *(float(value) for value in cepstrum),
        float(np.log((power @ bands.centre_hz + 1e-12) / total).mean()),
        float((10 * np.log10(high / low)).mean()),
        float((peak_low - peak_high).mean()),
        float((decibel @ bands.tilt).mean()),
    ]


class _Bands:
    """Where the mel bands lie and which count as low and high."""

    def __init__(self, audio: AudioConfig) -> None:
        from scipy.fft import dct

        filters = mel_filterbank(audio).astype(np.float64)
        bins_hz = np.fft.rfftfreq(audio.fft_size, 1.0 / audio.sample_rate_hz)
        weight = filters.sum(axis=0)
        # A band narrower than a bin may be empty; it then stands at its neighbours' middle.
        known = weight > 0
        centre = np.where(known, bins_hz @ filters / np.where(known, weight, 1.0), 0.0)
        index = np.arange(len(centre))
        centre = np.interp(index, index[known], centre[known])
        self.centre_hz = np.maximum(centre, 1.0)
        # The limits of the alpha ratio and the Hammarberg index; narrower mel ranges are halved instead.
        top = min(5000.0, float(self.centre_hz[-1]) + 1.0)
        split = 1000.0 if self.centre_hz[-1] > 2000 else float(np.median(self.centre_hz))
        peak_split = 2000.0 if self.centre_hz[-1] > 2500 else float(np.median(self.centre_hz))
        self.low = (self.centre_hz > 50) & (self.centre_hz < split)
        self.high = (self.centre_hz >= split) & (self.centre_hz < top)
        self.below_2k = self.centre_hz < peak_split
        self.above_2k = (self.centre_hz >= peak_split) & (self.centre_hz < top)
        octaves = np.log2(self.centre_hz)
        octaves = octaves - octaves.mean()
        self.tilt = octaves / (octaves @ octaves)
        self.cosines = dct(np.eye(len(centre)), norm="ortho", axis=1)[:, 1 : _cepstra(audio) + 1]


@lru_cache(maxsize=4)
def _bands(audio: AudioConfig) -> _Bands:
    return _Bands(audio)
