"""The simulator of benchmarks/scaling.py: schedules whose times can be worked out by hand."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "scaling.py"


@pytest.fixture(scope="module")
def scaling():
    spec = importlib.util.spec_from_file_location("scaling", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["scaling"] = module
    spec.loader.exec_module(module)
    return module


def test_jobs_wait_for_devices_and_for_predecessors(scaling) -> None:
    jobs = [
        scaling.Job("a", 10, gpus=1),
        scaling.Job("b", 20, gpus=1),
        scaling.Job("c", 5, gpus=1),
        scaling.Job("d", 7, after=("c",)),
    ]
    one = scaling.schedule(jobs, scaling.Cluster(gpus=1, cores=4))
    assert one.ends == {"a": 10, "b": 30, "c": 35, "d": 42}
    two = scaling.schedule(jobs, scaling.Cluster(gpus=2, cores=4))
    assert two.ends == {"a": 10, "c": 15, "b": 20, "d": 22}
    assert (two.gpu_s, two.core_s) == (35, 42)


def test_a_job_too_large_for_the_cluster_is_said(scaling) -> None:
    with pytest.raises(SystemExit, match="can never run"):
        scaling.schedule([scaling.Job("a", 1, gpus=2)], scaling.Cluster(gpus=1, cores=4))


def test_overhead_of_cells_that_divide_evenly(scaling) -> None:
    cost = {"job_s": 5.0, "submit_s": 0.1, "step_s": 0.0}
    apart, single, four = scaling.overhead(32, 4, 45.0, (0, 1, 4), cost)
    assert apart["overhead"] == pytest.approx(15 / 60)
    assert single["overhead"] == pytest.approx(5 / 50)
    assert four["overhead"] == pytest.approx(5 / 185)
    assert (apart["slurm_jobs"], single["slurm_jobs"], four["slurm_jobs"]) == (96, 32, 8)
    assert four["wall_s"] == 2 * 185 and four["tail"] == pytest.approx(0)


def test_the_papers_study_has_its_cells_and_every_job_runs(scaling) -> None:
    sweep = scaling.sweep_of(SCRIPT.parents[1] / "config" / "studies" / "eele.yaml")
    assert (sweep.trained, sweep.baselines) == (492, 15)
    cost = {name: value for name, (value, _, _) in scaling.COSTS.items()}
    cluster = scaling.Cluster(16, 128, cells_per_job=5)
    jobs = scaling.study_jobs(sweep, cluster, cost)
    outcome = scaling.schedule(jobs, cluster)
    cells = [job for job in jobs if job.stage == "cells"]
    assert len(cells) == 99
    steps = scaling.cell_steps(sweep, cost)
    work = sum(job.seconds for job in cells)
    assert work == pytest.approx(492 * (sum(steps) + 0.09) + 99 * 5.1)
    assert outcome.wall_s > outcome.ends["pretrain"] + work / 16
