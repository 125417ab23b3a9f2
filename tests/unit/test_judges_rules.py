"""What a judge may have heard: every broken rule is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from judged_study import FULL, RULES, STUDY, write_study

from eele import judges
from eele.config import StudyConfig
from eele.config.load import check_study
from eele.errors import ConfigError, DataError
from eele.io import read_json, write_json
from eele.judges import rules
from eele.paths import StudyPaths

#: An audio classifier with four labels, trained on ESD and IEMOCAP.
PUBLISHED = {
    "model": "nobody/nothing",
    "labels": {"neu": "neutral", "hap": "happy", "sad": "sad"},
    "trained_on": ["IEMOCAP", "ESD"],
}


@pytest.fixture
def paths(tmp_path: Path) -> StudyPaths:
    return write_study(tmp_path / "study", FULL)


@pytest.fixture
def trained(paths: StudyPaths) -> StudyPaths:
    judges.train(STUDY, paths, "statistics")
    return paths


def change(paths: StudyPaths, edit: Callable[[pd.DataFrame], object]) -> None:
    table = pd.read_csv(paths.manifest)
    edit(table)
    table.to_csv(paths.manifest, index=False)


def redeclare(paths: StudyPaths, **changes: object) -> None:
    """The judge's heard.json with other contents, and a digest that fits them."""
    old = rules.check_stored(STUDY, paths, "statistics")
    fields = {key: changes.get(key, value) for key, value in vars(old).items()}
    rules.declare(paths.judge("statistics"), "statistics", rules.Heard(**fields))


def test_a_judge_says_what_it_heard_and_is_let_in(trained: StudyPaths) -> None:
    heard = rules.check_stored(STUDY, trained, "statistics")
    manifest = pd.read_csv(trained.manifest)
    assert heard.corpora == ("toy",)
    assert set(heard.utterances) == set(manifest.loc[manifest["split"] == "train", "utterance_id"])
    assert not heard.declared and not heard.synthetic and heard.unlabelled == ()
    judges.load(STUDY, trained, "statistics")


def test_a_judge_that_does_not_say_what_it_heard_is_refused(trained: StudyPaths) -> None:
    file = trained.judge("statistics") / "heard.json"
    content = read_json(file)
    write_json(file, {**content, "utterances": content["utterances"][1:]})
    with pytest.raises(DataError, match="is not what the training of judge statistics wrote"):
        judges.load(STUDY, trained, "statistics")
    file.unlink()
    with pytest.raises(DataError, match=r"heard\.json is missing.* is not used"):
        judges.load(STUDY, trained, "statistics")


def test_training_on_a_test_sentence_is_refused(paths: StudyPaths) -> None:
    def share(table: pd.DataFrame) -> None:
        table.loc[table["utterance_id"] == "one_happy_5", "sentence"] = 0

    change(paths, share)
    with pytest.raises(DataError, match=r"judge statistics heard the test sentence 0 \(1 such"):
        judges.train(STUDY, paths, "statistics")
    assert not paths.judge("statistics").exists()


def test_a_stored_judge_that_heard_a_test_utterance_is_refused(trained: StudyPaths) -> None:
    # The splits were drawn anew: what it learned from is test material now.
    def hold_out(table: pd.DataFrame) -> None:
        table.loc[table["utterance_id"] == "two_sad_7", "split"] = "test"

    change(trained, hold_out)
    with pytest.raises(DataError, match="judge statistics heard the test utterance two_sad_7"):
        judges.load(STUDY, trained, "statistics")


def test_a_judge_of_another_material_is_refused(trained: StudyPaths) -> None:
    redeclare(trained, utterances=("elsewhere_1",))
    with pytest.raises(DataError, match=r"elsewhere_1 .* not in this study's manifest\.csv"):
        judges.load(STUDY, trained, "statistics")


def test_an_encoder_that_heard_a_test_utterance_is_refused(trained: StudyPaths) -> None:
    redeclare(trained, unlabelled=("one_happy_0",))
    with pytest.raises(DataError, match="encoder of judge statistics heard the test utterance"):
        judges.load(STUDY, trained, "statistics")


def test_synthetic_speech_is_known_by_its_place(paths: StudyPaths, tmp_path: Path) -> None:
    cell = tmp_path / "results/other/cells/backbone~fastspeech2/method~lora/speech"
    cell.mkdir(parents=True)
    spoken = cell / "x.wav"
    spoken.write_bytes(b"RIFF")
    link = tmp_path / "corpus" / "innocent.wav"
    link.parent.mkdir()
    link.symlink_to(spoken)
    assert rules.is_synthetic(spoken) and rules.is_synthetic(link)
    assert not rules.is_synthetic(tmp_path / "cells" / "x.wav")
    assert not rules.is_synthetic(paths.root / "audio" / "one_happy_0.flac")


