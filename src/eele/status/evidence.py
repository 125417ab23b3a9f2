"""What shows that a workflow or a job is running, has ended or was lost; read only, without Snakemake.

The workflow: it holds a shared `flock` (see `eele.locking`) and Snakemake's lock files name the study. The
kernel lists flocks in /proc/locks; asking for the lock instead could keep a starting workflow from it.

A job: Snakemake marks its outputs (.snakemake/incomplete) when it hands it out and takes the mark away when
it learns of its end, so a mark older than the workflow is left over from a killed one. The job's own log is
emptied when it starts and ends with `done in`, or with the one message of a failure. Whether it lives
between the two is told by
  1. its process, on this machine: a command line that names the log, in the study's folder;
  2. Slurm: a job whose comment names rule and wildcards is RUNNING, on a node that responds;
  3. a log younger than `FRESH_S`, where neither can tell: the workflow is on another machine, or Slurm runs
     groups of cells and does not say which cell is at work (trainings write every few seconds).
None of these: it isn't running, whatever the mark says.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

#: A log this young (seconds) belongs to a living job. Network file systems show times up to a minute late.
FRESH_S = 90.0

#: File times of different machines may differ by this much (seconds).
SLACK_S = 2.0

_TAIL_BYTES = 8000
_LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (\w+) (\S+): (.*)$")
_STEPS = re.compile(r"(\d+)/(\d+) \[([\d:]+)<([\d:]+|\?)")


@dataclass(frozen=True)
class Workflow:
    """Whether a workflow runs on the study: None where this machine cannot tell."""

    running: bool | None
    host: str | None = None
    process: int | None = None
    since: float | None = None  # time.time() of its start


def workflow(study: str, snakemake: Path) -> Workflow:
    """The workflow of the study named `study`; `snakemake` is the folder .snakemake."""
    locks = [file for file in sorted(snakemake.glob("locks/*.lock")) if _names(file, study)]
    lock = snakemake / f"eele-{study}.lock"
    if not locks or not lock.exists():
        return Workflow(False)
    host = lock.read_text(encoding="utf-8", errors="replace").strip() or None
    since = min(file.stat().st_mtime for file in locks)
    if host != socket.gethostname():
        return Workflow(None, host, None, since)
    holders = _flock_holders(lock)
    if holders is None:
        return Workflow(None, host, None, since)
    return Workflow(bool(holders), host, holders[0] if holders else None, since)


def _names(lock: Path, study: str) -> bool:
    try:
        with open(lock, encoding="utf-8", errors="replace") as lines:
            return any(line.startswith(f"results/{study}/") for line in lines)
    except OSError:  # it went away meanwhile
        return False


def _flock_holders(lock: Path) -> list[int] | None:
    """Processes of this machine that hold a flock on the file; None where the system does not say."""
    try:
        lines = Path("/proc/locks").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    inode = str(lock.stat().st_ino)
    fields = [line.split() for line in lines]
    return [
        int(field[4])
        for field in fields
        # A second `->` stands before those that only wait for a lock.
        if field[1] == "FLOCK" and field[5].rpartition(":")[2] == inode
    ]


def marks(study: str, snakemake: Path) -> dict[str, float]:
    """Output as named in the Snakefile -> time of Snakemake's mark, of jobs not known to have ended.

    A mark's name is the output's in base 64; what is longer than a file name may be lies in folders
    named `@` and a piece of it. Slurm's job number in it is lost as soon as the job itself starts.
    """
    folder, found = snakemake / "incomplete", {}
    for parent, _, names in os.walk(folder):
        before = "".join(part[1:] for part in Path(parent).relative_to(folder).parts)
        for name in names:
            try:
                output = base64.urlsafe_b64decode(before + name).decode()
                if output.startswith(f"results/{study}/"):
                    found[output] = os.stat(os.path.join(parent, name)).st_mtime  # noqa: PTH116, PTH118
            except (ValueError, OSError):  # no mark, or gone meanwhile
                continue
    return found


@dataclass(frozen=True)
class Log:
    """The end of a job's log. `end`: done, failed, interrupted, or None while there is no end."""

    time: float
    end: str | None
    lines: tuple[str, ...]
    step: int | None = None
    steps: int | None = None
    elapsed_s: float | None = None
    left_s: float | None = None


