"""What faults of a cluster cost: a small study through `--profile slurm` on a sandbox, disturbed on purpose.

    python benchmarks/slurm_faults.py [--only node,preempted,...]

Needs root and Debian's packages of Slurm, slurmdbd and MariaDB (tests/workflow/slurm_sandbox.py says which).
Everything before the one trained cell is computed once, here; then each fault meets a fresh copy of it while
the cell trains. Printed per fault: the step of the last checkpoint before it, the step at which training went
on, and whether cells.csv equals that of the undisturbed run. Exits 1 when one does not.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "workflow"))

from slurm_sandbox import Sandbox, checkout, missing  # noqa: E402
from slurm_study import BASELINES, CONFIGS, OVERRIDE, Study, patiently  # noqa: E402

Running = subprocess.Popen[bytes]


def nothing(study: Study, run: Running) -> None:
    """Undisturbed."""


def node(study: Study, run: Running) -> None:
    """The node goes dark in mid-training: slurmd and every process of the job get SIGKILL."""
    study.wait_for_training()
    number, name = study.job()
    study.sandbox.kill_node(name)
    _say(f"killed {name} with job {number}; last checkpoint at step {study.step()}")
    again = study.job
    for _ in patiently("another node"):
        if again()[1] != name:
            break
    _say(f"goes on as job {' on '.join(again())}")
    study.sandbox.start_node(name)


def preempted(study: Study, run: Running) -> None:
    """A job of a partition with a higher priority takes the node: SIGTERM, and the same job again later."""
    study.wait_for_training()
    number, name = study.job()
    before = study.step()
    study.sandbox.call(
        "sbatch", "-p", "urgent", "-w", name, "--exclusive", "-o", "/dev/null", "--wrap", "sleep 30"
    )
    _until_not_running(study, number)
    _say(f"job {number} had to go; checkpoint at step {before} before, {study.step()} after")


def terminated(study: Study, run: Running) -> None:
    """SIGTERM to the job's processes."""
    study.wait_for_training()
    number, _ = study.job()
    before = study.step()
    study.sandbox.call("scancel", "--signal=TERM", number)
    _until_not_running(study, number)
    _say(f"SIGTERM to job {number}; checkpoint at step {before} before, {study.step()} after")


def limit(study: Study, run: Running) -> None:
    """The training is longer than its time limit, before which Slurm sends the profile's SIGTERM."""
    study.wait_for_training(1)
    number, _ = study.job()
    _until_not_running(study, number)
    _say(f"job {number} ended; checkpoint at step {study.step()}")


def controller(study: Study, run: Running) -> None:
    """slurmctld is killed and comes back after half a minute; jobs run on meanwhile."""
    study.wait_for_training()
    study.sandbox.stop_controller()
    time.sleep(30)
    study.sandbox.start_controller()
    _say("slurmctld was away for 30 s")


def shell(study: Study, run: Running) -> None:
    """The submitting Snakemake is killed (SIGKILL); the command is typed again."""
    _kill_and_type_again(study, run, signal.SIGKILL)


def hangup(study: Study, run: Running) -> None:
    """The terminal is closed (SIGHUP); the command is typed again."""
    _kill_and_type_again(study, run, signal.SIGHUP)


def _kill_and_type_again(study: Study, run: Running, number: signal.Signals) -> None:
    study.wait_for_training()
    job, _ = study.job()
    os.killpg(run.pid, number)
    code = run.wait(timeout=60)
    _say(f"Snakemake gone ({code}) at step {study.step()}; its job {job} is {_state(study, job)}")
    again = study.type()
    _until_not_running(study, job)
    _say(f"job {job} is {_state(study, job)} at step {study.step()}")
    _finish(study, again)


def two(study: Study, run: Running) -> None:
    """A second person types the same command while the first one's runs; then twice more on another host."""
    study.wait_for_training(1)
    for elsewhere in (False, True, True):
        code = study.type(elsewhere=elsewhere).wait(timeout=120)
        where = "on another host" if elsewhere else "on this host"
        _say(f"the second, {where}: exit code {code}: {_about_the_lock(study)}")


def moved(study: Study, run: Running) -> None:
    """The login node is lost; on another one the command is refused, the lock removed, the command typed again."""
    study.wait_for_training()
    job, _ = study.job()
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    code = study.type(elsewhere=True).wait(timeout=120)
    _say(f"on the other host: exit code {code}: {_about_the_lock(study)}")
    code = study.type("--unlock", elsewhere=True).wait(timeout=120)
    _say(f"--unlock: exit code {code}; job {job} is {_state(study, job)}")
    again = study.type(elsewhere=True)
    _until_not_running(study, job)
    _say(f"job {job} is {_state(study, job)} at step {study.step()}")
    _finish(study, again)


def _about_the_lock(study: Study) -> str:
    said = [line for line in study.said().splitlines() if "lock" in line]
    return said[0] if said else study.said()[-300:]


