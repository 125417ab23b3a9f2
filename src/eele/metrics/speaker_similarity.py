"""Speaker similarity by an embedding that is learned from the study's own recordings; nothing to download."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eele.metrics.base import Case, MetricSpec, NotScoredError, Score
from eele.metrics.mcd import RANGE_DB, mel_cepstrum

if TYPE_CHECKING:
    from eele.features import FeatureStore

log = logging.getLogger(__name__)

_CEPSTRA = 30
#: Frames whose loudest band lies within this of the utterance's loud frames are heard.
_ACTIVE_NEPER = 3.5
#: Recordings taken of each speaker at most: enough for a mean, and quick in a large corpus.
_PER_SPEAKER = 40
_SHRINKAGE = 0.1
#: From so many speakers on, the directions that tell them apart are worth more than all directions.
_SPEAKERS_FOR_DIRECTIONS = 5


def voice_statistics(log_mel: np.ndarray) -> np.ndarray:
    """Means and deviations of c1..c30 over active frames: (frames, mel) ln -> (60,) float64."""
    mel = np.maximum(log_mel, float(log_mel.max()) - RANGE_DB * np.log(10) / 20)
    loudness = mel.max(axis=1)
    active = loudness >= np.percentile(loudness, 95) - _ACTIVE_NEPER
    cepstra = mel_cepstrum(mel[active], min(_CEPSTRA, log_mel.shape[1] - 1))
    return np.concatenate([cepstra.mean(axis=0), cepstra.std(axis=0)])


@dataclass(frozen=True)
class SpeakerSpace:
    """Where voices are compared: centred at `mean` (d,), projected by `projection` (d, k), with the
    neutral voice of each speaker as a point (k,)."""

    mean: np.ndarray
    projection: np.ndarray
    neutral: dict[str, np.ndarray]

    def embed(self, log_mel: np.ndarray) -> np.ndarray:
        """(frames, mel) ln -> (k,)."""
        return (voice_statistics(log_mel) - self.mean) @ self.projection

    def similarity(self, log_mel: np.ndarray, speaker: str) -> float:
        """Cosine between an utterance and the mean of the speaker's neutral training recordings."""
        if speaker not in self.neutral:
            raise NotScoredError(
                f"speaker '{speaker}' has no training recording to be compared with"
            )
        own, reference = self.embed(log_mel), self.neutral[speaker]
        return float(own @ reference / (np.linalg.norm(own) * np.linalg.norm(reference) + 1e-12))


def learn_space(voices: dict[str, np.ndarray], neutral: dict[str, np.ndarray]) -> SpeakerSpace:
    """The space in which utterances of one speaker, whatever the emotion, lie close.

    `voices`: speaker -> statistics of training recordings (n, d) in all emotions; `neutral`: speaker ->
    those of neutral ones. Within-speaker covariance is shrunk towards its diagonal and whitened
    (WCCN, Hatch et al. 2006); with five speakers or more the discriminant directions alone are kept
    (Fisher). Needs two speakers.
    """
    grand = np.concatenate(list(voices.values())).mean(axis=0)
    within = sum((v - v.mean(axis=0)).T @ (v - v.mean(axis=0)) for v in voices.values())
    within = np.asarray(within) / max(sum(map(len, voices.values())) - len(voices), 1)
    diagonal = np.diag(np.maximum(np.diag(within), 1e-8))
    within = (1 - _SHRINKAGE) * within + _SHRINKAGE * diagonal
    projection = np.linalg.cholesky(np.linalg.inv(within))
    if len(voices) >= _SPEAKERS_FOR_DIRECTIONS:
        centres = np.stack([v.mean(axis=0) - grand for v in voices.values()]) @ projection
        directions = np.linalg.svd(centres, full_matrices=False)[2][: len(voices) - 1]
        projection = projection @ directions.T
    points = {name: ((v - grand) @ projection).mean(axis=0) for name, v in neutral.items()}
    return SpeakerSpace(grand, projection, points)


def study_space(store: FeatureStore) -> SpeakerSpace | None:
    """The space of a study, from its training recordings; None where fewer than two speakers have any."""
    from eele.features.indexing import reference_utterances

    training = store.index[store.index["split"] == "train"]
    voices, neutral = {}, {}
    for speaker in sorted(set(training["speaker"])):
        ids = sorted(training.index[training["speaker"] == speaker])
        reference = sorted(reference_utterances(store, speaker)[0])
        voices[speaker], neutral[speaker] = (
            np.stack([voice_statistics(store.get(i).mel) for i in _spread(chosen)])
            for chosen in (ids, reference)
        )
    if len(voices) < 2:
        log.warning("speaker similarity needs two speakers with training recordings: left out")
        return None
    return learn_space(voices, neutral)


def _spread(ids: list[str]) -> list[str]:
    """At most _PER_SPEAKER of `ids`, evenly spread."""
    places = np.linspace(0, len(ids) - 1, min(len(ids), _PER_SPEAKER)).round().astype(int)
    return [ids[place] for place in places]


def _compute(case: Case) -> Score | None:
    if case.space is None:
        return None
    return Score(case.space.similarity(case.spoken.mel, case.speaker))


SPEC = MetricSpec(
    "speaker_similarity",
    "cosine to the speaker's neutral training recordings (embedding learned per study)",
    "1",
    "higher is better",
    ("speakers",),
    _compute,
)
