"""Speed of feature extraction: the stage against the sum of the library calls it cannot avoid.

    python benchmarks/features.py [--recordings FOLDER] [--limit N]

Prints x real time of one core, the ratio stage / library calls (limit 1.5), and how two processes
scale. Without --recordings it uses generated tones.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import soxr

from eele.align.textgrid import Interval, TextGrid, read_textgrid, write_textgrid
from eele.config.models import FeatureConfig, StudyConfig
from eele.features import extract_shard
from eele.features.extract import aligned_utterances
from eele.paths import StudyPaths

PHONES = ["_", "sil", "spn", "a", "e", "i", "o", "u"]


def build(root: Path, recordings: Path | None, limit: int, rate: int) -> StudyPaths:
    """A study folder with clean recordings and TextGrids of 12 phones a second."""
    paths = StudyPaths(root)
    files = sorted(recordings.rglob("*.flac"))[:limit] if recordings else [None] * limit
    rows = []
    for number, file in enumerate(files):
        if file is None:
            t = np.arange(int(2.5 * rate)) / rate
            f0 = 120 + 60 * np.sin(2 * np.pi * 0.7 * t + number)
            phase = 2 * np.pi * np.cumsum(f0) / rate
            samples = (
                sum(np.sin(k * phase) / k for k in range(1, 20)) * 0.1 * (np.sin(9 * t) > -0.7)
            )
        else:
            samples, source_rate = soundfile.read(file, dtype="float32")
            samples = soxr.resample(samples, source_rate, rate)
        name = f"u{number:05d}"
        clean = Path("clean") / f"{name}.flac"
        (root / clean).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / clean, samples, rate, subtype="PCM_16")
        seconds = len(samples) / rate
        times = np.linspace(0.1, seconds - 0.1, max(2, int(12 * seconds)))
        phones = [
            Interval(a, b, PHONES[3 + i % 5]) for i, (a, b) in enumerate(itertools.pairwise(times))
        ]
        write_textgrid(
            paths.alignment / "textgrids" / "s" / f"{name}.TextGrid",
            TextGrid.of(seconds, [Interval(0.1, seconds - 0.1, "w")], phones),
        )
        rows.append(
            {
                "utterance_id": name,
                "path": clean.as_posix(),
                "speaker": "s",
                "emotion": "neutral",
                "split": "train",
                "duration_s": seconds,
            }
        )
    table = pd.DataFrame(rows)
    table.to_csv(paths.manifest, index=False)
    table.assign(status="aligned")[["utterance_id", "status"]].to_csv(
        paths.alignment / "alignment.csv", index=False
    )
    paths.phones.parent.mkdir(parents=True)
    paths.phones.write_text(json.dumps(PHONES))
    return paths


def library_calls(study: StudyConfig, paths: StudyPaths) -> None:
    """What any implementation has to call: decoder, FFT, pitch, TextGrid parser, array writer."""
    import librosa
    import parselmouth
    import pyworld

    audio, limits = study.audio, study.features
    for row in aligned_utterances(paths).itertuples():
        samples, rate = soundfile.read(paths.root / row.path, dtype="float32")
        mel = librosa.feature.melspectrogram(
            y=samples, sr=rate, n_fft=audio.fft_size, hop_length=audio.hop_size,
            n_mels=audio.mel_channels, fmin=audio.mel_fmin_hz, fmax=audio.mel_fmax_hz, power=1.0,
            pad_mode="reflect",
        )  # fmt: skip
        np.log(np.maximum(mel, 1e-5))
        librosa.feature.rms(
            y=samples, frame_length=audio.window_size, hop_length=audio.hop_size, pad_mode="reflect"
        )
        signal = samples.astype(np.float64)
        if limits.f0_method == "dio":
            f0, t = pyworld.dio(
                signal, rate, f0_floor=limits.f0_floor_hz, f0_ceil=limits.f0_ceiling_hz,
                frame_period=1000 * audio.hop_s,
            )  # fmt: skip
            pyworld.stonemask(signal, f0, t, rate)
        else:
            parselmouth.Sound(signal, rate).to_pitch_ac(
                time_step=audio.hop_s,
                pitch_floor=limits.f0_floor_hz,
                pitch_ceiling=limits.f0_ceiling_hz,
            )
        read_textgrid(paths.alignment / "textgrids" / row.speaker / f"{row.utterance_id}.TextGrid")


def best_of(repeats: int, work: Callable[[], object]) -> float:
    """Shortest wall time of `work` in seconds."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--recordings", type=Path, help="folder searched for *.flac")
    parser.add_argument("--limit", type=int, default=80, help="number of utterances")
    parser.add_argument("--repeats", type=int, default=3, help="best of so many runs")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        paths = build(
            Path(folder), options.recordings, options.limit, StudyConfig().audio.sample_rate_hz
        )
        audio_s = float(pd.read_csv(paths.manifest)["duration_s"].sum())
        print(f"{options.limit} utterances, {audio_s:.0f} s of speech; best of {options.repeats}")
        for method in ("dio", "praat"):
            one = StudyConfig(features=FeatureConfig(f0_method=method, shards=1))
            two = StudyConfig(features=FeatureConfig(f0_method=method, shards=2))
            extract_shard(one, paths, 0)
            library_calls(one, paths)
            stage_s = best_of(options.repeats, lambda one=one: extract_shard(one, paths, 0))
            calls_s = best_of(options.repeats, lambda one=one: library_calls(one, paths))
            with multiprocessing.get_context("spawn").Pool(2) as pool:
                jobs = [(two, paths, 0), (two, paths, 1)]
                pool.starmap(extract_shard, jobs)
                two_s = best_of(options.repeats, lambda j=jobs: pool.starmap(extract_shard, j))
            print(
                f"{method:6s} stage {audio_s / stage_s:5.0f} x real time, library calls "
                f"{audio_s / calls_s:5.0f} x, ratio {stage_s / calls_s:.2f} (limit 1.5); "
                f"two processes {audio_s / two_s:5.0f} x, {stage_s / two_s:.2f} times one"
            )


if __name__ == "__main__":
    main()
