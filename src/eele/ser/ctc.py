"""Phone recognition: a head that names a phone or nothing (blank) at every state, its decoding, its limit.

Connectionist temporal classification (Graves et al., ICML 2006): the sum over all ways to lay the phones
over the states. It needs a state for every phone, and one more between two equal phones.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from eele.ser.encoders import Encoder
from eele.ser.layers import weighted_sum

#: Output that stands for no phone; phones are numbered from 1 in the logits.
BLANK = 0
#: Label of padding behind the phones of an utterance.
NONE = -1
#: States a second that phones are read from at least: an encoder with half of them has each split in two.
STATES_PER_SECOND = 50


class FrameLogits(NamedTuple):
    """What is heard at each state."""

    logits: Tensor  # (batch, states, 1 + phones)
    lengths: Tensor  # (batch,) int64 states of each item


class CtcHead(nn.Module):
    """Weighted sum of what the encoder's layers put out, and a linear map to blank and phones.

    `splits`: logits that each state gives, one after the other.
    """

    def __init__(self, layers: int, hidden_size: int, phones: int, splits: int = 1) -> None:
        super().__init__()
        self.layer_weights = nn.Parameter(torch.zeros(layers))
        self.output = nn.Linear(hidden_size, splits * (1 + phones))
        self.splits = splits

    def forward(self, states: Sequence[Tensor], mask: Tensor) -> FrameLogits:
        """`Encoder.forward`'s states (B, T, hidden) each, mask (B, T) -> logits of splits * T states."""
        x = self.output(weighted_sum(self.layer_weights, states))
        batch, frames, width = x.shape
        logits = x.reshape(batch, frames * self.splits, width // self.splits)
        return FrameLogits(logits, mask.sum(1) * self.splits)


def splits(encoder: Encoder) -> int:
    """Into how many a state of the encoder is split."""
    rate = encoder.frames(10 * encoder.sample_rate_hz) / 10
    return max(1, round(STATES_PER_SECOND / rate))


def states_needed(phones: Sequence[object]) -> int:
    """States without which no path spells these phones."""
    return len(phones) + sum(a == b for a, b in itertools.pairwise(phones))


def decode(heard: FrameLogits) -> list[list[int]]:
    """Greedy decoding: the best output of each state, repetitions and blanks left out; phones from 0."""
    found = []
    for best, length in zip(heard.logits.argmax(-1).tolist(), heard.lengths.tolist(), strict=True):
        runs = (output for output, _ in itertools.groupby(best[:length]))
        found.append([output - 1 for output in runs if output != BLANK])
    return found


def ctc_losses(heard: FrameLogits, labels: Tensor) -> Tensor:
    """(batch,) float32 losses per phone. labels: (batch, phones) from 0, `NONE` behind an item's own."""
    lengths = (labels != NONE).sum(1)
    losses: Tensor = nn.functional.ctc_loss(
        heard.logits.float().log_softmax(-1).transpose(0, 1),
        labels + 1,
        heard.lengths,
        lengths,
        blank=BLANK,
        reduction="none",
    )
    return losses / lengths
