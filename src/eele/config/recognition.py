"""Config sections of recognition: encoders, training of recognisers, testbeds, the study."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from eele.config.data import Count, Name, Positive, Section, Share
from eele.peft import METHODS, refusal
from eele.vocabulary import Emotion

#: The classes of the published testbeds.
FOUR_CLASSES: tuple[Emotion, ...] = ("neutral", "happy", "sad", "angry")

#: What a recogniser learns to tell of an utterance.
Target = Literal["emotion", "speaker", "phones"]


class SmallEncoderConfig(Section):
    """The encoder this project trains itself: a Transformer on log-mels, by masked prediction of
    random-projection targets (BEST-RQ, arXiv 2202.01855) on the study's training speech."""

    hidden_size: Count = Field(128, description="channels of the Transformer")
    layers: Count = Field(4, description="Transformer layers")
    heads: Count = Field(4, description="attention heads")
    feed_forward_size: Count = Field(512, description="inner channels of the feed-forward")
    dropout: Share = Field(0.1, description="dropout")
    codebooks: Count = Field(4, description="target codebooks, each with a projection of its own")
    codes: Count = Field(512, description="entries of a codebook")
    code_size: Count = Field(16, description="channels of a code")
    mask_frames: Count = Field(40, description="masked at a time, in 10 ms frames")
    mask_share: Share = Field(0.4, description="share of the frames where a mask begins or goes on")
    crop_s: Positive = Field(3.0, description="longest stretch of an utterance in a batch, seconds")
    corpora: tuple[Name, ...] = Field(
        (),
        description="names of the study's corpora it hears, without labels; all when empty. Leave out one "
        "whose speakers are held out of a testbed, and the encoder does not know them either",
    )
    steps: Annotated[int, Field(ge=0)] = Field(
        1000, description="steps of masked prediction; 0 leaves random weights, the baseline"
    )
    batch_size: Count = Field(16, description="utterances per step")
    learning_rate: Positive = Field(1e-3, description="peak learning rate (AdamW)")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(100, description="linear warm-up")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.01, description="AdamW weight decay")
    validate_every: Count = Field(250, description="steps between validations and checkpoints")

    @model_validator(mode="after")
    def _even_heads(self) -> SmallEncoderConfig:
        if self.hidden_size % self.heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of heads {self.heads}"
            )
        return self


class EncoderConfig(Section):
    """One encoder of speech."""

    kind: Literal["small", "transformers"] = Field(
        "small",
        description="small: trained by this study, no download; transformers: wav2vec 2.0, WavLM, "
        "HuBERT or a Whisper encoder",
    )
    model: str | None = Field(
        None, description="transformers: name on the hub, or a folder that holds the model"
    )
    revision: str | None = Field(
        None,
        description="transformers: branch, tag or commit on the hub; its main branch when empty",
    )
    small: SmallEncoderConfig = Field(
        SmallEncoderConfig(), description="sizes and training of `small`"
    )
    seed: int = Field(1, description="small: seed of its weights and training")

    @model_validator(mode="after")
    def _named(self) -> EncoderConfig:
        if self.kind == "transformers" and not self.model:
            raise ValueError("kind transformers needs `model`: a hub name or a folder")
        if self.kind == "small" and (self.model or self.revision):
            raise ValueError(
                "kind small is trained by the study: it takes no model and no revision"
            )
        return self


class RecogniserTrainingConfig(Section):
    """Training of one recogniser; the defaults are PEFT-SER's published settings."""

    epochs: Count = Field(30, description="passes over the training utterances")
    batch_size: Count = Field(32, description="utterances per step")
    learning_rate: Positive = Field(5e-4, description="first learning rate (Adam)")
    full_learning_rate: Positive = Field(
        5e-5,
        description="first learning rate of method `full`; this project's choice, not published",
    )
    betas: tuple[Share, Share] = Field((0.9, 0.98), description="Adam's running averages")
    weight_decay: Annotated[float, Field(ge=0)] = Field(1e-4, description="Adam's weight decay")
    plateau_factor: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.5, description="learning rate times this where validation no longer improves"
    )
    plateau_patience: Annotated[int, Field(ge=0)] = Field(
        5, description="epochs without improvement before that"
    )
    min_learning_rate: Positive = Field(5e-5, description="lowest learning rate")
    crop_s: Positive = Field(
        6.0, description="only so much of an utterance is heard, from its beginning, seconds"
    )
    lora_alpha: Positive | None = Field(
        1.0, description="LoRA's update is scaled by this / size; by 1 when empty"
    )
    head_size: Count = Field(256, description="channels of the head's convolutions and MLP")
    dropout: Share = Field(0.1, description="dropout of the head and of adapters")
    class_weights: bool = Field(
        True, description="weigh classes in the loss by the inverse of their frequency"
    )
    noise_snr_db: tuple[float, float] | None = Field(
        (10.0, 30.0), description="white noise at a ratio drawn from this range; none when empty"
    )
    time_mask_share: tuple[Share, Share] | None = Field(
        (0.1, 0.15), description="share of the utterance that is silenced; none when empty"
    )

    @model_validator(mode="after")
    def _ordered(self) -> RecogniserTrainingConfig:
        for name in ("noise_snr_db", "time_mask_share"):
            bounds = getattr(self, name)
            if bounds is not None and bounds[0] > bounds[1]:
                raise ValueError(f"{name}: {bounds[0]:g} exceeds {bounds[1]:g}")
        return self


def _known(method: str) -> str:
    if method != "head" and method not in METHODS:
        raise ValueError(f"unknown method '{method}'; allowed: {', '.join(('head', *METHODS))}")
    return method


