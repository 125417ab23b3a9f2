"""What a point's speech is heard as and how it moves from the neutral model's, utterance by utterance."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from eele import judges
from eele.combining.mixtures import NEUTRAL, Mixture, Point
from eele.config.models import StudyConfig
from eele.metrics.base import Case
from eele.metrics.cases import Item, Recordings, spoken_items
from eele.metrics.score import Scored, listen, measure, transcribe
from eele.metrics.speaker_similarity import SpeakerSpace, study_space
from eele.paths import StudyPaths

if TYPE_CHECKING:
    from eele.metrics.recogniser import Recogniser
    from eele.metrics.speech import Prosody

#: Metrics of the score stage that are measured of a mixture: they need no recording of the sentence.
MEASURED = (
    *("f0_mean_shift_st", "f0_range_shift_st", "rate_ratio", "phone_error_rate"),
    "speaker_similarity",
)


class Measuring:
    """The study's judges and recogniser, and the neutral model's speech in `neutral_folder`."""

    def __init__(
        self,
        study: StudyConfig,
        paths: StudyPaths,
        mixture: Mixture,
        expected: Sequence[str],
        neutral_folder: Path,
        of: Recordings,
    ) -> None:
        self._study, self._paths, self._mixture = study, paths, mixture
        self._expected = expected
        self._neutral_folder = neutral_folder
        self._of = of

    def table(self, point: Point, folder: Path) -> pd.DataFrame:
        """One row per utterance of the point's speech in `folder`; empty fields, and a reason, where something
        could not be measured."""
        items = self._items(folder)
        neutral = _prosody(items) if point.name == NEUTRAL else self._neutral
        rows = [Scored(item) for item in items]
        for row in rows:
            if row.item.speech is None:
                row.reasons.append(row.item.failure)
                continue
            name = row.item.utterance_id
            # One of those meant: none of what is measured here looks at it.
            emotion = self._mixture.meant(point)[0]
            row.case = Case(
                row.item.speech,
                row.item.speaker,
                emotion,
                neutral=neutral.get(name),
                space=self._space,
            )
            if name not in neutral:
                row.reasons.append("the neutral model's speech of this sentence cannot be read")
        transcribe(self._recogniser, rows)
        heard = {
            name: listen(judge, name, self._study, rows) for name, judge in self._judges.items()
        }
        for row in rows:
            measure(row, MEASURED)
        entries = []
        for index, row in enumerate(rows):
            entry = self._entry(row, point, folder)
            for name, judgement in heard.items():
                entry |= _heard(name, judgement[index])
            entries.append({**entry, "reason": "; ".join(row.reasons)})
        return pd.DataFrame(entries, columns=list(utterance_columns(self._study)))

    def _entry(self, row: Scored, point: Point, folder: Path) -> dict[str, Any]:
        item, file = row.item, f"{row.item.utterance_id}.wav"
        errors = row.scores.get("phone_error_rate")
        return {
            "utterance_id": item.utterance_id,
            "speaker": item.speaker,
            "sentence": item.sentence,
            **{name: score.value for name, score in row.scores.items()},
            "phones": errors.weight if errors else None,
            "same_as_neutral": point.name == NEUTRAL
            or (folder / file).read_bytes() == (self._neutral_folder / file).read_bytes(),
        }

    @cached_property
    def _neutral(self) -> dict[str, Prosody]:
        return _prosody(self._items(self._neutral_folder))

    @cached_property
    def _space(self) -> SpeakerSpace | None:
        return study_space(self._of.store)

    @cached_property
    def _judges(self) -> dict[str, judges.Judge]:
        names = self._study.evaluation.judges
        return {name: judges.load(self._study, self._paths, name) for name in names}

    @cached_property
    def _recogniser(self) -> Recogniser:
        from eele.metrics import recogniser

        return recogniser.load(self._study, self._paths)

    def _items(self, folder: Path) -> list[Item]:
        what = f"the mixture '{self._mixture.name}'"
        return spoken_items(self._study, self._paths, folder, self._expected, self._of, what)


def utterance_columns(study: StudyConfig) -> tuple[str, ...]:
    """Columns of a point's utterances.csv: `heard_<judge>` and `probability_<judge>_<emotion>` for each judge."""
    emotions = ("neutral", *study.emotions)
    of_judges = [
        column
        for judge in study.evaluation.judges
        for column in (f"heard_{judge}", *(f"probability_{judge}_{e}" for e in emotions))
    ]
    return (
        *("utterance_id", "speaker", "sentence", *MEASURED, "phones", "same_as_neutral"),
        *of_judges,
        "reason",
    )


def _prosody(items: Sequence[Item]) -> dict[str, Prosody]:
    return {item.utterance_id: item.speech.prosody for item in items if item.speech}


def _heard(judge: str, probabilities: dict[str, float] | None) -> dict[str, Any]:
    if probabilities is None:
        return {}
    first = max(probabilities, key=lambda emotion: probabilities[emotion])
    return {
        f"heard_{judge}": first,
        **{f"probability_{judge}_{e}": p for e, p in probabilities.items()},
    }
