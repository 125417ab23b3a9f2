"""Speed of the judges: seconds to read and judge 1,000 files of three seconds, against the limits.

    python benchmarks/judges.py [--files N] [--cores C] [--encoder NAME_OR_FOLDER]

Limits on two cores: 60 s for the judge statistics, 180 s for one made of the small encoder at its
default sizes; the time of fewer files is scaled up. As in a study, one process works on each core, and
hears the files of a cell in one call. The speech is generated, and the encoder's weights are fresh:
neither changes the work. Also printed: what batches of neighbours in length gain over one file at a time,
and CPU seconds, which another load on the machine does not change much.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch

from eele.config.evaluation import EncoderJudgeConfig
from eele.config.models import StudyConfig
from eele.config.recognition import EncoderConfig
from eele.judges import Judge
from eele.judges.encoder import EncoderJudge
from eele.judges.statistics import train_on
from eele.judges.utterance_features import feature_names
from eele.ser.adaptation import Adaptation
from eele.ser.encoders import load_encoder
from eele.ser.model import Recogniser

LIMITS = {"statistics": 60.0, "small": 180.0}
FILES = 1000
SECONDS = 3.0


def speech(number: int, rate: int) -> np.ndarray:
    """Syllables of a gliding harmonic voice, 2.5 to 3.5 s: (samples,) float64."""
    rng = np.random.default_rng(number)
    t = np.arange(int((SECONDS + rng.uniform(-0.5, 0.5)) * rate)) / rate
    f0 = rng.uniform(100, 250) + 40 * np.sin(2 * np.pi * 0.7 * t + number)
    phase = 2 * np.pi * np.cumsum(f0) / rate
    buzz = sum(np.sin(k * phase) / k for k in range(1, 20))
    return 0.1 * buzz * (np.sin(2 * np.pi * 4 * t) > -0.6) + rng.normal(0, 1e-3, len(t))


def statistics_judge(study: StudyConfig) -> Judge:
    """Trained on random features: how it was trained does not change its speed."""
    rng = np.random.default_rng(0)
    emotions = np.array(["neutral", *study.emotions] * 40)
    table = pd.DataFrame(
        {"emotion": emotions, "speaker": "s", "sentence": np.arange(len(emotions)) // 3}
    )
    features = rng.normal(size=(len(emotions), len(feature_names(study.audio))))
    return train_on(study, features, table)[0]


def encoder_judge(study: StudyConfig, model: str | None) -> EncoderJudge:
    """Of the small encoder, or of a model of transformers."""
    encoder = EncoderConfig(kind="transformers", model=model) if model else EncoderConfig()
    config = EncoderJudgeConfig()
    recogniser = Recogniser(load_encoder(encoder), ("neutral", *study.emotions))
    Adaptation(recogniser, config.adaptation, config.training)
    return EncoderJudge(recogniser, config, 1.0, "cpu")


def made(label: str, encoder: str | None) -> Judge:
    """The judge of a process of its own."""
    torch.set_num_threads(1)
    study = StudyConfig()
    return statistics_judge(study) if label == "statistics" else encoder_judge(study, encoder)


def heard(label: str, encoder: str | None, files: list[Path], at_once: int) -> tuple[float, float]:
    """Wall and CPU seconds of reading and judging, `at_once` files per call of the judge."""
    judge = made(label, encoder)
    _judge(judge, files[:4])
    wall, cpu = time.perf_counter(), time.process_time()
    for start in range(0, len(files), at_once):
        _judge(judge, files[start : start + at_once])
    return time.perf_counter() - wall, time.process_time() - cpu


def _judge(judge: Judge, files: list[Path]) -> None:
    read = [soundfile.read(file, dtype="float32") for file in files]
    judge.probabilities([s for s, _ in read], read[0][1], [30] * len(read), ["s"] * len(read))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--encoder", help="a model of transformers instead of the small encoder")
    options = parser.parse_args()
    rate = StudyConfig().audio.sample_rate_hz
    name = options.encoder or "small"
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(options.cores, multiprocessing.get_context("spawn")) as pool,
    ):
        files = [Path(folder) / f"{number}.wav" for number in range(options.files)]
        for number, file in enumerate(files):
            soundfile.write(file, speech(number, rate), rate, subtype="PCM_16")
        scale = FILES / len(files)
        for label in ("statistics", name):
            jobs = [
                pool.submit(heard, label, options.encoder, files[core :: options.cores], 50)
                for core in range(options.cores)
            ]
            spent = [job.result() for job in jobs]
            wall, cpu = scale * max(w for w, _ in spent), scale * sum(c for _, c in spent)
            limit = LIMITS.get(label)
            verdict = "" if limit is None else f"; limit {limit:.0f} s, {wall / limit:.2f} of it"
            print(
                f"{label}: {wall:.1f} s for {FILES} files of {SECONDS:.0f} s on {options.cores} cores "
                f"({cpu:.1f} s of CPU){verdict}"
            )
        few = files[: max(20, len(files) // 10)]
        alone, together = (
            pool.submit(heard, name, options.encoder, few, size).result()[1] for size in (1, 50)
        )
        print(f"{name}: {alone / together:.1f} times the CPU time file by file, without batches")


if __name__ == "__main__":
    main()