def read_log(path: Path, lines: int = 5) -> Log | None:
    """The log's last `lines` lines, how it ended, and how far its progress bar got."""
    try:
        with open(path, "rb") as handle:
            when = os.fstat(handle.fileno()).st_mtime
            size = handle.seek(0, os.SEEK_END)
            handle.seek(max(0, size - _TAIL_BYTES))
            text = handle.read().decode("utf-8", errors="replace")
    except OSError:
        return None
    rows = [row.rpartition("\r")[2].rstrip() for row in text.split("\n")]
    rows = [row for row in rows if row]
    end = None
    for (
        row
    ) in rows:  # a message may have several lines: the last one that begins with a time counts
        if found := _LINE.match(row):
            end = _end(*found.groups())
    # A progress bar that goes on after a message: that message was not the end.
    last_break = text.rfind("\r")
    if end is None or (last_break > text.rfind("\n") and _STEPS.search(text[last_break:])):
        end = None
    bars = _STEPS.findall(text)
    if not bars:
        return Log(when, end, tuple(rows[-lines:]))
    step, steps, elapsed, left = bars[-1]
    return Log(
        when, end, tuple(rows[-lines:]), int(step), int(steps), _seconds(elapsed), _seconds(left)
    )


def _end(level: str, name: str, message: str) -> str | None:
    if name != "eele":
        return None
    if level == "ERROR":
        return "interrupted" if message.startswith("interrupted;") else "failed"
    return "done" if re.search(r" done in [\d.]+ s$", message) else None


def _seconds(clock: str) -> float | None:
    if clock == "?":
        return None
    seconds = 0.0
    for part in clock.split(":"):
        seconds = 60 * seconds + int(part)
    return seconds


def logs_of_processes(folder: Path) -> set[str] | None:
    """Arguments of `--log` of this machine's jobs working in `folder`; None where /proc is missing."""
    processes = Path("/proc")
    if not (processes / "self" / "cmdline").exists():
        return None
    here, found = folder.resolve(), set()
    for entry in processes.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            # A shell that starts the job holds the whole command in one word, the job itself does not.
            if "--log" in words[:-1] and (entry / "cwd").resolve() == here:
                found.add(words[words.index("--log") + 1])
        except OSError:  # gone meanwhile, or another user's
            continue
    return found


@dataclass(frozen=True)
class SlurmJob:
    """A job of this user in Slurm's queue. `lost`: RUNNING as Slurm sees it, on a node that does not respond."""

    state: str
    comment: str
    lost: bool


def slurm_jobs(folder: Path) -> list[SlurmJob]:
    """Slurm's jobs whose working directory is `folder`; none where Slurm cannot be asked."""
    listing = _ask("squeue", "--me", "-h", "-r", "-o", "%T|%N|%Z|%k")
    here = folder.resolve()
    rows = [row.split("|", 3) for row in (listing or "").splitlines()]
    rows = [row for row in rows if len(row) == 4 and Path(row[2]).resolve() == here]
    if not rows:
        return []
    down = set()
    for row in (_ask("sinfo", "-h", "-N", "-o", "%N|%T") or "").splitlines():
        node, _, state = row.partition("|")
        # `*` behind a state: the node does not respond.
        if state.endswith("*") or state.startswith(("down", "fail")):
            down.add(node)
    return [
        SlurmJob(state.lower(), comment, state == "RUNNING" and node in down)
        for state, node, _, comment in rows
    ]


def slurm_comment(stage: str, values: tuple[str, ...]) -> str:
    """The comment that Snakemake's Slurm plugin gives a job of the rule with these wildcards."""
    wildcards = "_".join(value.replace("/", "_") for value in values)
    return f"rule_{stage}_wildcards_{wildcards}" if values else f"rule_{stage}"


def _ask(program: str, *arguments: str) -> str | None:
    if shutil.which(program) is None:
        return None
    try:
        answer = subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    return answer.stdout if answer.returncode == 0 else None


def age(when: float) -> float:
    """Seconds since a file's time."""
    return max(0.0, time.time() - when)
