"""The discriminators of HiFi-GAN (arXiv 2010.05646, section 2.3): several periods, several scales.

Every discriminator is a stack of convolutions. The weights are plain `Conv1d` weights; how a
convolution is laid out in memory is chosen in `forward`, for speed (`benchmarks/discriminators.py`),
and is no part of the state.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eele.backbones.base import Critic, Judged
from eele.backbones.weight_norm import normalised
from eele.config.backbones import DiscriminatorConfig
from eele.hifigan.generator import LEAK

_PERIOD_KERNEL, _PERIOD_STRIDE = 5, 3
_SCALE_KERNEL, _SCALE_STRIDE = 41, 4
_SCALE_FIRST_KERNEL, _SCALE_LAST_KERNEL = 15, 5
#: Kernel of the convolution to one channel.
_POST_KERNEL = 3
#: From this period on, columns side by side are faster than columns as a batch of 1-D signals: the
#: gradient of the weights takes 0.7 of the time at period 11, but 1.2 at period 2.
_SIDE_BY_SIDE_FROM = 5

#: What a discriminator makes of a signal: the output of each layer, the last of which is its score.
Features = list[Tensor]


class WaveformCritic(Critic):
    """All discriminators, with least-squares losses and feature matching (equations 1, 2, 4)."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.periods = nn.ModuleList(
            PeriodDiscriminator(period, config.period_channels) for period in config.periods
        )
        self.scales = nn.ModuleList(
            ScaleDiscriminator(config.scale_channels, config.scale_groups)
            for _ in range(config.scales)
        )

    def compiled_parts(self) -> list[nn.Module]:
        return [self]

    def features(self, samples: Tensor) -> Iterator[Features]:
        """(batch, samples) -> the features of each discriminator, periods first."""
        for period in self.periods:
            yield period(samples)
        heard = samples[:, None]
        for number, scale in enumerate(self.scales):
            if number:
                # Four samples two apart, the edges' zeros counted, as published.
                heard = F.avg_pool1d(heard, 4, 2, padding=2)
            yield scale(heard)

    def forward(self, judged: Judged) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """judged["waveform"] = (real, fake), each (batch, samples) -> losses of the critic and of the model.

        Sums over discriminators: `critic` (1 - D(real))^2 + D(fake)^2, `adversarial` (1 - D(fake))^2,
        `features` the mean absolute difference of each layer's output, summed over layers. The graph of
        the fake half serves both players: take the gradients of each by its own parameters. Real and fake
        pass apart, so that the model's gradients are not computed through the real half.
        """
        real, fake = judged["waveform"]
        critic, adversarial, matching = [], [], []
        for true, made in zip(self.features(real.detach()), self.features(fake), strict=True):
            score_true, score_made = true[-1].float(), made[-1].float()
            critic.append((1 - score_true).square().mean() + score_made.square().mean())
            adversarial.append((1 - score_made).square().mean())
            matching += [
                (a.detach() - b).abs().mean(dtype=torch.float32)
                for a, b in zip(true, made, strict=True)
            ]
        return (
            {"critic": torch.stack(critic).sum()},
            {
                "adversarial": torch.stack(adversarial).sum(),
                "features": torch.stack(matching).sum(),
            },
        )


