"""Gated convolutions with a speaker vector (WaveNet's residual block as in WaveGlow and VITS), and the posterior
encoder made of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eele.backbones.weight_norm import normalised
from eele.config.models import Vits2Config


class WaveNet(nn.Module):
    """Residual gated convolutions; the skip connections are summed. Not causal, not dilated."""

    def __init__(self, channels: int, kernel: int, layers: int, speaker_size: int) -> None:
        super().__init__()
        self.channels = channels
        self.cond = normalised(nn.Conv1d(speaker_size, 2 * channels * layers, 1))
        self.inputs = nn.ModuleList(
            normalised(nn.Conv1d(channels, 2 * channels, kernel, padding=kernel // 2))
            for _ in range(layers)
        )
        # The last layer feeds the skip sum alone.
        self.outputs = nn.ModuleList(
            normalised(nn.Conv1d(channels, (1 if last else 2) * channels, 1))
            for last in [False] * (layers - 1) + [True]
        )

    def forward(self, x: Tensor, mask: Tensor, voice: Tensor) -> Tensor:
        """(batch, channels, time), (batch, 1, time), (batch, speaker_size) -> (batch, channels, time)."""
        conditions = self.cond(voice[:, :, None]).chunk(len(self.inputs), dim=1)
        total: Tensor | None = None
        for condition, inner, outer in zip(conditions, self.inputs, self.outputs, strict=True):
            signal, gate = (inner(x) + condition).chunk(2, dim=1)
            mixed = outer(torch.tanh(signal) * torch.sigmoid(gate))
            if mixed.shape[1] == 2 * self.channels:
                residual, mixed = mixed.chunk(2, dim=1)
                x = (x + residual) * mask
            total = mixed if total is None else total + mixed
        assert total is not None
        return total * mask


class PosteriorEncoder(nn.Module):
    """Mel to the posterior's means and log standard deviations (VITS2 takes the mel, section 3.1)."""

    def __init__(self, config: Vits2Config, mel: int) -> None:
        super().__init__()
        c = config
        self.pre = nn.Conv1d(mel, c.hidden_size, 1)
        self.wavenet = WaveNet(c.hidden_size, c.flow_kernel, c.posterior_layers, c.speaker_size)
        self.projection = nn.Conv1d(c.hidden_size, 2 * c.hidden_size, 1)

    def forward(self, mel: Tensor, mask: Tensor, voice: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, frames, mel), (batch, frames) bool, (batch, speaker_size) ->
        means and log standard deviations, each (batch, frames, hidden_size)."""
        keep = mask[:, None, :].to(mel.dtype)
        hidden = self.wavenet(self.pre(mel.transpose(1, 2)) * keep, keep, voice)
        # The posterior's numbers need more digits than half precision has.
        with torch.autocast(mel.device.type, enabled=False):
            found = self.projection(hidden.float()) * keep
        means, log_stds = found.transpose(1, 2).chunk(2, dim=-1)
        return means, log_stds
