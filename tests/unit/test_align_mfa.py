"""MFA: our command lines against its recorded real parser, a run with a stand-in program, its failures."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from eele.align.mfa import (
    UNDECLARED_OPTIONS,
    MfaRun,
    align_mfa,
    check_phones,
    resolve_model,
    write_dictionary,
)
from eele.align.outcome import Item
from eele.config.models import AlignmentConfig, MfaConfig
from eele.errors import DataError, MissingToolError

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
        items.append(Item(name, "ann", "en", path, ("one", "two")))
    return items, {"en": {"one": [("w", "ʌ", "n")], "two": [("t", "uː"), ("t", "ə")]}}


def test_the_recorded_parser_is_the_real_one() -> None:
    assert TABLE["version"] == "3.4.3"
    assert TABLE["commands"]["train"]["arguments"][:2] == ["corpus_directory", "dictionary_path"]
    assert TABLE["commands"]["align"]["options"]["--clean"] == {"values": 0}


def test_command_lines_are_understood(tmp_path: Path) -> None:
    items, lexicons = tiny(tmp_path)
    model = tmp_path / "m.zip"
    with zipfile.ZipFile(model, "w") as archive:
        archive.writestr("m/meta.json", json.dumps({"phones": ["w", "ʌ", "n", "t", "uː", "ə"]}))
    pretrained = MfaConfig(mode="pretrained", acoustic_model=str(model))
    lines = []
    for config in (MfaConfig(), pretrained):
        lines += MfaRun(tmp_path, "en", config, jobs=3).commands(items, lexicons)
    assert [line[1] for line in lines] == ["train", "align", "align"]
    for line in lines:
        assert parse(line) == []
        assert "--clean" in line
        assert all(Path(argument).is_absolute() for argument in line[2:5])
    assert parse([*lines[0], "--no_clan"]) == ["--no_clan"]
    assert parse([*lines[1], "--output_format", "longish"]) == ["--output_format longish"]


def test_the_corpus_does_not_begin_with_the_root(tmp_path: Path) -> None:
    run = MfaRun(tmp_path, "en", MfaConfig(), jobs=1)
    assert not str(run.corpus).startswith(str(run.root))
    assert not str(run.output).startswith(str(run.root))


STAND_IN = """#!{python}
import json, os, sys
from pathlib import Path
args = sys.argv[1:]
log = Path({log!r})
log.write_text((log.read_text() if log.exists() else "") + json.dumps([args, os.environ["MFA_ROOT_DIR"]]) + "\\n")
if args[0] == "version":
    print({version!r})
elif {fail!r} and args[0] == "align":
    sys.exit("DictionaryError: no such word")
elif args[0] == "train":
    Path(args[3]).write_bytes(b"model")
else:
    corpus, out = Path(args[1]), Path(args[4])
    for lab in sorted(corpus.glob("*/*.lab")):
        if lab.stem in {skip!r}:
            continue
        target = out / lab.parent.name / (lab.stem + ".TextGrid")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text({grid!r}, encoding="utf-8")
    sys.exit(0)
"""


def install(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    skip: tuple[str, ...] = (),
    fail: bool = False,
    version: str = "3.4.3",
) -> Path:
    """A program `mfa` on PATH that behaves like MFA towards us; returns its log."""
    from test_align_textgrid import long_textgrid

    words = [(0.0, 0.4, "one"), (0.4, 0.5, ""), (0.5, 1.0, "two")]
    phones = [(0.0, 0.1, "w"), (0.1, 0.3, "ʌ"), (0.3, 0.4, "n"), (0.5, 0.6, "t"), (0.6, 1.0, "uː")]
    program, log = folder / "bin" / "mfa", folder / "calls"
    program.parent.mkdir()
    program.write_text(
        STAND_IN.format(
            python=sys.executable,
            log=str(log),
            skip=skip,
            fail=fail,
            version=version,
            grid=long_textgrid(1.0, {"words": words, "phones": phones}),
        )
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return log


def test_trains_aligns_and_lists_what_mfa_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = install(tmp_path, monkeypatch, skip=("b",))
    items, lexicons = tiny(tmp_path, ("a", "b", "c"))
    items[2] = Item("c", "ann", "en", items[2].path, ("three",))
    outcomes = align_mfa(items, lexicons, AlignmentConfig(aligner="mfa"))
    assert [o.aligned for o in outcomes] == [True, False, False]
    assert [o.reason for o in outcomes] == ["", "no TextGrid", "unknown word"]
    assert "three" in outcomes[2].detail
    assert outcomes[0].grid is not None
    assert [p.label for p in outcomes[0].grid.phones] == ["w", "ʌ", "n", "", "t", "uː"]
    assert outcomes[0].score is not None
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    assert [call[0][0] for call in calls] == ["version", "train", "align"]
    # A root of its own, gone afterwards, and never the user's.
    roots = {call[1] for call in calls[1:]}
    assert len(roots) == 1
    assert not Path(roots.pop()).exists()


def test_says_how_to_get_mfa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items, lexicons = tiny(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match=r"envs/mfa\.yaml"):
        align_mfa(items, lexicons, AlignmentConfig(aligner="mfa"))


def test_refuses_another_mfa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items, lexicons = tiny(tmp_path)
    install(tmp_path, monkeypatch, version="2.2.17")
    with pytest.raises(MissingToolError, match=r"says 2\.2\.17; needed: 3\.x"):
        align_mfa(items, lexicons, AlignmentConfig(aligner="mfa"))


def test_reports_what_mfa_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items, lexicons = tiny(tmp_path)
    install(tmp_path, monkeypatch, fail=True)
    with pytest.raises(DataError, match="DictionaryError: no such word"):
        align_mfa(items, lexicons, AlignmentConfig(aligner="mfa"))


def test_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MFA_ROOT_DIR", str(tmp_path))
    with pytest.raises(MissingToolError, match="mfa model download acoustic english_us_arpa"):
        resolve_model("acoustic", "english_us_arpa", ".zip")
    place = tmp_path / "pretrained_models" / "acoustic" / "english_us_arpa.zip"
    place.parent.mkdir(parents=True)
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("e/meta.json", json.dumps({"phones": ["W", "AH1"]}))
    assert resolve_model("acoustic", "english_us_arpa", ".zip") == place.resolve()
    items, lexicons = tiny(tmp_path)
    with pytest.raises(DataError, match=r"does not know.*ʌ.*lexicon\.source: dictionary"):
        check_phones(place, items, lexicons)
    place.write_bytes(b"no zip")
    with pytest.raises(DataError, match="no usable acoustic model"):
        check_phones(place, items, lexicons)


def test_dictionary(tmp_path: Path) -> None:
    items, lexicons = tiny(tmp_path)
    write_dictionary(tmp_path / "d", items, lexicons)
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