def disk(study: Study, run: Running) -> None:
    """The file system of the results is full for a while."""
    study.wait_for_training()
    ballast = study.folder / "results" / "ballast"
    with open(ballast, "wb", buffering=0) as handle:
        try:
            while True:
                handle.write(bytes(1 << 16))
        except OSError as error:
            _say(f"{error.strerror} at step {study.step()}")
    message = ""
    for _ in patiently("the message"):
        for log in (study.folder / "logs" / "slurm").rglob("*.log"):
            lines = log.read_text(errors="replace").splitlines()
            message = next((line for line in lines if "no space left" in line), message)
        if message:
            break
    ballast.unlink()
    _say(f"the job's log: {message}")
    _say(f"freed; checkpoint at step {study.step()}")


FAULTS: dict[str, Callable[[Study, Running], None]] = {
    "node": node,
    "preempted": preempted,
    "terminated": terminated,
    "limit": limit,
    "controller": controller,
    "shell": shell,
    "hangup": hangup,
    "two": two,
    "moved": moved,
    "disk": disk,
}

_STEPS = ("train_cell", "synthesise_cell", "score_cell")
#: What is typed beside the command. A cell's job asks for the time of its three steps together: five
#: minutes here, of which SIGTERM takes three.
OPTIONS: dict[str, tuple[str, ...]] = {
    "limit": (
        "--set-resources",
        *(f"{step}:runtime={minutes}" for step, minutes in zip(_STEPS, (3, 1, 1), strict=True)),
        *(f"{step}:slurm_extra='--signal=TERM@180'" for step in _STEPS),
    )
}


@dataclass
class Outcome:
    seconds: float
    rows: list[dict[str, str]]


def main() -> int:
    arguments = _arguments()
    if why := missing(accounting=True):
        print(why, file=sys.stderr)
        return 1
    signal.signal(
        signal.SIGHUP, signal.SIG_DFL
    )  # under nohup all that is started here would ignore it
    chosen = [name for name in arguments.only.split(",") if name] or list(FAULTS)
    folder = Path(tempfile.mkdtemp(prefix="eele-"))
    base = arguments.base or folder / "base"
    failed = 0
    try:
        if not base.exists():
            _prepare(base, arguments.steps)
        calm = _calm(base, folder)
        for name in chosen:
            outcome = _disturb(base, folder / name, FAULTS[name], OPTIONS.get(name, ()))
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
        [sys.executable, "-m", "snakemake", *BASELINES, "--quiet", "all", "--configfile", *CONFIGS],
        cwd=base, check=True, env={**os.environ, "PYTHONPATH": str(base / "src")},
    )  # fmt: skip


def _calm(base: Path, folder: Path) -> Outcome:
    """The undisturbed run's, remembered beside a kept base."""
    kept = base.with_name(f"{base.name}.calm.json")
    if kept.exists():
        return Outcome(**json.loads(kept.read_text()))
    calm = _disturb(base, folder / "calm", nothing)
    _say(f"{calm.seconds:.0f} s")
    kept.write_text(json.dumps(calm.__dict__))
    return calm


def _disturb(
    base: Path,
    folder: Path,
    fault: Callable[[Study, Running], None],
    options: tuple[str, ...] = (),
) -> Outcome:
    print(f"{fault.__name__}: {fault.__doc__}", flush=True)
    shutil.copytree(base, folder / "work", symlinks=True)
    small = _small_disk(folder / "work" / "results") if fault is disk else None
    started = time.monotonic()
    try:
        with Sandbox(folder / "slurm", cpus=2, kill_wait_s=10, accounting=True) as sandbox:
            study = Study(folder / "work", sandbox, options=options)
            run = study.type()
            try:
                fault(study, run)
                if run.returncode is None:
                    _finish(study, run)
            finally:
                if run.poll() is None:
                    run.kill()
            seconds = time.monotonic() - started
            ends = study.sandbox.call("sacct", "-XDn", "--parsable2", "--format=JobID,State")
            _say(
                f"training last began at step {study.resumed()}; jobs: {', '.join(ends.splitlines())}"
            )
            if left := study.half_written():
                _say(f"HALF-WRITTEN FILES ARE LEFT: {left}")
        return Outcome(seconds, study.rows())
    finally:
        if small:
            subprocess.run(["umount", "--lazy", small], check=True)


def _small_disk(results: Path) -> Path:
    """Put the results on a file system of their own, with room for 30 MB more."""
    full = results.with_name("results.before")
    results.rename(full)
    results.mkdir()
    used = sum(path.stat().st_size + 4096 for path in full.rglob("*"))
    size = f"size={used + 30_000_000}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", results], check=True)
    shutil.copytree(full, results, symlinks=True, dirs_exist_ok=True)
    return results


def _until_not_running(study: Study, number: str) -> None:
    for _ in patiently(f"the end of job {number}"):
        if _state(study, number) not in ("RUNNING", "COMPLETING"):
            return


def _state(study: Study, number: str) -> str:
    return study.sandbox.call("squeue", "--states=all", "-h", "-j", number, "-o", "%T").strip()


def _finish(study: Study, run: Running) -> None:
    code = run.wait(timeout=900)
    if code:
        _say(f"the command ended with {code}; typed again")
        print(study.said()[-3000:])
        if study.typed > 3:
            raise SystemExit("it does not finish")
        _finish(study, study.type())


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
