"""What a metric is: a declared column, and a function of one utterance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from eele.metrics.speaker_similarity import SpeakerSpace
    from eele.metrics.speech import Prosody, Speech

Need = Literal["reference", "neutral", "judge", "recogniser", "speakers", "comparable level"]


class NotScoredError(Exception):
    """An utterance a metric applies to but cannot measure; becomes a counted failure with its reason."""


class Score(NamedTuple):
    """Value of one utterance and its weight in the mean over utterances."""

    value: float
    weight: float = 1.0


@dataclass
class Case:
    """One test utterance and what it is held against; None where there is no such thing.

    `reference`: the recording of the same sentence and speaker (None for the recordings themselves);
    `neutral`: prosody of the neutral counterpart; `hypothesis`: phones the recogniser heard;
    `probabilities`: the first judge's, by emotion; `space`: where speakers are compared.
    """

    spoken: Speech
    speaker: str
    emotion: str
    reference: Speech | None = None
    neutral: Prosody | None = None
    level_comparable: bool = True
    hypothesis: Sequence[str] | None = None
    probabilities: Mapping[str, float] | None = None
    space: SpeakerSpace | None = None

    @cached_property
    def alignment(self) -> Alignment:
        """Warping path between reference and utterance (needs `reference`)."""
        from eele.metrics.mcd import align

        assert self.reference is not None
        return align(self.reference, self.spoken)


@dataclass(frozen=True)
class Alignment:
    """A DTW path: frames of the reference and of the utterance, each (steps,), within their spans,
    and the cepstral distance at each step (steps,)."""

    reference_frames: np.ndarray
    spoken_frames: np.ndarray
    distance: np.ndarray


@dataclass(frozen=True)
class MetricSpec:
    """A score column.

    `compute` returns the utterance's score, None where the metric does not apply, and raises NotScoredError
    where it applies but fails. `mean`: how utterances become the cell's score (weighted).
    """

    name: str
    label: str
    unit: str
    direction: Literal["higher is better", "lower is better", "nearer to the recordings is better"]
    needs: tuple[Need, ...]
    compute: Callable[[Case], Score | None]
    mean: Literal["arithmetic", "geometric"] = "arithmetic"
    #: Also reported of the recordings, in the column `recording_<name>`.
    of_recordings: bool = field(default=False)

    def summarise(self, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Weighted mean along the last axis: values (n,), weights (..., n) -> (...,)."""
        terms = np.log(values) if self.mean == "geometric" else values
        mean = (weights @ terms) / weights.sum(axis=-1)
        return np.exp(mean) if self.mean == "geometric" else mean
