"""Testbeds and folds of emotion recognition: what stands where, and that nothing of the test is trained on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eele.config import recognition
from eele.config.load import check_study
from eele.config.models import StudyConfig
from eele.corpora.assembling import MANIFEST_COLUMNS
from eele.errors import ConfigError, DataError
from eele.paths import StudyPaths
from eele.ser import testbeds

EMOTIONS = ("neutral", "angry", "sad", "happy", "excited", "bored")


def study(tmp_path: Path, **testbed: Any) -> tuple[StudyConfig, StudyPaths]:
    config = check_study(
        {
            "study": "ser",
            "corpora": [{"adapter": "cremad"}, {"adapter": "folder", "name": "box"}],
            "recognition": {"testbeds": {"here": testbed}},
        }
    )
    return config, StudyPaths.of("ser", tmp_path)


def write_manifest(paths: StudyPaths, rows: Iterable[dict[str, Any]]) -> None:
    table = pd.DataFrame(rows).reindex(columns=list(MANIFEST_COLUMNS)).fillna("")
    paths.root.mkdir(parents=True, exist_ok=True)
    table.to_csv(paths.manifest, index=False)


def spoken(
    speakers: Iterable[str], sentences: int = 6, emotions: Iterable[str] = EMOTIONS, **values: str
) -> list[dict[str, Any]]:
    """Every speaker says every sentence in every emotion; the last sentence is the study's test."""
    return [
        {
            "utterance_id": f"box_{speaker}_{emotion}_{sentence}",
            "path": f"corpora/box/clean/{speaker}.flac",
            "speaker": speaker,
            "emotion": emotion,
            "text": f"Sentence {sentence}.",
            "sentence": str(sentence),
            "split": "test" if sentence == sentences - 1 else "train",
            "corpus": "box",
            "gender": "female",
            **values,
        }
        for speaker in speakers
        for emotion in emotions
        for sentence in range(sentences)
    ]


def made(tmp_path: Path, rows: list[dict[str, Any]], **testbed: Any) -> dict[str, testbeds.Fold]:
    config, paths = study(tmp_path, **testbed)
    write_manifest(paths, rows)
    table = testbeds.table(config, paths, "here")
    found = testbeds.folds(table, testbeds.testbed_config(config, "here"))
    assert found == testbeds.folds(
        table.sample(frac=1, random_state=1).sort_values("utterance_id"),
        testbeds.testbed_config(config, "here"),
    )
    return {fold.name: fold for fold in found}


def who(ids: Iterable[str], part: int = 1) -> set[str]:
    return {name.split("_")[part] for name in ids}


def test_the_table_holds_the_testbeds_recordings_only(tmp_path: Path) -> None:
    config, paths = study(tmp_path, corpora=["box"], speakers=["b", "a"], classes=["happy", "sad"])
    rows = spoken("ab", 2, session="3") + spoken("c", 2) + spoken("d", 2, corpus="cremad")
    write_manifest(paths, rows)
    table = testbeds.table(config, paths, "here")
    assert tuple(table.columns) == testbeds.TABLE_COLUMNS
    assert set(table["speaker"]) == {"a", "b"} and len(table) == 8
    assert list(table["utterance_id"]) == sorted(table["utterance_id"])
    assert set(table["session"]) == {"box_3"} and set(table["gender"]) == {"female"}
    assert table["path"][0] == str(paths.root / "corpora/box/clean/a.flac")
    assert testbeds.classes(table) == ("happy", "sad")


def test_four_classes_merge_excited_into_happy_and_leave_the_rest_out(tmp_path: Path) -> None:
    config, paths = study(tmp_path, labels="four")
    write_manifest(paths, spoken("a", 1))
    table = testbeds.table(config, paths, "here")
    label = dict(zip(table["utterance_id"], table["label"], strict=True))
    assert label["box_a_excited_0"] == "happy" and "box_a_bored_0" not in label
    assert testbeds.classes(table) == ("neutral", "happy", "sad", "angry")


def test_full_labels_are_the_corpus_own(tmp_path: Path) -> None:
    config, paths = study(tmp_path)
    write_manifest(paths, spoken("a", 1))
    found = testbeds.classes(testbeds.table(config, paths, "here"))
    assert found == ("neutral", "happy", "sad", "angry", "bored", "excited")


