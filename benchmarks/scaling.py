"""What a study costs on a cluster before one has it: wall time, GPU-hours, core-hours, storage, files.

    python benchmarks/scaling.py                         # VCTK + ESD at full size, config/studies/eele.yaml
    python benchmarks/scaling.py --gpus 64 --cells-per-job 2
    python benchmarks/scaling.py --measured results/demo # stage costs of a study of your own
    python benchmarks/scaling.py overhead                # 600 one-minute cells on 16 GPUs

The jobs of the study's real graph are put on GPUs and cores by list scheduling: a job starts as soon as its
predecessors have ended and a device is free, in the order of the workflow. `COSTS` says where each number comes from;
those marked ASSUMED were not measured, and every one is an option of this script. Training on a GPU is among them.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]

#: name -> (value, unit, where it comes from). CPU figures: one core of a two-core virtual machine, AVX-512, the
#: demo corpus (800 utterances, 1,839 s of speech) unless another study is named.
COSTS: dict[str, tuple[float, str, str]] = {
    "clean_core_s": (7.51 / 1839, "core-s per s of speech", "measured: clean_corpus, benchmark file"),
    "train_aligner_core_s": (70.0, "s", "measured: train_aligner (gmm), 5.1 h; it hears two hours at most"),
    "align_core_s": (10.3 / 1839, "core-s per s of speech", "measured: align (gmm), one of ten shards of 5.1 h"),
    "index_alignment_core_s": (0.9 / 800, "core-s per utterance", "measured: index_alignment, demo"),
    "features_core_s": (20.9 / 1839, "core-s per s of speech", "measured: extract_features, both shards"),
    "score_core_s": ((3.6 - 1.8) / 8, "core-s per utterance", "measured: score_cell of the smoke study, "
                     "3.6 core-s for 8 utterances less a start; its recogniser is smaller than eele.yaml's"),
    "recogniser_core_s": (26.0, "s", "measured: smoke study, which trains little; a lower bound"),
    "judge_core_s": (19.0, "s", "measured: smoke study; a lower bound"),
    "report_s": (12.0, "s per 12 cells", "measured: smoke study, tables, figures and page; scaled by cells"),
    "start_s": (1.8, "s per step", "measured: importing torch, 1.7 to 1.9 core-s"),
    "pretrain_step_s": (0.25, "GPU-s per step", "ASSUMED: VITS2, batch 64, one large GPU"),
    "ddp_efficiency": (0.85, "share", "ASSUMED: of N times one GPU's speed, several pre-training together"),
    "cell_step_s": (0.12, "GPU-s per step", "ASSUMED: LoRA or full step, batch 32"),
    "recogniser_step_s": (0.05, "GPU-s per step", "ASSUMED"),
    "synthesis_x": (0.05, "GPU-s per s of speech", "ASSUMED"),
    "job_s": (5.0, "s per Slurm job", "measured: 4.9 s from submission to the job's first sign, sandbox on two "
              "busy cores; 1.7 to 2.3 core-s of it are Snakemake reading the study"),
    "step_s": (0.03, "s per step", "measured: Snakemake, per job of a group, 0.02 to 0.03 s"),
    "submit_s": (0.1, "s per Slurm job", "ASSUMED: sbatch and polling in the submitting process"),
    "clean_bytes": (45969693 / 1839, "bytes per s of speech", "measured: corpora/demo/clean"),
    "features_bytes": (133633053 / 1839, "bytes per s of speech", "measured: features/"),
    "alignment_bytes": (3394558 / 800, "bytes per utterance", "measured: alignment/"),
    "cell_bytes": (10300, "bytes per cell", "measured: smoke cells without speech and weights; grows with the test utterances"),
}  # fmt: skip

#: Seconds of speech and utterances. VCTK: 44 h in 43,470 + 600 utterances (VITS paper, section 4). ESD: 350 sentences x
#: 5 emotions x 10 English speakers; its English half taken as 13 h (29.1 h are both languages, EmoBox).
CORPORA = {"vctk": (44 * 3600, 44070), "esd": (13 * 3600, 17500)}

#: Parameters and LoRA parameters per unit of rank of VITS2's sites (`eele inspect vits2`), model, critics excluded.
SITES = {
    "text_encoder": 33536,
    "duration": 2754,
    "flow": 54784,
    "decoder": 85505,
}
MODEL_PARAMETERS = 40_679_681


@dataclass(frozen=True)
class Cluster:
    """What the jobs run on."""

    gpus: int = 16
    cores: int = 128
    cells_per_job: int = 1
    pretrain_gpus: int = 1
    grouped: bool = True


@dataclass
class Job:
    """`gpu` and `core` say what it occupies while it lasts."""

    name: str
    seconds: float
    gpus: int = 0
    cores: int = 1
    after: tuple[str, ...] = ()
    stage: str = ""


@dataclass
class Outcome:
    """Times of a schedule, in seconds."""

    wall_s: float
    gpu_s: float
    core_s: float
    ends: dict[str, float] = field(default_factory=dict)


def schedule(jobs: Sequence[Job], cluster: Cluster) -> Outcome:
    """List scheduling: in the given order, whenever predecessors are done and the devices are free."""
    waiting = {job.name: len(job.after) for job in jobs}
    followers: dict[str, list[int]] = defaultdict(list)
    for number, job in enumerate(jobs):
        for name in job.after:
            followers[name].append(number)
    # One queue per kind: a full GPU pool must not keep core jobs waiting.
    queues: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, job in enumerate(jobs):
        if not job.after:
            heapq.heappush(queues[job.gpus, job.cores], number)
    free = {"gpus": cluster.gpus, "cores": cluster.cores}
    running: list[tuple[float, int]] = []
    now = gpu_s = core_s = 0.0
    ends: dict[str, float] = {}
    while True:
        for (gpus, cores), queue in queues.items():
            while queue and free["gpus"] >= gpus and free["cores"] >= cores:
                number = heapq.heappop(queue)
                free["gpus"] -= gpus
                free["cores"] -= cores
                heapq.heappush(running, (now + jobs[number].seconds, number))
        if not running:
            break
        now, number = heapq.heappop(running)
        job = jobs[number]
        free["gpus"] += job.gpus
        free["cores"] += job.cores
        gpu_s += job.gpus * job.seconds
        core_s += job.cores * job.seconds
        ends[job.name] = now
        for follower in followers[job.name]:
            waiting[jobs[follower].name] -= 1
            if not waiting[jobs[follower].name]:
                heapq.heappush(queues[jobs[follower].gpus, jobs[follower].cores], follower)
    if len(ends) < len(jobs):
        lacking = next(job.name for job in jobs if job.name not in ends)
        raise SystemExit(f"{lacking} can never run on this cluster: too few GPUs or cores")
    return Outcome(now, gpu_s, core_s, ends)


@dataclass(frozen=True)
class Sweep:
    """The parts of a study's config that its cost follows from."""

    trained: int
    baselines: int
    emotions: int
    test_utterances: int  # per cell
    utterance_s: float
    cell_steps: int
    pretrain_steps: int
    recogniser_steps: int
    alignment_shards: int
    shards: int
    judges: int
    adapter_bytes: float


