"""What the images' `%test` runs: everything is at the version of requirements.lock and can be imported.

python check_image.py FOLDER [--cuda]     # FOLDER holds requirements.lock
"""

from __future__ import annotations

import importlib
import re
import sys
from importlib import metadata
from pathlib import Path

MODULES = ("eele.align", "eele.backbones", "eele.features", "eele.metrics", "eele.training")


def strangers(lock: str, installed: dict[str, str]) -> dict[str, str]:
    """Installed packages whose version is not the lock file's; what it does not name is left alone."""
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+)$", lock, flags=re.MULTILINE))
    return {
        name: version for name, version in installed.items() if pins.get(name, version) != version
    }


def main() -> None:
    """Print what is there, or exit with what is wrong."""
    installed = {
        re.sub(r"[-_.]+", "-", package.name).lower(): package.version.split("+")[0]
        for package in metadata.distributions()
    }
    lock = (Path(sys.argv[1]) / "requirements.lock").read_text(encoding="utf-8")
    if wrong := strangers(lock, installed):
        sys.exit(f"not as in requirements.lock: {wrong}")
    for name in MODULES:
        importlib.import_module(name)
    torch = importlib.import_module("torch")
    if "--cuda" in sys.argv and torch.version.cuda is None:
        sys.exit(f"torch {torch.__version__} was built without CUDA")
    print(f"eele {installed['eele']}, torch {torch.__version__}, CUDA {torch.version.cuda}")


if __name__ == "__main__":
    main()
