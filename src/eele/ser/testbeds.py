"""Testbeds of recognition: which recordings, which classes, and the folds they are divided into.

Every kind of fold follows one rule, that of the published experiments (PEFT-SER, arXiv 2306.05350): the
units (speakers, sessions or sentences) in the order of their names are cut into consecutive groups; each
group is the test once, and of the units left the last fifth validates. No unit stands in two parts.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd

from eele.config.models import StudyConfig
from eele.config.recognition import FOUR_CLASSES, TestbedConfig
from eele.errors import ConfigError, DataError
from eele.paths import StudyPaths
from eele.vocabulary import EMOTIONS, SPLITS

_LOG = logging.getLogger(__name__)

#: Columns of a testbed's table. `path` can be opened as it stands, `sentence` and `session` tell equal
#: ones within the whole study, `split` is the study's own by sentence, `partition` the corpus's own.
TABLE_COLUMNS = (
    "utterance_id",
    "path",
    "label",
    "speaker",
    "gender",
    "sentence",
    "session",
    "corpus",
    "split",
    "partition",
    "text",
    "language",
)

_MERGED = {"excited": "happy"}
#: Groups of `speakers` where the config names none, as in the published folds of CREMA-D.
_SPEAKER_GROUPS = 5

#: What each kind of fold keeps apart; `official` promises what its corpus promises.
_FORBIDDEN = {
    "leave_one_speaker_out": "speaker",
    "speakers": "speaker",
    "session": "speaker",
    "cross_speaker": "speaker",
    "sentences": "sentence",
    "official": None,
}


@dataclass(frozen=True)
class Fold:
    """One division of a testbed: utterance ids of each part, in the order of the table."""

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """Part (train, validation, test) -> utterance ids."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def testbed_config(study: StudyConfig, testbed: str) -> TestbedConfig:
    """The study's testbed of that name; ConfigError naming those it has."""
    testbeds = study.recognition.testbeds if study.recognition is not None else {}
    if testbed not in testbeds:
        raise ConfigError(
            f"study {study.study} has no testbed '{testbed}'; it has: {', '.join(testbeds) or 'none'}"
        )
    return testbeds[testbed]


def table(study: StudyConfig, paths: StudyPaths, testbed: str) -> pd.DataFrame:
    """The utterances of one testbed, one row each (`TABLE_COLUMNS`), sorted by utterance_id.

    From manifest.csv: the testbed's corpora, speakers and classes. `label` is the emotion by its label map, or
    the speaker, or empty where phones are recognised: what is said is no class.
    Raises ConfigError for speakers or classes that are not there, DataError without manifest.csv.
    """
    config = testbed_config(study, testbed)
    if not paths.manifest.is_file():
        raise DataError(f"{paths.manifest} is missing; run the rule assemble_manifest first")
    rows = pd.read_csv(paths.manifest, dtype=str, keep_default_na=False)
    missing = [name for name in ("gender", "session", "partition") if name not in rows]
    if missing:
        raise DataError(
            f"{paths.manifest} lacks {', '.join(missing)}; run the rule assemble_manifest again"
        )
    if config.corpora:
        rows = rows[rows["corpus"].isin(config.corpora)]
    if config.speakers:
        _refuse_unknown(testbed, "speakers", config.speakers, rows["speaker"])
        rows = rows[rows["speaker"].isin(config.speakers)]
    labels = {
        "emotion": rows["emotion"],
        "speaker": rows["speaker"],
        "phones": pd.Series("", index=rows.index),
    }[config.target]
    if config.labels == "four":
        labels = labels.replace(_MERGED)
        labels = labels[labels.isin(FOUR_CLASSES)]
    if config.classes:
        _refuse_unknown(testbed, "classes", config.classes, labels)
        labels = labels[labels.isin(config.classes)]
    rows = rows.loc[labels.index].assign(
        label=labels,
        path=[str(paths.root / path) for path in rows.loc[labels.index, "path"]],
        # Sessions are numbered anew in every corpus.
        session=[
            f"{corpus}_{session}" if session else ""
            for corpus, session in zip(
                rows.loc[labels.index, "corpus"], rows.loc[labels.index, "session"], strict=True
            )
        ],
    )
    found = rows["label"].nunique()
    if config.target == "phones":
        _refuse_empty(rows, "text", f"testbed {testbed}: target phones: no text is known of")
    elif found < 2:
        raise ConfigError(
            f"testbed {testbed}: {found} class{'es' * (found != 1)} left; a recogniser needs at least two"
        )
    return rows[list(TABLE_COLUMNS)].sort_values("utterance_id", ignore_index=True)


