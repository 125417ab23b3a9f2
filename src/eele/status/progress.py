"""One line on the sweep a minute, told by the workflow itself while it runs.

A thread of the main Snakemake process looks at the same evidence as `eele status`. It takes less than half a
hundredth of a core: where a look takes long (thousands of cells, a slow file system) it looks less often.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from eele.config import StudyConfig
from eele.paths import StudyPaths
from eele.status.collecting import Status, collect
from eele.status.plan import CELL_STAGES, OUTPUTS, Job, job_of_rule, jobs
from eele.status.render import duration

#: Seconds between two lines; and at least, when failures follow one another.
EVERY_S, GAP_S = 60.0, 10.0

#: Shares of the time that looking may take: of a core, and of a clock that also counts waiting for files.
CORE_SHARE, CLOCK_SHARE = 0.005, 0.05


class Progress:
    """Writes lines on a workflow's jobs to Snakemake's `log`, with `extra` for its filters, from a thread."""

    def __init__(
        self,
        study: StudyConfig,
        log: logging.Logger,
        extra: Mapping[str, Any],
        every_s: float = EVERY_S,
        gap_s: float = GAP_S,
    ) -> None:
        self._study, self._log, self._extra = study, log, extra
        self._every_s, self._gap_s = every_s, gap_s
        self._plan: list[Job] = []
        self._trouble = ""
        self._over, self._failure = threading.Event(), threading.Event()

    def start(self, dag: Any) -> None:
        """Begin with the jobs of Snakemake's graph, needed and finished ones."""
        needed = set(dag.needrun_jobs())
        self._plan = [
            job_of_rule(self._study, job.rule.name, tuple(job.wildcards), job in needed)
            for job in dag.jobs
            if job.rule.name in OUTPUTS
        ]
        self._log.addHandler(_OnFailure(self._failure))
        # A daemon: it never keeps a workflow that was interrupted from its end.
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)
        self._thread.start()

    def end(self, failed: bool) -> None:
        """End with the workflow, with a last line where it failed."""
        self._over.set()
        self._failure.set()
        self._thread.join(timeout=30.0)
        if failed:
            self._look(hint=f"; `eele status {self._study.study}` shows why, and what to type")

    def _watch(self) -> None:
        rest = self._gap_s
        while not self._over.wait(rest):
            self._failure.wait(max(0.0, self._every_s - rest))
            if self._over.is_set():
                return
            self._failure.clear()
            rest = max(self._gap_s, self._look())

    def _known(self, paths: StudyPaths) -> list[Job]:
        """The jobs of the graph, and the recognisers it takes up once their testbeds are divided."""
        plan = self._plan
        if any(job.stage == "make_recognition_tables" for job in plan):
            there = {(job.stage, job.item) for job in plan}
            plan = plan + [
                job
                for job in jobs(self._study, paths)
                if job.stage == "recognise" and (job.stage, job.item) not in there
            ]
        return plan

    def _look(self, hint: str = "") -> float:
        """Tell one line; returns the seconds of rest that this look has cost."""
        core, clock = time.thread_time(), time.monotonic()
        try:
            paths = StudyPaths.of(self._study.study)
            said = line(collect(self._study, paths, self._known(paths)))
        except Exception as error:
            # Whatever it is, the workflow goes on; said once, and tried again.
            said, trouble = "", f"progress cannot be told at the moment ({error})"
            if trouble != self._trouble:
                self._trouble = said = trouble
        if said:
            # No `%s`: Snakemake shows a record as it is, without its arguments.
            self._log.info(said + hint, extra=self._extra)
        core, clock = time.thread_time() - core, time.monotonic() - clock
        return max(core / CORE_SHARE, clock / CLOCK_SHARE)


class _OnFailure(logging.Handler):
    """Sets an event when Snakemake logs that a job or a group of jobs failed."""

    def __init__(self, failure: threading.Event) -> None:
        super().__init__()
        self._failure = failure

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(getattr(record, "event", None), "value", None) in ("job_error", "group_error"):
            self._failure.set()


def line(status: Status) -> str:
    """`cells: 12 of 600 done, 16 running, 1 failed; about 3:10 h left`; before them, the stage at work."""
    if status.cells.total:
        what, counts = "cells", [status.cells]
    else:
        what, counts = "jobs", list(status.stages.values())
    done, running, failed, total = (
        sum(getattr(count, name) for count in counts)
        for name in ("done", "running", "failed", "total")
    )
    text = f"{what}: {done} of {total} done"
    text += f", {running} running" * bool(running) + f", {failed} failed" * bool(failed)
    if what == "cells":
        others = [name for name in status.stages if name not in CELL_STAGES]
        failures = [name for name in others if status.stages[name].failed]
        stages = dict.fromkeys(job.stage for job in status.running if job.stage in others)
        at_work = [_at_work(status, name) for name in stages]
        if status.baselines.running:
            at_work.append(f"baselines ({status.baselines.done} of {status.baselines.total} done)")
        text += f"; failed: {', '.join(failures)}" * bool(failures)
        text += f"; at work: {', '.join(at_work)}" * bool(at_work)
    if status.eta_s:
        text += f"; about {duration(status.eta_s)} left"
    return text


def _at_work(status: Status, stage: str) -> str:
    """A stage by name, with the steps of its one job or the number of its jobs that are done."""
    count = status.stages[stage]
    if count.total > 1:
        return f"{stage} ({count.done} of {count.total} done)"
    steps = next((job for job in status.running if job.stage == stage and job.steps), None)
    return f"{stage} (step {steps.step} of {steps.steps})" if steps else stage