class PeriodDiscriminator(nn.Module):
    """Hears every `period`-th sample: convolutions along the columns of the signal folded to that width."""

    def __init__(self, period: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.period = period
        sizes = (1, *channels)
        strides = [_PERIOD_STRIDE] * (len(channels) - 1) + [1]
        self.convs = nn.ModuleList(
            normalised(nn.Conv1d(a, b, _PERIOD_KERNEL, stride=stride, padding=_PERIOD_KERNEL // 2))
            for a, b, stride in zip(sizes, channels, strides, strict=False)
        )
        self.post = normalised(nn.Conv1d(sizes[-1], 1, _POST_KERNEL, padding=_POST_KERNEL // 2))

    def forward(self, samples: Tensor) -> Features:
        """(batch, samples) -> output of each layer, (batch, channels, rows, period) or, for short
        periods, (batch * period, channels, rows): the order of elements is nothing to the losses."""
        batch, count = samples.shape
        if count % self.period:
            missing = self.period - count % self.period
            samples = F.pad(samples[:, None], (0, missing), mode="reflect")[:, 0]
        rows = samples.view(batch, 1, -1, self.period)
        if self.period < _SIDE_BY_SIDE_FROM:
            x = rows.permute(0, 3, 1, 2).reshape(batch * self.period, 1, -1)
            along = _along_time
        else:
            x, along = rows, _along_columns
        features = []
        for layer in self.convs:
            x = F.leaky_relu(along(x, layer), LEAK, inplace=True)
            features.append(x)
        return [*features, along(x, self.post)]


class ScaleDiscriminator(nn.Module):
    """Hears the signal as it is: long strided convolutions in groups of channels."""

    def __init__(self, channels: tuple[int, ...], groups: tuple[int, ...]) -> None:
        super().__init__()
        sizes = (1, *channels)
        last = len(channels) - 1
        self.convs = nn.ModuleList()
        for number, group in enumerate(groups):
            kernel = _SCALE_KERNEL
            if number in (0, last):
                kernel = _SCALE_LAST_KERNEL if number else _SCALE_FIRST_KERNEL
            self.convs.append(
                normalised(
                    nn.Conv1d(
                        sizes[number],
                        sizes[number + 1],
                        kernel,
                        stride=1 if number in (0, last) else _SCALE_STRIDE,
                        padding=kernel // 2,
                        groups=group,
                    )
                )
            )
        self.post = normalised(nn.Conv1d(sizes[-1], 1, _POST_KERNEL, padding=_POST_KERNEL // 2))

    def forward(self, x: Tensor) -> Features:
        """(batch, 1, samples) -> output of each layer, (batch, channels, time)."""
        features = []
        for layer in self.convs:
            x = F.leaky_relu(_in_phases(x, layer), LEAK, inplace=True)
            features.append(x)
        return [*features, self.post(x)]


def _along_time(x: Tensor, layer: nn.Module) -> Tensor:
    """(batch, channels, time) -> (batch, channels, time); the layer as it is."""
    y: Tensor = layer(x)
    return y


def _along_columns(x: Tensor, layer: nn.Module) -> Tensor:
    """(batch, channels, rows, columns) -> same order: a Conv1d along the rows of every column."""
    assert isinstance(layer, nn.Conv1d)
    stride, padding = (int(layer.stride[0]), 1), (int(layer.padding[0]), 0)
    return F.conv2d(x, layer.weight[..., None], layer.bias, stride, padding)


def _in_phases(x: Tensor, layer: nn.Module) -> Tensor:
    """(batch, channels, time) -> (batch, channels, time / stride): the layer, its stride made channels.

    A convolution of stride s is one of stride 1 over the s phases of its input; for few channels per
    group the gradient of the weights is then computed up to five times as fast.
    """
    assert isinstance(layer, nn.Conv1d)
    stride, kernel = layer.stride[0], layer.kernel_size[0]
    if stride == 1:
        return _along_time(x, layer)
    batch, channels, count = x.shape
    left, taps = int(layer.padding[0]), -(-kernel // stride)
    frames = (count + 2 * left - kernel) // stride + 1
    length = frames + taps - 1
    x = F.pad(x, (left, length * stride - count - left))
    x = x.view(batch, channels, length, stride).transpose(2, 3)
    weight = F.pad(layer.weight, (0, taps * stride - kernel))
    weight = weight.view(*weight.shape[:2], taps, stride).transpose(2, 3)
    return F.conv1d(
        x.reshape(batch, channels * stride, length),
        weight.reshape(weight.shape[0], -1, taps),
        layer.bias,
        groups=layer.groups,
    )
