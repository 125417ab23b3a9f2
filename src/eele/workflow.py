"""What the Snakefile asks of the package while it is read: the checked study, the jobs' environment.

Import-light: a mistake in a config has to be told within a second or two.
"""

from __future__ import annotations

import atexit
import gc
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eele.cells import Cell, check_cell
from eele.config import StudyConfig, check_study
from eele.config.models import NO_IDENTITY, CorpusConfig
from eele.errors import ConfigError
from eele.io import hash_json, sha256
from eele.neutral import CRITIC, FACTS, WEIGHTS
from eele.ser.cells import RecognitionCell, check_recognition_cell, recognition_of
from eele.stage import PARENT_VARIABLE


def checked_study(
    config: Mapping[str, Any],
    files: Iterable[str | Path],
    overridden: bool,
    targets: Iterable[str] = (),
) -> StudyConfig:
    """The study of Snakemake's merged `config`, when it and every cell among `targets` is valid.

    `files` and `overridden` (by --config) say in messages where a value may come from. Raises
    ConfigError with every mistake.
    """
    sources = [os.path.relpath(path) for path in files] + ["--config"] * overridden
    study = check_study(config, source=", ".join(sources))
    for target in targets:
        parts = Path(target).parts
        if parts[:1] != ("results",) or not {"cells", "recognition"} & set(parts[2:3]):
            continue
        if parts[1] != study.study:
            raise ConfigError(
                f"{target}: the study of {', '.join(sources)} is '{study.study}', not '{parts[1]}'; "
                "give the --configfile of that study"
            )
        cell = _checked_cell(target, parts[2], study)
        if parts[3 : 3 + len(cell.path.parts)] != cell.path.parts:
            raise ConfigError(f"{target}: write the cell as {cell.path}")
    return study


def _checked_cell(target: str, kind: str, study: StudyConfig) -> Cell | RecognitionCell:
    if kind == "recognition":
        return check_recognition_cell(RecognitionCell.parse(target), study)
    return check_cell(Cell.parse(target), study)


def job_environment(source: Path) -> None:
    """Set what jobs inherit; `source` is the folder of the package's source.

    Jobs run the interpreter that runs Snakemake and end when it ends. With `--sdm conda` a stage's
    own environment comes first on the PATH, and finds the package through PYTHONPATH.
    """
    here = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", os.defpath)
    if path.split(os.pathsep)[0] != here:
        os.environ["PATH"] = here + os.pathsep + path
    os.environ["PYTHONPATH"] = str(source)
    os.environ["EELE_PYTHON"] = sys.executable
    os.environ[PARENT_VARIABLE] = str(os.getpid())


def collect_no_garbage() -> None:
    """Have Python look for no garbage until `collect_garbage`, nor when it ends.

    The graph of thousands of jobs is millions of objects that all stay. Looking through them while it
    is built and once more at the end took a quarter of the time in which a finished study is found finished.
    """
    gc.disable()
    atexit.register(gc.freeze)


def collect_garbage() -> None:
    """Have Python look for garbage again, in what is made from now on."""
    gc.freeze()
    gc.enable()


def asked_often(function: Callable[..., Any]) -> Callable[..., Any]:
    """Note the signature of a rule's function, which Snakemake looks up several times for each job."""
    function.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return function


def corpus_parameters(study: StudyConfig, corpus: CorpusConfig) -> dict[str, Any]:
    """What identifies a corpus: its config and, where it has one, a digest of its metadata.csv.

    `data_root` is left out: a corpus that moved is the same corpus.
    """
    listing = study.corpus_root(corpus) / "metadata.csv"
    digest = sha256(listing) if listing.is_file() else None
    return {**corpus.model_dump(mode="json"), "metadata.csv": digest}


def encoder_parameters(study: StudyConfig, name: str) -> dict[str, Any]:
    """What identifies a speech encoder: of a published one nothing of the small one's sizes and training."""
    config = study.encoders[name]
    unread = {"small", "seed"} if config.kind == "transformers" else set()
    return config.model_dump(mode="json", exclude=unread)


def testbed_parameters(study: StudyConfig, name: str) -> dict[str, Any]:
    """What identifies a testbed: its target where it is another than the first there was, the emotion."""
    config = recognition_of(study).testbeds[name]
    first = {"target"} if config.target == "emotion" else set()
    return config.model_dump(mode="json", exclude=first)


