"""Tables of a study of recognition: recognition.csv, one row per testbed, encoder, method, sites and size;
recognition_folds.csv, one row per recogniser."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from eele.config.models import StudyConfig
from eele.paths import StudyPaths
from eele.reporting.tables import write_csv
from eele.ser.fairness import fairness
from eele.ser.published import is_iemocap, published
from eele.ser.results import KEYS, Recognised, System, load
from eele.ser.scores import bootstrap_units, class_mean_interval, uar, uar_interval
from eele.vocabulary import GENDERS

_FAIRNESS = (
    "statistical_parity",
    "equality_of_opportunity",
    "statistical_parity_worst_class",
    "equality_of_opportunity_worst_class",
)

COLUMNS = (
    *KEYS,
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
    """Write both tables below `tables/`; DataError where a recogniser lacks its results."""
    results = load(study, paths)
    write_csv(paths.tables / "recognition.csv", recognition_table(results))
    write_csv(paths.tables / "recognition_folds.csv", results.runs)


def recognition_table(results: Recognised) -> pd.DataFrame:
    """`COLUMNS` of every system. UAR, gain and fairness are of all folds' and seeds' test utterances together.

    `gain` is the UAR above head only, on the same testbed and encoder, its interval from paired draws.
    """
    rows = [_row(results, system) for system in results.systems]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(results: Recognised, system: System) -> dict[str, Any]:
    predictions, runs = results.predicted(system), results.of(system)
    low, high = uar_interval(predictions, *_drawn(results.study)) or (None, None)
    by_fold = runs.groupby("fold")["uar"].mean()
    by_seed = predictions.groupby("seed")[["label", "predicted"]].apply(_uar)
    first = runs.iloc[0]
    whole = results.model_parameters(system)
    return {
        **system._asdict(),
        "uar": _uar(predictions),
        "uar_low": low,
        "uar_high": high,
        "interval_unit": bootstrap_units(predictions)[0],
        "accuracy": float((predictions["label"] == predictions["predicted"]).mean()),
        "n_folds": len(by_fold),
        "uar_fold_least": by_fold.min(),
        "uar_fold_most": by_fold.max(),
        "uar_fold_sd": by_fold.std() if len(by_fold) > 1 else None,
        "n_seeds": len(by_seed),
        "uar_seed_sd": by_seed.std() if len(by_seed) > 1 else None,
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
        **_fairness(predictions),
        "n_scored": len(predictions),
        "n_total": results.test_utterances(system.testbed),
        "n_heard_by_encoder": int(runs["test_heard_by_encoder"].sum()),
        "train_seconds": float(runs["train_seconds"].sum()),
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
    ours = results.predicted(system)
    pairs = ours.merge(
        results.predicted(head)[[*same, "predicted"]], on=same, suffixes=("", "_head")
    )
    hits = [
        (pairs[column] == pairs["label"]).to_numpy(float)
        for column in ("predicted", "predicted_head")
    ]
    apart: np.ndarray = hits[0] - hits[1]
    low, high = class_mean_interval(pairs, apart, *_drawn(results.study)) or (None, None)
    gain = _uar(ours) - _uar(results.predicted(head))
    return {"gain": gain, "gain_low": low, "gain_high": high}


def _fairness(predictions: pd.DataFrame) -> dict[str, Any]:
    found = fairness(predictions)
    return {
        **{key: found.get(key) for key in _FAIRNESS},
        **{f"n_{gender}": found["n"][gender] for gender in GENDERS},
        "n_gender_unknown": found["n_unknown"],
        "fairness_reason": found.get("reason"),
    }
