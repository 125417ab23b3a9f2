"""The generator of HiFi-GAN (arXiv 2010.05646, section 2.2 and appendix A.1): frames to samples."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eele.backbones.weight_norm import normalised
from eele.config.backbones import HifiGanConfig

#: Slope of every leaky ReLU for negative input.
LEAK = 0.1
#: Standard deviation of the first weights of upsampling and residual convolutions.
_INITIAL_STD = 0.01
#: Kernel of the first and the last convolution.
_OUTER_KERNEL = 7


class Generator(nn.Module):
    """Transposed convolutions, each followed by the mean of residual blocks of several receptive fields.

    `pre` and `post` stay plain in training; `ups` and `blocks` are marked for weight normalisation, as
    published. `cond` adds one vector per utterance (a speaker) to the output of `pre`.
    """

    def __init__(self, config: HifiGanConfig, in_channels: int, speaker_size: int = 0) -> None:
        super().__init__()
        channels = config.initial_channels
        self.samples_per_frame = config.samples_per_frame
        self.pre = _same(in_channels, channels, _OUTER_KERNEL)
        self.cond = nn.Conv1d(speaker_size, channels, 1) if speaker_size else None
        self.ups = nn.ModuleList()
        self.blocks = nn.ModuleList()
        for rate, kernel in zip(config.upsample_rates, config.upsample_kernels, strict=True):
            up = nn.ConvTranspose1d(
                channels, channels // 2, kernel, stride=rate, padding=(kernel - rate) // 2
            )
            self.ups.append(normalised(up))
            channels //= 2
            self.blocks.append(
                ReceptiveFields(channels, config.resblock_kernels, config.resblock_dilations)
            )
        self.post = nn.Conv1d(channels, 1, _OUTER_KERNEL, padding=_OUTER_KERNEL // 2, bias=False)
        for layer in _convolutions(self.ups, self.blocks):
            nn.init.normal_(layer.weight, 0.0, _INITIAL_STD)

    def forward(self, frames: Tensor, voice: Tensor | None = None) -> Tensor:
        """(batch, in_channels, frames), voices (batch, speaker_size) -> (batch, frames * samples_per_frame).

        Samples lie within -1..1.
        """
        x = self.pre(frames)
        if self.cond is not None:
            assert voice is not None
            x = x + self.cond(voice[:, :, None])
        for up, block in zip(self.ups, self.blocks, strict=True):
            x = block(up(F.leaky_relu(x, LEAK)))
        return torch.tanh(self.post(F.leaky_relu(x, LEAK)))[:, 0]


class ReceptiveFields(nn.Module):
    """Mean of residual blocks that differ in kernel ("multi-receptive field fusion")."""

    def __init__(self, channels: int, kernels: tuple[int, ...], dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(ResidualBlock(channels, k, dilations) for k in kernels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, time) -> same."""
        total = self.parts[0](x)
        for part in self.parts[1:]:
            total = total + part(x)
        return total / len(self.parts)


class ResidualBlock(nn.Module):
    """Per dilation: a dilated and an undilated convolution, added to their input ("resblock 1")."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.dilated = nn.ModuleList(
            normalised(_same(channels, channels, kernel, dilation)) for dilation in dilations
        )
        self.plain = nn.ModuleList(normalised(_same(channels, channels, kernel)) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, time) -> same."""
        for dilated, plain in zip(self.dilated, self.plain, strict=True):
            # In place where nothing else needs what is overwritten: the first ReLU's input is kept for the sum.
            inner = dilated(F.leaky_relu(x, LEAK))
            x = x + plain(F.leaky_relu(inner, LEAK, inplace=True))
        return x


def _same(in_channels: int, out_channels: int, kernel: int, dilation: int = 1) -> nn.Conv1d:
    # Integer padding: `padding="same"` copies its input on some devices.
    padding = dilation * (kernel // 2)
    return nn.Conv1d(in_channels, out_channels, kernel, dilation=dilation, padding=padding)


def _convolutions(*parts: nn.Module) -> Iterator[nn.Conv1d | nn.ConvTranspose1d]:
    for part in parts:
        for module in part.modules():
            if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
                yield module