def reads_lexicon(study: StudyConfig, testbed: str) -> bool:
    """Whether what is recognised in a testbed are the phones of the lexicon."""
    return recognition_of(study).testbeds[testbed].target == "phones"


def judge_encoders(study: StudyConfig) -> dict[str, str]:
    """Judge in use -> the encoder it is made of, where it is made of one."""
    made = study.evaluation.encoder_judges
    return {name: made[name].encoder for name in study.evaluation.judges if name in made}


def judge_parameters(study: StudyConfig, name: str) -> dict[str, Any]:
    """What identifies a judge, the encoder it is made of included."""
    evaluation = study.evaluation
    found: dict[str, Any] = {"judge": name}
    if name in evaluation.encoder_judges:
        config = evaluation.encoder_judges[name]
        found |= config.model_dump(mode="json")
        found["encoder"] = encoder_parameters(study, config.encoder)
        found["encoder_version"] = STAGES["prepare_encoder"].version
        found["training_version"] = STAGES["recognise"].version
    elif name in evaluation.published_judges:
        found |= evaluation.published_judges[name].model_dump(mode="json")
    return found


def before_recogniser(study: StudyConfig, encoder: str, testbed: str) -> list[str]:
    """Digests of what a recogniser stands on: of its own encoder and testbed, not of their neighbours, and of
    the lexicon where it recognises phones."""
    digests = lineages(study)
    before = digests["assemble_manifest"]
    lexicon = [digests["build_lexicon"]] if reads_lexicon(study, testbed) else []
    return lexicon + [
        hash_json([name, STAGES[name].version, values, before])
        for name, values in (
            ("prepare_encoder", encoder_parameters(study, encoder)),
            ("divide_testbed", testbed_parameters(study, testbed)),
        )
    ]


@dataclass(frozen=True)
class Stage:
    """What a stage's results follow from, beside its inputs' content.

    Raise `version` when the stage's results change without its config; `reads` are config keys,
    `after` the stages whose results it takes up (of cells, see `before_cell`).
    """

    reads: tuple[str, ...]
    after: tuple[str, ...] = ()
    version: int = 1


_DRAWN = ("bootstrap_samples", "confidence", "seed")
_SCORED = ("judges", *_DRAWN)
_SPOKEN_BY = ("adaptation.speakers", "pretraining.leave_out")

#: In the order of the way of the data. make_tables, make_figures and make_page read everything.
STAGES = {
    "collect_corpus": Stage(("audio", "corpora"), version=2),
    "clean_corpus": Stage(("audio", "cleaning"), ("collect_corpus",), version=2),
    "assemble_manifest": Stage(
        ("splits", "emotions", "adaptation.speakers"), ("clean_corpus",), version=2
    ),
    "build_lexicon": Stage(("lexicon",), ("assemble_manifest",)),
    "train_aligner": Stage(
        ("alignment.aligner", "alignment.gmm", "alignment.mfa"), ("build_lexicon",)
    ),
    "align": Stage(("alignment.shards",), ("train_aligner",)),
    "index_alignment": Stage(
        ("alignment.max_score_deviation", "alignment.max_failed_share"), ("align",)
    ),
    "extract_features": Stage(("audio", "features"), ("index_alignment",), version=2),
    "index_features": Stage((), ("extract_features",)),
    "pretrain": Stage(("backbone", "pretraining"), ("index_features",), version=2),
    "train_vocoder": Stage(("synthesis.vocoder", "vocoder"), ("index_features",)),
    "train_judge": Stage(
        ("audio", "emotions", *(f"evaluation.{key}" for key in _SCORED)),
        ("index_features",),
        version=2,
    ),
    "train_recogniser": Stage(("evaluation.recogniser",), ("index_features",)),
    "train_cell": Stage(("adaptation",), ("pretrain",), version=2),
    "synthesise_cell": Stage(("synthesis", *_SPOKEN_BY)),
    "score_cell": Stage(
        ("synthesis", *_SPOKEN_BY, *(f"evaluation.{key}" for key in _SCORED)),
        ("train_judge", "train_recogniser"),
    ),
    "combine": Stage(
        ("synthesis", *_SPOKEN_BY, *(f"evaluation.{key}" for key in _SCORED)),
        ("train_judge", "train_recogniser"),
        version=2,
    ),
    "prepare_encoder": Stage(("encoders",), ("assemble_manifest",), version=2),
    "divide_testbed": Stage(("recognition.testbeds",), ("assemble_manifest",)),
    "recognise": Stage(
        ("recognition.training", *(f"evaluation.{key}" for key in _DRAWN)),
        ("prepare_encoder", "divide_testbed"),
        version=2,
    ),
}

