"""What faults of a cluster cost: a small study through `--profile slurm` on a sandbox, disturbed on purpose.

    python benchmarks/slurm_faults.py [--only node,preempted,...]

Needs root and Debian's Slurm packages (tests/workflow/slurm_sandbox.py says which). Everything before the
one trained cell is computed once, here; then each fault meets a fresh copy of it while the cell trains.
Printed per fault: the step of the last checkpoint before it, the step at which training went on, and whether
cells.csv equals that of the undisturbed run. Exits 1 when one does not.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "workflow"))

from slurm_sandbox import OVERRIDES, Sandbox, checkout, missing  # noqa: E402

#: On top of the smoke study: one cell that trains for a minute or more, with a checkpoint every 3 seconds.
OVERRIDE = """\
sweep: [{method: lora, schemes: [b], ranks: [2]}]
adaptation: {steps: %d, patience: 1000, validate_every: 1000000}
runtime: {checkpoint_minutes: 0.05}
"""
AXES = "backbone~fastspeech2/method~lora/scheme~b/rank~2/emotion~happy/seed~1"
CELL = f"results/smoke/cells/{AXES}"
TABLE = "results/smoke/tables/cells.csv"
BASELINES = [
    f"results/smoke/cells/backbone~{backbone}/method~{method}/scheme~-/rank~0/emotion~{emotion}/seed~-/{file}"
    for emotion in ("neutral", "happy")
    for backbone, method in (("-", "recording"), ("-", "copy_synthesis"), ("fastspeech2", "none"))
    for file in ("metrics.json", "utterances.csv")
]
TIMES = {"train_seconds"}


class Study:
    """A copy of the study on one sandbox: the command, and what can be seen of it from outside."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder = folder
        self.sandbox = sandbox
        self.typed = 0

    def type(self) -> subprocess.Popen[bytes]:
        """Type the command; always the same one."""
        self.typed += 1
        command = [sys.executable, "-m", "snakemake", TABLE, "--profile", "slurm", *OVERRIDES]
        command += [
            "--configfile",
            "config/studies/smoke.yaml",
            "override.yaml",
            "--quiet",
            "rules",
        ]
        with open(self.folder / f"snakemake.{self.typed}.log", "wb") as output:
            return subprocess.Popen(
                command, cwd=self.folder, env=self.sandbox.environment, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def said(self, typed: int | None = None) -> str:
        """What the last (or that) command has said."""
        return (self.folder / f"snakemake.{typed or self.typed}.log").read_text(errors="replace")

    def job(self) -> tuple[str, str]:
        """Number and node of the running job, waited for."""
        for _ in _patiently("a running job"):
            lines = self.sandbox.call("squeue", "--states=RUNNING", "-h", "-o", "%i %N").split()
            if len(lines) == 2:
                return lines[0], lines[1]
        raise AssertionError

    @property
    def checkpoint(self) -> Path:
        return self.folder / "results" / "smoke" / "checkpoints" / "cells" / AXES / "state.pt"

    def step(self) -> int:
        """Step of the checkpoint, 0 without one."""
        try:
            state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return 0
        return int(state["progress"]["step"])

    def wait_for_training(self, checkpoints: int = 3) -> None:
        """Return right after so many checkpoints were written."""
        seen: set[float] = set()
        for _ in _patiently("checkpoints"):
            if self.checkpoint.exists():
                seen.add(self.checkpoint.stat().st_mtime)
            if len(seen) >= checkpoints:
                return

    def log(self) -> str:
        """The training's log, of its last start."""
        path = self.folder / "results" / "smoke" / "logs" / "train_cell" / f"{AXES}.log"
        return path.read_text(errors="replace")

    def resumed(self) -> str:
        """At which step the last start of the training began."""
        found = re.findall(r"resumed at step (\d+) of \d+", self.log())
        return found[-1] if found else "0 (nothing to resume)"

    def rows(self) -> list[dict[str, str]]:
        with open(self.folder / TABLE, encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
        return [{key: text for key, text in row.items() if key not in TIMES} for row in rows]

    def jobs(self) -> str:
        """Every job of the sandbox with its end."""
        text = self.sandbox.call("squeue", "--states=all", "-h", "-o", "%i:%T")
        return ", ".join(sorted(text.split()))


def nothing(study: Study, run: subprocess.Popen[bytes]) -> None:
    """Undisturbed."""


def node(study: Study, run: subprocess.Popen[bytes]) -> None:
    """The node goes dark in mid-training: slurmd and every process of the job get SIGKILL."""
    study.wait_for_training()
    number, name = study.job()
    study.sandbox.kill_node(name)
    _say(f"killed {name} with job {number}; last checkpoint at step {study.step()}")
    again = study.job
    for _ in _patiently("another node"):
        if again()[1] != name:
            break
    _say(f"goes on as job {' on '.join(again())}")
    study.sandbox.start_node(name)


def preempted(study: Study, run: subprocess.Popen[bytes]) -> None:
    """Preemption that requeues: SIGTERM, SIGKILL after KillWait, the same job again."""
    study.wait_for_training()
    number, _ = study.job()
    before = study.step()
    study.sandbox.call("scontrol", "requeue", number)
    time.sleep(3)
    _say(f"requeued job {number}; checkpoint at step {before} before, {study.step()} after SIGTERM")


def terminated(study: Study, run: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the job's processes, as some time before the time limit."""
    study.wait_for_training()
    number, _ = study.job()
    before = study.step()
    study.sandbox.call("scancel", "--signal=TERM", number)
    time.sleep(3)
    _say(f"SIGTERM to job {number}; checkpoint at step {before} before, {study.step()} after")


def limit(study: Study, run: subprocess.Popen[bytes]) -> None:
    """The time limit is hit: lowered to a minute while the job runs."""
    study.wait_for_training()
    number, _ = study.job()
    study.sandbox.call("scontrol", "update", f"JobId={number}", "TimeLimit=1")
    for _ in _patiently("the end of the job"):
        state = study.sandbox.call("squeue", "--states=all", "-h", "-j", number, "-o", "%T %M")
        if "RUNNING" not in state:
            break
    _say(f"job {number}: {state.strip()}; last checkpoint at step {study.step()}")


def controller(study: Study, run: subprocess.Popen[bytes]) -> None:
    """slurmctld is killed and comes back after half a minute; jobs run on meanwhile."""
    study.wait_for_training()
    study.sandbox.stop_controller()
    time.sleep(30)
    study.sandbox.start_controller()
    _say("slurmctld was away for 30 s")


def shell(study: Study, run: subprocess.Popen[bytes]) -> None:
    """The submitting Snakemake is killed (SIGKILL); the command is typed again."""
    _kill_and_type_again(study, run, signal.SIGKILL)


def hangup(study: Study, run: subprocess.Popen[bytes]) -> None:
    """The terminal is closed (SIGHUP); the command is typed again."""
    _kill_and_type_again(study, run, signal.SIGHUP)


def _kill_and_type_again(
    study: Study, run: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    study.wait_for_training()
    os.killpg(run.pid, number)
    run.wait()
    _say(f"Snakemake gone at step {study.step()}; jobs: {study.jobs()}")
    _finish(study, study.type())


def two(study: Study, run: subprocess.Popen[bytes]) -> None:
    """A second person types the same command while the first one's runs."""
    study.wait_for_training(1)
    code = study.type().wait(timeout=120)
    said = [line for line in study.said().splitlines() if "lock" in line]
    _say(f"the second was refused ({code}): {said[0] if said else study.said()[-300:]}")


FAULTS: dict[str, Callable[[Study, subprocess.Popen[bytes]], None]] = {
    "node": node,
    "preempted": preempted,
    "terminated": terminated,
    "limit": limit,
    "controller": controller,
    "shell": shell,
    "hangup": hangup,
    "two": two,
}


@dataclass
class Outcome:
    seconds: float
    rows: list[dict[str, str]]


def main() -> int:
    arguments = _arguments()
    if why := missing():
        print(why, file=sys.stderr)
        return 1
    chosen = [name for name in arguments.only.split(",") if name] or list(FAULTS)
    folder = Path(tempfile.mkdtemp(prefix="eele-"))
    failed = 0
    try:
        base = arguments.base or folder / "base"
        if not base.exists():
            _prepare(base, arguments.steps)
        calm = _disturb(base, folder / "calm", nothing)
        for name in chosen:
            outcome = _disturb(base, folder / name, FAULTS[name])
            equal = outcome.rows == calm.rows
            failed += not equal
            _say(
                f"cells.csv {'equals' if equal else 'DIFFERS FROM'} the undisturbed run's;"
                f" {outcome.seconds:.0f} s, {outcome.seconds - calm.seconds:+.0f} s"
            )
    finally:
        if not arguments.keep:
            shutil.rmtree(folder)
    return int(bool(failed))


def _prepare(base: Path, steps: int) -> None:
    """Everything but the trained cell and the table."""
    checkout(base, copy=True)
    (base / "override.yaml").write_text(OVERRIDE % steps)
    subprocess.run(
        [sys.executable, "-m", "snakemake", *BASELINES, "--quiet", "all",
         "--configfile", "config/studies/smoke.yaml", "override.yaml"],
        cwd=base, check=True,
    )  # fmt: skip


def _disturb(
    base: Path, folder: Path, fault: Callable[[Study, subprocess.Popen[bytes]], None]
) -> Outcome:
    print(f"{fault.__name__}: {fault.__doc__}", flush=True)
    shutil.copytree(base, folder / "work", symlinks=True)
    started = time.monotonic()
    with Sandbox(folder / "slurm", cpus=2, kill_wait_s=10) as sandbox:
        study = Study(folder / "work", sandbox)
        run = study.type()
        try:
            fault(study, run)
            if run.returncode is None:
                _finish(study, run)
        finally:
            if run.poll() is None:
                run.kill()
        seconds = time.monotonic() - started
        _say(f"training last began at step {study.resumed()}; jobs: {study.jobs()}")
        half = [path.name for path in (study.folder / "results").rglob(".*") if path.is_file()]
        if left := [name for name in half if name != ".snakemake_timestamp"]:
            _say(f"HALF-WRITTEN FILES ARE LEFT: {left}")
    return Outcome(seconds, study.rows())


def _finish(study: Study, run: subprocess.Popen[bytes]) -> None:
    code = run.wait(timeout=900)
    if code:
        _say(f"the command ended with {code}; typed again")
        print(study.said(1)[-3000:])
        if study.typed > 3:
            raise SystemExit("it does not finish")
        _finish(study, study.type())


def _patiently(what: str, seconds: float = 300):  # type: ignore[no-untyped-def]
    """Yield ten times a second; raise TimeoutError after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(0.1)
    raise TimeoutError(f"waited {seconds} s for {what}")


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", default="", help=f"some of {', '.join(FAULTS)}")
    parser.add_argument("--steps", type=int, default=4000, help="length of the training")
    parser.add_argument(
        "--base", type=Path, help="keep what all runs share here, for the next time"
    )
    parser.add_argument("--keep", action="store_true", help="keep every run's folder")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
