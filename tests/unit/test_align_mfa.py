"""MFA: our command lines against its recorded real parser, runs with a stand-in program, their failures."""

from __future__ import annotations

import csv
import json
import os
import sys
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from eele.align import align_shard, index, train_aligner
from eele.align.mfa import (
    UNDECLARED_OPTIONS,
    MfaRun,
    align_mfa,
    check_phones,
    resolve_model,
    train_mfa,
    write_dictionary,
)
from eele.align.outcome import Item, Outcome
from eele.align.rescore import scored
from eele.config.models import AlignmentConfig, MfaConfig, StudyConfig
from eele.errors import DataError, MissingToolError
from eele.paths import StudyPaths

ROOT = Path(__file__).parents[2]
TABLE = json.loads((ROOT / "tests/fixtures/mfa_cli.json").read_text("utf-8"))


def parse(argv: list[str]) -> list[str]:
    """What the recorded parser would not understand of `mfa <command> ...` (empty: nothing)."""
    command = TABLE["commands"][argv[1]]
    rest, positional, problems = list(argv[2:]), 0, []
    while rest:
        token = rest.pop(0)
        if not token.startswith("-"):
            positional += 1
        elif token in command["options"]:
            option = command["options"][token]
            for _ in range(option["values"]):
                value = rest.pop(0) if rest else "-"
                if value.startswith("-") or value not in option.get("choices", [value]):
                    problems.append(f"{token} {value}")
        elif token in UNDECLARED_OPTIONS and token[2:] in TABLE["aligner_parameters"] and rest:
            rest.pop(0)
        else:
            problems.append(token)
    if positional != len(command["arguments"]):
        problems.append(f"{positional} arguments, {len(command['arguments'])} expected")
    return problems


def tiny(folder: Path, names: tuple[str, ...] = ("a", "b")) -> tuple[list[Item], dict]:
    items = []
    for name in names:
        path = folder / f"{name}.flac"
        soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
        items.append(Item(name, "ann", "en", path, ("one", "two"), 1.0))
    return items, {"en": {"one": [("w", "ʌ", "n")], "two": [("t", "uː"), ("t", "ə")]}}


def test_the_recorded_parser_is_the_real_one() -> None:
    assert TABLE["version"] == "3.4.3"
    assert TABLE["commands"]["train"]["arguments"][:2] == ["corpus_directory", "dictionary_path"]
    assert TABLE["commands"]["align"]["options"]["--clean"] == {"values": 0}


def test_command_lines_are_understood(tmp_path: Path) -> None:
    run = MfaRun(tmp_path, "en", MfaConfig(), jobs=3)
    lines = [
        run.train_command(run.dictionary),
        run.align_command(run.dictionary, tmp_path / "other.zip"),
    ]
    for line in lines:
        assert parse(line) == []
        assert "--clean" in line
        assert line[line.index("--num_jobs") + 1] == "3"
        # Without speaker adaptation MFA would be a poorer aligner, and speakers need not stay together.
        assert "--single_speaker" not in line
        assert all(Path(argument).is_absolute() for argument in line[2:5])
    assert "--output_directory" not in lines[0]
    assert parse([*lines[0], "--no_clan"]) == ["--no_clan"]
    assert parse([*lines[1], "--output_format", "longish"]) == ["--output_format longish"]


def test_the_corpus_does_not_begin_with_the_root(tmp_path: Path) -> None:
    run = MfaRun(tmp_path, "en", MfaConfig(), jobs=1)
    assert not str(run.corpus).startswith(str(run.root))
    assert not str(run.output).startswith(str(run.root))


