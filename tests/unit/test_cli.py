"""The command line: exit codes, messages on stderr, no traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eele.cells import Cell
from eele.cli import LISTS, inspect_backbone, main
from eele.combining import parse_cell
from eele.config import StudyConfig, dump_study
from eele.errors import ConfigError


def test_help_of_every_command_exits_zero(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ([], ["say"], ["validate"], ["list"], ["inspect"], ["provenance"]):
        with pytest.raises(SystemExit) as stop:
            main([*command, "--help"])
        assert stop.value.code == 0
    assert "usage: eele" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["validate", "absent.yaml"], 2, "config file not found"),
        (["inspect", "tacotron"], 2, "allowed: fastspeech2"),
        (["say", "hi", "--study", "nowhere", "-o", "x.wav"], 2, "no study 'nowhere'"),
        (["provenance", "absent.json"], 2, "no such file"),
    ],
)
def test_mistakes_are_one_message_and_a_code(
    argv: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(argv) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    with pytest.raises(ConfigError):
        main([*argv, "--debug"])


def test_bad_usage_exits_two(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["list", "wishes"])
    assert stop.value.code == 2
    assert "corpora" in capsys.readouterr().err


def test_validate_accepts_a_good_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(dump_study(StudyConfig()))
    assert main(["validate", str(path)]) == 0
    assert "demo: valid; 35 cells, 26 of them trained" in capsys.readouterr().out
    override = tmp_path / "override.yaml"
    override.write_text("seeds: [1, 2]\n")
    assert main(["validate", str(path), str(override)]) == 0
    assert "52 of them trained" in capsys.readouterr().out


def test_validate_tells_what_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "some.yaml"
    path.write_text(
        "sweep: [{method: prompt, schemes: [a, e], ranks: [2], skip_impossible: true}]\n"
    )
    assert main(["validate", str(path)]) == 0
    assert "left out: prompt at scheme e: prompt cannot be" in capsys.readouterr().out


@pytest.mark.parametrize("what", LISTS)
def test_every_list_has_lines(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", what]) == 0
    assert capsys.readouterr().out.strip()


def test_inspect_counts_agree_with_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "fastspeech2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    sizes = StudyConfig().backbone.fastspeech2
    h, f, k = sizes.hidden_size, sizes.filter_size, sizes.kernel_size
    block = 4 * 2 * h + (h * k + f) + (f + h)
    assert found["sites"]["text_encoder"]["lora_parameters_per_rank"] == (
        64 + h + sizes.encoder_layers * block
    )
    for site in found["sites"].values():
        assert site["parameters"] == sum(row["parameters"] for row in site["modules"])
        for row in site["modules"]:
            assert row["wrappable"] == (row["reason"] is None)
    embedded = found["speakers"] * h
    assert found["parameters"] == embedded + sum(s["parameters"] for s in found["sites"].values())
    assert main(["inspect", "fastspeech2"]) == 0
    assert "not wrapped: LayerNorm" in capsys.readouterr().out


def test_inspect_has_plain_numbers() -> None:
    json.dumps(inspect_backbone("fastspeech2", StudyConfig(), 10, 2))


def test_cells_are_named_in_short_or_by_folder() -> None:
    study = StudyConfig()
    short = parse_cell("lora/g/8/happy", study)
    assert short == Cell("fastspeech2", "lora", "g", 8, "happy", "1")
    assert parse_cell(f"results/demo/cells/{short.path}", study) == short
    assert parse_cell("full/sad", study).method == "full"
    for bad in (
        "lora/g/8",
        "lora/g/x/happy",
        "lora/g/0/happy",
        "lora/z/8/happy",
        "none/-/0/happy",
    ):
        with pytest.raises(ConfigError, match="cell"):
            parse_cell(bad, study)
