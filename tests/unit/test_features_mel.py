"""Log-mel and energy against signals with known answers and against librosa."""

from __future__ import annotations

import numpy as np
import pytest

from eele.config.models import AudioConfig
from eele.errors import DataError
from eele.features import mel

AUDIO = AudioConfig()
SPECS = [
    AUDIO,
    AudioConfig(
        sample_rate_hz=16000,
        fft_size=512,
        window_size=400,
        hop_size=160,
        mel_channels=40,
        mel_fmin_hz=20,
        mel_fmax_hz=7600,
    ),
    AudioConfig(sample_rate_hz=24000, mel_fmax_hz=12000),
]


def tone(
    hz: float, seconds: float = 0.5, level: float = 0.5, audio: AudioConfig = AUDIO
) -> np.ndarray:
    t = np.arange(int(seconds * audio.sample_rate_hz)) / audio.sample_rate_hz
    return (level * np.sin(2 * np.pi * hz * t)).astype(np.float32)


@pytest.mark.parametrize("audio", SPECS)
def test_filterbank_is_librosas(audio: AudioConfig) -> None:
    from librosa.filters import mel as librosa_mel

    expected = librosa_mel(
        sr=audio.sample_rate_hz,
        n_fft=audio.fft_size,
        n_mels=audio.mel_channels,
        fmin=audio.mel_fmin_hz,
        fmax=audio.mel_fmax_hz,
    )
    np.testing.assert_allclose(mel.mel_filterbank(audio), expected.T, atol=1e-7)


def test_filterbank_is_cached_by_the_whole_specification() -> None:
    narrow = AudioConfig(mel_fmin_hz=100)
    assert mel.mel_filterbank(AUDIO) is mel.mel_filterbank(AudioConfig())
    assert not np.allclose(mel.mel_filterbank(AUDIO), mel.mel_filterbank(narrow))


@pytest.mark.parametrize("audio", SPECS)
def test_log_mel_equals_torch_stft(audio: AudioConfig) -> None:
    import torch

    samples = np.random.default_rng(0).normal(0, 0.1, 9001).astype(np.float32)
    spectrum = (
        torch.stft(
            torch.from_numpy(samples),
            audio.fft_size,
            audio.hop_size,
            audio.window_size,
            torch.hann_window(audio.window_size),
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        .abs()
        .numpy()
        .T
    )
    expected = np.log(np.maximum(spectrum @ mel.mel_filterbank(audio), mel.MEL_FLOOR))
    np.testing.assert_allclose(mel.log_mel(samples, audio), expected, atol=2e-4)


@pytest.mark.parametrize("samples", [2, 255, 256, 257, 1024, 22050])
def test_frame_count(samples: int) -> None:
    signal = np.full(samples, 0.1, dtype=np.float32)
    expected = 1 + samples // 256
    assert mel.frame_count(samples, AUDIO) == expected
    assert mel.log_mel(signal, AUDIO).shape == (expected, 80)
    assert mel.energy_db(signal, AUDIO).shape == (expected,)


def test_a_tone_peaks_in_its_band() -> None:
    filters = mel.mel_filterbank(AUDIO)
    for hz in (220, 1000, 4000):
        band = int(np.argmax(mel.log_mel(tone(hz), AUDIO)[20]))
        centre_hz = np.argmax(filters[:, band]) * AUDIO.sample_rate_hz / AUDIO.fft_size
        assert abs(centre_hz - hz) < 0.06 * hz + 22


def test_energy_of_a_tone_and_of_silence() -> None:
    # A sine of amplitude 0.5 has RMS 0.5 / sqrt(2): -9.03 dBFS.
    inner = mel.energy_db(tone(440), AUDIO)[4:-4]
    np.testing.assert_allclose(inner, -9.03, atol=0.05)
    assert np.all(mel.energy_db(np.zeros(5000), AUDIO) == -100)
    assert np.all(mel.log_mel(np.zeros(5000), AUDIO) == np.float32(np.log(1e-5)))


def test_doubling_the_amplitude_adds_ln_2_and_6_db() -> None:
    quiet, loud = tone(300, level=0.2), tone(300, level=0.4)
    peak = np.argmax(mel.log_mel(quiet, AUDIO)[20])
    difference = mel.log_mel(loud, AUDIO)[20, peak] - mel.log_mel(quiet, AUDIO)[20, peak]
    assert difference == pytest.approx(np.log(2), abs=1e-4)
    assert np.median(mel.energy_db(loud, AUDIO) - mel.energy_db(quiet, AUDIO)) == pytest.approx(
        6.02, abs=0.01
    )


@pytest.mark.parametrize("signal", [np.zeros(0), np.zeros(1), np.zeros((2, 500))])
def test_unusable_signals_are_refused(signal: np.ndarray) -> None:
    with pytest.raises(DataError, match="cannot be framed"):
        mel.log_mel(signal, AUDIO)
    with pytest.raises(DataError, match="cannot be framed"):
        mel.energy_db(signal, AUDIO)
