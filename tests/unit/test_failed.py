"""A cell that failed of itself is noted until it succeeds, and goes alone."""

import pytest

from eele import failed
from eele.cells import Cell

CELL = Cell.parse("backbone~fastspeech2/method~lora/scheme~b/rank~2/emotion~happy/seed~1")
OTHER = Cell.parse(
    "backbone~fastspeech2/method~lora/scheme~text_encoder.ffn/rank~2/emotion~happy/seed~1"
)


def test_without_a_failure_all_cells_go_together(tmp_path):
    assert failed.names(tmp_path) == frozenset()
    assert failed.group(CELL, failed.names(tmp_path)) == "cell"


def test_a_failed_cell_goes_alone_until_it_succeeds(tmp_path):
    with pytest.raises(ValueError, match="not a number"), failed.noted(tmp_path, CELL):
        raise ValueError("loss is not a number")
    groups = [failed.group(cell, failed.names(tmp_path)) for cell in (CELL, OTHER)]
    assert groups == ["failed_cell", "cell"]
    with failed.noted(tmp_path, CELL):
        pass
    assert failed.group(CELL, failed.names(tmp_path)) == "cell"


def test_a_job_that_was_stopped_says_nothing_about_its_cell(tmp_path):
    with pytest.raises(KeyboardInterrupt), failed.noted(tmp_path, CELL):
        raise KeyboardInterrupt
    assert failed.names(tmp_path) == frozenset()
