"""A workflow says by itself how far it is; here by the line that ends a run that failed."""

import pytest
from running import ROOT, run

pytestmark = pytest.mark.workflow

LAST = "cells: 0 of 18 done; failed: collect_corpus; `eele status nothing` shows why"


@pytest.fixture
def failing(tmp_path):
    """Run a study whose one corpus is not there."""
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    (tmp_path / "nothing.yaml").write_text(
        "{study: nothing, corpora: [{adapter: folder, name: mine, language: en}],"
        " sweep: [{method: lora, schemes: [a, b, c], ranks: [2, 4, 8]}], emotions: [happy, sad]}"
    )

    def ask(*arguments):
        return run(
            "--cores", "1", *arguments, "--snakefile", ROOT / "Snakefile", "--directory", tmp_path,
            "--configfile", tmp_path / "nothing.yaml",
        )  # fmt: skip

    return ask


@pytest.mark.parametrize("display", [["--quiet", "rules", "host"], ["--logger", "rich"]])
def test_it_is_shown_by_what_make_demo_uses(failing, display):
    answer = failing(*display)
    assert answer.code == 1
    assert LAST in " ".join(answer.text.split())
    assert "Traceback" not in answer.text


def test_whoever_wants_no_progress_is_told_none(failing):
    answer = failing("--quiet", "progress")
    assert answer.code == 1
    assert "cells: " not in answer.text


def test_a_dry_run_is_no_run(failing):
    answer = failing("--dry-run", "--quiet", "rules")
    assert answer.code == 0, answer.text
    assert "cells: " not in answer.text
