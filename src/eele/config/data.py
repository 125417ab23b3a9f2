"""Config sections of the data side: audio, corpora, cleaning, splits, lexicon, alignment, features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from eele.vocabulary import CorpusAdapter, DemoEmotion, Emotion, Gender

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
    emotions: tuple[DemoEmotion, ...] = Field(
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
    genders: dict[str, Gender] = Field(
        {},
        description="speaker -> female or male, for comparisons between genders; goes before what "
        "the corpus says",
    )
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
        "train",
        description="train on the corpus (one job), or align with a pretrained acoustic model",
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
    shards: Count = Field(
        1, description="alignment jobs; each takes whole speakers, more than there are stay empty"
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
