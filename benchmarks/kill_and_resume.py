"""Kill a study with SIGKILL at random moments, start it again each time, and compare its table with an
undisturbed run's.

    python benchmarks/kill_and_resume.py --reference results/demo/tables/cells.csv \\
        --config config/config.yaml --kills 10 --seconds 600

The study runs again under the name <study>-killed. `--seconds` is about how long an undisturbed run takes:
kills are drawn uniformly over it. Exits 1 when a score differs.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import yaml

#: What a clock measures; everything else in the table must be equal.
TIMES = ("train_seconds",)


def main() -> int:
    arguments = _arguments()
    study = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))["study"] + "-killed"
    results = Path("results") / study
    shutil.rmtree(results, ignore_errors=True)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as override:
        override.write(f"study: {study}\n")
        override.flush()
        command = ["snakemake", "--quiet", "rules", "host"]
        command += ["--configfile", str(arguments.config), override.name]
        draw = random.Random(arguments.seed)
        moments = sorted(draw.uniform(5, arguments.seconds) for _ in range(arguments.kills))
        lived = 0.0
        kills = 0
        for moment in moments:
            # Time lived so far counts towards the moment, so kills fall over the whole of the run.
            span = max(8.0, moment - lived)
            if _run_for(command, span):
                break
            kills += 1
            lived += span
            print(
                f"killed after {span:.0f} s (moment {moment:.0f} s): {_state(results)}", flush=True
            )
        started = time.monotonic()
        finished = subprocess.run(command, check=False)
        print(f"{kills} kills; the last run took {time.monotonic() - started:.0f} s", flush=True)
    if finished.returncode:
        return finished.returncode
    return _compare(arguments.reference, results / "tables" / "cells.csv")


def _run_for(command: list[str], seconds: float) -> bool:
    """Start the study and kill its whole process group after `seconds`; True if it finished before."""
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False
    return True


def _state(results: Path) -> str:
    scored = len(list(results.glob("cells/**/metrics.json")))
    stages = [name for name in ("alignment", "features", "neutral") if (results / name).exists()]
    return f"{', '.join(stages) or 'corpus'}; {scored} cells scored"


def _compare(reference: Path, killed: Path) -> int:
    expected, found = pd.read_csv(reference), pd.read_csv(killed)
    columns = [column for column in expected.columns if column not in TIMES]
    try:
        pd.testing.assert_frame_equal(expected[columns], found[columns], check_exact=True)
    except AssertionError as error:
        print(f"tables differ: {error}", file=sys.stderr)
        return 1
    print(f"equal in {len(columns)} columns of {len(found)} cells")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--reference", type=Path, required=True, help="undisturbed tables/cells.csv"
    )
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"))
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seconds", type=float, required=True, help="length of an undisturbed run")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
