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


#: ESD's folders, and the number before an emotion's first sentence, for its 350 sentences.
_ESD_EMOTIONS = {"Neutral": 0, "Angry": 350, "Happy": 700, "Sad": 1050, "Surprise": 1400}
_ESD_WORDS = {"Neutral": "neutral", "Angry": "angry", "Happy": "happy", "Sad": "sad"} | {
    "Surprise": "surprised"
}


def spoken(voice: int, name: str, text: str, emotion: str, rate_hz: int) -> np.ndarray:
    """The generated corpus's voice number `voice` speaking `text`; float samples (samples,)."""
    import soxr

    from eele.corpora.demo_rules import VOICES
    from eele.corpora.demo_voice import speak

    sound, made_hz, _ = speak(VOICES[voice], name, text, emotion)
    return soxr.resample(sound, made_hz, rate_hz)


def miniature_vctk(root: Path, voices: Mapping[str, int], texts: Iterable[str]) -> Path:
    """VCTK 0.92 with all that lies in its folder, of the speakers `voices` (name -> voice)."""
    audio = root / "wav48_silence_trimmed"
    for speaker, voice in voices.items():
        for number, text in enumerate(texts, start=1):
            name = f"{speaker}_{number:03d}"
            sound = spoken(voice, name, text, "neutral", 48000)
            for microphone in ("mic1", "mic2"):
                write(audio / speaker / f"{name}_{microphone}.flac", sound, 48000)
            transcript = root / "txt" / speaker / f"{name}.txt"
            transcript.parent.mkdir(parents=True, exist_ok=True)
            transcript.write_text(f"{text}\n", encoding="utf-8")
    lines = [f"{speaker}  23  F  English  Southern England" for speaker in voices]
    lines.insert(0, "ID  AGE  GENDER  ACCENTS  REGION COMMENTS")
    (root / "speaker-info.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (audio / "log.txt").write_text("", encoding="utf-8")
    return root


def miniature_esd(root: Path, voices: Mapping[str, int], texts: Iterable[str]) -> Path:
    """ESD with the speakers `voices`: every text in five emotions; transcripts in turns UTF-8 and UTF-16."""
    texts = list(texts)
    for turn, (speaker, voice) in enumerate(voices.items()):
        lines = []
        for folder, before in _ESD_EMOTIONS.items():
            for number, text in enumerate(texts, start=before + 1):
                name = f"{speaker}_{number:06d}"
                sound = spoken(voice, name, text, _ESD_WORDS[folder], 16000)
                write(root / speaker / folder / f"{name}.wav", sound, 16000)
                lines.append(f"{name}\t{text}\t{folder}")
        transcript = root / speaker / f"{speaker}.txt"
        transcript.write_text("\r\n".join(lines), encoding=("utf-8", "utf-16")[turn % 2])
    (root / "ReadMe.txt").write_text("Emotional Speech Data\n", encoding="utf-8")
    return root
