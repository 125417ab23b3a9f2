"""The typed, frozen study config. Every key has a description: the default YAML and the schema are made from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from eele.config.backbones import (
    BackboneConfig,
    DiscriminatorConfig,
    FastSpeech2Config,
    HifiGanConfig,
    Vits2Config,
)
from eele.config.checks import check
from eele.config.combining import CombiningConfig
from eele.config.data import (
    AlignmentConfig,
    AudioConfig,
    CleaningConfig,
    CorpusConfig,
    Count,
    DemoCorpusConfig,
    FeatureConfig,
    GmmConfig,
    LexiconConfig,
    MfaConfig,
    Name,
    Positive,
    Section,
    Share,
    SplitConfig,
)
from eele.config.evaluation import EvaluationConfig, RecogniserConfig
from eele.config.recognition import EncoderConfig, RecognitionConfig
from eele.config.sweep import AdaptationMethod, SweepBlock
from eele.peft import refusal
from eele.vocabulary import NOT_APPLICABLE, SCHEMES, Emotion, scheme_sites

__all__ = [
    "NO_IDENTITY",
    "AdaptationConfig",
    "AlignmentConfig",
    "AudioConfig",
    "BackboneConfig",
    "CleaningConfig",
    "CombiningConfig",
    "CorpusConfig",
    "DemoCorpusConfig",
    "DeploymentConfig",
    "DiscriminatorConfig",
    "EncoderConfig",
    "EvaluationConfig",
    "FastSpeech2Config",
    "FeatureConfig",
    "GmmConfig",
    "HifiGanConfig",
    "LexiconConfig",
    "MfaConfig",
    "PretrainingConfig",
    "RecogniserConfig",
    "RecognitionConfig",
    "RuntimeConfig",
    "SplitConfig",
    "StudyConfig",
    "SweepBlock",
    "SynthesisConfig",
    "TrainingConfig",
    "Vits2Config",
    "VocoderConfig",
]


class TrainingConfig(Section):
    """One optimisation run (the neutral pre-training, or each cell)."""

    steps: Count = Field(..., description="optimiser steps at most")
    batch_size: Count = Field(..., description="utterances per step")
    learning_rate: Positive = Field(..., description="peak learning rate (AdamW)")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(..., description="linear warm-up")
    weight_decay: Annotated[float, Field(ge=0)] = Field(..., description="AdamW weight decay")
    betas: tuple[Share, Share] = Field((0.9, 0.98), description="AdamW's running averages")
    decay_per_epoch: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None,
        description="learning rate times this after each pass over the data; "
        "half a cosine to the last step when empty",
    )
    gradient_clip: Positive | None = Field(
        1.0, description="largest gradient norm; none when empty"
    )
    validate_every: Count = Field(..., description="steps between validations and checkpoints")
    patience: Count = Field(..., description="validations without improvement before stopping")


class PretrainingConfig(TrainingConfig):
    """Neutral pre-training."""

    steps: Count = Field(600, description="optimiser steps at most")
    batch_size: Count = Field(16, description="utterances per step")
    learning_rate: Positive = Field(2e-3, description="peak learning rate (AdamW)")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(100, description="linear warm-up")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.01, description="AdamW weight decay")
    validate_every: Count = Field(150, description="steps between validations and checkpoints")
    patience: Count = Field(4, description="validations without improvement before stopping")
    seed: int = Field(1, description="seed of the neutral model")
    leave_out: tuple[str, ...] = Field(
        (),
        description="speakers it does not hear: the cells adapt to their neutral voices instead of to "
        "emotions (docs/voices.md)",
    )


class AdaptationConfig(TrainingConfig):
    """Fine-tuning of one cell on one emotion."""

    steps: Count = Field(100, description="optimiser steps at most")
    batch_size: Count = Field(8, description="utterances per step")
    learning_rate: Positive = Field(3e-3, description="peak learning rate of adapters (AdamW)")
    full_learning_rate: Positive = Field(5e-4, description="peak learning rate of method `full`")
    method_learning_rates: dict[AdaptationMethod, Positive] = Field(
        {},
        description="peak learning rates of single methods, in place of learning_rate: what starts from zero and "
        "what starts from a draw need not learn at one rate",
    )
    warmup_steps: Annotated[int, Field(ge=0)] = Field(20, description="linear warm-up")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.0, description="AdamW weight decay")
    validate_every: Count = Field(20, description="steps between validations and checkpoints")
    patience: Count = Field(3, description="validations without improvement before stopping")
    lora_alpha_per_rank: Positive = Field(
        1.0,
        description="alpha of LoRA and its relatives = this x rank: LoRA's update is scaled by it at every rank",
    )
    lora_dropout: Share = Field(0.0, description="dropout of adapters, of whatever method")
    speakers: tuple[str, ...] | None = Field(
        None,
        description="adapt and test on these speakers; when empty all with emotional speech, or all that "
        "pretraining.leave_out names",
    )
    emotions: tuple[Emotion, ...] = Field(
        (),
        description="adapt to these of the study's emotions, and not to those that are there for the judges; "
        "to all when empty",
    )

    @property
    def own_rates(self) -> dict[str, float]:
        """Method -> its peak learning rate, where that is not `learning_rate`."""
        return {"full": self.full_learning_rate, **self.method_learning_rates}

    @field_validator("method_learning_rates")
    @classmethod
    def _but_full(cls, rates: dict[str, float]) -> dict[str, float]:
        if "full" in rates:
            raise ValueError("the rate of full is full_learning_rate")
        return rates


class SynthesisConfig(Section):
    """From mel to waveform, and what is spoken beside the test sentences."""

    vocoder: Literal["griffin_lim", "hifigan"] = Field(
        "griffin_lim",
        description="mel to waveform, for backbones that end at the mel; hifigan is trained first",
    )
    griffin_lim_iterations: Count = Field(32, description="phase iterations")
    texts: tuple[str, ...] = Field((), description="free texts every cell also speaks")


class VocoderConfig(TrainingConfig):
    """The neural vocoder `hifigan`, trained on the study's training recordings of every emotion."""

    generator: HifiGanConfig = Field(HifiGanConfig(), description="sizes of the generator")
    discriminator: DiscriminatorConfig = Field(
        DiscriminatorConfig(), description="sizes of the discriminators"
    )
    segment_frames: Annotated[int, Field(ge=4)] = Field(
        32, description="frames per utterance and step"
    )
    mel_weight: Positive = Field(45.0, description="weight of the mel loss")
    feature_weight: Positive = Field(2.0, description="weight of the feature-matching loss")
    steps: Count = Field(100000, description="optimiser steps at most")
    batch_size: Count = Field(16, description="utterances per step")
    learning_rate: Positive = Field(2e-4, description="peak learning rate (AdamW)")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(0, description="linear warm-up")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.01, description="AdamW weight decay")
    betas: tuple[Share, Share] = Field((0.8, 0.99), description="AdamW's running averages")
    decay_per_epoch: Annotated[float, Field(gt=0, le=1)] | None = Field(
        0.999,
        description="learning rate times this after each pass over the data; "
        "half a cosine to the last step when empty",
    )
    gradient_clip: Positive | None = Field(
        None, description="largest gradient norm; none when empty"
    )
    validate_every: Count = Field(2000, description="steps between validations and checkpoints")
    patience: Count = Field(50, description="validations without improvement before stopping")
    seed: int = Field(1, description="seed of the vocoder")


