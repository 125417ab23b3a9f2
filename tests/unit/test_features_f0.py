"""F0 of tones of known pitch, its frames, and what is made of it per phone."""

from __future__ import annotations

import numpy as np
import pytest

from eele.config.models import AudioConfig, FeatureConfig
from eele.errors import DataError
from eele.features.f0 import f0_hz, interpolate_log_f0
from eele.features.mel import frame_count
from eele.features.phones import phone_means, phones_per_s

AUDIO = AudioConfig()
RATE = AUDIO.sample_rate_hz
METHODS = [FeatureConfig(f0_method="dio"), FeatureConfig(f0_method="praat")]


def pulses(hz: np.ndarray | float, seconds: float = 1.0) -> np.ndarray:
    n = int(seconds * RATE)
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(hz, n)) / RATE
    return sum(np.sin(k * phase) / k for k in range(1, 12)) * 0.1  # type: ignore[return-value]


@pytest.mark.parametrize("features", METHODS, ids=lambda f: f.f0_method)
@pytest.mark.parametrize("hz", [90.0, 200.0, 380.0])
def test_pitch_of_a_steady_tone(features: FeatureConfig, hz: float) -> None:
    f0 = f0_hz(pulses(hz), AUDIO, features)
    assert f0.dtype == np.float32 and f0.shape == (frame_count(RATE, AUDIO),)
    inner = f0[6:-6]
    assert np.all(inner > 0)
    np.testing.assert_allclose(inner, hz, rtol=0.01)


@pytest.mark.parametrize("features", METHODS, ids=lambda f: f.f0_method)
def test_frames_are_those_of_the_spectrogram(features: FeatureConfig) -> None:
    # A glide shows a shift in time as an offset in Hz: one frame is 2.3 Hz here.
    track = np.linspace(100, 300, RATE)
    f0 = f0_hz(pulses(track), AUDIO, features)
    centres = np.minimum(np.arange(len(f0)) * AUDIO.hop_size, RATE - 1)
    error = (f0 - track[centres])[8:-8]
    assert abs(np.median(error)) < 1.0


@pytest.mark.parametrize("features", METHODS, ids=lambda f: f.f0_method)
@pytest.mark.parametrize("samples", [13312, 13311, 13313, 5000, 22050])
def test_as_many_frames_as_the_spectrogram(features: FeatureConfig, samples: int) -> None:
    assert f0_hz(pulses(150.0)[:samples], AUDIO, features).shape == (1 + samples // 256,)


@pytest.mark.parametrize("features", METHODS, ids=lambda f: f.f0_method)
def test_silence_and_noise_are_unvoiced(features: FeatureConfig) -> None:
    assert np.all(f0_hz(np.zeros(RATE), AUDIO, features) == 0)
    noise = np.random.default_rng(0).normal(0, 0.1, RATE)
    assert np.mean(f0_hz(noise, AUDIO, features) > 0) < 0.3
    half = np.concatenate([pulses(200.0), np.zeros(RATE)])
    f0 = f0_hz(half, AUDIO, features)
    assert np.mean(f0[:80] > 0) > 0.9 and np.all(f0[95:] == 0)


@pytest.mark.parametrize("features", METHODS, ids=lambda f: f.f0_method)
def test_the_searched_range_is_kept(features: FeatureConfig) -> None:
    narrow = features.model_copy(update={"f0_floor_hz": 150.0, "f0_ceiling_hz": 260.0})
    f0 = f0_hz(pulses(np.linspace(80, 400, RATE)), AUDIO, narrow)
    assert np.any(f0 > 0)
    assert f0[f0 > 0].min() >= 150 and f0.max() <= 260


def test_a_signal_too_short_for_praat_is_refused() -> None:
    with pytest.raises(DataError, match=r"no pitch frame in 0\.009 s"):
        f0_hz(np.zeros(200), AUDIO, METHODS[1])


def test_interpolation_is_linear_in_log_and_constant_outside() -> None:
    f0 = np.array([0, 100, 0, 0, 0, 200, 0], dtype=np.float32)
    step = np.log(2) / 4
    expected = np.log(100) + step * np.array([0, 0, 1, 2, 3, 4, 4])
    np.testing.assert_allclose(interpolate_log_f0(f0, 150), expected, atol=1e-6)
    np.testing.assert_allclose(interpolate_log_f0(np.zeros(3), 150), np.log(150), rtol=1e-6)


def test_phone_means() -> None:
    values = np.array([1.0, 3.0, 5.0, 7.0, 9.0])
    means = phone_means(values, np.array([2, 0, 3, 0]))
    # A phone without frames reads the frame at its boundary, the last one the final frame.
    np.testing.assert_allclose(means, [2.0, 5.0, 7.0, 9.0])
    assert means.dtype == np.float32


def test_rate_leaves_the_edges_out_and_keeps_pauses() -> None:
    silent = np.array([True, False, False, True, False, True])
    durations = np.array([50, 10, 10, 20, 10, 70])
    assert phones_per_s(silent, durations, 0.01) == pytest.approx(3 / 0.5)
    assert phones_per_s(np.array([True]), np.array([9]), 0.01) is None
    assert phones_per_s(np.array([False]), np.array([0]), 0.01) is None