def classes(table: pd.DataFrame) -> tuple[str, ...]:
    """The testbed's classes: emotions in the order of the vocabulary, speakers by name; none of phones."""
    found = set(table["label"]) - {""}
    order = EMOTIONS if found <= set(EMOTIONS) else sorted(found)
    return tuple(label for label in order if label in found)


def folds(table: pd.DataFrame, config: TestbedConfig) -> list[Fold]:
    """The folds of a testbed's `table`, always the same for the same table.

    Raises ConfigError where the table does not allow the kind of fold, DataError where a speaker or
    sentence that the kind keeps apart would stand in two parts, or a class has fewer training
    recordings in a fold than `min_per_class`.
    """
    divided = _DIVISIONS[config.folds](table, config)
    for fold in divided:
        _check(table, fold, config)
    return divided


def fold(table: pd.DataFrame, config: TestbedConfig, name: str) -> Fold:
    """The fold of that name; ConfigError naming those there are."""
    found = folds(table, config)
    for one in found:
        if one.name == name:
            return one
    raise ConfigError(f"no fold '{name}'; there are: {', '.join(one.name for one in found)}")


def counts(table: pd.DataFrame, fold: Fold) -> pd.DataFrame:
    """Recordings of each class in each part of a fold: parts x classes."""
    found = _count(table, fold)
    return pd.DataFrame.from_dict(found, orient="index", columns=list(classes(table)))


def _count(table: pd.DataFrame, fold: Fold) -> dict[str, dict[str, int]]:
    """Part -> class -> recordings."""
    label = dict(zip(table["utterance_id"], table["label"], strict=True))
    found = {part: Counter(label[name] for name in ids) for part, ids in fold.parts.items()}
    return {part: {name: n[name] for name in classes(table)} for part, n in found.items()}


def _leave_one_speaker_out(table: pd.DataFrame, config: TestbedConfig) -> list[Fold]:
    return _rotate(table, "speaker", None, config)


def _speakers(table: pd.DataFrame, config: TestbedConfig) -> list[Fold]:
    return _rotate(table, "speaker", config.groups or _SPEAKER_GROUPS, config)


def _session(table: pd.DataFrame, config: TestbedConfig) -> list[Fold]:
    _refuse_empty(table, "session", "folds session: no recording session is known of")
    return _rotate(table, "session", None, config)


def _sentences(table: pd.DataFrame, config: TestbedConfig) -> list[Fold]:
    _refuse_empty(table, "text", "folds sentences: no text is known of")
    if config.groups is not None:
        return _rotate(table, "sentence", config.groups, config)
    parts = table["split"]
    if not (parts == "validation").any():
        held = _last(_units(table[parts == "train"], "sentence"), config.validation_share)
        parts = parts.where(~table["sentence"].isin(held), "validation")
    return [_by_part(table, "unseen", parts)]


def _official(table: pd.DataFrame, config: TestbedConfig) -> list[Fold]:
    bare = sorted(set(table["corpus"]) - set(table.loc[table["partition"] != "", "corpus"]))
    if bare:
        raise ConfigError(
            f"folds official: {', '.join(bare)} has no split of its own; choose other folds"
        )
    return [_by_part(table, "official", table["partition"])]


def _cross_speaker(table: pd.DataFrame, config: TestbedConfig) -> list[Fold]:
    voices = _units(table, "speaker")
    if len(voices) != 2:
        raise ConfigError(
            f"folds cross_speaker: two voices are compared, the testbed has {len(voices)} "
            f"({', '.join(voices)}); name two under `speakers`"
        )
    divided = []
    for voice, other in (voices, voices[::-1]):
        parts = table["speaker"].map({voice: "train", other: "test"})
        held = _last(_units(table[parts == "train"], "sentence"), config.validation_share)
        parts = parts.where((parts != "train") | ~table["sentence"].isin(held), "validation")
        divided.append(_by_part(table, f"{voice}-to-{other}", parts))
    return divided


_DIVISIONS = {
    "leave_one_speaker_out": _leave_one_speaker_out,
    "speakers": _speakers,
    "session": _session,
    "sentences": _sentences,
    "official": _official,
    "cross_speaker": _cross_speaker,
}