class RuntimeConfig(Section):
    """Settings that do not identify a result: changing them reruns nothing."""

    device: str = Field("auto", description="auto, cpu, cuda, ...")
    devices: Count = Field(1, description="devices of one pre-training or vocoder run (DDP)")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        "32-true", description="Lightning Fabric precision"
    )
    threads: Count = Field(1, description="torch threads of a cell's job")
    pretrain_threads: Count = Field(2, description="torch threads of the neutral pre-training")
    compile: bool = Field(False, description="torch.compile in pre-training and vocoder training")
    pad_frames: Count = Field(
        1, description="batches are padded to a multiple of this many frames: few shapes to compile"
    )
    pad_phones: Count = Field(1, description="likewise for phones")
    checkpoint_minutes: Positive = Field(
        10.0, description="minutes between checkpoints; one is written at each validation as well"
    )
    cache_mb: Count = Field(
        2000,
        description="memory of a cell for what its frozen parts put out; more is computed anew",
    )
    log_every: Count = Field(25, description="steps between lines of the training curves")


#: An image or module is one word of a command line.
Word = Annotated[str, Field(pattern=r"^[^\s{}]+$")]


class DeploymentConfig(Section):
    """The software of the jobs, for `snakemake --sdm apptainer` or `--sdm env-modules`: no result depends on it."""

    container: Word | None = Field(
        None, description="image of every stage, a .sif file or a URI like docker://me/eele:1"
    )
    mfa_container: Word | None = Field(
        None, description="image of `align` where the aligner is mfa; `container` when empty"
    )
    modules: tuple[Word, ...] = Field((), description="environment modules of every stage")
    mfa_modules: tuple[Word, ...] = Field(
        (), description="modules of `align` where the aligner is mfa; `modules` when empty"
    )


#: Keys of a study that identify no result: changing them reruns nothing.
NO_IDENTITY = frozenset({"runtime", "data_root", "deployment"})