def sweep_of(path: Path) -> Sweep:
    """The sweep of a config on VCTK and ESD: ten English speakers say every held-out sentence."""
    from eele.cells import sweep
    from eele.config import load_study

    study = load_study(path)
    cells = sweep(study)
    trained = [cell for cell in cells if cell.trained]
    adapter_bytes = 0.0
    for cell in trained:
        sites = cell.sites(study)
        per_rank = sum(SITES[site] for site in sites)
        adapter_bytes += 4 * (per_rank * cell.rank if sites else MODEL_PARAMETERS)
    seconds, utterances = CORPORA["esd"]
    return Sweep(
        trained=len(trained),
        baselines=len(cells) - len(trained),
        emotions=len(study.emotions),
        test_utterances=int(study.splits.test_sentences * 10),
        utterance_s=seconds / utterances,
        cell_steps=study.adaptation.steps,
        pretrain_steps=study.pretraining.steps,
        recogniser_steps=study.evaluation.recogniser.steps,
        alignment_shards=study.alignment.shards,
        shards=study.features.shards,
        judges=len(study.evaluation.judges),
        adapter_bytes=adapter_bytes,
    )


def study_jobs(sweep: Sweep, cluster: Cluster, cost: dict[str, float]) -> list[Job]:
    """Every Slurm job of the study: per-job costs are in the durations."""
    start, job_s, step_s = cost["start_s"], cost["job_s"] + cost["submit_s"], cost["step_s"]
    audio = sum(seconds for seconds, _ in CORPORA.values())
    jobs = []
    for corpus, (seconds, _) in CORPORA.items():
        jobs.append(Job(f"clean {corpus}", job_s + seconds * cost["clean_core_s"], stage="data"))
    cleaned = tuple(job.name for job in jobs)
    jobs.append(Job("manifest", job_s, after=cleaned, stage="data"))
    seconds = job_s + cost["train_aligner_core_s"]
    jobs.append(Job("train aligner", seconds, after=("manifest",), stage="align"))
    pieces = tuple(f"align {shard}" for shard in range(sweep.alignment_shards))
    each = job_s + audio * cost["align_core_s"] / sweep.alignment_shards
    jobs += [Job(piece, each, after=("train aligner",), stage="align") for piece in pieces]
    seconds = job_s + sum(n for _, n in CORPORA.values()) * cost["index_alignment_core_s"]
    jobs.append(Job("align", seconds, after=pieces, stage="align"))
    shards = tuple(f"features {shard}" for shard in range(sweep.shards))
    each = job_s + audio * cost["features_core_s"] / sweep.shards
    jobs += [Job(shard, each, after=("align",), stage="features") for shard in shards]
    jobs.append(Job("index", job_s, after=shards, stage="features"))
    seconds = sweep.pretrain_steps * cost["pretrain_step_s"]
    if cluster.pretrain_gpus > 1:
        seconds /= cluster.pretrain_gpus * cost["ddp_efficiency"]
    after = ("index",)
    jobs.append(
        Job("pretrain", job_s + start + seconds, cluster.pretrain_gpus, 2, after, "pretrain")
    )
    for judge in range(sweep.judges):
        jobs.append(
            Job(f"judge {judge}", job_s + cost["judge_core_s"], after=("index",), stage="judge")
        )
    seconds = cost["recogniser_core_s"] + sweep.recogniser_steps * cost["recogniser_step_s"]
    jobs.append(Job("recogniser", job_s + seconds, 1, after=("index",), stage="recogniser"))
    ready = ("pretrain", "recogniser", *(f"judge {judge}" for judge in range(sweep.judges)))
    train, speak, score = cell_steps(sweep, cost)
    baselines = []
    for number in range(sweep.baselines):
        jobs.append(
            Job(f"speak base {number}", job_s + speak, 1, after=("pretrain",), stage="speak")
        )
        jobs.append(
            Job(
                f"score base {number}",
                job_s + score,
                after=(f"speak base {number}", *ready),
                stage="score",
            )
        )
        baselines.append(f"speak base {number}")
    ends = [f"score base {number}" for number in range(sweep.baselines)]
    neutral = tuple(baselines)
    if cluster.grouped:
        for first in range(0, sweep.trained, cluster.cells_per_job):
            count = min(cluster.cells_per_job, sweep.trained - first)
            seconds = job_s + count * (train + speak + score + 3 * step_s)
            jobs.append(Job(f"cells {first}", seconds, 1, after=(*ready, *neutral), stage="cells"))
            ends.append(f"cells {first}")
    else:
        for number in range(sweep.trained):
            jobs.append(
                Job(f"train {number}", job_s + train, 1, after=("pretrain",), stage="cells")
            )
            jobs.append(
                Job(f"speak {number}", job_s + speak, 1, after=(f"train {number}",), stage="cells")
            )
            jobs.append(
                Job(
                    f"score {number}",
                    job_s + score,
                    after=(f"speak {number}", *ready, *neutral),
                    stage="cells",
                )
            )
            ends.append(f"score {number}")
    cells = sweep.trained + sweep.baselines
    jobs.append(Job("report", cost["report_s"] * cells / 12, after=tuple(ends), stage="report"))
    return jobs


