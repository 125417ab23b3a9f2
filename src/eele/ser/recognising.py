"""The stage that trains one recogniser on one fold and hears the fold's test recordings."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from eele.config import StudyConfig
from eele.errors import DataError
from eele.io import atomic_path, hash_json, write_json
from eele.paths import StudyPaths
from eele.ser.adaptation import Adaptation
from eele.ser.cells import RecognitionCell, recognition_of
from eele.ser.encoders import encoder_facts, heard_utterances, load_encoder
from eele.ser.fairness import fairness
from eele.ser.labelled import LabelledSet
from eele.ser.model import Recogniser
from eele.ser.recordings import Recordings
from eele.ser.scores import score
from eele.ser.stored import FACTS, HEARD, WEIGHTS, save_recogniser
from eele.ser.testbeds import classes, fold, table, testbed_config
from eele.ser.training import VERSION, Fit, Progress, fit_recogniser, predict
from eele.training import finished
from eele.training.devices import make_fabric
from eele.training.loop import write_curves

OUTPUTS = (
    "predictions.csv",
    "scores.json",
    "training.json",
    "curves.csv",
    WEIGHTS,
    FACTS,
    HEARD,
)


def recognise(study: StudyConfig, paths: StudyPaths, cell: RecognitionCell) -> None:
    """Train the cell's recogniser on its fold and write `recognition/<cell>/`: weights, predictions, scores.

    Raises ConfigError for a testbed, fold or method that is not possible, DataError when recordings or the
    prepared encoder are missing.
    """
    started = time.monotonic()
    torch.set_num_threads(study.runtime.threads)
    config = recognition_of(study).training
    rows = table(study, paths, cell.testbed)
    division = fold(rows, testbed_config(study, cell.testbed), cell.fold)
    names = classes(rows)
    recordings = Recordings.of(Path(), rows, study.runtime.cache_mb)
    label = dict(zip(rows["utterance_id"], rows["label"], strict=True))
    train_set, validation_set, test_set = (
        LabelledSet(recordings, {i: label[i] for i in ids}, names, config)
        for ids in division.parts.values()
    )
    encoder_folder = paths.encoder(cell.encoder)
    encoder = load_encoder(study.encoders[cell.encoder], encoder_folder)
    torch.manual_seed(cell.seed)
    # The head is drawn first: at one seed it begins alike whatever the method.
    recogniser = Recogniser(encoder, names, config.head_size, config.dropout)
    adaptation = Adaptation(recogniser, cell.adaptation, config)
    parameters = adaptation.parameters
    run = Fit(
        config,
        cell.seed,
        identity=hash_json(
            [
                VERSION,
                encoder_facts(encoder_folder)["sha256"],
                cell.as_dict(),
                config.model_dump(mode="json"),
                names,
                [s.identity for s in (train_set, validation_set, test_set)],
            ]
        ),
        checkpoint=paths.checkpoints / "recognition" / cell.path / "state.pt",
        label=f"{cell.encoder} {cell.method} {cell.testbed} {cell.fold}",
    )
    folder = paths.recognition(cell.path)
    outputs = [folder / name for name in OUTPUTS]
    if finished.take_back(run, outputs):
        return
    fabric = make_fabric(study.runtime)
    progress = fit_recogniser(
        fabric, recogniser, adaptation, train_set, validation_set, run, study.runtime
    )
    probabilities = predict(fabric, recogniser, test_set, config.batch_size)
    predictions = _predictions(rows, test_set.ids, names, probabilities)
    heard = [*division.train, *division.validation]
    if set(heard) & set(division.test):
        raise DataError(f"fold {cell.fold}: a test utterance was trained on")
    save_recogniser(
        folder,
        recogniser,
        adaptation,
        cell.adaptation,
        config,
        encoder_folder,
        heard,
        cell=cell.as_dict(),
    )
    with atomic_path(folder / "predictions.csv") as temporary:
        predictions.to_csv(temporary, index=False)
    write_curves(folder / "curves.csv", progress.curves)
    evaluation = study.evaluation
    scores = score(
        predictions, names, evaluation.bootstrap_samples, evaluation.confidence, evaluation.seed
    )
    write_json(
        folder / "scores.json",
        {"cell": cell.as_dict(), **scores, "fairness": fairness(predictions)},
    )
    write_json(
        folder / "training.json",
        {
            **_facts(progress, train_set, config.epochs, parameters),
            "adapter_bytes": (folder / WEIGHTS).stat().st_size,
            "unwrappable": adaptation.attached.unwrappable,
            "validation_utterances": len(validation_set),
            "test_utterances": len(test_set),
            "test_heard_by_encoder": len(set(test_set.ids) & set(heard_utterances(encoder_folder))),
            "stage_seconds": time.monotonic() - started,
        },
    )
    finished.keep(run, outputs)


def _predictions(
    rows: pd.DataFrame, ids: list[str], names: tuple[str, ...], probabilities: np.ndarray
) -> pd.DataFrame:
    """One row per test utterance: what it is, what was heard, and how surely."""
    facts = rows.set_index("utterance_id").loc[ids].reset_index()
    return pd.DataFrame(
        {
            "utterance_id": facts["utterance_id"],
            "label": facts["label"],
            "predicted": [names[i] for i in probabilities.argmax(1)],
            **{f"probability_{name}": probabilities[:, i] for i, name in enumerate(names)},
            "speaker": facts["speaker"],
            "gender": facts["gender"],
            "sentence": facts["sentence"],
        }
    )


def _facts(
    progress: Progress, train_set: LabelledSet, epochs: int, parameters: dict[str, int]
) -> dict[str, Any]:
    return {
        "epochs": epochs,
        "best_epoch": progress.best_epoch,
        "validation_uar": progress.best_uar,
        "steps": progress.step,
        "train_seconds": progress.seconds,
        "encoder_parameters": parameters["encoder"],
        "head_parameters": parameters["head"],
        "trainable_parameters": parameters["encoder"] + parameters["head"],
        "utterances": len(train_set),
        "minutes": train_set.minutes,
    }
