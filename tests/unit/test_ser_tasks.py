"""Speakers and phones on the loop of emotions: the head for phones, tasks, exact resume, the stage, scores."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from recognition_study import SMALL, TRAINING, make_study

from eele.config.models import RuntimeConfig, StudyConfig
from eele.config.recognition import MethodConfig, TestbedConfig
from eele.errors import DataError
from eele.io import read_json
from eele.paths import StudyPaths
from eele.ser import testbeds, training
from eele.ser.adaptation import Adaptation
from eele.ser.cells import RecognitionCell, recognition_of
from eele.ser.ctc import (
    BLANK,
    NONE,
    CtcHead,
    FrameLogits,
    ctc_losses,
    decode,
    splits,
    states_needed,
)
from eele.ser.encoders import Encoder, load_encoder
from eele.ser.fairness import fairness
from eele.ser.labelled import TranscribedSet
from eele.ser.model import Recogniser
from eele.ser.preparing import prepare_encoder
from eele.ser.recognising import OUTPUTS, recognise
from eele.ser.recordings import Recordings
from eele.ser.scores import bootstrap_units, score, score_phones, value, value_interval
from eele.ser.small import SmallEncoder
from eele.ser.stored import load_recogniser
from eele.ser.tasks import Classes, Phones
from eele.ser.training import Fit, Progress, fit_recogniser
from eele.ser.transcripts import inventory, set_aside, transcripts
from eele.stage import Interrupted
from eele.text.lexicon import build_lexicon
from eele.training.devices import make_fabric

RUNTIME = RuntimeConfig(device="cpu")
LORA = MethodConfig(method="lora", sites=("feed_forward",), size=2)
BEDS = {
    "who": TestbedConfig(target="speaker", folds="sentences"),
    "said": TestbedConfig(target="phones", folds="sentences"),
}


def heard(logits: list[list[float]], lengths: list[int] | None = None) -> FrameLogits:
    one = torch.tensor([logits])
    return FrameLogits(one, torch.tensor(lengths or [one.shape[1]]))


def test_ctc_sums_over_the_ways_to_lay_phones_over_states() -> None:
    # Two states, blank and one phone equally likely: three of four ways spell the phone.
    alike = heard([[0.0, 0.0]] * 2)
    assert ctc_losses(alike, torch.tensor([[0]])).tolist() == pytest.approx([-math.log(3 / 4)])
    # Two phones on two states: one way of nine; the loss is per phone.
    three = heard([[0.0, 0.0, 0.0]] * 2)
    found = ctc_losses(three, torch.tensor([[0, 1]])).item()
    assert found == pytest.approx(math.log(9) / 2)


def test_padding_is_nothing_to_ctc() -> None:
    torch.manual_seed(0)
    head = CtcHead(2, 8, phones=3, splits=2).eval()
    states = [torch.randn(2, 9, 8) for _ in range(3)]
    mask = torch.arange(9)[None] < torch.tensor([9, 4])[:, None]
    both = head(states, mask)
    assert both.logits.shape == (2, 18, 4) and both.lengths.tolist() == [18, 8]
    alone = head([s[1:, :4] for s in states], mask[1:, :4])
    labels = torch.tensor([[0, 1, 2, 0, 1], [2, 2, NONE, NONE, NONE]])
    together = ctc_losses(both, labels)
    assert together[1:].tolist() == pytest.approx(ctc_losses(alone, labels[1:, :2]).tolist())
    assert decode(both)[1:] == decode(alone)


def test_decoding_drops_repetitions_and_blanks() -> None:
    path = [BLANK, 1, 1, BLANK, 1, 2, 2, BLANK]
    logits = torch.nn.functional.one_hot(torch.tensor(path), 3).float().tolist()
    assert decode(heard(logits)) == [[0, 0, 1]]
    assert decode(heard(logits, [3])) == [[0]]
    assert decode(heard([[1.0, 0.0]])) == [[]]


def test_two_equal_phones_need_a_state_between_them() -> None:
    assert states_needed("abc") == 3 and states_needed("aab") == 4 and states_needed("") == 0
    assert math.isinf(ctc_losses(heard([[0.0, 0.0]] * 2), torch.tensor([[0, 0]])).item())
    assert math.isfinite(ctc_losses(heard([[0.0, 0.0]] * 3), torch.tensor([[0, 0]])).item())


def test_the_states_of_the_small_encoder_are_split_in_two() -> None:
    encoder = SmallEncoder(SMALL)
    assert encoder.frames(160_000) == 251 and splits(encoder) == 2
    model = Recogniser(encoder, ("a", "b"), transcribes=True)
    out = model(torch.zeros(1, 16000), torch.tensor([16000]))
    assert isinstance(out, FrameLogits) and out.logits.shape == (1, 52, 3)


def test_fewer_phone_errors_are_better_and_higher_accuracy_is() -> None:
    phones = Phones()
    assert phones.merit(0.2) > phones.merit(0.3)
    path = torch.nn.functional.one_hot(torch.tensor([1, 0, 2, 0, 3]), 4).float() * 50
    batch = (FrameLogits(path[None], torch.tensor([5])), torch.tensor([[0, 2, NONE]]))
    # "a b c" for "a c": one too many of two.
    found = phones.validate([batch, batch])
    assert found["per"] == pytest.approx(0.5)
    classes = Classes("accuracy", ("x", "y"), None)
    assert classes.merit(0.3) > classes.merit(0.2)
    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    scores = classes.validate([(logits, torch.tensor([0, 0, 1, 1]))])
    assert scores["accuracy"] == pytest.approx(0.75)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    study, paths = made(folder)
    prepare_encoder(study, paths, "small")
    build_lexicon(study, paths)
    return folder


def made(root: Path) -> tuple[StudyConfig, StudyPaths]:
    study = make_study(root)
    recognition = recognition_of(study).model_copy(update={"testbeds": BEDS})
    return study.model_copy(update={"recognition": recognition}), StudyPaths.of("study", root)


def prepared(root: Path) -> Encoder:
    study, paths = made(root)
    return load_encoder(study.encoders["small"], paths.encoder("small"))


def train(root: Path, checkpoint: Path) -> tuple[Adaptation, Progress]:
    """LoRA trained on the phones."""
    study, paths = made(root)
    rows = testbeds.table(study, paths, "said")
    said = transcripts(study, paths, rows)
    recordings = Recordings.of(Path(), rows)
    parts = testbeds.fold(rows, testbeds.testbed_config(study, "said"), "unseen").parts
    sets = [
        TranscribedSet(recordings, {i: said[i] for i in parts[part]}, inventory(said), TRAINING)
        for part in ("train", "validation")
    ]
    torch.manual_seed(0)
    recogniser = Recogniser(prepared(root), inventory(said), transcribes=True)
    adaptation = Adaptation(recogniser, LORA, TRAINING)
    run = Fit(TRAINING, 3, "this config", checkpoint, "test", target="phones")
    fabric = make_fabric(RUNTIME)
    return adaptation, fit_recogniser(fabric, recogniser, adaptation, *sets, run, RUNTIME)


def test_a_killed_training_on_phones_ends_with_the_same_weights(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, straight = train(root, tmp_path / "whole.pt")
    rows = [row for row in straight.curves if row["split"] == "train"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    validated = [float(row["per"]) for row in straight.curves if row["split"] == "validation"]
    assert straight.best_score == min(validated)
    asked: list[None] = []

    class Stopped:
        def __enter__(self) -> object:
            return lambda: bool(asked.append(None) or len(asked) == 7)

        def __exit__(self, *error: object) -> None:
            return None

    with monkeypatch.context() as patch:
        patch.setattr(training, "deferred_termination", Stopped)
        with pytest.raises(Interrupted):
            train(root, tmp_path / "killed.pt")
    resumed, progress = train(root, tmp_path / "killed.pt")
    ours, theirs = whole.state(), resumed.state()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert progress.curves == straight.curves


def test_the_stage_writes_phones_said_and_heard(root: Path) -> None:
    study, paths = made(root)
    cell = RecognitionCell.of("small", LORA, "said", "unseen", 1)
    recognise(study, paths, cell)
    folder = paths.recognition(cell.path)
    assert all((folder / name).is_file() for name in OUTPUTS)
    predictions = pd.read_csv(folder / "predictions.csv", keep_default_na=False)
    said = transcripts(study, paths, testbeds.table(study, paths, "said"))
    assert [" ".join(said[name]) for name in predictions["utterance_id"]] == list(
        predictions["label"]
    )
    scores, facts = (read_json(folder / name) for name in ("scores.json", "training.json"))
    assert scores["n"] == len(predictions) == 9
    assert scores["per"] == pytest.approx(
        predictions["errors"].sum() / predictions["label"].str.split().str.len().sum()
    )
    assert scores["fairness"]["applicable"] is False
    assert facts["set_aside"] == [] and "validation_uar" not in facts
    stored = load_recogniser(folder, paths.encoder("small"))
    first = Recordings.of(Path(), testbeds.table(study, paths, "said"))[
        predictions["utterance_id"][0]
    ]
    with torch.no_grad():
        again = decode(stored(torch.from_numpy(first)[None], torch.tensor([len(first)])))[0]
    assert " ".join(stored.classes[i] for i in again) == predictions["predicted"][0]


def test_the_stage_tells_speakers_apart(root: Path) -> None:
    study, paths = made(root)
    cell = RecognitionCell.of("small", MethodConfig(), "who", "unseen", 1)
    recognise(study, paths, cell)
    folder = paths.recognition(cell.path)
    predictions = pd.read_csv(folder / "predictions.csv")
    assert (predictions["label"] == predictions["speaker"]).all()
    scores = read_json(folder / "scores.json")
    assert scores["classes"] == ["s_anna", "s_bert", "s_carl"]
    assert scores["interval_unit"] == "sentence by speaker"
    assert "validation_accuracy" in read_json(folder / "training.json")


def test_what_cannot_be_learned_is_set_aside(root: Path) -> None:
    study, paths = made(root)
    rows = testbeds.table(study, paths, "said").head(3)
    recordings, encoder = Recordings.of(Path(), rows), prepared(root)
    a, b, c = rows["utterance_id"]
    said = {a: ("x",), b: ("x", "spn"), c: ("x",) * 40}
    aside = set_aside(said, recordings, encoder, 6.0)
    assert [found.utterance_id for found in aside] == [b, c]
    assert "without pronunciation" in aside[0].reason and "need 79" in aside[1].reason
    assert {one.reason for one in set_aside({a: ("x",)}, recordings, encoder, 0.2)} == {
        "longer than crop_s (0.2 s)"
    }
    with pytest.raises(DataError, match="no utterance for a part"):
        TranscribedSet(recordings, {}, ("x",), TRAINING)
    with pytest.raises(DataError, match="labels y are none of the classes x"):
        TranscribedSet(recordings, {a: ("y",)}, ("x",), TRAINING)


def transcribed(n: int = 12) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "utterance_id": [f"u{i}" for i in range(n)],
            "label": "a b c d",
            "predicted": "a b c d",
            "phones": [4, 6] * (n // 2),
            "errors": [1, 0] * (n // 2),
            "speaker": ["ann", "ben"] * (n // 2),
            "gender": ["female", "male"] * (n // 2),
            "sentence": np.arange(n) // 2,
        }
    )


def test_errors_are_counted_over_all_phones_and_sentences_are_drawn() -> None:
    rows = transcribed()
    found = score_phones(rows, samples=200)
    assert found["per"] == pytest.approx(6 / 60) == value(rows, "phones")
    assert found["interval_unit"] == "sentence" and found["n_phones"] == 60
    # Every sentence is spoken once by each: all draws are alike.
    assert found["per_low"] == pytest.approx(0.1) == found["per_high"]
    rows["errors"] = [1, 0, 3, 0, 0, 0] * 2
    low, high = value_interval(rows, "phones", 200, 0.95, 1) or (0.0, 0.0)
    assert low < value(rows, "phones") < high
    with pytest.raises(ValueError, match="no predictions"):
        score_phones(rows.head(0))


def test_speakers_are_scored_by_accuracy_over_sentences() -> None:
    rows = transcribed().assign(label=lambda t: t["speaker"], predicted="ann")
    assert value(rows, "speaker") == 0.5
    assert bootstrap_units(rows, "speaker")[0] == "sentence"
    assert bootstrap_units(rows.head(4), "speaker")[0] == "sentence by speaker"
    found = score(rows, ("ann", "ben"), 50, target="speaker")
    assert found["accuracy"] == 0.5 and found["interval_unit"] == "sentence"
    told = fairness(rows, target="speaker")
    assert not told["applicable"] and "of one gender" in told["reason"]
    assert told["n"] == {"female": 6, "male": 6}
