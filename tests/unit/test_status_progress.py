"""The lines a workflow tells about itself: what they say, when they come, and that they never disturb it."""

from __future__ import annotations

import enum
import logging
import queue
from types import SimpleNamespace

import pytest
from test_status import BAR, Fake, fake  # noqa: F401

from eele.config.load import check_study
from eele.status import collect, evidence, progress
from eele.status.plan import CELL_STAGES, jobs, wildcards
from eele.status.progress import Progress, line

FAILED = "2030-01-01 00:00:00 ERROR eele: loss is nan\n"


class Event(enum.Enum):
    """As Snakemake's own of that name."""

    JOB_ERROR = "job_error"
    JOB_FINISHED = "job_finished"


class Lines(logging.Handler):
    """What was logged, to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: queue.Queue[logging.LogRecord] = queue.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        if not hasattr(record, "event"):
            self.queue.put(record)

    def next(self) -> str:
        return self.queue.get(timeout=60).getMessage()


@pytest.fixture
def log():
    logger = logging.Logger("snakemake-of-a-test", logging.INFO)
    logger.lines = Lines()
    logger.addHandler(logger.lines)
    return logger


@pytest.fixture
def begin(fake: Fake, log, monkeypatch):  # noqa: F811
    """Begin to tell about the fake study's jobs, of which these are needed."""
    monkeypatch.chdir(fake.folder)
    begun: list[Progress] = []

    def start(needed=(), every_s=3600.0, gap_s=0.01, plan=None):
        nodes = {
            job: SimpleNamespace(
                rule=SimpleNamespace(name=job.stage), wildcards=wildcards(job.stage, job.item)
            )
            for job in plan or jobs(fake.study)
        }
        target = SimpleNamespace(rule=SimpleNamespace(name="all"), wildcards=())
        graph = {id(node): node for node in [*nodes.values(), target]}
        hashable = {key: Node(node) for key, node in graph.items()}
        dag = SimpleNamespace(
            jobs=hashable.values(),
            needrun_jobs=lambda: [hashable[id(nodes[job])] for job in needed],
        )
        told = Progress(fake.study, log, {"quietness": "some"}, every_s, gap_s)
        told.start(dag)
        begun.append(told)
        return told

    yield start
    for told in begun:
        told.end(failed=False)


class Node:
    """A job of Snakemake's graph."""

    def __init__(self, values: SimpleNamespace) -> None:
        self.rule, self.wildcards = values.rule, values.wildcards


def ways(fake: Fake, *items: str):  # noqa: F811
    return [job for job in jobs(fake.study) if job.stage in CELL_STAGES and job.item in items]


def test_a_line_counts_cells_and_tells_the_time_left(fake: Fake, monkeypatch) -> None:  # noqa: F811
    fake.all_done(*ways(fake, *fake.trained))
    for job in ways(fake, fake.trained[0]):
        fake.done(job, wall_s=60.0)
    fake.log(fake.job("train_cell", fake.trained[1]), FAILED)
    third = fake.job("train_cell", fake.trained[2])
    fake.workflow(age_s=300)
    fake.mark(third, age_s=200)
    fake.log(third, BAR)
    monkeypatch.setattr(evidence, "logs_of_processes", lambda folder: {f"results/fake/{third.log}"})
    said = line(collect(fake.study, fake.paths))
    assert said.startswith("cells: 1 of 4 done, 1 running, 1 failed; about ")
    assert said.endswith(" min left")


def test_before_the_cells_the_stage_at_work_is_named(fake: Fake, monkeypatch) -> None:  # noqa: F811
    fake.workflow(age_s=300)
    for stage, item in (("pretrain", ""), ("extract_features", "1")):
        job = fake.job(stage, item)
        fake.mark(job, age_s=200)
        fake.log(job, BAR if stage == "pretrain" else "")
    fake.done(fake.job("extract_features", "0"))
    fake.log(fake.job("train_recogniser"), FAILED)
    working = {
        f"results/fake/{fake.job(*key).log}"
        for key in [("pretrain", ""), ("extract_features", "1")]
    }
    monkeypatch.setattr(evidence, "logs_of_processes", lambda folder: working)
    assert line(collect(fake.study, fake.paths)) == (
        "cells: 0 of 4 done; failed: train_recogniser; "
        "at work: extract_features (1 of 2 done), pretrain (step 450 of 1000)"
    )


def test_baselines_at_work_are_named(fake: Fake, monkeypatch) -> None:  # noqa: F811
    items = [job.item for job in jobs(fake.study) if job.stage == "score_cell"]
    first, second = (item for item in items if "method~recording" in item and "sad" not in item)
    fake.workflow(age_s=300)
    for job in ways(fake, first):
        fake.done(job)
    speech = fake.job("synthesise_cell", second)
    fake.mark(speech, age_s=200)
    fake.log(speech, "")
    monkeypatch.setattr(
        evidence, "logs_of_processes", lambda folder: {f"results/fake/{speech.log}"}
    )
    said = line(collect(fake.study, fake.paths))
    assert said == "cells: 0 of 4 done; at work: baselines (1 of 9 done)"


