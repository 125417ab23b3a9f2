"""A killed run's lock is cleared; a living run's lock is not."""

import socket
import subprocess
import sys

import pytest

from eele import locking

HOLD = "import sys; from eele import locking; locking.hold('results/mine'); print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(locking, "_HELD", {})
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").write_text("results/mine/a.csv\nresults/mine/b.csv\n")
    (locks / "0.output.lock").write_text("results/mine/c.csv\n")
    (locks / "1.output.lock").write_text("results/mine2/c.csv\n")
    return locks


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_run_left_is_cleared_for_this_study_only(folder):
    cleared = locking.hold("results/mine")
    assert [path.name for path in cleared] == ["0.input.lock", "0.output.lock"]
    assert names(folder) == ["1.output.lock"]


def test_locks_stay_while_a_run_lives_and_go_once_it_was_killed(folder, monkeypatch):
    run = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert run.stdout.readline() == "held\n"
    (folder / "2.output.lock").write_text("results/mine/d.csv\n")  # as Snakemake does next
    assert locking.hold("results/mine") == []
    assert "2.output.lock" in names(folder)
    run.kill()
    run.wait()
    run.stdin.close()
    run.stdout.close()
    # The first process here would still hold its own share; a new one stands for the next run.
    for handle in locking._HELD.values():
        locking.os.close(handle)
    monkeypatch.setattr(locking, "_HELD", {})
    assert [path.name for path in locking.hold("results/mine")] == ["2.output.lock"]


def test_locks_of_a_run_on_another_host_are_left_alone_however_often_one_tries(folder, monkeypatch):
    """That run may live: its `flock` does not reach every host."""
    (folder.parent / "eele-mine.lock").write_text("some-other-host")
    for _ in range(2):
        assert locking.hold("results/mine") == []
        monkeypatch.setattr(locking, "_HELD", {})
    assert len(names(folder)) == 3
    assert (folder.parent / "eele-mine.lock").read_text() == "some-other-host"


def test_once_its_locks_are_gone_the_study_is_this_hosts(folder):
    (folder.parent / "eele-mine.lock").write_text("some-other-host")
    for name in ("0.input.lock", "0.output.lock"):  # as `snakemake --unlock` does
        (folder / name).unlink()
    assert locking.hold("results/mine") == []
    assert (folder.parent / "eele-mine.lock").read_text() == socket.gethostname()
    assert names(folder) == ["1.output.lock"]


def test_holding_twice_is_holding_once(folder):
    locking.hold("results/mine")
    (folder / "3.output.lock").write_text("results/mine/d.csv\n")
    assert locking.hold("results/mine") == []
    assert "3.output.lock" in names(folder)
