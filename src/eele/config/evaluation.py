"""Config sections of the evaluation: judges, intervals, the phone recogniser."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from eele.config.data import Count, Name, Positive, Section
from eele.config.recognition import MethodConfig, RecogniserTrainingConfig
from eele.vocabulary import Emotion

JudgeKind = Literal["statistics", "encoder", "published"]
STATISTICS: JudgeKind = "statistics"


class EncoderJudgeConfig(Section):
    """A judge made of one of the study's encoders, adapted to its recordings of training sentences."""

    encoder: Name = Field("small", description="name of one of the study's `encoders`")
    adaptation: MethodConfig = Field(
        MethodConfig(method="lora", sites=("feed_forward",), size=16),
        description="how the encoder is adapted",
    )
    training: RecogniserTrainingConfig = Field(
        RecogniserTrainingConfig(), description="training of the judge"
    )
    seed: Annotated[int, Field(ge=0)] = Field(1, description="seed of its weights and training")


class PublishedJudgeConfig(Section):
    """A judge others trained: an audio classifier of the library transformers, used as it is."""

    model: str = Field(..., description="name on the hub, or a folder that holds the model")
    revision: str | None = Field(
        None, description="branch, tag or commit on the hub; its main branch when empty"
    )
    labels: Annotated[dict[str, Emotion], Field(min_length=1)] = Field(
        ..., description="the model's label -> emotion; labels left out are never heard"
    )
    trained_on: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        ...,
        description="names of the corpora it was trained on, its encoder's labelled ones included",
    )
    batch_size: Count = Field(16, description="utterances it hears at once")
    crop_s: Positive = Field(
        15.0, description="only so much of an utterance is heard, from its beginning, seconds"
    )


class RecogniserConfig(Section):
    """Phone recogniser behind the phone error rate; trained on the study's training recordings."""

    hidden_size: Count = Field(224, description="channels of its convolutions")
    layers: Count = Field(
        3, description="convolution layers; more see, and memorise, longer stretches"
    )
    steps: Count = Field(800, description="training steps")
    batch_size: Count = Field(16, description="utterances per step")
    learning_rate: Positive = Field(4e-3, description="peak learning rate")
    seed: int = Field(1, description="seed")


class EvaluationConfig(Section):
    """Judges, intervals and the phone recogniser."""

    judges: Annotated[tuple[Name, ...], Field(min_length=1)] = Field(
        (STATISTICS,),
        description="emotion recognisers: statistics, or names of the two sections below; the first one "
        "fills emotion_accuracy",
    )
    encoder_judges: dict[Name, EncoderJudgeConfig] = Field(
        {}, description="judges made of the study's encoders, by name (docs/judges.md)"
    )
    published_judges: dict[Name, PublishedJudgeConfig] = Field(
        {}, description="judges others trained, by name (docs/judges.md)"
    )
    bootstrap_samples: Count = Field(1000, description="bootstrap draws over sentences")
    confidence: Annotated[float, Field(gt=0, lt=1)] = Field(0.95, description="interval level")
    seed: int = Field(1, description="seed of the judge statistics and of the bootstrap")
    recogniser: RecogniserConfig = Field(RecogniserConfig(), description="phone recogniser")

    @property
    def judge_kinds(self) -> dict[str, JudgeKind]:
        """Every judge that is described, in use or not -> what it is."""
        return {
            STATISTICS: STATISTICS,
            **dict.fromkeys(self.encoder_judges, "encoder"),
            **dict.fromkeys(self.published_judges, "published"),
        }

    @model_validator(mode="after")
    def _known_once(self) -> EvaluationConfig:
        named = [STATISTICS, *self.encoder_judges, *self.published_judges]
        for name in named:
            if named.count(name) > 1:
                raise ValueError(f"two judges are named '{name}'; rename one")
        for name in self.judges:
            if name not in self.judge_kinds:
                raise ValueError(
                    f"judges: unknown judge '{name}'; allowed: {', '.join(self.judge_kinds)}"
                )
        if len(set(self.judges)) < len(self.judges):
            raise ValueError("judges: one stands twice")
        return self
