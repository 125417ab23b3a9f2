"""Training batches: normalised features, padded; all that is drawn for a batch depends on seed and step alone.

Features stay in their memory maps until a batch needs them: a corpus of many hours costs no memory, and
processes on one machine share what the operating system keeps of the files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from eele.backbones.base import Batch
from eele.errors import DataError

if TYPE_CHECKING:
    from eele.features import FeatureStore

#: Normalised energy below this (pauses, closures) is held here, so that silence does not dominate the loss.
ENERGY_FLOOR = -3.0
#: Batches are drawn from pools of this many batches sorted by length: little padding, still shuffled.
POOL = 8
#: 16-bit samples are divided by this.
FULL_SCALE = np.float32(32768)
#: Keep the draws of segments apart from those of batches, which come from the same seeds.
_TRAINING_SEGMENTS, _FIXED_SEGMENTS = 1, 2


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

    def mel(self, log_mel: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """(frames, mel) ln magnitude -> zero mean, unit variance per band; written to `out` if given."""
        centred = np.subtract(log_mel, self.mel_mean, out=out)
        return np.divide(centred, self.mel_std, out=centred)

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


def epoch_batches(lengths: np.ndarray, seed: int, epoch: int, size: int) -> list[np.ndarray]:
    """Batches of one epoch: positions in `lengths`, each once, neighbours in length together.

    A pure function of its arguments. All batches hold `size` but the last of the last pool, which comes
    anywhere in the epoch.
    """
    generator = np.random.default_rng([abs(seed), epoch])
    order = generator.permutation(len(lengths))
    batches: list[np.ndarray] = []
    for start in range(0, len(order), size * POOL):
        pool = order[start : start + size * POOL]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[i : i + size] for i in range(0, len(pool), size)]
    return [batches[i] for i in generator.permutation(len(batches))]


class SpeechSet:
    """Utterances of a feature store, drawn as padded batches."""

    def __init__(
        self,
        store: FeatureStore,
        utterance_ids: Sequence[str],
        voices: Sequence[str],
        normaliser: Normaliser,
        segment_frames: int = 0,
        hop_size: int = 0,
    ) -> None:
        """`voices`: speaker names; position = speaker id. With `segment_frames`, batches also hold the
        samples of that many frames of each recording, `hop_size` samples each.

        Raises DataError when there is no utterance, one has no features, or segments are asked for
        and the samples do not belong to the frames.
        """
        if not utterance_ids:
            raise DataError("no utterance to train on: check emotions, speakers and rejected.csv")
        self.ids = list(utterance_ids)
        for utterance_id in self.ids:
            if utterance_id not in store.index.index:
                store.get(utterance_id)  # raises, with the one message about such utterances
        facts = store.index.loc[self.ids]
        index = {name: i for i, name in enumerate(voices)}
        self._store = store
        self._normaliser = normaliser
        self._speakers = [str(speaker) for speaker in facts["speaker"]]
        self._speaker_ids = np.array([index[speaker] for speaker in self._speakers], np.int64)
        self._phone_counts = facts["phone_count"].to_numpy(np.int64)
        self.lengths = facts["frame_count"].to_numpy(np.int64)
        self._segment, self._hop = segment_frames, hop_size
        if segment_frames:
            _check_samples(self.ids, self.lengths, facts["sample_count"].to_numpy(), hop_size)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def identity(self) -> list[Any]:
        """Plain values that tell this set from another."""
        return [self.ids, self.lengths.tolist()]

    def minutes(self, hop_s: float) -> float:
        """Minutes of speech."""
        return float(self.lengths.sum()) * hop_s / 60

    def batch(
        self,
        positions: Sequence[int],
        seed: int = 0,
        step: int | None = None,
        pad_frames: int = 1,
        pad_phones: int = 1,
        size: int | None = None,
    ) -> Batch:
        """Padded batch of the utterances at `positions`; a pure function of its arguments.

        In training `seed`, `step` and `size` are those `positions` were drawn with (they may be some of
        the step's only): segments differ from step to step, and `epoch` counts the passes. Without a
        step segments are fixed by their utterance's position and `epoch` is 0. Padded lengths are
        multiples of `pad_frames` and `pad_phones`; padding is exactly 0.
        """
        if step is not None and size is None:
            raise ValueError("a training batch needs the batch size of its step, to count epochs")
        chosen = np.asarray(positions, np.int64)
        frames, phones = self.lengths[chosen], self._phone_counts[chosen]
        rows, width = len(chosen), _rounded_up(int(phones.max()), pad_phones)
        ids = np.zeros((rows, width), np.int64)
        durations = np.zeros((rows, width), np.int64)
        pitch = np.zeros((rows, width), np.float32)
        energy = np.zeros((rows, width), np.float32)
        channels = len(self._normaliser.mel_mean)
        mel = np.empty((rows, _rounded_up(int(frames.max()), pad_frames), channels), np.float32)
        segments = np.zeros((rows, self._segment * self._hop), np.float32)
        starts = self._segment_starts(chosen, seed, step)
        for row, position in enumerate(positions):
            utterance = self._store.get(self.ids[position])
            speaker, n = self._speakers[position], phones[row]
            ids[row, :n] = utterance.phones
            durations[row, :n] = utterance.durations
            pitch[row, :n] = self._normaliser.pitch(utterance.phone_log_f0, speaker)
            energy[row, :n] = self._normaliser.energy(utterance.phone_energy_db, speaker)
            # Utterance by utterance, both operations find the frames in the cache.
            self._normaliser.mel(utterance.mel, out=mel[row, : frames[row]])
            mel[row, frames[row] :] = 0
            if self._segment:
                # A frame's samples begin half a hop before the one it is centred on.
                _cut(
                    utterance.samples, int(starts[row]) * self._hop - self._hop // 2, segments[row]
                )
        segments /= FULL_SCALE
        return Batch(
            phones=torch.from_numpy(ids),
            phone_lengths=torch.from_numpy(phones),
            speakers=torch.from_numpy(self._speaker_ids[chosen]),
            durations=torch.from_numpy(durations),
            pitch=torch.from_numpy(pitch),
            energy=torch.from_numpy(energy),
            mel=torch.from_numpy(mel),
            mel_lengths=torch.from_numpy(frames),
            segment_starts=torch.from_numpy(starts) if self._segment else None,
            samples=torch.from_numpy(segments) if self._segment else None,
            items=tuple(self.ids[position] for position in positions),
            epoch=0 if step is None or size is None else step // self._steps_per_epoch(size),
        )

    def positions(self, seed: int, step: int, size: int) -> list[int]:
        """Utterances of training step `step` (from 0): a pure function of its arguments.

        Every utterance is drawn once an epoch; the last batch of an epoch may be smaller.
        """
        epoch, place = divmod(step, self._steps_per_epoch(size))
        return self._epoch(seed, epoch, size)[place]

    def in_order(self, size: int) -> list[list[int]]:
        """All utterances once, in fixed order of length, for validation."""
        order = np.argsort(self.lengths, kind="stable").tolist()
        return [order[i : i + size] for i in range(0, len(order), size)]

    @lru_cache(maxsize=2)  # noqa: B019 - a set lives as long as its training run
    def _epoch(self, seed: int, epoch: int, size: int) -> list[list[int]]:
        return [batch.tolist() for batch in epoch_batches(self.lengths, seed, epoch, size)]

    def _steps_per_epoch(self, size: int) -> int:
        return -(-len(self) // size)

    def _segment_starts(self, chosen: np.ndarray, seed: int, step: int | None) -> np.ndarray:
        """(batch,) int64 first frames, uniform over where a segment fits; 0 where none does.

        One draw for every utterance of the set, of which the batch takes its own: an utterance's
        draw does not depend on which others share its batch, nor on how a step is cut over devices.
        """
        draws = (
            self._fixed_draws
            if step is None
            else self._draws([abs(seed), step, _TRAINING_SEGMENTS])
        )
        places = np.maximum(self.lengths[chosen] - self._segment, 0) + 1
        return (draws[chosen] * places).astype(np.int64)

    @cached_property
    def _fixed_draws(self) -> np.ndarray:
        return self._draws([0, 0, _FIXED_SEGMENTS])

    def _draws(self, seeds: list[int]) -> np.ndarray:
        return np.random.default_rng(seeds).random(len(self))


def _check_samples(ids: list[str], frames: np.ndarray, samples: np.ndarray, hop_size: int) -> None:
    if hop_size < 1:
        raise ValueError(f"hop_size is {hop_size}; segments need 1 or more")
    wrong = np.flatnonzero((samples == 0) | (frames != 1 + samples // hop_size))
    if wrong.size:
        i = wrong[0]
        raise DataError(
            f"'{ids[i]}': {samples[i]} samples are not {frames[i]} frames of {hop_size}; "
            "extract the features again"
        )


def _cut(samples: np.ndarray, start: int, out: np.ndarray) -> None:
    """Copy `samples[start : start + len(out)]` to `out`; what lies outside the recording stays as it is."""
    first, last = max(start, 0), min(start + len(out), len(samples))
    if first < last:
        out[first - start : last - start] = samples[first:last]


def _rounded_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
