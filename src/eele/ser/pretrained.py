"""Encoders of the library transformers: wav2vec 2.0, WavLM and HuBERT, and the encoder of Whisper.

Weights are read from safetensors or, where a model has none, through torch's weights-only reader: no
pickled code is run. The models' own masking (SpecAugment) and layer drop are off: augmentation belongs to the
training, and a layer that is skipped has no state to weigh.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eele.errors import ConfigError, DataError, MissingToolError
from eele.ser.encoders import SAMPLE_RATE_HZ, Encoder, frame_mask

log = logging.getLogger(__name__)

#: transformers' model types that take samples.
WAVEFORM_MODELS = ("wav2vec2", "wavlm", "hubert")
_VARIANCE_FLOOR = 1e-7


def from_hub(name: str, revision: str | None = None) -> Encoder:
    """The encoder of a local folder or of a model on the hub (from its cache when offline).

    Raises ConfigError for a model that is none of the kinds above, MissingToolError when it cannot be had.
    """
    from transformers import AutoConfig, AutoModel

    local = Path(name).is_dir()
    if not local and (name.startswith(("/", ".", "~")) or name.count("/") > 1):
        raise ConfigError(f"encoder model '{name}': there is no such folder")
    where: dict[str, Any] = {"local_files_only": local}
    if not local and revision:
        where["revision"] = revision
    try:
        config: Any = AutoConfig.from_pretrained(name, **where)
        _check_kind(name, config)
        if config.model_type == "whisper" and config.architectures == ["WhisperEncoder"]:
            from transformers.models.whisper.modeling_whisper import WhisperEncoder

            model = WhisperEncoder.from_pretrained(name, dtype=torch.float32, **where)
        else:
            model = AutoModel.from_pretrained(name, dtype=torch.float32, **where)
    except (OSError, ValueError) as error:
        raise MissingToolError(_missing(name, local, error)) from error
    if config.model_type == "whisper":
        return WhisperEncoderStates(getattr(model, "encoder", model))
    return WaveformEncoder(model, _normalised(name, where))


def from_facts(facts: dict[str, Any]) -> Encoder:
    """The encoder of `Encoder.facts()`, its weights not yet loaded."""
    from transformers import AutoConfig, AutoModel
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    settings = dict(facts["config"])
    config: Any = AutoConfig.for_model(settings.pop("model_type"), **settings)
    if config.model_type == "whisper":
        return WhisperEncoderStates(WhisperEncoder(config))
    return WaveformEncoder(AutoModel.from_config(config), facts["normalise"])


class WaveformEncoder(Encoder):
    """wav2vec 2.0, WavLM or HuBERT: about 50 states a second from the samples themselves.

    Models with a group norm after their first convolution (the base sizes) were trained without a mask;
    here its statistics are taken over each item's own frames, which is what such a model does with the
    item alone.
    """

    def __init__(self, model: Any, normalise: bool) -> None:
        """`normalise`: to zero mean and unit variance per utterance, where the model was trained so."""
        super().__init__()
        config = model.config
        config.layerdrop, config.apply_spec_augment = 0.0, False
        self.model = model
        self.normalise = normalise
        self.hidden_size, self.layer_count = config.hidden_size, config.num_hidden_layers
        self._shortest = _shortest(config.conv_kernel, config.conv_stride)
        if config.feat_extract_norm == "group":
            first = self.model.feature_extractor.conv_layers[0]
            first.layer_norm = ItemNorm(first.layer_norm)

    def facts(self) -> dict[str, Any]:
        return {
            "kind": "transformers",
            "normalise": self.normalise,
            "config": self.model.config.to_dict(),
        }

    def frames(self, samples: int) -> int:
        count = max(samples, self._shortest)
        return int(self.model._get_feat_extract_output_lengths(count))

    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        lengths = lengths.to(samples.device)
        inside = frame_mask(lengths, samples.shape[1])
        samples = samples * inside
        if self.normalise:
            mean = samples.sum(1) / lengths
            centred = (samples - mean[:, None]) * inside
            variance = centred.square().sum(1) / lengths
            samples = centred / (variance + _VARIANCE_FLOOR).sqrt()[:, None]
        samples = F.pad(samples, (0, max(0, self._shortest - samples.shape[1])))
        lengths = lengths.clamp_min(self._shortest)
        config = self.model.config
        norm = self.model.feature_extractor.conv_layers[0].layer_norm
        if isinstance(norm, ItemNorm):
            reach = lengths - config.conv_kernel[0]
            norm.frames = torch.div(reach, config.conv_stride[0], rounding_mode="floor") + 1
        attention = frame_mask(lengths, samples.shape[1])
        with _States(self.model.encoder.layers) as states:
            out = self.model(samples, attention_mask=attention.long()).last_hidden_state
        states.taken[-1] = out
        frames = self.model._get_feat_extract_output_lengths(lengths)
        return tuple(states.taken), frame_mask(frames, out.shape[1])


class WhisperEncoderStates(Encoder):
    """Whisper's encoder: 50 states a second from a log-mel. It was trained on windows of 30 s; here only as
    much of the window as holds speech is encoded, with the silence behind it where the convolutions see
    it, and 3 s do not cost 30 s.
    """

    bands: Tensor
    window: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        config = model.config
        config.encoder_layerdrop = 0.0
        model.layerdrop = 0.0
        self.model = model
        self.hidden_size, self.layer_count = config.d_model, config.encoder_layers
        from transformers.audio_utils import mel_filter_bank

        bands = mel_filter_bank(
            num_frequency_bins=1 + _WHISPER_FFT // 2,
            num_mel_filters=config.num_mel_bins,
            min_frequency=0.0,
            max_frequency=8000.0,
            sampling_rate=SAMPLE_RATE_HZ,
            norm="slaney",
            mel_scale="slaney",
        )
        self.register_buffer("bands", torch.from_numpy(bands).float(), persistent=False)
        self.register_buffer("window", torch.hann_window(_WHISPER_FFT), persistent=False)

    def facts(self) -> dict[str, Any]:
        return {"kind": "transformers", "config": self.model.config.to_dict()}

    def frames(self, samples: int) -> int:
        return max(1, -(-samples // (2 * _WHISPER_HOP)))

    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        from transformers.masking_utils import create_bidirectional_mask

        model = self.model
        longest = int(lengths.max())
        count, window = self.frames(longest), model.config.max_source_positions
        if count > window:
            raise DataError(
                f"an utterance of {longest / SAMPLE_RATE_HZ:.1f} s is longer than Whisper's window of "
                f"{window * 2 * _WHISPER_HOP / SAMPLE_RATE_HZ:g} s; lower crop_s"
            )
        mel = self.log_mel(samples[:, :longest], lengths, 2 * min(count + 2, window))
        x = F.gelu(model.conv1(mel))
        x = F.gelu(model.conv2(x)).transpose(1, 2)[:, :count]
        frames = torch.div(lengths - 1, 2 * _WHISPER_HOP, rounding_mode="floor") + 1
        mask = frame_mask(frames.clamp_min(1).to(x.device), count)
        x = x + model.embed_positions.weight[:count]
        x = F.dropout(x, model.dropout, self.training)
        attention = create_bidirectional_mask(
            config=model.config, inputs_embeds=x, attention_mask=mask
        )
        states = [x]
        for layer in model.layers:
            x = layer(x, attention)
            x = x[0] if isinstance(x, tuple) else x
            states.append(x)
        states[-1] = model.layer_norm(x)
        return tuple(states), mask

    def log_mel(self, samples: Tensor, lengths: Tensor, frames: int) -> Tensor:
        """(B, S), (B,) -> (B, mel bands, frames) as Whisper's feature extractor makes it of the utterances
        with silence behind them."""
        inside = frame_mask(lengths.to(samples.device), samples.shape[1])
        size = max(frames * _WHISPER_HOP, samples.shape[1])
        padded = F.pad(samples.float() * inside, (0, size + _WHISPER_FFT - samples.shape[1]))
        with torch.autocast(samples.device.type, enabled=False):
            spectrum = torch.stft(
                padded, _WHISPER_FFT, _WHISPER_HOP, window=self.window, return_complex=True
            )
            power = spectrum.abs().square()[:, :, :frames]
            mel = torch.matmul(self.bands.T, power).clamp_min(1e-10).log10()
        loudest = mel.amax(dim=(1, 2), keepdim=True)
        return (torch.maximum(mel, loudest - 8.0) + 4.0) / 4.0


_WHISPER_FFT, _WHISPER_HOP = 400, 160


class ItemNorm(nn.Module):
    """A group norm of one channel a group whose statistics leave padding out."""

    #: (B,) frames of each item; set before each call.
    frames: Tensor

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        if norm.num_groups != norm.num_channels:
            raise ConfigError(
                f"a group norm of {norm.num_groups} groups of {norm.num_channels} channels cannot leave "
                "padding out"
            )
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, T) -> (B, channels, T), zero in the padding's place."""
        inside = frame_mask(self.frames, x.shape[2])[:, None]
        count = self.frames[:, None, None]
        wide = x.float()
        mean = (wide * inside).sum(2, keepdim=True) / count
        centred = (wide - mean) * inside
        variance = centred.square().sum(2, keepdim=True) / count
        normal = centred * (variance + self.eps).rsqrt()
        out: Tensor = (normal * self.weight[:, None] + self.bias[:, None]) * inside
        return out.to(x.dtype)


