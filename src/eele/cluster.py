"""What Snakemake on a Slurm cluster leaves to its workflow: jobs of several cells, and jobs of killed runs.

A workflow that is killed, or whose terminal is closed, takes no job with it: what it submitted goes on. The
same command typed again would submit the same cells beside them. So every run notes its log, in which the
Slurm executor names the run, and the next run ends what a dead run's name still has there. A training that
is ended so writes a checkpoint first.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from eele.locking import locks_of
from eele.stage import alive

_RUN = re.compile(r"SLURM run ID: (\S+)")


def run_job_at_once(workflow: Any) -> None:
    """Have a job's Snakemake run all its cells itself, one after another, each whatever becomes of the others.

    The Slurm executor hands a job its cells but neither `group-components` nor `resources` nor `keep-going`: the
    job's Snakemake would take each cell for a group of its own, start a further Snakemake for each of them (three
    seconds and more), and leave out what comes after a failed one. Snakemake sets its settings after it has
    read the rules, so they are changed when it begins.
    """
    if workflow.is_main_process:
        return
    execute = workflow.execute

    def execute_at_once(*arguments: Any, **named: Any) -> Any:
        workflow.group_settings.group_components = {"cell": sys.maxsize}
        workflow.execution_settings.keep_going = True
        workflow.register_resource("cell", 1)
        return execute(*arguments, **named)

    workflow.execute = execute_at_once


def submit_after_a_lost_node() -> None:
    """Let the Slurm executor submit on once a node was lost under a job that Slurm then requeued.

    It asks `sacct` which node that was, to keep later jobs off it. The job waits again by then, so the answer
    is "None assigned", and every later sbatch with `--exclude=None assigned` is refused (plugin 2.8.0).
    """
    plugin = sys.modules.get("snakemake_executor_plugin_slurm")
    command = getattr(plugin, "get_submit_command", None)
    if plugin is None or command is None:
        return

    def with_names_only(*arguments: Any, failed_nodes: Any = None, **named: Any) -> Any:
        nodes = {node for node in failed_nodes or () if " " not in node}
        return command(*arguments, failed_nodes=nodes, **named)

    vars(plugin)["get_submit_command"] = with_names_only


def note_run(log: str | Path, study_folder: str | Path, snakemake_folder: str | Path) -> None:
    """Remember the log of this process's run; `study_folder` is results/<study>."""
    name = f"{_prefix(study_folder)}{socket.gethostname()}.{os.getpid()}.run"
    (Path(snakemake_folder) / name).write_text(f"{Path(log).resolve()}\n", encoding="utf-8")


def end_left_over_jobs(
    study_folder: str | Path, snakemake_folder: str | Path, patience_s: float = 90.0
) -> int:
    """Cancel the Slurm jobs of the study's dead runs and wait for their end; returns how many there were.

    To be called by a run that has Snakemake's lock. Without Slurm nothing happens; a job that does not end
    within `patience_s` seconds is no longer waited for.
    """
    ended = 0
    for note in sorted(Path(snakemake_folder).glob(f"{_prefix(study_folder)}*.run")):
        try:
            if not _dead(note, study_folder):
                continue
            ended += _end_jobs(note, patience_s)
        except (OSError, subprocess.SubprocessError):
            continue  # Slurm does not answer now; the next run asks again
        note.unlink(missing_ok=True)
    return ended


def _dead(note: Path, study_folder: str | Path) -> bool:
    """Whether the noted run is gone: its process, or on another host its lock.

    A run takes Snakemake's lock before it is noted and keeps it to its end. So where every lock of the study
    is younger than the note, that run's has been removed: by itself, or by somebody who knew that it is dead.
    """
    host, _, process = (
        note.name.removeprefix(_prefix(study_folder)).removesuffix(".run").rpartition(".")
    )
    if host == socket.gethostname():
        return process.isdigit() and not alive(int(process))
    noted = note.stat().st_mtime
    return all(lock.stat().st_mtime > noted for lock in locks_of(study_folder, note.parent))


def _end_jobs(note: Path, patience_s: float) -> int:
    """Cancel what the noted run still has on the cluster."""
    log = Path(note.read_text(encoding="utf-8").strip())
    found = _RUN.findall(log.read_text(encoding="utf-8", errors="replace")) if log.exists() else []
    if not found or shutil.which("scancel") is None:
        return 0
    jobs = _jobs(found[-1])
    if jobs:
        _ask("scancel", *jobs)
    deadline = time.monotonic() + patience_s
    while jobs and _jobs(found[-1]) and time.monotonic() < deadline:
        time.sleep(1.0)
    return len(jobs)


def _jobs(run: str) -> list[str]:
    """Numbers of the run's jobs that wait, run or end; finished ones are not listed."""
    return _ask("squeue", "--noheader", f"--name={run}", "--format=%i").split()


def _ask(*command: str) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60, stdin=subprocess.DEVNULL
    ).stdout


def _prefix(study_folder: str | Path) -> str:
    return f"eele-{Path(study_folder).name}@"  # no name of a study has this sign
