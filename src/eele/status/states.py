"""The state of each job.

- **done**: every declared output is there, and Snakemake's mark on them is gone or the log says done. Files
  of an earlier config count as done until Snakemake removes them; `snakemake -n` knows which it would redo.
- **running**: there is evidence of a living job (`eele.status.evidence`).
- **failed**: its log ended with a message, or without one and Snakemake no longer waits for it (killed).
- **waiting**: everything else; `stopped` of these were begun and will go on: interrupted, killed along with
  their workflow, or on a lost node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eele.config import StudyConfig
from eele.paths import StudyPaths
from eele.status import evidence
from eele.status.evidence import FRESH_S, SLACK_S, Log, SlurmJob
from eele.status.plan import CELL_STAGES, OUTPUTS, Job, wildcards

STATES = ("done", "running", "failed", "waiting")


@dataclass(frozen=True)
class State:
    """One job's state, why, and its log where it was begun."""

    name: str
    note: str = ""
    log: Log | None = None
    stopped: bool = False
    silent: bool = False  # waited for, begun, but its log does not grow


class Scene:
    """What is asked of the machine once for all jobs."""

    def __init__(self, study: StudyConfig, paths: StudyPaths) -> None:
        self.root = paths.root
        self.name = f"results/{study.study}"  # as the Snakefile writes it
        # Snakemake works in the folder that holds results/.
        self.folder = paths.root.resolve().parents[1]
        snakemake = self.folder / ".snakemake"
        self.workflow = evidence.workflow(study.study, snakemake)
        self.processes = evidence.logs_of_processes(self.folder)
        self.marks = evidence.marks(study.study, snakemake)
        # Only where jobs are out, the cluster is asked for them.
        self.slurm = evidence.slurm_jobs(self.folder) if self.marks else []
        self.by_comment: dict[str, SlurmJob] = {}
        for job in self.slurm:
            # Of a job that was lost and its successor, the one that runs counts.
            known = self.by_comment.get(job.comment)
            if known is None or known.lost or known.state != "running":
                self.by_comment[job.comment] = job

    def marked(self, job: Job) -> float | None:
        """Time of Snakemake's mark on the job, None without one."""
        times = (self.marks.get(f"{self.name}/{path}") for path in job.outputs)
        return next((when for when in times if when is not None), None)

    def named(self, stage: str, item: str) -> SlurmJob | None:
        """The Slurm job that holds this job alone."""
        return self.by_comment.get(evidence.slurm_comment(stage, wildcards(stage, item)))

    def waited_for(self, marked: float | None) -> bool:
        """Whether the workflow that runs now handed the job out and waits for its end."""
        if marked is None or self.workflow.running is False:
            return False
        return marked >= (self.workflow.since or 0.0) - SLACK_S

    def redoes(self, job: Job) -> bool:
        """Whether the workflow that runs makes this job, and has not come to it yet."""
        if not job.again:
            return False
        try:
            written = (self.root / job.log).stat().st_mtime
        except OSError:
            return True
        return written < (self.workflow.since or 0.0) - SLACK_S

    @property
    def out_of_sight(self) -> bool:
        """Whether jobs may live that neither a process here nor a Slurm job's comment shows."""
        living = [job.comment for job in self.slurm if job.state == "running" and not job.lost]
        # All jobs of an array bear the name of its first.
        arrays = len(set(living)) < len(living)
        return self.processes is None or self.workflow.running is None or self.groups > 0 or arrays

    @property
    def groups(self) -> int:
        """Slurm jobs at work that hold several jobs of Snakemake and do not say which."""
        rules = tuple(f"rule_{stage}" for stage in OUTPUTS)
        return sum(
            job.state == "running" and not job.lost and not job.comment.startswith(rules)
            for job in self.slurm
        )


def _state(job: Job, scene: Scene) -> State:
    marked = scene.marked(job)
    whole = all((scene.root / path).exists() for path in job.outputs)
    if marked is None and scene.redoes(job):
        return State("waiting", "not begun by this run")
    if whole and marked is None:
        return State("done")
    log = evidence.read_log(scene.root / job.log)
    waited_for = scene.waited_for(marked)
    # An attempt needs longer than clocks differ to come to its end: a log that ended before the mark is that
    # of an attempt before, even if the cluster was asked to try again in the very next second.
    slack = SLACK_S if log is None or log.end is None else 0.0
    if log is not None and marked is not None and log.time < marked - slack:
        log = None
    if whole and log is not None and log.end == "done" and waited_for:
        return State("done", "Snakemake has yet to record it", log)
    alive, found = _alive(job, scene, log)
    if alive:
        return State("running", found, log)
    if log is None:
        return State("waiting", found or ("handed out" if waited_for else ""))
    if log.end == "interrupted":
        return State("waiting", "interrupted", log, stopped=True)
    if log.end == "done":
        note = "finished, but its workflow was killed before it noted that" if whole else ""
        return State("waiting", note, log)
    if log.end == "failed":
        since = scene.workflow.since if scene.workflow.running else None
        before = since is not None and log.time < since - SLACK_S
        return State("failed", "in the run before this one" if before else "", log)
    if marked is None:
        return State("failed", "its log has no end: killed (out of memory, time limit)", log)
    silent = f"no sign of life for {evidence.age(log.time):.0f} s"
    if not waited_for:
        return State("waiting", "killed", log, stopped=True)
    return State("waiting", found or silent, log, stopped=True, silent=not found)


def _heard_of_groups(
    states: dict[tuple[str, str], State], scene: Scene
) -> dict[tuple[str, str], State]:
    """Silent jobs of cells run all the same when as many groups are at work as there are cells begun.

    Scoring may write nothing for minutes. With a node lost, silence is taken for what it is.
    """
    silent = [key for key, state in states.items() if state.silent and key[0] in CELL_STAGES]
    begun = len(silent) + sum(
        state.name == "running" and stage in CELL_STAGES
        for (stage, item), state in states.items()
        if not scene.named(stage, item)
    )
    if not silent or begun > scene.groups or any(job.lost for job in scene.slurm):
        return states
    return {
        key: State("running", "in a group of cells", state.log) if key in silent else state
        for key, state in states.items()
    }


def _alive(job: Job, scene: Scene, log: Log | None) -> tuple[bool, str]:
    """Whether the job lives, and what was found; `log` is that of the current attempt, if it has begun."""
    if scene.processes and not scene.processes.isdisjoint(
        (f"{scene.name}/{job.log}", str(scene.root / job.log))
    ):
        return True, ""
    if log is not None and log.end is not None:
        return False, ""
    in_slurm = scene.named(job.stage, job.item)
    if in_slurm is not None:
        if in_slurm.lost:
            return False, "its node does not respond"
        return in_slurm.state == "running", "" if log else f"Slurm: {in_slurm.state}"
    if log is not None and scene.out_of_sight:
        return evidence.age(log.time) < FRESH_S, ""
    return False, ""


def states_of(plan: Sequence[Job], scene: Scene) -> dict[tuple[str, str], State]:
    """(stage, item) -> state of every job of the plan."""
    return _heard_of_groups({(job.stage, job.item): _state(job, scene) for job in plan}, scene)
