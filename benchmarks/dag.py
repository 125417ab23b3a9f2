"""How long Snakemake thinks about a large study, and how much memory that takes.

    python benchmarks/dag.py                      # 5,000 trained cells: dry run of a new study
    python benchmarks/dag.py --finished           # and of a finished one (ten minutes to set up)
    python benchmarks/dag.py --cells 500 --profile

A study of lora x eight schemes x five ranks x four emotions x as many seeds as it takes is generated in a
temporary folder, and the repository's own Snakefile is read there as a user would have it: `snakemake -n`.
For `--finished`, every output of every job is made as an empty file and `snakemake --touch --forceall` records
them as up to date, exactly as Snakemake does after real jobs; then the plain command is timed, which has
to find that nothing is to be done, and the command for one cell. That the records are there and read is seen
by a changed config, which has to bring back every training. Peak memory is the largest of Snakemake's
process (as the kernel counts it).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from eele.cells import sweep
from eele.config import load_study

REPOSITORY = Path(__file__).resolve().parents[1]
EMOTIONS = ["angry", "happy", "sad", "surprised"]
SCHEMES = ["a", "b", "c", "d", "e", "f", "g", "h"]
RANKS = [2, 4, 8, 16, 32]
#: `snakemake`, without the tenth of a second that it waits before it touches a job's files.
TOUCH = """
import sys
from snakemake.executors import touch
touch.Executor.SLEEPING_TIME = 0
from snakemake.cli import main
main()
"""


def study(cells: int) -> dict[str, object]:
    """A config of at least `cells` trained cells; the smallest number of seeds that gives them."""
    per_seed = len(SCHEMES) * len(RANKS) * len(EMOTIONS)
    seeds = list(range(1, -(-cells // per_seed) + 1))
    return {
        "study": "large",
        "corpora": [{"adapter": "demo"}],
        "backbone": {"name": "fastspeech2"},
        "emotions": EMOTIONS,
        "sweep": [{"method": "lora", "schemes": SCHEMES, "ranks": RANKS}],
        "seeds": seeds,
    }


def snakemake(
    folder: Path, *arguments: str, profile: Path | None = None, touch: bool = False
) -> tuple[dict[str, float], str]:
    """Seconds, CPU seconds, peak memory in MB and output of one Snakemake command in `folder`.

    The CPU seconds are what the wall time is on a machine with nothing else to do.
    """
    program = [sys.executable, "-m", "snakemake"]
    if touch:
        program = [sys.executable, "-c", TOUCH, "--touch", "--forceall"]
    elif profile is not None:
        program = [sys.executable, "-m", "cProfile", "-o", str(profile), "-m", "snakemake"]
    command = [
        *program,
        *("--snakefile", str(REPOSITORY / "Snakefile"), "--configfile", "study.yaml"),
        *("--workflow-profile", str(REPOSITORY / "profiles" / "default"), "--cores", "1000"),
        *arguments,
    ]
    # The package beside this file, wherever the environment has it from.
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    before = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - before
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{text[-3000:]}")
    figures = {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mb": round(usage.ru_maxrss / 1024),
    }
    return figures, text


def outputs(folder: Path) -> list[tuple[Path, bool]]:
    """Outputs of every job and whether each is a folder, as Snakemake itself lists them."""
    listing = snakemake(folder, "--summary")[1]
    rows = [line.split("\t") for line in listing.splitlines() if "\t" in line][1:]
    paths = [Path(row[0]) for row in rows]
    return [
        (folder / path, path.name == "figures" or path.parent.name == "judges") for path in paths
    ]


def finish(folder: Path) -> int:
    """Make every output and have Snakemake record it; returns their number."""
    files = outputs(folder)
    for path, is_folder in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_folder:
            path.mkdir(exist_ok=True)
        else:
            path.touch()
    snakemake(folder, "--quiet", "all", touch=True)
    return len(files)


def planned(text: str, rule: str = "total") -> int | None:
    """Jobs of a rule, or of all, in a dry run's table; None where nothing is to be done."""
    counts = (line.split() for line in text.splitlines() if line.startswith(f"{rule} "))
    return next((int(columns[1]) for columns in counts), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cells", type=int, default=5000, help="trained cells, at least")
    parser.add_argument("--finished", action="store_true", help="time a finished study, too")
    parser.add_argument("--profile", action="store_true", help="print the costliest functions")
    parser.add_argument("--folder", type=Path, help="keep the study here (default: thrown away)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        config = study(options.cells)
        (folder / "study.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        cells = len(config["seeds"]) * len(SCHEMES) * len(RANKS) * len(EMOTIONS)  # type: ignore[arg-type]
        report: dict[str, object] = {"trained_cells": cells}
        profile = folder / "profile" if options.profile else None
        figures, text = snakemake(folder, "-n", "--quiet", "rules", profile=profile)
        report["dry_run"] = figures
        report["jobs"] = planned(text)
        if options.finished:
            report["outputs"] = finish(folder)
            figures, text = snakemake(folder, profile=profile)
            if "Nothing to be done" not in text:
                raise SystemExit(f"the finished study is not finished:\n{text[-3000:]}")
            report["finished"] = figures
            cell = f"results/large/cells/{sweep(load_study(folder / 'study.yaml'))[-1].path}"
            figures, text = snakemake(folder, f"{cell}/metrics.json")
            if "Nothing to be done" not in text:
                raise SystemExit(f"the finished cell is not finished:\n{text[-3000:]}")
            report["one_cell"] = figures
            changed = ["-n", "--quiet", "rules", "--config", "adaptation={steps: 7}"]
            trainings = planned(snakemake(folder, *changed)[1], "train_cell")
            if trainings != cells:
                raise SystemExit(f"a changed config brings back {trainings} of {cells} trainings")
        print(json.dumps(report, indent=2))
        if profile is not None:
            import pstats

            statistics = pstats.Stats(str(profile))
            statistics.sort_stats("tottime").print_stats(25)
            statistics.sort_stats("cumtime").print_stats("eele|smk", 25)


if __name__ == "__main__":
    main()
