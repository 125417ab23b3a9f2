"""A study of emotion recognition on computed speech-like sounds: what tells the emotions apart is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from eele.config.models import CorpusConfig, RuntimeConfig, StudyConfig
from eele.config.recognition import (
    EncoderConfig,
    MethodConfig,
    RecogniserTrainingConfig,
    RecognitionConfig,
    SmallEncoderConfig,
    TestbedConfig,
)
from eele.paths import StudyPaths

RATE = 22050
#: Emotion -> pitch (Hz) and depth of its vibrato.
EMOTIONS = {"neutral": (140.0, 0.0), "angry": (280.0, 0.0), "sad": (85.0, 0.05)}
SPEAKERS = {"s_anna": ("female", 1.4), "s_bert": ("male", 1.0), "s_carl": ("male", 1.2)}
SENTENCES = 6
SMALL = SmallEncoderConfig(
    hidden_size=32,
    layers=2,
    heads=2,
    feed_forward_size=64,
    codebooks=2,
    codes=32,
    code_size=8,
    steps=20,
    batch_size=8,
    warmup_steps=2,
    learning_rate=5e-3,
    validate_every=5,
    crop_s=0.6,
)
TRAINING = RecogniserTrainingConfig(epochs=2, batch_size=8, head_size=32, learning_rate=3e-3)


def sound(emotion: str, voice: float, sentence: int, seconds: float = 0.7) -> np.ndarray:
    """Harmonics of the emotion's pitch in one voice; the sentence sets the formant."""
    pitch, vibrato = EMOTIONS[emotion]
    t = np.arange(round(seconds * RATE)) / RATE
    f0 = pitch * voice * (1 + vibrato * np.sin(2 * np.pi * 6 * t))
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    formant = 400 + 250 * sentence
    signal = sum(
        np.exp(-(((h * pitch * voice - formant) / 900) ** 2)) * np.sin(h * phase)
        for h in range(1, 16)
    )
    noise = np.random.default_rng(sentence).normal(0, 1e-3, len(t))
    return (0.3 * signal / np.abs(signal).max() + noise).astype(np.float32)


def make_study(root: Path, encoders: dict[str, EncoderConfig] | None = None) -> StudyConfig:
    """Write manifest and clean recordings below `root`/study; the last sentence is held out for test."""
    paths = StudyPaths.of("study", root)
    rows = []
    for speaker, (gender, voice) in SPEAKERS.items():
        for emotion in EMOTIONS:
            for sentence in range(SENTENCES):
                name = f"{speaker}_{emotion}_{sentence}"
                path = Path("corpora/c/clean") / speaker / f"{name}.flac"
                (paths.root / path).parent.mkdir(parents=True, exist_ok=True)
                length = 0.5 + 0.1 * (sentence % 3)
                soundfile.write(paths.root / path, sound(emotion, voice, sentence, length), RATE)
                last = {SENTENCES - 1: "test", SENTENCES - 2: "validation"}
                rows.append(
                    {
                        "utterance_id": name,
                        "path": str(path),
                        "speaker": speaker,
                        "language": "en",
                        "emotion": emotion,
                        "text": f"Sentence {sentence}.",
                        "duration_s": length,
                        "split": last.get(sentence, "train"),
                        "corpus": "c",
                        "sentence": sentence,
                        "session": "",
                        "partition": "",
                        "gender": gender,
                    }
                )
    pd.DataFrame(rows).to_csv(paths.manifest, index=False)
    return StudyConfig(
        study="study",
        corpora=(CorpusConfig(adapter="folder", name="c"),),
        encoders={"small": EncoderConfig(small=SMALL), **(encoders or {})},
        recognition=RecognitionConfig(
            methods=(
                MethodConfig(),
                MethodConfig(method="lora", sites=("feed_forward",), size=2),
            ),
            testbeds={
                "unseen": TestbedConfig(folds="sentences"),
                "voices": TestbedConfig(folds="leave_one_speaker_out"),
            },
            training=TRAINING,
        ),
        runtime=RuntimeConfig(device="cpu", log_every=1),
    )
