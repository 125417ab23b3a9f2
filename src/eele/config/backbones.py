"""Sizes and choices of the backbones and of the neural vocoder. Defaults of `vits2` are the published sizes."""

from __future__ import annotations

from math import prod
from typing import Annotated, Literal

from pydantic import Field, model_validator

from eele.config.data import Count, Positive, Section, Share


def _odd(section: Section, *keys: str) -> None:
    for key in keys:
        if getattr(section, key) % 2 == 0:
            raise ValueError(f"{key} must be odd, got {getattr(section, key)}")


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
        _odd(self, "kernel_size", "predictor_kernel")
        return self


class HifiGanConfig(Section):
    """HiFi-GAN generator (Kong et al., arXiv 2010.05646, V1): frames to samples."""

    initial_channels: Count = Field(512, description="channels before the first upsampling")
    upsample_rates: tuple[Count, ...] = Field(
        (8, 8, 2, 2), description="upsampling factors; their product is audio.hop_size"
    )
    upsample_kernels: tuple[Count, ...] = Field(
        (16, 16, 4, 4), description="kernels of the transposed convolutions"
    )
    resblock_kernels: tuple[Count, ...] = Field(
        (3, 7, 11), description="kernels of the residual blocks after each upsampling (odd)"
    )
    resblock_dilations: tuple[Count, ...] = Field(
        (1, 3, 5), description="dilations within each residual block"
    )

    @model_validator(mode="after")
    def _fits(self) -> HifiGanConfig:
        if len(self.upsample_rates) != len(self.upsample_kernels):
            raise ValueError("upsample_rates and upsample_kernels need equally many values")
        for rate, kernel in zip(self.upsample_rates, self.upsample_kernels, strict=True):
            if kernel < rate or (kernel - rate) % 2:
                raise ValueError(
                    f"an upsampling by {rate} needs a kernel of {rate} plus an even number, got {kernel}"
                )
        if self.initial_channels % 2 ** len(self.upsample_rates):
            raise ValueError(
                f"initial_channels {self.initial_channels} is halved {len(self.upsample_rates)} times; "
                f"it must be a multiple of {2 ** len(self.upsample_rates)}"
            )
        for kernel in self.resblock_kernels:
            if kernel % 2 == 0:
                raise ValueError(f"resblock_kernels must be odd, got {kernel}")
        return self

    @property
    def samples_per_frame(self) -> int:
        """Samples made of one frame."""
        return prod(self.upsample_rates)


class DiscriminatorConfig(Section):
    """Multi-period and multi-scale discriminators (arXiv 2010.05646); VITS takes one scale."""

    periods: tuple[Count, ...] = Field((2, 3, 5, 7, 11), description="one discriminator per period")
    period_channels: tuple[Count, ...] = Field(
        (32, 128, 512, 1024, 1024), description="channels of a period discriminator's convolutions"
    )
    scales: Count = Field(
        1, description="scale discriminators; each hears half the rate of the last"
    )
    scale_channels: tuple[Count, ...] = Field(
        (16, 64, 256, 1024, 1024, 1024),
        description="channels of a scale discriminator's convolutions",
    )
    scale_groups: tuple[Count, ...] = Field(
        (1, 4, 16, 64, 256, 1), description="groups of a scale discriminator's convolutions"
    )

    @model_validator(mode="after")
    def _divides(self) -> DiscriminatorConfig:
        if len(self.scale_channels) != len(self.scale_groups):
            raise ValueError("scale_channels and scale_groups need equally many values")
        if len(self.scale_channels) < 3 or len(self.period_channels) < 2:
            raise ValueError(
                "scale_channels needs three values or more, period_channels two or more"
            )
        channels = (1, *self.scale_channels)
        for before, after, groups in zip(channels, channels[1:], self.scale_groups, strict=False):
            if before % groups or after % groups:
                raise ValueError(
                    f"scale_groups: {groups} does not divide {before} and {after} channels"
                )
        return self


