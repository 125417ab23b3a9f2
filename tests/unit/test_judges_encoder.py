"""Judges made of an encoder: trained, stored, loaded and refused; and how judges of samples listen."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from judged_study import FULL, RATE, voice, write_study

from eele import judges
from eele.config import StudyConfig
from eele.config.load import check_study
from eele.errors import CheckpointError, DataError
from eele.io import read_json, write_json
from eele.judges.encoder import EncoderJudge, tempered
from eele.judges.listening import by_length, heard_samples, padded
from eele.paths import StudyPaths
from eele.ser.preparing import prepare_encoder

TINY = {
    "hidden_size": 32, "layers": 2, "heads": 2, "feed_forward_size": 64, "codebooks": 2, "codes": 32,
    "code_size": 8, "steps": 4, "batch_size": 8, "warmup_steps": 1, "validate_every": 2, "crop_s": 1.0,
}  # fmt: skip
TRAINING = {"epochs": 40, "batch_size": 8, "head_size": 32, "learning_rate": 5e-3, "crop_s": 2.0}


def study(**judge: object) -> StudyConfig:
    """A study with the judges `statistics` and `ear`, which is made of a tiny encoder."""
    return check_study(
        {
            "emotions": ["happy", "sad"],
            "encoders": {"tiny": {"small": TINY}},
            "evaluation": {
                "judges": ["statistics", "ear"],
                "encoder_judges": {"ear": {"encoder": "tiny", "training": TRAINING, **judge}},
                "bootstrap_samples": 100,
            },
            "runtime": {"device": "cpu"},
        }
    )


STUDY = study()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> StudyPaths:
    """Recordings and the encoder that heard them without labels."""
    paths = write_study(tmp_path_factory.mktemp("judged") / "study", FULL)
    prepare_encoder(STUDY, paths, "tiny")
    return paths


@pytest.fixture(scope="module")
def trained(prepared: StudyPaths) -> StudyPaths:
    judges.train(STUDY, prepared, "ear")
    return prepared


@pytest.fixture
def copy(trained: StudyPaths, tmp_path: Path) -> StudyPaths:
    shutil.copytree(trained.root, tmp_path / "study")
    return StudyPaths(tmp_path / "study")


def test_it_learns_and_reports_its_score_on_recordings(trained: StudyPaths) -> None:
    report = read_json(trained.judge("ear") / "report.json")
    assert report["n_test"] == 12 and report["n_train"] + report["n_validation"] == 36
    # Three classes whose pitch lies five and eight semitones apart.
    assert report["test_accuracy"] > 0.6
    assert report["trained_on"] == ["toy"] and report["encoder"] == "tiny"
    assert report["method"] == "lora, feed_forward, size 16"
    assert sum(map(sum, (row.values() for row in report["confusion"].values()))) == 12
    assert "every fifth training sentence chose the epoch" in " ".join(report["warnings"])
    curves = pd.read_csv(trained.judge("ear") / "curves.csv")
    assert set(curves["split"]) == {"train", "validation"}


def test_it_declares_both_what_it_and_its_encoder_heard(trained: StudyPaths) -> None:
    manifest = pd.read_csv(trained.manifest)
    learnt = sorted(manifest.loc[manifest["split"] == "train", "utterance_id"])
    heard = read_json(trained.judge("ear") / "heard.json")
    assert heard["utterances"] == learnt == heard["unlabelled"]
    assert heard["corpora"] == ["toy"] and heard["synthetic"] is False


def test_its_answers_do_not_depend_on_the_company_and_add_to_one(trained: StudyPaths) -> None:
    judge = judges.load(STUDY, trained, "ear")
    assert judge.classes == ("neutral", "happy", "sad")
    signals = [voice(110, emotion, 90 + i) for i, emotion in enumerate(("happy", "sad", "neutral"))]
    together = judge.probabilities(signals, RATE, [6] * 3, ["anyone"] * 3)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-12)
    alone = [judge.probabilities([s], RATE, [6], ["anyone"])[0] for s in signals]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert judge.probabilities([], RATE, [], []).shape == (0, 3)


def test_a_stored_judge_answers_like_the_report_says(trained: StudyPaths) -> None:
    import soundfile

    judge = judges.load(STUDY, trained, "ear")
    test = pd.read_csv(trained.manifest).query("split == 'test'")
    signals = [soundfile.read(trained.root / path, dtype="float32")[0] for path in test["path"]]
    found = judge.probabilities(signals, RATE, [6] * len(test), list(test["speaker"]))
    hits = np.array(judge.classes)[found.argmax(axis=1)] == test["emotion"].to_numpy()
    report = read_json(trained.judge("ear") / "report.json")
    assert hits.mean() == pytest.approx(report["test_accuracy"])


def test_a_finished_training_is_taken_back(copy: StudyPaths) -> None:
    before = (copy.judge("ear") / "adapter.safetensors").read_bytes()
    shutil.rmtree(copy.judge("ear"))
    assert (copy.checkpoints / "judge-ear.finished").is_dir()
    judges.train(STUDY, copy, "ear")
    assert (copy.judge("ear") / "adapter.safetensors").read_bytes() == before


def test_an_encoder_that_heard_a_test_utterance_is_refused(copy: StudyPaths) -> None:
    listing = copy.encoder("tiny") / "utterances.txt"
    listing.write_text(listing.read_text() + "one_happy_0\n")
    with pytest.raises(
        DataError, match="encoder of judge ear heard the test utterance one_happy_0"
    ):
        judges.train(STUDY, copy, "ear")


def test_a_judge_of_another_config_or_encoder_is_refused(copy: StudyPaths) -> None:
    other = study(adaptation={"method": "head"})
    with pytest.raises(DataError, match=r"method is .* run the rule train_judge again"):
        judges.load(other, copy, "ear")
    emotions = STUDY.model_copy(update={"emotions": ("happy", "angry")})
    with pytest.raises(DataError, match=r"classes is .* run the rule train_judge again"):
        judges.load(emotions, copy, "ear")
    facts = copy.encoder("tiny") / "model.json"
    write_json(facts, read_json(facts) | {"sha256": "0" * 64})
    with pytest.raises(CheckpointError, match="another encoder"):
        judges.load(STUDY, copy, "ear")
    shutil.rmtree(copy.judge("ear"))
    with pytest.raises(CheckpointError, match="is missing"):
        judges.load(STUDY, copy, "ear")


def test_validation_sentences_choose_the_epoch_where_there_are_any(
    prepared: StudyPaths, tmp_path: Path
) -> None:
    shutil.copytree(prepared.root, tmp_path / "s")
    paths = StudyPaths(tmp_path / "s")
    table = pd.read_csv(paths.manifest)
    table.loc[table["sentence"] == 7, "split"] = "validation"
    table.to_csv(paths.manifest, index=False)
    quick = study(training=TRAINING | {"epochs": 1}, adaptation={"method": "head"})
    judges.train(quick, paths, "ear")
    report = read_json(paths.judge("ear") / "report.json")
    assert report["n_validation"] == 6 and report["method"] == "head"
    assert not any("every fifth" in warning for warning in report["warnings"])


def test_what_cannot_be_heard_is_named_by_its_position() -> None:
    good = np.zeros(RATE, np.float32)
    for bad in (good[:10], good * np.nan, np.zeros((2, RATE), np.float32)):
        with pytest.raises(DataError, match="signal 1 of shape"):
            heard_samples([good, bad], RATE, 16000, 3.0)


def test_signals_are_heard_at_the_judges_rate_cropped_and_padded() -> None:
    signals = [np.full(n * RATE, 0.5, np.float32) for n in (1, 4, 2)]
    heard = heard_samples(signals, RATE, 16000, 3.0)
    assert [len(signal) for signal in heard] == [16000, 48000, 32000]
    assert list(by_length([len(signal) for signal in heard], 2)) == [[0, 2], [1]]
    batch, lengths = padded([heard[0], heard[2]])
    assert batch.shape == (2, 32000) and lengths.tolist() == [16000, 32000]
    assert batch[0, 16000:].abs().max() == 0
    assert float(batch[1, 16000]) == pytest.approx(0.5, abs=1e-3)


def test_a_temperature_softens_without_changing_the_order() -> None:
    found = np.array([[0.9, 0.08, 0.02], [0.2, 0.3, 0.5]])
    np.testing.assert_allclose(tempered(found, 1.0), found)
    soft = tempered(found, 4.0)
    assert (soft.argsort(axis=1) == found.argsort(axis=1)).all()
    assert soft[0, 0] < found[0, 0]
    np.testing.assert_allclose(soft.sum(axis=1), 1)


def test_the_type_is_a_judge(trained: StudyPaths) -> None:
    assert isinstance(judges.load(STUDY, trained, "ear"), EncoderJudge)