def test_training_on_synthetic_speech_is_refused(paths: StudyPaths, tmp_path: Path) -> None:
    # A corpus whose files are what another study's cell spoke, cleaned like any corpus.
    source = tmp_path / "results/other/cells/backbone~vits2/method~full/speech/happy_5.wav"
    listing = paths.corpus("toy") / "manifest.csv"
    listing.parent.mkdir(parents=True)
    names = pd.read_csv(paths.manifest)["utterance_id"]

    def prefixed(table: pd.DataFrame) -> None:
        table["utterance_id"] = "toy_" + table["utterance_id"]

    change(paths, prefixed)
    table = pd.DataFrame({"utterance_id": names, "path": "/corpora/toy/" + names + ".wav"})
    table.loc[table["utterance_id"] == "one_happy_5", "path"] = str(source)
    table.to_csv(listing, index=False)
    heard = rules.Heard(("toy",), ("toy_one_happy_5", "toy_one_happy_6"))
    with pytest.raises(DataError, match=r"trained on synthetic speech: .*happy_5\.wav \(1 such"):
        rules.refuse_synthetic(paths, "statistics", heard)
    unlabelled = rules.Heard(("toy",), ("toy_one_happy_6",), ("toy_one_happy_5",))
    with pytest.raises(DataError, match="trained on synthetic speech"):
        rules.refuse_synthetic(paths, "statistics", unlabelled)
    rules.refuse_synthetic(paths, "statistics", rules.Heard(("toy",), ("toy_one_happy_6",)))


def test_a_recording_below_a_cell_is_refused_when_the_judge_is_trained(paths: StudyPaths) -> None:
    folder = paths.root / "cells" / "backbone~-" / "speech"
    folder.mkdir(parents=True)
    (paths.root / "audio" / "one_sad_4.flac").rename(folder / "one_sad_4.flac")

    def move(table: pd.DataFrame) -> None:
        place = table["utterance_id"] == "one_sad_4"
        table.loc[place, "path"] = "cells/backbone~-/speech/one_sad_4.flac"

    change(paths, move)
    with pytest.raises(DataError, match="judge statistics was trained on synthetic speech"):
        judges.train(STUDY, paths, "statistics")


def test_a_judge_that_says_so_itself_is_refused(trained: StudyPaths) -> None:
    redeclare(trained, synthetic=True)
    with pytest.raises(DataError, match="was trained on synthetic speech"):
        judges.load(STUDY, trained, "statistics")


def test_a_judge_that_does_not_know_an_emotion_is_refused(tmp_path: Path) -> None:
    without_sad = {key: 4 for key in FULL if key[1] != "sad"}
    with pytest.raises(DataError, match="statistics does not know sad, it knows happy, neutral"):
        judges.train(STUDY, write_study(tmp_path / "a", without_sad), "statistics")
    without_neutral = {key: 4 for key in FULL if key[1] != "neutral"}
    with pytest.raises(DataError, match="does not know neutral"):
        judges.train(STUDY, write_study(tmp_path / "b", without_neutral), "statistics")


def test_a_published_judge_that_does_not_cover_the_study_is_refused_at_once() -> None:
    with pytest.raises(
        ConfigError, match=r"published_judges\.wide\.labels: none means sad; a judge must"
    ):
        published(labels={"neu": "neutral", "hap": "happy"})


def published(**changes: object) -> StudyConfig:
    """A study whose second judge is published."""
    return check_study(
        {
            "emotions": ["happy", "sad"],
            "corpora": [{"adapter": "esd"}, {"adapter": "folder", "name": "own"}],
            "evaluation": {
                "judges": ["statistics", "wide"],
                "published_judges": {"wide": PUBLISHED | changes},
            },
        }
    )


@pytest.mark.parametrize("declared, warned", [(["IEMOCAP", "ESD"], 1), (["IEMOCAP"], 0)])
def test_a_judge_that_knows_the_corpus_is_warned_of(
    paths: StudyPaths, declared: list[str], warned: int
) -> None:
    study = published(trained_on=declared)
    found = rules.overlap(study, paths, "wide")
    assert len(found) == warned
    assert all("trained on ESD" in warning and "(esd)" in warning for warning in found)
    assert rules.overlap(study, paths, "statistics") == []


def test_a_corpus_is_known_by_its_source_too(paths: StudyPaths) -> None:
    source = paths.corpus("own") / "source.json"
    source.parent.mkdir(parents=True)
    source.write_text(json.dumps({"name": "EmoV-DB"}))
    study = published(trained_on=["Emov DB"])
    assert [w.split(",")[0] for w in rules.overlap(study, paths, "wide")] == ["trained on Emov DB"]


@pytest.mark.parametrize(
    "evaluation, reason",
    [
        ({"judges": ["ear"]}, "unknown judge 'ear'; allowed: statistics"),
        ({"judges": ["statistics", "statistics"]}, "one stands twice"),
        ({"judges": []}, "at least 1"),
        ({"encoder_judges": {"statistics": {}}}, "two judges are named 'statistics'"),
        (
            {"encoder_judges": {"wide": {}}, "published_judges": {"wide": PUBLISHED}},
            "two judges are named 'wide'",
        ),
        ({"encoder_judges": {"ear": {"encoder": "big"}}}, "unknown encoder 'big'"),
        ({"published_judges": {"wide": PUBLISHED | {"trained_on": []}}}, "trained_on"),
        ({"published_judges": {"wide": PUBLISHED | {"labels": {"h": "joy"}}}}, "labels"),
    ],
)
def test_a_mistake_in_the_config_is_told(evaluation: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        check_study({"emotions": sorted(set(RULES) - {"neutral"}), "evaluation": evaluation})
