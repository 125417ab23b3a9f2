"""Where the software of the jobs comes from: what `--sdm` chooses, the config's `deployment` names.

conda builds the environments of envs/. An image or modules only the user can name. Snakemake runs a rule
without either on whatever the machine has; a study asked to run in containers is refused instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from eele.config import StudyConfig
from eele.errors import ConfigError

#: What jobs begin with under `--sdm env-modules`. Snakemake puts `module load ...;` before it and goes on
#: after a failure, with the wrong software.
MODULES_PREFIX = (
    (
        "[ $? -eq 0 ] || { echo 'eele: the modules of `deployment` could not be loaded' >&2; exit 1; }; "
        "set -euo pipefail; "
    )
    .replace("{", "{{")
    .replace("}", "}}")
)  # Snakemake formats it

#: What every container sees of the machine, beside the working directory.
SEEN = ("/tmp",)

_NAMED = {
    "apptainer": ("container", "to a .sif file or a URI like docker://me/eele:1"),
    "env-modules": ("modules", "to a list of modules"),
}


def job_variables(study: StudyConfig, methods: Iterable[str], root: Path) -> dict[str, str]:
    """Environment variables of jobs under `--sdm <methods>`; `root` is the folder of the Snakefile.

    Raises ConfigError when `methods` ask for what the study does not name.
    """
    chosen = sorted(methods)
    _check(study, chosen)
    return _container_variables(study, root) if "apptainer" in chosen else {}


def _check(study: StudyConfig, chosen: list[str]) -> None:
    if len(chosen) > 1:
        # Snakemake would run one inside the other: `module load` within the image.
        raise ConfigError(f"--sdm {' '.join(chosen)}: choose one of them")
    for method in chosen:
        if method not in _NAMED:
            continue
        key, how = _NAMED[method]
        if not getattr(study.deployment, key):
            raise ConfigError(
                f"--sdm {method}: the study does not say with what; set deployment.{key} {how} "
                "(docs/cluster.md, Software on the nodes)"
            )
    if "apptainer" in chosen:
        for key in ("container", "mfa_container"):
            _check_image(key, getattr(study.deployment, key))


def _check_image(key: str, image: str | None) -> None:
    """A local image has to be there; of a URI only apptainer knows."""
    if image and "://" not in image and not Path(image).expanduser().exists():
        raise ConfigError(f"deployment.{key}: there is no {image}")


def of_aligner(study: StudyConfig) -> tuple[str | None, tuple[str, ...]]:
    """Image and modules of the stage `align`."""
    own = study.deployment
    if study.alignment.aligner != "mfa":
        return own.container, own.modules
    return own.mfa_container or own.container, own.mfa_modules or own.modules


def _container_variables(study: StudyConfig, root: Path) -> dict[str, str]:
    """Variables of jobs in containers.

    Jobs run the image's Python and this checkout's code. A container shows the working directory and
    nothing else of the machine, so what the study reads elsewhere is bound at its own place; with an
    NVIDIA driver on this machine its devices are passed on.
    """
    variables = {"EELE_PYTHON": "python"}
    shared = {"BIND": ",".join(_bindings(study, root, os.environ))}
    if study.runtime.device != "cpu" and Path("/proc/driver/nvidia/version").exists():
        shared["NV"] = "1"
    for key, value in shared.items():
        # Apptainer reads both, Singularity the second.
        variables |= {f"APPTAINER_{key}": value, f"SINGULARITY_{key}": value}
    return variables


def _bindings(study: StudyConfig, root: Path, environment: Mapping[str, str]) -> list[str]:
    """What to bind: what the user asked for, then folders outside the working directory, none twice."""
    here = Path.cwd().resolve()
    needed = [root, Path("results"), Path("scripts")]
    needed += [study.corpus_root(corpus) for corpus in study.corpora]
    needed += [Path(text) for text in _texts(study.model_dump(mode="json")) if text.startswith("/")]
    if environment.get("TMPDIR"):
        needed.append(Path(environment["TMPDIR"]))
    given = environment.get("APPTAINER_BIND") or environment.get("SINGULARITY_BIND") or ""
    bound = [part for part in given.split(",") if part]
    # A symbolic link leads to its target: both have to be there.
    for path in sorted({path for some in needed for path in (some.absolute(), some.resolve())}):
        seen = any(path.is_relative_to(folder) for folder in (here, *SEEN))
        if seen or not path.exists():
            continue
        if "," in str(path) or ":" in str(path):
            raise ConfigError(f"--sdm apptainer cannot bind {path}: no comma or colon, please")
        if not any(path.is_relative_to(part.split(":")[0]) for part in bound):
            bound.append(str(path))
    return bound


def _texts(value: Any) -> Iterator[str]:
    """Every string in plain nested values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
