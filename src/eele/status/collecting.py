"""What the states of all jobs add up to: stages, cells, failures, time left."""

from __future__ import annotations

import csv
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eele.cells import Cell
from eele.config import StudyConfig
from eele.paths import StudyPaths
from eele.status import evidence
from eele.status.evidence import Workflow
from eele.status.plan import CELL_STAGES, Job, jobs
from eele.status.states import STATES, Scene, State, states_of

#: Benchmark files read per stage for its mean wall time.
_SAMPLE = 100


@dataclass(frozen=True)
class Count:
    """How many of `total` are in which state; `stopped` are among the waiting."""

    total: int
    done: int = 0
    running: int = 0
    failed: int = 0
    waiting: int = 0
    stopped: int = 0
    mean_wall_s: float | None = None

    @property
    def share(self) -> float:
        return self.done / self.total if self.total else 1.0


@dataclass(frozen=True)
class Running:
    """A living job, with its training's steps where its log shows them."""

    stage: str
    item: str
    step: int | None
    steps: int | None
    left_s: float | None


@dataclass(frozen=True)
class Failure:
    """A failed job: what to ask for again, its log and the log's last lines."""

    stage: str
    item: str
    note: str
    target: str
    log: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Status:
    """What `eele status` shows. `eta_s` is None where it cannot be known; `eta_note` says why, or how."""

    study: str
    results: str
    workflow: Workflow
    stages: dict[str, Count]
    cells: Count
    baselines: Count
    running: list[Running] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    eta_s: float | None = None
    eta_note: str = ""

    @property
    def finished(self) -> bool:
        return all(count.done == count.total for count in self.stages.values())

    @property
    def targets(self) -> list[str]:
        """What of the study to ask Snakemake for so that just the failed jobs are done again."""
        return list(dict.fromkeys(failure.target for failure in self.failed))

    @property
    def rerun(self) -> str | None:
        """The command that reruns just what failed; None when nothing did."""
        if not self.failed:
            return None
        config = f"--configfile {self.results}/{self.study}/config.resolved.yaml"
        if len(self.targets) > 3:
            names = f"eele status {self.study} --targets"
            return f"{names} | xargs snakemake {config} --"
        return f"snakemake {config} -- {' '.join(self.targets)}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        counts = {name: {**asdict(c), "share": c.share} for name, c in self.stages.items()}
        return {
            **asdict(self),
            "stages": counts,
            "cells": {**asdict(self.cells), "share": self.cells.share},
            "baselines": {**asdict(self.baselines), "share": self.baselines.share},
            "finished": self.finished,
            "rerun": self.rerun,
        }


def collect(study: StudyConfig, paths: StudyPaths, plan: Sequence[Job] | None = None) -> Status:
    """The status of a study from its files, this machine's processes and, where jobs are there, Slurm.

    `plan`: the jobs in question; those of the whole study when None.
    """
    scene = Scene(study, paths)
    if plan is None:
        plan = jobs(study, paths)
    states = states_of(plan, scene)
    by_stage: dict[str, list[Job]] = defaultdict(list)
    for job in plan:
        by_stage[job.stage].append(job)
    means = {
        stage: _mean_wall(
            [paths.root / job.benchmark for job in some if states[stage, job.item].name == "done"]
        )
        for stage, some in by_stage.items()
    }
    for stage, some in by_stage.items():
        if means[stage] is None:
            means[stage] = _expected([states[stage, job.item] for job in some])
    stages = {
        stage: _count([states[stage, job.item] for job in some], means[stage])
        for stage, some in by_stage.items()
    }
    cells: list[State] = []
    baselines: list[State] = []
    for item in dict.fromkeys(job.item for job in plan if job.stage in CELL_STAGES):
        way = [states[stage, item] for stage in CELL_STAGES if (stage, item) in states]
        (cells if Cell.parse(item).trained else baselines).append(_cell_state(way))
    eta, note = _time_left(stages, states, scene.workflow)
    return Status(
        study=study.study,
        results=os.path.relpath(paths.root.parent),
        workflow=scene.workflow,
        stages=stages,
        cells=_count(cells),
        baselines=_count(baselines),
        running=[
            Running(stage, item, *_steps(state))
            for (stage, item), state in states.items()
            if state.name == "running"
        ],
        failed=[
            _failure(job, states[job.stage, job.item], scene)
            for job in plan
            if _failed(job, states)
        ],
        stopped=[
            f"{stage} {item}".strip() + f": {state.note}"
            for (stage, item), state in states.items()
            if state.stopped
        ],
        eta_s=eta,
        eta_note=note,
    )


