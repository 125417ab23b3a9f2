"""A finished training outlives its job.

Snakemake deletes what a lost or failed job had written, and in a group also what its neighbours had
finished. So the files of a finished training get second names beside its checkpoint (hard links: no second
copy), and the next job of the same training takes them back instead of training again. The workflow forgets
them when it has come to its end, and before it runs rules anew (`--forcerun`, `--forceall`, `--force`).
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from eele.io import atomic_folder, atomic_path, write_text

log = logging.getLogger(__name__)

SUFFIX = ".finished"
_IDENTITY = "identity"


class Training(Protocol):
    """What tells one training from another."""

    @property
    def identity(self) -> str:
        """Hash of all that shapes the result."""

    @property
    def checkpoint(self) -> Path:
        """Where its resumable state lies."""


def keep(run: Training, outputs: Sequence[Path]) -> None:
    """Give `outputs`, files of different names, second names; the checkpoint has done its service."""
    with atomic_folder(run.checkpoint.with_suffix(SUFFIX)) as folder:
        for path in outputs:
            _link(path, folder / path.name)
        write_text(folder / _IDENTITY, run.identity)
    run.checkpoint.unlink(missing_ok=True)


def take_back(run: Training, outputs: Sequence[Path], write: bool = True) -> bool:
    """Whether this very training was finished before; its `outputs` are then there again.

    With `write` false nothing is written (another process of the same training does it).
    """
    folder = run.checkpoint.with_suffix(SUFFIX)
    identity = folder / _IDENTITY
    if not identity.is_file() or identity.read_text(encoding="utf-8") != run.identity:
        return False
    for path in outputs if write else ():
        with atomic_path(path) as temporary:
            temporary.unlink()
            _link(folder / path.name, temporary)
            # For Snakemake an output is younger than the inputs.
            os.utime(temporary)
    log.info("this training was finished by an earlier job, whose results are taken")
    return True


def forget(checkpoints: Path, cells: Path | None = None) -> None:
    """Remove all second names below `checkpoints`; with `cells`, but those of cells there without scores."""
    for folder in list(checkpoints.rglob(f"*{SUFFIX}")):
        place = folder.parent.relative_to(checkpoints)
        if (
            cells is None
            or place.parts[:1] != (cells.name,)
            or (cells.parent / place / "metrics.json").is_file()
        ):
            shutil.rmtree(folder)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
