"""The stage that divides a testbed into folds, before anything is trained: what is wrong with it is told now."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from eele.config import StudyConfig
from eele.errors import DataError
from eele.io import write_csv
from eele.paths import StudyPaths

FOLDS = "folds.csv"


def divide_testbed(study: StudyConfig, paths: StudyPaths, testbed: str) -> None:
    """Write `testbeds/<testbed>/folds.csv`: recordings of each class in each part of each fold.

    Columns fold, part, speakers, utterances and one per class. Raises ConfigError where the recordings do
    not allow the folds asked for, DataError where a fold would leak or is too small to train on.
    """
    import pandas as pd

    from eele.ser.testbeds import counts, folds, table, testbed_config

    rows = table(study, paths, testbed)
    speaker = rows.set_index("utterance_id")["speaker"]
    parts = []
    for fold in folds(rows, testbed_config(study, testbed)):
        by_class = counts(rows, fold)
        for part, ids in fold.parts.items():
            facts: dict[str, object] = {"fold": fold.name, "part": part}
            facts |= {"speakers": speaker[list(ids)].nunique(), "utterances": len(ids)}
            parts.append(facts | by_class.loc[part].to_dict())
    write_csv(paths.testbed(testbed) / FOLDS, pd.DataFrame(parts))


def fold_names(folder: Path) -> Sequence[str]:
    """Names of a divided testbed's folds, in their order; DataError where it is not divided yet."""
    file = folder / FOLDS
    if not file.is_file():
        raise DataError(f"{file} is missing; run the rule divide_testbed first")
    with open(file, encoding="utf-8", newline="") as handle:
        return list(dict.fromkeys(row["fold"] for row in csv.DictReader(handle)))
