"""The smoke study on a real Slurm: three nodes on this machine, two fake GPUs each."""

import csv
import re
import shutil
import subprocess
import sys
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import pytest
from running import ROOT, SMOKE, Answer, run
from slurm_sandbox import OVERRIDES, Sandbox, checkout, missing

WHY = missing()
pytestmark = [pytest.mark.workflow, pytest.mark.skipif(bool(WHY), reason=WHY)]

#: What a clock measures.
TIMES = {"train_seconds"}
CELL = "results/smoke/cells/backbone~fastspeech2/method~{}/scheme~{}/rank~{}/emotion~happy/seed~1"


@pytest.fixture(scope="module")
def cluster():
    # Not below pytest's own folder: the path of a socket is short.
    folder = Path(subprocess.check_output(["mktemp", "-d", "-t", "eele-XXXXXX"], text=True).strip())
    try:
        with Sandbox(folder) as sandbox:
            yield sandbox
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return checkout(tmp_path_factory.mktemp("slurm") / "eele")


@pytest.fixture(scope="module")
def local(heard):
    """The same study run on this machine."""
    folder = heard("local")
    run(
        "results/smoke/tables/cells.csv", "--cores", "2", "--quiet", "rules", "--snakefile",
        ROOT / "Snakefile", "--configfile", SMOKE, cwd=folder, timeout=900, check=True,
    )  # fmt: skip
    return folder


def submit(cluster, folder, *arguments, profile="slurm"):
    """`snakemake --profile slurm` as typed, where the shell stands in the root of the repository."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments, "--profile", profile, *OVERRIDES,
         "--configfile", "config/studies/smoke.yaml"],
        cwd=folder, env=cluster.environment, timeout=900, check=False, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return Answer(done.returncode, done.stdout, 0.0)


def table(folder):
    """Rows of tables/cells.csv without what a clock measured."""
    path = folder / "results" / "smoke" / "tables" / "cells.csv"
    with open(path, encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def submitted(cluster):
    """Comment, time limit and state of every job that Snakemake gave to Slurm."""
    lines = cluster.call("squeue", "--states=all", "--noheader", "--format=%k|%l|%T").splitlines()
    return [line.split("|") for line in lines if line.startswith("rule_")]


#: Four cells of three steps; each step notes itself and the process that ran it. Cell 1 cannot be trained.
TRIVIAL = """
from eele import cluster
cluster.run_job_at_once(workflow)
rule all:
    input: expand("cell{cell}/scored", cell=range(4))
rule train:
    output: "cell{cell}/trained"
    group: "cell"
    resources: cell=1, runtime=1
    shell: "echo train {wildcards.cell} $PPID >> steps; [ {wildcards.cell} != 1 ]; touch {output}"
rule speak:
    input: "cell{cell}/trained"
    output: "cell{cell}/spoken"
    group: "cell"
    priority: 1
    resources: cell=1, runtime=1
    shell: "echo speak {wildcards.cell} $PPID >> steps; touch {output}"
rule score:
    input: "cell{cell}/spoken"
    output: "cell{cell}/scored"
    group: "cell"
    priority: 2
    resources: cell=1, runtime=1
    shell: "echo score {wildcards.cell} $PPID >> steps; touch {output}"
"""


def test_nodes_have_gpus(cluster):
    seen = cluster.call("srun", "--partition=gpu", "--gpus=2", "printenv", "CUDA_VISIBLE_DEVICES")
    assert seen.strip() == "0,1"
    assert cluster.call("sinfo", "-h", "-N", "-p", "gpu", "-o", "%N %G").split() == [
        word for node in ("node0", "node1", "node2") for word in (node, "gpu:fake:2")
    ]


def test_the_study_gets_to_its_page_and_says_what_it_says_locally(cluster, folder, local):
    answer = submit(cluster, folder, "--quiet", "rules")
    assert answer.code == 0, answer.text
    assert (folder / "results" / "smoke" / "report" / "index.html").is_file()
    assert len(table(folder)) == 9
    assert table(folder) == table(local)

    jobs = submitted(cluster)
    assert {state for *_, state in jobs} == {"COMPLETED"}
    names = [name for name, *_ in jobs]
    assert not re.search("make_(tables|figures|page)", " ".join(names))
    groups = [job for job in jobs if job[0].startswith("rule_cell_")]
    # A trained cell is one job: its time is that of its three steps together.
    assert [job[1] for job in groups] == ["12:00:00"] * 3
    # Of 37 steps three stay here, and three times three share a job.
    assert len(jobs) == 37 - 3 - 9 + 3

    assert "Nothing to be done" in submit(cluster, folder, "-n").text


def test_cells_of_a_job_run_in_one_snakemake_one_after_another_whatever_becomes_of_one(
    cluster, tmp_path
):
    before = len(submitted(cluster))
    folder = checkout(tmp_path / "trivial")
    (folder / "trivial.smk").write_text(TRIVIAL, encoding="utf-8")
    answer = submit(
        cluster, folder, "--snakefile", "trivial.smk", "--group-components", "cell=4",
        "--retries", "0", "--preemptible-retries", "0",
    )  # fmt: skip
    assert answer.code != 0
    assert len(submitted(cluster)) == before + 1
    steps = [line.split() for line in (folder / "steps").read_text().splitlines()]
    assert len({parent for *_, parent in steps}) == 1
    # In any order of the cells, but each to its end.
    cells = [(number, [name for name, *_ in its]) for number, its in groupby(steps, itemgetter(1))]
    whole = ["train", "speak", "score"]
    assert sorted(cells) == [("0", whole), ("1", ["train"]), ("2", whole), ("3", whole)]


def test_one_cell_is_one_job(cluster, folder):
    """Last of the module: it makes a cell outside of the sweep."""
    before = len(submitted(cluster))
    cell = CELL.format("lora", "b", 3)
    answer = submit(cluster, folder, f"{cell}/metrics.json", "--quiet", "rules")
    assert answer.code == 0, answer.text
    assert answer.jobs == {"train_cell": 1, "synthesise_cell": 1, "score_cell": 1}
    assert len(submitted(cluster)) == before + 1
    assert (folder / cell / "metrics.json").is_file()
