"""The training loop: pure batches, exact resume, early stopping, clear failures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from eele.backbones import build
from eele.backbones.base import Backbone
from eele.config import StudyConfig, check_study
from eele.config.models import (
    AdaptationConfig,
    AudioConfig,
    BackboneConfig,
    FastSpeech2Config,
    PretrainingConfig,
    RuntimeConfig,
)
from eele.errors import CheckpointError, ConfigError, DataError, EeleError
from eele.training import checkpoint, select
from eele.training.data import Normaliser, SpeechSet
from eele.training.devices import make_fabric
from eele.training.loop import Progress, Run, fit, learning_rate

MEL = 8
BACKBONE = BackboneConfig(
    fastspeech2=FastSpeech2Config(
        hidden_size=8,
        encoder_layers=1,
        decoder_layers=1,
        filter_size=8,
        predictor_size=8,
        postnet_size=8,
        postnet_layers=2,
    )
)
RUNTIME = RuntimeConfig(device="cpu", log_every=2)
STATISTICS = {
    "mel_mean": [0.0] * MEL,
    "mel_std": [1.0] * MEL,
    "speakers": {
        "s0": {"log_f0_mean": 5.0, "log_f0_std": 0.2, "energy_db_mean": -25.0, "energy_db_std": 5.0}
    },
}


class FakeStore:
    """Utterances of random length whose mel is a function of their phones."""

    def __init__(self, count: int) -> None:
        generator = np.random.default_rng(0)
        self.utterances = {}
        for number in range(count):
            phones = generator.integers(1, 5, generator.integers(4, 9))
            durations = generator.integers(1, 4, len(phones))
            mel = np.repeat(phones, durations)[:, None] * np.ones(MEL) / 5
            self.utterances[f"u{number}"] = SimpleNamespace(
                phones=phones.astype(np.int16),
                durations=durations.astype(np.int32),
                mel=mel.astype(np.float32),
                phone_log_f0=(5 + phones / 10).astype(np.float32),
                phone_energy_db=(-25.0 - phones).astype(np.float32),
            )
        self.index = pd.DataFrame(
            [
                {"speaker": "s0", "frame_count": len(u.mel), "phone_count": len(u.phones)}
                for u in self.utterances.values()
            ],
            index=list(self.utterances),
        )

    def get(self, utterance_id: str) -> SimpleNamespace:
        return self.utterances[utterance_id]


def speech_set(count: int = 21) -> SpeechSet:
    store = FakeStore(count)
    return SpeechSet(store, list(store.utterances), ["s0"], Normaliser.from_statistics(STATISTICS))


def run(tmp_path: Path, steps: int, **config: float) -> Run:
    settings = {
        "steps": steps,
        "batch_size": 4,
        "validate_every": 5,
        "warmup_steps": 2,
        "learning_rate": 1e-2,
        **config,
    }
    return Run(
        PretrainingConfig(**settings),
        float(settings["learning_rate"]),
        seed=3,
        identity="this config",
        checkpoint=tmp_path / "state.pt",
        tensorboard=tmp_path / "tensorboard",
        label="test",
    )


def train(a_run: Run, validation: bool = True) -> tuple[Backbone, Progress]:
    torch.manual_seed(0)
    model = build(BACKBONE, phones=6, speakers=1, audio=AudioConfig(mel_channels=MEL))
    progress = fit(
        make_fabric(RUNTIME),
        model,
        speech_set(),
        speech_set(5) if validation else None,
        a_run,
        RUNTIME,
        model.state_dict,
        lambda state: model.load_state_dict(state),
    )
    return model, progress


def same(a: Backbone, b: Backbone) -> bool:
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def test_learning_rate_warms_up_and_decays() -> None:
    config = AdaptationConfig(steps=110, warmup_steps=10)
    assert learning_rate(config, 1.0, 0) == pytest.approx(0.1)
    assert learning_rate(config, 1.0, 10) == pytest.approx(1.0)
    assert learning_rate(config, 1.0, 60) == pytest.approx(0.51)
    assert learning_rate(config, 1.0, 110) == pytest.approx(0.02)


def test_training_lowers_the_validation_loss(tmp_path: Path) -> None:
    _, progress = train(run(tmp_path, 60))
    losses = [row["loss"] for row in progress.curves if row["split"] == "validation"]
    assert len(losses) == 12
    assert losses[-1] < 0.6 * losses[0]
    assert list((tmp_path / "tensorboard").glob("events.*"))


class KilledError(Exception):
    pass


@pytest.mark.parametrize("killed_at", [1, 6, 14])
def test_a_killed_run_ends_with_the_same_weights(
    tmp_path: Path, killed_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, progress = train(run(tmp_path / "whole", 17))
    positions = SpeechSet.positions

    def dies(self: SpeechSet, seed: int, step: int, size: int) -> list[int]:
        if step == killed_at:
            raise KilledError
        return positions(self, seed, step, size)

    monkeypatch.setattr(SpeechSet, "positions", dies)
    with pytest.raises(KilledError):
        train(run(tmp_path / "killed", 17))
    monkeypatch.setattr(SpeechSet, "positions", positions)
    again, resumed = train(run(tmp_path / "killed", 17))
    assert same(whole, again)
    assert (resumed.step, resumed.best_step) == (progress.step, progress.best_step)
    assert resumed.curves == progress.curves


def test_early_stopping_keeps_the_best_weights(tmp_path: Path) -> None:
    # A rate this high wanders: some validation is worse than an earlier one.
    _, progress = train(run(tmp_path, 200, learning_rate=0.3, patience=2, validate_every=2))
    losses = {r["step"]: r["loss"] for r in progress.curves if r["split"] == "validation"}
    assert progress.step < 200
    assert progress.best_loss == min(losses.values()) == losses[progress.best_step]


def test_without_validation_all_steps_run(tmp_path: Path) -> None:
    _, progress = train(run(tmp_path, 9), validation=False)
    assert progress.step == progress.best_step == 9


def test_a_loss_that_is_not_finite_stops_with_advice(tmp_path: Path) -> None:
    with pytest.raises(EeleError, match="lower learning_rate"):
        train(run(tmp_path, 40, learning_rate=1e30, gradient_clip=1e30))


def test_a_damaged_checkpoint_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    checkpoint.save(path, "id", {"weights": {"a": torch.zeros(2)}})
    assert torch.equal(checkpoint.load(path, "id")["weights"]["a"], torch.zeros(2))
    assert checkpoint.load(path, "another config") is None
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="damaged checkpoint"):
        checkpoint.load(path, "id")
    assert checkpoint.load(tmp_path / "absent.pt", "id") is None


def index() -> pd.DataFrame:
    rows = [
        (f"{speaker}-{emotion}-{split}", f"demo_{speaker}", emotion, split)
        for speaker, emotions in (
            ("a", ("neutral", "happy")),
            ("b", ("neutral",)),
            ("c", ("happy",)),
        )
        for emotion in emotions
        for split in ("train", "test")
    ]
    return pd.DataFrame(rows, columns=["id", "speaker", "emotion", "split"]).set_index("id")


def test_selection_of_speakers_and_utterances() -> None:
    study = StudyConfig()
    assert select.neutral_speakers(study, index()) == ("demo_a", "demo_b")
    assert select.adaptation_speakers(study, index()) == ("demo_a",)
    assert select.cell_ids(study, index(), "happy", "test") == ["a-happy-test"]
    assert select.neutral_ids(study, index(), "train") == ["a-neutral-train", "b-neutral-train"]
    named = check_study({"adaptation": {"speakers": ["demo_a"]}})
    assert select.adaptation_speakers(named, index()) == ("demo_a",)
    with pytest.raises(ConfigError, match="possible: demo_a"):
        select.adaptation_speakers(check_study({"adaptation": {"speakers": ["demo_b"]}}), index())
    with pytest.raises(DataError, match="neutral"):
        select.neutral_speakers(study, index().query("emotion == 'happy'"))
