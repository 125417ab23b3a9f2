"""Training of recognisers: pure batches, exact resume, best epoch by recall, and the stage on a whole fold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from recognition_study import SMALL, TRAINING, make_study

from eele.config.models import RuntimeConfig
from eele.config.recognition import EncoderConfig, MethodConfig, RecogniserTrainingConfig
from eele.errors import CheckpointError, ConfigError, DataError
from eele.io import read_json, write_text
from eele.paths import StudyPaths
from eele.ser import stored, training
from eele.ser.adaptation import Adaptation
from eele.ser.cells import RecognitionCell, check_recognition_cell
from eele.ser.encoders import Encoder, load_encoder
from eele.ser.labelled import LabelledSet
from eele.ser.model import Recogniser
from eele.ser.preparing import prepare_encoder, unlabelled
from eele.ser.recognising import OUTPUTS, recognise
from eele.ser.recordings import Recordings
from eele.ser.small import SmallEncoder
from eele.ser.training import Fit, Progress, fit_recogniser, predict
from eele.stage import Interrupted
from eele.training.devices import make_fabric

CLASSES = ("neutral", "sad", "angry")
RUNTIME = RuntimeConfig(device="cpu")
HEAD, FULL = MethodConfig(), MethodConfig(method="full")
LORA = MethodConfig(method="lora", sites=("feed_forward",), size=2)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    study = make_study(folder)
    prepare_encoder(study, StudyPaths.of("study", folder), "small")
    return folder


def sets(root: Path, config: RecogniserTrainingConfig) -> tuple[LabelledSet, LabelledSet]:
    paths = StudyPaths.of("study", root)
    rows = unlabelled(paths)
    recordings = Recordings.of(paths.root, rows)
    train, validation = (
        LabelledSet(
            recordings,
            dict(zip(part["utterance_id"], part["emotion"], strict=True)),
            CLASSES,
            config,
        )
        for part in (rows[rows["split"] == "train"], rows[rows["split"] == "validation"])
    )
    return train, validation


def prepared(root: Path) -> Encoder:
    return load_encoder(EncoderConfig(small=SMALL), StudyPaths.of("study", root).encoder("small"))


def train(
    root: Path,
    checkpoint: Path,
    method: MethodConfig = HEAD,
    config: RecogniserTrainingConfig = TRAINING,
) -> tuple[Recogniser, Adaptation, Progress]:
    torch.manual_seed(0)
    recogniser = Recogniser(prepared(root), CLASSES, config.head_size)
    adaptation = Adaptation(recogniser, method, config)
    fabric = make_fabric(RUNTIME)
    run = Fit(config, 3, "this config", checkpoint, "test")
    progress = fit_recogniser(fabric, recogniser, adaptation, *sets(root, config), run, RUNTIME)
    return recogniser, adaptation, progress


def same(a: Adaptation, b: Adaptation) -> bool:
    ours, theirs = a.state(), b.state()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_training_learns_what_tells_the_emotions_apart(root: Path, tmp_path: Path) -> None:
    plain = {"noise_snr_db": None, "time_mask_share": None}
    config = TRAINING.model_copy(update={"epochs": 9, **plain})
    _, _, progress = train(root, tmp_path / "state.pt", config=config)
    rows = [row for row in progress.curves if row["split"] == "train"]
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert progress.best_score > 0.8


def test_the_best_epoch_by_recall_is_kept(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(*scores: tuple[float, float]) -> Adaptation:
        script = iter(scores)
        monkeypatch.setattr(
            training, "_validate", lambda *_: dict(zip(("uar", "loss"), next(script), strict=True))
        )
        config = TRAINING.model_copy(update={"epochs": len(scores)})
        _, adaptation, progress = train(root, tmp_path / f"{len(scores)}.pt", LORA, config)
        assert progress.best_epoch == 2 and progress.best_score == 0.6
        return adaptation

    # A later epoch with a lower loss, or with the same recall and a higher one, is not taken.
    best = told((0.5, 1.0), (0.6, 0.9))
    later = told((0.5, 1.0), (0.6, 0.9), (0.4, 0.1), (0.6, 0.95))
    assert same(best, later)


def test_the_recall_that_is_told_is_that_of_the_weights_kept(root: Path, tmp_path: Path) -> None:
    recogniser, _, progress = train(root, tmp_path / "state.pt")
    _, validation = sets(root, TRAINING)
    heard = predict(make_fabric(RUNTIME), recogniser, validation, 8).argmax(1)
    recalls = [(heard[validation.labels == c] == c).mean() for c in range(3)]
    assert np.mean(recalls) == pytest.approx(progress.best_score)


@pytest.mark.parametrize("method", [HEAD, LORA, FULL], ids=lambda m: m.method)
def test_only_what_the_method_trains_moves(
    root: Path, tmp_path: Path, method: MethodConfig
) -> None:
    before = prepared(root).state_dict()
    recogniser, adaptation, _ = train(root, tmp_path / "state.pt", method)
    plain = {
        key.replace(".base_layer", ""): value
        for key, value in recogniser.encoder.state_dict().items()
        if "lora_" not in key
    }
    assert plain.keys() == before.keys()
    moved = {key for key in before if not torch.equal(before[key], plain[key])}
    assert bool(moved) == (method.method == "full")
    layers, size = SMALL.layers, SMALL.hidden_size + SMALL.feed_forward_size
    expected = {
        "head": 0,
        "lora": layers * 2 * 2 * size,
        "full": sum(p.numel() for p in SmallEncoder(SMALL).parameters()),
    }
    assert adaptation.parameters["encoder"] == expected[method.method]
    if method.method == "lora":
        assert any(
            value.abs().max() > 0 for key, value in adaptation.state().items() if "_B" in key
        )


@pytest.mark.parametrize("method", [LORA, FULL], ids=lambda m: m.method)
@pytest.mark.parametrize("after", [2, 5])
def test_a_killed_training_ends_with_the_same_weights(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: MethodConfig, after: int
) -> None:
    _, whole, straight = train(root, tmp_path / "whole.pt", method)
    asked = []

    class Stopped:
        def __enter__(self) -> object:
            return lambda: bool(asked.append(None) or len(asked) == after)

        def __exit__(self, *error: object) -> None:
            return None

    with monkeypatch.context() as patch:
        patch.setattr(training, "deferred_termination", Stopped)
        with pytest.raises(Interrupted):
            train(root, tmp_path / "killed.pt", method)
    _, resumed, progress = train(root, tmp_path / "killed.pt", method)
    assert same(whole, resumed)
    assert progress.curves == straight.curves and progress.step == straight.step


def test_a_seed_gives_the_same_weights_and_another_does_not(root: Path, tmp_path: Path) -> None:
    _, first, _ = train(root, tmp_path / "1.pt")
    _, second, _ = train(root, tmp_path / "2.pt")
    assert same(first, second)
    train_set, _ = sets(root, TRAINING)
    assert not torch.equal(
        train_set.training_batch(1, 0, 8).samples[:, :4000],
        train_set.training_batch(2, 0, 8).samples[:, :4000],
    )


def test_the_learning_rate_falls_on_a_plateau(root: Path, tmp_path: Path) -> None:
    # So high a rate that the validation loss stops falling.
    config = TRAINING.model_copy(
        update={"epochs": 6, "learning_rate": 1.0, "plateau_patience": 0, "min_learning_rate": 0.3}
    )
    _, _, progress = train(root, tmp_path / "state.pt", config=config)
    rates = [row["learning_rate"] for row in progress.curves if "learning_rate" in row]
    assert rates[-1] == pytest.approx(0.3) and 0.5 in rates


def test_an_epoch_holds_every_utterance_once_and_crops(root: Path) -> None:
    config = TRAINING.model_copy(update={"crop_s": 0.55})
    train_set, _ = sets(root, config)
    assert len(train_set) == 36 and train_set.steps_per_epoch(8) == 5
    batches = [train_set.training_batch(1, step, 8) for step in range(5, 10)]
    assert sum(len(batch.labels) for batch in batches) == 36
    assert torch.cat([batch.labels for batch in batches]).bincount().tolist() == [12, 12, 12]
    assert max(int(batch.lengths.max()) for batch in batches) == 8800


def test_classes_are_weighed_by_their_frequency(root: Path) -> None:
    paths = StudyPaths.of("study", root)
    rows = unlabelled(paths)
    recordings = Recordings.of(paths.root, rows)
    labels = {f"s_anna_sad_{i}": "sad" for i in range(3)} | {"s_anna_angry_0": "angry"}
    uneven = LabelledSet(recordings, labels, ("sad", "angry"), TRAINING)
    assert uneven.class_weights(2).tolist() == pytest.approx([4 / 6, 4 / 2])
    with pytest.raises(DataError, match="no training recording"):
        uneven.class_weights(3)
    with pytest.raises(DataError, match="angry are none of the classes"):
        LabelledSet(recordings, labels, ("sad",), TRAINING)


def cell(method: MethodConfig = LORA, fold: str = "unseen") -> RecognitionCell:
    testbed = "unseen" if fold == "unseen" else "voices"
    return RecognitionCell.of("small", method, testbed, fold, 1)


def test_the_stage_writes_what_it_heard_and_how_well(root: Path) -> None:
    study, paths = make_study(root), StudyPaths.of("study", root)
    recognise(study, paths, cell())
    folder = paths.recognition(cell().path)
    assert all((folder / name).is_file() for name in OUTPUTS)
    predictions = pd.read_csv(folder / "predictions.csv")
    manifest = pd.read_csv(paths.manifest).set_index("utterance_id")
    assert set(predictions["utterance_id"]) == set(manifest.index[manifest["split"] == "test"])
    assert (
        predictions["label"] == manifest.loc[predictions["utterance_id"], "emotion"].array
    ).all()
    probabilities = predictions.filter(like="probability_")
    assert np.allclose(probabilities.sum(1), 1)
    best = probabilities.idxmax(axis=1).str.removeprefix("probability_")
    assert (best == predictions["predicted"]).all()
    scores = read_json(folder / "scores.json")
    hits = (predictions["label"] == predictions["predicted"]).groupby(predictions["label"]).mean()
    assert scores["uar"] == pytest.approx(hits.mean())
    assert scores["fairness"]["n"] == {"female": 3, "male": 6}
    assert set(scores["confusion"][0]) <= {0, 1, 2, 3}
    facts = read_json(folder / "training.json")
    assert facts["encoder_parameters"] == SMALL.layers * 2 * 2 * 96
    assert facts["test_heard_by_encoder"] == 0
    heard = stored.heard_utterances(folder)
    assert heard == sorted(manifest.index[manifest["split"] != "test"])
    curves = pd.read_csv(folder / "curves.csv")
    assert curves["epoch"].max() == TRAINING.epochs


def test_a_held_out_speaker_that_the_encoder_heard_is_counted(root: Path) -> None:
    study, paths = make_study(root), StudyPaths.of("study", root)
    voices = cell(HEAD, "s_bert")
    recognise(study, paths, voices)
    folder = paths.recognition(voices.path)
    facts = read_json(folder / "training.json")
    # All sentences of the held-out speaker but the study's test sentence.
    assert facts["test_utterances"] == 18 and facts["test_heard_by_encoder"] == 15
    assert not any("s_bert" in name for name in stored.heard_utterances(folder))


@pytest.mark.parametrize("method", [HEAD, LORA, FULL], ids=lambda m: m.method)
def test_a_stored_recogniser_judges_as_it_did(root: Path, method: MethodConfig) -> None:
    study, paths = make_study(root), StudyPaths.of("study", root)
    recognise(study, paths, cell(method))
    folder = paths.recognition(cell(method).path)
    recogniser = stored.load_recogniser(folder, paths.encoder("small"))
    assert set(recogniser.classes) == set(CLASSES)
    predictions = pd.read_csv(folder / "predictions.csv", index_col="utterance_id")
    recordings = Recordings.of(paths.root, pd.read_csv(paths.manifest))
    for name, row in predictions.iterrows():
        sound = torch.from_numpy(recordings[str(name)])[None]
        found = recogniser.probabilities(sound, torch.tensor([sound.shape[1]]))[0]
        expected = [row[f"probability_{c}"] for c in recogniser.classes]
        assert found.tolist() == pytest.approx(expected, abs=1e-4)


def test_a_finished_training_is_taken_back(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, paths = make_study(root), StudyPaths.of("study", root)
    recognise(study, paths, cell(HEAD))
    folder = paths.recognition(cell(HEAD).path)
    before = (folder / "predictions.csv").read_bytes()
    for name in OUTPUTS:
        (folder / name).unlink()
    monkeypatch.setattr("eele.ser.recognising.fit_recogniser", None)
    recognise(study, paths, cell(HEAD))
    assert (folder / "predictions.csv").read_bytes() == before


def test_a_recogniser_of_another_encoder_is_refused(root: Path, tmp_path: Path) -> None:
    study, paths = make_study(root), StudyPaths.of("study", root)
    recognise(study, paths, cell(HEAD))
    other = EncoderConfig(small=SMALL, seed=2)
    study = make_study(root, {"other": other})
    prepare_encoder(study, paths, "other")
    folder = paths.recognition(cell(HEAD).path)
    with pytest.raises(CheckpointError, match="trained on another encoder"):
        stored.load_recogniser(folder, paths.encoder("other"))
    with pytest.raises(CheckpointError, match="train the recogniser first"):
        stored.load_recogniser(tmp_path, paths.encoder("small"))


def test_a_list_of_heard_utterances_that_was_changed_is_refused(root: Path) -> None:
    study, paths = make_study(root), StudyPaths.of("study", root)
    lora = MethodConfig(method="lora", sites=("attention",), size=1)
    recognise(study, paths, cell(lora))
    folder = paths.recognition(cell(lora).path)
    names = stored.heard_utterances(folder)
    write_text(folder / stored.HEARD, "\n".join(names[1:]))
    with pytest.raises(CheckpointError, match="not the list"):
        stored.heard_utterances(folder)


def test_cells_have_paths_and_paths_have_cells(root: Path) -> None:
    study = make_study(root)
    both = MethodConfig(method="lora", sites=("feed_forward", "attention"), size=4)
    for method in (HEAD, LORA, both):
        one = cell(method)
        assert RecognitionCell.parse(Path("results/s/recognition") / one.path) == one
        assert one.adaptation == method
        assert check_recognition_cell(one, study) == one
    wrong = {
        "encoder~small/method~head": "sites, size, testbed, fold, seed missing",
        "encoder~small/method~head/sites~-/size~x/testbed~unseen/fold~a/seed~1": "size 'x'",
    }
    for text, message in wrong.items():
        with pytest.raises(ConfigError, match=message):
            RecognitionCell.parse(text)
    for change, message in (
        ({"encoder": "big"}, "encoder 'big' is not allowed here; allowed: small"),
        ({"testbed": "x"}, "testbed 'x' is not allowed"),
        ({"size": 3}, "method head takes no sites and no size"),
    ):
        with pytest.raises(ConfigError, match=message):
            values = {**cell(HEAD).as_dict(), **change}
            check_recognition_cell(RecognitionCell(**values), study)  # type: ignore[arg-type]
