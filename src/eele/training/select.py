"""Which utterances train what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eele.config import StudyConfig
from eele.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd


def neutral_ids(index: pd.DataFrame, split: str) -> list[str]:
    """Neutral utterances of a split, in fixed order."""
    rows = index[(index["emotion"] == "neutral") & (index["split"] == split)]
    return sorted(rows.index)


def neutral_speakers(index: pd.DataFrame) -> tuple[str, ...]:
    """Speakers the neutral model learns, in fixed order; raises DataError when there are none."""
    rows = index.loc[neutral_ids(index, "train")]
    if rows.empty:
        raise DataError("no neutral training utterance: the study needs neutral speech")
    return tuple(sorted(set(rows["speaker"])))


def adaptation_speakers(study: StudyConfig, index: pd.DataFrame) -> tuple[str, ...]:
    """Speakers the cells adapt and are tested on: those of the config, else all with emotional and
    neutral training speech. Raises ConfigError for a speaker that has none."""
    known = set(neutral_speakers(index))
    emotional = index[(index["emotion"].isin(study.emotions)) & (index["split"] == "train")]
    possible = sorted(known & set(emotional["speaker"]))
    wanted = study.adaptation.speakers
    if wanted is None:
        if not possible:
            raise DataError(
                "no speaker has both neutral and emotional training speech; a cell cannot be trained"
            )
        return tuple(possible)
    for speaker in wanted:
        if speaker not in possible:
            raise ConfigError(
                f"adaptation.speakers: '{speaker}' has no neutral and emotional training speech; "
                f"possible: {', '.join(possible)}"
            )
    return tuple(sorted(wanted))


def cell_ids(study: StudyConfig, index: pd.DataFrame, emotion: str, split: str) -> list[str]:
    """Utterances of one emotion and split by the adaptation speakers, in fixed order."""
    speakers = adaptation_speakers(study, index)
    rows = index[
        (index["emotion"] == emotion) & (index["split"] == split) & index["speaker"].isin(speakers)
    ]
    return sorted(rows.index)
