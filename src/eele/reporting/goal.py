"""What the cells of a study are adapted to, and the score that says how far they get. Import-light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from eele.config.models import StudyConfig


@dataclass(frozen=True)
class Goal:
    """The score by which systems are put in order, and the words that go with it."""

    score: Literal["emotion_accuracy", "speaker_similarity"]  # column of cells.csv
    name: str
    task: str  # as tables/tasks.csv names it
    signed: bool  # the score may be negative; its highest value is 1 in any case
    of_utterances: str  # what a table of means holds
    of_recordings: tuple[str, str]  # label and explanation of the recordings' own score
    of_neutral: str  # what the neutral model's own score is
    methods_note: str
    listening_note: str  # what stands under each player


EMOTION = Goal(
    "emotion_accuracy",
    "emotion accuracy",
    "emotional speech synthesis",
    False,
    "Share of test utterances recognised as the emotion asked for",
    ("Judge on test recordings", "share recognised"),
    "share of its speech taken for the emotion",
    "Emotion accuracy of the neutral model is the share of its neutral speech that the judge takes for each emotion.",
    "the emotion the judge heard (✓ where it was asked for), and the probability it gave the emotion asked for",
)
VOICE = Goal(
    "speaker_similarity",
    "speaker similarity",
    "speech synthesis in new voices",
    True,
    "Speaker similarity of test utterances: cosine to the mean of the new voice’s own training recordings",
    ("Test recordings of the new voices", "speaker similarity of the voices to themselves"),
    "speaker similarity of the average of the voices it knows",
    "Speaker similarity of the neutral model is that of the average of the voices it knows, emotion accuracy the "
    "share of utterances that the judge takes for neutral; it is empty where the judge does not know the voice.",
    "speaker similarity of the utterance",
)


def goal_of(study: StudyConfig) -> Goal:
    """What the study's cells are meant to reach."""
    return VOICE if study.adapts_voices else EMOTION
