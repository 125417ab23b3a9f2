"""The jobs of a study and what each writes, as the rules of the workflow declare it; without Snakemake.

A test compares this list with workflow/rules/.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eele.cells import AXES, sweep
from eele.combining import combined_cells
from eele.config import StudyConfig
from eele.paths import StudyPaths
from eele.ser.cells import AXES as RECOGNISER_AXES
from eele.ser.cells import recognition_of
from eele.ser.sweep import known_folds, recognisers
from eele.workflow import judge_encoders, neutral_files, reads_lexicon, trains_vocoder

#: Stage -> outputs of one of its jobs; `{item}` is the corpus, shard, judge, encoder, testbed, mixture or path of the cell.
OUTPUTS: dict[str, tuple[str, ...]] = {
    "collect_corpus": (
        "corpora/{item}/manifest.csv",
        "corpora/{item}/rejected_listing.csv",
        "corpora/{item}/source.json",
    ),
    "clean_corpus": (
        "corpora/{item}/clean.csv",
        "corpora/{item}/rejected.csv",
        "corpora/{item}/summary.json",
    ),
    "assemble_manifest": ("manifest.csv", "rejected.csv"),
    "build_lexicon": ("lexicon/lexicon.tsv", "lexicon/phones.json"),
    "train_aligner": ("alignment/models/models.json",),
    "align": ("alignment/shard~{item}/alignment.csv",),
    "index_alignment": ("alignment/alignment.csv", "alignment/summary.json"),
    "extract_features": ("features/shard~{item}/index.csv",),
    "index_features": ("features/index.csv", "features/statistics.json"),
    # The weights come first: `neutral_files` of the study.
    "pretrain": ("neutral/training.json", "neutral/curves.csv"),
    "train_vocoder": (
        "vocoder/model.safetensors",
        "vocoder/model.json",
        "vocoder/critic.safetensors",
        "vocoder/training.json",
        "vocoder/curves.csv",
    ),
    "prepare_encoder": (
        "encoders/{item}/model.safetensors",
        "encoders/{item}/model.json",
        "encoders/{item}/utterances.txt",
        "encoders/{item}/training.json",
        "encoders/{item}/curves.csv",
    ),
    "train_judge": ("judges/{item}",),
    "train_recogniser": ("recogniser/model.safetensors", "recogniser/model.json"),
    "train_cell": (
        "cells/{item}/adapter/adapter.safetensors",
        "cells/{item}/adapter/adapter.json",
        "cells/{item}/adapter/training.json",
        "cells/{item}/adapter/curves.csv",
    ),
    "synthesise_cell": ("cells/{item}/speech/speech.csv",),
    "score_cell": (
        "cells/{item}/metrics.json",
        "cells/{item}/utterances.csv",
        "cells/{item}/provenance.json",
    ),
    "combine": (
        "combining/{item}/points.csv",
        "combining/{item}/utterances.csv",
        "combining/{item}/provenance.json",
    ),
    "make_tables": (
        "tables/cells.csv",
        "tables/scheme_by_emotion.csv",
        "tables/rank.csv",
        "tables/methods.csv",
        "tables/findings.csv",
        "tables/costs.csv",
        "tables/judges.csv",
        "tables/agreement.csv",
        "tables/comparisons.csv",
        "tables/combining.csv",
        "tables/tasks.csv",
    ),
    "make_figures": ("figures",),
    "make_page": ("report/index.html", "provenance.json"),
    "divide_testbed": ("testbeds/{item}/folds.csv",),
    "recognise": (
        "recognition/{item}/scores.json",
        "recognition/{item}/predictions.csv",
        "recognition/{item}/training.json",
        "recognition/{item}/curves.csv",
        "recognition/{item}/adapter.safetensors",
        "recognition/{item}/adapter.json",
        "recognition/{item}/utterances.txt",
    ),
    "make_recognition_tables": (
        "tables/recognition.csv",
        "tables/recognition_folds.csv",
        "tables/tasks.csv",
    ),
    "make_recognition_figures": ("figures",),
    "make_recognition_page": ("report/index.html", "provenance.json"),
}

#: Stages whose items are cells, in their order.
CELL_STAGES = ("train_cell", "synthesise_cell", "score_cell")

#: Stages of every study, and of a study of recognition alone; all others are of studies of synthesis.
_OF_EVERY_STUDY = ("collect_corpus", "clean_corpus", "assemble_manifest")
_OF_RECOGNITION = ("prepare_encoder", *tuple(OUTPUTS)[tuple(OUTPUTS).index("divide_testbed") :])

#: Stages whose items are paths -> the axes of these.
_PATHS = {**dict.fromkeys(CELL_STAGES, AXES), "recognise": RECOGNISER_AXES}


@dataclass(frozen=True)
class Job:
    """One job: a stage and its item ("" where a stage has one job only). Paths lie below results/<study>/.

    `again`: the workflow that runs makes it, whatever of it is there from before.
    """

    stage: str
    item: str
    outputs: tuple[str, ...]
    again: bool = False

    @property
    def log(self) -> str:
        return f"logs/{self.stage}{'/' * bool(self.item)}{self.item}.log"

    @property
    def benchmark(self) -> str:
        return f"benchmarks/{self.stage}{'/' * bool(self.item)}{self.item}.tsv"

    @property
    def target(self) -> str:
        """What to ask Snakemake for to have this job's work done: of a cell, the end of its way."""
        if self.stage in CELL_STAGES:
            return f"cells/{self.item}/metrics.json"
        return self.outputs[0]


