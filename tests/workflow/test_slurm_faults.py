"""A node lost in mid-training on a real Slurm: what it costs, and what `eele status` says meanwhile.

benchmarks/slurm_faults.py has the other faults; they take longer.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_sandbox import Sandbox, checkout, missing
from slurm_study import ADAPTER, OVERRIDE, Study, patiently

WHY = missing()
pytestmark = [pytest.mark.workflow, pytest.mark.skipif(bool(WHY), reason=WHY)]

STEPS = 800


@pytest.fixture
def short():
    """A folder that is not below pytest's own: the path of a socket is short."""
    folder = Path(subprocess.check_output(["mktemp", "-d", "-t", "eele-XXXXXX"], text=True).strip())
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def cluster(short):
    with Sandbox(short, node_timeout_s=10, requeue_s=15) as sandbox:
        yield sandbox


@pytest.fixture
def study(heard, cluster, tmp_path_factory):
    """The smoke study as far as it has no voice; its command asks for the trained cell."""
    folder = checkout(tmp_path_factory.mktemp("faults") / "eele")
    for name in ("results", ".snakemake"):
        shutil.copytree(heard("disturbed") / name, folder / name)
    (folder / "override.yaml").write_text(OVERRIDE % STEPS)
    return Study(folder, cluster, target=ADAPTER)


def cells(study):
    """What `eele status` says of the trained cells: their number per state."""
    done = subprocess.run(
        [sys.executable, "-m", "eele.cli", "status", "smoke", "--json"],
        cwd=study.folder, env=study.sandbox.environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    counts = json.loads(done.stdout)["cells"]
    return {state: counts[state] for state in ("done", "running", "failed", "waiting")}


def only(state):
    """One cell, in this state."""
    return {name: int(name == state) for name in ("done", "running", "failed", "waiting")}


def test_a_lost_node_costs_at_most_one_checkpoint_interval_and_the_status_tells(study):
    run = study.type()
    try:
        study.wait_for_training(2)
        assert cells(study) == only("running")
        number, node = study.job()

        study.sandbox.kill_node(node)
        saved = study.step()
        assert 0 < saved < STEPS
        for _ in patiently("Slurm to see that the node is lost"):
            if "RUNNING" not in study.sandbox.call("squeue", "-h", "-j", number, "-o", "%T"):
                break
        assert cells(study) == only("waiting")

        assert study.job()[1] != node  # Slurm begins it again elsewhere
        for _ in patiently("the training to go on"):
            if study.resumed():
                break
        assert study.resumed() == saved
        assert cells(study) == only("running")
        # Snakemake's own end is not awaited: by now it looks once a minute only.
        for _ in patiently("the adapter"):
            if (study.folder / ADAPTER).is_file():
                break
        assert run.poll() in (None, 0), study.said()
    finally:
        if run.poll() is None:
            run.kill()
            run.wait()


def test_a_sandbox_leaves_the_jobs_of_another_one_alone(cluster, short):
    """Their nodes have the same names."""
    number = cluster.call("sbatch", "--parsable", "-o", "/dev/null", "--wrap", "sleep 600").strip()
    for _ in patiently("the job"):
        if mine := cluster.steps(cluster.nodes):
            break
    with Sandbox(short / "b", nodes=1) as other:
        other.call("sbatch", "-o", "/dev/null", "--wrap", "sleep 600")
        for _ in patiently("the other job"):
            if other.steps(other.nodes):
                break
        other.kill_node("node0")
    assert cluster.steps(cluster.nodes) == mine
    assert cluster.call("squeue", "-h", "-j", number, "-o", "%T").strip() == "RUNNING"


@pytest.mark.skipif(bool(missing(accounting=True)), reason=missing(accounting=True))
def test_with_its_database_sacct_answers_while_slurmctld_is_away(short):
    with Sandbox(short, nodes=1, accounting=True) as sandbox:

        def states():
            return sandbox.call("sacct", "-X", "-n", "-o", "State").split()

        sandbox.call("srun", "true")
        for _ in patiently("the database"):
            if states() == ["COMPLETED"]:
                break
        sandbox.stop_controller()
        assert states() == ["COMPLETED"]