def _failed(job: Job, states: dict[tuple[str, str], State]) -> bool:
    return states[job.stage, job.item].name == "failed"


def _failure(job: Job, state: State, scene: Scene) -> Failure:
    return Failure(
        stage=job.stage,
        item=job.item,
        note=state.note,
        target=f"{scene.name}/{job.target}",
        log=os.path.relpath(scene.root / job.log),
        lines=state.log.lines if state.log else (),
    )


def _cell_state(way: list[State]) -> State:
    """A cell's state, from its stages: done with the last one; failed or running as any of them is."""
    if way[-1].name == "done":
        return State("done")
    for name in ("running", "failed"):
        if any(state.name == name for state in way):
            return State(name)
    return State("waiting", stopped=any(state.stopped for state in way))


def _count(states: list[State], mean: float | None = None) -> Count:
    names = Counter(state.name for state in states)
    stopped = sum(state.stopped for state in states)
    return Count(
        total=len(states),
        stopped=stopped,
        mean_wall_s=None if mean is None else round(mean, 1),
        **{name: names[name] for name in STATES},
    )


def _mean_wall(benchmarks: list[Path]) -> float | None:
    """Mean wall seconds of up to `_SAMPLE` benchmark files, spread over all."""
    walls = []
    for file in benchmarks[:: max(1, len(benchmarks) // _SAMPLE)]:
        try:
            with open(file, encoding="utf-8", newline="") as handle:
                walls += [float(row["s"]) for row in csv.DictReader(handle, delimiter="\t")]
        except (OSError, KeyError, ValueError, TypeError):  # none, or being written
            continue
    return sum(walls) / len(walls) if walls else None


def _expected(states: list[State]) -> float | None:
    """Wall time of a stage none of whose jobs is done, from the progress bars of those that run."""
    totals = [
        state.log.elapsed_s + state.log.left_s
        for state in states
        if state.name == "running"
        and state.log
        and state.log.elapsed_s is not None
        and state.log.left_s is not None
    ]
    return sum(totals) / len(totals) if totals else None


def _steps(state: State) -> tuple[int | None, int | None, float | None]:
    log = state.log
    return (log.step, log.steps, log.left_s) if log else (None, None, None)


def _time_left(
    stages: dict[str, Count], states: dict[tuple[str, str], State], workflow: Workflow
) -> tuple[float | None, str]:
    """Seconds until everything is done: the work left over the jobs running now, stage after stage.

    Failed jobs are left out. Cells are one pool of work, other stages follow one another.
    """
    left = {stage: count.running + count.waiting for stage, count in stages.items()}
    if not any(left.values()):
        return (None, "") if any(c.failed for c in stages.values()) else (0.0, "")
    running = sum(count.running for count in stages.values())
    if workflow.running is False and not running:
        return None, "no workflow is running"
    if not running:
        return None, "no job is running at the moment"
    unknown = [stage for stage, n in left.items() if n and stages[stage].mean_wall_s is None]
    # The last stages have one short job each, which never has been measured before the end.
    if blocking := [stage for stage in unknown if not stage.startswith("make_")]:
        return None, f"not known before a job of {', '.join(blocking)} has finished"
    pooled = alone = 0.0
    for stage, jobs_left in left.items():
        if not jobs_left or stage in unknown:
            continue
        mean = stages[stage].mean_wall_s or 0.0
        work = 0.0
        for (name, _), state in states.items():
            if name == stage and state.name == "running":
                work += _left_of(state, mean)
            elif name == stage and state.name == "waiting":
                work += mean
        if stages[stage].total == 1:
            alone += work
        else:
            pooled += work
    note = f"{running} job{'s' * (running > 1)} at once, as now"
    if unknown:
        note += f"; without {', '.join(unknown)}"
    return pooled / running + alone, note


def _left_of(state: State, mean: float) -> float:
    log = state.log
    if log is not None and log.left_s is not None:
        return max(0.0, log.left_s - evidence.age(log.time))
    return mean / 2  # begun at a moment that is not known
