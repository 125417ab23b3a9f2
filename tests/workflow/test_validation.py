"""A mistake is told in one line, by name, before anything is planned."""

import subprocess
import sys

import pytest
from running import ROOT, children_cpu_s

CELL = "results/demo/cells/backbone~fastspeech2/method~lora/scheme~g/rank~8/emotion~happy/seed~1/metrics.json"
LIMIT_S = 2.0

CONFIGS = {
    "typo": ("adaptaton: {steps: 3}", ["adaptaton", "did you mean 'adaptation'"]),
    "emotion": ("emotions: [angryy]", ["emotions.0", "angryy", "'angry'"]),
    "rank": ("sweep: [{method: lora, schemes: [a], ranks: [0]}]", ["sweep.0.ranks.0", "got 0"]),
    "site": ("schemes: {mine: [flow]}", ["schemes.mine", "'flow'", "text_encoder"]),
    "scheme": ("sweep: [{method: lora, schemes: [z], ranks: [2]}]", ["'z'", "a, b, c"]),
    "corpus": ("corpora: [{adapter: tedlium}]", ["corpora.0.adapter", "tedlium", "'vctk'"]),
}
CELLS = {
    "rank": (CELL.replace("rank~8", "rank~0"), ["rank 0"]),
    "scheme": (CELL.replace("scheme~g", "scheme~z"), ["scheme 'z'", "a, b, c"]),
    "emotion": (CELL.replace("happy", "angryy"), ["emotion 'angryy'", "happy, sad"]),
    "method": (CELL.replace("lora", "lara"), ["method 'lara'", "lora, ", "none, recording"]),
    "axis missing": (CELL.replace("/seed~1", ""), ["seed missing"]),
    "spelling": (CELL.replace("rank~8", "rank~08"), ["write the cell as", "rank~8"]),
    "other study": (CELL.replace("demo", "nemo", 1), ["'demo', not 'nemo'", "--configfile"]),
}


def refused(answer, said):
    """The answer, once it is one: quick, non-zero, saying all of `said` without a traceback."""
    assert answer.code != 0
    assert "Traceback" not in answer.text
    for part in said:
        assert part in answer.text
    assert answer.cpu_s < LIMIT_S
    return answer


@pytest.mark.parametrize("content, said", CONFIGS.values(), ids=CONFIGS)
def test_snakemake_refuses_a_wrong_config(snakemake, tmp_path, content, said):
    config = tmp_path / "mine.yaml"
    config.write_text(content)
    answer = refused(snakemake("-n", "--configfile", config), said)
    (message,) = [line for line in answer.text.splitlines() if line.startswith("eele: ")]
    assert "mine.yaml" in message


@pytest.mark.parametrize("target, said", CELLS.values(), ids=CELLS)
def test_snakemake_refuses_an_impossible_cell(snakemake, target, said):
    refused(snakemake("-n", target), said)


def test_the_command_line_is_checked_too(snakemake):
    answer = refused(snakemake("-n", "--config", "emotions=[angryy]"), ["angryy"])
    assert "--config" in answer.text


@pytest.mark.parametrize("content, said", CONFIGS.values(), ids=CONFIGS)
def test_eele_validate_refuses_it_as_well(tmp_path, content, said):
    config = tmp_path / "mine.yaml"
    config.write_text(content)
    before = children_cpu_s()
    answer = subprocess.run(
        [sys.executable, "-m", "eele.cli", "validate", str(config)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert children_cpu_s() - before < LIMIT_S
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr
    for part in said:
        assert part in answer.stderr
