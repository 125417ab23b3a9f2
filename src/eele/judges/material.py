"""Which recordings a judge learns from and is tested on; nothing else may reach its training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eele import io
from eele.config import StudyConfig
from eele.errors import DataError
from eele.features import FeatureStore
from eele.features.phones import NOT_SPOKEN
from eele.judges import rules
from eele.paths import StudyPaths

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Material:
    """Recordings of a judge, by row: utterance_id, path, speaker, emotion, sentence, corpus, phone_count.

    `train` holds the training and validation sentences, `test` the test sentences, both of speakers with
    emotional speech, in neutral and the study's emotions. `level_comparable` is false when a corpus in
    them was recorded or normalised so that levels cannot be compared.
    """

    train: pd.DataFrame
    test: pd.DataFrame
    level_comparable: bool


def judge_material(study: StudyConfig, paths: StudyPaths) -> Material:
    """The recordings of the study's judges, from manifest.csv and the aligned utterances in the features.

    Raises DataError when a file is absent.
    """
    import pandas as pd

    if not paths.manifest.exists():
        raise DataError(f"{paths.manifest} is missing; run the rule assemble_manifest first")
    manifest = pd.read_csv(
        paths.manifest, dtype={"utterance_id": str, "speaker": str}, keep_default_na=False
    )
    store = FeatureStore(paths)
    classes = ("neutral", *study.emotions)
    table = manifest[
        manifest["emotion"].isin(classes) & manifest["utterance_id"].isin(list(store))
    ].reset_index(drop=True)
    seen = table["split"].isin(["train", "validation"])
    emotional = sorted(set(table.loc[seen & (table["emotion"] != "neutral"), "speaker"]))
    table = table[table["speaker"].isin(emotional)].reset_index(drop=True)
    unspoken = [
        index
        for index, phone in enumerate(io.read_json(paths.phones))
        if phone in NOT_SPOKEN and phone != "spn"
    ]
    table["phone_count"] = [
        int((~np.isin(store.get(utterance_id).phones, unspoken)).sum())
        for utterance_id in table["utterance_id"]
    ]
    train = table[table["split"].isin(["train", "validation"])].reset_index(drop=True)
    test = table[table["split"] == "test"].reset_index(drop=True)
    return Material(train, test, _level_comparable(paths, sorted(set(table["corpus"].astype(str)))))


def training_material(
    study: StudyConfig, paths: StudyPaths, judge: str, unlabelled: Sequence[str] = ()
) -> tuple[Material, rules.Heard]:
    """The recordings that the judge `judge` may learn from, and what it has then heard.

    `unlabelled`: ids of what its encoder heard. Raises DataError when a file is absent, when neutral or an
    emotion of the study has no training recording, or when a rule of `eele.judges.rules` is broken.
    """
    material = judge_material(study, paths)
    train = material.train
    rules.refuse_emotions(judge, set(train["emotion"]), study)
    heard = rules.Heard(
        tuple(sorted(set(train["corpus"].astype(str)))),
        tuple(sorted(train["utterance_id"])),
        tuple(sorted(unlabelled)),
    )
    rules.check(study, paths, judge, heard)
    rules.refuse_synthetic(paths, judge, heard)
    return material, heard


def _level_comparable(paths: StudyPaths, corpora: list[str]) -> bool:
    for corpus in corpora:
        source = paths.corpus(corpus) / "source.json"
        if source.exists() and not io.read_json(source).get("energy_comparable", True):
            return False
    return True
