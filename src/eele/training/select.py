"""Which utterances train what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eele.config import StudyConfig
from eele.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd


def neutral_ids(study: StudyConfig, index: pd.DataFrame, split: str) -> list[str]:
    """Neutral utterances of a split that the neutral model hears, in fixed order."""
    new = index["speaker"].isin(study.pretraining.leave_out)
    rows = index[(index["emotion"] == "neutral") & (index["split"] == split) & ~new]
    return sorted(rows.index)


def neutral_speakers(study: StudyConfig, index: pd.DataFrame) -> tuple[str, ...]:
    """Speakers the neutral model learns, in fixed order; raises DataError when there are none."""
    rows = index.loc[neutral_ids(study, index, "train")]
    if rows.empty:
        left = " beside that of pretraining.leave_out" * study.adapts_voices
        raise DataError(f"no neutral training utterance{left}: the study needs neutral speech")
    return tuple(sorted(set(rows["speaker"])))


def new_voices(study: StudyConfig, index: pd.DataFrame) -> tuple[str, ...]:
    """Speakers left out of pre-training, in fixed order; none in a study that adapts to emotions. Raises DataError
    for one without neutral training speech."""
    new = study.pretraining.leave_out
    spoken = index[(index["emotion"] == "neutral") & (index["split"] == "train")]
    silent = sorted(set(new) - set(spoken["speaker"]))
    if silent:
        raise DataError(
            f"pretraining.leave_out: {', '.join(silent)} without neutral training speech, so there is no voice to "
            f"adapt to; with it: {', '.join(sorted(set(spoken['speaker']))) or 'none'}"
        )
    return tuple(sorted(new))


def adaptation_speakers(study: StudyConfig, index: pd.DataFrame) -> tuple[str, ...]:
    """Speakers the cells adapt and are tested on: those of the config, else all with emotional and neutral
    training speech, or all that pre-training left out. Raises ConfigError for a speaker that has none."""
    if study.adapts_voices:
        return tuple(sorted(study.adaptation.speakers or new_voices(study, index)))
    known = set(neutral_speakers(study, index))
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
