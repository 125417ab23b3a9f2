"""Synthetic recordings and miniature corpora for the tests of eele.corpora."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from eele.config.load import check_study
from eele.config.models import StudyConfig
from eele.corpora import clean, collect
from eele.paths import StudyPaths


def speechlike(
    seconds: float = 1.0,
    rate_hz: int = 16000,
    f0_hz: float = 150.0,
    rms: float = 0.1,
    seed: int = 0,
) -> np.ndarray:
    """A harmonic sound with syllables (4 per second), starting and ending at once; float32."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    rng = np.random.default_rng(seed)
    tone = sum(
        np.sin(2 * np.pi * f0_hz * k * t + rng.uniform(0, 6.28)) / k
        for k in range(1, 6)
        if f0_hz * k < 0.45 * rate_hz
    )
    sound = tone * (0.65 + 0.35 * np.cos(2 * np.pi * 4 * t))
    return (sound * rms / np.sqrt(np.mean(sound**2))).astype(np.float32)


def write(path: Path, signal: np.ndarray | None = None, rate_hz: int = 16000) -> Path:
    """A WAV or FLAC file (16 bit); a second of speech-like sound, different for every path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if signal is None:
        seed = sum(path.name.encode()) % 1000
        signal = speechlike(rate_hz=rate_hz, f0_hz=100 + seed / 10, seed=seed)
    soundfile.write(path, signal, rate_hz, subtype="PCM_16")
    return path


def metadata(root: Path, rows: Iterable[Mapping[str, str]]) -> Path:
    """A metadata.csv with the columns of its first row."""
    rows = list(rows)
    root.mkdir(parents=True, exist_ok=True)
    path = root / "metadata.csv"
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def row(utterance_id: str, **values: str) -> dict[str, str]:
    """One row of metadata.csv."""
    return {
        "utterance_id": utterance_id,
        "path": f"audio/{utterance_id}.wav",
        "speaker": "anna",
        "language": "en",
        "emotion": "neutral",
        "text": f"Sentence {utterance_id}.",
    } | values


def study(root: Path, tmp_path: Path, **values: object) -> tuple[StudyConfig, StudyPaths]:
    """A study of one folder corpus `box` at `root`, with further config values."""
    corpus = {"adapter": "folder", "name": "box", "root": str(root)}
    config = {"study": "test", "corpora": [corpus], "emotions": ["happy"]} | values
    return check_study(config), StudyPaths.of("test", tmp_path / "results")


def read(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV."""
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def both(config: StudyConfig, paths: StudyPaths, jobs: int = 1) -> Path:
    collect(config, paths, "box", jobs)
    clean(config, paths, "box", jobs)
    return paths.corpus("box")


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def source(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "source.json").read_text())


def sound_of(paths: StudyPaths, clean_row: dict[str, str]) -> tuple[np.ndarray, int]:
    return soundfile.read(paths.root / clean_row["path"], dtype="float32")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def levelled(tmp_path: Path) -> tuple[Path, StudyConfig, StudyPaths]:
    """Two speakers, neutral at different levels, happy 6 dB louder than neutral."""
    root = tmp_path / "corpus"
    rows = []
    for speaker, rms in (("anna", 0.05), ("ben", 0.2)):
        for emotion, factor in (("neutral", 1.0), ("happy", 2.0)):
            name = f"{speaker}_{emotion}"
            seed = len(rows)
            write(root / "audio" / f"{name}.wav", speechlike(rms=rms * factor, seed=seed))
            rows.append(row(name, speaker=speaker, emotion=emotion))
    metadata(root, rows)
    return root, *study(root, tmp_path)
