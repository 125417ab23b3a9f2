"""Training batches: normalised features, padded; which utterances form a batch depends on seed and step alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from eele.backbones.base import Batch
from eele.errors import DataError

if TYPE_CHECKING:
    from eele.features import FeatureStore

#: Normalised energy below this (pauses, closures) is held here, so that silence does not dominate the loss.
ENERGY_FLOOR = -3.0
#: Batches are drawn from pools of this many batches sorted by length: little padding, still shuffled.
POOL = 8


@dataclass(frozen=True)
class Normaliser:
    """Maps features to the model's scale and back: mel by band, pitch and energy by speaker (neutral speech)."""

    mel_mean: np.ndarray  # (mel,)
    mel_std: np.ndarray  # (mel,)
    speakers: dict[str, dict[str, Any]]

    @classmethod
    def from_statistics(cls, statistics: dict[str, Any]) -> Normaliser:
        """From features/statistics.json (or its copy in model.json)."""
        return cls(
            np.asarray(statistics["mel_mean"], np.float32),
            np.maximum(np.asarray(statistics["mel_std"], np.float32), 1e-3),
            statistics["speakers"],
        )

    def mel(self, log_mel: np.ndarray) -> np.ndarray:
        """(frames, mel) ln magnitude -> zero mean, unit variance per band."""
        return (log_mel - self.mel_mean) / self.mel_std

    def log_mel(self, mel: np.ndarray) -> np.ndarray:
        """The inverse of `mel`."""
        return mel * self.mel_std + self.mel_mean

    def pitch(self, log_f0: np.ndarray, speaker: str) -> np.ndarray:
        """(phones,) ln Hz -> standard deviations of the speaker's neutral speech."""
        entry = self.speakers[speaker]
        return (log_f0 - entry["log_f0_mean"]) / max(entry["log_f0_std"], 0.02)

    def energy(self, energy_db: np.ndarray, speaker: str) -> np.ndarray:
        """(phones,) dB -> standard deviations of the speaker's neutral speech, floored."""
        entry = self.speakers[speaker]
        scaled = (energy_db - entry["energy_db_mean"]) / max(entry["energy_db_std"], 0.5)
        return np.maximum(scaled, ENERGY_FLOOR)


class SpeechSet:
    """Utterances held in memory as tensors, drawn as padded batches."""

    def __init__(
        self,
        store: FeatureStore,
        utterance_ids: Sequence[str],
        voices: Sequence[str],
        normaliser: Normaliser,
    ) -> None:
        """`voices`: speaker names; position = speaker id. Raises DataError when there is no utterance."""
        if not utterance_ids:
            raise DataError("no utterance to train on: check emotions, speakers and rejected.csv")
        index = {name: i for i, name in enumerate(voices)}
        self.ids = list(utterance_ids)
        self._items: list[tuple[torch.Tensor, ...]] = []
        for utterance_id in self.ids:
            utterance = store.get(utterance_id)
            speaker = str(store.index.loc[utterance_id, "speaker"])
            self._items.append(
                (
                    torch.from_numpy(np.asarray(utterance.phones, np.int64)),
                    torch.tensor(index[speaker]),
                    torch.from_numpy(np.asarray(utterance.durations, np.int64)),
                    _float(normaliser.pitch(np.asarray(utterance.phone_log_f0), speaker)),
                    _float(normaliser.energy(np.asarray(utterance.phone_energy_db), speaker)),
                    _float(normaliser.mel(np.asarray(utterance.mel))),
                )
            )
        self.lengths = np.array([len(item[5]) for item in self._items])

    def __len__(self) -> int:
        return len(self._items)

    def batch(self, positions: Sequence[int]) -> Batch:
        """Padded batch of the utterances at `positions`."""
        phones, speakers, durations, pitch, energy, mel = zip(
            *(self._items[i] for i in positions), strict=True
        )
        return Batch(
            phones=pad_sequence(list(phones), batch_first=True),
            phone_lengths=torch.tensor([len(p) for p in phones]),
            speakers=torch.stack(speakers),
            durations=pad_sequence(list(durations), batch_first=True),
            pitch=pad_sequence(list(pitch), batch_first=True),
            energy=pad_sequence(list(energy), batch_first=True),
            mel=pad_sequence(list(mel), batch_first=True),
            mel_lengths=torch.tensor([len(m) for m in mel]),
        )

    def positions(self, seed: int, step: int, size: int) -> list[int]:
        """Utterances of training step `step` (from 0): a pure function of its arguments.

        Every utterance is drawn once an epoch; the last batch of an epoch may be smaller.
        """
        epoch, place = divmod(step, -(-len(self) // size))
        return self._epoch(seed, epoch, size)[place]

    def in_order(self, size: int) -> list[list[int]]:
        """All utterances once, in fixed order of length, for validation."""
        order = np.argsort(self.lengths, kind="stable").tolist()
        return [order[i : i + size] for i in range(0, len(order), size)]

    @lru_cache(maxsize=2)  # noqa: B019 - a set lives as long as its training run
    def _epoch(self, seed: int, epoch: int, size: int) -> list[list[int]]:
        generator = np.random.default_rng([abs(seed), epoch])
        order = generator.permutation(len(self))
        batches: list[list[int]] = []
        for start in range(0, len(order), size * POOL):
            pool = order[start : start + size * POOL]
            pool = pool[np.argsort(self.lengths[pool], kind="stable")]
            batches += [pool[i : i + size].tolist() for i in range(0, len(pool), size)]
        return [batches[i] for i in generator.permutation(len(batches))]


def _float(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
