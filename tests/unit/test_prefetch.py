"""Batches ahead of their use: in order, bounded, with errors handed on, and no thread left behind."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import traceback

import pytest
import torch

from eele.backbones.base import Batch
from eele.training.prefetch import Prefetcher


def make(step: int) -> Batch:
    number = torch.tensor([step])
    return Batch(*[number] * 8, epoch=step)


def running() -> bool:
    return any(thread.name == "prefetcher" for thread in threading.enumerate())


def wait_until(condition: object, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.01)
    return False


def test_all_steps_come_in_order_and_the_thread_ends() -> None:
    with Prefetcher(make, 3, 40) as batches:
        assert [batch.epoch for batch in batches] == list(range(3, 40))
        with pytest.raises(StopIteration):
            next(batches)
    assert not running()
    with Prefetcher(make, 5, 5) as batches:
        assert list(batches) == []


def test_batches_are_made_ahead_but_no_further_than_the_depth() -> None:
    made: list[int] = []

    def noting(step: int) -> Batch:
        made.append(step)
        return make(step)

    with Prefetcher(noting, 0, 1000, depth=2) as batches:
        # Two wait, and the third waits for its place.
        assert wait_until(lambda: made == [0, 1, 2])
        time.sleep(0.25)
        assert made == [0, 1, 2]
        assert next(batches).epoch == 0
        assert wait_until(lambda: made == [0, 1, 2, 3])
    assert not running()


def fails(step: int) -> Batch:
    if step == 2:
        raise KeyError("a recording that is gone")
    return make(step)


def test_an_error_takes_the_place_of_its_batch_with_its_traceback() -> None:
    with Prefetcher(fails, 0, 10) as batches:
        assert next(batches).epoch == 0
        assert next(batches).epoch == 1
        with pytest.raises(KeyError, match="a recording that is gone") as caught:
            next(batches)
        assert "fails" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        with pytest.raises(StopIteration):
            next(batches)
    assert not running()


def test_an_error_of_the_consumer_ends_the_thread_at_once() -> None:
    started = time.monotonic()
    with pytest.raises(ZeroDivisionError), Prefetcher(make, 0, 10**9) as batches:
        next(batches)
        raise ZeroDivisionError
    assert not running()
    assert time.monotonic() - started < 2


def test_memory_is_pinned_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Batch, "pinned", lambda self: self._replace(epoch=-self.epoch))
    with Prefetcher(make, 1, 4, pin=True) as batches:
        assert [batch.epoch for batch in batches] == [-1, -2, -3]


def test_an_interpreter_that_ends_without_leaving_does_not_hang() -> None:
    code = (
        "import time\n"
        "from eele.training.prefetch import Prefetcher\n"
        "def make(step):\n"
        "    time.sleep(600 if step else 0)\n"
        "    raise ValueError(step)\n"
        "batches = Prefetcher(make, 1, 9).__enter__()\n"
        "print('over', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "over"), done.stderr