def wildcards(stage: str, item: str) -> tuple[str, ...]:
    """Values of the wildcards of a job's rule, in their order."""
    if stage in _PATHS:
        return tuple(part.split("~", 1)[1] for part in item.split("/"))
    return (item,) if item else ()


def jobs(study: StudyConfig, paths: StudyPaths | None = None) -> list[Job]:
    """Every job of the study, in the order of the stages.

    Of a study of recognition, `paths` (results/<study>/ when None) show which testbeds are divided by now, and
    so how many recognisers there are to be.
    """
    paths = paths or StudyPaths.of(study.study)
    corpora = [corpus.id for corpus in study.corpora]
    items = {"collect_corpus": corpora, "clean_corpus": corpora, "assemble_manifest": [""]}
    items |= _of_synthesis(study) if study.recognition is None else _of_recognition(study, paths)
    return [_job(study, stage, item) for stage in OUTPUTS for item in items.get(stage, ())]


def _of_synthesis(study: StudyConfig) -> dict[str, list[str]]:
    cells = sweep(study)
    # What is only plugged together is trained, and neither spoken nor scored by itself.
    trained = [*(cell for cell in cells if cell.trained), *combined_cells(study)]
    once = [name for name in OUTPUTS if name not in (*_OF_EVERY_STUDY, *_OF_RECOGNITION)]
    return {
        **{stage: [""] for stage in once},
        "align": [str(shard) for shard in range(study.alignment.shards)],
        "extract_features": [str(shard) for shard in range(study.features.shards)],
        "train_vocoder": [""] * trains_vocoder(study),
        "train_judge": list(study.evaluation.judges),
        "prepare_encoder": list(dict.fromkeys(judge_encoders(study).values())),
        "train_cell": [cell.path.as_posix() for cell in dict.fromkeys(trained)],
        "synthesise_cell": [cell.path.as_posix() for cell in cells],
        "score_cell": [cell.path.as_posix() for cell in cells],
        "combine": list(study.combining),
    }


def _of_recognition(study: StudyConfig, paths: StudyPaths) -> dict[str, list[str]]:
    config = recognition_of(study)
    cells = recognisers(study, known_folds(study, paths))
    return {
        **{stage: [""] for stage in _OF_RECOGNITION},
        "build_lexicon": [""] * any(reads_lexicon(study, name) for name in config.testbeds),
        "prepare_encoder": list(config.encoders),
        "divide_testbed": list(config.testbeds),
        "recognise": [cell.path.as_posix() for cell in cells],
    }


def job_of_rule(study: StudyConfig, rule: str, values: Sequence[str], again: bool) -> Job:
    """The job of a rule with these values of its wildcards, which may lie outside the sweep."""
    item = "/".join(values)
    if rule in _PATHS:
        axes = _PATHS[rule]
        item = "/".join(f"{axis}~{value}" for axis, value in zip(axes, values, strict=True))
    return _job(study, rule, item, again)


def _job(study: StudyConfig, stage: str, item: str, again: bool = False) -> Job:
    outputs = OUTPUTS[stage]
    if stage == "pretrain":
        outputs = (*(f"neutral/{name}" for name in neutral_files(study)), *outputs)
    return Job(stage, item, tuple(path.format(item=item) for path in outputs), again)
