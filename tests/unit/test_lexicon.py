"""The lexicon: readings in sentences, dictionaries, words it does not know."""

import csv
import json
import logging
from pathlib import Path

import pytest

from eele.config import StudyConfig
from eele.errors import ConfigError, DataError
from eele.paths import StudyPaths
from eele.text import build_lexicon
from eele.text.dictionary import read_dictionary
from eele.text.lexicon import Lexicon
from eele.text.reading import read

SENTENCES = (
    ("en", "The old man walked to the sea."),
    ("en", "The new boat went to a harbour."),
    ("en", "The dogs, the cats and the old horse."),
    ("pl", "Lubię czytać przed snem."),
    ("de", "Der Lappen liegt auf dem Eisschrank."),
)


def study_at(folder: Path, sentences: tuple = SENTENCES, **sections: object) -> tuple:
    paths = StudyPaths(folder / "results")
    paths.root.mkdir()
    with open(paths.manifest, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["utterance_id", "language", "text"])
        writer.writerows([f"u{i}", *sentence] for i, sentence in enumerate(sentences))
    return StudyConfig.model_validate(sections), paths


def test_espeak_lexicon_files(tmp_path: Path) -> None:
    study, paths = study_at(tmp_path)
    build_lexicon(study, paths)
    with open(paths.lexicon, newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    assert list(rows[0]) == ["language", "word", "phones"]
    assert {r["language"] for r in rows} == {"en", "pl", "de"}
    phones = json.loads(paths.phones.read_text("utf-8"))
    assert phones[:3] == ["_", "sil", "spn"]
    assert phones[3:] == sorted(phones[3:])
    assert set(phones[3:]) == {p for r in rows for p in r["phones"].split()}
    assert paths.lexicon.with_name("missing.csv").read_text() == "language,word,count\n"


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    study, paths = study_at(tmp_path)
    build_lexicon(study, paths)
    first = paths.lexicon.read_bytes(), paths.phones.read_bytes()
    build_lexicon(study, paths)
    assert (paths.lexicon.read_bytes(), paths.phones.read_bytes()) == first


def test_readings_come_from_sentences_most_frequent_first(tmp_path: Path) -> None:
    study, paths = study_at(tmp_path)
    build_lexicon(study, paths)
    lexicon = Lexicon.load(paths, study)
    # Before consonants ðə (the new, the sea, the dogs, the cats), before vowels ðɪ (the old, twice).
    assert lexicon.pronunciations("the", "en")[:2] == (("ð", "ə"), ("ð", "ɪ"))
    assert lexicon.pronunciations("a", "en")[0] in {("ɐ",), ("ə",)}
    assert ("eɪ",) in lexicon.pronunciations("a", "en")
    assert lexicon.pronunciations("the", "pl") == ()
    assert lexicon.words("de") == ("auf", "dem", "der", "eisschrank", "lappen", "liegt")


def test_phones_to_synthesise(tmp_path: Path) -> None:
    study, paths = study_at(tmp_path)
    build_lexicon(study, paths)
    lexicon = Lexicon.load(paths, study)
    phones = lexicon.phones_of("The old man, the dogs.", "en")
    assert " ".join(phones) == "sil ð ɪ oʊ l d m æ n sil ð ə d ɑː ɡ z sil"


def test_free_texts_are_in_the_lexicon(tmp_path: Path) -> None:
    study, paths = study_at(tmp_path, SENTENCES[:2], synthesis={"texts": ["A purple fish!"]})
    build_lexicon(study, paths)
    assert Lexicon.load(paths, study).pronunciations("purple", "en")


def test_unknown_words_are_read_within_the_inventory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study, paths = study_at(tmp_path, SENTENCES[3:4])
    build_lexicon(study, paths)
    lexicon = Lexicon.load(paths, study)
    with caplog.at_level(logging.WARNING):
        phones = lexicon.phones_of("Chrząszcz w sieci", "pl")
    assert set(phones) <= set(lexicon.phones)
    assert phones[0] == phones[-1] == "sil"
    # The inventory of one sentence has no x; nothing is near it.
    assert "spn" in phones
    assert "'x' is not in the study's inventory" in caplog.text


def test_text_without_words_is_refused(tmp_path: Path) -> None:
    study, paths = study_at(tmp_path, (*SENTENCES, ("en", "?!")))
    with pytest.raises(DataError, match="utterance u5: no word"):
        build_lexicon(study, paths)


def test_unpronounceable_word_names_the_utterance(tmp_path: Path) -> None:
    study, paths = study_at(tmp_path, (("en", "Say it."), ("en", "Say ʻ now")))
    with pytest.raises(DataError, match=r"utterance u1: espeak-ng \(en\) has no pronunciation"):
        build_lexicon(study, paths)


def test_unknown_language_is_refused(tmp_path: Path) -> None:
    study, paths = study_at(tmp_path, (("pll", "Lubię czytać."),))
    with pytest.raises(ConfigError, match="language 'pll'"):
        build_lexicon(study, paths)


def test_transcripts_in_another_script_are_refused(tmp_path: Path) -> None:
    study, paths = study_at(tmp_path, (("en", "今天天气很好"),))
    with pytest.raises(DataError, match=r"language 'en': espeak-ng spells out 100%"):
        build_lexicon(study, paths)


def test_chinese_is_read_character_by_character(tmp_path: Path) -> None:
    study, paths = study_at(tmp_path, (("zh", "今天天气很好。"),))
    build_lexicon(study, paths)
    assert set(Lexicon.load(paths, study).words("zh")) == set("今天气很好")


def test_missing_manifest_names_the_stage(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="assemble_manifest"):
        build_lexicon(StudyConfig(), StudyPaths(tmp_path))


def test_damaged_lexicon_names_the_remedy(tmp_path: Path) -> None:
    study, paths = study_at(tmp_path)
    with pytest.raises(DataError, match="build_lexicon"):
        Lexicon.load(paths, study)


@pytest.mark.parametrize(
    ("text", "word", "phones"),
    [
        ("It was in the paper of the day.", "of", "ʌ v"),
        ("It was in the paper of the day.", "day", "d eɪ"),
        ("He has 42 dogs.", "42", "f ɔːɹ ɾ i t uː"),
        ("He has 42 dogs in the house.", "in", "ɪ n"),
        ("He has 42 dogs in the house.", "house", "h aʊ s"),
    ],
)
def test_joined_and_split_words_are_cut_apart(text: str, word: str, phones: str) -> None:
    assert dict(read(text, "en"))[word] == tuple(phones.split())


FORMATS = {
    "plain": "Boat\tB OW T\nboat\tB OW T AH\n",
    "cmu": ";;; comment\nBOAT  B OW1 T\nBOAT(2)  B OW1 T AH0\n",
    "mfa": "boat\t0.99\t0.21\t1.0\t1.0\tb ow t\nboat\t0.1\t0.2\t1.0\t1.0\tb ow t ə\n",
    "mfa_short": "boat\t0.9\tb ow t\nboat\t0.1\tb ow t ə\n",
}


@pytest.mark.parametrize("kind", FORMATS)
def test_dictionary_formats(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "words.dict"
    file.write_text(FORMATS[kind], encoding="utf-8")
    entries = read_dictionary(file)
    assert list(entries) == ["boat"]
    assert [len(form) for form in entries["boat"]] == [3, 4]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("boat\tb ow t\ndog\n", "line 2: no word or no phones"),
        ("boat\tb sil t\n", "line 1: the phone 'sil' is reserved"),
        ("\n", "holds no entry"),
    ],
)
def test_bad_dictionaries(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "words.dict"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_dictionary(file)


def test_dictionary_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no file"):
        read_dictionary(tmp_path / "none.dict")


def _with_dictionary(tmp_path: Path, words: str, sentences: tuple) -> tuple:
    file = tmp_path / "words.dict"
    file.write_text("".join(f"{word}\t{' '.join(word)}\n" for word in words.split()))
    section = {"source": "dictionary", "dictionary": str(file)}
    return study_at(tmp_path, sentences, lexicon=section)


def test_few_missing_words_become_spn_and_are_listed(tmp_path: Path) -> None:
    sentences = (*[("en", "the red boat is here")] * 10, ("en", "the red yacht is here"))
    study, paths = _with_dictionary(tmp_path, "the red boat is here", sentences)
    build_lexicon(study, paths)
    lexicon = Lexicon.load(paths, study)
    assert lexicon.pronunciations("yacht", "en") == (("spn",),)
    assert paths.lexicon.with_name("missing.csv").read_text().splitlines()[1:] == ["en,yacht,1"]
    assert lexicon.phones_of("Red boat, here", "en") == [
        "sil",
        "r",
        "e",
        "d",
        "b",
        "o",
        "a",
        "t",
        "sil",
        "h",
        "e",
        "r",
        "e",
        "sil",
    ]
    with pytest.raises(DataError, match="zebra"):
        lexicon.phones_of("red zebra", "en")


def test_many_missing_words_stop_the_run(tmp_path: Path) -> None:
    sentences = (("en", "the red boat"), ("en", "the red yacht"))
    study, paths = _with_dictionary(tmp_path, "the red boat", sentences)
    with pytest.raises(DataError, match=r"1 of 6 running words \(16.7%\): yacht \(1\)"):
        build_lexicon(study, paths)
    assert not paths.lexicon.exists()
