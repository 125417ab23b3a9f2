"""Second names of a finished training: whose they are, what brings them back, when they go."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from eele.training import finished

CELL = "cells/backbone~fastspeech2/method~lora/scheme~b/rank~2/emotion~happy/seed~1"


@dataclass(frozen=True)
class Training:
    """What these functions ask of a run."""

    identity: str
    checkpoint: Path


@pytest.fixture(params=["hard links", "no hard links"])
def place(request, tmp_path, monkeypatch):
    """A training that has written two files, on a file system with hard links or without."""
    if request.param == "no hard links":

        def refuse(*_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    outputs = [tmp_path / CELL / "adapter" / name for name in ("adapter.safetensors", "curves.csv")]
    outputs[0].parent.mkdir(parents=True)
    for output in outputs:
        output.write_text(f"content of {output.name}")
        os.utime(output, (1e9, 1e9))
    run = Training("this", tmp_path / "checkpoints" / CELL / "state.pt")
    run.checkpoint.parent.mkdir(parents=True)
    run.checkpoint.touch()
    finished.keep(run, outputs)
    return run, outputs


def test_what_was_deleted_comes_back_younger_than_before(place):
    run, outputs = place
    assert not run.checkpoint.exists()
    for output in outputs:
        output.unlink()
    assert finished.take_back(run, outputs)
    assert [path.read_text() for path in outputs] == [f"content of {p.name}" for p in outputs]
    assert all(path.stat().st_mtime > 1e9 + 1 for path in outputs)
    assert finished.take_back(run, outputs)  # and is still there for the next


def test_another_training_takes_nothing(place):
    run, outputs = place
    for output in outputs:
        output.unlink()
    assert not finished.take_back(Training("another", run.checkpoint), outputs)
    assert not any(output.exists() for output in outputs)


def test_a_second_process_of_the_training_writes_nothing(place):
    run, outputs = place
    outputs[0].unlink()
    assert finished.take_back(run, outputs, write=False)
    assert not outputs[0].exists()


def test_a_study_that_ended_forgets_all_but_unscored_cells(place, tmp_path):
    run, outputs = place
    neutral = Training("neutral", tmp_path / "checkpoints" / "neutral.pt")
    finished.keep(neutral, outputs)
    recogniser = Training("recogniser", tmp_path / "checkpoints/recognition/encoder~e/state.pt")
    finished.keep(recogniser, outputs)
    checkpoints, cells = tmp_path / "checkpoints", tmp_path / "cells"
    finished.forget(checkpoints, cells)
    assert not finished.take_back(neutral, outputs)
    assert not finished.take_back(recogniser, outputs)
    assert finished.take_back(run, outputs)
    (tmp_path / CELL / "metrics.json").touch()
    finished.forget(checkpoints, cells)
    assert not finished.take_back(run, outputs)
    assert all(output.exists() for output in outputs)


def test_before_rules_run_anew_all_is_forgotten(place, tmp_path):
    run, outputs = place
    finished.forget(tmp_path / "checkpoints")
    assert not finished.take_back(run, outputs)
