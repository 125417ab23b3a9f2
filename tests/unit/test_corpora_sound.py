"""Signal work of cleaning, on signals whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from corpora_samples import speechlike

from eele.corpora import sound

RATE = 16000


def padded(front_s: float, back_s: float, noise_dbfs: float | None, rms: float = 0.1) -> np.ndarray:
    """One second of speech-like sound between edges of silence or white noise."""
    front, back = round(front_s * RATE), round(back_s * RATE)
    body = speechlike(1.0, RATE, rms=rms)
    signal = np.concatenate([np.zeros(front), body, np.zeros(back)])
    if noise_dbfs is not None:
        rng = np.random.default_rng(1)
        signal = signal + rng.normal(0, 10 ** (noise_dbfs / 20), len(signal))
    return signal.astype(np.float32)


@pytest.mark.parametrize("noise_dbfs", [None, -90.0, -60.0, -50.0])
@pytest.mark.parametrize("rms", [0.1, 0.05])
def test_long_edges_are_cut_to_what_is_kept(noise_dbfs: float | None, rms: float) -> None:
    signal = padded(1.0, 0.8, noise_dbfs, rms)
    cut, leading, trailing = sound.trim_edges(signal, RATE, 0.1, 40.0)
    assert leading == pytest.approx(0.9, abs=0.03)
    assert trailing == pytest.approx(0.7, abs=0.03)
    assert len(cut) / RATE == pytest.approx(1.2, abs=0.05)


def test_short_edges_stay_and_nothing_changes() -> None:
    signal = padded(0.05, 0.08, None)
    cut, leading, trailing = sound.trim_edges(signal, RATE, 0.1, 40.0)
    assert (leading, trailing) == (0.0, 0.0)
    np.testing.assert_array_equal(cut, signal)


def test_speech_between_cut_edges_is_untouched() -> None:
    signal = padded(1.0, 1.0, -80.0)
    cut, leading, _ = sound.trim_edges(signal, RATE, 0.1, 40.0)
    start = round(leading * RATE)
    inner = slice(round(0.05 * RATE), -round(0.05 * RATE))
    np.testing.assert_array_equal(cut[inner], signal[start : start + len(cut)][inner])
    assert cut[0] == 0.0


def test_gated_noise_with_a_low_floor_is_still_silence() -> None:
    """As in RAVDESS: bursts of breath 38 dB under the speech between stretches of nothing."""
    signal = padded(1.0, 1.0, None)
    rng = np.random.default_rng(3)
    gate = (np.arange(len(signal)) // round(0.12 * RATE)) % 2
    signal += (rng.normal(0, 10 ** (-58 / 20), len(signal)) * gate).astype(np.float32)
    _, leading, trailing = sound.trim_edges(signal, RATE, 0.1, 40.0)
    assert leading == pytest.approx(0.9, abs=0.03)
    assert trailing == pytest.approx(0.9, abs=0.03)


def test_weak_final_fricative_is_kept() -> None:
    """A final [xt], 30 dB down and a quarter of a second long, belongs to the word."""
    rng = np.random.default_rng(4)
    fricative = rng.normal(0, 0.1 * 10 ** (-30 / 20), round(0.25 * RATE))
    signal = np.concatenate([speechlike(1.0, RATE), fricative, np.zeros(round(0.5 * RATE))])
    _, _, trailing = sound.trim_edges(signal.astype(np.float32), RATE, 0.1, 40.0)
    assert trailing == pytest.approx(0.4, abs=0.03)


def test_lone_click_in_the_silence_is_not_speech() -> None:
    signal = padded(1.0, 0.5, None)
    signal[round(0.3 * RATE) : round(0.3 * RATE) + 32] = 0.5
    _, leading, _ = sound.trim_edges(signal, RATE, 0.1, 40.0)
    assert leading == pytest.approx(0.9, abs=0.03)


def test_pause_inside_is_kept() -> None:
    word = speechlike(0.4, RATE)
    signal = np.concatenate([word, np.zeros(RATE), word]).astype(np.float32)
    cut, leading, trailing = sound.trim_edges(signal, RATE, 0.1, 40.0)
    assert len(cut) == len(signal)
    assert leading == trailing == 0.0


def test_frame_levels_of_a_sine() -> None:
    t = np.arange(RATE) / RATE
    levels = sound.frame_levels((0.5 * np.sin(2 * np.pi * 200 * t)).astype(np.float32), RATE)
    assert levels[:190] == pytest.approx(-9.03, abs=0.05)
    silence = sound.frame_levels(np.zeros(RATE, np.float32), RATE)
    assert (silence == sound.FLOOR_DB).all()


def test_active_level_ignores_silence() -> None:
    """P.56: the same speech with as much silence as speech has the same active level."""
    body = speechlike(1.0, RATE, rms=0.1)
    alone = sound.level_dbfs(*sound.active_power(body, RATE))
    silent = sound.level_dbfs(*sound.active_power(padded(1.0, 1.0, -75.0), RATE))
    assert alone == pytest.approx(-20.0, abs=0.5)
    assert silent == pytest.approx(alone, abs=0.3)


@pytest.mark.parametrize("gain", [0.1, 3.0])
def test_active_level_follows_the_gain(gain: float) -> None:
    body = speechlike(1.0, RATE)
    before = sound.level_dbfs(*sound.active_power(body, RATE))
    after = sound.level_dbfs(*sound.active_power((gain * body).astype(np.float32), RATE))
    assert after - before == pytest.approx(20 * np.log10(gain), abs=0.01)


def test_share_at_maximum_knows_clipping_at_any_level() -> None:
    body = speechlike(1.0, RATE, rms=0.5)
    assert sound.share_at_maximum(body) < 0.001
    clipped = np.clip(body * 5, -1, 1)
    assert sound.share_at_maximum(clipped) > 0.3
    assert sound.share_at_maximum(0.2 * clipped) > 0.3
    assert sound.share_at_maximum(np.zeros(10, np.float32)) == 0.0


def test_to_int16_rounds_and_does_not_wrap() -> None:
    values = np.array([0.0, 1.0, -1.0, 1.5 / 32768, 2.0], np.float32)
    assert sound.to_int16(values).tolist() == [0, 32767, -32768, 2, 32767]
