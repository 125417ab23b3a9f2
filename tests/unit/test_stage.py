"""Around a job: arguments, log, exit code, one message."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from eele.stage import PARENT_VARIABLE

CELL = "backbone~fastspeech2/method~lora/scheme~g/rank~8/emotion~happy/seed~1"


@pytest.fixture
def job(tmp_path):
    """Start a script whose stage has the given body; returns a function giving the process."""

    def start(body, *arguments, items=(), log=True, **options):
        names = "".join(f", {item}" for item in items)
        quoted = "".join(f', "{item}"' for item in items)
        script = tmp_path / "do_it.py"
        script.write_text(
            "import errno, os, sys, time, logging\nfrom eele.errors import DataError\n"
            "from eele.stage import run\n\n"
            f"def main(study, paths{names}):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n\n"
            f"run(main{quoted})\n"
        )
        (tmp_path / "config.yaml").write_text(options.pop("config", "study: mine\n"))
        command = [sys.executable, str(script), "--config", str(tmp_path / "config.yaml")]
        command += ["--log", str(tmp_path / "logs" / "job.log")] if log else []
        return subprocess.Popen(
            [*command, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            **options,
        )

    return start


def finish(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def log_of(tmp_path):
    return (tmp_path / "logs" / "job.log").read_text()


def test_success_is_silent_and_everything_printed_is_in_the_log(job, tmp_path):
    code, out, err = finish(
        job(
            "print('from python', flush=True); os.system('echo from a child'); logging.info('told')"
        )
    )
    assert (code, out, err) == (0, "", "")
    for text in ("from python", "from a child", "told", "do_it done in"):
        assert text in log_of(tmp_path)


FAILURES = {
    "error of ours": ("raise DataError('a.wav: empty')", 1, "do_it: a.wav: empty"),
    "unexpected": ("[][1]", 1, "failed unexpectedly (IndexError"),
    "disk full": ("raise OSError(errno.ENOSPC, 'full', 'x.npy')", 1, "no space left on the disk"),
    "disk full by another name": (
        "raise ValueError('No space left on device')",
        1,
        "no space left",
    ),
    "memory": ("raise MemoryError", 1, "out of memory"),
    "torch memory": ('raise RuntimeError("can\'t allocate memory")', 1, "out of memory"),
    "interrupt": ("raise KeyboardInterrupt", 130, "interrupted"),
    "terminated": ("os.kill(os.getpid(), 15); time.sleep(5)", 130, "interrupted"),
}


@pytest.mark.parametrize("body, code, said", FAILURES.values(), ids=FAILURES)
def test_a_failure_is_one_message_that_names_the_log(job, tmp_path, body, code, said):
    got, out, err = finish(job(body))
    assert got == code
    assert out == ""
    assert said in err
    assert "job.log" in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 2
    assert said.removeprefix("do_it: ") in log_of(tmp_path)


def test_the_traceback_of_the_unexpected_is_in_the_log(job, tmp_path):
    finish(job("[][1]"))
    assert "Traceback (most recent call last)" in log_of(tmp_path)


def test_temporary_files_go_away_when_a_job_is_terminated(job, tmp_path):
    body = """
        from pathlib import Path
        from eele.io import atomic_path
        with atomic_path(paths.root / "table.csv") as half:
            half.write_text("half")
            Path("begun").touch()
            time.sleep(30)
    """
    process = job(body)
    deadline = time.monotonic() + 20
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 130
    assert list((tmp_path / "results" / "mine").iterdir()) == []


def test_a_job_does_not_outlive_its_workflow(job):
    parent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    process = job("time.sleep(60)", env={**os.environ, PARENT_VARIABLE: str(parent.pid)})
    time.sleep(0.5)
    assert process.poll() is None
    parent.kill()
    code, _, err = finish(process)
    parent.wait()
    assert code == 130
    assert "interrupted" in err


def test_without_a_log_the_message_goes_to_stderr(job):
    code, _, err = finish(job("raise DataError('a.wav: empty')", log=False))
    assert code == 1
    assert "a.wav: empty" in err


def test_a_wrong_config_is_exit_code_2(job):
    code, _, err = finish(job("pass", config="studdy: x\n"))
    assert code == 2
    assert "unknown key 'studdy'" in err


@pytest.mark.parametrize(
    "item, value, said",
    [
        ("cell", CELL.replace("rank~8", "rank~0"), "rank 0"),
        ("cell", "nonsense", "does not name a cell"),
        ("corpus", "tedlium", "unknown corpus 'tedlium'; allowed: demo"),
        ("shard", "9", "allowed: 0 to 1"),
        ("alignment_shard", "1", "--alignment_shard: got 1; allowed: 0 to 0"),
        ("judge", "me", "unknown judge 'me'; allowed: statistics"),
    ],
)
def test_items_are_checked(job, item, value, said):
    code, _, err = finish(job("raise SystemExit(9)", f"--{item}", value, items=[item]))
    assert code == 2
    assert said in err


def test_items_arrive_typed_and_threads_are_limited(job, tmp_path):
    body = f"""
        assert str(cell.path) == "{CELL}" and shard == 1 and paths.root.as_posix() == "here/mine"
        assert os.environ["OMP_NUM_THREADS"] == "3"
        assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE" and os.environ["GOMP_SPINCOUNT"] == "20000"
        assert "torch" not in sys.modules
    """
    arguments = ["--cell", CELL, "--shard", "1", "--results", "here", "--threads", "3"]
    code, _, err = finish(job(body, *arguments, items=["cell", "shard"]))
    assert (code, err) == (0, "")


def test_a_crash_below_python_leaves_its_trace_in_the_log(job, tmp_path):
    code, _, _ = finish(job("os.kill(os.getpid(), 11)"))
    assert code == -signal.SIGSEGV
    assert "Segmentation fault" in log_of(tmp_path)
