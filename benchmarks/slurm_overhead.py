"""What scheduling costs a cell on Slurm: trivial cells through `--profile slurm` on a sandbox, in three ways.

    python benchmarks/slurm_overhead.py --cells 200 [--plain-cells 20]

Needs root and Debian's Slurm packages (tests/workflow/slurm_sandbox.py says which). A cell is three jobs that
write a line each. Printed per way: Slurm jobs, wall time, wall time per cell, and how long a Slurm job lasts (start-up of
Snakemake in it, as there is no work). All nodes share this machine's cores: with more cores it is faster.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "workflow"))

from slurm_sandbox import Sandbox, missing  # noqa: E402


@dataclass(frozen=True)
class Way:
    """One way to put cells into jobs."""

    label: str
    cells: int
    grouped: bool
    components: int = 1


def main() -> int:
    arguments = _arguments()
    if why := missing():
        print(why, file=sys.stderr)
        return 1
    plain = arguments.plain_cells or arguments.cells
    ways = [
        Way("every step a job", plain, grouped=False),
        Way("a cell a job", arguments.cells, grouped=True),
        Way(f"{arguments.components} cells a job", arguments.cells, True, arguments.components),
    ]
    print(f"{'':18} {'cells':>5} {'jobs':>5} {'wall s':>7} {'s/cell':>7} {'s/job':>6}", flush=True)
    for way in [way for way in ways if arguments.only in way.label]:
        with tempfile.TemporaryDirectory(prefix="eele-") as folder:
            _measure(way, Path(folder))
    return 0


def _measure(way: Way, folder: Path) -> None:
    """Run `way` on a fresh sandbox, so that job numbers begin at 1, and print its row."""
    with Sandbox(folder / "slurm", cpus=2) as sandbox:
        work = folder / "work"
        work.mkdir()
        command = [
            sys.executable, "-m", "snakemake", "--profile", str(HERE.parent / "profiles" / "slurm"),
            "--snakefile", str(HERE / "trivial_cells.smk"), "--jobs", "20", "--latency-wait", "5",
            "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2",
            "--group-components", f"cell={way.components}", "--quiet", "all", "--cores", "2",
            "--config", f"cells={way.cells}", f"grouped={int(way.grouped)}",
        ]  # fmt: skip
        started = time.monotonic()
        done = subprocess.run(
            command, cwd=work, env=sandbox.environment, capture_output=True, text=True, check=False
        )
        wall = time.monotonic() - started
        if done.returncode:
            raise SystemExit(done.stderr)
        made = len(list(work.glob("cells/*/metrics.json")))
        if made != way.cells:
            raise SystemExit(f"{made} of {way.cells} cells were made")
        lines = sandbox.call("squeue", "--states=all", "--noheader", "--format=%i %M").splitlines()
        seconds = [_seconds(line.split()[1]) for line in lines]
        print(
            f"{way.label:18} {way.cells:5} {len(lines):5} {wall:7.0f} {wall / way.cells:7.2f}"
            f" {sum(seconds) / len(seconds):6.1f}",
            flush=True,
        )


def _seconds(clock: str) -> int:
    """Seconds of squeue's [[D-]H:]M:S."""
    days, _, rest = clock.rpartition("-")
    total = int(days or 0)
    for part, size in zip(([0, 0, *map(int, rest.split(":"))])[-3:], (24, 60, 60), strict=True):
        total = total * size + part
    return total


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--plain-cells", type=int, help="fewer cells for the slow way, ungrouped")
    parser.add_argument("--components", type=int, default=20, help="cells a job in the third way")
    parser.add_argument("--only", default="", help="part of the label of the ways to measure")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
