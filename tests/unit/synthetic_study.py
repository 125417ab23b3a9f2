"""A study of computed tones: every F0, level, phone boundary and rate is known. Shared by several tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from eele.align.textgrid import Interval, TextGrid, write_textgrid
from eele.config.models import AudioConfig, FeatureConfig, StudyConfig
from eele.paths import StudyPaths

AUDIO = AudioConfig()
RATE = AUDIO.sample_rate_hz
PHONES = ["_", "sil", "spn", "a", "i", "u"]
#: Formant (Hz) and its half width of each "phone".
_FORMANTS = {"a": (800, 1200), "i": (300, 2400), "u": (320, 700)}
EDGE_S = 0.1


def spoken(
    phones: list[str],
    f0_hz: float,
    phone_s: float = 0.12,
    level: float = 0.1,
    tilt: float = 1.0,
    semitones: float = 0.0,
) -> np.ndarray:
    """Harmonic complex, one vowel-like envelope per phone, 0.1 s of silence at both ends.

    `semitones`: F0 glides linearly in ln F0 over this range around f0_hz. RMS of the speech is `level`.
    """
    n = round(phone_s * RATE)
    total = n * len(phones)
    glide = np.linspace(-0.5, 0.5, total) * semitones / 12
    phase = 2 * np.pi * np.cumsum(f0_hz * 2.0**glide) / RATE
    signal = np.zeros(total)
    for harmonic in range(1, int(5000 / f0_hz)):
        hz = harmonic * f0_hz
        gain = np.concatenate(
            [
                np.full(n, sum(1 / (1 + ((hz - f) / 120) ** 2) for f in _FORMANTS[p]) + 0.02)
                for p in phones
            ]
        )
        signal += gain * harmonic ** (-tilt * 0.5) * np.sin(harmonic * phase)
    signal *= level / np.sqrt(np.mean(signal**2))
    edge = np.zeros(int(EDGE_S * RATE))
    noise = np.random.default_rng(0).normal(0, 1e-4, total + 2 * len(edge))
    return (np.concatenate([edge, signal, edge]) + noise).astype(np.float32)


def grid(phones: list[str], phone_s: float, duration_s: float) -> TextGrid:
    """The true TextGrid of `spoken`."""
    intervals = [
        Interval(EDGE_S + i * phone_s, EDGE_S + (i + 1) * phone_s, p) for i, p in enumerate(phones)
    ]
    words = [Interval(EDGE_S, EDGE_S + len(phones) * phone_s, "word")]
    return TextGrid.of(duration_s, words, intervals)


def study(shards: int = 2) -> StudyConfig:
    return StudyConfig(study="tones", emotions=("happy",), features=FeatureConfig(shards=shards))


def build(root: Path, utterances: list[dict[str, object]]) -> StudyPaths:
    """Write manifest, clean recordings, TextGrids, alignment.csv and phones.json.

    Each utterance: utterance_id, speaker, emotion, split, sentence, phones, f0_hz, and optionally
    phone_s, level, tilt, semitones, status.
    """
    paths = StudyPaths(root)
    rows, statuses = [], []
    for item in utterances:
        phones, phone_s = list(item["phones"]), float(item.get("phone_s", 0.12))  # type: ignore[call-overload, arg-type]
        samples = spoken(
            phones,
            float(item["f0_hz"]),  # type: ignore[arg-type]
            phone_s,
            *(
                float(item.get(k, d))
                for k, d in (("level", 0.1), ("tilt", 1.0), ("semitones", 0.0))
            ),  # type: ignore[arg-type]
        )
        name, speaker = str(item["utterance_id"]), str(item["speaker"])
        path = Path("corpora") / "tones" / "clean" / speaker / f"{name}.flac"
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / path, samples, RATE, subtype="PCM_16")
        duration_s = len(samples) / RATE
        status = str(item.get("status", "aligned"))
        statuses.append({"utterance_id": name, "status": status, "score": 0.0, "reason": ""})
        if status == "aligned":
            write_textgrid(
                root / "alignment" / "textgrids" / speaker / f"{name}.TextGrid",
                grid(phones, phone_s, duration_s),
            )
        rows.append(
            {
                "utterance_id": name,
                "path": path.as_posix(),
                "speaker": speaker,
                "language": "en",
                "emotion": item["emotion"],
                "text": "".join(phones),
                "duration_s": duration_s,
                "split": item["split"],
                "corpus": "tones",
                "sentence": item["sentence"],
            }
        )
    pd.DataFrame(rows).to_csv(paths.manifest, index=False)
    pd.DataFrame(statuses).to_csv(paths.alignment / "alignment.csv", index=False)
    paths.phones.parent.mkdir(parents=True, exist_ok=True)
    paths.phones.write_text(json.dumps(PHONES))
    return paths
