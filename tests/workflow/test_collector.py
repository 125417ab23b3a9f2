"""Python's garbage collector leaves the graph of jobs alone, and works again while jobs run."""

import os
import subprocess
import sys

import pytest
from running import ROOT, SMOKE

# What is registered first runs last: it tells what the process of Snakemake ends with.
PROGRAM = """
import atexit, gc
atexit.register(lambda: print("collects:", gc.isenabled(), "frozen:", gc.get_freeze_count() > 50_000))
from snakemake.cli import main
main()
"""


@pytest.mark.parametrize(
    "mode, collects", [("-n", False), ("--touch", True)], ids=["planned", "run"]
)
def test_garbage_is_collected_from_the_first_job_on(tmp_path, mode, collects):
    done = subprocess.run(
        [
            *(sys.executable, "-c", PROGRAM, "results/smoke/manifest.csv", mode, "--cores", "1"),
            *("--snakefile", ROOT / "Snakefile", "--configfile", SMOKE, "--directory", tmp_path),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
        timeout=180,
    )
    assert f"collects: {collects} frozen: True" in done.stdout