class _States:
    """While it lasts, what enters the first layer and leaves each is taken down.

    Hooks are set at each call: before those of an adapter on the way in, after them on the way out, so
    that what an adapter adds within a layer and drops after it is not among the states.
    """

    def __init__(self, layers: nn.ModuleList) -> None:
        self.taken: list[Tensor] = []
        self._layers = layers
        self._hooks: list[Any] = []

    def __enter__(self) -> _States:
        self._hooks.append(
            self._layers[0].register_forward_pre_hook(self._enters, prepend=True, with_kwargs=True)
        )
        self._hooks += [layer.register_forward_hook(self._leaves) for layer in self._layers]
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _enters(self, layer: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.taken.append(inputs[0] if inputs else named["hidden_states"])

    def _leaves(self, layer: nn.Module, inputs: tuple[Any, ...], out: Any) -> None:
        self.taken.append(out[0] if isinstance(out, tuple) else out)


def _check_kind(name: str, config: Any) -> None:
    known = (*WAVEFORM_MODELS, "whisper")
    if config.model_type not in known:
        raise ConfigError(
            f"encoder model '{name}' is of the type {config.model_type}; allowed: {', '.join(known)}"
        )
    if getattr(config, "add_adapter", False):
        raise ConfigError(
            f"encoder model '{name}' has a convolutional adapter on top (add_adapter), whose frames are not "
            "those of its layers; take the model without it"
        )


def _missing(name: str, local: bool, error: Exception) -> str:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if local:
        return (
            f"encoder model in the folder '{name}' cannot be loaded ({reason}); it has to hold config.json, "
            "model.safetensors and preprocessor_config.json as save_pretrained writes them"
        )
    return (
        f"encoder model '{name}' cannot be had from the hub or its cache ({reason}); with a network, "
        f"`hf download {name}` (package huggingface_hub) fills the cache once, and "
        f"`hf download {name} --local-dir FOLDER` makes a folder to copy to a machine without one: "
        "then give that folder as `model`"
    )


def _normalised(name: str, where: dict[str, Any]) -> bool:
    """Whether the model was trained on utterances of zero mean and unit variance."""
    from transformers import AutoFeatureExtractor

    try:
        extractor = AutoFeatureExtractor.from_pretrained(name, **where)
    except (OSError, ValueError):
        log.warning(
            "%s has no preprocessor_config.json: its input is brought to zero mean and unit variance, "
            "as most models of its kind want it",
            name,
        )
        return True
    if extractor.sampling_rate != SAMPLE_RATE_HZ:
        raise ConfigError(
            f"encoder model '{name}' hears {extractor.sampling_rate} Hz; allowed: {SAMPLE_RATE_HZ}"
        )
    return bool(extractor.do_normalize)


def _shortest(kernels: list[int], strides: list[int]) -> int:
    """Samples from which convolutions without padding make one frame."""
    reach = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        reach = (reach - 1) * stride + kernel
    return math.ceil(reach)
