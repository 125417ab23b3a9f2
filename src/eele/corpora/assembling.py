"""The study's one manifest: all cleaned corpora, sentence numbers, splits."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from eele.config.models import StudyConfig
from eele.corpora.cleaning import CLEAN_COLUMNS
from eele.corpora.sentences import sentence_key
from eele.corpora.splits import Splits, Spoken, draw_splits, number_sentences
from eele.corpora.tables import read_table, write_table
from eele.corpora.verdict import REJECTED_COLUMNS
from eele.errors import ConfigError, DataError
from eele.io import write_json
from eele.paths import StudyPaths
from eele.vocabulary import SPLITS

_LOG = logging.getLogger(__name__)

MANIFEST_COLUMNS = (
    "utterance_id",
    "path",
    "speaker",
    "language",
    "emotion",
    "text",
    "duration_s",
    "split",
    "corpus",
    "sentence",
    "leading_cut_s",
    "gain_db",
    "sha256",
    "session",
    "partition",
    "gender",
)

Row = dict[str, str]


def assemble_manifest(study: StudyConfig, paths: StudyPaths) -> None:
    """Unite the cleaned corpora: manifest.csv, rejected.csv and splits.json (what was held out).

    Raises ConfigError for an emotion or a speaker of the study that no accepted utterance has, and
    DataError for ids that two corpora share, too few sentences to split, or a voice left out of pre-training
    without neutral speech to train and test on.
    """
    rows: list[Row] = []
    rejected: list[Row] = []
    for corpus in study.corpora:
        folder = paths.corpus(corpus.id)
        for name in ("clean.csv", "rejected.csv"):
            if not (folder / name).is_file():
                raise DataError(f"{folder / name} is missing; clean the corpus {corpus.id} first")
        rows += [
            {**row, "corpus": corpus.id}
            for _, row in read_table(folder / "clean.csv", CLEAN_COLUMNS)
        ]
        rejected += [row for _, row in read_table(folder / "rejected.csv", REJECTED_COLUMNS)]
    _refuse_shared_ids(rows)
    _check_study(study, rows)

    # A recording without a text is a sentence of its own; no text's key has a mark in it.
    keys = [sentence_key(row["text"]) or f"?{row['utterance_id']}" for row in rows]
    numbers = number_sentences(keys)
    spoken = [
        Spoken(key, row["speaker"], row["emotion"]) for key, row in zip(keys, rows, strict=True)
    ]
    splits = draw_splits(spoken, study.emotions, study.splits, study.adaptation.speakers)
    held_out = {key: splits.of(key) for key in numbers}
    for row, key in zip(rows, keys, strict=True):
        row["split"] = held_out[key]
        row["sentence"] = str(numbers[key])
    _check_new_voices(study, rows)
    table = [{column: row[column] for column in MANIFEST_COLUMNS} for row in rows]
    write_table(paths.manifest, MANIFEST_COLUMNS, table)
    write_table(paths.rejected, REJECTED_COLUMNS, rejected)
    report = _report(splits, numbers, rows)
    write_json(paths.root / "splits.json", report)
    for note in splits.notes:
        _LOG.warning("%s", note)
    _LOG.info(
        "%d utterances of %d sentences: %s",
        len(rows),
        len(numbers),
        ", ".join(f"{split} {report['utterances'][split]}" for split in SPLITS),
    )


def _refuse_shared_ids(rows: list[Row]) -> None:
    corpora: dict[str, str] = {}
    for row in rows:
        other = corpora.setdefault(row["utterance_id"], row["corpus"])
        if other != row["corpus"]:
            raise DataError(
                f"utterance {row['utterance_id']} is in the corpora {other} and {row['corpus']}; "
                "give one of them another `name`"
            )
    voices: dict[str, str] = {}
    for row in rows:
        other = voices.setdefault(row["speaker"], row["corpus"])
        if other != row["corpus"]:
            raise DataError(
                f"speaker {row['speaker']} is in the corpora {other} and {row['corpus']}; give one "
                "of them another `name`"
            )


def _check_study(study: StudyConfig, rows: list[Row]) -> None:
    speakers = study.adaptation.speakers
    named = {
        "adaptation.speakers": speakers or (),
        "pretraining.leave_out": study.pretraining.leave_out,
    }
    known = sorted({row["speaker"] for row in rows})
    for key, some in named.items():
        unknown = [speaker for speaker in some if speaker not in known]
        if unknown:
            raise ConfigError(
                f"{key}: {', '.join(unknown)} not in the corpora; they have: {', '.join(known)}"
            )
    silent = sorted({row["corpus"] for row in rows if not row["text"]})
    if silent and study.recognition is None:
        raise ConfigError(
            f"corpora: {', '.join(silent)}: comes without texts, so nothing can learn to speak from it; "
            "it serves studies of recognition (key `recognition`)"
        )
    counts = Counter(
        row["emotion"] for row in rows if speakers is None or row["speaker"] in speakers
    )
    absent = [emotion for emotion in study.emotions if not counts[emotion]]
    if absent:
        whose = f"the speakers {', '.join(speakers)} have" if speakers else "the corpora have"
        found = ", ".join(f"{emotion} ({n})" for emotion, n in sorted(counts.items()))
        raise ConfigError(
            f"emotions: no utterance in {', '.join(absent)}; {whose}: {found or 'none'}"
        )


def _check_new_voices(study: StudyConfig, rows: list[Row]) -> None:
    """Voices left out of pre-training have neutral speech to adapt to and to be tested on, and leave some to it.

    The manifest is the same whoever is left out: it is only told here, before anything is aligned.
    """
    new = study.pretraining.leave_out
    spoken = {(r["speaker"], r["split"]) for r in rows if r["emotion"] == "neutral"}
    for split in ("train", "test"):
        silent = [voice for voice in new if (voice, split) not in spoken]
        if silent:
            raise DataError(
                f"pretraining.leave_out: {', '.join(silent)} without a neutral utterance in the {split} split; such "
                "a voice cannot be adapted to and tested"
            )
    if new and not any(split == "train" and voice not in new for voice, split in spoken):
        raise ConfigError(
            "pretraining.leave_out: no other speaker has neutral training speech, so there is nothing to pre-train "
            "on; leave fewer out"
        )


def _report(splits: Splits, numbers: dict[str, int], rows: list[Row]) -> dict[str, Any]:
    counts = Counter(row["split"] for row in rows)
    cells = Counter((row["emotion"], row["split"]) for row in rows)
    return {
        "sentences": len(numbers),
        "emotional_sentences": splits.n_emotional_sentences,
        "test_sentences": sorted(numbers[key] for key in splits.test),
        "validation_sentences": sorted(numbers[key] for key in splits.validation),
        "utterances": {split: counts[split] for split in SPLITS},
        "utterances_by_emotion": {
            emotion: {split: cells[emotion, split] for split in SPLITS}
            for emotion in sorted({row["emotion"] for row in rows})
        },
        "notes": splits.notes,
    }