@pytest.mark.parametrize(
    ("testbed", "message"),
    [
        ({"speakers": ["zoe"]}, "speakers: zoe not in it; it has: a, b"),
        ({"classes": ["fearful"]}, "classes: fearful not in it"),
        ({"classes": ["sad"]}, "1 class left"),
        ({"corpora": ["cremad"]}, "0 classes left"),
    ],
)
def test_a_testbed_of_what_is_not_there_is_refused(
    tmp_path: Path, testbed: dict[str, Any], message: str
) -> None:
    config, paths = study(tmp_path, **testbed)
    write_manifest(paths, spoken("ab", 1))
    with pytest.raises(ConfigError, match=message):
        testbeds.table(config, paths, "here")


def test_unknown_testbed_missing_and_old_manifest_are_named(tmp_path: Path) -> None:
    config, paths = study(tmp_path)
    with pytest.raises(ConfigError, match="no testbed 'there'; it has: here"):
        testbeds.table(config, paths, "there")
    with pytest.raises(DataError, match="run the rule assemble_manifest first"):
        testbeds.table(config, paths, "here")
    write_manifest(paths, spoken("a", 1))
    pd.read_csv(paths.manifest).drop(columns="gender").to_csv(paths.manifest, index=False)
    with pytest.raises(DataError, match=r"lacks gender; run the rule assemble_manifest again"):
        testbeds.table(config, paths, "here")


def test_leave_one_speaker_out(tmp_path: Path) -> None:
    found = made(tmp_path, spoken("abcdef"), folds="leave_one_speaker_out")
    assert list(found) == list("abcdef")
    for speaker, fold in found.items():
        assert who(fold.test) == {speaker}
        assert who(fold.validation) == ({"f"} if speaker != "f" else {"e"})
        assert who(fold.train) == set("abcdef") - who(fold.test) - who(fold.validation)
        assert len(fold.train) + len(fold.validation) + len(fold.test) == 6 * 6 * 6


def test_speaker_groups_of_cremad_are_the_published_five_folds(tmp_path: Path) -> None:
    actors = [str(actor) for actor in range(1001, 1092)]
    rows = spoken(actors, 1, ("sad", "happy"))
    found = made(tmp_path, rows, folds="speakers")
    ranges = {
        name: [
            (min(map(int, who(ids))), max(map(int, who(ids))))
            for ids in (fold.validation, fold.test)
        ]
        for name, fold in found.items()
    }
    # KFold(5) without shuffling over 1001..1091, of the rest the last fifth, as in the published code.
    assert ranges == {
        "1": [(1077, 1091), (1001, 1019)],
        "2": [(1077, 1091), (1020, 1037)],
        "3": [(1077, 1091), (1038, 1055)],
        "4": [(1077, 1091), (1056, 1073)],
        "5": [(1059, 1073), (1074, 1091)],
    }


def test_two_groups_of_speakers(tmp_path: Path) -> None:
    found = made(tmp_path, spoken("abcde"), folds="speakers", groups=2)
    assert [who(fold.test) for fold in found.values()] == [set("abc"), set("de")]
    assert [who(fold.validation) for fold in found.values()] == [{"e"}, {"c"}]


def test_sessions_hold_out_the_next_to_validate(tmp_path: Path) -> None:
    rows = [r for n in range(1, 6) for r in spoken((f"F{n}", f"M{n}"), 2, session=str(n))]
    found = made(tmp_path, rows, folds="session")
    tests = {name: (who(fold.test), who(fold.validation)) for name, fold in found.items()}
    assert tests["box_1"] == ({"F1", "M1"}, {"F5", "M5"})
    assert tests["box_5"] == ({"F5", "M5"}, {"F4", "M4"})
    assert len(tests) == 5


def test_a_speaker_in_two_sessions_is_a_leak(tmp_path: Path) -> None:
    rows = [r for n in range(1, 4) for r in spoken((f"F{n}",), 2, session=str(n))]
    rows += [{**r, "utterance_id": r["utterance_id"] + "x", "session": "2"} for r in rows[:3]]
    with pytest.raises(DataError, match="fold box_1 of session: speaker F1 stands in the test"):
        made(tmp_path, rows, folds="session")