#: Keeps what MFA keeps where MFA keeps it, and ends where two runs would meet: `seen` remembers the names of
#: corpora, roots and databases of all runs. A run waits until as many as EELE_TEST_RUNS have begun.
STAND_IN = """#!{python}
import json, os, sqlite3, sys, time, zipfile
from pathlib import Path
args, root, seen = sys.argv[1:], Path(os.environ["MFA_ROOT_DIR"]), Path({seen!r})
with open({log!r}, "a") as log:
    log.write(json.dumps([args, str(root), os.environ.get("PYTHONPATH")]) + "\\n")

def first(name):
    try:
        (seen / name.replace("/", "_")).touch(exist_ok=False)
    except FileExistsError:
        sys.exit("met before: " + name)

if args[0] == "version":
    print({version!r})
    sys.exit()
if {fail!r} == args[0]:
    sys.exit("DictionaryError: no such word")
corpus, dictionary, model = map(Path, args[1:4])
temporary = Path(args[args.index("--temporary_directory") + 1])
first(str(root))
first("corpus " + corpus.name)
(root / "global_config.yaml").open("x").write("clean: false")
database = temporary / corpus.name / (corpus.name + ".db")
database.parent.mkdir(parents=True)
with sqlite3.connect(database) as connection:
    connection.execute("create table run (process integer)")
    connection.execute("insert into run values (?)", [os.getpid()])
first("at work %d" % os.getpid())
deadline = time.monotonic() + 60
while len(list(seen.glob("at work*"))) < int(os.environ.get("EELE_TEST_RUNS", "0")):
    if time.monotonic() > deadline:
        sys.exit("waited in vain")
    time.sleep(0.02)
with sqlite3.connect(database) as connection:
    assert connection.execute("select process from run").fetchall() == [(os.getpid(),)]
labs = sorted(corpus.glob("*/*.lab"))
if args[0] == "train":
    with zipfile.ZipFile(model, "w") as archive:
        speakers = sorted({{lab.parent.name for lab in labs}})
        archive.writestr(model.stem + "/meta.json", json.dumps({{"trained_on": speakers}}))
    sys.exit()
json.loads(zipfile.ZipFile(model).read(zipfile.ZipFile(model).namelist()[0]))
words = dict(line.split("\\t") for line in dictionary.read_text("utf-8").splitlines())
for lab in labs:
    assert set(lab.read_text().split()) <= set(words)
    if lab.stem in {skip!r}:
        continue
    target = Path(args[4]) / lab.parent.name / (lab.stem + ".TextGrid")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text({grid!r}, encoding="utf-8")
"""


