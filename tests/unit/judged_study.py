"""Small studies of synthetic voices whose emotions are known, for the tests of the judges."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from eele.config import StudyConfig
from eele.features.store import ShardWriter, Utterance
from eele.paths import StudyPaths

STUDY = StudyConfig(emotions=("happy", "sad"))
RATE = STUDY.audio.sample_rate_hz
#: emotion -> pitch shift in semitones, level shift in dB, syllables per second
RULES = {"neutral": (0.0, 0.0, 4.0), "happy": (5.0, 4.0, 5.5), "sad": (-3.0, -5.0, 3.0)}


def voice(base_hz: float, emotion: str, seed: int) -> np.ndarray:
    """A buzz with syllables, (samples,) float32; pitch, level and rate follow RULES."""
    shift_st, level_db, rate = RULES[emotion]
    rng = np.random.default_rng(seed)
    duration_s = 6 / rate
    times = np.arange(int(duration_s * RATE)) / RATE
    wobble_st = (
        shift_st + rng.normal(0, 0.7) + 1.5 * np.sin(2 * np.pi * rng.uniform(0.5, 1.5) * times)
    )
    phase = 2 * np.pi * np.cumsum(base_hz * 2 ** (wobble_st / 12)) / RATE
    buzz = sum(np.sin(k * phase) / k**1.5 for k in range(1, 12))
    syllables = np.clip(0.1 + np.sin(np.pi * rate * times) ** 2, 0, 1)
    gain = 0.05 * 10 ** ((level_db + rng.normal(0, 0.7)) / 20)
    return (gain * buzz * syllables + rng.normal(0, 1e-4, len(times))).astype(np.float32)


def write_study(
    root: Path, counts: dict[tuple[str, str], int], test_sentences: int = 2, shared: bool = False
) -> StudyPaths:
    """A study's manifest, clean audio, phones and features; counts: (speaker, emotion) -> sentences."""
    paths = StudyPaths(root)
    (root / "lexicon").mkdir(parents=True)
    paths.phones.write_text(json.dumps(["_", "sil", "spn", "a"]))
    rows = []
    base = {"one": 110.0, "two": 210.0}
    with ShardWriter(paths, 0) as shard:
        for (speaker, emotion), count in counts.items():
            for sentence in range(count):
                name = f"{speaker}_{emotion}_{sentence}"
                samples = voice(base[speaker], emotion, len(rows))
                (root / "audio").mkdir(exist_ok=True)
                soundfile.write(root / "audio" / f"{name}.flac", samples, RATE)
                split = "test" if sentence < test_sentences else "train"
                rows.append(
                    {
                        "utterance_id": name,
                        "path": f"audio/{name}.flac",
                        "speaker": speaker,
                        "emotion": emotion,
                        "split": split,
                        "corpus": "toy",
                        "sentence": 0 if shared else sentence,
                    }
                )
                phones = np.array([1, 3, 3, 3, 3, 3, 3, 1], np.int16)
                shard.add(
                    {
                        "utterance_id": name,
                        "speaker": speaker,
                        "emotion": emotion,
                        "split": split,
                        "duration_s": len(samples) / RATE,
                    },
                    Utterance(
                        mel=np.zeros((8, 80), np.float32),
                        f0_hz=np.zeros(8, np.float32),
                        energy_db=np.zeros(8, np.float32),
                        phones=phones,
                        durations=np.ones(8, np.int32),
                        phone_log_f0=np.zeros(8, np.float32),
                        phone_energy_db=np.zeros(8, np.float32),
                    ),
                )
    pd.DataFrame(rows).to_csv(paths.manifest, index=False)
    index = pd.read_csv(paths.features / "shard~0" / "index.csv")
    index.insert(0, "shard", 0)
    index.to_csv(paths.features / "index.csv", index=False)
    return paths


FULL = {(s, e): 8 for s in ("one", "two") for e in RULES}
