"""Judges of the kind `encoder`: one of the study's encoders with an emotion head (`eele.ser`), adapted to the
recordings of the training sentences that the judge `statistics` learns from as well.

Validation sentences choose the best epoch and the temperature of the probabilities; where a sparse study has
none, every fifth training sentence is held out for it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from eele import io
from eele.config import StudyConfig
from eele.config.evaluation import EncoderJudgeConfig
from eele.errors import DataError
from eele.judges import rules
from eele.judges.discriminant import best_temperature, probabilities
from eele.judges.listening import by_length, device_of, heard_samples, padded
from eele.judges.material import Material, training_material
from eele.judges.recordings import score_on_recordings
from eele.paths import StudyPaths
from eele.ser.adaptation import Adaptation
from eele.ser.encoders import SAMPLE_RATE_HZ, encoder_facts, heard_utterances, load_encoder
from eele.ser.labelled import LabelledSet
from eele.ser.model import Recogniser
from eele.ser.recordings import Recordings
from eele.ser.stored import (
    FACTS,
    HEARD,
    WEIGHTS,
    load_recogniser,
    recogniser_facts,
    save_recogniser,
)
from eele.ser.training import VERSION, Fit, Progress, fit_recogniser, predict
from eele.training import finished
from eele.training.curves import write_curves
from eele.training.devices import make_fabric

if TYPE_CHECKING:
    import pandas as pd

OUTPUTS = (WEIGHTS, FACTS, HEARD, rules.HEARD, "report.json", "training.json", "curves.csv")
_TINY = 1e-12


class EncoderJudge:
    """A trained judge; see `eele.judges.Judge`."""

    def __init__(
        self, recogniser: Recogniser, config: EncoderJudgeConfig, temperature: float, device: str
    ) -> None:
        self.recogniser = recogniser.to(device).eval()
        self.classes = recogniser.classes
        self.temperature = temperature
        self._config, self._device = config, device

    def probabilities(
        self,
        samples: Sequence[np.ndarray],
        sample_rate_hz: int,
        phone_counts: Sequence[int],
        speakers: Sequence[str],
    ) -> np.ndarray:
        """Emotion probabilities (n, classes) of any speakers; phone counts are not looked at."""
        training = self._config.training
        heard = heard_samples(samples, sample_rate_hz, SAMPLE_RATE_HZ, training.crop_s)
        out = np.zeros((len(heard), len(self.classes)))
        for positions in by_length([len(signal) for signal in heard], training.batch_size):
            batch, lengths = padded([heard[position] for position in positions])
            found = self.recogniser.probabilities(batch.to(self._device), lengths.to(self._device))
            out[positions] = found.double().cpu().numpy()
        return tempered(out, self.temperature)


def tempered(found: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (n, classes) -> the same with their log odds divided by `temperature`."""
    return probabilities(np.log(np.maximum(found, _TINY)), temperature)


def train(study: StudyConfig, paths: StudyPaths, name: str) -> None:
    """Train the judge and write judges/<name>/: weights, report.json, heard.json, training.json, curves.csv.

    Raises DataError when the recordings do not suffice or break a rule, CheckpointError when the encoder
    is not prepared, Interrupted when told to stop: the next run goes on.
    """
    started = time.monotonic()
    torch.set_num_threads(study.runtime.threads)
    config = study.evaluation.encoder_judges[name]
    encoder_folder = paths.encoder(config.encoder)
    material, heard = training_material(study, paths, name, heard_utterances(encoder_folder))
    classes = ("neutral", *study.emotions)
    train_set, validation_set, test_set = _sets(study, paths, config, material)
    encoder = load_encoder(study.encoders[config.encoder], encoder_folder)
    torch.manual_seed(config.seed)
    recogniser = Recogniser(encoder, classes, config.training.head_size, config.training.dropout)
    adaptation = Adaptation(recogniser, config.adaptation, config.training)
    parameters = adaptation.parameters
    run = Fit(
        config.training,
        config.seed,
        identity=io.hash_json(
            [
                VERSION,
                encoder_facts(encoder_folder)["sha256"],
                config.model_dump(mode="json"),
                classes,
                [s.identity for s in (train_set, validation_set, test_set) if s is not None],
            ]
        ),
        checkpoint=paths.checkpoints / f"judge-{name}.pt",
        label=f"judge {name}",
    )
    folder = paths.judge(name)
    outputs = [folder / file for file in OUTPUTS]
    if finished.take_back(run, outputs):
        return
    fabric = make_fabric(study.runtime)
    progress = fit_recogniser(
        fabric, recogniser, adaptation, train_set, validation_set, run, study.runtime
    )
    size = config.training.batch_size
    chosen = predict(fabric, recogniser, validation_set, size)
    temperature = best_temperature(np.log(np.maximum(chosen, _TINY)), validation_set.labels)
    result = np.zeros((0, len(classes)))
    if test_set is not None:
        found = tempered(predict(fabric, recogniser, test_set, size), temperature)
        place = {utterance: row for row, utterance in enumerate(test_set.ids)}
        result = found[[place[utterance] for utterance in material.test["utterance_id"]]]
    save_recogniser(
        folder,
        recogniser,
        adaptation,
        config.adaptation,
        config.training,
        encoder_folder,
        [*train_set.ids, *validation_set.ids],
        judge=name,
        temperature=temperature,
    )
    rules.declare(folder, name, heard)
    write_curves(folder / "curves.csv", progress.curves)
    facts = _facts(progress, parameters, train_set, validation_set)
    io.write_json(folder / "training.json", {**facts, "stage_seconds": time.monotonic() - started})
    io.write_json(
        folder / "report.json",
        {
            "judge": name,
            "kind": "encoder",
            "encoder": config.encoder,
            "method": _method(config),
            "classes": list(classes),
            **facts,
            "temperature": temperature,
            "heard_unlabelled_by_encoder": len(heard.unlabelled),
            **score_on_recordings(study, classes, material.test, result),
            "trained_on": list(heard.corpora),
            "warnings": _warnings(material, validation_set),
        },
    )
    finished.keep(run, outputs)


