"""Config sections of speech emotion recognition: encoders of speech, and how recognisers are trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from eele.config.data import Count, Positive, Section, Share


class SmallEncoderConfig(Section):
    """The encoder this project trains itself: a Transformer on log-mels, by masked prediction of
    random-projection targets (BEST-RQ, arXiv 2202.01855) on the study's training speech."""

    hidden_size: Count = Field(192, description="channels of the Transformer")
    layers: Count = Field(4, description="Transformer layers")
    heads: Count = Field(4, description="attention heads")
    feed_forward_size: Count = Field(768, description="inner channels of the feed-forward")
    dropout: Share = Field(0.1, description="dropout")
    codebooks: Count = Field(4, description="target codebooks, each with a projection of its own")
    codes: Count = Field(512, description="entries of a codebook")
    code_size: Count = Field(16, description="channels of a code")
    mask_frames: Count = Field(40, description="masked at a time, in 10 ms frames")
    mask_share: Share = Field(0.4, description="share of the frames where a mask begins or goes on")
    crop_s: Positive = Field(4.0, description="longest stretch of an utterance in a batch, seconds")
    steps: Annotated[int, Field(ge=0)] = Field(
        2000, description="steps of masked prediction; 0 leaves random weights, the baseline"
    )
    batch_size: Count = Field(16, description="utterances per step")
    learning_rate: Positive = Field(1e-3, description="peak learning rate (AdamW)")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(200, description="linear warm-up")
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
    crop_s: Positive = Field(6.0, description="longest stretch of a training utterance, seconds")
    longest_s: Positive = Field(
        30.0, description="of longer utterances only so much is heard in validation and test"
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
