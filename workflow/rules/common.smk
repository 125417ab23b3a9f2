# The checked study, and what the rules share. No rule here.
import functools
import os
import sys
from dataclasses import replace
from pathlib import Path

from snakemake.settings.enums import Quietness

from eele import cluster, deployment, failed, locking
from eele import workflow as eele_workflow
from eele.cells import AXES, Cell, check_cell, sweep
from eele.combining import mixtures
from eele.config import dump_study
from eele.errors import ConfigError
from eele.io import write_text
from eele.ser.cells import AXES as RECOGNISER_AXES
from eele.ser.cells import RecognitionCell, check_recognition_cell
from eele.ser.dividing import fold_names
from eele.ser.sweep import recognisers as recognition_sweep
from eele.status.progress import Progress
from eele.training import finished

if workflow.is_main_process:
    eele_workflow.collect_no_garbage()  # until onstart

# What `--sdm` names: conda, apptainer or env-modules.
SOFTWARE = {method.item_to_choice() for method in workflow.deployment_settings.deployment_method}

try:
    STUDY = eele_workflow.checked_study(
        config, workflow.configfiles, bool(workflow.config_settings.config), targets=sys.argv[1:]
    )
    software_variables = deployment.job_variables(STUDY, SOFTWARE, Path(workflow.basedir))
    CELLS = sweep(STUDY)
    MIXTURES = mixtures(STUDY)
except ConfigError as error:
    sys.exit(f"eele: {error}")

RESULTS = f"results/{STUDY.study}"
CONFIG = f"{RESULTS}/config.resolved.yaml"
# Worked out once: they are asked for many times for each of thousands of cells.
FOLDERS = {cell: f"{RESULTS}/cells/{cell.path}" for cell in CELLS}
LINEAGES = eele_workflow.lineages(STUDY)
IDENTITY = eele_workflow.identity(STUDY)
CORPORA = {corpus.id: corpus for corpus in STUDY.corpora}
FAILED = failed.names(Path(RESULTS))
NEUTRAL = [f"{RESULTS}/neutral/{name}" for name in eele_workflow.neutral_files(STUDY)]
CELL = (
    "backbone~{backbone}/method~{method}/scheme~{scheme}/rank~{rank}/emotion~{emotion}/seed~{seed}"
)
RECOGNISER = (
    "encoder~{encoder}/method~{method}/sites~{sites}/size~{size}/"
    "testbed~{testbed}/fold~{fold}/seed~{seed}"
)
TESTBEDS = STUDY.recognition.testbeds if STUDY.recognition is not None else {}
# VITS2 at its published sizes takes about thrice fastspeech2's memory.
MEMORY = 3 if STUDY.backbone.name == "vits2" else 1
# `gpu` is asked for where the config asks for one; what that means is the profile's affair.
GPUS = eele_workflow.gpus(STUDY)

# Told while the study runs, but for `--quiet progress`.
PROGRESS = Progress(STUDY, logger, {"quietness": Quietness.PROGRESS})

CONTAINER, MODULES = STUDY.deployment.container, STUDY.deployment.modules
ALIGNER_CONTAINER, ALIGNER_MODULES = deployment.of_aligner(STUDY)

eele_workflow.job_environment(Path(workflow.basedir) / "src")
cluster.run_job_at_once(workflow)
cluster.submit_after_a_lost_node()
os.environ.update(software_variables)
if "env-modules" in SOFTWARE:
    shell.prefix(deployment.MODULES_PREFIX)
if workflow.is_main_process and locking.hold(RESULTS):
    logger.warning("The last run was killed; its lock is cleared and the study goes on.")


pathvars:
    results=RESULTS,
    axes=CELL,
    cell=f"{RESULTS}/cells/{CELL}",
    recogniser_axes=RECOGNISER,
    recogniser=f"{RESULTS}/recognition/{RECOGNISER}",


wildcard_constraints:
    corpus="|".join(CORPORA),
    judge="|".join(STUDY.evaluation.judges),
    # Nothing is combined: nothing is called so.
    mixture="|".join(MIXTURES) or "-",
    shard=r"\d+",
    backbone=r"[a-z0-9_]+|-",
    method=r"[a-z0-9_]+",
    scheme=r"[A-Za-z0-9_.]+|-",
    rank=r"\d+",
    emotion=r"[a-z]+",
    seed=r"\d+|-",
    encoder="|".join(STUDY.encoders),
    # No study of recognition: nothing is called so.
    testbed="|".join(TESTBEDS) or "-",
    sites=r"[a-z_+]+|-",
    size=r"\d+",
    fold=r"[^/]+",