def cell_steps(sweep: Sweep, cost: dict[str, float]) -> tuple[float, float, float]:
    """Seconds to train, speak and score one cell, each step's own start included, scheduling excluded."""
    start = cost["start_s"]
    train = start + sweep.cell_steps * cost["cell_step_s"]
    speak = start + sweep.test_utterances * sweep.utterance_s * cost["synthesis_x"]
    score = start + sweep.test_utterances * cost["score_core_s"]
    return (
        cost.get("train_cell_s", train),
        cost.get("synthesise_cell_s", speak),
        cost.get("score_cell_s", score),
    )


def storage(sweep: Sweep, cost: dict[str, float]) -> tuple[dict[str, float], dict[str, int]]:
    """Bytes and files of the finished study, by part."""
    audio = sum(seconds for seconds, _ in CORPORA.values())
    utterances = sum(number for _, number in CORPORA.values())
    cells = sweep.trained + sweep.baselines
    # 16-bit mono at 22,050 Hz.
    speech = cells * sweep.test_utterances * (sweep.utterance_s * 22050 * 2 + 44)
    size = {
        "clean audio": audio * cost["clean_bytes"],
        "alignment": utterances * cost["alignment_bytes"],
        "features": audio * cost["features_bytes"],
        "adapters": sweep.adapter_bytes,
        "speech of cells": speech,
        "rest of cells": cells * cost["cell_bytes"],
    }
    jobs = 3 * sweep.trained + 2 * sweep.baselines
    files = {
        "clean audio": utterances,
        "alignment": utterances + 2,
        "features": sweep.shards * 11 + 2,
        # Four of the adapter and one for TensorBoard; three of the scores; speech.csv.
        "cells without speech": 9 * sweep.trained + 4 * sweep.baselines,
        "speech of cells": cells * sweep.test_utterances,
        "logs and benchmarks": 2 * jobs,
        # One per declared output: 4 of training, 1 of speech, 3 of scores.
        "Snakemake's metadata": 8 * sweep.trained + 4 * sweep.baselines,
    }
    return size, files


