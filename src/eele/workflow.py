"""What the Snakefile asks of the package while it is read: the checked study, the jobs' environment.

Import-light: a mistake in a config has to be told within a second or two.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from eele.cells import Cell, check_cell
from eele.config import StudyConfig, check_study
from eele.config.models import CorpusConfig
from eele.errors import ConfigError
from eele.io import sha256
from eele.stage import PARENT_VARIABLE


def checked_study(
    config: Mapping[str, Any],
    files: Iterable[str | Path],
    overridden: bool,
    targets: Iterable[str] = (),
) -> StudyConfig:
    """The study of Snakemake's merged `config`, when it and every cell among `targets` is valid.

    `files` and `overridden` (by --config) say in messages where a value may come from. Raises
    ConfigError with every mistake.
    """
    sources = [os.path.relpath(path) for path in files] + ["--config"] * overridden
    study = check_study(config, source=", ".join(sources))
    for target in targets:
        parts = Path(target).parts
        if parts[:1] != ("results",) or "cells" not in parts:
            continue
        if parts[1] != study.study:
            raise ConfigError(
                f"{target}: the study of {', '.join(sources)} is '{study.study}', not '{parts[1]}'; "
                "give the --configfile of that study"
            )
        cell = check_cell(Cell.parse(target), study)
        if parts[3:9] != cell.path.parts:
            raise ConfigError(f"{target}: write the cell as {cell.path}")
    return study


def job_environment(source: Path) -> None:
    """Set what jobs inherit; `source` is the folder of the package's source.

    Jobs run the interpreter that runs Snakemake and end when it ends. With `--sdm conda` a stage's
    own environment comes first on the PATH, and finds the package through PYTHONPATH.
    """
    here = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", os.defpath)
    if path.split(os.pathsep)[0] != here:
        os.environ["PATH"] = here + os.pathsep + path
    os.environ["PYTHONPATH"] = str(source)
    os.environ["EELE_PYTHON"] = sys.executable
    os.environ[PARENT_VARIABLE] = str(os.getpid())


def corpus_parameters(study: StudyConfig, corpus: CorpusConfig) -> dict[str, Any]:
    """What identifies a corpus: its config and, where it has one, a digest of its metadata.csv.

    `data_root` is left out: a corpus that moved is the same corpus.
    """
    listing = study.corpus_root(corpus) / "metadata.csv"
    digest = sha256(listing) if listing.is_file() else None
    return {**corpus.model_dump(mode="json"), "metadata.csv": digest}


def section_parameters(study: StudyConfig, *names: str) -> dict[str, Any]:
    """Config sections by name, as plain values."""
    values = study.model_dump(mode="json", include=set(names))
    return {name: values[name] for name in names}


def identity(study: StudyConfig) -> dict[str, Any]:
    """Every part of the config that identifies a result."""
    return study.model_dump(mode="json", exclude={"runtime", "data_root"})