#: Of what these keys hold each job takes its own only (`corpus_parameters`, `encoder_parameters`, ...).
_BY_ITEM = ("corpora", "encoders", "recognition.testbeds", "evaluation.judges")
#: Keys younger than results: told only where they are set, so that results of before stay what they are.
_LATE = ("pretraining.leave_out",)
#: Keys that identify no result of a stage: which cells there are, and at which rate each learns, is told by the cells.
_UNTOLD = ("adaptation.emotions", "adaptation.method_learning_rates")


def lineages(study: StudyConfig) -> dict[str, str]:
    """Stage -> digest of its version and config and of those of all stages before it.

    Rules carry the digest of what lies before them as a parameter. Without it, a stage that is
    rerun for a changed config and fails leaves its old successors standing: their inputs are merely
    missing, and Snakemake does not rebuild a missing input of a file that is up to date.
    """
    digests: dict[str, str] = {}
    for name, stage in STAGES.items():
        values = [_value(study, key) for key in _told(study, stage)]
        before = [digests[parent] for parent in stage.after]
        digests[name] = hash_json([name, stage.version, values, before])
    return digests


def trains_vocoder(study: StudyConfig) -> bool:
    """Whether a vocoder of the study's own makes its speech."""
    return study.uses_vocoder and study.synthesis.vocoder == "hifigan"


def neutral_files(study: StudyConfig) -> list[str]:
    """What pre-training leaves in neutral/ for the cells."""
    adversarial = [CRITIC] if study.backbone.name == "vits2" else []
    return [WEIGHTS, FACTS, *adversarial]


def before_cell(cell: Cell, study: StudyConfig) -> tuple[str, ...]:
    """Stages whose results a cell's speech takes up, which depends on what the cell is."""
    if cell.method == "recording":
        return ("index_features",)
    vocoder = ("train_vocoder",) * trains_vocoder(study)
    if cell.trained:
        return ("train_cell", *vocoder)
    if cell.spoken or not study.uses_vocoder:
        # A model that makes the waveform is also what copy synthesis goes through.
        return ("pretrain", *vocoder)
    return vocoder or ("index_features",)


def gpus(study: StudyConfig) -> dict[str, int]:
    """Stage -> GPUs that each of its jobs asks for: none where the config asks for no device or the CPU."""
    one = int(study.runtime.device.split(":")[0] not in ("auto", "cpu"))
    several = one * study.runtime.devices
    return {
        "pretrain": several,
        "train_vocoder": several,
        "train_judge": one * bool(judge_encoders(study)),
        "train_recogniser": one,
        "train_cell": one,
        "synthesise_cell": one,
        "combine": one,
        "prepare_encoder": several,
        "recognise": one,
    }


def stage_parameters(study: StudyConfig, name: str) -> dict[str, Any]:
    """Version and config of one stage, as plain values named like the config's keys."""
    stage = STAGES[name]
    keys = [key for key in _told(study, stage) if key not in _BY_ITEM]
    values = {key.replace(".", "_"): _value(study, key) for key in keys}
    return {"version": stage.version, **values}


def _told(study: StudyConfig, stage: Stage) -> list[str]:
    """The keys that identify the stage's results in this study."""
    return [key for key in stage.reads if key not in _LATE or _value(study, key)]


def _value(study: StudyConfig, key: str) -> Any:
    if key == "corpora":
        return [corpus_parameters(study, corpus) for corpus in study.corpora]
    if key == "evaluation.judges":
        return [judge_parameters(study, judge) for judge in study.evaluation.judges]
    if key == "backbone":
        # The sizes of the other backbones are nothing to this study.
        name = study.backbone.name
        return {"name": name, "sizes": getattr(study.backbone, name).model_dump(mode="json")}
    value: Any = study.model_dump(mode="json", include={key.split(".")[0]})
    for part in key.split("."):
        value = value[part] if value is not None else None
    if not isinstance(value, dict):
        return value
    return {
        k: v
        for k, v in value.items()
        if f"{key}.{k}" not in _UNTOLD and (v or f"{key}.{k}" not in _LATE)
    }


def identity(study: StudyConfig) -> dict[str, Any]:
    """Every part of the config that identifies a result."""
    return study.model_dump(mode="json", exclude=set(NO_IDENTITY))