onstart:
    eele_workflow.collect_garbage()
    # What the jobs read. It is no input of any rule: params say which of its sections concern whom.
    write_text(CONFIG, dump_study(STUDY))
    # A killed run leaves its jobs on the cluster; this one submits the same work again.
    if left_over := cluster.end_left_over_jobs(RESULTS, ".snakemake"):
        logger.warning(
            f"{left_over} jobs of a killed run were still on the cluster and were ended."
        )
    if log:
        cluster.note_run(log[0], RESULTS, ".snakemake")
    PROGRESS.start(workflow.dag)
    asked = workflow.dag_settings
    if asked.forceall or asked.forcerun or asked.forcetargets:
        finished.forget(Path(RESULTS) / "checkpoints")


onsuccess:
    PROGRESS.end(failed=False)
    finished.forget(Path(RESULTS) / "checkpoints", Path(RESULTS) / "cells")


onerror:
    PROGRESS.end(failed=True)


def stage_params(stage):
    """Version and config of a stage and a digest of those before it: a change reruns the stage."""
    before = [LINEAGES[parent] for parent in eele_workflow.STAGES[stage].after]
    return {"before": before, **eele_workflow.stage_parameters(STUDY, stage)}


def corpus_params(wildcards):
    return eele_workflow.corpus_parameters(STUDY, CORPORA[wildcards.corpus])


def cell_of(wildcards):
    return checked_cell(*(getattr(wildcards, axis) for axis in AXES))


@functools.cache
def checked_cell(backbone, method, scheme, rank, emotion, seed):
    return check_cell(Cell(backbone, method, scheme, int(rank), emotion, seed), STUDY)


def folder_of(cell):
    """Folder of a cell, which may lie outside the sweep."""
    return FOLDERS.get(cell) or f"{RESULTS}/cells/{cell.path}"


@eele_workflow.asked_often
def group_of(wildcards):
    """The jobs of a trained cell go together. Baselines stay by themselves: every cell of an emotion
    waits for the neutral model's speech, and would be one group with it."""
    cell = cell_of(wildcards)
    return failed.group(cell, FAILED) if cell.trained else None


@eele_workflow.asked_often
def sites_of(wildcards):
    return told_of(cell_of(wildcards))


def told_of(cell):
    """What a cell's path does not tell: its sites, and the learning rate where its method has one of its own."""
    rate = STUDY.adaptation.method_learning_rates.get(cell.method)
    return cell.sites(STUDY) + ((f"learning rate {rate:g}",) if rate else ())


@eele_workflow.asked_often
def before_cell(wildcards):
    stages = eele_workflow.before_cell(cell_of(wildcards), STUDY)
    return [LINEAGES[stage] for stage in stages]


def cells(name, trained=False):
    """The file `name` of every cell of the sweep, or of the trained ones.

    As a function: a command that asks for single cells never lists them, nor do the jobs of a cluster.
    """
    folders = [folder for cell, folder in FOLDERS.items() if cell.trained or not trained]
    return lambda wildcards: [f"{folder}/{name}" for folder in folders]


def material():
    """What the page and its figures show of the stages before the cells."""
    names = ["manifest.csv", "rejected.csv", "features/index.csv", "features/statistics.json"]
    names += ["alignment/alignment.csv", "alignment/summary.json", "recogniser/model.json"]
    names += ["neutral/training.json", "neutral/curves.csv"]
    names += [f"corpora/{corpus}/source.json" for corpus in CORPORA]
    names += [f"judges/{judge}" for judge in STUDY.evaluation.judges]
    return [f"{RESULTS}/{name}" for name in names]


@eele_workflow.asked_often
def voice_of(wildcards):
    """What a cell's speech is made with: nothing (recordings), models, an adapter."""
    cell = cell_of(wildcards)
    models = {"pretrain": "neutral", "train_cell": "neutral", "train_vocoder": "vocoder"}
    folders = [
        models[stage] for stage in eele_workflow.before_cell(cell, STUDY) if stage in models
    ]
    files = [
        f"{RESULTS}/{folder}/model.{kind}"
        for folder in folders
        for kind in ("safetensors", "json")
    ]
    adapter = [f"{folder_of(cell)}/adapter/adapter.safetensors"]
    return files + adapter * cell.trained


