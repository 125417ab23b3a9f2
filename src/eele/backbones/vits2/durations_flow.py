"""VITS's stochastic duration predictor (Kim et al., arXiv 2106.06103, section 2.2.2 and appendix B): a flow.

A duration is a whole number of frames, and one number a phone. Variational dequantisation subtracts u in (0, 1)
from it, variational augmentation sets a second number v beside it; both come from a posterior flow that sees the
duration. The main flow gives the density of (ln(w - u), v). Inside, tensors are (batch, phones, channels), in which
linear layers and normalisation need no copy.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eele.backbones.vits2.splines import rational_quadratic

LN_2PI = math.log(2 * math.pi)


class SeparableConvs(nn.Module):
    """Residual layers of a depthwise convolution, dilated kernel**i in layer i, and a pointwise one."""

    def __init__(self, channels: int, kernel: int, layers: int = 3, dropout: float = 0.0) -> None:
        super().__init__()
        self.depthwise = nn.ModuleList(
            nn.Conv1d(
                channels,
                channels,
                kernel,
                padding=(kernel // 2) * kernel**layer,
                dilation=kernel**layer,
                groups=channels,
            )
            for layer in range(layers)
        )
        self.depthwise_norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(layers))
        self.pointwise = nn.ModuleList(nn.Linear(channels, channels) for _ in range(layers))
        self.pointwise_norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """(batch, phones, channels), (batch, phones, 1) 0/1 -> (batch, phones, channels)."""
        for depthwise, depthwise_norm, pointwise, pointwise_norm in zip(
            self.depthwise, self.depthwise_norms, self.pointwise, self.pointwise_norms, strict=True
        ):
            # Padding is zeroed before each convolution, so that a padded batch gives each item's lone result.
            y = F.gelu(depthwise_norm(_depthwise(depthwise, x * keep)))
            x = x + self.dropout(F.gelu(pointwise_norm(pointwise(y))))
        return x


def _depthwise(conv: nn.Module, x: Tensor) -> Tensor:
    """`conv`, a Conv1d, over the middle axis of (batch, time, channels).

    Seen as an image of height 1 this layout is `channels_last`, for which no copy is made; Conv1d
    itself makes them (2 to 6 times the time on a CPU).
    """
    assert isinstance(conv, nn.Conv1d)
    padding, dilation = int(conv.padding[0]), conv.dilation[0]
    image = x.transpose(1, 2).unsqueeze(2)
    out = F.conv2d(
        image,
        conv.weight.unsqueeze(2),
        conv.bias,
        padding=(0, padding),
        dilation=(1, dilation),
        groups=conv.groups,
    )
    return out.squeeze(2).transpose(1, 2)


class Condition(nn.Module):
    """What a flow is conditioned on, from hidden text or from durations: in, separable convolutions, out."""

    def __init__(self, in_channels: int, channels: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Linear(in_channels, channels)
        self.convs = SeparableConvs(channels, kernel, dropout=dropout)
        self.outer = nn.Linear(channels, channels)

    def forward(self, x: Tensor, keep: Tensor, voice: Tensor | None = None) -> Tensor:
        """(batch, phones, in_channels), (batch, phones, 1), (batch, 1, channels) ->
        (batch, phones, channels)."""
        hidden = self.inner(x)
        if voice is not None:
            hidden = hidden + voice
        out: Tensor = self.outer(self.convs(hidden, keep))
        return out


class SplineCoupling(nn.Module):
    """One of the two numbers of a phone moves by a spline that depends on the other (and the condition)."""

    def __init__(self, channels: int, kernel: int, bins: int, tail_bound: float) -> None:
        super().__init__()
        self.bins, self.tail_bound = bins, tail_bound
        self.inner = nn.Linear(1, channels)
        self.convs = SeparableConvs(channels, kernel)
        self.outer = nn.Linear(channels, 3 * bins - 1)
        # The flow is the identity at first.
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(
        self, given: Tensor, moved: Tensor, condition: Tensor, keep: Tensor, inverse: bool
    ) -> tuple[Tensor, Tensor]:
        """(batch, phones) twice, (batch, phones, channels), (batch, phones, 1) ->
        `moved` mapped and ln |its slope|, both (batch, phones)."""
        hidden = self.convs(self.inner(given[:, :, None]) + condition, keep)
        parameters = self.outer(hidden)
        widths, heights, slopes = parameters.float().split(
            (self.bins, self.bins, self.bins - 1), dim=-1
        )
        # Bin sizes start near even: their logits grow with the channels they are summed over.
        scale = hidden.shape[-1] ** -0.5
        return rational_quadratic(
            moved, widths * scale, heights * scale, slopes, inverse, self.tail_bound
        )


class PairFlow(nn.Module):
    """An elementwise affine map and spline couplings on two numbers a phone, which change roles each time."""

    def __init__(
        self, channels: int, kernel: int, couplings: int, bins: int, tail_bound: float
    ) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(2))
        self.log_scale = nn.Parameter(torch.zeros(2))
        self.couplings = nn.ModuleList(
            SplineCoupling(channels, kernel, bins, tail_bound) for _ in range(couplings)
        )

    def forward(
        self, first: Tensor, second: Tensor, condition: Tensor, keep: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, phones) twice, (batch, phones, channels), (batch, phones, 1) ->
        both numbers mapped and ln |det| of each phone, all (batch, phones)."""
        # Channels may run in half precision under autocast; the two numbers and the determinant do not.
        first = first * self.log_scale[0].exp() + self.shift[0]
        second = second * self.log_scale[1].exp() + self.shift[1]
        log_det = self.log_scale.sum().expand_as(first)
        for coupling in self.couplings:
            second, change = coupling(first, second, condition, keep, inverse=False)
            log_det = log_det + change
            first, second = second, first
        return first, second, log_det

    def inverse(
        self,
        first: Tensor,
        second: Tensor,
        condition: Tensor,
        keep: Tensor,
        first_only: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Undo `forward`: (batch, phones) twice -> (batch, phones) twice.

        With `first_only` the second number is not worked out to its end; what is returned for it is void.
        """
        for index in reversed(range(len(self.couplings))):
            first, second = second, first
            # The last one undone moves the second number alone.
            if index > 0 or not first_only:
                second, _ = self.couplings[index](first, second, condition, keep, inverse=True)
        first = (first - self.shift[0]) * (-self.log_scale[0]).exp()
        second = (second - self.shift[1]) * (-self.log_scale[1]).exp()
        return first, second


class FlowDurationPredictor(nn.Module):
    """The stochastic duration predictor of VITS.

    hidden: channels of the hidden text, and of everything within; speaker: size of the voice vector;
    dropout acts in the two condition networks, not in the flows, whose densities would no longer be exact.
    The gradient stops at the hidden text (section 2.2.2).
    """

    def __init__(
        self,
        hidden: int,
        speaker: int,
        kernel: int = 3,
        dropout: float = 0.5,
        flows: int = 4,
        bins: int = 10,
        tail_bound: float = 5.0,
    ) -> None:
        super().__init__()
        self.voice = nn.Linear(speaker, hidden)
        self.text = Condition(hidden, hidden, kernel, dropout)
        self.flow = PairFlow(hidden, kernel, flows, bins, tail_bound)
        self.duration = Condition(1, hidden, kernel, dropout)
        self.posterior = PairFlow(hidden, kernel, flows, bins, tail_bound)

    def loss(
        self,
        hidden: Tensor,
        mask: Tensor,
        voice: Tensor,
        durations: Tensor,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Negative lower bound on ln p(durations | hidden), (batch,), in nats summed over phones.

        hidden: (batch, channels, phones); mask: (batch, 1, phones) 0/1; voice: (batch, speaker);
        durations: (batch, phones) frames, those below 1 counting as 1 (nothing is spoken in less);
        noise: (batch, 2, phones) standard normal, what the posterior is drawn with; drawn here when None.
        The bound is VITS's equation 7: ln p(w - u, v | hidden) - ln q(u, v | w, hidden).
        """
        keep = mask.transpose(1, 2)
        text = self._condition(hidden, keep, voice)
        frames = durations.float().clamp_min(1)
        if noise is None:
            noise = torch.randn(len(hidden), 2, hidden.shape[2], device=hidden.device)
        # ln w rather than w, which would swamp the network's other inputs for a long phone.
        seen = self.duration(frames.log()[:, :, None] * keep, keep)
        z, v, log_posterior = self.draw(noise.float(), text + seen, keep)
        # u is the sigmoid of z; w - u = (w - 1) + sigmoid(-z) keeps its digits for u near 1.
        log_rest = torch.log(frames - 1 + torch.sigmoid(-z) + torch.finfo(torch.float32).tiny)
        log_posterior = log_posterior - F.logsigmoid(z) - F.logsigmoid(-z)
        # The density of w - u is that of its logarithm divided by w - u.
        log_prior = self.log_density(log_rest, v, text, keep) - log_rest
        return ((log_posterior - log_prior) * mask[:, 0].float()).sum(dim=1)

    def sample(self, hidden: Tensor, mask: Tensor, voice: Tensor, noise: Tensor) -> Tensor:
        """Log-durations ln(w - u), (batch, phones), 0 in padding; a duration is their exponential rounded up.

        noise: (batch, 2, phones) normal, of any standard deviation; the rest as in `loss`.
        """
        keep = mask.transpose(1, 2)
        text = self._condition(hidden, keep, voice)
        first, second = noise.float().unbind(dim=1)
        log_durations, _ = self.flow.inverse(first, second, text, keep, first_only=True)
        return log_durations * mask[:, 0].float()

    def draw(self, noise: Tensor, condition: Tensor, keep: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Two numbers a phone from the posterior flow, before u's sigmoid, and their log-density.

        (batch, 2, phones), (batch, phones, channels), (batch, phones, 1) -> (batch, phones) thrice.
        """
        z, v, log_det = self.posterior(noise[:, 0], noise[:, 1], condition, keep)
        return z, v, _log_normal(noise[:, 0], noise[:, 1]) - log_det

    def log_density(self, x: Tensor, v: Tensor, condition: Tensor, keep: Tensor) -> Tensor:
        """ln p(x, v | condition) of each phone by the main flow: (batch, phones) twice,
        (batch, phones, channels), (batch, phones, 1) -> (batch, phones)."""
        first, second, log_det = self.flow(x, v, condition, keep)
        return _log_normal(first, second) + log_det

    def _condition(self, hidden: Tensor, keep: Tensor, voice: Tensor) -> Tensor:
        spoken = self.voice(voice)[:, None, :]
        out: Tensor = self.text(hidden.detach().transpose(1, 2), keep, spoken)
        return out


def _log_normal(first: Tensor, second: Tensor) -> Tensor:
    """Log-density of two independent standard normal numbers."""
    return -0.5 * (first * first + second * second) - LN_2PI
