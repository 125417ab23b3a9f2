"""Fixtures of the workflow tests."""

import re
import shutil

import pytest
from running import ROOT, SMOKE, run

_FOLDERS = ("judges/statistics", "figures")
#: What the smoke study knows before any voice is trained: no backbone and no vocoder changes it.
_HEARD = (
    "features/index.csv",
    "features/statistics.json",
    "judges/statistics",
    "recogniser/model.json",
)


@pytest.fixture
def snakemake():
    return run


@pytest.fixture(scope="session")
def heard(tmp_path_factory):
    """Make folders in which the smoke study has its features, judge and recogniser, and no voice yet.

    The stages run once for all tests; what they made is copied with Snakemake's notes on it.
    """
    first = tmp_path_factory.mktemp("heard")
    (first / "scripts").symlink_to(ROOT / "scripts")
    run(
        *(f"results/smoke/{name}" for name in _HEARD), "--cores", "2", "--quiet", "rules",
        "--snakefile", ROOT / "Snakefile", "--configfile", SMOKE, cwd=first, timeout=1200, check=True,
    )  # fmt: skip

    def copy(name):
        folder = tmp_path_factory.mktemp(name)
        return shutil.copytree(first, folder, symlinks=True, dirs_exist_ok=True)

    return copy


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

    ask.folder = folder
    return ask
