"""The normalising flow between posterior and prior: affine couplings (Dinh et al., arXiv 1605.08803) that shift
only, with a Transformer block in each (VITS2, section 2.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eele.backbones.vits2.attention import RelativeBlock
from eele.backbones.vits2.wavenet import WaveNet
from eele.config.models import Vits2Config


class Coupling(nn.Module):
    """One half of the channels is shifted by a function of the other half. Volume-preserving."""

    def __init__(self, config: Vits2Config) -> None:
        super().__init__()
        c = config
        half = c.hidden_size // 2
        self.pre = nn.Conv1d(half, c.hidden_size, 1)
        self.blocks = nn.ModuleList(
            RelativeBlock(
                # No dropout: the way back, in synthesis, has to undo the way there.
                c.hidden_size,
                c.heads,
                c.hidden_size,
                c.flow_kernel,
                c.attention_window,
                0.0,
            )
            for _ in range(c.flow_transformer_layers)
        )
        self.wavenet = WaveNet(c.hidden_size, c.flow_kernel, c.flow_layers, c.speaker_size)
        self.post = nn.Conv1d(c.hidden_size, half, 1)
        # The flow is the identity at first.
        nn.init.zeros_(self.post.weight)
        nn.init.zeros_(self.post.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, mask: Tensor, voice: Tensor, inverse: bool) -> Tensor:
        """(batch, channels, time), (batch, time) bool, (batch, speaker_size) -> (batch, channels, time)."""
        keep = mask[:, None, :].to(x.dtype)
        given, moved = x.chunk(2, dim=1)
        hidden = self.pre(given) * keep
        for block in self.blocks:
            hidden = hidden + block(hidden.transpose(1, 2), mask).transpose(1, 2)
        hidden = self.wavenet(hidden, keep, voice)
        with torch.autocast(x.device.type, enabled=False):
            shift = self.post(hidden.to(x.dtype)) * keep
        return torch.cat((given, moved - shift if inverse else moved + shift), dim=1)


class Flow(nn.Module):
    """Couplings with the channels reversed after each. The log-determinant is 0: couplings only shift."""

    def __init__(self, config: Vits2Config) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(Coupling(config) for _ in range(config.flow_couplings))

    def forward(self, x: Tensor, mask: Tensor, voice: Tensor, inverse: bool = False) -> Tensor:
        """Posterior to prior, or back with `inverse`: (batch, frames, channels), (batch, frames) bool,
        (batch, speaker_size) -> (batch, frames, channels)."""
        x = x.transpose(1, 2)
        for coupling in reversed(self.couplings) if inverse else self.couplings:
            if inverse:
                x = x.flip(1)
            x = coupling(x, mask, voice, inverse)
            if not inverse:
                x = x.flip(1)
        return x.transpose(1, 2)
