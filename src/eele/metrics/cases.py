"""From a cell's speech folder to cases: what was said, and what it is held against."""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from eele import io
from eele.cells import Cell
from eele.config.models import StudyConfig
from eele.errors import DataError
from eele.features import FeatureStore
from eele.features.extract import analyse
from eele.metrics.base import NotScoredError
from eele.metrics.speech import Prosody, Speech, mean_prosody
from eele.paths import StudyPaths
from eele.vocabulary import NOT_APPLICABLE

log = logging.getLogger(__name__)

_SPEECH_COLUMNS = {"file", "kind", "utterance_id", "speaker", "phones", "durations"}


@dataclass
class Item:
    """One test utterance of a cell. `failure` says why `samples` and `speech` are missing."""

    utterance_id: str
    speaker: str
    sentence: str
    corpus: str
    samples: np.ndarray | None = None
    speech: Speech | None = None
    failure: str = ""


class Recordings:
    """The study's recordings as the metrics see them, from the features; nothing is read twice."""

    def __init__(self, study: StudyConfig, paths: StudyPaths) -> None:
        import pandas as pd

        self.study = study
        self.store = FeatureStore(paths)
        self._paths = paths
        self._phones: list[str] = io.read_json(paths.phones)
        self._speech: dict[str, Speech | None] = {}
        if not paths.manifest.exists():
            raise DataError(f"{paths.manifest} is missing; run the rule assemble_manifest first")
        manifest = pd.read_csv(paths.manifest, dtype=str, keep_default_na=False)
        self.manifest: dict[str, dict[str, Any]] = {
            str(row["utterance_id"]): {str(key): value for key, value in row.items()}
            for row in manifest.to_dict("records")
        }
        self._comparable: dict[str, bool] = {}

    def speech(self, utterance_id: str) -> Speech | None:
        """The recording; None (with a warning) where nothing is spoken in it."""
        if utterance_id not in self._speech:
            u = self.store.get(utterance_id)
            try:
                self._speech[utterance_id] = Speech(
                    np.asarray(u.mel),
                    np.asarray(u.f0_hz),
                    np.asarray(u.energy_db),
                    [self._phones[phone] for phone in u.phones],
                    np.asarray(u.durations),
                    self.study.audio.hop_s,
                )
            except NotScoredError as error:
                log.warning("recording %s: %s", utterance_id, error)
                self._speech[utterance_id] = None
        return self._speech[utterance_id]

    def neutral(self, speaker: str) -> Prosody | None:
        """Mean prosody of the speaker's neutral test recordings; of neutral training recordings where
        there are none; None where the speaker has no neutral speech."""
        index = self.store.index
        mine = index[(index["speaker"] == speaker) & (index["emotion"] == "neutral")]
        for split in ("test", "train"):
            several = [self.speech(str(i)) for i in mine.index[mine["split"] == split]]
            prosody = mean_prosody([speech.prosody for speech in several if speech])
            if prosody:
                return prosody
        return None

    def level_comparable(self, corpus: str) -> bool:
        """Whether levels of the corpus mean anything (corpora/<id>/source.json)."""
        if corpus not in self._comparable:
            source = self._paths.corpus(corpus) / "source.json"
            facts = io.read_json(source) if source.exists() else {}
            self._comparable[corpus] = bool(facts.get("energy_comparable", True))
        return self._comparable[corpus]


def cell_items(study: StudyConfig, paths: StudyPaths, cell: Cell, of: Recordings) -> list[Item]:
    """Every test utterance the cell has to speak, in fixed order, with its sound or the reason it has none.

    Raises DataError when speech.csv is missing, damaged or names utterances the study does not test.
    """
    from eele.training.select import cell_ids

    expected = cell_ids(study, of.store.index, cell.emotion, "test")
    folder = paths.cell(cell) / "speech"
    return spoken_items(study, paths, folder, expected, of, f"emotion '{cell.emotion}'")


def spoken_items(
    study: StudyConfig,
    paths: StudyPaths,
    folder: Path,
    expected: Sequence[str],
    of: Recordings,
    what: str,
) -> list[Item]:
    """The utterances that a folder of speech has to hold, in their order; `what` they are stands in messages.

    Raises DataError when speech.csv is missing, damaged or names other utterances.
    """
    lines = {row["utterance_id"]: row for row in _read_lines(folder) if row["kind"] == "test"}
    foreign = sorted(set(lines) - set(expected))
    if foreign:
        raise DataError(
            f"{folder / 'speech.csv'}: '{foreign[0]}' is no test utterance of {what} "
            f"({len(foreign)} such); delete the folder and synthesise the cell again"
        )
    items = []
    for utterance_id in expected:
        row = of.manifest.get(utterance_id)
        if row is None:
            raise DataError(
                f"{paths.manifest}: '{utterance_id}' of the features is missing; extract features again"
            )
        item = Item(utterance_id, row["speaker"], row["sentence"], row["corpus"])
        if utterance_id in lines:
            _listen(study, folder, lines[utterance_id], item)
        else:
            item.failure = "not in speech.csv"
        items.append(item)
    return items


def neutral_counterparts(
    study: StudyConfig, paths: StudyPaths, cell: Cell, items: list[Item], of: Recordings
) -> dict[str, Prosody | None]:
    """Prosody of each utterance's neutral counterpart, by utterance_id.

    Of `none`: itself. Of other synthetic speech: what `none` says for the same utterance (missing where that
    file cannot be read). Of recordings and copies: the mean of the speaker's neutral recordings.
    """
    if not cell.spoken:
        means = {speaker: of.neutral(speaker) for speaker in {item.speaker for item in items}}
        return {item.utterance_id: means[item.speaker] for item in items}
    if cell.method == "none":
        return {item.utterance_id: item.speech.prosody for item in items if item.speech}
    plain = replace(cell, method="none", scheme=NOT_APPLICABLE, rank=0, seed=NOT_APPLICABLE)
    return {
        item.utterance_id: item.speech.prosody
        for item in cell_items(study, paths, plain, of)
        if item.speech
    }


def _read_lines(folder: Path) -> list[dict[str, str]]:
    file = folder / "speech.csv"
    if not file.exists():
        raise DataError(f"{file} is missing; synthesise the cell first")
    try:
        with open(file, newline="", encoding="utf-8") as handle:
            reader = csv.DictReader(handle)
            rows = list(reader)
            missing = sorted(_SPEECH_COLUMNS - set(reader.fieldnames or ()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{file}: not a readable table ({error}); synthesise the cell again"
        ) from error
    if missing:
        raise DataError(f"{file}: column {missing[0]} is missing; synthesise the cell again")
    return rows


def _listen(study: StudyConfig, folder: Path, line: dict[str, str], item: Item) -> None:
    """Fill `item` from its file, or say why not."""
    import soundfile

    try:
        samples, rate = soundfile.read(folder / line["file"], dtype="float32")
        if samples.ndim != 1 or rate != study.audio.sample_rate_hz:
            raise NotScoredError(
                f"the file has shape {samples.shape} at {rate} Hz, expected one channel at "
                f"{study.audio.sample_rate_hz} Hz"
            )
        try:
            durations = np.array([int(n) for n in line["durations"].split()], dtype=int)
        except ValueError:
            raise NotScoredError("durations in speech.csv are not whole numbers") from None
        speech = Speech(
            *analyse(samples, study), line["phones"].split(), durations, study.audio.hop_s
        )
    except (OSError, soundfile.SoundFileError, DataError, NotScoredError) as error:
        item.failure = f"{line['file']}: {error}"
        return
    item.samples, item.speech = samples, speech