def voices():
    """The models that every mixture is spoken with."""
    folders = ["neutral", *["vocoder"] * eele_workflow.trains_vocoder(STUDY)]
    return [f"{RESULTS}/{f}/model.{kind}" for f in folders for kind in ("safetensors", "json")]


def adapters_of(wildcards):
    """What is plugged together, in the sweep or not."""
    cells = MIXTURES[wildcards.mixture].cells
    return [f"{folder_of(cell)}/adapter/adapter.safetensors" for cell in cells]


def mixture_params(wildcards):
    """What identifies a mixture: its cells, what their paths do not tell, and the points."""
    mixture = MIXTURES[wildcards.mixture]
    cells = [(cell.path.as_posix(), told_of(cell)) for cell in mixture.cells]
    return [cells, [(point.at, point.weights) for point in mixture.points]]


def before_mixture(wildcards):
    cells = MIXTURES[wildcards.mixture].cells
    stages = dict.fromkeys(s for cell in cells for s in eele_workflow.before_cell(cell, STUDY))
    return [LINEAGES[stage] for stage in stages]


@eele_workflow.asked_often
def speech_of(wildcards):
    """A cell's speech, and the neutral model's speech of the same sentences to compare it with."""
    cell = cell_of(wildcards)
    neutral = replace(cell, method="none", scheme="-", rank=0, seed="-")
    compared = [cell, neutral] if cell.spoken else [cell]
    return [f"{folder_of(c)}/speech/speech.csv" for c in dict.fromkeys(compared)]


@eele_workflow.asked_often
def judges_of(wildcards):
    """The judges of a study and what they are made of."""
    encoders = dict.fromkeys(eele_workflow.judge_encoders(STUDY).values())
    return [
        *(f"{RESULTS}/judges/{judge}" for judge in STUDY.evaluation.judges),
        *(f"{RESULTS}/encoders/{encoder}/model.json" for encoder in encoders),
    ]


def judge_params(wildcards):
    return eele_workflow.judge_parameters(STUDY, wildcards.judge)


def encoder_of_judge(wildcards):
    """What a judge is made of: nothing, or an encoder."""
    encoder = eele_workflow.judge_encoders(STUDY).get(wildcards.judge)
    folder = f"{RESULTS}/encoders/{encoder}"
    return [f"{folder}/{name}" for name in ("model.safetensors", "model.json")] if encoder else []


def judge_memory(wildcards, attempt):
    return (4000 if encoder_of_judge(wildcards) else 2000) * min(attempt, 3)


def judge_gpus(wildcards):
    return GPUS["train_judge"] if encoder_of_judge(wildcards) else 0


def encoder_params(wildcards):
    return eele_workflow.encoder_parameters(STUDY, wildcards.encoder)


def testbed_params(wildcards):
    return eele_workflow.testbed_parameters(STUDY, wildcards.testbed)


def lexicon_of(wildcards):
    """The lexicon, where it says what is recognised."""
    names = ("lexicon.tsv", "phones.json")
    read = eele_workflow.reads_lexicon(STUDY, wildcards.testbed)
    return [f"{RESULTS}/lexicon/{name}" for name in names] if read else []


@functools.cache
def checked_recogniser(encoder, method, sites, size, testbed, fold, seed):
    cell = RecognitionCell(encoder, method, sites, int(size), testbed, fold, int(seed))
    return check_recognition_cell(cell, STUDY)


@eele_workflow.asked_often
def group_of_recogniser(wildcards):
    cell = checked_recogniser(*(getattr(wildcards, axis) for axis in RECOGNISER_AXES))
    return failed.group(cell, FAILED)


@eele_workflow.asked_often
def before_recogniser(wildcards):
    return stands_on(wildcards.encoder, wildcards.testbed)


@functools.cache
def stands_on(encoder, testbed):
    return eele_workflow.before_recogniser(STUDY, encoder, testbed)


def of_recognisers(*names):
    """These files of every recogniser of the study, once its testbeds are divided."""

    def asked(wildcards):
        divided = {
            name: checkpoints.divide_testbed.get(testbed=name).output[0] for name in TESTBEDS
        }
        folds = {name: fold_names(Path(file).parent) for name, file in divided.items()}
        return [
            f"{RESULTS}/recognition/{cell.path}/{name}"
            for cell in recognition_sweep(STUDY, folds)
            for name in names
        ]

    return asked


def of_encoders(*names):
    """These files of every encoder that a study of recognition compares."""
    return [f"{RESULTS}/encoders/{e}/{name}" for e in STUDY.recognition.encoders for name in names]
