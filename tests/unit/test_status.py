"""`eele status` on results made of nothing: every state, and what tells it."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eele.cells import sweep
from eele.cli import main
from eele.config import StudyConfig, check_study, dump_study
from eele.paths import StudyPaths
from eele.status import collect, evidence
from eele.status.plan import CELL_STAGES, Job, jobs
from eele.status.render import duration, plain

ROOT = Path(__file__).parents[2]
HOLD = """
import fcntl, sys
handle = open(sys.argv[1], "a")
fcntl.flock(handle, fcntl.LOCK_SH)
print("held", flush=True)
sys.stdin.read()
"""
BAR = "cell:  45%|████      | 450/1000 [03:20<04:10,  2.2step/s, validation=3.1]"


class Fake:
    """A study's results as the stages and Snakemake leave them."""

    def __init__(self, folder: Path, **changes: object) -> None:
        values: dict[str, object] = {
            "study": "fake",
            "emotions": ["happy", "sad"],
            "sweep": [{"method": "lora", "schemes": ["a", "b"], "ranks": [2]}],
            "features": {"shards": 2},
            "seeds": [1],
        }
        self.study: StudyConfig = check_study({**values, **changes})
        self.folder = folder
        self.paths = StudyPaths.of("fake", folder / "results")
        self.paths.root.mkdir(parents=True)
        self.paths.config.write_text(dump_study(self.study))
        self.snakemake = folder / ".snakemake"
        self.trained = [cell.path.as_posix() for cell in sweep(self.study) if cell.trained]
        self.holder: subprocess.Popen[str] | None = None

    def job(self, stage: str, item: str = "") -> Job:
        return next(j for j in jobs(self.study) if (j.stage, j.item) == (stage, item))

    def done(self, job: Job, wall_s: float = 10.0) -> None:
        for output in job.outputs:
            path = self.paths.root / output
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        self.log(job, f"2030-01-01 00:00:00 INFO eele: {job.stage} done in {wall_s} s\n")
        tsv = self.paths.root / job.benchmark
        tsv.parent.mkdir(parents=True, exist_ok=True)
        tsv.write_text(f"s\tmax_rss\n{wall_s}\t-\n")

    def all_done(self, *but: Job) -> None:
        for job in jobs(self.study):
            if job not in but:
                self.done(job)

    def log(self, job: Job, text: str, age_s: float = 0.0) -> None:
        path = self.paths.root / job.log
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        old(path, age_s)

    def mark(self, job: Job, age_s: float = 0.0) -> None:
        for output in job.outputs:
            code = base64.urlsafe_b64encode(f"results/fake/{output}".encode()).decode()
            parts = [code[i : i + 254] for i in range(0, len(code), 254)]
            path = self.snakemake.joinpath("incomplete", *(f"@{p}" for p in parts[:-1]), parts[-1])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('{"external_jobid": null}')
            old(path, age_s)

    def workflow(self, age_s: float = 0.0, host: str | None = None, held: bool = True) -> None:
        """A workflow that started `age_s` ago; with `held` a process holds the study."""
        import socket

        locks = self.snakemake / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        (locks / "0.output.lock").write_text("results/fake/manifest.csv\n")
        old(locks / "0.output.lock", age_s)
        lock = self.snakemake / "eele-fake.lock"
        lock.write_text(host or socket.gethostname())
        if held:
            self.holder = subprocess.Popen(
                [sys.executable, "-c", HOLD, str(lock)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert self.holder.stdout is not None
            assert self.holder.stdout.readline() == "held\n"

    def kill_workflow(self) -> None:
        if self.holder is not None:
            self.holder.kill()
            self.holder.communicate()
            self.holder = None


def old(path: Path, age_s: float) -> None:
    when = time.time() - age_s
    os.utime(path, (when, when))


@pytest.fixture
def fake(tmp_path, monkeypatch):
    # No cluster of the machine that runs the tests.
    monkeypatch.setattr(evidence, "_ask", lambda *_: None)
    made = Fake(tmp_path)
    yield made
    made.kill_workflow()


def state(status, stage):
    count = status.stages[stage]
    return (count.done, count.running, count.failed, count.waiting)


def test_the_plan_is_what_the_rules_declare(fake: Fake) -> None:
    declared: dict[str, set[str]] = {}
    for file in (ROOT / "workflow" / "rules").glob("*.smk"):
        for rule, body in re.findall(
            r"^(?:rule|checkpoint) (\w+):\n(.*?)(?=^\S|\Z)", file.read_text(), re.M | re.S
        ):
            block = re.search(r"^    output:\n(.*?)^    \w+:", body, re.M | re.S)
            assert block is not None, rule
            declared[rule] = set(
                re.findall(r'"<(?:results>/|(?=cell>|recogniser>))(.*?)"', block[1])
            )
    plan: dict[str, set[str]] = {}
    combined = {"mine": {"cells": ["lora/g/4/happy"], "intensities": [0, 1]}}
    vits2 = check_study(
        {
            **fake.study.model_dump(mode="json"),
            "backbone": {"name": "vits2"},
            "combining": combined,
        }
    )
    assert sum(job.stage == "train_cell" for job in jobs(vits2)) == len(fake.trained) + 1
    hifigan = check_study(
        {**fake.study.model_dump(mode="json"), "synthesis": {"vocoder": "hifigan"}}
    )
    recognition = check_study(
        {**fake.study.model_dump(mode="json"), "recognition": {"testbeds": {"all": {}}}}
    )
    folds = fake.paths.testbed("all") / "folds.csv"
    folds.parent.mkdir(parents=True)
    folds.write_text("fold,part\none,train\none,test\n")
    below = {**dict.fromkeys(CELL_STAGES, "cells/"), "recognise": "recognition/"}
    for job in (*jobs(vits2), *jobs(hifigan), *jobs(recognition, fake.paths)):
        for path in job.outputs:
            item = below.get(job.stage, "") + job.item
            shape = path.replace(item, "ITEM") if item else path
            plan.setdefault(job.stage, set()).add(shape)
    for rule, outputs in declared.items():
        shapes = {re.sub(r"\{\w+\}|^cell>|^recogniser>", "ITEM", output) for output in outputs}
        # The neutral model's files are a list of the package's own.
        assert {p for p in plan.pop(rule) if not p.startswith("neutral/") or p in shapes} == shapes
    assert plan == {}


def test_nothing_done_yet(fake: Fake) -> None:
    status = collect(fake.study, fake.paths)
    assert status.workflow.running is False
    assert status.cells.waiting == status.cells.total == 4
    assert status.baselines.total == 9
    assert status.eta_s is None and status.eta_note == "no workflow is running"
    assert not status.finished and status.rerun is None


def test_a_finished_study(fake: Fake) -> None:
    fake.all_done()
    status = collect(fake.study, fake.paths)
    assert status.finished and status.cells.share == 1 and status.eta_s == 0
    assert status.stages["train_cell"].mean_wall_s == 10
    assert plain(status).startswith("fake: finished")


def test_half_of_the_outputs_is_not_done(fake: Fake) -> None:
    job = fake.job("score_cell", fake.trained[0])
    fake.all_done()
    (fake.paths.root / job.outputs[-1]).unlink()
    assert state(collect(fake.study, fake.paths), "score_cell") == (12, 0, 0, 1)


def test_a_failed_cell_is_listed_with_its_log_and_the_command(fake: Fake, monkeypatch) -> None:
    monkeypatch.chdir(fake.folder)
    train = fake.job("train_cell", fake.trained[1])
    ways = [fake.job(stage, fake.trained[1]) for stage in CELL_STAGES]
    fake.all_done(*ways)
    fake.log(train, "2030-01-01 00:00:00 ERROR eele: loss is nan\nat step 7\n", age_s=500)
    status = collect(fake.study, StudyPaths.of("fake", "results"))
    assert state(status, "train_cell") == (3, 0, 1, 0)
    assert (status.cells.done, status.cells.failed) == (3, 1)
    (failure,) = status.failed
    assert failure.log == f"results/fake/logs/train_cell/{fake.trained[1]}.log"
    assert failure.lines[-1] == "at step 7"
    assert status.rerun == (
        "snakemake --configfile results/fake/config.resolved.yaml -- "
        f"results/fake/cells/{fake.trained[1]}/metrics.json"
    )
    assert "loss is nan" in plain(status)


def test_a_failed_job_that_was_handed_out_again_is_not_failed(fake: Fake) -> None:
    train = fake.job("train_cell", fake.trained[0])
    fake.log(train, "2030-01-01 00:00:00 ERROR eele: disk full\n", age_s=60)
    fake.workflow(age_s=300)
    assert collect(fake.study, fake.paths).stages["train_cell"].failed == 1
    fake.mark(train, age_s=1)
    assert state(collect(fake.study, fake.paths), "train_cell") == (0, 0, 0, 4)


@pytest.mark.parametrize("queued", ["PENDING", "RUNNING"])
def test_a_retry_in_slurm_is_not_failed_however_soon_it_was_submitted(
    fake: Fake, monkeypatch, queued
) -> None:
    train = fake.job("train_cell", fake.trained[0])
    name = f"rule_train_cell_wildcards_{'_'.join(re.findall(r'~([^/]+)', fake.trained[0]))}"
    answers = {"squeue": f"{queued}|n1|{fake.folder}|{name}", "sinfo": "n1|mixed"}
    monkeypatch.setattr(evidence, "_ask", lambda program, *_: answers[program])
    fake.workflow(age_s=300)
    # The first attempt's end and the second one's submission, a second later.
    fake.log(train, "2030-01-01 00:00:00 ERROR eele: loss is nan\n", age_s=60)
    fake.mark(train, age_s=59)
    status = collect(fake.study, fake.paths)
    assert state(status, "train_cell") == (0, queued == "RUNNING", 0, 3 + (queued == "PENDING"))
    assert status.failed == [] and status.rerun is None


def test_when_the_last_attempt_failed_the_cell_is_failed(fake: Fake, monkeypatch) -> None:
    monkeypatch.setattr(evidence, "_ask", lambda *_: "")
    train = fake.job("train_cell", fake.trained[0])
    fake.workflow(age_s=300)
    fake.mark(train, age_s=70)
    fake.log(train, "2030-01-01 00:00:00 ERROR eele: loss is nan\n", age_s=60)
    assert state(collect(fake.study, fake.paths), "train_cell") == (0, 0, 1, 3)


def test_a_process_shows_that_a_job_runs_and_its_end_that_it_does_not(fake: Fake) -> None:
    train = fake.job("train_cell", fake.trained[0])
    fake.workflow(age_s=300)
    fake.mark(train, age_s=250)
    log = f"results/fake/{train.log}"
    program = "import time; print('here', flush=True); time.sleep(60)"
    run = subprocess.Popen(
        [sys.executable, "-c", program, "--log", log], cwd=fake.folder, stdout=subprocess.PIPE
    )
    try:
        # A process that is only just being made has no command line yet.
        assert run.stdout is not None and run.stdout.readline() == b"here\n"
        fake.log(train, BAR, age_s=0)
        status = collect(fake.study, fake.paths)
        assert state(status, "train_cell") == (0, 1, 0, 3)
        assert (status.running[0].step, status.running[0].steps) == (450, 1000)
        # Silent for long, as scoring is: its process still tells.
        fake.log(train, "", age_s=200)
        assert collect(fake.study, fake.paths).stages["train_cell"].running == 1
    finally:
        run.kill()
        run.communicate()
    # A fresh log alone proves nothing on the machine where its process should be.
    fake.log(train, BAR, age_s=0)
    status = collect(fake.study, fake.paths)
    assert state(status, "train_cell") == (0, 0, 0, 4)
    assert status.stages["train_cell"].stopped == 1


def test_a_killed_workflow(fake: Fake) -> None:
    train = fake.job("train_cell", fake.trained[0])
    fake.workflow(age_s=300)
    fake.mark(train, age_s=250)
    fake.log(train, BAR, age_s=1)
    assert collect(fake.study, fake.paths).workflow.running is True
    fake.kill_workflow()
    status = collect(fake.study, fake.paths)
    assert status.workflow.running is False
    assert status.stages["train_cell"].stopped == 1 and status.cells.stopped == 1
    assert status.stopped == [f"train_cell {fake.trained[0]}: killed"]
    assert status.running == [] and status.failed == []


def test_outputs_that_snakemake_still_marks_are_not_done_unless_the_log_says_so(fake: Fake) -> None:
    job = fake.job("train_aligner")
    fake.all_done()
    fake.mark(job, age_s=5)
    # No workflow runs: Snakemake will make these again.
    assert state(collect(fake.study, fake.paths), "train_aligner") == (0, 0, 0, 1)
    fake.workflow(age_s=10)
    assert state(collect(fake.study, fake.paths), "train_aligner") == (1, 0, 0, 0)


def test_interrupted_and_killed_jobs_without_a_mark(fake: Fake) -> None:
    first, second = (fake.job("train_cell", item) for item in fake.trained[:2])
    fake.log(first, "2030-01-01 00:00:00 ERROR eele: interrupted; start the same command again\n")
    fake.log(second, BAR, age_s=300)
    status = collect(fake.study, fake.paths)
    assert state(status, "train_cell") == (0, 0, 1, 3)
    assert status.stages["train_cell"].stopped == 1
    assert "killed" in status.failed[0].note


def test_a_workflow_on_another_machine(fake: Fake) -> None:
    train, score = (
        fake.job("train_cell", fake.trained[0]),
        fake.job("train_cell", fake.trained[1]),
    )
    fake.workflow(age_s=300, host="far-away", held=False)
    for job, age_s in ((train, 20), (score, 400)):
        fake.mark(job, age_s=200)
        fake.log(job, BAR, age_s=age_s)
    fake.mark(score, age_s=401)
    status = collect(fake.study, fake.paths)
    assert status.workflow.running is None and status.workflow.host == "far-away"
    assert state(status, "train_cell") == (0, 1, 0, 3)
    assert "cannot be told" in plain(status)


@pytest.mark.parametrize(
    ("queue", "nodes", "expected"),
    [
        ("RUNNING|n1|{here}|{name}", "n1|mixed", (0, 1, 0, 3)),
        ("RUNNING|n1|{here}|{name}", "n1|mixed*", (0, 0, 0, 4)),
        ("RUNNING|n1|{here}|{name}", "n1|down", (0, 0, 0, 4)),
        ("PENDING||{here}|{name}", "n1|idle", (0, 0, 0, 4)),
        ("RUNNING|n1|/elsewhere|{name}", "n1|mixed", (0, 0, 0, 4)),
        # The lost job and its successor.
        ("RUNNING|n1|{here}|{name}\nRUNNING|n2|{here}|{name}", "n1|down\nn2|mixed", (0, 1, 0, 3)),
    ],
)
def test_slurm_tells_of_jobs_on_nodes(fake: Fake, monkeypatch, queue, nodes, expected) -> None:
    train = fake.job("train_cell", fake.trained[0])
    values = re.findall(r"~([^/]+)", fake.trained[0])
    name = f"rule_train_cell_wildcards_{'_'.join(values)}"
    answers = {"squeue": queue.format(here=fake.folder, name=name), "sinfo": nodes}
    monkeypatch.setattr(evidence, "_ask", lambda program, *_: answers[program])
    fake.workflow(age_s=300)
    fake.mark(train, age_s=250)
    fake.log(train, "", age_s=200)
    status = collect(fake.study, fake.paths)
    assert state(status, "train_cell") == expected
    if "n1|mixed*" in nodes:
        assert status.stopped == [f"train_cell {fake.trained[0]}: its node does not respond"]


def test_of_a_group_in_slurm_the_cell_whose_log_grows_is_at_work(fake: Fake, monkeypatch) -> None:
    group = f"RUNNING|n1|{fake.folder}|rule_cell_score_cell_synthesise_cell_train_cell"
    answers = {"squeue": group, "sinfo": "n1|mixed"}
    monkeypatch.setattr(evidence, "_ask", lambda program, *_: answers[program])
    fake.workflow(age_s=900)
    for item, age_s in zip(fake.trained[:3], (5, 200, None), strict=True):
        job = fake.job("train_cell", item)
        fake.mark(job, age_s=300)
        if age_s is not None:
            fake.log(job, BAR, age_s=age_s)
    status = collect(fake.study, fake.paths)
    assert state(status, "train_cell") == (0, 1, 0, 3)
    assert status.running[0].item == fake.trained[0]
    assert status.stages["train_cell"].stopped == 1


@pytest.mark.parametrize(
    ("groups", "nodes", "running"),
    [(2, "n1|mixed", 2), (1, "n1|mixed", 1), (3, "n1|mixed\nn2|down*", 1)],
)
def test_a_silent_cell_runs_when_its_group_must(
    fake: Fake, monkeypatch, groups, nodes, running
) -> None:
    name = "rule_cell_score_cell_synthesise_cell_train_cell"
    queue = [f"RUNNING|n{1 + number // 2}|{fake.folder}|{name}" for number in range(groups)]
    answers = {"squeue": "\n".join(queue), "sinfo": nodes}
    monkeypatch.setattr(evidence, "_ask", lambda program, *_: answers[program])
    fake.workflow(age_s=900)
    for item, age_s in zip(fake.trained[:2], (5, 200), strict=True):
        fake.mark(fake.job("score_cell", item), age_s=300)
        fake.log(fake.job("score_cell", item), "", age_s=age_s)
    assert collect(fake.study, fake.paths).stages["score_cell"].running == running


def test_time_left_is_work_over_jobs_at_once(fake: Fake, monkeypatch) -> None:
    ways = [fake.job(stage, item) for stage in CELL_STAGES for item in fake.trained]
    fake.all_done(*ways)
    fake.done(fake.job("train_cell", fake.trained[0]), wall_s=100.0)
    fake.workflow(age_s=300)
    second = fake.job("train_cell", fake.trained[1])
    fake.mark(second, age_s=200)
    fake.log(second, BAR, age_s=0)
    monkeypatch.setattr(
        evidence, "logs_of_processes", lambda folder: {f"results/fake/{second.log}"}
    )
    status = collect(fake.study, fake.paths)
    # One at once: 250 s of the bar, 2 x 100 s of training, 4 x (10 + 10) s of speech and scores.
    assert status.eta_s == pytest.approx(250 + 200 + 80, abs=3)
    assert "1 job at once" in status.eta_note


def test_time_left_is_not_made_up(fake: Fake, monkeypatch) -> None:
    fake.workflow(age_s=300)
    job = fake.job("train_aligner")
    fake.mark(job, age_s=100)
    fake.log(job, "", age_s=50)
    monkeypatch.setattr(evidence, "logs_of_processes", lambda folder: {f"results/fake/{job.log}"})
    status = collect(fake.study, fake.paths)
    assert status.eta_s is None and "not known before" in status.eta_note


def test_a_long_name_is_marked_in_folders(fake: Fake) -> None:
    job = Job("train_cell", "x" * 400, (f"cells/{'x' * 400}/a.json",))
    fake.mark(job)
    assert list(evidence.marks("fake", fake.snakemake)) == [f"results/fake/{job.outputs[0]}"]
    assert evidence.marks("other", fake.snakemake) == {}


def test_command_line(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    results = ["--results", str(fake.folder / "results")]
    train = fake.job("train_cell", fake.trained[0])
    fake.log(train, "2030-01-01 00:00:00 ERROR eele: it broke\n")
    assert main(["status", "fake", *results]) == 0
    assert "failed: train_cell" in capsys.readouterr().out
    assert main(["status", "fake", *results, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["cells"]["failed"] == 1 and said["failed"][0]["lines"][-1].endswith("it broke")
    assert main(["status", "fake", *results, "--targets"]) == 0
    assert capsys.readouterr().out == f"results/fake/cells/{fake.trained[0]}/metrics.json\n"
    assert main(["status", "nobody", *results]) == 2
    assert "there: fake" in capsys.readouterr().err
    fake.all_done()
    assert main(["status", "fake", *results, "--watch", "60"]) == 0  # finished: no second look
    with pytest.raises(SystemExit) as stop:
        main(["status", "fake", *results, "--watch", "0"])
    assert stop.value.code == 2


def test_durations() -> None:
    assert [duration(s) for s in (2, 123, 3600 * 5 + 420, 86400 * 3)] == [
        "2.0 s",
        "2:03 min",
        "5:07 h",
        "3.0 d",
    ]
