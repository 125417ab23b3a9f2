"""Every adapter on a miniature of its official layout."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from corpora_samples import metadata, row, write

from eele.config.models import CorpusConfig
from eele.corpora import CORPORA
from eele.corpora.base import Listing, filter_listing, safe_name
from eele.errors import ConfigError, DataError
from eele.vocabulary import CORPORA as NAMES
from eele.vocabulary import EMOTIONS

Found = set[tuple[str, str, str, str, str]]


def listed(name: str, root: Path, **values: object) -> Listing:
    corpus = CorpusConfig.model_validate({"adapter": name, "root": root, **values})
    return CORPORA[name].list_utterances(root, corpus)


def facts(listing: Listing) -> Found:
    return {(r.utterance_id, r.speaker, r.language, r.emotion, r.text) for r in listing.rows}


def reasons(listing: Listing) -> dict[str, str]:
    return {r.utterance_id: r.reason for r in listing.rejected}


def test_registry_holds_exactly_the_names_of_the_vocabulary() -> None:
    assert set(CORPORA) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_adapter_states_its_facts(name: str) -> None:
    adapter = CORPORA[name]
    assert adapter.name == name
    for fact in (adapter.title, adapter.version, adapter.licence, adapter.url, adapter.citation):
        assert fact
    assert adapter.ask.strip()
    assert adapter.how_to_get in ("download", "ask", "local", "generated")
    assert set(adapter.label_map.values()) <= set(EMOTIONS)
    assert adapter.energy_comparable == (name != "emodb")


def test_importing_the_adapters_loads_no_audio_library() -> None:
    heavy = "torch, librosa, soundfile, numpy, pandas, pooch"
    code = (
        f"import sys, eele.corpora; print([m for m in '{heavy}'.split(', ') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("demo", "folder")])
def test_a_folder_of_something_else_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").write_text("photos")
    with pytest.raises(DataError, match="does not hold the official layout"):
        listed(name, tmp_path)


@pytest.mark.parametrize("name", ["esd", "nemo", "cremad", "emovdb", "iemocap", "folder"])
def test_absent_corpus_says_how_to_get_it(name: str, tmp_path: Path) -> None:
    root = tmp_path / "nowhere"
    with pytest.raises(DataError, match="nothing found at") as caught:
        CORPORA[name].prepare(root, CorpusConfig(adapter=name), 22050)
    assert CORPORA[name].ask in str(caught.value)
    assert not root.exists()


def test_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "corpus.zip"
    file.write_bytes(b"x")
    with pytest.raises(DataError, match="is a file"):
        CORPORA["esd"].prepare(file, CorpusConfig(adapter="esd"), 22050)


def test_vctk(tmp_path: Path) -> None:
    audio, text = tmp_path / "wav48_silence_trimmed", tmp_path / "txt"
    write(audio / "p225" / "p225_001_mic1.flac")
    write(audio / "p225" / "p225_001_mic2.flac")
    write(audio / "p315" / "p315_004_mic1.flac")
    (text / "p225").mkdir(parents=True)
    (text / "p225" / "p225_001.txt").write_text("Please call Stella.\n")
    found = listed("vctk", tmp_path)
    assert facts(found) == {("p225_001", "p225", "en", "neutral", "Please call Stella.")}
    assert reasons(found) == {"p315_004": "missing_transcript"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("split_folders", [False, True])
def test_esd(tmp_path: Path, encoding: str, split_folders: bool) -> None:
    inner = "train" if split_folders else ""
    write(tmp_path / "0011" / "Neutral" / inner / "0011_000001.wav")
    write(tmp_path / "0011" / "Angry" / inner / "0011_000351.wav")
    write(tmp_path / "0011" / "Surprise" / inner / "0011_001401.wav")
    write(tmp_path / "0011" / "Puzzled" / inner / "0011_001999.wav")
    lines = (
        "0011_000001\tThe nine the eggs, I keep.\tNeutral\r\n"
        "0011_000351\tThe nine the eggs, I keep.\t生气\r\n\r\n"
    )
    (tmp_path / "0011" / "0011.txt").write_bytes(lines.encode(encoding))
    found = listed("esd", tmp_path)
    text = "The nine the eggs, I keep."
    assert facts(found) == {
        ("0011_000001", "0011", "en", "neutral", text),
        ("0011_000351", "0011", "en", "angry", text),
    }
    assert reasons(found) == {
        "0011_001401": "missing_transcript",
        "0011_001999": "unknown_emotion",
    }


def test_esd_mandarin_in_gbk_and_language_filter(tmp_path: Path) -> None:
    root = tmp_path / "Emotion Speech Dataset"
    write(root / "0001" / "Happy" / "0001_000701.wav")
    (root / "0001" / "0001.txt").write_bytes("0001_000701\t打远一看。\t快乐\n".encode("gbk"))
    write(root / "0011" / "Sad" / "0011_001051.wav")
    (root / "0011" / "0011.txt").write_text("0011_001051  Tom said.\tSad\n")
    assert facts(listed("esd", tmp_path)) == {
        ("0001_000701", "0001", "zh", "happy", "打远一看。"),
        ("0011_001051", "0011", "en", "sad", "Tom said."),
    }
    assert {r.speaker for r in listed("esd", tmp_path, language="en").rows} == {"0011"}


def test_ljspeech(tmp_path: Path) -> None:
    write(tmp_path / "wavs" / "LJ001-0001.wav")
    (tmp_path / "metadata.csv").write_text(
        'LJ001-0001|In 1455, "Printing|In fourteen fifty-five, "Printing\n'
        "LJ001-0002|only raw|\n"
        "LJ001-0003\n"
    )
    found = listed("ljspeech", tmp_path)
    assert facts(found) == {
        ("LJ001-0001", "ljspeech", "en", "neutral", 'In fourteen fifty-five, "Printing'),
        ("LJ001-0002", "ljspeech", "en", "neutral", "only raw"),
    }
    assert reasons(found) == {"LJ001-0003": "bad_row"}


@pytest.mark.parametrize("top", ["", "LibriTTS_R"])
def test_libritts_r(tmp_path: Path, top: str) -> None:
    chapter = tmp_path / top / "dev-clean" / "84" / "121123"
    write(chapter / "84_121123_000007_000001.wav")
    (chapter / "84_121123_000007_000001.normalized.txt").write_text("Maximilian.\n")
    (chapter / "84_121123_000007_000001.original.txt").write_text("Maximilian!\n")
    write(chapter / "84_121123_000008_000000.wav")
    found = listed("libritts_r", tmp_path)
    assert facts(found) == {("84_121123_000007_000001", "84", "en", "neutral", "Maximilian.")}
    assert reasons(found) == {"84_121123_000008_000000": "missing_transcript"}


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_ravdess(tmp_path: Path, suffix: str) -> None:
    for name in (
        "03-01-01-01-01-01-01",
        "03-01-08-02-02-01-01",
        "03-02-05-01-01-01-01",  # sung
        "02-01-05-01-01-01-01",  # video
        "03-01-09-01-01-01-01",
        "03-01-03-01-03-01-01",
    ):
        write(tmp_path / "Actor_01" / f"{name}{suffix}")
    found = listed("ravdess", tmp_path)
    assert facts(found) == {
        ("03-01-01-01-01-01-01", "01", "en", "neutral", "Kids are talking by the door."),
        ("03-01-08-02-02-01-01", "01", "en", "surprised", "Dogs are sitting by the door."),
    }
    assert reasons(found) == {
        "03-01-09-01-01-01-01": "unknown_emotion",
        "03-01-03-01-03-01-01": "missing_transcript",
    }


def test_cremad(tmp_path: Path) -> None:
    for name in ("1001_DFA_ANG_XX", "1040_ITH_SAD_X", "1002_IEO_FEA_HI", "1003_XYZ_NEU_XX"):
        write(tmp_path / "AudioWAV" / f"{name}.wav")
    found = listed("cremad", tmp_path)
    assert facts(found) == {
        ("1001_DFA_ANG_XX", "1001", "en", "angry", "Don't forget a jacket."),
        ("1040_ITH_SAD_X", "1040", "en", "sad", "I think I have a doctor's appointment."),
        ("1002_IEO_FEA_HI", "1002", "en", "fearful", "It's eleven o'clock."),
    }
    assert reasons(found) == {"1003_XYZ_NEU_XX": "missing_transcript"}


def test_emodb(tmp_path: Path) -> None:
    for name in ("03a01Fa", "16b10Lb", "08a02Na", "03a01Xa", "03a03Fa"):
        write(tmp_path / "wav" / f"{name}.wav")
    found = listed("emodb", tmp_path)
    assert facts(found) == {
        ("03a01Fa", "03", "de", "happy", "Der Lappen liegt auf dem Eisschrank."),
        ("16b10Lb", "16", "de", "bored", "Die wird auf dem Platz sein, wo wir sie immer hinlegen."),
        ("08a02Na", "08", "de", "neutral", "Das will sie am Mittwoch abgeben."),
    }
    assert reasons(found) == {"03a01Xa": "unknown_emotion", "03a03Fa": "missing_transcript"}


def test_nemo(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    (tmp_path / "data.tsv").write_text(
        "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"
        "WR0_surprised_64.wav\tsurprised\t„Ród smoka” trwa.\tród smoka trwa\t        WR0\tmale\t23\n"
        "KD0_fear_2.wav\tfear\tNie waśńmy się.\tnie waśńmy się\t        KD0\tfemale\t28\n"
        "KD0_envy_2.wav\tenvy\tNie waśńmy się.\tnie waśńmy się\t        KD0\tfemale\t28\n",
        encoding="utf-8",
    )
    found = listed("nemo", tmp_path)
    assert [r.utterance_id for r in found.rows] == ["KD0_fear_2", "WR0_surprised_64"]
    assert facts(found) == {
        ("WR0_surprised_64", "WR0", "pl", "surprised", "„Ród smoka” trwa."),
        ("KD0_fear_2", "KD0", "pl", "fearful", "Nie waśńmy się."),
    }
    assert reasons(found) == {"KD0_envy_2": "unknown_emotion"}


@pytest.mark.parametrize("layout", ["{0}/{1}", "{0}_{1}"])
def test_emovdb(tmp_path: Path, layout: str) -> None:
    for folder, name in (
        ("Amused", "amused_1-15_0001"),
        ("Sleepiness", "sleepiness_1-28_0001"),
        ("Neutral", "neutral_1-28_0999"),
    ):
        write(tmp_path / layout.format("bea", folder) / f"{name}.wav")
    write(tmp_path / layout.format("sam", "Disgust") / "disgust_1-28_0002.wav")
    (tmp_path / "cmuarctic.data").write_text(
        '( arctic_a0001 "Author of the danger trail, Philip Steels, etc." )\n'
        '( arctic_a0002 "Not at this particular case, Tom." )\n'
        '( arctic_b0001 "Gad, your letter came just in time." )\n'
    )
    found = listed("emovdb", tmp_path)
    first = "Author of the danger trail, Philip Steels, etc."
    assert facts(found) == {
        ("bea_amused_1-15_0001", "bea", "en", "happy", first),
        ("sam_disgust_1-28_0002", "sam", "en", "disgusted", "Not at this particular case, Tom."),
    }
    assert reasons(found) == {
        "bea_sleepiness_1-28_0001": "unmapped_emotion",
        "bea_neutral_1-28_0999": "missing_transcript",
    }


def test_folder_lists_good_rows_and_names_bad_ones(tmp_path: Path) -> None:
    metadata(
        tmp_path,
        [
            row("u1", duration_s="1.0"),
            row("u2", duration_s="", emotion="Happy", text="  two,  words "),
            row("u 3/x", duration_s="", path="audio/three.wav", speaker="Anna B."),
            row("u4", duration_s="", emotion="jolly"),
            row("u5", duration_s="", path="../u5.wav"),
            row("u6", duration_s="", path="/etc/passwd"),
            row("u7", duration_s="", path="a/..\\..\\u7.wav"),
            row("u8", duration_s="", path="C:\\u8.wav"),
            row("u9", duration_s="", speaker=""),
            row("u10", duration_s="", language=""),
        ],
    )
    found = listed("folder", tmp_path)
    assert facts(found) == {
        ("u1", "anna", "en", "neutral", "Sentence u1."),
        ("u2", "anna", "en", "happy", "two,  words"),
        ("u-3-x", "Anna-B", "en", "neutral", "Sentence u 3/x."),
    }
    assert reasons(found) == {
        "u4": "unknown_emotion",
        "u5": "outside_folder",
        "u6": "outside_folder",
        "u7": "outside_folder",
        "u8": "outside_folder",
        "u9": "bad_row",
        "u10": "bad_row",
    }
    detail = {r.utterance_id: r.detail for r in found.rejected}
    assert "line 5" in detail["u4"] and "'jolly'" in detail["u4"] and "happy" in detail["u4"]


def test_folder_language_may_come_from_the_config(tmp_path: Path) -> None:
    rows = [{k: v for k, v in row("u1").items() if k != "language"}]
    metadata(tmp_path, rows)
    assert listed("folder", tmp_path, language="de").rows[0].language == "de"
    with pytest.raises(DataError, match="column language missing"):
        listed("folder", tmp_path)


def test_folder_does_not_merge_speakers(tmp_path: Path) -> None:
    metadata(tmp_path, [row("u1", speaker="Jürgen"), row("u2", speaker="Jörgen")])
    with pytest.raises(DataError, match="line 3: speakers 'Jürgen' and 'Jörgen' are both"):
        listed("folder", tmp_path)


def _no_text(path: Path) -> None:
    path.write_text("utterance_id,path,speaker,language\nu,p,s,en\n")


def _not_utf8(path: Path) -> None:
    path.write_bytes("utterance_id,path,speaker,language,emotion,text\nü".encode("latin-1"))


def _open_quote(path: Path) -> None:
    path.write_text('utterance_id,path,speaker,language,emotion,text\nu,p,s,en,neutral,"open\n')


def _nothing(path: Path) -> None:
    path.write_text("")


def _header_only(path: Path) -> None:
    path.write_text("utterance_id,path,speaker,language,emotion,text\n")


def _twice(path: Path) -> None:
    path.write_text("utterance_id,path,speaker,language,emotion,text,text\nu,p,s,en,sad,a,b\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_text, "columns emotion, text missing"),
        (_not_utf8, "not text in utf-8"),
        (_open_quote, "not a readable table"),
        (_nothing, "the header has: nothing"),
        (_header_only, "no rows"),
        (_twice, "stands twice"),
    ],
)
def test_folder_refuses_damaged_tables(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(tmp_path / "metadata.csv")
    with pytest.raises(DataError, match=message) as caught:
        listed("folder", tmp_path)
    assert "metadata.csv" in str(caught.value)


def test_filters_keep_speakers_and_emotions_and_explain_unknown_ones(tmp_path: Path) -> None:
    metadata(
        tmp_path,
        [
            row("a1"),
            row("a2", emotion="happy"),
            row("b1", speaker="ben"),
            row("b2", speaker="ben", emotion="odd"),
        ],
    )
    listing = listed("folder", tmp_path)

    def kept(**values: object) -> set[str]:
        corpus = CorpusConfig.model_validate({"adapter": "folder", "name": "box", **values})
        return {r.utterance_id for r in filter_listing(listing, corpus).rows}

    assert kept() == {"a1", "a2", "b1"}
    assert kept(speakers=["ben"]) == {"b1"}
    assert kept(speakers=["box_ben"]) == {"b1"}
    assert kept(emotions=["happy"]) == {"a2"}
    with pytest.raises(ConfigError, match="carl not in the corpus; it has: anna, ben"):
        kept(speakers=["anna", "carl"])
    with pytest.raises(ConfigError, match="sad not in the corpus; it has: happy, neutral"):
        kept(emotions=["sad"])
    only_anna = filter_listing(listing, CorpusConfig(adapter="folder", speakers=("anna",)))
    assert only_anna.rejected == []


@pytest.mark.parametrize(
    ("text", "name"),
    [("a b", "a-b"), ("..", "unnamed"), ("ä/ö", "unnamed"), ("x_1.2-3", "x_1.2-3")],
)
def test_safe_name(text: str, name: str) -> None:
    assert safe_name(text) == name