class Vits2Config(Section):
    """The backbone `vits2` (Kong et al., arXiv 2307.16430); sizes not in the paper are VITS's."""

    hidden_size: Count = Field(192, description="channels of text, latent and flow")
    filter_size: Count = Field(768, description="channels of the text encoder's feed-forward")
    encoder_layers: Count = Field(6, description="Transformer blocks of the text encoder")
    heads: Count = Field(2, description="attention heads")
    kernel_size: Count = Field(3, description="kernel of the text encoder's feed-forward (odd)")
    attention_window: Count = Field(
        4, description="relative positions within +- this many are learned"
    )
    dropout: Share = Field(0.1, description="dropout of the text encoder")
    speaker_size: Count = Field(256, description="channels of the speaker vector")
    speaker_layer: Count = Field(
        3, description="block of the text encoder that the speaker vector enters, from 1"
    )
    posterior_layers: Count = Field(16, description="gated convolutions of the posterior encoder")
    flow_couplings: Count = Field(4, description="coupling layers of the flow")
    flow_layers: Count = Field(4, description="gated convolutions of each coupling")
    flow_kernel: Count = Field(5, description="kernel of flow and posterior encoder (odd)")
    flow_transformer_layers: Annotated[int, Field(ge=0)] = Field(
        1, description="Transformer blocks in each coupling; 0 is VITS's flow"
    )
    decoder: HifiGanConfig = Field(HifiGanConfig(), description="waveform decoder")
    discriminator: DiscriminatorConfig = Field(
        DiscriminatorConfig(), description="discriminators of the waveform"
    )
    duration_predictor: Literal["flow", "adversarial"] = Field(
        "adversarial",
        description="flow: VITS's stochastic predictor; adversarial: VITS2's, from noise",
    )
    predictor_size: Count = Field(256, description="channels of the adversarial duration predictor")
    predictor_dropout: Share = Field(0.5, description="dropout of the duration predictor")
    durations: Literal["search", "alignment"] = Field(
        "search",
        description="phone durations of training: monotonic alignment search, or the aligner's",
    )
    search_noise: Annotated[float, Field(ge=0)] = Field(
        0.01, description="noise on the search's scores at step 0, in their standard deviations"
    )
    search_noise_decay: Annotated[float, Field(ge=0)] = Field(
        2e-6, description="by how much search_noise falls per step"
    )
    segment_frames: Annotated[int, Field(ge=4)] = Field(
        32, description="frames per utterance and step that the decoder learns from"
    )
    mel_weight: Positive = Field(45.0, description="weight of the mel loss")
    kl_weight: Positive = Field(1.0, description="weight of the divergence of posterior and prior")
    feature_weight: Positive = Field(2.0, description="weight of the feature-matching loss")
    posterior_draws: Count = Field(
        4,
        description="samples of the posterior per utterance that a cell learns from, in turns; "
        "what lies before a cell's sites is computed once for each",
    )
    latent_noise: Annotated[float, Field(ge=0)] = Field(
        0.667, description="standard deviations of the prior drawn from in synthesis"
    )
    duration_noise: Annotated[float, Field(ge=0)] = Field(
        0.8, description="standard deviations of the duration predictor's noise in synthesis"
    )

    @model_validator(mode="after")
    def _fits(self) -> Vits2Config:
        if self.hidden_size % (2 * self.heads):
            raise ValueError(
                f"hidden_size {self.hidden_size} is not divisible by 2 x heads ({2 * self.heads})"
            )
        if self.speaker_layer > self.encoder_layers:
            raise ValueError(
                f"speaker_layer {self.speaker_layer} is beyond encoder_layers {self.encoder_layers}"
            )
        _odd(self, "kernel_size", "flow_kernel")
        return self


class BackboneConfig(Section):
    """The text-to-speech model."""

    name: Literal["fastspeech2", "vits2"] = Field("fastspeech2", description="which backbone")
    fastspeech2: FastSpeech2Config = Field(FastSpeech2Config(), description="sizes of fastspeech2")
    vits2: Vits2Config = Field(Vits2Config(), description="sizes and choices of vits2")
