"""The vocoder `hifigan`: what it is trained on, that it learns, its files, what depends on it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from eele.cells import Cell
from eele.config import StudyConfig, check_study
from eele.errors import CheckpointError, ConfigError, DataError
from eele.features.mel import MEL_FLOOR, log_mel
from eele.features.store import FeatureStore, ShardWriter, Utterance, shard_folder
from eele.io import read_json, write_json
from eele.paths import StudyPaths
from eele.training.data import Normaliser, SpeechSet
from eele.vocoders import load, train_vocoder
from eele.vocoders.hifigan import HifiGan, VocoderModel
from eele.workflow import before_cell, lineages

HOP, MEL, SEGMENT = 16, 8, 8
#: The third recording is shorter than a segment.
LENGTHS = (900, 1300, 70, 1000, 800, 900)


def study(**changes: object) -> StudyConfig:
    vocoder = {
        "generator": {
            "initial_channels": 32,
            "upsample_rates": [4, 4],
            "upsample_kernels": [8, 8],
            "resblock_kernels": [3],
            "resblock_dilations": [1, 3],
        },
        "discriminator": {
            "periods": [2, 3],
            "period_channels": [4, 8],
            "scale_channels": [4, 8, 8],
            "scale_groups": [1, 2, 1],
        },
        "segment_frames": SEGMENT,
        "steps": 40,
        "batch_size": 4,
        "learning_rate": 2e-3,
        "validate_every": 20,
    }
    audio = {"sample_rate_hz": 8000, "fft_size": 64, "window_size": 64, "hop_size": HOP}
    return check_study(
        {
            "audio": {**audio, "mel_channels": MEL, "mel_fmax_hz": 3000.0},
            "synthesis": {"vocoder": "hifigan"},
            "vocoder": vocoder,
            "runtime": {"device": "cpu", "log_every": 5, "pretrain_threads": 1},
            **changes,
        }
    )


def speak(paths: StudyPaths) -> FeatureStore:
    """Features of harmonic tones of six voices and two emotions, the last recording held out."""
    audio = study().audio
    rng = np.random.default_rng(0)
    mels = []
    with ShardWriter(paths, 0) as writer:
        for number, length in enumerate(LENGTHS):
            phase = 2 * np.pi * (100 + 20 * number) * np.arange(length) / audio.sample_rate_hz
            wave = sum(np.sin(k * phase) / k for k in range(1, 12)) * 0.15
            samples = ((wave + rng.normal(0, 0.01, length)) * 32768).astype(np.int16)
            mel = log_mel(samples / np.float32(32768), audio)
            mels.append(mel)
            writer.add(
                {
                    "utterance_id": f"u{number}",
                    "speaker": f"s{number % 2}",
                    "emotion": ("neutral", "happy")[number % 2],
                    "split": "validation" if number == len(LENGTHS) - 1 else "train",
                    "duration_s": length / audio.sample_rate_hz,
                },
                Utterance(
                    mel=mel,
                    f0_hz=np.zeros(len(mel), np.float32),
                    energy_db=np.zeros(len(mel), np.float32),
                    phones=np.ones(1, np.int16),
                    durations=np.array([len(mel)], np.int32),
                    phone_log_f0=np.full(1, 5.0, np.float32),
                    phone_energy_db=np.full(1, -20.0, np.float32),
                    samples=samples,
                ),
            )
    table = pd.read_csv(shard_folder(paths, 0) / "index.csv", dtype={"utterance_id": str})
    table.insert(0, "shard", 0)
    table.to_csv(paths.features / "index.csv", index=False)
    frames = np.concatenate(mels)
    speaker = {"log_f0_mean": 5.0, "log_f0_std": 0.2, "energy_db_mean": -20.0, "energy_db_std": 5.0}
    write_json(
        paths.features / "statistics.json",
        {
            "mel_mean": frames.mean(0).tolist(),
            "mel_std": frames.std(0).tolist(),
            "speakers": {"s0": speaker, "s1": speaker},
        },
    )
    return FeatureStore(paths)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> StudyPaths:
    paths = StudyPaths(tmp_path_factory.mktemp("vocoder"))
    speak(paths)
    train_vocoder(study(), paths)
    return paths


def test_training_learns_and_leaves_a_whole_folder(trained: StudyPaths) -> None:
    facts = read_json(trained.vocoder / "training.json")
    assert facts["steps"] == 40 and facts["utterances"] == len(LENGTHS) - 1
    assert facts["critic_parameters"] > 0
    with open(trained.vocoder / "curves.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    train = [row for row in rows if row["split"] == "train"]
    assert float(train[-1]["mel"]) < 0.75 * float(train[0]["mel"])
    assert all(float(row[k]) > 0 for row in train for k in ("critic", "adversarial", "features"))
    held_out = [float(row["loss"]) for row in rows if row["split"] == "validation"]
    assert len(held_out) == 3 and held_out[2] < held_out[1] < held_out[0]
    assert (trained.vocoder / "critic.safetensors").is_file()
    assert not (trained.checkpoints / "vocoder.pt").exists()


def test_the_trained_vocoder_speaks(trained: StudyPaths) -> None:
    audio = study().audio
    vocoder = load(study(), trained)
    assert isinstance(vocoder, HifiGan)
    mel = np.asarray(FeatureStore(trained).get("u1").mel)
    samples = vocoder.synthesise(mel)
    assert samples.dtype == np.float32 and samples.shape == ((len(mel) - 1) * HOP,)
    assert np.abs(samples).max() <= 1
    assert np.array_equal(samples, load(study(), trained).synthesise(mel))
    # Nearer to the recording than silence is, far and wide.
    inner = slice(4, -4)
    error = np.abs(log_mel(samples, audio)[inner] - mel[inner]).mean()
    silence = np.abs(np.log(MEL_FLOOR) - mel[inner]).mean()
    assert error < 0.3 * silence


class FrameNumbers(nn.Module):
    """Speaks the first channel of each frame, hop samples long."""

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return frames[:, 0].repeat_interleave(HOP, dim=1)


def test_sample_0_lies_under_the_middle_of_frame_0() -> None:
    normaliser = Normaliser(np.zeros(MEL, np.float32), np.ones(MEL, np.float32), {})
    vocoder = HifiGan(FrameNumbers(), normaliser, study().audio)
    mel = np.repeat(np.arange(5, dtype=np.float32)[:, None], MEL, axis=1)
    samples = vocoder.synthesise(mel)
    nearest = np.floor(np.arange(4 * HOP) / HOP + 0.5)
    assert np.array_equal(samples, nearest)


def test_segments_of_the_mel_lie_under_the_samples(tmp_path: Path) -> None:
    paths = StudyPaths(tmp_path)
    store = speak(paths)
    normaliser = Normaliser.from_statistics(store.statistics)
    speech = SpeechSet(store, list(store), ["s0", "s1"], normaliser, SEGMENT, HOP)
    model = VocoderModel(study().vocoder, study().audio, normaliser)
    heard = []
    model.generator.register_forward_pre_hook(lambda module, inputs: heard.append(inputs[0]))
    batch = speech.batch([0, 1, 2], seed=3, step=5, size=3)
    outcome = model(batch)
    assert batch.segment_starts[0] > 0
    for row in range(3):
        start, end = int(batch.segment_starts[row]), int(batch.mel_lengths[row])
        own = heard[0][row].T
        size = min(SEGMENT, end - start)
        assert torch.equal(own[:size], batch.mel[row, start : start + size])
        # Beyond the end of the recording the samples are zero, and the mel that of silence.
        spoken = torch.from_numpy(normaliser.log_mel(own[size:].numpy()))
        assert torch.allclose(spoken, torch.full_like(spoken, np.log(MEL_FLOOR)), atol=1e-3)
    assert int(batch.mel_lengths[2]) < SEGMENT
    real, fake = outcome.judged["waveform"]
    assert real is batch.samples and fake.shape == real.shape == (3, SEGMENT * HOP)
    assert set(outcome.losses) == {"mel"}
    assert model.eval()(batch).judged == {}
    assert set(model.loss_weights) == {"mel", "adversarial", "features"}


def test_the_same_seed_gives_the_same_vocoder(trained: StudyPaths, tmp_path: Path) -> None:
    paths = StudyPaths(tmp_path)
    speak(paths)
    train_vocoder(study(), paths)
    ours, theirs = (read_json(p.vocoder / "model.json")["sha256"] for p in (paths, trained))
    assert ours == theirs


def test_what_cannot_be_spoken_with_is_told(trained: StudyPaths, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"not trained; run `snakemake .*griffin_lim"):
        load(study(), StudyPaths(tmp_path))
    with pytest.raises(CheckpointError, match="trained for the audio"):
        HifiGan.open(trained.vocoder, study().audio.model_copy(update={"mel_fmax_hz": 2000.0}))
    with pytest.raises(ConfigError, match="trained in a study"):
        load(study())
    with pytest.raises(ConfigError, match="nothing to train"):
        train_vocoder(study(synthesis={"vocoder": "griffin_lim"}), tmp_path)
    vocoder = load(study(), trained)
    with pytest.raises(DataError, match="cannot be spoken"):
        vocoder.synthesise(np.zeros((10, MEL + 1), np.float32))
    with pytest.raises(DataError, match="not finite"):
        vocoder.synthesise(np.full((10, MEL), np.nan, np.float32))


def cell(method: str) -> Cell:
    return Cell.parse(
        {
            "lora": "backbone~fastspeech2/method~lora/scheme~g/rank~8/emotion~happy/seed~1",
            "none": "backbone~fastspeech2/method~none/scheme~-/rank~0/emotion~happy/seed~-",
        }.get(method, f"backbone~-/method~{method}/scheme~-/rank~0/emotion~happy/seed~-")
    )


def test_speech_depends_on_the_vocoder_where_the_vocoder_makes_it() -> None:
    ours, plain = study(), study(synthesis={})
    waveform = study(
        backbone={"name": "vits2", "vits2": {"decoder": study().vocoder.generator.model_dump()}}
    )
    expected = {
        "recording": [("index_features",)] * 3,
        "copy_synthesis": [("train_vocoder",), ("index_features",), ("pretrain",)],
        "none": [("pretrain", "train_vocoder"), ("pretrain",), ("pretrain",)],
        "lora": [("train_cell", "train_vocoder"), ("train_cell",), ("train_cell",)],
    }
    for method, stages in expected.items():
        assert [before_cell(cell(method), s) for s in (ours, plain, waveform)] == stages


def test_only_what_shapes_the_vocoder_trains_it_again() -> None:
    def digest(**changes: object) -> str:
        return lineages(study(**changes))["train_vocoder"]

    synthesis = {"vocoder": "hifigan", "texts": ["Something else."]}
    assert digest(synthesis=synthesis) == digest()
    assert digest(vocoder={**study().vocoder.model_dump(mode="json"), "seed": 2}) != digest()
