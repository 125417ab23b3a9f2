"""What is said in a testbed of phones: every utterance's phones by the study's lexicon, and what cannot be learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from eele.config.models import StudyConfig
from eele.paths import StudyPaths
from eele.ser.ctc import splits, states_needed
from eele.ser.encoders import SAMPLE_RATE_HZ, Encoder
from eele.ser.recordings import Recordings
from eele.text.lexicon import SILENCE, UNKNOWN, Lexicon

Phones = tuple[str, ...]


class Aside(NamedTuple):
    """An utterance that takes no part, and why."""

    utterance_id: str
    reason: str


def transcripts(study: StudyConfig, paths: StudyPaths, table: pd.DataFrame) -> dict[str, Phones]:
    """Utterance id -> phones of its text without silence; DataError without a lexicon or for a text without words."""
    lexicon = Lexicon.load(paths, study)
    texts = list(zip(table["text"], table["language"], strict=True))
    read = {
        key: tuple(phone for phone in lexicon.phones_of(*key) if phone != SILENCE)
        for key in dict.fromkeys(texts)
    }
    return {
        name: read[key] for name, key in zip(table["utterance_id"].tolist(), texts, strict=True)
    }


def inventory(said: Mapping[str, Phones]) -> Phones:
    """The phones that occur, sorted."""
    return tuple(sorted({phone for phones in said.values() for phone in phones} - {UNKNOWN}))


def set_aside(
    said: Mapping[str, Phones], recordings: Recordings, encoder: Encoder, crop_s: float
) -> list[Aside]:
    """Utterances that are neither trained on nor scored, in the order of their ids.

    They are longer than what is heard of an utterance, hold a word without a pronunciation, or have more
    phones than the encoder has states for them.
    """
    names = sorted(said)
    found = []
    for name, samples in zip(names, recordings.lengths(names).tolist(), strict=True):
        states = encoder.frames(samples) * splits(encoder)
        needed = states_needed(said[name])
        if samples > round(crop_s * SAMPLE_RATE_HZ):
            found.append(Aside(name, f"longer than crop_s ({crop_s:g} s)"))
        elif UNKNOWN in said[name]:
            found.append(Aside(name, "a word without pronunciation"))
        elif needed > states:
            found.append(Aside(name, f"{states} states for phones that need {needed}"))
    return found


def transcriptions(
    rows: pd.DataFrame,
    ids: Sequence[str],
    said: Mapping[str, Phones],
    heard: Sequence[Sequence[str]],
) -> pd.DataFrame:
    """One row per test utterance: phones said (`label`) and heard (`predicted`), their number and the errors."""
    from eele.metrics.phone_errors import phone_errors

    facts = rows.set_index("utterance_id").loc[list(ids)].reset_index()
    spoken = [said[name] for name in ids]
    errors = [phone_errors(a, b) for a, b in zip(spoken, heard, strict=True)]
    return pd.DataFrame(
        {
            "utterance_id": facts["utterance_id"],
            "label": [" ".join(phones) for phones in spoken],
            "predicted": [" ".join(phones) for phones in heard],
            "phones": np.array([len(phones) for phones in spoken]),
            "errors": np.array(errors),
            "speaker": facts["speaker"],
            "gender": facts["gender"],
            "sentence": facts["sentence"],
        }
    )