def test_unseen_sentences_are_the_studys_own(tmp_path: Path) -> None:
    found = made(tmp_path, spoken("ab", 11), folds="sentences")
    assert list(found) == ["unseen"]
    fold = found["unseen"]
    assert who(fold.test, 3) == {"10"} and who(fold.validation, 3) == {"8", "9"}
    assert who(fold.train, 3) == {str(n) for n in range(8)} and who(fold.train) == {"a", "b"}
    rows = spoken("ab", 5)
    for r in rows:
        r["split"] = {"4": "test", "1": "validation"}.get(r["sentence"], "train")
    assert who(made(tmp_path, rows, folds="sentences")["unseen"].validation, 3) == {"1"}


def test_groups_of_sentences(tmp_path: Path) -> None:
    found = made(tmp_path, spoken("ab", 10), folds="sentences", groups=5)
    assert [who(fold.test, 3) for fold in found.values()][:2] == [{"0", "1"}, {"2", "3"}]
    assert [who(fold.validation, 3) for fold in found.values()][-1] == {"6", "7"}


def test_a_sentence_in_two_splits_is_a_leak(tmp_path: Path) -> None:
    rows = spoken("ab", 6)
    rows[0]["split"] = "test"
    with pytest.raises(DataError, match="fold unseen of sentences: sentence 0 stands in the test"):
        made(tmp_path, rows, folds="sentences")


def test_one_voice_against_the_other(tmp_path: Path) -> None:
    found = made(tmp_path, spoken("abc", 10), folds="cross_speaker", speakers=["c", "a"])
    assert list(found) == ["a-to-c", "c-to-a"]
    fold = found["a-to-c"]
    assert who(fold.train) == who(fold.validation) == {"a"} and who(fold.test) == {"c"}
    assert who(fold.validation, 3) == {"8", "9"} and not who(fold.train, 3) & {"8", "9"}
    assert len(fold.test) == 60


def test_the_official_split_is_the_corpus_own(tmp_path: Path) -> None:
    rows = [
        row
        for part in ("train", "validation", "test", "")
        for row in spoken((f"s{part}",), 1, partition=part)
    ]
    config, paths = study(tmp_path, folds="official", min_per_class=1)
    write_manifest(paths, rows)
    table = testbeds.table(config, paths, "here")
    (fold,) = testbeds.folds(table, testbeds.testbed_config(config, "here"))
    assert fold.name == "official"
    assert {part: who(ids) for part, ids in fold.parts.items()} == {
        part: {f"s{part}"} for part in ("train", "validation", "test")
    }