def _rotate(
    table: pd.DataFrame, column: str, groups: int | None, config: TestbedConfig
) -> list[Fold]:
    """One fold per group of consecutive units of `column` (per unit when `groups` is None)."""
    units = _units(table, column)
    n = len(units) if groups is None else groups
    if len(units) < max(3, n):
        raise ConfigError(
            f"folds {config.folds}: {len(units)} {column}s for {max(3, n)} groups; training, validation "
            "and test need one each at least"
            + (
                "; two voices can be held against each other by cross_speaker"
                * (column == "speaker")
            )
        )
    divided = []
    for index, group in enumerate(_cut(units, n)):
        rest = [unit for unit in units if unit not in group]
        if len(rest) < 2:
            raise ConfigError(
                f"folds {config.folds}: {len(units)} {column}s in {n} groups leave {len(rest)} beside the "
                "test; training and validation need one each: ask for more groups"
            )
        held = _last(rest, config.validation_share)
        of = {
            **dict.fromkeys(rest, "train"),
            **dict.fromkeys(held, "validation"),
            **dict.fromkeys(group, "test"),
        }
        name = group[0] if groups is None else str(index + 1)
        divided.append(_by_part(table, name, table[column].map(of)))
    return divided


def _units(table: pd.DataFrame, column: str) -> list[str]:
    """The different values of `column`, numbers in the order of numbers."""
    return sorted(set(table[column]), key=lambda v: (int(v) if v.isdecimal() else -1, v))


def _cut(units: Sequence[str], n: int) -> list[list[str]]:
    """`units` in `n` consecutive groups, the first ones larger by one where it does not divide."""
    size, larger = divmod(len(units), n)
    starts = [index * size + min(index, larger) for index in range(n + 1)]
    return [list(units[a:b]) for a, b in pairwise(starts)]


def _last(units: Sequence[str], share: float) -> list[str]:
    """The last units that make up `share` of them, rounded up, but never all."""
    n = min(math.ceil(share * len(units) - 1e-9), len(units) - 1)
    return list(units[len(units) - n :])


def _by_part(table: pd.DataFrame, name: str, parts: pd.Series) -> Fold:
    """The fold in which each row stands in its part of `parts`; rows of none are left out."""
    ids = [tuple(table.loc[parts == part, "utterance_id"]) for part in SPLITS]
    return Fold(name, *ids)


def _refuse_empty(table: pd.DataFrame, column: str, message: str) -> None:
    empty = sorted(set(table.loc[table[column] == "", "corpus"]))
    if empty:
        raise ConfigError(f"{message} {', '.join(empty)}; choose other folds or other corpora")


def _refuse_unknown(testbed: str, key: str, wanted: Sequence[str], known: pd.Series) -> None:
    unknown = [value for value in wanted if value not in set(known)]
    if unknown:
        raise ConfigError(
            f"testbed {testbed}: {key}: {', '.join(unknown)} not in it; it has: "
            f"{', '.join(sorted(set(known))) or 'none'}"
        )


def _check(table: pd.DataFrame, fold: Fold, config: TestbedConfig) -> None:
    """Raise for an empty part, for what stands in two parts, and for classes too rare to train on."""
    empty = [part for part, ids in fold.parts.items() if not ids]
    if empty:
        raise DataError(f"fold {fold.name} of {config.folds}: no recording for {', '.join(empty)}")
    _refuse_leaks(table, fold, config.folds)
    found = _count(table, fold)
    rare = [f"{label} ({n})" for label, n in found["train"].items() if n < config.min_per_class]
    if rare:
        raise DataError(
            f"fold {fold.name} of {config.folds}: fewer than min_per_class {config.min_per_class} training "
            f"recordings of {', '.join(rare)}; leave the class out with `classes`, or choose other folds"
        )
    for part in ("validation", "test"):
        absent = [label for label, n in found[part].items() if not n]
        if absent:
            _LOG.warning(
                "fold %s: no %s recording of %s: its UAR is over the other classes",
                fold.name,
                part,
                ", ".join(absent),
            )


def _refuse_leaks(table: pd.DataFrame, fold: Fold, kind: str) -> None:
    """DataError where an utterance, or what the kind of fold keeps apart, stands on both sides of the test."""
    rows = table.set_index("utterance_id")
    test = rows.loc[list(fold.test)]
    heard = rows.loc[[*fold.train, *fold.validation]]
    column = _FORBIDDEN[kind]
    shared = sorted(set(test.index) & set(heard.index))
    if not shared and column is not None:
        shared = sorted(set(test[column]) & set(heard[column]))
    if shared:
        raise DataError(
            f"fold {fold.name} of {kind}: {column or 'utterance'} {', '.join(shared[:5])} stands in the test "
            "and in what is trained on"
        )
