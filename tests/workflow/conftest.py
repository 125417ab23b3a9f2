"""Fixtures of the workflow tests."""

import re

import pytest
from running import ROOT, SMOKE, run

_FOLDERS = ("judges/statistics", "figures")


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

    ask.folder = folder
    return ask
