"""Sentences, splits and the study's one manifest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from corpora_samples import metadata, read, row, speechlike, study, write
from hypothesis import given, settings
from hypothesis import strategies as st

from eele.config.models import SplitConfig, StudyConfig
from eele.corpora import assemble, clean, collect
from eele.corpora.sentences import sentence_key
from eele.corpora.splits import Splits, Spoken, draw_splits, number_sentences
from eele.errors import ConfigError, DataError
from eele.paths import StudyPaths

EMOTIONS = ("happy", "sad", "angry")


def parallel(n: int, speakers: str = "ab", emotions: tuple[str, ...] = EMOTIONS) -> list[Spoken]:
    """Every sentence in neutral and every emotion by every speaker."""
    return [
        Spoken(f"s{i:03d}", speaker, emotion)
        for i in range(n)
        for speaker in speakers
        for emotion in ("neutral", *emotions)
    ]


def draw(spoken: list[Spoken], test: int = 12, validation: int = 6, seed: int = 1) -> Splits:
    config = SplitConfig(test_sentences=test, validation_sentences=validation, seed=seed)
    return draw_splits(spoken, EMOTIONS, config)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("Don't forget a jacket.", "dont forget  a JACKET"),
        ("Łódź, to miasto!", "łódź to miasto"),
        ("cafe\u0301", "CAFÉ"),
        ("STRASSE", "straße"),
        ("well-known", "well known"),
    ],
)
def test_same_sentence(text: str, other: str) -> None:
    assert sentence_key(text) == sentence_key(other) != ""


@pytest.mark.parametrize(("text", "other"), [("one", "two"), ("za", "ża"), ("a 1", "a 2")])
def test_other_sentence(text: str, other: str) -> None:
    assert sentence_key(text) != sentence_key(other)


def test_numbers_do_not_depend_on_the_order_of_rows() -> None:
    assert number_sentences(["b", "a", "b"]) == number_sentences(["a", "b"]) == {"a": 0, "b": 1}


@pytest.mark.parametrize(
    ("n", "test", "validation"),
    [(2, 1, 0), (4, 1, 0), (5, 1, 1), (7, 1, 1), (10, 2, 1), (60, 12, 6)],
)
def test_sparse_corpora_scale_down_and_say_so(n: int, test: int, validation: int) -> None:
    splits = draw(parallel(n))
    assert (len(splits.test), len(splits.validation)) == (test, validation)
    notes = " ".join(splits.notes)
    assert (f"for {n} sentences" in notes) == (n < 60)
    assert ("no validation sentence" in notes) == (validation == 0)


def test_seed_draws_other_sentences_and_the_same_seed_the_same() -> None:
    draws = [draw(parallel(60), seed=seed).test for seed in (1, 1, 2, 3)]
    assert draws[0] == draws[1]
    assert len({tuple(sorted(drawn)) for drawn in draws}) == 3
    assert draw(parallel(60)[::-1]).test == draws[0]


def test_sentences_spoken_in_everything_come_first() -> None:
    partly = [Spoken(f"p{i:03d}", "a", "happy") for i in range(40)]
    splits = draw(parallel(30) + partly, test=10, validation=5)
    assert all(s.startswith("s") for s in splits.test + splits.validation)


def test_neutral_only_sentences_are_never_held_out() -> None:
    neutral = [Spoken(f"n{i:03d}", "a", "neutral") for i in range(200)]
    splits = draw(parallel(20) + neutral, test=100, validation=100)
    assert len(splits.test) == 5 and len(splits.validation) == 3
    assert all(s.startswith("s") for s in splits.test + splits.validation)


def test_disjoint_speakers_are_all_tested() -> None:
    """Two speakers who share no sentence: the draw takes turns instead of favouring one."""
    spoken = [Spoken(f"{v}{i:02d}", v, e) for v in "ab" for i in range(20) for e in EMOTIONS]
    splits = draw(spoken, test=8, validation=4)
    for drawn in (splits.test, splits.validation):
        assert sum(s.startswith("a") for s in drawn) == len(drawn) // 2


def test_last_sentence_of_an_emotion_stays_in_training() -> None:
    spoken = [s for s in parallel(10) if s.emotion != "angry"] + [Spoken("s003", "a", "angry")]
    for seed in range(20):
        splits = draw(spoken, seed=seed)
        assert splits.of("s003") == "train"
        assert any("angry: no test sentence" in note for note in splits.notes)


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_sentences(n: int) -> None:
    with pytest.raises(DataError, match="at least two are needed"):
        draw(parallel(n))


def test_only_the_adaptation_speakers_count() -> None:
    spoken = [*parallel(8, "a"), *[Spoken(f"x{i}", "b", "happy") for i in range(50)]]
    splits = draw_splits(spoken, EMOTIONS, SplitConfig(), speakers=("a",))
    assert splits.n_emotional_sentences == 8
    assert len(splits.test) == 2


@given(
    st.lists(
        st.builds(
            Spoken,
            st.sampled_from([f"s{i}" for i in range(25)]),
            st.sampled_from("abc"),
            st.sampled_from(("neutral", "bored", *EMOTIONS)),
        ),
        max_size=120,
    ),
    st.integers(1, 30),
    st.integers(0, 30),
    st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_what_always_holds(spoken: list[Spoken], test: int, validation: int, seed: int) -> None:
    emotional = {s.sentence for s in spoken if s.emotion in EMOTIONS}
    if len(emotional) < 2:
        with pytest.raises(DataError):
            draw(spoken, test, validation, seed)
        return
    splits = draw(spoken, test, validation, seed)
    assert not set(splits.test) & set(splits.validation)
    assert set(splits.test) | set(splits.validation) <= emotional
    assert len(splits.test) <= min(test, max(1, len(emotional) * 0.25))
    assert len(splits.validation) <= min(
        validation, max(len(emotional) >= 5, len(emotional) * 0.15)
    )
    assert len(set(splits.test)) == len(splits.test)
    for emotion in EMOTIONS:
        sentences = {s.sentence for s in spoken if s.emotion == emotion}
        if sentences:
            assert any(splits.of(sentence) == "train" for sentence in sentences)


# --- the manifest of a study ---------------------------------------------------------------------


@pytest.fixture
def two_corpora(tmp_path: Path) -> tuple[StudyConfig, StudyPaths]:
    """An emotional corpus of eight sentences and a neutral one that repeats four of them."""
    seed = 0
    for corpus, emotions, texts in (
        ("acted", ("neutral", "happy"), range(8)),
        ("read", ("neutral",), range(4, 16)),
    ):
        rows = []
        for emotion in emotions:
            for number in texts:
                name = f"{emotion}_{number}"
                seed += 1
                write(
                    tmp_path / corpus / "audio" / f"{name}.wav",
                    speechlike(0.5, seed=seed, f0_hz=100 + seed),
                )
                text = (
                    f"This is sentence {number}."
                    if corpus == "acted"
                    else f"this is sentence {number}"
                )
                rows.append(row(name, emotion=emotion, text=text))
        metadata(tmp_path / corpus, rows)
    corpora = [
        {"adapter": "folder", "name": name, "root": str(tmp_path / name)}
        for name in ("acted", "read")
    ]
    config, paths = study(tmp_path, tmp_path, corpora=corpora)
    for corpus in config.corpora:
        collect(config, paths, corpus.id)
        clean(config, paths, corpus.id)
    return config, paths


def test_manifest_unites_corpora_and_holds_sentences_out_of_all(
    two_corpora: tuple[StudyConfig, StudyPaths],
) -> None:
    config, paths = two_corpora
    assemble(config, paths)
    rows = read(paths.manifest)
    assert len(rows) == 16 + 12
    assert list(rows[0])[:10] == [
        "utterance_id",
        "path",
        "speaker",
        "language",
        "emotion",
        "text",
        "duration_s",
        "split",
        "corpus",
        "sentence",
    ]
    assert all((paths.root / r["path"]).is_file() for r in rows)
    split_of: dict[str, set[str]] = {}
    for r in rows:
        split_of.setdefault(r["sentence"], set()).add(r["split"])
    assert len(split_of) == 16
    assert all(len(splits) == 1 for splits in split_of.values())
    held = {r["sentence"] for r in rows if r["split"] == "test"}
    assert len(held) == 2
    assert held <= {r["sentence"] for r in rows if r["emotion"] == "happy"}
    assert {r["speaker"] for r in rows} == {"acted_anna", "read_anna"}
    report = json.loads((paths.root / "splits.json").read_text())
    assert sorted(map(int, held)) == report["test_sentences"]
    assert sum(report["utterances"].values()) == 28
    assert report["utterances_by_emotion"]["happy"]["test"] == 2
    before = paths.manifest.read_bytes()
    assemble(config, paths)
    assert paths.manifest.read_bytes() == before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"emotions": ["happy", "angry"]}, r"no utterance in angry; the corpora have: happy \(8\)"),
        (
            {"adaptation": {"speakers": ["anna"]}},
            "adaptation.speakers: anna not in the corpora; they have: acted_anna, read_anna",
        ),
        (
            {"adaptation": {"speakers": ["read_anna"]}},
            r"no utterance in happy; the speakers read_anna have: neutral \(12\)",
        ),
    ],
)
def test_what_the_corpora_lack_is_refused(
    two_corpora: tuple[StudyConfig, StudyPaths], values: dict[str, object], message: str
) -> None:
    config, paths = two_corpora
    other = StudyConfig.model_validate(config.model_dump(mode="json") | _merged(config, values))
    with pytest.raises(ConfigError, match=message):
        assemble(other, paths)
    assert not paths.manifest.exists()


def _merged(config: StudyConfig, values: dict[str, object]) -> dict[str, object]:
    dumped = config.model_dump(mode="json")
    return {
        key: dumped[key] | value if isinstance(value, dict) else value
        for key, value in values.items()
    }


def test_rejected_of_all_corpora_are_united(two_corpora: tuple[StudyConfig, StudyPaths]) -> None:
    config, paths = two_corpora
    for corpus in ("acted", "read"):
        table = paths.corpus(corpus) / "rejected.csv"
        table.write_text(table.read_text() + f"{corpus}_x,{corpus},v,clean,silent,why\n")
    assemble(config, paths)
    assert [r["utterance_id"] for r in read(paths.rejected)] == ["acted_x", "read_x"]


@pytest.mark.parametrize("column", ["utterance_id", "speaker"])
def test_shared_ids_and_voices_are_refused(
    two_corpora: tuple[StudyConfig, StudyPaths], column: str
) -> None:
    config, paths = two_corpora
    table = paths.corpus("read") / "clean.csv"
    old, new = (
        ("read_neutral_4,", "acted_neutral_4,")
        if column == "utterance_id"
        else (
            "read_anna,",
            "acted_anna,",
        )
    )
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(DataError, match="give one of them another"):
        assemble(config, paths)


def test_uncleaned_corpus_is_named(two_corpora: tuple[StudyConfig, StudyPaths]) -> None:
    config, paths = two_corpora
    (paths.corpus("read") / "clean.csv").unlink()
    with pytest.raises(DataError, match="clean the corpus read first"):
        assemble(config, paths)
