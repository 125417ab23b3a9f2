"""What the recognisers of a study of recognition put out, read and checked: one table each of runs and predictions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from eele.config.models import StudyConfig
from eele.config.recognition import RecognitionConfig, Target
from eele.errors import DataError
from eele.io import read_json
from eele.paths import StudyPaths
from eele.reporting.collect import method_words as adapter_words
from eele.reporting.collect import read_table
from eele.ser.cells import AXES, RecognitionCell, recognition_of
from eele.ser.dividing import FOLDS, fold_names
from eele.ser.encoders import encoder_facts
from eele.ser.scores import SCORES
from eele.ser.sweep import recognisers

_SCORES = ("uar", "uar_low", "uar_high", "accuracy", "n")
_SCORES_OF_PHONES = ("per", "per_low", "per_high", "n")
_TRAINING = (
    *("epochs", "best_epoch", "steps", "train_seconds"),
    *("encoder_parameters", "head_parameters", "trainable_parameters", "adapter_bytes"),
    *("utterances", "validation_utterances", "test_utterances", "test_heard_by_encoder"),
)
_PREDICTED = ("utterance_id", "label", "predicted", "speaker", "gender", "sentence")
_PREDICTED_PHONES = (*_PREDICTED, "phones", "errors")

#: Columns of `Recognised.runs`. `score` names the score that counts, `value` is it.
RUNS = (
    *AXES,
    *("target", "score", "value", "validation_value", "n_set_aside"),
    *_SCORES,
    *("epochs", "best_epoch", "validation_uar"),
    *_TRAINING[2:],
)


def method_words(method: str) -> str:
    """A method as it is shown."""
    return "head only" if method == "head" else adapter_words(method)


class System(NamedTuple):
    """One way to recognise on one testbed: what a row of the main table is about."""

    testbed: str
    encoder: str
    method: str
    sites: str
    size: int

    @property
    def way(self) -> tuple[str, str, int]:
        """Method, sites and size, which are compared on one encoder and testbed."""
        return self.method, self.sites, self.size

    @property
    def label(self) -> str:
        """`LoRA 16 (feed forward, attention)`."""
        name = method_words(self.method)
        if self.sites == "-":
            return name
        size = f" {self.size}" * bool(self.size)
        return f"{name}{size} ({self.sites.replace('_', ' ').replace('+', ', ')})"


KEYS = list(System._fields)


def systems_of(table: pd.DataFrame) -> list[System]:
    """The systems of a table with the columns `KEYS`, each once, in its order."""
    rows = table[KEYS].drop_duplicates()
    return [
        System(str(testbed), str(encoder), str(method), str(sites), int(size))
        for testbed, encoder, method, sites, size in rows.to_numpy().tolist()
    ]


def is_of(table: pd.DataFrame, system: System) -> pd.Series:
    """Which rows of a table with the columns `KEYS` are the system's."""
    return (table[KEYS] == pd.Series(system._asdict())).all(axis=1)


@dataclass(frozen=True)
class Recognised:
    """Everything recognised in a study.

    `runs`: one row per recogniser (`RUNS`). `predictions`: one row per recogniser and test utterance. `folds`:
    testbed -> its folds.csv. `classes`: testbed -> emotions or speakers, none where phones are recognised.
    """

    study: StudyConfig
    paths: StudyPaths
    runs: pd.DataFrame
    predictions: pd.DataFrame
    folds: dict[str, pd.DataFrame]
    classes: dict[str, tuple[str, ...]]

    @property
    def config(self) -> RecognitionConfig:
        return recognition_of(self.study)

    def target(self, testbed: str) -> Target:
        """What is recognised there."""
        return self.config.testbeds[testbed].target

    @cached_property
    def systems(self) -> list[System]:
        """In the order of the config."""
        return systems_of(self.runs)

    @cached_property
    def _predicted(self) -> dict[System, pd.DataFrame]:
        return {
            system: self.predictions[is_of(self.predictions, system)].reset_index(drop=True)
            for system in self.systems
        }

    def predicted(self, system: System) -> pd.DataFrame:
        """Predictions of all folds and seeds."""
        return self._predicted[system]

    def of(self, system: System) -> pd.DataFrame:
        """Rows of `runs`."""
        return self.runs[is_of(self.runs, system)]

    def head_of(self, system: System) -> System | None:
        """Head only on the same testbed and encoder; None where it is not compared."""
        head = System(system.testbed, system.encoder, "head", "-", 0)
        return head if head in self._predicted else None

    def model_parameters(self, system: System) -> int:
        """Weights of the whole recogniser, trained or not, without the adapter."""
        whole = int(encoder_facts(self.paths.encoder(system.encoder))["parameters"])
        return whole + int(self.of(system)["head_parameters"].iloc[0])

    def test_utterances(self, testbed: str) -> int:
        """Test utterances of all folds of a testbed, for each seed anew."""
        rows = self.folds[testbed]
        return int(rows.loc[rows["part"] == "test", "utterances"].sum()) * len(self.config.seeds)


def load(study: StudyConfig, paths: StudyPaths) -> Recognised:
    """Everything the study's recognisers put out; DataError naming a missing or damaged file."""
    testbeds = recognition_of(study).testbeds
    names = {testbed: fold_names(paths.testbed(testbed)) for testbed in testbeds}
    runs, predictions, classes = [], [], {}
    for cell in recognisers(study, names):
        folder = paths.recognition(cell.path)
        target = testbeds[cell.testbed].target
        score = SCORES[target]
        phones = target == "phones"
        scores = _scores(
            folder / "scores.json", cell, _SCORES_OF_PHONES if phones else (*_SCORES, "classes")
        )
        keys = (*_TRAINING, f"validation_{score}", *("n_set_aside",) * phones)
        training = _values(folder / "training.json", keys)
        facts = {"target": target, "score": score, "value": scores[score]}
        facts["validation_value"] = training[f"validation_{score}"]
        facts["n_set_aside"] = training.get("n_set_aside", 0)
        runs.append({**cell.as_dict(), **facts, **scores, **training})
        columns = list(_PREDICTED_PHONES if phones else _PREDICTED)
        table = read_table(folder / "predictions.csv", tuple(columns))[columns]
        # An unknown gender is an empty field, and so is where no phone was heard.
        empty = {key: table[key].fillna("") for key in ("gender", "predicted")}
        predictions.append(table.assign(**empty, **cell.as_dict()))
        classes[cell.testbed] = tuple(scores.get("classes", ()))
    return Recognised(
        study,
        paths,
        pd.DataFrame(runs, columns=list(RUNS)),
        pd.concat(predictions, ignore_index=True),
        {
            name: read_table(paths.testbed(name) / FOLDS, ("fold", "part", "utterances"))
            for name in testbeds
        },
        classes,
    )


def _scores(file: Path, cell: RecognitionCell, keys: tuple[str, ...]) -> dict[str, Any]:
    scores = _values(file, ("cell", *keys))
    if scores["cell"] != cell.as_dict():
        raise DataError(
            f"{file}: holds the scores of another recogniser ({scores['cell']}); delete it and run again"
        )
    return scores


def _values(file: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """These keys of a JSON file; null is a value."""
    if not file.is_file():
        raise DataError(f"{file} is missing; run the stage that writes it (snakemake {file})")
    content = read_json(file)
    absent = [key for key in keys if key not in content]
    if absent:
        raise DataError(f"{file}: {', '.join(absent)} absent; delete it and run again")
    return {key: content[key] for key in keys}