@pytest.mark.parametrize(
    ("rows", "testbed", "message"),
    [
        (
            spoken("ab"),
            {"folds": "leave_one_speaker_out"},
            "2 speakers for 3 groups.*cross_speaker",
        ),
        (spoken("abc"), {"folds": "speakers"}, "3 speakers for 5 groups"),
        (spoken("abc"), {"folds": "speakers", "groups": 2}, "leave 1 beside the test"),
        (spoken("abc"), {"folds": "session"}, "no recording session is known of box"),
        (spoken("abc", text=""), {"folds": "sentences"}, "no text is known of box"),
        (spoken("abc"), {"folds": "official"}, "box has no split of its own"),
        (spoken("abc"), {"folds": "cross_speaker"}, r"the testbed has 3 \(a, b, c\); name two"),
    ],
)
def test_folds_a_testbed_does_not_allow_are_refused(
    tmp_path: Path, rows: list[dict[str, Any]], testbed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        made(tmp_path, rows, **testbed)


def test_too_few_recordings_of_a_class_are_named_with_the_way_out(tmp_path: Path) -> None:
    rows = spoken("abcdef", 2)
    rows = [r for r in rows if r["emotion"] != "bored" or r["speaker"] in "ab"]
    with pytest.raises(
        DataError,
        match=r"fold a of .*min_per_class 4 training recordings of bored \(2\).*`classes`",
    ):
        made(tmp_path, rows)
    assert len(made(tmp_path, rows, min_per_class=2)) == 6
    kept = ["neutral", "angry", "sad", "happy", "excited"]
    assert len(made(tmp_path, rows, classes=kept)) == 6


def test_counts_and_one_fold_by_name(tmp_path: Path) -> None:
    config, paths = study(tmp_path)
    write_manifest(paths, spoken("abcdef", 3))
    table = testbeds.table(config, paths, "here")
    testbed = testbeds.testbed_config(config, "here")
    counts = testbeds.counts(table, testbeds.fold(table, testbed, "b"))
    assert list(counts.index) == ["train", "validation", "test"]
    assert counts.loc["train"].tolist() == [12] * 6 and counts.loc["test"].tolist() == [3] * 6
    with pytest.raises(ConfigError, match="no fold 'x'; there are: a, b, c, d, e, f"):
        testbeds.fold(table, testbed, "x")


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(3, 12),
    kind=st.sampled_from(["leave_one_speaker_out", "speakers", "sentences"]),
    groups=st.integers(2, 12),
    share=st.floats(0.01, 0.99),
)
def test_every_recording_is_the_test_once_and_nothing_stands_in_two_parts(
    n: int, kind: str, groups: int, share: float
) -> None:
    column = "sentence" if kind == "sentences" else "speaker"
    table = pd.DataFrame(
        {
            "utterance_id": [
                f"u{unit}_{label}_{take}" for unit in range(n) for label in "ab" for take in "xy"
            ],
            "label": [
                "happy" if label == "a" else "sad" for _ in range(n) for label in "ab" for _ in "xy"
            ],
            "corpus": "box",
            "text": "Yes.",
            "speaker": "one",
            "sentence": "0",
        }
    )
    table[column] = [str(unit) for unit in range(n) for _ in range(4)]
    values = {"folds": kind, "validation_share": share, "min_per_class": 1}
    if kind != "leave_one_speaker_out":
        values["groups"] = groups
    config = recognition.TestbedConfig.model_validate(values)
    k = values.get("groups", n)
    if k > n or n - -(-n // k) < 2:
        with pytest.raises(ConfigError, match="training"):
            testbeds.folds(table, config)
        return
    found = testbeds.folds(table, config)
    tested = [name for fold in found for name in fold.test]
    assert len(found) == k and sorted(tested) == sorted(table["utterance_id"])
    unit = dict(zip(table["utterance_id"], table[column], strict=True))
    for fold in found:
        parts = [{unit[name] for name in ids} for ids in fold.parts.values()]
        assert all(parts) and sum(map(len, parts)) == n
        assert len(set().union(*parts)) == n


def test_speakers_are_classes_over_unseen_sentences(tmp_path: Path) -> None:
    rows = spoken(("ann", "ben"), emotions=("sad", "happy"))
    config, paths = study(tmp_path, target="speaker", folds="sentences")
    write_manifest(paths, rows)
    table = testbeds.table(config, paths, "here")
    assert testbeds.classes(table) == ("ann", "ben")
    (fold,) = testbeds.folds(table, testbeds.testbed_config(config, "here"))
    assert who(fold.train) == who(fold.test) == {"ann", "ben"}
    assert not who(fold.train, 3) & who(fold.test, 3)
    counts = testbeds.counts(table, fold)
    assert counts.loc["test"].to_dict() == {"ann": 2, "ben": 2}
    with pytest.raises(ConfigError, match="1 class left"):
        made(tmp_path, spoken(("ann",)), target="speaker", folds="sentences")


def test_an_official_split_by_speaker_has_no_speaker_to_learn(tmp_path: Path) -> None:
    rows = [
        row | {"partition": part}
        for part, name in (("train", "ann"), ("validation", "ben"), ("test", "cat"))
        for row in spoken((name,), emotions=("sad",))
    ]
    with pytest.raises(DataError, match=r"min_per_class 4 training recordings of ben \(0\), cat"):
        made(tmp_path, rows, target="speaker", folds="official")


def test_phones_have_no_classes_and_need_texts(tmp_path: Path) -> None:
    rows = spoken(("ann", "ben", "cat"), emotions=("sad",))
    config, paths = study(tmp_path, target="phones")
    write_manifest(paths, rows)
    table = testbeds.table(config, paths, "here")
    assert testbeds.classes(table) == () and set(table["label"]) == {""}
    found = testbeds.folds(table, testbeds.testbed_config(config, "here"))
    assert [fold.name for fold in found] == ["ann", "ben", "cat"]
    assert testbeds.counts(table, found[0]).empty
    rows[0]["text"] = ""
    with pytest.raises(ConfigError, match="target phones: no text is known of box"):
        made(tmp_path, rows, target="phones")
