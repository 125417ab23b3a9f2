"""A small study on a Slurm sandbox: the command as typed, and what can be seen of it from outside.

Everything before its one trained cell is the smoke study's. The cell trains long enough to be disturbed, with
a checkpoint every three seconds.
"""

from __future__ import annotations

import csv
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from slurm_sandbox import Sandbox

#: On top of the smoke study.
OVERRIDE = """\
sweep: [{method: lora, schemes: [b], ranks: [2]}]
adaptation: {steps: %d, patience: 1000, validate_every: 1000000}
runtime: {checkpoint_minutes: 0.05}
"""
CONFIGS = ("config/studies/smoke.yaml", "override.yaml")
RESULTS = "results/smoke"
AXES = "backbone~fastspeech2/method~lora/scheme~b/rank~2/emotion~happy/seed~1"
ADAPTER = f"{RESULTS}/cells/{AXES}/adapter/adapter.safetensors"
TABLE = f"{RESULTS}/tables/cells.csv"
#: What the table needs beside the cell.
BASELINES = tuple(
    f"{RESULTS}/cells/backbone~{backbone}/method~{method}/scheme~-/rank~0/emotion~{emotion}/seed~-/{file}"
    for emotion in ("neutral", "happy")
    for backbone, method in (("-", "recording"), ("-", "copy_synthesis"), ("fastspeech2", "none"))
    for file in ("metrics.json", "utterances.csv")
)
#: Columns of the table that a clock measures.
TIMES = {"train_seconds"}

#: Snakemake on another host whose flock does not reach this one, as on some network file systems.
_ELSEWHERE = """\
import fcntl, runpy, socket, sys
socket.gethostname = lambda: "elsewhere"
fcntl.flock = lambda *arguments: None
runpy.run_module("snakemake", run_name="__main__", alter_sys=True)
"""


class Study:
    """A copy of the study in `folder`, which looks like the repository's root (`slurm_sandbox.checkout`).

    Args:
        target: What the command asks for.
        options: What else is typed, the same each time.
    """

    def __init__(
        self, folder: Path, sandbox: Sandbox, target: str = TABLE, options: tuple[str, ...] = ()
    ) -> None:
        self.folder = folder
        self.sandbox = sandbox
        self.arguments = [target, "--profile", "slurm", *sandbox.overrides, *options]
        self.arguments += ["--configfile", *CONFIGS, "--quiet", "rules"]
        self.typed = 0

    def type(self, *more: str, elsewhere: bool = False) -> subprocess.Popen[bytes]:
        """Type the command, here or on another host; it runs in a process group of its own."""
        self.typed += 1
        program = ["-c", _ELSEWHERE] if elsewhere else ["-m", "snakemake"]
        with open(self.folder / f"snakemake.{self.typed}.log", "wb") as output:
            return subprocess.Popen(
                [sys.executable, *program, *self.arguments, *more], cwd=self.folder, stdout=output,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
                # The copy's package, whatever becomes of the one that is installed.
                env={**self.sandbox.environment, "PYTHONPATH": str(self.folder / "src")},
            )  # fmt: skip

    def said(self, typed: int | None = None) -> str:
        """What the last (or that) command has said."""
        return (self.folder / f"snakemake.{typed or self.typed}.log").read_text(errors="replace")

    def job(self) -> tuple[str, str]:
        """Number and node of the study's running job, waited for."""
        for _ in patiently("a running job"):
            lines = self.sandbox.call("squeue", "-p", "cpu", "-t", "RUNNING", "-h", "-o", "%i %N")
            if len(lines.split()) == 2:
                number, node = lines.split()
                return number, node
        raise AssertionError

    @property
    def checkpoint(self) -> Path:
        return self.folder / RESULTS / "checkpoints" / "cells" / AXES / "state.pt"

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
        for _ in patiently("checkpoints"):
            if self.checkpoint.exists():
                seen.add(self.checkpoint.stat().st_mtime)
            if len(seen) >= checkpoints:
                return

    def log(self) -> str:
        """The training's log, of its last start."""
        path = self.folder / RESULTS / "logs" / "train_cell" / f"{AXES}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def resumed(self) -> int:
        """At which step the last start of the training began."""
        found = re.findall(r"resumed at step (\d+) of \d+", self.log())
        return int(found[-1]) if found else 0

    def rows(self) -> list[dict[str, str]]:
        """The table without what a clock measured."""
        with open(self.folder / TABLE, encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
        return [{key: text for key, text in row.items() if key not in TIMES} for row in rows]

    def half_written(self) -> list[str]:
        """Temporary files that nothing removed."""
        hidden = [path for path in (self.folder / "results").rglob(".*") if path.is_file()]
        return [path.name for path in hidden if path.name != ".snakemake_timestamp"]


def patiently(what: str, seconds: float = 300) -> Iterator[None]:
    """Yield ten times a second; raise TimeoutError after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(0.1)
    raise TimeoutError(f"waited {seconds} s for {what}")