class StudyConfig(Section):
    """One study: one config, one folder of results."""

    study: Name = Field("demo", description="name of the study; results go to results/<study>/")
    title: str = Field("EELE on a generated corpus", description="heading of the page")
    audio: AudioConfig = Field(AudioConfig(), description="audio specification")
    data_root: Path = Field(
        Path("data"), description="folder below which the corpora lie; identifies no result"
    )
    corpora: Annotated[tuple[CorpusConfig, ...], Field(min_length=1)] = Field(
        (CorpusConfig(),), description="corpora of the study"
    )
    cleaning: CleaningConfig = Field(CleaningConfig(), description="cleaning of recordings")
    splits: SplitConfig = Field(SplitConfig(), description="splits by sentence")
    lexicon: LexiconConfig = Field(LexiconConfig(), description="pronunciations")
    alignment: AlignmentConfig = Field(AlignmentConfig(), description="phone times")
    features: FeatureConfig = Field(FeatureConfig(), description="pitch, energy, mel")
    backbone: BackboneConfig = Field(BackboneConfig(), description="text-to-speech model")
    pretraining: PretrainingConfig = Field(PretrainingConfig(), description="neutral pre-training")
    adaptation: AdaptationConfig = Field(AdaptationConfig(), description="fine-tuning of cells")
    emotions: Annotated[tuple[Emotion, ...], Field(min_length=1)] = Field(
        ("happy", "sad"),
        description="emotions adapted to, one cell each; judges tell them and neutral apart",
    )
    schemes: dict[Name, tuple[str, ...]] = Field(
        {}, description="further insertion schemes: name -> sites"
    )
    sweep: Annotated[tuple[SweepBlock, ...], Field(min_length=1)] = Field(
        (
            SweepBlock(method="lora", schemes=tuple(SCHEMES), ranks=(8,)),
            SweepBlock(method="lora", schemes=("g",), ranks=(2, 4, 8, 16, 32)),
            SweepBlock(method="full"),
        ),
        description="blocks of method x schemes x ranks, united; baselines are always added",
    )
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = Field(
        (1,), description="seeds of every cell"
    )
    synthesis: SynthesisConfig = Field(SynthesisConfig(), description="waveforms")
    vocoder: VocoderConfig = Field(
        VocoderConfig(), description="training of the vocoder hifigan, where the study uses it"
    )
    evaluation: EvaluationConfig = Field(EvaluationConfig(), description="scores")
    combining: dict[Name, CombiningConfig] = Field(
        {}, description="adapters plugged together and scaled, by name (docs/sweep.md)"
    )
    encoders: dict[Name, EncoderConfig] = Field(
        {"small": EncoderConfig()}, description="speech encoders of emotion recognisers, by name"
    )
    recognition: RecognitionConfig | None = Field(
        None, description="makes this a study of recognition (docs/ser.md); none when empty"
    )
    runtime: RuntimeConfig = Field(RuntimeConfig(), description="does not identify a result")
    deployment: DeploymentConfig = Field(
        DeploymentConfig(), description="software of the jobs; does not identify a result"
    )

    @property
    def uses_vocoder(self) -> bool:
        """Whether the backbone ends at the mel, and a vocoder makes the waveform."""
        return self.backbone.name == "fastspeech2"

    @property
    def adapts_voices(self) -> bool:
        """Whether cells adapt to voices that pre-training left out, and not to emotions."""
        return bool(self.pretraining.leave_out)

    @property
    def adapted(self) -> tuple[Emotion, ...]:
        """Emotions that cells are trained and tested in; `emotions` are those that judges tell apart."""
        if self.adapts_voices:
            return ("neutral",)
        chosen = self.adaptation.emotions or self.emotions
        return tuple(emotion for emotion in self.emotions if emotion in chosen)

    def corpus_root(self, corpus: CorpusConfig) -> Path:
        """Folder of one corpus: its `root` (its adapter's name when empty) below `data_root`."""
        return self.data_root / (corpus.root or Path(corpus.adapter))

    def refusal(self, method: str, scheme: str) -> str | None:
        """Why `method` cannot go to `scheme`, because of the first site that refuses it; None where it can.

        A scheme is taken whole or not at all: with a site missing it would be another scheme.
        """
        if scheme == NOT_APPLICABLE:
            return None
        sites = scheme_sites(scheme, self.backbone.name, self.schemes)
        reasons = (refusal(method, self.backbone.name, site) for site in sites)
        return next((reason for reason in reasons if reason is not None), None)

    @model_validator(mode="after")
    def _cross_checks(self) -> StudyConfig:
        check(self)
        return self
