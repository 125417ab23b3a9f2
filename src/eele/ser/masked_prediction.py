"""Masked prediction: the small encoder learns from speech without labels (BEST-RQ, arXiv 2202.01855).

Stretches of the log-mel are replaced by noise; the encoder has to name, at the hidden places, the code of
what was there. Codes come from random projections and random codebooks that never train.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eele.backbones.base import Batch, Outcome, Trainable
from eele.errors import DataError
from eele.ser.encoders import SAMPLE_RATE_HZ, frame_mask
from eele.ser.recordings import Recordings
from eele.ser.small import HOP, MEL_CHANNELS, STRIDE, SmallEncoder
from eele.training.data import SpeechSet

_MASK_NOISE = 0.1
#: Keeps the draws of crops apart from those of batches, which come from the same seeds.
_CROPS = 3
#: Utterances whose mels make mean and spread of the bands.
_STATISTICS = 500


class MaskedPrediction(Trainable):
    """The encoder, and beside it what only its training needs: projections, codebooks, read-outs."""

    projection: Tensor
    codebook: Tensor

    def __init__(self, encoder: SmallEncoder) -> None:
        super().__init__()
        config = encoder.config
        self.loss_weights = {"prediction": 1.0}
        self.encoder, self.config = encoder, config
        size = STRIDE * MEL_CHANNELS
        projection = torch.empty(config.codebooks, size, config.code_size)
        for table in projection:
            nn.init.xavier_normal_(table)
        codebook = torch.randn(config.codebooks, config.codes, config.code_size)
        self.register_buffer("projection", projection)
        self.register_buffer("codebook", F.normalize(codebook, dim=-1))
        self.read_out = nn.Linear(config.hidden_size, config.codebooks * config.codes)

    def forward(
        self, batch: Batch, terms: Collection[str] | None = None, step: int | None = None
    ) -> Outcome:
        """Mean cross-entropy, in nats, of the codes of hidden states. Masks come from torch's random state."""
        mel, frames = self.encoder.normalise(batch.mel), batch.mel_lengths
        inside = frame_mask(frames, mel.shape[1])
        hidden = self._masks(inside)
        noise = _MASK_NOISE * torch.randn_like(mel)
        heard = torch.where(hidden[:, :, None], noise, mel)
        states, mask = self.encoder.encode(heard, frames)
        mel = mel * inside[:, :, None]
        stacked, covered = _stacked(mel, mask.shape[1]), _stacked(hidden[:, :, None], mask.shape[1])
        # A state counts where all of its frames are hidden.
        chosen = mask & covered.all(-1)
        targets = self.codes(stacked[chosen])
        scores = self.read_out(states[-1][chosen]).view(
            -1, self.config.codebooks, self.config.codes
        )
        if not len(targets):
            return Outcome({"prediction": 0.0 * self.read_out.weight.sum()}, {})
        loss = F.cross_entropy(scores.flatten(0, 1).float(), targets.flatten())
        return Outcome({"prediction": loss}, {})

    @torch.no_grad()
    def codes(self, stacked: Tensor) -> Tensor:
        """(n, 4 x 80) normalised log-mel -> (n, codebooks) nearest codes."""
        projected = torch.einsum("nf,bfc->nbc", stacked.float(), self.projection)
        return torch.einsum("nbc,bvc->nbv", F.normalize(projected, dim=-1), self.codebook).argmax(
            -1
        )

    def _masks(self, inside: Tensor) -> Tensor:
        """(B, F) bool -> (B, F) bool: hidden frames, in stretches of `mask_frames`, about `mask_share` of all.

        Stretches begin on the grid of the states, so that what is hidden fills whole states.
        """
        batch, frames = inside.shape
        states = -(-frames // STRIDE)
        length = max(1, self.config.mask_frames // STRIDE)
        # Stretches may overlap: so many begin that this share of the states lies in one or more.
        begin = 1 - (1 - self.config.mask_share) ** (1 / length)
        starts = torch.rand(batch, states, device=inside.device) < begin
        spread = F.max_pool1d(F.pad(starts[:, None].float(), (length - 1, 0)), length, stride=1)[
            :, 0
        ]
        return (spread > 0).repeat_interleave(STRIDE, 1)[:, :frames] & inside


def _stacked(x: Tensor, states: int) -> Tensor:
    """(B, F, channels) -> (B, states, 4 x channels): the frames of each state, zero after the last."""
    padded = F.pad(x, (0, 0, 0, states * STRIDE - x.shape[1]))
    return padded.reshape(len(x), states, -1)


class MelSet(SpeechSet):
    """Utterances as log-mels without labels, drawn as `SpeechSet` draws, cropped to `crop_s`."""

    def __init__(
        self, recordings: Recordings, utterance_ids: Sequence[str], encoder: SmallEncoder
    ) -> None:
        """Raises DataError when there is no utterance."""
        if not utterance_ids:
            raise DataError("no utterance to train an encoder on: see manifest.csv")
        self.ids = list(utterance_ids)
        self._recordings, self._log_mel = recordings, encoder.log_mel
        self._crop = round(encoder.config.crop_s * SAMPLE_RATE_HZ)
        self._samples = recordings.lengths(self.ids)
        #: Frames of 10 ms of each, as far as a batch takes it.
        self.lengths = 1 + np.minimum(self._samples, self._crop) // HOP

    def batch(
        self,
        positions: Sequence[int],
        seed: int = 0,
        step: int | None = None,
        pad_frames: int = 1,
        pad_phones: int = 1,
        size: int | None = None,
    ) -> Batch:
        """Log-mels (batch, frames, 80) and their lengths; the text's side is empty. Pure, as `SpeechSet`'s.

        In training each utterance is cut at a place of the step's, without a step at its beginning.
        """
        chosen = [self._recordings[self.ids[position]] for position in positions]
        draws = np.zeros(len(self)) if step is None else self._draws([abs(seed), step, _CROPS])
        lengths = torch.tensor([min(len(x), self._crop) for x in chosen])
        samples = torch.zeros(len(chosen), int(lengths.max()))
        for row, (position, x) in enumerate(zip(positions, chosen, strict=True)):
            start = int(draws[position] * (max(0, len(x) - self._crop) + 1))
            samples[row, : lengths[row]] = torch.from_numpy(x[start : start + self._crop])
        with torch.no_grad():
            mel, frames = self._log_mel(samples, lengths)
        nothing = torch.zeros(len(chosen), 0)
        return Batch(
            phones=nothing.long(),
            phone_lengths=torch.zeros(len(chosen), dtype=torch.int64),
            speakers=torch.zeros(len(chosen), dtype=torch.int64),
            durations=nothing.long(),
            pitch=nothing,
            energy=nothing,
            mel=mel,
            mel_lengths=frames,
            items=tuple(self.ids[position] for position in positions),
            epoch=0 if step is None or size is None else step // self._steps_per_epoch(size),
        )


def set_statistics(encoder: SmallEncoder, recordings: Recordings, ids: Sequence[str]) -> None:
    """Set mean and spread of the encoder's mel bands, from at most 500 utterances spread over `ids`."""
    some = ids[:: max(1, -(-len(ids) // _STATISTICS))]
    mels = []
    for name in some:
        samples = torch.from_numpy(recordings[name])[None]
        mels.append(encoder.log_mel(samples, torch.tensor([samples.shape[1]]))[0][0])
    joined = torch.cat(mels)
    encoder.mel_mean.copy_(joined.mean(0))
    encoder.mel_std.copy_(joined.std(0).clamp_min(0.1))
