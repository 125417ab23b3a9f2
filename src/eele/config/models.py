"""The typed, frozen study config. Every key has a description: the default YAML and the schema are made from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from eele.config.backbones import (
    BackboneConfig,
    DiscriminatorConfig,
    FastSpeech2Config,
    HifiGanConfig,
    Vits2Config,
)
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
from eele.config.sweep import SweepBlock
from eele.config.voices import check_voices
from eele.errors import ConfigError
from eele.peft import refusal
from eele.vocabulary import NOT_APPLICABLE, SCHEMES, SITES, Emotion, scheme_sites

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

    steps: Count = Field(900, description="optimiser steps at most")
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

    steps: Count = Field(120, description="optimiser steps at most")
    batch_size: Count = Field(8, description="utterances per step")
    learning_rate: Positive = Field(3e-3, description="peak learning rate of adapters (AdamW)")
    full_learning_rate: Positive = Field(5e-4, description="peak learning rate of method `full`")
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
        return ("neutral",) if self.adapts_voices else self.emotions

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
        sites = SITES[self.backbone.name]
        for name, scheme in self.schemes.items():
            if name in SCHEMES:
                raise ValueError(
                    f"schemes.{name}: '{name}' is one of the study's eight; choose another name"
                )
            if not scheme:
                raise ValueError(f"schemes.{name}: holds no site; allowed: {', '.join(sites)}")
            for site in scheme:
                if site not in sites:
                    raise ValueError(
                        f"schemes.{name}: unknown site '{site}' for backbone {self.backbone.name}; "
                        f"allowed: {', '.join(sites)}"
                    )
        known = {**SCHEMES, **self.schemes}
        for index, block in enumerate(self.sweep):
            for scheme_name in block.schemes:
                if scheme_name not in known:
                    raise ValueError(
                        f"sweep.{index}.schemes: unknown scheme '{scheme_name}'; "
                        f"allowed: {', '.join(known)}"
                    )
            self._check_sites(index, block)
        self._check_upsampling()
        if "neutral" in self.emotions:
            raise ValueError("emotions: neutral is what the base model speaks; name emotions only")
        ids = [corpus.id for corpus in self.corpora]
        for corpus_id in ids:
            if ids.count(corpus_id) > 1:
                raise ValueError(f"corpora: two corpora are named '{corpus_id}'; set `name` on one")
        self._check_encoders(ids)
        if self.recognition is not None:
            self._check_recognition(self.recognition, ids)
        self._check_judges()
        check_voices(self)
        self._check_combining()
        return self

    def _check_sites(self, index: int, block: SweepBlock) -> None:
        """A block's method can go to its schemes, or to one of them where others may be left out."""
        reasons = {scheme: self.refusal(block.method, scheme) for scheme in block.schemes}
        refused = {scheme: reason for scheme, reason in reasons.items() if reason is not None}
        if not refused or (block.skip_impossible and len(refused) < len(reasons)):
            return
        scheme, reason = next(iter(refused.items()))
        way_out = (
            "no scheme of the block is left"
            if block.skip_impossible
            else f"take {', '.join(refused)} out, or set skip_impossible: true"
        )
        raise ValueError(f"sweep.{index}.schemes: scheme '{scheme}': {reason}; {way_out}")

    def _check_encoders(self, ids: list[str]) -> None:
        """What an encoder hears are corpora of the study."""
        for name, encoder in self.encoders.items():
            for corpus in encoder.small.corpora:
                if corpus not in ids:
                    raise ValueError(
                        f"encoders.{name}.small.corpora: unknown corpus '{corpus}'; the study "
                        f"has: {', '.join(ids)}"
                    )

    def _check_judges(self) -> None:
        """A judge's encoder is the study's; a published judge in use knows all emotions of the study."""
        evaluation = self.evaluation
        for name, judge in evaluation.encoder_judges.items():
            if judge.encoder not in self.encoders:
                raise ValueError(
                    f"evaluation.encoder_judges.{name}.encoder: unknown encoder '{judge.encoder}'; "
                    f"`encoders` has: {', '.join(self.encoders)}"
                )
        for name in evaluation.judges:
            if name not in evaluation.published_judges:
                continue
            known = evaluation.published_judges[name].labels.values()
            lacking = [e for e in ("neutral", *self.emotions) if e not in known]
            if lacking:
                raise ValueError(
                    f"evaluation.published_judges.{name}.labels: none means {', '.join(lacking)}; a judge "
                    "must know neutral and every emotion of the study"
                )

    def _check_combining(self) -> None:
        """What is plugged together are cells that the study can build."""
        if not self.combining:
            return
        if self.recognition is not None:
            raise ValueError("combining: a study of recognition has no voice to plug adapters into")
        # Cells know the study, so they are imported when there is one.
        from eele.combining.mixtures import mixtures

        try:
            mixtures(self)
        except ConfigError as error:
            raise ValueError(str(error)) from error

    def _check_recognition(self, recognition: RecognitionConfig, ids: list[str]) -> None:
        """Encoders and corpora that a study of recognition names must be the study's."""
        for name in recognition.encoders:
            if name not in self.encoders:
                raise ValueError(
                    f"recognition.encoders: unknown encoder '{name}'; `encoders` has: "
                    f"{', '.join(self.encoders)}"
                )
        for testbed, config in recognition.testbeds.items():
            for corpus in config.corpora:
                if corpus not in ids:
                    raise ValueError(
                        f"recognition.testbeds.{testbed}.corpora: unknown corpus '{corpus}'; the study "
                        f"has: {', '.join(ids)}"
                    )

    def _check_upsampling(self) -> None:
        """What makes samples of frames must make hop_size of each."""
        used = {}
        if self.backbone.name == "vits2":
            used["backbone.vits2.decoder"] = self.backbone.vits2.decoder
        if self.uses_vocoder and self.synthesis.vocoder == "hifigan":
            used["vocoder.generator"] = self.vocoder.generator
        for key, generator in used.items():
            if generator.samples_per_frame != self.audio.hop_size:
                raise ValueError(
                    f"{key}.upsample_rates make {generator.samples_per_frame} samples of a frame; "
                    f"audio.hop_size is {self.audio.hop_size}"
                )