def overhead(
    cells: int, gpus: int, cell_s: float, per_job: Sequence[int], cost: dict[str, float]
) -> list[dict[str, float]]:
    """Scheduling's share of a sweep of cells that all take `cell_s` of a GPU, by cells per Slurm job.

    0 cells per job: every step (train, speak, score) is a job of its own. `overhead` is the share of
    GPU time spent on starting jobs; `tail` the share in which GPUs stand idle because cells do not divide evenly.
    """
    rows = []
    job_s, submit_s, step_s = cost["job_s"], cost["submit_s"], cost["step_s"]
    for count in per_job:
        size = max(1, count)
        starts = 3 if count == 0 else 1
        sizes = [min(size, cells - first) for first in range(0, cells, size)]
        jobs = [
            Job(str(n), s * cell_s + starts * job_s + 3 * s * step_s, 1)
            for n, s in enumerate(sizes)
        ]
        outcome = schedule(jobs, Cluster(gpus, gpus))
        spent = starts * len(jobs) * job_s + 3 * cells * step_s
        rows.append(
            {
                "cells_per_job": count,
                "slurm_jobs": starts * len(jobs),
                "wall_s": round(outcome.wall_s),
                "ideal_s": round(cells * cell_s / gpus),
                "overhead": spent / outcome.gpu_s,
                "tail": 1 - outcome.gpu_s / (gpus * outcome.wall_s),
                "submitting_s": starts * len(jobs) * submit_s,
            }
        )
    return rows


def measured(folder: Path) -> dict[str, float]:
    """Costs from the benchmark files of a finished study, where it has them; a cell's steps as they took there."""
    from eele.provenance import stage_costs

    stages = stage_costs(folder / "benchmarks")
    summaries = [json.loads(f.read_text()) for f in folder.glob("features/shard~*/summary.json")]
    audio = sum(summary["audio_seconds"] for summary in summaries)
    found = {}
    names = {
        "clean_corpus": "clean_core_s",
        "align": "align_core_s",
        "extract_features": "features_core_s",
    }
    for stage, name in names.items():
        if stage in stages and audio:
            found[name] = stages[stage]["wall_s"] / audio
    for stage in ("train_cell", "synthesise_cell", "score_cell"):
        if stage in stages:
            found[f"{stage}_s"] = stages[stage]["wall_s"] / stages[stage]["jobs"]
    return found


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h"