def install(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    skip: tuple[str, ...] = (),
    fail: str = "",
    version: str = "3.4.3",
) -> Path:
    """A program `mfa` on PATH that behaves like MFA towards us; returns its log."""
    from test_align_textgrid import long_textgrid

    words = [(0.0, 0.4, "one"), (0.4, 0.5, ""), (0.5, 1.0, "two")]
    phones = [(0.0, 0.1, "w"), (0.1, 0.3, "ʌ"), (0.3, 0.4, "n"), (0.5, 0.6, "t"), (0.6, 1.0, "uː")]
    program, log, seen = folder / "bin" / "mfa", folder / "calls", folder / "seen"
    program.parent.mkdir()
    seen.mkdir()
    program.write_text(
        STAND_IN.format(
            python=sys.executable,
            log=str(log),
            skip=skip,
            fail=fail,
            seen=str(seen),
            version=version,
            grid=long_textgrid(1.0, {"words": words, "phones": phones}),
        )
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return log


def train_and_align(items: list[Item], lexicons: dict, folder: Path) -> list[Outcome]:
    models = train_mfa({"en": items}, lexicons, MfaConfig(), folder)
    assert models == {"en": "en.zip"}
    return align_mfa("en", items, lexicons, MfaConfig(), folder / "en.zip")


def calls(log: Path) -> list[list]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_trains_aligns_and_lists_what_mfa_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = install(tmp_path, monkeypatch, skip=("b",))
    items, lexicons = tiny(tmp_path, ("a", "b", "c"))
    items[2] = replace(items[2], words=("three",))
    outcomes = train_and_align(items, lexicons, tmp_path)
    assert [o.aligned for o in outcomes] == [True, False, False]
    assert [o.reason for o in outcomes] == ["", "no TextGrid", "unknown word"]
    assert "three" in outcomes[2].detail
    assert outcomes[0].grid is not None
    assert [p.label for p in outcomes[0].grid.phones] == ["w", "ʌ", "n", "", "t", "uː"]
    assert scored(outcomes)[0].score is not None
    assert [call[0][0] for call in calls(log)] == ["version", "train", "version", "align"]
    # Roots of their own, gone afterwards, and never the user's.
    roots = {call[1] for call in calls(log)}
    assert len(roots) == 4
    assert not any(Path(root).exists() for root in roots)
    # MFA's Python must not find this one's packages.
    assert [call[2] for call in calls(log)] == [None] * 4


def aligned_study(root: Path, shards: int) -> tuple[StudyConfig, StudyPaths]:
    """A study of four speakers with two utterances each, before its alignment."""
    paths = StudyPaths(root / "study")
    items, _ = tiny(root, tuple("abcdefgh"))
    paths.phones.parent.mkdir(parents=True)
    paths.phones.write_text(json.dumps(["_", "sil", "spn", "n", "t", "uː", "w", "ʌ"]))
    paths.lexicon.write_text("language\tword\tphones\nen\tone\tw ʌ n\nen\ttwo\tt uː\n")
    rows = ["utterance_id,path,speaker,language,text,duration_s"]
    rows += [f"{i.utterance_id},{i.path},s{n // 2},en,one two,1.0" for n, i in enumerate(items)]
    paths.manifest.write_text("\n".join(rows) + "\n")
    return StudyConfig(alignment=AlignmentConfig(aligner="mfa", shards=shards)), paths


def test_jobs_side_by_side_share_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = install(tmp_path, monkeypatch, skip=("d",))
    study, paths = aligned_study(tmp_path, shards=3)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "disk"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "disk").mkdir()
    train_aligner(study, paths, jobs=2)
    with zipfile.ZipFile(paths.alignment / "models" / "en.zip") as archive:
        assert json.loads(archive.read("en/meta.json")) == {"trained_on": ["s0", "s1", "s2", "s3"]}
    # The training and three more, which are at work at one time.
    monkeypatch.setenv("EELE_TEST_RUNS", "4")
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda shard: align_shard(study, paths, shard, jobs=5), range(3)))
    index(study, paths)
    runs = [call for call in calls(log) if call[0][0] != "version"]
    assert [call[0][0] for call in runs] == ["train", "align", "align", "align"]
    assert {call[0][3] for call in runs[1:]} == {str(paths.alignment / "models" / "en.zip")}
    assert [call[0][call[0].index("--num_jobs") + 1] for call in runs] == ["2", "5", "5", "5"]
    for column in (1, 2):
        assert len({call[0][column] for call in runs}) == 4
    # On the node's disk, and gone afterwards.
    assert all(call[1].startswith(str(tmp_path / "disk")) for call in runs)
    assert list((tmp_path / "disk").iterdir()) == []
    listed = list(csv.DictReader((paths.alignment / "alignment.csv").read_text().splitlines()))
    assert [row["utterance_id"] for row in listed] == list("abcdefgh")
    failed = {row["utterance_id"]: row["reason"] for row in listed if row["status"] == "failed"}
    assert failed.keys() == {"d"}
    assert failed["d"].startswith("no TextGrid")
    assert all(row["score"] for row in listed if row["status"] == "aligned")
    grids = {p.stem: p.parent.name for p in (paths.alignment / "textgrids").glob("*/*.TextGrid")}
    assert grids == {name: f"s{'abcdefgh'.index(name) // 2}" for name in "abcefgh"}


def test_the_stand_in_refuses_what_mfa_would_mix_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch)
    items, lexicons = tiny(tmp_path)
    run = MfaRun(tmp_path / "run", "en", MfaConfig(), jobs=1)
    (tmp_path / "run").mkdir()
    run.train(items, lexicons, tmp_path / "en.zip")
    with pytest.raises(DataError, match="met before"):
        run.align(items, lexicons, tmp_path / "en.zip")


