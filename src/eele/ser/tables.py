"""Tables of a study of recognition: recognition.csv, one row per testbed, encoder, method, sites and size;
recognition_folds.csv, one row per recogniser; tasks.csv and tasks.tex, in the shape of all studies."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from eele.config.models import StudyConfig
from eele.config.recognition import Target
from eele.io import write_csv, write_text
from eele.paths import StudyPaths
from eele.reporting.tables import to_latex
from eele.reporting.tasks import tasks_table
from eele.ser.cells import recognition_of
from eele.ser.fairness import fairness
from eele.ser.published import is_iemocap, published
from eele.ser.results import KEYS, Recognised, System, load
from eele.ser.scores import (
    LOWER_IS_BETTER,
    SCORES,
    bootstrap_units,
    parts,
    uar,
    uar_interval,
    value,
    value_interval,
)
from eele.vocabulary import GENDERS

#: Target -> the task, in words.
TASK_WORDS: dict[Target, str] = {
    "emotion": "emotion recognition",
    "speaker": "speaker classification",
    "phones": "phone recognition",
}

_FAIRNESS = (
    "statistical_parity",
    "equality_of_opportunity",
    "statistical_parity_worst_class",
    "equality_of_opportunity_worst_class",
)

COLUMNS = (
    *KEYS,
    *("target", "score", "value", "value_low", "value_high", "value_fold_least", "value_fold_most"),
    *("uar", "uar_low", "uar_high", "interval_unit", "accuracy"),
    *("n_folds", "uar_fold_least", "uar_fold_most", "uar_fold_sd", "n_seeds", "uar_seed_sd"),
    *("gain", "gain_low", "gain_high", "published_uar"),
    *("encoder_parameters", "head_parameters", "trainable_parameters"),
    *("model_parameters", "share_of_model", "adapter_bytes"),
    *_FAIRNESS,
    *(f"n_{gender}" for gender in GENDERS),
    *("n_gender_unknown", "fairness_reason"),
    *("n_scored", "n_total", "n_heard_by_encoder", "train_seconds"),
)


def write_tables(study: StudyConfig, paths: StudyPaths) -> None:
    """Write all tables below `tables/`; DataError where a recogniser lacks its results."""
    results = load(study, paths)
    table = recognition_table(results)
    write_csv(paths.tables / "recognition.csv", table)
    write_csv(paths.tables / "recognition_folds.csv", results.runs)
    tasks = tasks_table([_task(study, row) for row in table.to_dict("records")])
    write_csv(paths.tables / "tasks.csv", tasks)
    write_text(paths.tables / "tasks.tex", to_latex("tasks", tasks, study))


def _task(study: StudyConfig, row: Mapping[Hashable, Any]) -> dict[str, Any]:
    """A row of recognition.csv as tasks.csv has it."""
    named = recognition_of(study).testbeds[row["testbed"]].corpora
    corpora = named or tuple(corpus.id for corpus in study.corpora)
    return {
        "task": TASK_WORDS[row["target"]],
        "corpus": ", ".join(corpora),
        "model": row["encoder"],
        "method": row["method"],
        "sites": row["sites"],
        "size": row["size"] or None,
        **{key: row[key] for key in ("score", "value", "n_scored", "n_total")},
        "low": row["value_low"],
        "high": row["value_high"],
        "trainable_parameters": row["trainable_parameters"],
        "model_parameters": row["model_parameters"],
    }


def recognition_table(results: Recognised) -> pd.DataFrame:
    """`COLUMNS` of every system. Scores, gain and fairness are of all folds' and seeds' test utterances together.

    `score` names the score that counts of the testbed's target, `value` is it. `gain` is how much better it is
    than head only (phone errors: fewer) on the same testbed and encoder, its interval from paired draws.
    """
    rows = [_row(results, system) for system in results.systems]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(results: Recognised, system: System) -> dict[str, Any]:
    predictions, runs = results.predicted(system), results.of(system)
    target = results.target(system.testbed)
    low, high = value_interval(predictions, target, *_drawn(results.study)) or (None, None)
    by_fold = runs.groupby("fold")["value"].mean()
    first = runs.iloc[0]
    whole = results.model_parameters(system)
    return {
        **system._asdict(),
        "target": target,
        "score": SCORES[target],
        "value": value(predictions, target),
        "value_low": low,
        "value_high": high,
        "value_fold_least": by_fold.min(),
        "value_fold_most": by_fold.max(),
        "interval_unit": bootstrap_units(predictions, target)[0],
        "n_folds": len(by_fold),
        "n_seeds": runs["seed"].nunique(),
        **({} if target == "phones" else _of_classes(results, system)),
        **_gain(results, system),
        "published_uar": published(results.study, system.encoder, system.method, system.sites)
        if is_iemocap(results.study, system.testbed)
        else None,
        "encoder_parameters": int(first["encoder_parameters"]),
        "head_parameters": int(first["head_parameters"]),
        "trainable_parameters": int(first["trainable_parameters"]),
        "model_parameters": whole,
        "share_of_model": int(first["trainable_parameters"]) / whole,
        "adapter_bytes": int(first["adapter_bytes"]),
        **_fairness(predictions, target),
        "n_scored": len(predictions),
        "n_total": results.test_utterances(system.testbed),
        "n_heard_by_encoder": int(runs["test_heard_by_encoder"].sum()),
        "train_seconds": float(runs["train_seconds"].sum()),
    }


def _of_classes(results: Recognised, system: System) -> dict[str, Any]:
    """UAR and accuracy, where an utterance is of one class."""
    predictions, runs = results.predicted(system), results.of(system)
    target = results.target(system.testbed)
    low, high = uar_interval(predictions, *_drawn(results.study), target) or (None, None)
    by_fold = runs.groupby("fold")["uar"].mean()
    by_seed = predictions.groupby("seed")[["label", "predicted"]].apply(_uar)
    return {
        "uar": _uar(predictions),
        "uar_low": low,
        "uar_high": high,
        "accuracy": float((predictions["label"] == predictions["predicted"]).mean()),
        "uar_fold_least": by_fold.min(),
        "uar_fold_most": by_fold.max(),
        "uar_fold_sd": by_fold.std() if len(by_fold) > 1 else None,
        "uar_seed_sd": by_seed.std() if len(by_seed) > 1 else None,
    }


def _uar(predictions: pd.DataFrame) -> float:
    return uar(predictions["label"].tolist(), predictions["predicted"].tolist())


def _drawn(study: StudyConfig) -> tuple[int, float, int]:
    evaluation = study.evaluation
    return evaluation.bootstrap_samples, evaluation.confidence, evaluation.seed


def _gain(results: Recognised, system: System) -> dict[str, float | None]:
    head = results.head_of(system)
    if head is None or head == system:
        return dict.fromkeys(("gain", "gain_low", "gain_high"))
    same = ["fold", "seed", "utterance_id"]
    target = results.target(system.testbed)
    better = -1.0 if SCORES[target] in LOWER_IS_BETTER else 1.0
    ours = results.predicted(system)
    theirs = ours[same].merge(results.predicted(head), on=same)
    apart: np.ndarray = better * (parts(ours, target)[0] - parts(theirs, target)[0])
    drawn = value_interval(ours, target, *_drawn(results.study), counted=apart)
    low, high = drawn or (None, None)
    gain = better * (value(ours, target) - value(theirs, target))
    return {"gain": gain, "gain_low": low, "gain_high": high}


def _fairness(predictions: pd.DataFrame, target: Target) -> dict[str, Any]:
    found = fairness(predictions, target=target)
    return {
        **{key: found.get(key) for key in _FAIRNESS},
        **{f"n_{gender}": found["n"][gender] for gender in GENDERS},
        "n_gender_unknown": found["n_unknown"],
        "fairness_reason": found.get("reason"),
    }
