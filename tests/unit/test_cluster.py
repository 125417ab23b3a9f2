"""Jobs of a dead run are ended; those of a living one, of another study or host are not."""

import os
import socket
import subprocess

import pytest
import snakemake_executor_plugin_slurm as executor

from eele.cluster import end_left_over_jobs, note_run, submit_after_a_lost_node

TOOLS = {
    # Jobs of a run are listed until they are cancelled.
    "squeue": 'echo "$@" >> "$ASKED"; for a; do case "$a" in --name=dead) cat "$JOBS";; esac; done',
    "scancel": 'echo "scancel $@" >> "$ASKED"; : > "$JOBS"',
}


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A stand-in for Slurm that has two jobs of the run `dead`; a call returns what it was asked."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, body in TOOLS.items():
        (tools / name).write_text(f"#!/bin/sh\n{body}\n")
        (tools / name).chmod(0o755)
    (tmp_path / "asked").touch()
    (tmp_path / "jobs").write_text("7\n8\n")
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    monkeypatch.setenv("JOBS", str(tmp_path / "jobs"))
    return (tmp_path / "asked").read_text


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / ".snakemake"
    folder.mkdir()
    return folder


def locked(folder, seconds_after=0.0, study="s", note=None):
    """Snakemake's lock of a run, written so long after a note."""
    (folder / "locks").mkdir(exist_ok=True)
    lock = folder / "locks" / f"{len(list((folder / 'locks').iterdir()))}.output.lock"
    lock.write_text(f"results/{study}/a.csv\n")
    if note:
        written = note.stat().st_mtime + seconds_after
        os.utime(lock, (written, written))


def noted(folder, process, study="s", run="dead", host=None):
    """The note of a run; its log names the run as the executor does."""
    log = folder / f"{process}.log"
    log.write_text(f"Building DAG of jobs...\nSLURM run ID: {run}\nUsing shell\n")
    note = folder / f"eele-{study}@{host or socket.gethostname()}.{process}.run"
    note.write_text(f"{log}\n")
    return note


def ended_process():
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_jobs_of_a_dead_run_are_ended_once(slurm, folder):
    note = noted(folder, ended_process())
    assert end_left_over_jobs("results/s", folder) == 2
    assert "scancel 7 8\n" in slurm()
    assert not note.exists()
    assert end_left_over_jobs("results/s", folder) == 0


def test_others_jobs_are_left_alone(slurm, folder):
    note_run(folder / "x.log", "results/s", folder)  # this process lives
    kept = [
        noted(folder, os.getpid()),
        noted(folder, ended_process(), study="other"),
        noted(folder, ended_process(), study="s.other", host="elsewhere"),
        noted(folder, ended_process(), host="elsewhere"),
    ]
    locked(folder, -1.0, note=kept[-1])
    locked(folder, 5.0, note=kept[-1])  # this run's own
    assert end_left_over_jobs("results/s", folder) == 0
    assert slurm() == ""
    assert all(note.exists() for note in kept)


def test_jobs_of_another_hosts_run_are_ended_once_its_lock_was_removed(slurm, folder):
    """The first login node is gone; on the second somebody typed --unlock, then the command again."""
    note = noted(folder, 4711, host="login1.cluster.example")
    locked(folder, 5.0, note=note)  # this run's own
    locked(folder, -5.0, study="other", note=note)
    assert end_left_over_jobs("results/s", folder) == 2
    assert not note.exists()


def test_a_run_that_submitted_nothing_is_forgotten(slurm, folder):
    note = noted(folder, ended_process(), run="idle")
    assert end_left_over_jobs("results/s", folder) == 0
    assert "scancel" not in slurm()
    assert not note.exists()


def test_without_slurm_nothing_is_asked(folder, monkeypatch, tmp_path):
    note = noted(folder, ended_process())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert end_left_over_jobs("results/s", folder) == 0
    assert not note.exists()


def test_a_slurm_that_does_not_answer_is_asked_by_the_next_run(slurm, folder, tmp_path):
    note = noted(folder, ended_process())
    (tmp_path / "bin" / "squeue").write_text("#!/bin/sh\nexit 1\n")
    assert end_left_over_jobs("results/s", folder) == 0
    assert note.exists()


def test_a_node_without_a_name_is_not_excluded(monkeypatch):
    asked = []
    monkeypatch.setattr(
        executor, "get_submit_command", lambda *_, failed_nodes, **__: asked.append(failed_nodes)
    )
    submit_after_a_lost_node()
    for lost in ({"None assigned"}, {"node7", "None assigned"}, set(), None):
        executor.get_submit_command("job", {}, settings=None, failed_nodes=lost)
    assert asked == [set(), {"node7"}, set(), set()]
