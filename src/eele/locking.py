"""Tell a lock left by a killed run from the lock of a run that lives.

Snakemake's own locks are plain files: after a SIGKILL or a power cut they stay, and the next run is
refused until somebody types `--unlock`. Every run of a study therefore also holds a shared `flock`,
which the kernel drops with the process. Who gets that lock exclusively knows that no run lives, and
may clear away Snakemake's files of this study. Two runs at once are still refused, by Snakemake.
"""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

_HELD: dict[Path, int] = {}


def hold(study_folder: str | Path, snakemake_folder: str | Path = ".snakemake") -> list[Path]:
    """Hold the study for this process; return the stale Snakemake locks that were cleared away.

    `study_folder` is results/<study> as it is written in Snakemake's lock files. Where the file
    system has no `flock`, or the last run was on another host (whose `flock` may not reach this
    one), nothing is cleared: that run's name stays until its locks are gone.
    """
    folder = Path(snakemake_folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / f"eele-{Path(study_folder).name}.lock"
    if lock in _HELD:
        return []
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
    except OSError:
        alone = False
    cleared = []
    if alone:
        host = socket.gethostname()
        last_host = os.read(handle, 300).decode(errors="replace").strip()
        if last_host in ("", host):
            cleared = locks_of(study_folder, folder)
            for path in cleared:
                path.unlink(missing_ok=True)
        if not locks_of(study_folder, folder):
            os.ftruncate(handle, 0)
            os.pwrite(handle, host.encode(), 0)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        _HELD[lock] = handle
    except OSError:
        os.close(handle)
    return cleared


def locks_of(study_folder: str | Path, snakemake_folder: str | Path) -> list[Path]:
    """Snakemake's lock files that name a file of the study."""
    found = []
    for path in sorted((Path(snakemake_folder) / "locks").glob("*.lock")):
        try:
            with open(path, encoding="utf-8", errors="replace") as lines:
                if any(line.startswith(f"{study_folder}/") for line in lines):
                    found.append(path)
        except FileNotFoundError:  # a run has just ended
            continue
    return found
