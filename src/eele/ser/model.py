"""A recogniser: an encoder of speech, and PEFT-SER's head (arXiv 2306.05350, section 3) or one for phones."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eele.ser.ctc import CtcHead, FrameLogits, splits
from eele.ser.encoders import Encoder
from eele.ser.layers import weighted_sum

_CONVOLUTIONS = 3


class Head(nn.Module):
    """Weighted sum of what the encoder's layers put out, three 1x1 convolutions, mean over the frames, a
    two-layer MLP. What enters the first layer is left out, as published."""

    def __init__(
        self, layers: int, hidden_size: int, classes: int, size: int = 256, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.layer_weights = nn.Parameter(torch.zeros(layers))
        widths = [hidden_size, *[size] * _CONVOLUTIONS]
        # A 1x1 convolution is a linear map of each frame.
        self.convolutions = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(size, size)
        self.output = nn.Linear(size, classes)

    def forward(self, states: Sequence[Tensor], mask: Tensor) -> Tensor:
        """`Encoder.forward`'s states (B, T, hidden) each, mask (B, T) -> logits (B, classes)."""
        x = weighted_sum(self.layer_weights, states)
        for index, convolution in enumerate(self.convolutions):
            x = convolution(x)
            if index < len(self.convolutions) - 1:
                x = self.dropout(F.relu(x))
        # Linear maps have biases: padding is left out of the mean, not zeroed before.
        inside = mask[:, :, None].to(x.dtype)
        pooled = (x * inside).sum(1) / inside.sum(1)
        out: Tensor = self.output(F.relu(self.hidden(pooled)))
        return out


class Recogniser(nn.Module):
    """Encoder and head. `classes`: emotions, speakers or phones, in the order of the logits.

    `transcribes`: an utterance is a sequence of the classes, not one of them.
    """

    def __init__(
        self,
        encoder: Encoder,
        classes: Sequence[str],
        size: int = 256,
        dropout: float = 0.1,
        transcribes: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.classes = tuple(classes)
        layers, width, count = encoder.layer_count, encoder.hidden_size, len(self.classes)
        self.head: Head | CtcHead
        if transcribes:
            self.head = CtcHead(layers, width, count, splits(encoder))
        else:
            self.head = Head(layers, width, count, size, dropout)

    def forward(self, samples: Tensor, lengths: Tensor) -> Tensor | FrameLogits:
        """samples (B, S) float32 at the encoder's rate, lengths (B,) -> logits (B, classes), or those of each
        state where it transcribes."""
        # Where nothing in the encoder trains, no graph of it is kept.
        moving = torch.is_grad_enabled() and any(p.requires_grad for p in self.encoder.parameters())
        with torch.set_grad_enabled(moving):
            states, mask = self.encoder(samples, lengths)
        out: Tensor | FrameLogits = self.head(states, mask)
        return out

    def train(self, mode: bool = True) -> Recogniser:
        """As `nn.Module.train`; an encoder that is frozen whole hears without dropout."""
        super().train(mode)
        if mode and not any(p.requires_grad for p in self.encoder.parameters()):
            self.encoder.eval()
        return self

    @torch.no_grad()
    def probabilities(self, samples: Tensor, lengths: Tensor) -> Tensor:
        """As `forward`, in evaluation mode -> (B, classes) float32, rows summing to one. Not where it
        transcribes: there the classes of an utterance are many."""
        self.eval()
        logits: Tensor = self(samples, lengths)
        return logits.float().softmax(-1)