class MethodConfig(Section):
    """One way to adapt an encoder; its head is always trained."""

    method: Annotated[str, AfterValidator(_known)] = Field(
        "head",
        description="head: the encoder stays as it is; full: every weight moves; others: adapters "
        "(docs/adaptation.md)",
        json_schema_extra={"enum": ["head", *METHODS]},
    )
    sites: tuple[Literal["feed_forward", "attention", "layers"], ...] = Field(
        (), description="where the adapters go (not for head and full)"
    )
    size: Count | None = Field(
        None,
        description="what the method's size counts: rank of lora, inner size of a bottleneck, number of "
        "prompts (not for head, full and methods without a size)",
    )

    @model_validator(mode="after")
    def _axes(self) -> MethodConfig:
        if self.method != "head" and METHODS[self.method].needs == "voices":
            raise ValueError(refusal(self.method, "encoder", (*self.sites, "layers")[0]))
        sited = self.method != "head" and METHODS[self.method].sited
        sized = sited and METHODS[self.method].size is not None
        asked = {"sites": sited, "size": sized}
        given = {"sites": bool(self.sites), "size": self.size is not None}
        if any(asked[key] and not given[key] for key in asked):
            needs = " and ".join(key for key in asked if asked[key])
            raise ValueError(f"method {self.method} needs {needs}")
        if any(given[key] and not asked[key] for key in asked):
            takes = " and no ".join(key for key in asked if not asked[key])
            raise ValueError(f"method {self.method} takes no {takes}")
        if len(set(self.sites)) < len(self.sites):
            raise ValueError(f"sites: {', '.join(self.sites)}: one stands twice")
        reasons = [refusal(self.method, "encoder", site) for site in self.sites]
        if any(reasons):
            raise ValueError("; ".join(reason for reason in reasons if reason))
        return self


class TestbedConfig(Section):
    """Recordings, their classes, and how they are divided into training, validation and test."""

    target: Target = Field(
        "emotion",
        description="what is recognised. emotion: one class per emotion; speaker: one per speaker; phones: the "
        "phones of the text, as the study's lexicon has them",
    )
    corpora: tuple[Name, ...] = Field(
        (), description="names of the study's corpora; all when empty"
    )
    labels: Literal["four", "full"] = Field(
        "full",
        description="full: every emotion is a class; four: neutral, happy, sad, angry (excited speech "
        "counts as happy), other emotions are left out (target emotion only)",
    )
    classes: tuple[Emotion, ...] = Field(
        (),
        description="keep these emotions only; all that are there when empty (target emotion only)",
    )
    speakers: tuple[str, ...] = Field((), description="keep these speakers only; all when empty")
    folds: Literal[
        "leave_one_speaker_out", "speakers", "session", "sentences", "official", "cross_speaker"
    ] = Field(
        "leave_one_speaker_out",
        description="leave_one_speaker_out: each speaker is the test once; speakers: groups of speakers; "
        "session: each recording session; sentences: unseen sentences; official: the corpus's own "
        "split; cross_speaker: one of two voices against the other",
    )
    groups: Count | None = Field(
        None,
        description="number of folds of `speakers` (5 when empty) and of `sentences` (when empty the "
        "study's own held-out sentences, one fold)",
    )
    validation_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.2, description="share of the training speakers, sessions or sentences that validates"
    )
    min_per_class: Count = Field(
        4,
        description="fewest training recordings of a class in a fold; fewer stop the run (phones are no classes)",
    )

    @model_validator(mode="after")
    def _groups_where_they_count(self) -> TestbedConfig:
        if self.groups is not None and self.folds not in ("speakers", "sentences"):
            raise ValueError(f"folds {self.folds} takes no groups")
        if self.target == "speaker" and self.folds not in ("sentences", "official"):
            raise ValueError(
                f"target speaker: folds {self.folds} keep the test's speakers out of training, but they are "
                "the classes; use folds sentences, or official where the corpus's own split is by utterance"
            )
        if self.target != "emotion" and (self.labels != "full" or self.classes):
            raise ValueError(
                f"target {self.target} takes no labels and no classes: these are of emotions"
            )
        if self.groups == 1:
            raise ValueError("groups: at least two, one to train on and one to test on")
        if self.labels == "four":
            strange = [name for name in self.classes if name not in FOUR_CLASSES]
            if strange:
                raise ValueError(
                    f"classes: {', '.join(strange)}: labels four has {', '.join(FOUR_CLASSES)}"
                )
        return self


class RecognitionConfig(Section):
    """A study of recognition: every encoder with every method on every fold of every testbed."""

    encoders: Annotated[tuple[Name, ...], Field(min_length=1)] = Field(
        ("small",), description="names of the study's `encoders`"
    )
    methods: Annotated[tuple[MethodConfig, ...], Field(min_length=1)] = Field(
        (MethodConfig(),), description="methods compared"
    )
    testbeds: Annotated[dict[Name, TestbedConfig], Field(min_length=1)] = Field(
        ..., description="name -> recordings, classes and folds"
    )
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = Field(
        (1,), description="seeds of every recogniser"
    )
    training: RecogniserTrainingConfig = Field(
        RecogniserTrainingConfig(), description="training of the recognisers"
    )

    @model_validator(mode="after")
    def _once_each(self) -> RecognitionConfig:
        for key in ("encoders", "methods", "seeds"):
            values = getattr(self, key)
            if len(set(values)) < len(values):
                raise ValueError(f"{key}: one stands twice")
        return self
