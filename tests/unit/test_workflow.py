"""What the Snakefile asks of the package while it is read."""

import inspect
import subprocess
import sys

import pytest

from eele import workflow


@pytest.mark.parametrize(
    ("calls", "enabled"),
    [("collect_no_garbage()", False), ("collect_no_garbage(), workflow.collect_garbage()", True)],
)
def test_the_graph_of_jobs_is_no_garbage(calls, enabled):
    # What is registered first runs last: it sees what the interpreter ends with.
    code = (
        "import atexit, gc; from eele import workflow;"
        "atexit.register(lambda: print(gc.isenabled(), gc.is_tracked(graph), gc.get_freeze_count() > 10**5));"
        f"workflow.{calls}; graph = [[] for _ in range(10**5)]"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == f"{enabled} True True\n"


def test_the_signature_of_a_function_asked_often_is_looked_up_once():
    @workflow.asked_often
    def function(wildcards, attempt=1):
        return wildcards

    assert inspect.signature(function) is inspect.signature(function)
    assert list(inspect.signature(function).parameters) == ["wildcards", "attempt"]
    assert function("x") == "x"
