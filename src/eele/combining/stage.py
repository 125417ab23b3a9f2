"""The stage `combine`: the points of a mixture are spoken, heard and measured, one after another."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch

from eele import provenance
from eele.cells import Cell
from eele.combining.measuring import Measuring
from eele.combining.mixtures import NEUTRAL, Mixture, Point
from eele.combining.plugging import plug_cells, set_weights
from eele.combining.summary import point_rows
from eele.config.models import StudyConfig
from eele.errors import DataError
from eele.io import atomic_folder, hash_json, sha256, write_csv
from eele.metrics.cases import Recordings
from eele.neutral import WEIGHTS, NeutralModel
from eele.paths import StudyPaths
from eele.peft.stored import ADAPTER_WEIGHTS
from eele.synthesis import Line, Synthesiser, Utterance, test_lines, write_speech
from eele.text.lexicon import Lexicon
from eele.training import finished, select
from eele.workflow import lineages, stage_parameters, trains_vocoder

log = logging.getLogger(__name__)

_TEXTS = dict.fromkeys(("utterance_id", "speaker", "sentence"), str)


@dataclass(frozen=True)
class _Run:
    """One point, as `eele.training.finished` knows what has been made."""

    identity: str
    checkpoint: Path


def combine(study: StudyConfig, paths: StudyPaths, mixture: Mixture) -> None:
    """Write combining/<name>/: speech and utterances of every point, points.csv, provenance.json.

    The neutral model is the first point: all others are held against it. A point that an earlier job has
    finished is taken as it is. Raises DataError without a test sentence or where weights or a judge are
    missing, CheckpointError where an adapter was trained on another neutral model.
    """
    torch.set_num_threads(study.runtime.threads)
    for file in _files(study, paths, mixture):
        if not file.is_file():
            raise DataError(f"{file} is missing; run: snakemake {file}")
    of = Recordings(study, paths)
    lines = mixture_lines(study, mixture, of)
    folder = paths.combining(mixture.name)
    voice = _Voice(study, paths, mixture, lines)
    expected = [line.utterance_id for line in lines]
    measuring = Measuring(study, paths, mixture, expected, folder / NEUTRAL, of)
    made_of = _made_of(study, paths, mixture, lines)
    points = (Point(NEUTRAL, None, ()), *mixture.points)
    heard = {}
    for point in points:
        place = folder / point.name
        files = [
            place / name for name in (*(i.file for i in lines), "speech.csv", "utterances.csv")
        ]
        run = _Run(
            hash_json([made_of, point.name, point.weights]),
            paths.checkpoints / folder.relative_to(paths.root) / point.name,
        )
        if not finished.take_back(run, files):
            with atomic_folder(place) as temporary:
                write_speech(study, temporary, lines, voice.say(point))
                write_csv(temporary / "utterances.csv", measuring.table(point, temporary))
            finished.keep(run, files)
        heard[point.name] = _read(place / "utterances.csv")
        log.info("point %s of %s", point.name, mixture.name)
    _forget_others(folder, [point.name for point in points])
    for point, table in zip(points, heard.values(), strict=True):
        table.insert(0, "point", point.name)
    write_csv(folder / "utterances.csv", pd.concat(heard.values(), ignore_index=True))
    write_csv(folder / "points.csv", point_rows(study, mixture, points, heard))
    provenance.write(
        folder / "provenance.json",
        study,
        stage="combine",
        inputs=_files(study, paths, mixture),
        extra={"cells": [cell.as_dict() for cell in mixture.cells], "axis": mixture.axis},
    )


def mixture_lines(study: StudyConfig, mixture: Mixture, of: Recordings) -> list[Line]:
    """The test sentences of the mixture's emotions, by each speaker, every sentence once."""
    chosen: dict[tuple[str, str], str] = {}
    for emotion in mixture.emotions:
        for name in select.cell_ids(study, of.store.index, emotion, "test"):
            row = of.manifest[name]
            chosen.setdefault((row["speaker"], row["sentence"]), name)
    if not chosen:
        raise DataError(
            f"no test utterance of {' or '.join(mixture.emotions)} by the adaptation speakers; see manifest.csv, "
            "rejected.csv and alignment/alignment.csv"
        )
    return test_lines(sorted(chosen.values()), of.manifest)


class _Voice:
    """The neutral model, alone and with the mixture's cells plugged in; loaded when something is to be said."""

    def __init__(
        self, study: StudyConfig, paths: StudyPaths, mixture: Mixture, lines: Sequence[Line]
    ) -> None:
        self._study, self._paths, self._cells = study, paths, mixture.cells
        self._lines = lines

    def say(self, point: Point) -> list[Utterance]:
        """Every line, as the point says it."""
        if point.name == NEUTRAL:
            synthesiser = self._synthesiser(())
        else:
            synthesiser = self._plugged
            set_weights(synthesiser.model, self._cells, point.weights)
        return synthesiser.say(self._phones, [line.speaker for line in self._lines])

    @cached_property
    def _plugged(self) -> Synthesiser:
        return self._synthesiser(self._cells)

    @cached_property
    def _phones(self) -> list[list[str]]:
        lexicon = Lexicon.load(self._paths, self._study)
        return [lexicon.phones_of(line.text, line.language) for line in self._lines]

    def _synthesiser(self, cells: Sequence[Cell]) -> Synthesiser:
        neutral = NeutralModel.open(self._paths.neutral)
        model = neutral.load(self._paths.neutral)
        plug_cells(model, neutral, self._paths, cells)
        return Synthesiser(self._study, self._paths, neutral, model)


def _made_of(study: StudyConfig, paths: StudyPaths, mixture: Mixture, lines: Sequence[Line]) -> str:
    """Digest of everything that shapes a point's speech and what is heard in it, but for its weights."""
    judges = [
        file
        for judge in study.evaluation.judges
        for file in sorted(paths.judge(judge).rglob("*"))
        if file.is_file()
    ]
    return hash_json(
        [
            stage_parameters(study, "combine"),
            lineages(study)["index_features"],
            [asdict(line) for line in lines],
            [sha256(file) for file in (*_files(study, paths, mixture), paths.lexicon, *judges)],
        ]
    )


def _files(study: StudyConfig, paths: StudyPaths, mixture: Mixture) -> list[Path]:
    """Weights that speech and scores come from."""
    return [
        paths.neutral / WEIGHTS,
        *(paths.cell(cell) / "adapter" / ADAPTER_WEIGHTS for cell in mixture.cells),
        *([paths.vocoder / WEIGHTS] if trains_vocoder(study) else []),
        paths.recogniser / WEIGHTS,
    ]


def _forget_others(folder: Path, names: Sequence[str]) -> None:
    """Remove points of an earlier config."""
    for place in folder.iterdir():
        if place.is_dir() and place.name not in names:
            shutil.rmtree(place)


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=_TEXTS, float_precision="round_trip")
