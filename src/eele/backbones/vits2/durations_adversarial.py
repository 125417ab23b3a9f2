"""VITS2's duration predictor and its critic (Kong et al., arXiv 2307.16430, section 2.1): a generator that turns
noise into durations, and a discriminator that sees the text and judges every phone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eele.backbones.layers import Conv


class ConvPair(nn.Module):
    """Two convolutions, each followed by ReLU, normalisation and dropout."""

    def __init__(self, in_channels: int, channels: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.first = Conv(in_channels, channels, kernel)
        self.first_norm = nn.LayerNorm(channels)
        self.second = Conv(channels, channels, kernel)
        self.second_norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """(batch, phones, in_channels), (batch, phones, 1) 0/1 -> (batch, phones, channels)."""
        # Padding is zeroed before each convolution, so that a padded batch gives each item's lone result.
        x = self.dropout(self.first_norm(F.relu(self.first(x * keep))))
        out: Tensor = self.dropout(self.second_norm(F.relu(self.second(x * keep))))
        return out


class AdversarialDurationPredictor(nn.Module):
    """VITS2's generator G(hidden text, noise) of log-durations.

    hidden: channels of the hidden text; speaker: size of the voice vector; size: channels within.
    Voice and noise are projected and added to the hidden text, at which the gradient stops.
    """

    def __init__(
        self, hidden: int, speaker: int, size: int, kernel: int = 3, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.voice = nn.Linear(speaker, hidden)
        self.noise = nn.Linear(1, hidden)
        self.convs = ConvPair(hidden, size, kernel, dropout)
        self.output = nn.Linear(size, 1)

    def forward(self, hidden: Tensor, mask: Tensor, voice: Tensor, noise: Tensor) -> Tensor:
        """Log-durations (natural log of frames) (batch, phones) float32, 0 in padding.

        hidden: (batch, channels, phones); mask: (batch, 1, phones) 0/1; voice: (batch, speaker);
        noise: (batch, 1, phones) normal, of any standard deviation.
        """
        keep = mask.transpose(1, 2)
        x = hidden.detach().transpose(1, 2) + self.voice(voice)[:, None, :]
        x = x + self.noise(noise.transpose(1, 2))
        out: Tensor = self.output(self.convs(x, keep))
        return out[:, :, 0].float() * mask[:, 0].float()


class DurationCritic(nn.Module):
    """VITS2's discriminator of durations: conditional on the hidden text, one score per phone.

    hidden: channels of the hidden text, at which the gradient stops; size: channels within. Scores are
    not squashed: the losses are least squares (Mao et al., arXiv 1611.04076).
    """

    def __init__(self, hidden: int, size: int = 192, kernel: int = 3, dropout: float = 0.1) -> None:
        super().__init__()
        self.text = ConvPair(hidden, size, kernel, dropout)
        self.duration = nn.Linear(1, size)
        self.convs = ConvPair(2 * size, size, kernel, dropout)
        self.output = nn.Linear(size, 1)

    def forward(
        self, hidden: Tensor, mask: Tensor, real: Tensor, fake: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Losses of the critic and those it gives to the model, scalars, means over real phones.

        hidden: (batch, channels, phones); mask: (batch, 1, phones) 0/1; real, fake: (batch, phones)
        log-durations. `duration_critic`: (D(real) - 1)^2 + D(fake)^2; `duration_adversarial`:
        (D(fake) - 1)^2. One score of `fake` serves both, so it stays attached to the model in either
        loss: take each backward with `inputs=` of the side it trains.
        """
        text = self.text(hidden.detach().transpose(1, 2), mask.transpose(1, 2))
        # Both go through in one pass, half of the launches; the text's part is shared.
        scores_real, scores_fake = self._scores(text, mask, torch.stack((real, fake)))
        phones = mask[:, 0].float()
        count = phones.sum().clamp_min(1)

        def mean(values: Tensor) -> Tensor:
            return (values * phones).sum() / count

        critic = mean((scores_real - 1) ** 2 + scores_fake**2)
        model = mean((scores_fake - 1) ** 2)
        return {"duration_critic": critic}, {"duration_adversarial": model}

    def scores(self, hidden: Tensor, mask: Tensor, log_durations: Tensor) -> Tensor:
        """D of each phone, (batch, phones) float32, towards 1 for real; arguments as in `forward`."""
        text = self.text(hidden.detach().transpose(1, 2), mask.transpose(1, 2))
        return self._scores(text, mask, log_durations[None])[0]

    def _scores(self, text: Tensor, mask: Tensor, log_durations: Tensor) -> Tensor:
        """(batch, phones, size), (batch, 1, phones), (sets, batch, phones) -> (sets, batch, phones)."""
        sets, batch, _ = log_durations.shape
        projected = self.duration(log_durations.flatten(0, 1)[:, :, None])
        both = torch.cat((text.repeat(sets, 1, 1), projected), dim=2)
        keep = mask.transpose(1, 2).repeat(sets, 1, 1)
        out: Tensor = self.output(self.convs(both, keep))
        return out[:, :, 0].float().unflatten(0, (sets, batch))
