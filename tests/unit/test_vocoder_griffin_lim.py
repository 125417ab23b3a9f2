"""Griffin-Lim on signals whose pitch, level and spectrum are known."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from synthetic_study import AUDIO, RATE, spoken, study

from eele.config.models import AudioConfig, StudyConfig
from eele.errors import ConfigError, DataError
from eele.features.extract import analyse
from eele.features.mel import log_mel, mel_filterbank
from eele.vocoders import VOCODERS, load
from eele.vocoders.griffin_lim import GriffinLim
from eele.vocoders.inversion import first_phase, mel_to_magnitude

SHARED = Path(
    os.environ.get("EELE_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
)


def decibels(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64))))


@pytest.mark.parametrize("f0_hz", [100.0, 180.0, 300.0])
def test_pitch_level_and_mel_survive(f0_hz: float) -> None:
    original = spoken(["a", "i", "u", "a"], f0_hz, semitones=4)
    before = analyse(original, study())
    again = load(study()).synthesise(before.mel)
    after = analyse(again, study())
    both = (before.f0_hz > 0) & (after.f0_hz > 0)
    assert both.sum() > 0.9 * (before.f0_hz > 0).sum()
    semitones = 12 * np.abs(np.log2(after.f0_hz[both] / before.f0_hz[both]))
    assert np.median(semitones) < 0.2
    assert decibels(again) == pytest.approx(decibels(original), abs=1.0)
    loud = before.energy_db > before.energy_db.max() - 20
    assert np.mean(np.abs(before.mel - after.mel)[loud][:, :60]) < 0.25


def test_length_type_and_determinism() -> None:
    mel = log_mel(spoken(["a", "u"], 140.0), AUDIO)
    first, second = GriffinLim(AUDIO, 4).synthesise(mel), GriffinLim(AUDIO, 4).synthesise(mel)
    assert first.dtype == np.float32 and first.shape == ((len(mel) - 1) * AUDIO.hop_size,)
    np.testing.assert_array_equal(first, second)
    assert len(log_mel(first, AUDIO)) == len(mel)


def test_iterations_come_closer() -> None:
    mel = log_mel(spoken(["a", "i", "u"], 140.0), AUDIO)

    def error(iterations: int) -> float:
        found = log_mel(GriffinLim(AUDIO, iterations).synthesise(mel), AUDIO)
        return float(np.mean(np.abs(np.exp(found) - np.exp(mel))))

    assert error(32) < 0.7 * error(1)


@pytest.mark.parametrize(
    "audio",
    [
        AudioConfig(sample_rate_hz=16000, fft_size=512, window_size=400, hop_size=160, mel_channels=40),
        AudioConfig(hop_size=300, window_size=900, mel_fmax_hz=11025),
    ],
)  # fmt: skip
def test_other_specifications(audio: AudioConfig) -> None:
    t = np.arange(audio.sample_rate_hz) / audio.sample_rate_hz
    tone = 0.3 * np.sin(2 * np.pi * 440 * t)
    mel = log_mel(tone, audio)
    found = GriffinLim(audio, 16).synthesise(mel)
    assert found.shape == ((len(mel) - 1) * audio.hop_size,)
    spectrum = np.abs(np.fft.rfft(found * np.hanning(len(found))))
    assert np.argmax(spectrum) * audio.sample_rate_hz / len(found) == pytest.approx(440, abs=8)
    assert decibels(found[2000:-2000]) == pytest.approx(decibels(tone), abs=1.0)


def test_inversion_reproduces_the_mel_and_is_not_negative() -> None:
    mel = log_mel(spoken(["a", "i"], 150.0), AUDIO)
    magnitude = mel_to_magnitude(mel, AUDIO)
    assert magnitude.min() >= 0
    again = magnitude @ mel_filterbank(AUDIO)[: magnitude.shape[1]]
    loud = mel > mel.max() - 5
    np.testing.assert_allclose(np.log(again[loud]), mel[loud], atol=0.25)


def test_first_phase_advances_a_tone_by_its_frequency() -> None:
    # A tone exactly on bin 40 moves by 2 pi 40 hop / fft per frame: here a whole number of turns.
    magnitude = np.zeros((5, 100), dtype=np.float32)
    magnitude[:, 39:42] = [0.5, 1.0, 0.5]
    phase = first_phase(magnitude, AUDIO)
    expected = 2 * np.pi * 40 * AUDIO.hop_size / AUDIO.fft_size
    difference = np.diff(phase[:, 40].astype(float)) - expected
    np.testing.assert_allclose(np.exp(1j * difference), 1.0, atol=1e-4)


def test_loud_speech_is_not_clipped() -> None:
    mel = log_mel(spoken(["a", "i"], 150.0), AUDIO) + np.log(20)
    found = GriffinLim(AUDIO, 8).synthesise(mel)
    assert 0.99 < np.abs(found).max() <= 1.0
    assert np.mean(np.abs(found) > 0.99) < 0.01


def test_silence_stays_silent() -> None:
    found = GriffinLim(AUDIO, 8).synthesise(np.full((20, 80), np.log(1e-5)))
    assert np.all(np.isfinite(found)) and decibels(found) < -90


@pytest.mark.parametrize(
    ("mel", "message"),
    [
        (np.zeros((10, 40)), r"expected \(frames >= 2, 80 channels\)"),
        (np.zeros((1, 80)), "cannot be spoken"),
        (np.full((10, 80), np.nan), "not finite"),
    ],
)
def test_unusable_mels_are_refused(mel: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        GriffinLim(AUDIO).synthesise(mel)


def test_registry() -> None:
    assert list(VOCODERS) == ["griffin_lim", "hifigan"]
    built = load(StudyConfig(synthesis={"griffin_lim_iterations": 5}))
    assert isinstance(built, GriffinLim) and built.iterations == 5
    with pytest.raises(ConfigError, match="unknown vocoder 'wavenet'; allowed: griffin_lim"):
        VOCODERS["wavenet"]


def test_pitch_of_a_real_recording_survives() -> None:
    import soundfile
    import soxr

    folder = SHARED / "nemo_emotion_pl" / "audio"
    if not folder.is_dir():
        pytest.skip(
            f"{folder} is missing: put the nEMO sample (docs: Corpora) there or set EELE_SHARED_DATA"
        )
    before, after = [], []
    for speaker in ("nemo_KD0", "nemo_TP0"):
        for file in sorted((folder / speaker).glob("*_neutral_1*.flac"))[:2]:
            samples, rate = soundfile.read(file, dtype="float32")
            samples = soxr.resample(samples, rate, RATE)
            before.append(analyse(samples, study()))
            after.append(analyse(load(study()).synthesise(before[-1].mel), study()))
    old, new = (np.concatenate([x.f0_hz for x in side]) for side in (before, after))
    both = (old > 0) & (new > 0)
    semitones = 12 * np.abs(np.log2(new[both] / old[both]))
    assert np.median(semitones) < 0.25
    assert np.mean(semitones > 3) < 0.1
    assert np.mean(new > 0) == pytest.approx(np.mean(old > 0), abs=0.15)
