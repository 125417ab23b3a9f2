"""Corpora of emotion recognition: IEMOCAP, MSP-Improv, MSP-Podcast; gender, session and partition of all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from corpora_samples import both, metadata, read, row, study, write

from eele.config.load import check_study
from eele.config.models import CorpusConfig, StudyConfig
from eele.corpora import CORPORA, assemble, clean, collect
from eele.corpora.base import Listing
from eele.errors import ConfigError, DataError
from eele.paths import StudyPaths

RECOGNITION = {"testbeds": {"here": {}}}


def listed(name: str, root: Path, **values: object) -> Listing:
    corpus = CorpusConfig.model_validate({"adapter": name, "root": root, **values})
    return CORPORA[name].list_utterances(root, corpus)


def people(listing: Listing) -> dict[str, tuple[str, str, str, str]]:
    return {r.utterance_id: (r.speaker, r.gender, r.session, r.partition) for r in listing.rows}


def emotions(listing: Listing) -> dict[str, str]:
    return {r.utterance_id: r.emotion for r in listing.rows}


def reasons(listing: Listing) -> dict[str, str]:
    return {r.utterance_id: r.reason for r in listing.rejected}


def iemocap(root: Path) -> Path:
    """Two sessions, two dialogues, with the lines that stand between the turns in the real files."""
    turns = {
        (1, "Ses01F_impro01"): [
            ("Ses01F_impro01_F000", "neu", "Excuse me."),
            ("Ses01F_impro01_M000", "exc", "Do you have your forms?"),
            ("Ses01F_impro01_M001", "xxx", "Yeah."),
            ("Ses01F_impro01_F001", "fru", ""),
        ],
        (5, "Ses05M_script01_1b"): [("Ses05M_script01_1b_M014", "ang", "What do you want?")],
    }
    for (session, dialogue), rows in turns.items():
        folder = root / f"Session{session}"
        labels, texts = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n"], []
        for name, label, text in rows:
            labels.append(
                f"[6.2901 - 8.2357]\t{name}\t{label}\t[2.5000, 2.5000, 2.5000]\n"
                "C-E2:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n"
            )
            if text:
                texts.append(f"{name} [006.2901-008.2357]: {text}")
            write(folder / "sentences" / "wav" / dialogue / f"{name}.wav")
        texts.append("M: overlapping words that are no turn")
        for place, lines in (("EmoEvaluation", labels), ("transcriptions", texts)):
            target = folder / "dialog" / place / f"{dialogue}.txt"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("\n".join(lines) + "\n")
        (folder / "dialog" / "EmoEvaluation" / f"._{dialogue}.txt").write_bytes(b"\x00\x05\x16")
    return root


@pytest.mark.parametrize("top", ["", "IEMOCAP_full_release"])
def test_iemocap(tmp_path: Path, top: str) -> None:
    iemocap(tmp_path / top)
    found = listed("iemocap", tmp_path)
    assert emotions(found) == {
        "Ses01F_impro01_F000": "neutral",
        "Ses01F_impro01_M000": "excited",
        "Ses05M_script01_1b_M014": "angry",
    }
    assert people(found) == {
        "Ses01F_impro01_F000": ("Ses01F", "female", "1", "train"),
        "Ses01F_impro01_M000": ("Ses01M", "male", "1", "train"),
        "Ses05M_script01_1b_M014": ("Ses05M", "male", "5", "test"),
    }
    assert {r.text for r in found.rows} == {
        "Excuse me.",
        "Do you have your forms?",
        "What do you want?",
    }
    assert all(r.path.is_file() for r in found.rows)
    assert reasons(found) == {
        "Ses01F_impro01_M001": "unmapped_emotion",
        "Ses01F_impro01_F001": "missing_transcript",
    }


def improv(root: Path, name: str = "Evalution.txt", top: str = "Audio") -> Path:
    lines = (
        "UTD-IMPROV-S01A-F01-P-FM01.avi; N; A:3.000000; V:3.500000; D:3.000000 ; N:4.600000;\n"
        "WORKER00000096; Neutral; Neutral,; A:3.000000; V:3.000000; D:3.000000; N:4.000000;\n\n"
        "UTD-IMPROV-S20S-M04-T-MF02.avi; S; A:3.000000; V:3.500000; D:NaN ; N:NaN;\n"
        "UTD-IMPROV-S20S-M05-R-MF02.avi; X; A:3.000000; V:3.500000; D:3.000000 ; N:4.600000;\n"
    )
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(lines)
    write(root / top / "session1" / "S01A" / "P" / "MSP-IMPROV-S01A-F01-P-FM01.wav")
    write(root / top / "session4" / "S20S" / "T" / "MSP-IMPROV-S20S-M04-T-MF02.wav")
    return root


@pytest.mark.parametrize(("name", "top"), [("Evalution.txt", "Audio"), ("Evaluation.txt", "")])
def test_msp_improv(tmp_path: Path, name: str, top: str) -> None:
    found = listed("msp_improv", improv(tmp_path, name, top))
    assert emotions(found) == {
        "MSP-IMPROV-S01A-F01-P-FM01": "neutral",
        "MSP-IMPROV-S20S-M04-T-MF02": "sad",
    }
    assert people(found) == {
        "MSP-IMPROV-S01A-F01-P-FM01": ("F01", "female", "1", "train"),
        "MSP-IMPROV-S20S-M04-T-MF02": ("M04", "male", "4", "validation"),
    }
    assert all(r.path.is_file() for r in found.rows)
    assert reasons(found) == {"MSP-IMPROV-S20S-M05-R-MF02": "unmapped_emotion"}


PODCAST = (
    "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
    "MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,127,Male,Test1\n"
    "MSP-PODCAST_0001_0009.wav,C,2.2,4.0,2.6,12,Female,Development\n"
    "MSP-PODCAST_0001_0010.wav,A,2.2,4.0,2.6,Unknown,Unknown,Train\n"
    "MSP-PODCAST_0001_0011.wav,O,2.2,4.0,2.6,12,Female,Train\n"
    "MSP-PODCAST_0001_0012.wav,H,2.2,4.0,2.6,13,Female,Test2\n"
)


@pytest.mark.parametrize(
    ("name", "audio"), [("labels_consensus.csv", "Audios"), ("labels_concensus.csv", "Audio")]
)
@pytest.mark.parametrize("partitions", ["", "Partition.txt", "Partitions.txt"])
def test_msp_podcast(tmp_path: Path, name: str, audio: str, partitions: str) -> None:
    lines = PODCAST.splitlines()
    (tmp_path / "Labels").mkdir()
    if partitions:  # an older release: the split in a file of its own
        (tmp_path / partitions).write_text(
            "\n".join(f"{line.split(',')[-1]}; {line.split(',')[0]}" for line in lines[1:])
        )
        lines = [line.rsplit(",", 1)[0] for line in lines]
    (tmp_path / "Labels" / name).write_text("\n".join(lines) + "\n")
    for line in lines[1:]:
        write(tmp_path / audio / line.split(",")[0])
    (tmp_path / "Transcripts").mkdir()
    (tmp_path / "Transcripts" / "MSP-PODCAST_0001_0008.txt").write_text("So it was.\n")
    found = listed("msp_podcast", tmp_path)
    assert emotions(found) == {
        "MSP-PODCAST_0001_0008": "neutral",
        "MSP-PODCAST_0001_0009": "contemptuous",
        "MSP-PODCAST_0001_0012": "happy",
    }
    assert people(found) == {
        "MSP-PODCAST_0001_0008": ("127", "male", "", "test"),
        "MSP-PODCAST_0001_0009": ("12", "female", "", "validation"),
        "MSP-PODCAST_0001_0012": ("13", "female", "", ""),
    }
    assert [r.text for r in found.rows] == ["So it was.", "", ""]
    assert all(r.path.is_file() for r in found.rows)
    assert reasons(found) == {
        "MSP-PODCAST_0001_0010": "unknown_speaker",
        "MSP-PODCAST_0001_0011": "unmapped_emotion",
    }


@pytest.mark.parametrize("name", ["iemocap", "msp_improv", "msp_podcast"])
def test_licensed_corpora_say_where_to_ask_and_what_goes_where(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing found at .*Ask .*https://") as caught:
        CORPORA[name].prepare(tmp_path / "nowhere", CorpusConfig(adapter=name), 16000)
    assert ".wav" in str(caught.value)


def _ravdess(root: Path) -> None:
    write(root / "Actor_01" / "03-01-01-01-01-01-01.wav")
    write(root / "Actor_24" / "03-01-01-01-01-01-24.wav")


def _emodb(root: Path) -> None:
    write(root / "wav" / "15a01Fa.wav")
    write(root / "wav" / "09a01Fa.wav")


def _cremad(root: Path) -> None:
    for actor in (1001, 1059, 1074):
        write(root / "AudioWAV" / f"{actor}_DFA_ANG_XX.wav")
    (root / "VideoDemographics.csv").write_text(
        "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,Caucasian,Not Hispanic\n1074,21,Female,A,N\n"
    )


def _nemo(root: Path) -> None:
    (root / "samples").mkdir(parents=True)
    (root / "data.tsv").write_text(
        "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"
        "WR0_fear_2.wav\tfear\tTak.\ttak\tWR0\tmale\t23\nKD0_fear_2.wav\tfear\tTak.\ttak\tKD0\tfemale\t28\n"
    )


def _esd(root: Path) -> None:
    for speaker, inner in (("0013", "train"), ("0015", "evaluation"), ("0019", "")):
        write(root / speaker / "Angry" / inner / f"{speaker}_000351.wav")
        (root / speaker / f"{speaker}.txt").write_text(f"{speaker}_000351\tTom said.\tAngry\n")


def _vctk(root: Path) -> None:
    for speaker in ("p225", "p226", "s5"):
        write(root / "wav48_silence_trimmed" / speaker / f"{speaker}_001_mic1.flac")
        (root / "txt" / speaker).mkdir(parents=True)
        (root / "txt" / speaker / f"{speaker}_001.txt").write_text("Please.\n")
    (root / "speaker-info.txt").write_text(
        "ID  AGE  GENDER  ACCENTS  REGION COMMENTS \np225  23  F    English    Southern  England\n"
        "p226  22  M    English    Surrey\n"
    )


def _emovdb(root: Path) -> None:
    for speaker in ("bea", "sam"):
        write(root / speaker / "Neutral" / "neutral_1-28_0001.wav")
    (root / "cmuarctic.data").write_text('( arctic_a0001 "Author of the danger trail." )\n')


@pytest.mark.parametrize(
    ("name", "make", "expected"),
    [
        ("ravdess", _ravdess, {"01": ("male", ""), "24": ("female", "")}),
        ("emodb", _emodb, {"15": ("male", ""), "09": ("female", "")}),
        (
            "cremad",
            _cremad,
            {"1001": ("male", "train"), "1059": ("", "validation"), "1074": ("female", "test")},
        ),
        ("nemo", _nemo, {"WR0": ("male", ""), "KD0": ("female", "")}),
        (
            "esd",
            _esd,
            {"0013": ("male", "train"), "0015": ("female", "validation"), "0019": ("female", "")},
        ),
        ("vctk", _vctk, {"p225": ("female", ""), "p226": ("male", ""), "s5": ("", "")}),
        ("emovdb", _emovdb, {"bea": ("female", ""), "sam": ("male", "")}),
    ],
)
def test_gender_and_partition_of_corpora_that_say(
    name: str, make: Callable[[Path], None], expected: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    make(tmp_path)
    found = {r.speaker: (r.gender, r.partition) for r in listed(name, tmp_path).rows}
    assert found == expected


def test_folder_reads_a_column_gender(tmp_path: Path) -> None:
    rows = [row("u1", gender="F"), row("u2", gender="male"), row("u3", gender=""), row("u4")]
    rows[3]["gender"] = "robot"
    metadata(tmp_path, rows)
    found = listed("folder", tmp_path)
    assert [r.gender for r in found.rows] == ["female", "male", ""]
    assert reasons(found) == {"u4": "bad_row"} and "'robot'" in found.rejected[0].detail


def voices(root: Path) -> Path:
    rows = []
    for speaker in ("anna", "ben"):
        for emotion in ("neutral", "happy"):
            for text in range(4):
                name = f"{speaker}_{emotion}_{text}"
                write(root / "audio" / f"{name}.wav")
                rows.append(row(name, speaker=speaker, emotion=emotion, text=f"Sentence {text}."))
    metadata(root, rows)
    return root


def test_genders_of_the_config_reach_the_manifest_last(tmp_path: Path) -> None:
    voices(tmp_path / "in")
    corpus = {"adapter": "folder", "name": "box", "root": str(tmp_path / "in")}
    genders = {"anna": "female", "box_ben": "male"}
    config, paths = study(tmp_path, tmp_path, corpora=[{**corpus, "genders": genders}])
    both(config, paths)
    assemble(config, paths)
    rows = read(paths.manifest)
    assert list(rows[0])[-3:] == ["session", "partition", "gender"]
    assert {(r["speaker"], r["gender"]) for r in rows} == {
        ("box_anna", "female"),
        ("box_ben", "male"),
    }
    config, _ = study(tmp_path, tmp_path, corpora=[{**corpus, "genders": {"cleo": "female"}}])
    with pytest.raises(ConfigError, match="genders: cleo not in the corpus; it has: anna, ben"):
        collect(config, paths, "box")


def _improv_study(root: Path, tmp_path: Path, **values: object) -> tuple[StudyConfig, StudyPaths]:
    table = {
        "study": "wordless",
        "corpora": [
            {"adapter": "msp_improv", "root": str(improv(root))},
            {"adapter": "folder", "name": "box", "root": str(voices(tmp_path / "box"))},
        ],
    }
    config = check_study({**table, "emotions": ["happy"], **values})
    paths = StudyPaths.of("wordless", tmp_path / "results")
    for corpus in config.corpora:
        collect(config, paths, corpus.id)
        clean(config, paths, corpus.id)
    return config, paths


def test_recordings_without_texts_serve_recognition_each_as_its_own_sentence(
    tmp_path: Path,
) -> None:
    config, paths = _improv_study(tmp_path / "in", tmp_path, recognition=RECOGNITION)
    assemble(config, paths)
    rows = [r for r in read(paths.manifest) if r["corpus"] == "msp_improv"]
    assert len(rows) == 2 and {r["text"] for r in rows} == {""}
    assert len({r["sentence"] for r in rows}) == 2
    assert {(r["session"], r["partition"]) for r in rows} == {("1", "train"), ("4", "validation")}


def test_recordings_without_texts_are_refused_in_a_study_of_synthesis(tmp_path: Path) -> None:
    config, paths = _improv_study(tmp_path / "in", tmp_path)
    with pytest.raises(ConfigError, match=r"msp_improv: comes without texts.*`recognition`"):
        assemble(config, paths)