def test_without_a_cell_jobs_are_counted(fake: Fake) -> None:  # noqa: F811
    first, second = fake.job("collect_corpus", "demo"), fake.job("clean_corpus", "demo")
    fake.done(first)
    assert line(collect(fake.study, fake.paths, [first, second])) == "jobs: 1 of 2 done"


def test_only_what_was_asked_for_is_counted(fake: Fake) -> None:  # noqa: F811
    fake.all_done()
    status = collect(fake.study, fake.paths, ways(fake, fake.trained[0]))
    assert (status.cells.done, status.cells.total, status.baselines.total) == (1, 1, 0)


def test_what_this_run_makes_anew_is_not_done_yet(fake: Fake, begin, log) -> None:  # noqa: F811
    fake.all_done()
    for job in ways(fake, fake.trained[0], fake.trained[1]):
        fake.log(job, "2030-01-01 00:00:00 INFO eele: done in 1 s\n", age_s=900)
    # Failed in an earlier run, and not yet begun in this one.
    fake.log(fake.job("score_cell", fake.trained[1]), FAILED, age_s=900)
    fake.workflow(age_s=300)
    begin(needed=ways(fake, fake.trained[0], fake.trained[1]), every_s=0.01)
    assert log.lines.next() == "cells: 2 of 4 done"
    for job in ways(fake, fake.trained[0]):
        fake.done(job)
    while (said := log.lines.next()) == "cells: 2 of 4 done":
        pass
    assert said == "cells: 3 of 4 done"


def test_a_failure_is_told_before_its_time(fake: Fake, begin, log) -> None:  # noqa: F811
    fake.log(fake.job("train_cell", fake.trained[0]), FAILED)
    begin()
    log.info("a job ended", extra={"event": Event.JOB_FINISHED})
    assert log.lines.queue.empty()
    log.error("a job failed", extra={"event": Event.JOB_ERROR})
    record = log.lines.queue.get(timeout=60)
    assert record.getMessage() == "cells: 0 of 4 done, 1 failed"
    assert record.quietness == "some"


def test_the_last_line_of_a_failed_run_says_where_to_look(fake: Fake, begin, log) -> None:  # noqa: F811
    fake.log(fake.job("train_cell", fake.trained[0]), FAILED)
    told = begin()
    told.end(failed=True)
    assert log.lines.next() == (
        "cells: 0 of 4 done, 1 failed; `eele status fake` shows why, and what to type"
    )
    assert not told._thread.is_alive()


def test_a_finished_run_says_nothing_more(fake: Fake, begin, log) -> None:  # noqa: F811
    begin().end(failed=False)
    assert log.lines.queue.empty()


def test_trouble_is_told_once_and_ends_nothing(fake: Fake, begin, log, monkeypatch) -> None:  # noqa: F811
    looks: queue.Queue[None] = queue.Queue()
    whole = progress.collect

    def broken(*arguments):
        looks.put(None)
        raise OSError("stale file handle")

    monkeypatch.setattr(progress, "collect", broken)
    begin(every_s=0.01)
    for _ in range(3):
        looks.get(timeout=60)
    assert log.lines.next() == "progress cannot be told at the moment (stale file handle)"
    assert log.lines.queue.empty()
    monkeypatch.setattr(progress, "collect", whole)
    assert log.lines.next() == "cells: 0 of 4 done"


def test_slow_looks_are_followed_by_rest(fake: Fake, log, monkeypatch) -> None:  # noqa: F811
    monkeypatch.chdir(fake.folder)
    told = Progress(fake.study, log, {})
    clocks = {"thread_time": iter([0.0, 0.9]), "monotonic": iter([0.0, 2.0])}
    monkeypatch.setattr(
        progress,
        "time",
        SimpleNamespace(**{name: clock.__next__ for name, clock in clocks.items()}),
    )
    assert told._look() == pytest.approx(max(0.9 * 200, 2.0 * 20))


def test_it_keeps_no_process_from_its_end(begin) -> None:
    assert begin()._thread.daemon


def test_recognisers_are_counted_as_soon_as_their_testbed_is_divided(fake: Fake, log) -> None:  # noqa: F811
    config = {**fake.study.model_dump(mode="json"), "recognition": {"testbeds": {"all": {}}}}
    study = check_study(config)
    plan = jobs(study, fake.paths)
    assert "recognise" not in {job.stage for job in plan}
    told = Progress(study, log, {})
    told._plan = plan
    folds = fake.paths.testbed("all") / "folds.csv"
    folds.parent.mkdir(parents=True)
    folds.write_text("fold,part\none,train\ntwo,train\n")
    known = [job.item for job in told._known(fake.paths) if job.stage == "recognise"]
    axes = "encoder~small/method~head/sites~-/size~0/testbed~all/"
    assert known == [f"{axes}fold~{fold}/seed~1" for fold in ("one", "two")]
    # Who asked for one recogniser is told of that one.
    told._plan = [job for job in plan if job.stage == "divide_testbed"]
    assert told._known(fake.paths) == told._plan
