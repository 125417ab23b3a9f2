"""Speaks one voice of the generated corpus: `python -m eele.corpora.demo_voice < job.json`.

A program of its own because espeak-ng's samples depend on what the process spoke before (the phase of its
flutter runs on): a new process per voice makes the corpus the same, bit for bit, wherever it is made.

Job: {"folder", "voice": index into VOICES, "sample_rate_hz", "items": [[utterance_id, text, emotion],...]}.
Writes `<folder>/<speaker>/<utterance_id>.flac` and prints one JSON list of
[utterance_id, [[phone, start_s, end_s, exact], ...]] a line.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from eele.corpora.demo_rules import RULES, VOICES, Rule, Voice, generator
from eele.text import espeak

#: Level of neutral speech before an emotion's gain: loud emotions must not clip.
_HEADROOM_DB = -9.0
#: Noise of the "room", so that no sample stretch is digital zero.
_ROOM_DBFS = -75.0
_TREMOR_HZ = 6.5
_SHELF_HZ = 1500.0


def speak(
    voice: Voice, utterance_id: str, text: str, emotion: str
) -> tuple[np.ndarray, int, list[tuple[str, float, float, bool]]]:
    """One utterance: float samples (samples,) in [-1, 1], sample rate, phones with times in seconds.

    Tempo, pitch and level vary a little from utterance to utterance, seeded by the utterance's id.
    """
    rule = RULES[emotion]
    random = generator("eele demo", utterance_id)
    rate, pitch, width, level = random.normal(0, [0.025, 1.2, 3.0, 0.7]).clip(
        [-0.05, -2.4, -6.0, -1.4], [0.05, 2.4, 6.0, 1.4]
    )
    speech = espeak.synthesise(
        text[:-1] + "?" if rule.rising else text,
        voice=voice.espeak,
        rate_wpm=round(voice.rate_wpm * rule.rate * (1 + rate)),
        pitch=round(rule.pitch + pitch),
        pitch_range=int(np.clip(round(rule.pitch_range + width), 0, 100)),
    )
    samples = speech.samples.astype(np.float64) / 32768
    samples = colour(
        samples, speech.rate_hz, replace(rule, tilt_db=rule.tilt_db + voice.tilt_db), random
    )
    samples *= 10 ** ((_HEADROOM_DB + rule.gain_db + level) / 20)
    lead, trail = random.uniform(0.25, 0.6, 2)
    edges = [round(seconds * speech.rate_hz) for seconds in (lead, trail)]
    samples = np.pad(samples, edges)
    samples += random.normal(0, 10 ** (_ROOM_DBFS / 20), len(samples))
    return samples, speech.rate_hz, _shifted(speech, edges[0], len(samples))


def _shifted(speech: espeak.Speech, lead: int, total: int) -> list[tuple[str, float, float, bool]]:
    """Times in the padded audio; the pauses at the ends grow to cover it."""
    offset = lead / speech.rate_hz
    phones = [(p.symbol, p.start_s + offset, p.end_s + offset, p.exact) for p in speech.phones]
    end = total / speech.rate_hz
    if phones[0][0] == "sil":
        phones[0] = ("sil", 0.0, phones[0][2], True)
    else:
        phones.insert(0, ("sil", 0.0, offset, True))
    if phones[-1][0] == "sil":
        phones[-1] = ("sil", phones[-1][1], end, True)
    else:
        phones.append(("sil", phones[-1][2], end, True))
    return phones


def colour(
    samples: np.ndarray, rate_hz: int, rule: Rule, random: np.random.Generator
) -> np.ndarray:
    """Tremor, breath and spectral tilt of `rule` on `samples` (samples,); the level stays as it was.

    The filters are of minimum phase and the tremor's time warp stays below 1 ms: phone times hold.
    """
    from scipy.signal import lfilter

    level = np.sqrt(np.mean(samples**2))
    if rule.tremor_st:
        # A warp of time by d sin(2 pi f t) multiplies the pitch by 1 + 2 pi f d cos(2 pi f t).
        depth = (2 ** (rule.tremor_st / 12) - 1) / (2 * np.pi * _TREMOR_HZ)
        time = np.arange(len(samples)) / rate_hz
        swing = np.sin(2 * np.pi * _TREMOR_HZ * time + random.uniform(0, 2 * np.pi))
        samples = np.interp(time + depth * swing, time, samples) * (1 + 0.15 * swing)
    if rule.breath_db is not None:
        window = round(0.02 * rate_hz)
        envelope = np.sqrt(np.convolve(samples**2, np.ones(window) / window, mode="same"))
        # First difference of white noise: rises with frequency, as breath does over voice.
        noise = np.diff(random.normal(0, 1, len(samples) + 1)) / np.sqrt(2)
        samples = samples + 10 ** (rule.breath_db / 20) * envelope * noise
    if rule.tilt_db:
        samples = lfilter(*high_shelf(rule.tilt_db, _SHELF_HZ, rate_hz), samples)
    return samples * level / np.sqrt(np.mean(samples**2))


def high_shelf(gain_db: float, corner_hz: float, rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (b, a) of a second-order high shelf of slope 1 (Bristow-Johnson, Audio EQ Cookbook)."""
    amplitude = 10 ** (gain_db / 40)
    omega = 2 * np.pi * corner_hz / rate_hz
    cosine, root = np.cos(omega), np.sqrt(2 * amplitude) * np.sin(omega)
    more, less = amplitude + 1, amplitude - 1
    numerator = amplitude * np.array(
        [more + less * cosine + root, -2 * (less + more * cosine), more + less * cosine - root]
    )
    denominator = np.array(
        [more - less * cosine + root, 2 * (less - more * cosine), more - less * cosine - root]
    )
    return numerator / denominator[0], denominator / denominator[0]


def run(job: dict[str, Any]) -> None:
    """Speak every item of `job` (see the module's text) and print its phone times."""
    import soundfile
    import soxr

    voice = VOICES[job["voice"]]
    folder = Path(job["folder"]) / voice.speaker
    folder.mkdir(parents=True, exist_ok=True)
    for utterance_id, text, emotion in job["items"]:
        samples, rate_hz, phones = speak(voice, utterance_id, text, emotion)
        if rate_hz != job["sample_rate_hz"]:
            samples = soxr.resample(samples, rate_hz, job["sample_rate_hz"], quality="VHQ")
        file = folder / f"{utterance_id}.flac"
        soundfile.write(file, samples, job["sample_rate_hz"], subtype="PCM_16")
        print(json.dumps([utterance_id, phones], ensure_ascii=False))


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    run(json.load(sys.stdin))
