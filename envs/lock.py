"""Write requirements.lock and envs/eele.yaml from what is installed: `make lock`.

Every package that eele and its extras need, at the version installed here, without local version
labels (torch's +cpu) and without the GPU runtime packages torch brings along on some platforms:
pip adds those by itself where they belong.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PLATFORM_ONLY = re.compile(r"nvidia-|cuda-|triton$")
HEAD = "# Made by `make lock` from the installed environment: every package, one version.\n"


def closure(name: str, extras: tuple[str, ...]) -> dict[str, str]:
    """Name -> version of all that `name` with its extras needs, itself left out."""
    found: dict[str, str] = {}
    todo = [(name, frozenset(extras))]
    seen = set(todo)
    while todo:
        package, wanted = todo.pop()
        for text in metadata.requires(package) or ():
            requirement = Requirement(text)
            marker = requirement.marker
            if marker and not any(marker.evaluate({"extra": extra}) for extra in ("", *wanted)):
                continue
            key = re.sub(r"[-_.]+", "-", requirement.name).lower()
            if PLATFORM_ONLY.match(key):
                continue
            found[key] = metadata.version(requirement.name).split("+")[0]
            step = (requirement.name, frozenset(requirement.extras))
            if step not in seen:
                seen.add(step)
                todo.append(step)
    return found


def main() -> None:
    """Write both files."""
    pins = [
        f"{key}=={version}" for key, version in sorted(closure("eele", ("workflow", "dev")).items())
    ]
    (ROOT / "requirements.lock").write_text(HEAD + "\n".join(pins) + "\n", encoding="utf-8")
    stage = [f"{key}=={version}" for key, version in sorted(closure("eele", ()).items())]
    lines = "\n".join(f"      - {pin}" for pin in stage)
    (ROOT / "envs" / "eele.yaml").write_text(
        "# The stages' environment, for `snakemake --sdm conda`. Made by `make lock`.\n"
        "channels: [conda-forge, nodefaults]\n"
        f"dependencies:\n  - python=3.11\n  - pip\n  - pip:\n{lines}\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
