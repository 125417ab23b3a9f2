"""The network of the phone recogniser: log-mel in, log probability of each phone in each frame out."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

#: Mel bands this far (dB) below the utterance's strongest one are held there: background of any kind.
RANGE_DB = 60.0
#: Frames this far (dB) below the loudest count as silence for the utterance's mean.
ACTIVE_DB = 30.0
#: Nats that count as one unit of input.
SCALE = 1.5
#: Frames of input per step of the inner layers; each step answers for this many frames.
STRIDE = 2


def normalise(log_mel: np.ndarray) -> np.ndarray:
    """Log-mel without level and channel: (frames, mel) -> (frames, mel) float32.

    Floored relative to the peak, minus the utterance's own mean over its active frames, so that neither
    the voice's average spectrum nor the vocoder's background matters.
    """
    per_db = np.log(10) / 20
    mel = np.maximum(log_mel, log_mel.max() - RANGE_DB * per_db)
    level = mel.max(axis=1)
    active = level > level.max() - ACTIVE_DB * per_db
    normal = (mel - mel[active].mean(axis=0)) / SCALE
    return normal.astype(np.float32)


class _Block(nn.Module):
    """Residual convolution; padding stays zero, so that batching changes nothing."""

    def __init__(self, size: int, dropout: float) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(size, size, 3, padding=1)
        self.norm = nn.BatchNorm1d(size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        y: torch.Tensor = x + self.dropout(torch.relu(self.norm(self.convolution(x))))
        return y if mask is None else y * mask


class PhoneNetwork(nn.Module):
    """Strided convolution, `layers - 1` residual ones, and a linear output per frame.

    Emotional corpora speak few sentences (60 in nEMO, 42 of them for training). A network that sees a
    syllable to either side learns these sentences by heart and hears them in others: phone errors on
    nEMO's test sentences are 39 % with dilated layers that see 22 frames to either side, 36 % with plain
    ones that see 8, 35 % with wider ones that see 6; the fit to the training sentences is the
    other way round.
    """

    def __init__(
        self, mel_channels: int, phones: int, hidden_size: int, layers: int, dropout: float = 0.25
    ) -> None:
        super().__init__()
        self.phones = phones
        self.entry = nn.Conv1d(mel_channels, hidden_size, 2 * STRIDE + 1, STRIDE, padding=STRIDE)
        self.norm = nn.BatchNorm1d(hidden_size)
        self.blocks = nn.ModuleList(_Block(hidden_size, dropout) for _ in range(layers - 1))
        self.output = nn.Conv1d(hidden_size, STRIDE * phones, 1)

    def forward(self, mel: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Normalised mel (batch, frames, mel), zero beyond `lengths` (batch,) -> logits (batch, frames, phones).

        Without `lengths` every frame is speech (training packs utterances end to end).
        """
        frames = mel.shape[1]
        x = torch.relu(self.norm(self.entry(mel.transpose(1, 2))))
        mask = None
        if lengths is not None:
            steps = torch.div(lengths + STRIDE - 1, STRIDE, rounding_mode="floor")
            position = torch.arange(x.shape[2], device=x.device)
            mask = (position[None, :] < steps[:, None]).to(x.dtype)[:, None, :]
            x = x * mask
        for block in self.blocks:
            x = block(x, mask)
        logits: torch.Tensor = self.output(x).transpose(1, 2)
        logits = logits.reshape(len(mel), -1, self.phones)
        return logits[:, :frames]


@torch.no_grad()
def log_posteriors(network: PhoneNetwork, mels: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Log posteriors of normalised mels [(frames, mel)]: (batch, frames, phones) float32, padded; (batch,) frames."""
    lengths = torch.tensor([len(mel) for mel in mels])
    padded = nn.utils.rnn.pad_sequence([torch.from_numpy(mel) for mel in mels], batch_first=True)
    device = next(network.parameters()).device
    network.eval()
    logits = network(padded.to(device), lengths.to(device))
    return torch.log_softmax(logits, dim=-1).cpu().numpy(), lengths.numpy()