def _print_study(options: argparse.Namespace, cost: dict[str, float]) -> None:
    sweep = sweep_of(options.config)
    cluster = Cluster(
        options.gpus,
        options.cores,
        options.cells_per_job,
        options.pretrain_gpus,
        not options.no_groups,
    )
    jobs = study_jobs(sweep, cluster, cost)
    outcome = schedule(jobs, cluster)
    steps = cell_steps(sweep, cost)
    by_stage: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for job in jobs:
        by_stage[job.stage][0] += job.gpus * job.seconds / 3600
        by_stage[job.stage][1] += job.cores * job.seconds / 3600
    print(
        f"{options.config}: {sweep.trained} trained cells, {sweep.baselines} baselines, {len(jobs)} Slurm jobs"
    )
    print(
        f"cluster: {cluster.gpus} GPUs, {cluster.cores} cores, "
        + (f"{cluster.cells_per_job} cells a job" if cluster.grouped else "every step a job")
    )
    print(f"a cell: train {steps[0]:.0f} s, speak {steps[1]:.0f} s, score {steps[2]:.0f} s")
    print(
        f"wall time {_hours(outcome.wall_s)}: features at {_hours(outcome.ends['index'])}, "
        f"neutral model at {_hours(outcome.ends['pretrain'])}"
    )
    print(f"GPU-hours {outcome.gpu_s / 3600:.0f}, core-hours {outcome.core_s / 3600:.0f}")
    for stage, (gpu_h, core_h) in by_stage.items():
        print(f"  {stage:12s} {gpu_h:8.1f} GPU-h {core_h:8.1f} core-h")
    size, files = storage(sweep, cost)
    print(f"storage {sum(size.values()) / 1e9:.1f} GB, {sum(files.values()):,} files")
    for name in dict.fromkeys((*size, *files)):
        text = f"{size[name] / 1e9:8.2f} GB" if name in size else " " * 11
        print(f"  {name:22s} {text} {files.get(name, 0):10,} files")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", nargs="?", choices=("study", "overhead", "costs"), default="study")
    parser.add_argument(
        "--config", type=Path, default=REPOSITORY / "config" / "studies" / "eele.yaml"
    )
    parser.add_argument(
        "--measured", type=Path, help="results folder of a study: its own stage costs"
    )
    parser.add_argument("--gpus", type=int, default=16)
    parser.add_argument("--cores", type=int, default=128)
    parser.add_argument("--cells-per-job", type=int, default=1)
    parser.add_argument("--pretrain-gpus", type=int, default=1)
    parser.add_argument("--no-groups", action="store_true", help="every step of a cell is a job")
    parser.add_argument("--cells", type=int, default=600, help="overhead: cells")
    parser.add_argument("--cell-s", type=float, default=60.0, help="overhead: seconds of a cell")
    for name, (value, unit, source) in COSTS.items():
        text = f"{unit}; {source} ({value:.4g})"
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, help=text.replace("%", "%%"))
    options = parser.parse_args()
    cost = {name: value for name, (value, _, _) in COSTS.items()}
    if options.measured:
        cost.update(measured(options.measured))
    cost.update({name: v for name in COSTS if (v := getattr(options, name)) is not None})
    if options.what == "costs":
        for name, (_, unit, source) in COSTS.items():
            print(f"{name:18s} {cost[name]:12.4g} {unit:24s} {source}")
    elif options.what == "overhead":
        rows = overhead(
            options.cells, options.gpus, options.cell_s, (0, 1, 2, 4, 5, 8, 10, 19, 20, 38), cost
        )
        print(
            f"{options.cells} cells of {options.cell_s:g} s on {options.gpus} GPUs, {cost['job_s']:g} s a Slurm job"
        )
        for row in rows:
            way = (
                f"{row['cells_per_job']:.0f} a job" if row["cells_per_job"] else "every step a job"
            )
            print(
                f"{way:17s} {row['slurm_jobs']:5.0f} jobs, wall {row['wall_s']:5.0f} s (ideal {row['ideal_s']:.0f}), "
                f"overhead {100 * row['overhead']:5.2f} %, idle tail {100 * row['tail']:5.2f} %, "
                f"submitting {row['submitting_s']:.0f} s"
            )
    else:
        if not math.isfinite(sum(cost.values())):
            raise SystemExit("a cost is not a number")
        _print_study(options, cost)


if __name__ == "__main__":
    main()
