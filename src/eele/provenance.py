"""Where a result comes from: config, code, packages, data, device, seeds, cost. Import-light."""

from __future__ import annotations

import csv
import datetime
import functools
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from eele import __version__
from eele.config import StudyConfig
from eele.config.models import NO_IDENTITY
from eele.errors import DataError
from eele.io import hash_json, read_json, sha256, write_json
from eele.paths import StudyPaths

#: Packages whose version can change a figure.
PACKAGES = (
    "torch",
    "lightning-fabric",
    "peft",
    "safetensors",
    "numpy",
    "scipy",
    "pandas",
    "librosa",
    "soxr",
    "soundfile",
    "pyworld",
    "praat-parselmouth",
    "espeakng-loader",
    "kaldi-hmm-gmm",
    "scikit-learn",
    "fairlearn",
    "transformers",
    "snakemake",
)

#: What a source.json says of a corpus that belongs into every provenance file.
_SOURCE_KEYS = ("adapter", "name", "version", "licence", "url", "citation", "sha256")


def write(
    path: str | Path,
    study: StudyConfig,
    stage: str,
    inputs: Iterable[str | Path] = (),
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write the provenance of one result to `path` (JSON).

    `inputs` are the files it was made from (their SHA-256 is kept); `extra` adds what only the stage
    knows. The corpora's licences and digests are read from the study's results when `path` lies
    among them. Times stand here alone, never in tables.
    """
    record = {
        "stage": stage,
        **_record(study),
        "inputs": {_name(file): sha256(file) for file in sorted(map(str, inputs))},
        "corpora": _corpora(study, _study_folder(Path(path), study)),
    }
    write_json(path, {**record, **(extra or {})})


def collect(study: StudyConfig, paths: StudyPaths) -> dict[str, Any]:
    """Write results/<study>/provenance.json of the whole study, and return it.

    `stages` holds jobs, wall time and peak memory per stage, of the runs whose results lie there.
    """
    record = {
        "stage": "study",
        **_record(study),
        "devices_of_cells": _devices_of_cells(paths),
        "corpora": _corpora(study, paths.root),
        "alignment": _if_there(paths.alignment / "summary.json"),
        "stages": stage_costs(paths.benchmarks),
    }
    write_json(paths.provenance, record)
    return record


def stage_costs(benchmarks: Path) -> dict[str, dict[str, float]]:
    """Stage -> jobs, wall_s (sum), longest_wall_s, cpu_s (sum) and peak_memory_mb (largest).

    Read from Snakemake's benchmark files, `<stage>.tsv` or `<stage>/<item>.tsv`. A job shorter than
    Snakemake's sampling has no memory figure; a stage of such jobs has none either.
    """
    costs: dict[str, dict[str, float]] = {}
    for file in sorted(benchmarks.rglob("*.tsv")):
        stage = file.relative_to(benchmarks).parts[0].removesuffix(".tsv")
        cost = costs.setdefault(stage, {"jobs": 0, "wall_s": 0.0, "longest_wall_s": 0.0})
        with open(file, encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle, delimiter="\t"))
        for row in rows:
            wall = _number(row.get("s"))
            if wall is None:
                raise DataError(f"{file}: no wall time in this benchmark file; delete it")
            cost["jobs"] += 1
            cost["wall_s"] = round(cost["wall_s"] + wall, 3)
            cost["longest_wall_s"] = max(cost["longest_wall_s"], round(wall, 3))
            cpu, memory = _number(row.get("cpu_time")), _number(row.get("max_rss"))
            if cpu is not None:
                cost["cpu_s"] = round(cost.get("cpu_s", 0.0) + cpu, 2)
            if memory is not None:
                cost["peak_memory_mb"] = max(cost.get("peak_memory_mb", 0.0), memory)
    return costs


def config_hash(study: StudyConfig) -> str:
    """SHA-256 of everything in the config that identifies a result."""
    return hash_json(study.model_dump(mode="json", exclude=set(NO_IDENTITY)))


@functools.cache
def code_version() -> dict[str, Any]:
    """`version` of the package; `commit` and `dirty` of its repository, null outside of one."""
    top = _git("rev-parse", "--show-toplevel")
    if top is None or Path(top, "src", "eele") != Path(__file__).resolve().parent:
        return {"version": __version__, "commit": None, "dirty": None}
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "version": __version__,
        "commit": commit,
        "dirty": None if commit is None or changes is None else bool(changes),
    }


def _record(study: StudyConfig) -> dict[str, Any]:
    return {
        "study": study.study,
        "config_sha256": config_hash(study),
        "code": code_version(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _versions(),
        "device": {
            "asked": study.runtime.device,
            "used": _device(),
            "precision": study.runtime.precision,
            "cpu_cores": os.cpu_count(),
        },
        "aligner": study.alignment.aligner,
        "seeds": _seeds(study),
        "written_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _seeds(study: StudyConfig) -> dict[str, Any]:
    seeds: dict[str, Any] = {"splits": study.splits.seed, "evaluation": study.evaluation.seed}
    if study.recognition is not None:
        encoders = {name: study.encoders[name].seed for name in study.recognition.encoders}
        return {**seeds, "encoders": encoders, "recognisers": list(study.recognition.seeds)}
    return {
        **seeds,
        "pretraining": study.pretraining.seed,
        "cells": list(study.seeds),
        "recogniser": study.evaluation.recogniser.seed,
    }


@functools.cache
def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def _device() -> str:
    """What torch sees, where this process has torch loaded; the machine otherwise."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"cpu ({platform.machine()})"


def _corpora(study: StudyConfig, folder: Path | None) -> dict[str, Any]:
    corpora: dict[str, Any] = {}
    for corpus in study.corpora:
        source = _if_there(StudyPaths(folder).corpus(corpus.id) / "source.json") if folder else None
        corpora[corpus.id] = {key: (source or {}).get(key) for key in _SOURCE_KEYS}
    return corpora


def _devices_of_cells(paths: StudyPaths) -> list[str]:
    records = (read_json(file) for file in (paths.root / "cells").rglob("provenance.json"))
    return sorted({record["device"]["used"] for record in records if "device" in record})


def _study_folder(path: Path, study: StudyConfig) -> Path | None:
    return next((folder for folder in path.parents if folder.name == study.study), None)


def _if_there(file: Path) -> Any:
    return read_json(file) if file.is_file() else None


def _name(file: str) -> str:
    return Path(file).as_posix()


def _number(text: str | None) -> float | None:
    """A benchmark figure; Snakemake writes `NA` or `-` for what it could not sample."""
    return None if text in (None, "", "-", "NA") else float(text)  # type: ignore[arg-type]


def _git(*arguments: str) -> str | None:
    program = shutil.which("git")
    if program is None:
        return None
    answer = subprocess.run(
        [program, "-C", str(Path(__file__).parent), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout.strip() if answer.returncode == 0 else None