def test_a_pretrained_model_is_checked_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = install(tmp_path, monkeypatch)
    items, lexicons = tiny(tmp_path)
    model = tmp_path / "english.zip"
    config = MfaConfig(mode="pretrained", acoustic_model=str(model))

    def train(lexicons: dict, languages: tuple[str, ...] = ("en",)) -> dict[str, str]:
        by_language = dict.fromkeys(languages, items)
        return train_mfa(by_language, lexicons, config, tmp_path / "models")

    with pytest.raises(MissingToolError, match=r"english\.zip is no file"):
        train(lexicons)
    with zipfile.ZipFile(model, "w") as archive:
        archive.writestr("e/meta.json", json.dumps({"phones": ["w", "ʌ", "n", "t", "uː", "ə"]}))
    assert train(lexicons) == {"en": str(model.resolve())}
    with pytest.raises(DataError, match=r"does not know.*q"):
        train({"en": {"one": [("q",)]}})
    with pytest.raises(DataError, match=r"one acoustic model.*de, en"):
        train(lexicons, ("de", "en"))
    assert {call[0][0] for call in calls(log)} == {"version"}
    assert not (tmp_path / "models").exists()
    outcomes = align_mfa("en", items, lexicons, config, model)
    assert [o.aligned for o in outcomes] == [True, True]
    with pytest.raises(MissingToolError, match=r"gone\.zip is no file.*train_aligner"):
        align_mfa("en", items, lexicons, config, tmp_path / "gone.zip")


def test_says_how_to_get_mfa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items, lexicons = tiny(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match=r"envs/mfa\.yaml"):
        train_and_align(items, lexicons, tmp_path)


def test_refuses_another_mfa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items, lexicons = tiny(tmp_path)
    install(tmp_path, monkeypatch, version="2.2.17")
    with pytest.raises(MissingToolError, match=r"says 2\.2\.17; needed: 3\.x"):
        train_and_align(items, lexicons, tmp_path)


@pytest.mark.parametrize("command", ["train", "align"])
def test_reports_what_mfa_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    items, lexicons = tiny(tmp_path)
    install(tmp_path, monkeypatch, fail=command)
    with pytest.raises(
        DataError, match=rf"`mfa {command}` stopped.*\n.*DictionaryError: no such word"
    ):
        train_and_align(items, lexicons, tmp_path)


def test_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MFA_ROOT_DIR", str(tmp_path))
    with pytest.raises(MissingToolError, match="mfa model download acoustic english_us_arpa"):
        resolve_model("acoustic", "english_us_arpa", ".zip")
    place = tmp_path / "pretrained_models" / "acoustic" / "english_us_arpa.zip"
    place.parent.mkdir(parents=True)
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("e/meta.json", json.dumps({"phones": ["W", "AH1"]}))
    assert resolve_model("acoustic", "english_us_arpa", ".zip") == place.resolve()
    lexicon = tiny(tmp_path)[1]["en"]
    with pytest.raises(DataError, match=r"does not know.*ʌ.*lexicon\.source: dictionary"):
        check_phones(place, lexicon)
    place.write_bytes(b"no zip")
    with pytest.raises(DataError, match="no usable acoustic model"):
        check_phones(place, lexicon)


def test_dictionary(tmp_path: Path) -> None:
    write_dictionary(tmp_path / "d", tiny(tmp_path)[1]["en"])
    assert (tmp_path / "d").read_text("utf-8") == "one\tw ʌ n\ntwo\tt uː\ntwo\tt ə\n"


@pytest.mark.skipif(
    not os.environ.get("EELE_CHECK_MFA"),
    reason="holds the command lines against MFA's real parser: set EELE_CHECK_MFA=1; it installs "
    "1.5 GB of packages into build/mfa-cli (see scripts/check_mfa_cli.sh)",
)
def test_the_real_parser() -> None:
    import subprocess

    before = (ROOT / "tests/fixtures/mfa_cli.json").read_bytes()
    environment = {**os.environ, "PYTHON": sys.executable}
    subprocess.run([str(ROOT / "scripts/check_mfa_cli.sh")], check=True, env=environment)
    assert (ROOT / "tests/fixtures/mfa_cli.json").read_bytes() == before
