"""Snakemake on the real Snakefile, as a user runs it."""

import os
import re
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "config" / "studies" / "smoke.yaml"
_FOLDERS = ("judges/statistics", "figures")


@dataclass
class Answer:
    """What one Snakemake run said."""

    code: int
    text: str
    cpu_s: float

    @property
    def jobs(self) -> dict[str, int]:
        """Rule -> number of jobs, of the first table of job counts."""
        table = self.text.partition("Job stats:")[2].partition("total")[0]
        rows = re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE)
        return {rule: int(count) for rule, count in rows if rule not in ("job", "all")}


def children_cpu_s() -> float:
    """CPU seconds of all finished child processes: wall time on an idle machine, for serial programs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(*arguments, cwd=ROOT, timeout=60, check=False) -> Answer:
    """Run `snakemake <arguments>`; stdout and stderr come together."""
    before = children_cpu_s()
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    answer = Answer(done.returncode, done.stdout, children_cpu_s() - before)
    if check and answer.code:
        raise AssertionError(f"snakemake {' '.join(map(str, arguments))}\n{answer.text}")
    return answer


@pytest.fixture
def snakemake():
    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which the smoke study seems finished; ask it what would run with changed config.

    The outputs are empty files that Snakemake was told to take as made: nothing runs, yet its
    bookkeeping (params, inputs, times) is the real one.
    """
    folder = tmp_path_factory.mktemp("finished")
    common = ["--snakefile", ROOT / "Snakefile", "--directory", folder]
    summary = run(*common, "--summary", "--configfile", SMOKE, check=True).text
    outputs = re.findall(r"^(results/smoke/\S+)\t", summary, flags=re.MULTILINE)
    assert len(outputs) > 50
    for output in outputs:
        path = folder / output
        if output.endswith(_FOLDERS):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    run(*common, "--touch", "--forceall", "--configfile", SMOKE, check=True)

    def ask(*arguments, overrides=()):
        return run(*common, "-n", *arguments, "--configfile", SMOKE, *overrides, check=True)

    return ask
