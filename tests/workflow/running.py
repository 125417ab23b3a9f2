"""Run Snakemake on the real Snakefile, as a user does."""

import os
import re
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SMOKE = ROOT / "config" / "studies" / "smoke.yaml"


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


def run(*arguments, cwd=ROOT, timeout=180, check=False) -> Answer:
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
