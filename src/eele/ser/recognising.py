"""The stage that trains one recogniser on one fold and hears the fold's test recordings."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from eele.config import StudyConfig
from eele.config.recognition import Target
from eele.errors import DataError
from eele.io import hash_json, write_csv, write_json
from eele.paths import StudyPaths
from eele.ser.adaptation import Adaptation
from eele.ser.cells import RecognitionCell, recognition_of
from eele.ser.encoders import Encoder, encoder_facts, heard_utterances, load_encoder
from eele.ser.fairness import fairness
from eele.ser.labelled import LabelledSet, TranscribedSet
from eele.ser.model import Recogniser
from eele.ser.recordings import Recordings
from eele.ser.scores import SCORES, score, score_phones
from eele.ser.stored import FACTS, HEARD, WEIGHTS, save_recogniser
from eele.ser.testbeds import classes, fold, table, testbed_config
from eele.ser.training import VERSION, Fit, Progress, fit_recogniser, predict, transcribe
from eele.ser.transcripts import Aside, Phones, inventory, set_aside, transcriptions, transcripts
from eele.training import finished
from eele.training.curves import write_curves
from eele.training.devices import make_fabric

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
    testbed = testbed_config(study, cell.testbed)
    rows = table(study, paths, cell.testbed)
    division = fold(rows, testbed, cell.fold)
    recordings = Recordings.of(Path(), rows, study.runtime.cache_mb)
    encoder_folder = paths.encoder(cell.encoder)
    encoder = load_encoder(study.encoders[cell.encoder], encoder_folder)
    sets = Sets.of(study, paths, testbed.target, rows, division.parts, recordings, encoder)
    names = sets.classes
    train_set, validation_set, test_set = sets.parts
    torch.manual_seed(cell.seed)
    # The head is drawn first: at one seed it begins alike whatever the method.
    recogniser = Recogniser(
        encoder, names, config.head_size, config.dropout, transcribes=testbed.target == "phones"
    )
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
        target=testbed.target,
    )
    folder = paths.recognition(cell.path)
    outputs = [folder / name for name in OUTPUTS]
    if finished.take_back(run, outputs):
        return
    fabric = make_fabric(study.runtime)
    progress = fit_recogniser(
        fabric, recogniser, adaptation, train_set, validation_set, run, study.runtime
    )
    evaluation = study.evaluation
    drawn = evaluation.bootstrap_samples, evaluation.confidence, evaluation.seed
    if testbed.target == "phones":
        found = transcribe(fabric, recogniser, test_set, config.batch_size)
        predictions = transcriptions(rows, test_set.ids, sets.said, found)
        scores = score_phones(predictions, *drawn)
    else:
        probabilities = predict(fabric, recogniser, test_set, config.batch_size)
        predictions = _predictions(rows, test_set.ids, names, probabilities)
        scores = score(predictions, names, *drawn, target=testbed.target)
    heard = [*train_set.ids, *validation_set.ids]
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
        target=testbed.target,
    )
    write_csv(folder / "predictions.csv", predictions)
    write_curves(folder / "curves.csv", progress.curves)
    write_json(
        folder / "scores.json",
        {
            "cell": cell.as_dict(),
            **scores,
            "fairness": fairness(predictions, target=testbed.target),
        },
    )
    write_json(
        folder / "training.json",
        {
            **_facts(progress, train_set, config.epochs, parameters, SCORES[testbed.target]),
            **_aside(sets.aside, division.parts),
            "adapter_bytes": (folder / WEIGHTS).stat().st_size,
            "unwrappable": adaptation.attached.unwrappable,
            "validation_utterances": len(validation_set),
            "test_utterances": len(test_set),
            "test_heard_by_encoder": len(set(test_set.ids) & set(heard_utterances(encoder_folder))),
            "stage_seconds": time.monotonic() - started,
        },
    )
    finished.keep(run, outputs)


@dataclass(frozen=True)
class Sets:
    """The parts of a fold as they are heard, and what is said in them where phones are recognised."""

    classes: tuple[str, ...]
    parts: tuple[LabelledSet, ...]  # training, validation, test
    said: Mapping[str, Phones]
    aside: Sequence[Aside]

    @classmethod
    def of(
        cls,
        study: StudyConfig,
        paths: StudyPaths,
        target: Target,
        rows: pd.DataFrame,
        parts: Mapping[str, Sequence[str]],
        recordings: Recordings,
        encoder: Encoder,
    ) -> Sets:
        """Of the utterances of `parts`; rows: the testbed's table. DataError for a part without one."""
        config = recognition_of(study).training
        if target != "phones":
            names = classes(rows)
            label = dict(zip(rows["utterance_id"], rows["label"], strict=True))
            labelled = (
                LabelledSet(recordings, {i: label[i] for i in ids}, names, config)
                for ids in parts.values()
            )
            return cls(names, tuple(labelled), {}, [])
        said = transcripts(study, paths, rows)
        aside = set_aside(said, recordings, encoder, config.crop_s)
        left_out = {utterance.utterance_id for utterance in aside}
        names = inventory(said)
        transcribed = (
            TranscribedSet(
                recordings, {i: said[i] for i in ids if i not in left_out}, names, config
            )
            for ids in parts.values()
        )
        return cls(names, tuple(transcribed), said, aside)


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


def _aside(aside: Sequence[Aside], parts: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What of the fold is neither trained on nor scored, where anything may be: listed and counted."""
    part = {name: key for key, names in parts.items() for name in names}
    listed = [
        {"utterance_id": name, "part": part[name], "reason": reason}
        for name, reason in aside
        if name in part
    ]
    return {"set_aside": listed, "n_set_aside": len(listed)}


def _facts(
    progress: Progress,
    train_set: LabelledSet,
    epochs: int,
    parameters: dict[str, int],
    score_name: str,
) -> dict[str, Any]:
    return {
        "epochs": epochs,
        "best_epoch": progress.best_epoch,
        f"validation_{score_name}": progress.best_score,
        "steps": progress.step,
        "train_seconds": progress.seconds,
        "encoder_parameters": parameters["encoder"],
        "head_parameters": parameters["head"],
        "trainable_parameters": parameters["encoder"] + parameters["head"],
        "utterances": len(train_set),
        "minutes": train_set.minutes,
    }
