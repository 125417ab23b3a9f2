"""Batches of labelled or transcribed utterances for recognisers; what is drawn for one depends on seed and step alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from eele.config.recognition import RecogniserTrainingConfig
from eele.errors import DataError
from eele.ser.augment import augment
from eele.ser.ctc import NONE
from eele.ser.encoders import SAMPLE_RATE_HZ
from eele.ser.recordings import Recordings
from eele.training.data import epoch_batches

#: Keeps the draws of augmentation apart from those of batches, which come from the same seeds.
_AUGMENTATION = 4


class LabelledBatch(NamedTuple):
    """Padded samples at 16 kHz and the position of each utterance's class, or of its phones."""

    samples: Tensor  # (batch, samples) float32
    lengths: Tensor  # (batch,) int64
    labels: Tensor  # (batch,) int64, or (batch, phones) with -1 behind an utterance's own

    def to(self, device: torch.device) -> LabelledBatch:
        """The batch on `device`, copied without blocking where memory is pinned."""
        return LabelledBatch(*(tensor.to(device, non_blocking=True) for tensor in self))

    def pinned(self) -> LabelledBatch:
        """The batch in page-locked memory, from which a GPU copies while it computes."""
        return LabelledBatch(*(tensor.pin_memory() for tensor in self))


class LabelledSet:
    """Utterances and their classes, in the order of their ids."""

    def __init__(
        self,
        recordings: Recordings,
        labels: dict[str, str],
        classes: Sequence[str],
        config: RecogniserTrainingConfig,
    ) -> None:
        """`labels`: utterance id -> label. Raises DataError when there is none, or of no class."""
        _refuse_strange(labels, labels.values(), classes)
        self.ids = sorted(labels)
        self.labels = np.array([list(classes).index(labels[name]) for name in self.ids], np.int64)
        self._hear(recordings, config)

    def _hear(self, recordings: Recordings, config: RecogniserTrainingConfig) -> None:
        self._recordings, self._config = recordings, config
        self._longest = round(config.crop_s * SAMPLE_RATE_HZ)
        self.lengths = np.minimum(recordings.lengths(self.ids), self._longest)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def identity(self) -> list[Any]:
        """Plain values that tell this set from another."""
        return [self.ids, self.labels.tolist(), self.lengths.tolist()]

    @property
    def minutes(self) -> float:
        """Minutes of speech that are heard."""
        return float(self.lengths.sum()) / SAMPLE_RATE_HZ / 60

    def steps_per_epoch(self, size: int) -> int:
        """Batches that hold every utterance once."""
        return -(-len(self) // size)

    def training_batch(self, seed: int, step: int, size: int) -> LabelledBatch:
        """Batch of training step `step` (from 0), augmented: a pure function of its arguments.

        Every utterance is drawn once an epoch, in batches of neighbours in length (`epoch_batches`).
        """
        epoch, place = divmod(step, self.steps_per_epoch(size))
        chosen = epoch_batches(self.lengths, seed, epoch, size)[place]
        return self._batch(chosen, [abs(seed), epoch, _AUGMENTATION])

    def in_order(self, size: int) -> list[np.ndarray]:
        """Positions of all utterances once, neighbours in length together."""
        order = np.argsort(self.lengths, kind="stable")
        return [order[i : i + size] for i in range(0, len(order), size)]

    def plain_batch(self, positions: np.ndarray) -> LabelledBatch:
        """The utterances at `positions` as they are."""
        return self._batch(positions, None)

    def _batch(self, positions: np.ndarray, seeds: list[int] | None) -> LabelledBatch:
        heard = []
        for position in positions:
            samples = self._recordings[self.ids[position]][: self._longest]
            if seeds is not None:
                # By the utterance, not the batch: the draw is the same whatever it shares a batch with.
                rng = np.random.default_rng([*seeds, int(position)])
                samples = augment(samples, self._config, rng)
            heard.append(samples)
        lengths = torch.tensor([len(samples) for samples in heard])
        padded = torch.zeros(len(heard), int(lengths.max()))
        for row, samples in enumerate(heard):
            padded[row, : len(samples)] = torch.from_numpy(samples)
        return LabelledBatch(padded, lengths, self._targets(positions))

    def _targets(self, positions: np.ndarray) -> Tensor:
        return torch.from_numpy(self.labels[positions])

    def class_weights(self, classes: int) -> Tensor:
        """(classes,) inverse of the classes' frequencies, 1 on average over the utterances."""
        counts = np.bincount(self.labels, minlength=classes)
        if (counts == 0).any():
            raise DataError("a class has no training recording in this fold")
        return torch.tensor(len(self) / (classes * counts), dtype=torch.float32)


class TranscribedSet(LabelledSet):
    """Utterances and their phones, in the order of their ids."""

    def __init__(
        self,
        recordings: Recordings,
        phones: Mapping[str, Sequence[str]],
        inventory: Sequence[str],
        config: RecogniserTrainingConfig,
    ) -> None:
        """`phones`: utterance id -> what is said. Raises DataError when there is none, or not of the inventory."""
        _refuse_strange(phones, (phone for said in phones.values() for phone in said), inventory)
        place = {phone: index for index, phone in enumerate(inventory)}
        self.ids = sorted(phones)
        self.phones = [[place[phone] for phone in phones[name]] for name in self.ids]
        self._hear(recordings, config)

    @property
    def identity(self) -> list[Any]:
        """Plain values that tell this set from another."""
        return [self.ids, self.phones, self.lengths.tolist()]

    def _targets(self, positions: np.ndarray) -> Tensor:
        said = [self.phones[position] for position in positions]
        targets = torch.full((len(said), max(map(len, said))), NONE)
        for row, phones in enumerate(said):
            targets[row, : len(phones)] = torch.tensor(phones)
        return targets


def _refuse_strange(
    utterances: Mapping[str, object], labels: Iterable[str], classes: Sequence[str]
) -> None:
    """DataError where there is no utterance, or a label is no class."""
    if not utterances:
        raise DataError("no utterance for a part of the fold")
    strange = sorted(set(labels) - set(classes))
    if strange:
        raise DataError(f"labels {', '.join(strange)} are none of the classes {', '.join(classes)}")