def load(study: StudyConfig, paths: StudyPaths, name: str) -> EncoderJudge:
    """The trained judge. Raises DataError or CheckpointError when it is absent or of another config."""
    config = study.evaluation.encoder_judges[name]
    folder = paths.judge(name)
    facts = recogniser_facts(folder)
    expected = {
        "classes": ["neutral", *study.emotions],
        "method": config.adaptation.model_dump(mode="json"),
        "training": config.training.model_dump(mode="json"),
    }
    for key, value in expected.items():
        if facts[key] != value:
            raise DataError(
                f"{folder / FACTS}: {key} is {facts[key]}, this study has {value}; "
                "run the rule train_judge again"
            )
    recogniser = load_recogniser(folder, paths.encoder(config.encoder))
    return EncoderJudge(recogniser, config, facts["temperature"], str(device_of(study.runtime)))


def _sets(
    study: StudyConfig, paths: StudyPaths, config: EncoderJudgeConfig, material: Material
) -> tuple[LabelledSet, LabelledSet, LabelledSet | None]:
    """Training, validation and test utterances; no test set where there is no test recording."""
    recordings = [
        Recordings.of(paths.root, table, study.runtime.cache_mb)
        for table in (material.train, material.test)
    ]
    classes = ("neutral", *study.emotions)

    def some(table: pd.DataFrame, which: int) -> LabelledSet:
        labels = dict(zip(table["utterance_id"], table["emotion"], strict=True))
        return LabelledSet(recordings[which], labels, classes, config.training)

    validates = _validates(material.train)
    test = None if material.test.empty else some(material.test, 1)
    return some(material.train[~validates], 0), some(material.train[validates], 0), test


def _validates(train: pd.DataFrame) -> pd.Series:
    """Which of the judge's recordings choose the epoch: the validation sentences, else every fifth one."""
    chosen = train["split"] == "validation"
    if chosen.any():
        return chosen
    sentences = sorted(set(train["sentence"]))
    if len(sentences) < 2:
        raise DataError(
            "the recordings hold one training sentence only; a judge made of an encoder needs two"
        )
    return train["sentence"].isin(sentences[::5])


def _method(config: EncoderJudgeConfig) -> str:
    method = config.adaptation
    if not method.sites:
        return method.method
    return f"{method.method}, {' and '.join(method.sites)}, size {method.size}"


def _facts(
    progress: Progress,
    parameters: dict[str, int],
    train_set: LabelledSet,
    validation_set: LabelledSet,
) -> dict[str, Any]:
    return {
        "trainable_parameters": sum(parameters.values()),
        "best_epoch": progress.best_epoch,
        "validation_uar": progress.best_score,
        "steps": progress.step,
        "train_seconds": progress.seconds,
        "n_train": len(train_set),
        "n_validation": len(validation_set),
    }


def _warnings(material: Material, validation_set: LabelledSet) -> list[str]:
    found = []
    if not (material.train["split"] == "validation").any():
        found.append("no validation sentence: every fifth training sentence chose the epoch")
    if len(set(validation_set.labels.tolist())) < len(set(material.train["emotion"])):
        found.append("an emotion has no recording among those that chose the epoch")
    if material.test.empty:
        found.append("no test recording: the judge's own score is unknown")
    return found
