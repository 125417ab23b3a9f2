"""The typed, frozen study config. Every key has a description: the default YAML and the schema are made from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from eele.vocabulary import CORPORA, EMOTIONS, SCHEMES, SITES

Emotion = Literal[
    "neutral",
    "calm",
    "happy",
    "sad",
    "angry",
    "fearful",
    "disgusted",
    "surprised",
    "bored",
]
CorpusAdapter = Literal[
    "vctk",
    "esd",
    "ljspeech",
    "libritts_r",
    "ravdess",
    "cremad",
    "emodb",
    "nemo",
    "emovdb",
    "folder",
    "demo",
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=60)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A frozen config section: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AudioConfig(Section):
    """The one audio specification every stage uses."""

    sample_rate_hz: Annotated[int, Field(ge=8000, le=48000)] = Field(
        22050,
        description="sample rate of the cleaned audio, the features and the synthesised speech",
    )
    fft_size: Annotated[int, Field(ge=64)] = Field(1024, description="FFT length in samples")
    window_size: Annotated[int, Field(ge=64)] = Field(1024, description="Hann window in samples")
    hop_size: Annotated[int, Field(ge=16)] = Field(256, description="frame shift in samples")
    mel_channels: Annotated[int, Field(ge=8, le=256)] = Field(80, description="mel bands")
    mel_fmin_hz: Annotated[float, Field(ge=0)] = Field(
        0.0, description="lowest mel band edge in Hz"
    )
    mel_fmax_hz: Positive = Field(8000.0, description="highest mel band edge in Hz")

    @model_validator(mode="after")
    def _consistent(self) -> AudioConfig:
        if self.window_size > self.fft_size:
            raise ValueError(f"window_size {self.window_size} exceeds fft_size {self.fft_size}")
        if self.mel_fmax_hz > self.sample_rate_hz / 2:
            raise ValueError(
                f"mel_fmax_hz {self.mel_fmax_hz:g} exceeds half the sample rate {self.sample_rate_hz}"
            )
        if self.mel_fmin_hz >= self.mel_fmax_hz:
            raise ValueError("mel_fmin_hz must lie below mel_fmax_hz")
        return self

    @property
    def hop_s(self) -> float:
        """Frame shift in seconds."""
        return self.hop_size / self.sample_rate_hz


class DemoCorpusConfig(Section):
    """Size of the generated corpus (adapter `demo`)."""

    voices: Annotated[int, Field(ge=2, le=4)] = Field(2, description="number of synthetic voices")
    parallel_sentences: Annotated[int, Field(ge=2, le=60)] = Field(
        60, description="sentences spoken in neutral and in every emotion by every voice"
    )
    neutral_sentences: Annotated[int, Field(ge=0, le=140)] = Field(
        100, description="further sentences spoken in neutral only"
    )
    emotions: tuple[Emotion, ...] = Field(
        ("happy", "sad", "angry", "fearful"), description="emotions made beside neutral"
    )


class CorpusConfig(Section):
    """One corpus of the study."""

    adapter: CorpusAdapter = Field(
        "demo", description="adapter name; `eele list corpora` shows them"
    )
    name: Name | None = Field(
        None, description="name in paths and utterance ids; the adapter's name when empty"
    )
    root: Path | None = Field(
        None,
        description="folder of the corpus in its official layout, below data_root or absolute; "
        "<adapter> when empty",
    )
    language: str | None = Field(
        None, description="language code (en, pl, de, ...); only where the corpus does not say"
    )
    speakers: tuple[str, ...] | None = Field(None, description="keep these speakers only")
    emotions: tuple[Emotion, ...] | None = Field(None, description="keep these emotions only")
    demo: DemoCorpusConfig = Field(DemoCorpusConfig(), description="for the adapter `demo` only")

    @property
    def id(self) -> str:
        """Name of the corpus in paths and utterance ids."""
        return self.name or self.adapter


class CleaningConfig(Section):
    """From raw recordings to clean ones; what fails is set aside in rejected.csv, never dropped silently."""

    edge_silence_s: Annotated[float, Field(ge=0, le=2)] = Field(
        0.1, description="silence kept at each end; longer edges are cut"
    )
    silence_below_peak_db: Positive = Field(
        40.0, description="a frame this far below the utterance's loud frames counts as silence"
    )
    loudness_dbfs: Annotated[float, Field(lt=0)] = Field(
        -23.0, description="active speech level each speaker is levelled to (one gain per speaker)"
    )
    min_duration_s: Positive = Field(0.4, description="shorter utterances are rejected")
    max_duration_s: Positive = Field(15.0, description="longer utterances are rejected")
    max_clipped_share: Share = Field(
        0.05, description="utterances with a larger share of samples at full scale are rejected"
    )
    max_rejected_share: Share = Field(
        0.1, description="the run stops when a larger share of a corpus is rejected"
    )


class SplitConfig(Section):
    """Splits by sentence: a test sentence is never trained on, in any emotion or voice."""

    test_sentences: Count = Field(
        12, description="sentences held out for test, drawn from those spoken emotionally"
    )
    validation_sentences: Annotated[int, Field(ge=0)] = Field(
        6, description="sentences held out for early stopping, drawn likewise"
    )
    seed: int = Field(1, description="seed of the draw")


class LexiconConfig(Section):
    """Where pronunciations come from."""

    source: Literal["espeak", "dictionary"] = Field(
        "espeak", description="espeak-ng (IPA, any language it speaks) or a pronouncing dictionary"
    )
    dictionary: Path | None = Field(
        None, description="dictionary file, `word<TAB>ph on es` per line, for source: dictionary"
    )

    @model_validator(mode="after")
    def _needs_file(self) -> LexiconConfig:
        if self.source == "dictionary" and self.dictionary is None:
            raise ValueError("source: dictionary needs the key `dictionary` (a file)")
        return self


class GmmConfig(Section):
    """Embedded monophone GMM-HMM aligner (kaldi-hmm-gmm), trained on the corpus itself."""

    iterations: Count = Field(40, description="training passes")
    gaussians: Count = Field(1000, description="Gaussians in all at the end of training")
    beam: Positive = Field(10.0, description="decoding beam")
    retry_beam: Positive = Field(40.0, description="beam of the second try")
    max_training_minutes: Positive = Field(
        20.0,
        description="speech trained on, per language, drawn evenly; all utterances are aligned",
    )
    min_speech_s: Positive = Field(
        60.0,
        description="a language with less speech stops the run: training from scratch collapses",
    )
    scarce_speech_s: Positive = Field(
        180.0, description="a language with less speech is marked in the summary"
    )


class MfaConfig(Section):
    """Montreal Forced Aligner 3.x, run in its own conda environment (envs/mfa.yaml)."""

    mode: Literal["train", "pretrained"] = Field(
        "train", description="train on the corpus, or align with a pretrained acoustic model"
    )
    acoustic_model: str | None = Field(
        None, description="model name or absolute .zip path, for mode: pretrained"
    )
    dictionary: str | None = Field(
        None, description="dictionary name or absolute .dict path; the study's lexicon when empty"
    )
    beam: Count = Field(10, description="decoding beam")
    retry_beam: Count = Field(40, description="beam of the second try")

    @model_validator(mode="after")
    def _needs_model(self) -> MfaConfig:
        if self.mode == "pretrained" and not self.acoustic_model:
            raise ValueError("mode: pretrained needs the key `acoustic_model`")
        return self


class AlignmentConfig(Section):
    """Phone times."""

    aligner: Literal["gmm", "mfa"] = Field("gmm", description="embedded aligner or MFA")
    max_score_deviation: Positive = Field(
        6.5,
        description="an utterance whose acoustic score lies this many robust standard deviations "
        "below its speaker's median is set aside as wrong text",
    )
    max_failed_share: Share = Field(
        0.2, description="the run stops when a larger share of the utterances cannot be aligned"
    )
    gmm: GmmConfig = Field(GmmConfig(), description="settings of the embedded aligner")
    mfa: MfaConfig = Field(MfaConfig(), description="settings of MFA")


class FeatureConfig(Section):
    """Pitch and the scatter of the extraction."""

    f0_method: Literal["dio", "praat"] = Field(
        "dio", description="dio: pyworld DIO + StoneMask; praat: Praat autocorrelation"
    )
    f0_floor_hz: Positive = Field(65.0, description="lowest F0 searched")
    f0_ceiling_hz: Positive = Field(500.0, description="highest F0 searched")
    shards: Count = Field(2, description="extraction jobs, one core each")

    @model_validator(mode="after")
    def _ordered(self) -> FeatureConfig:
        if self.f0_floor_hz >= self.f0_ceiling_hz:
            raise ValueError("f0_floor_hz must lie below f0_ceiling_hz")
        return self


class FastSpeech2Config(Section):
    """Sizes of the backbone `fastspeech2`."""

    hidden_size: Count = Field(128, description="model width")
    encoder_layers: Count = Field(3, description="feed-forward Transformer blocks of the encoder")
    decoder_layers: Count = Field(3, description="feed-forward Transformer blocks of the decoder")
    heads: Count = Field(2, description="attention heads")
    filter_size: Count = Field(256, description="channels of the convolutional feed-forward")
    kernel_size: Count = Field(5, description="kernel of the first feed-forward convolution (odd)")
    predictor_size: Count = Field(128, description="channels of the variance predictors")
    predictor_kernel: Count = Field(3, description="kernel of the variance predictors (odd)")
    postnet_layers: Count = Field(3, description="convolutions of the postnet")
    postnet_size: Count = Field(96, description="channels of the postnet")
    dropout: Share = Field(0.1, description="dropout of encoder, decoder and postnet")
    predictor_dropout: Share = Field(0.3, description="dropout of the variance predictors")

    @model_validator(mode="after")
    def _divides(self) -> FastSpeech2Config:
        if self.hidden_size % self.heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not divisible by heads {self.heads}"
            )
        for key in ("kernel_size", "predictor_kernel"):
            if getattr(self, key) % 2 == 0:
                raise ValueError(f"{key} must be odd, got {getattr(self, key)}")
        return self


class BackboneConfig(Section):
    """The text-to-speech model."""

    name: Literal["fastspeech2"] = Field("fastspeech2", description="which backbone")
    fastspeech2: FastSpeech2Config = Field(FastSpeech2Config(), description="sizes of fastspeech2")


class TrainingConfig(Section):
    """One optimisation run (the neutral pre-training, or each cell)."""

    steps: Count = Field(..., description="optimiser steps at most")
    batch_size: Count = Field(..., description="utterances per step")
    learning_rate: Positive = Field(..., description="peak learning rate (AdamW)")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(..., description="linear warm-up")
    weight_decay: Annotated[float, Field(ge=0)] = Field(..., description="AdamW weight decay")
    gradient_clip: Positive = Field(1.0, description="largest gradient norm")
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
        1.0, description="lora_alpha = this x rank, so the update is scaled by it at every rank"
    )
    lora_dropout: Share = Field(0.0, description="dropout on the adapter's input")
    speakers: tuple[str, ...] | None = Field(
        None, description="adapt and test on these speakers; all with emotional speech when empty"
    )


class SweepBlock(Section):
    """One block of the sweep: method x schemes x ranks; blocks are united."""

    method: Literal["lora", "full"] = Field("lora", description="adaptation method")
    schemes: tuple[str, ...] = Field((), description="insertion schemes (not for `full`)")
    ranks: tuple[Count, ...] = Field((), description="ranks (not for `full`)")

    @model_validator(mode="after")
    def _axes(self) -> SweepBlock:
        if self.method == "full":
            if self.schemes or self.ranks:
                raise ValueError("method full moves every weight: it takes no schemes and no ranks")
        elif not self.schemes or not self.ranks:
            raise ValueError(f"method {self.method} needs schemes and ranks")
        return self


class SynthesisConfig(Section):
    """From mel to waveform, and what is spoken beside the test sentences."""

    vocoder: Literal["griffin_lim"] = Field("griffin_lim", description="mel to waveform")
    griffin_lim_iterations: Count = Field(32, description="phase iterations")
    texts: tuple[str, ...] = Field((), description="free texts every cell also speaks")


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

    judges: tuple[Literal["statistics"], ...] = Field(
        ("statistics",), description="emotion recognisers; the first one fills emotion_accuracy"
    )
    bootstrap_samples: Count = Field(1000, description="bootstrap draws over sentences")
    confidence: Annotated[float, Field(gt=0, lt=1)] = Field(0.95, description="interval level")
    seed: int = Field(1, description="seed of judges and bootstrap")
    recogniser: RecogniserConfig = Field(RecogniserConfig(), description="phone recogniser")


class RuntimeConfig(Section):
    """Settings that do not identify a result: changing them reruns nothing."""

    device: str = Field("auto", description="auto, cpu, cuda, ...")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        "32-true", description="Lightning Fabric precision"
    )
    threads: Count = Field(1, description="torch threads of a cell's job")
    pretrain_threads: Count = Field(2, description="torch threads of the neutral pre-training")
    log_every: Count = Field(25, description="steps between lines of the training curves")


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
        ("happy", "sad"), description="emotions adapted to, one cell each"
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
    evaluation: EvaluationConfig = Field(EvaluationConfig(), description="scores")
    runtime: RuntimeConfig = Field(RuntimeConfig(), description="does not identify a result")

    def corpus_root(self, corpus: CorpusConfig) -> Path:
        """Folder of one corpus: its `root` (its adapter's name when empty) below `data_root`."""
        return self.data_root / (corpus.root or Path(corpus.adapter))

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
        if "neutral" in self.emotions:
            raise ValueError("emotions: neutral is what the base model speaks; name emotions only")
        ids = [corpus.id for corpus in self.corpora]
        for corpus_id in ids:
            if ids.count(corpus_id) > 1:
                raise ValueError(f"corpora: two corpora are named '{corpus_id}'; set `name` on one")
        return self


assert set(CorpusAdapter.__args__) == set(CORPORA)  # type: ignore[attr-defined]
assert set(EMOTIONS) == set(Emotion.__args__)  # type: ignore[attr-defined]
