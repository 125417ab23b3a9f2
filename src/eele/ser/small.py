"""The project's own small encoder: log-mel, two strided convolutions, a Transformer. It needs no download."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eele.backbones.layers import SelfAttention
from eele.config.recognition import SmallEncoderConfig
from eele.ser.encoders import SAMPLE_RATE_HZ, Encoder, frame_mask

MEL_CHANNELS = 80
#: 10 ms at 16 kHz.
HOP = 160
_WINDOW = 400
_FFT = 512
#: Frames of 10 ms that become one state: 25 states a second.
STRIDE = 4
_FLOOR = 1e-5
#: Below an utterance's loudest band and frame: what is softer is heard as this. Without it the pauses and high
#: bands that noise fills up in augmented training look like nothing in the plain recordings of the test.
RANGE_DB = 45.0
#: Channels of the convolution that tells positions, and its groups.
_POSITION_KERNEL, _POSITION_GROUPS = 31, 16


class LogMel(nn.Module):
    """Natural log of the mel magnitude, 80 bands to 8 kHz, its softest 45 dB below its loudest; frame t is
    centred on sample 160 t."""

    bands: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        import librosa

        bands = librosa.filters.mel(sr=SAMPLE_RATE_HZ, n_fft=_FFT, n_mels=MEL_CHANNELS, fmax=8000.0)
        self.register_buffer("bands", torch.from_numpy(bands), persistent=False)
        self.register_buffer("window", torch.hann_window(_WINDOW), persistent=False)

    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S), (B,) -> log-mel (B, F, 80) and frames of each item (B,): 1 + length // 160."""
        # What lies around an item is silence, in whatever batch: no reflection at its ends.
        inside = frame_mask(lengths, samples.shape[1])
        padded = F.pad(samples.float() * inside, (_FFT // 2, _FFT // 2))
        with torch.autocast(samples.device.type, enabled=False):
            spectrum = torch.stft(
                padded, _FFT, HOP, _WINDOW, self.window, center=False, return_complex=True
            )
            mel = torch.matmul(self.bands, spectrum.abs()).clamp_min(_FLOOR).log()
            loudest = mel.amax(dim=(1, 2), keepdim=True)
            mel = torch.maximum(mel, loudest - RANGE_DB * math.log(10) / 20)
        return mel.transpose(1, 2), 1 + torch.div(lengths, HOP, rounding_mode="floor")


class FeedForward(nn.Module):
    """Two linear maps with a GELU between."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.expand = nn.Linear(channels, inner)
        self.contract = nn.Linear(inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.contract(F.gelu(self.expand(x)))
        return out


class Layer(nn.Module):
    """Self-attention and feed-forward, each with pre-normalisation and residual."""

    def __init__(self, config: SmallEncoderConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.attention_norm = nn.LayerNorm(size)
        self.attention = SelfAttention(size, config.heads)
        self.feed_norm = nn.LayerNorm(size)
        self.feed_forward = FeedForward(size, config.feed_forward_size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, hidden), (B, T) bool -> (B, T, hidden)."""
        x = x + self.dropout(self.attention(self.attention_norm(x), mask))
        return x + self.dropout(self.feed_forward(self.feed_norm(x)))


class SmallEncoder(Encoder):
    """Log-mel (80 bands, 10 ms) -> 25 states a second -> pre-norm Transformer."""

    mel_mean: Tensor
    mel_std: Tensor

    def __init__(self, config: SmallEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.hidden_size, self.layer_count = config.hidden_size, config.layers
        self.log_mel = LogMel()
        #: Of the speech it is trained on, by band.
        self.register_buffer("mel_mean", torch.zeros(MEL_CHANNELS))
        self.register_buffer("mel_std", torch.ones(MEL_CHANNELS))
        size = config.hidden_size
        self.first = nn.Conv1d(MEL_CHANNELS, size, 5, stride=2, padding=2)
        self.second = nn.Conv1d(size, size, 5, stride=2, padding=2)
        groups = _POSITION_GROUPS if size % _POSITION_GROUPS == 0 else 1
        self.position = nn.Conv1d(
            size, size, _POSITION_KERNEL, padding=_POSITION_KERNEL // 2, groups=groups
        )
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))

    def facts(self) -> dict[str, Any]:
        return {"kind": "small", "sizes": self.config.model_dump(mode="json")}

    def frames(self, samples: int) -> int:
        return -(-(1 + samples // HOP) // STRIDE)

    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        mel, frames = self.log_mel(samples, lengths)
        return self.encode(self.normalise(mel), frames)

    def normalise(self, mel: Tensor) -> Tensor:
        """Log-mel (..., 80) -> zero mean and unit variance per band of the training speech."""
        return (mel - self.mel_mean) / self.mel_std

    def encode(self, mel: Tensor, frames: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Normalised log-mel (B, F, 80) and frames of each item (B,) -> states and mask, as `forward`."""
        x = mel
        for convolution in (self.first, self.second):
            # Padding is silenced before each convolution, so that it does not reach into an item.
            x = x * frame_mask(frames, x.shape[1])[:, :, None]
            x = F.gelu(convolution(x.transpose(1, 2)).transpose(1, 2))
            frames = torch.div(frames + 1, 2, rounding_mode="floor")
        mask = frame_mask(frames, x.shape[1])
        x = x * mask[:, :, None]
        x = x + F.gelu(self.position(x.transpose(1, 2)).transpose(1, 2))
        x = self.dropout(x)
        states = [x]
        for layer in self.layers:
            x = layer(x, mask)
            # The stream grows from layer to layer; what is handed out is of one size, as from layers that
            # normalise behind themselves, so that a head hears the last one as well as the first.
            states.append(F.layer_norm(x, x.shape[-1:]))
        return tuple(states), mask
