"""Batches: pure, normalised bit for bit, padded with zeros, with samples that lie under their frames."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from eele.backbones.base import Batch
from eele.config.models import AudioConfig
from eele.errors import DataError
from eele.features.mel import frame_count, log_mel
from eele.features.store import FeatureStore, ShardWriter, Utterance, shard_folder
from eele.paths import StudyPaths
from eele.training.data import ENERGY_FLOOR, Normaliser, SpeechSet

AUDIO = AudioConfig(
    sample_rate_hz=8000, fft_size=64, window_size=64, hop_size=16, mel_channels=8, mel_fmax_hz=4000
)
HOP = AUDIO.hop_size
SEGMENT = 12
VOICES = ("s0", "s1")
STATISTICS = {
    "mel_mean": np.linspace(-5.3, -2.1, AUDIO.mel_channels).tolist(),
    "mel_std": np.linspace(0.7, 1.9, AUDIO.mel_channels).tolist(),
    "speakers": {
        "s0": {
            "log_f0_mean": 5.01,
            "log_f0_std": 0.21,
            "energy_db_mean": -25.3,
            "energy_db_std": 5.7,
        },
        "s1": {
            "log_f0_mean": 4.7,
            "log_f0_std": 0.001,
            "energy_db_mean": -31.0,
            "energy_db_std": 9.1,
        },
    },
}
NORMALISER = Normaliser.from_statistics(STATISTICS)


def store_of(root: Path, recordings: list[np.ndarray]) -> FeatureStore:
    """A store of recordings (int16); odd ones are spoken by s1. Phones are arbitrary."""
    paths = StudyPaths(root)
    rng = np.random.default_rng(1)
    with ShardWriter(paths, 0) as writer:
        for number, samples in enumerate(recordings):
            mel = log_mel(samples / np.float32(32768), AUDIO)
            count = min(int(rng.integers(2, 9)), len(mel))
            durations = np.full(count, len(mel) // count)
            durations[-1] += len(mel) - durations.sum()
            row = {
                "utterance_id": f"u{number}",
                "speaker": VOICES[number % 2],
                "emotion": "neutral",
                "split": "train",
                "duration_s": len(samples) / AUDIO.sample_rate_hz,
            }
            writer.add(
                row,
                Utterance(
                    mel=mel,
                    f0_hz=np.zeros(len(mel), np.float32),
                    energy_db=np.zeros(len(mel), np.float32),
                    phones=rng.integers(1, 30, count).astype(np.int16),
                    durations=durations.astype(np.int32),
                    phone_log_f0=rng.normal(5, 0.1, count).astype(np.float32),
                    phone_energy_db=rng.uniform(-60, 0, count).astype(np.float32),
                    samples=samples,
                ),
            )
    table = pd.read_csv(shard_folder(paths, 0) / "index.csv", dtype={"utterance_id": str})
    table.insert(0, "shard", 0)
    table.to_csv(paths.features / "index.csv", index=False)
    return FeatureStore(paths)


def noise(samples: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9000, 9000, samples).astype(np.int16)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    lengths = np.random.default_rng(0).integers(20 * HOP, 60 * HOP, 21)
    return store_of(tmp_path_factory.mktemp("noise"), [noise(n, i) for i, n in enumerate(lengths)])


def speech(store: FeatureStore, segment: int = 0) -> SpeechSet:
    return SpeechSet(store, list(store), VOICES, NORMALISER, segment, HOP if segment else 0)


def same(a: Batch, b: Batch) -> bool:
    return all(
        torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
        for x, y in zip(a, b, strict=True)
    )


def test_positions_are_a_pure_function_of_seed_and_step(store: FeatureStore) -> None:
    a, b = speech(store), speech(store)
    steps = list(range(30))
    backwards = {step: b.positions(7, step, 4) for step in reversed(steps)}
    assert all(a.positions(7, step, 4) == backwards[step] for step in steps)
    assert [a.positions(8, s, 4) for s in steps] != [a.positions(7, s, 4) for s in steps]
    per_epoch = math.ceil(len(a) / 4)
    for epoch in range(3):
        drawn = [p for i in range(per_epoch) for p in a.positions(7, epoch * per_epoch + i, 4)]
        assert sorted(drawn) == list(range(len(a)))


def test_validation_goes_once_through_the_set_by_length(store: FeatureStore) -> None:
    a = speech(store)
    order = [p for batch in a.in_order(4) for p in batch]
    assert sorted(order) == list(range(len(a)))
    assert np.all(np.diff(a.lengths[order]) >= 0)


def test_normalisation_has_known_values_and_inverts() -> None:
    normaliser = Normaliser(np.array([1.0, 2.0]), np.array([2.0, 4.0]), STATISTICS["speakers"])
    mel = np.array([[3.0, 6.0]])
    assert normaliser.mel(mel).tolist() == [[1.0, 1.0]]
    assert mel.tolist() == [[3.0, 6.0]]
    assert normaliser.log_mel(normaliser.mel(mel)).tolist() == mel.tolist()
    assert normaliser.pitch(np.array([5.01 + 0.42]), "s0") == pytest.approx([2.0])
    found = normaliser.energy(np.array([-25.3 + 5.7, -99.0]), "s0")
    assert found.tolist() == pytest.approx([1.0, ENERGY_FLOOR])


@pytest.mark.parametrize(("pad_frames", "pad_phones"), [(1, 1), (32, 8)])
def test_values_are_bit_for_bit_those_of_each_utterance_alone(
    store: FeatureStore, pad_frames: int, pad_phones: int
) -> None:
    positions = [3, 20, 0, 7]
    batch = speech(store).batch(positions, pad_frames=pad_frames, pad_phones=pad_phones)
    alone: list[tuple[np.ndarray, ...]] = []
    for position in positions:
        u, entry = store.get(f"u{position}"), STATISTICS["speakers"][VOICES[position % 2]]
        energy = (u.phone_energy_db - entry["energy_db_mean"]) / entry["energy_db_std"]
        alone.append(
            (
                u.phones.astype(np.int64),
                u.durations.astype(np.int64),
                (u.phone_log_f0 - entry["log_f0_mean"]) / max(entry["log_f0_std"], 0.02),
                np.maximum(energy, ENERGY_FLOOR),
                (u.mel - np.float32(STATISTICS["mel_mean"])) / np.float32(STATISTICS["mel_std"]),
            )
        )
    padded = [
        pad_sequence([torch.from_numpy(v) for v in values], batch_first=True)
        for values in zip(*alone, strict=True)
    ]
    found = (batch.phones, batch.durations, batch.pitch, batch.energy, batch.mel)
    for expected, tensor, multiple in zip(
        padded, found, (*[pad_phones] * 4, pad_frames), strict=True
    ):
        assert tensor.dtype == expected.dtype
        length = expected.shape[1]
        assert tensor.shape[1] == math.ceil(length / multiple) * multiple
        assert torch.equal(tensor[:, :length], expected)
        assert torch.all(tensor[:, length:] == 0)
    assert batch.mel_lengths.tolist() == [len(values[4]) for values in alone]
    assert batch.phone_lengths.tolist() == [len(values[0]) for values in alone]
    assert batch.speakers.tolist() == [1, 0, 0, 1]
    assert batch.items == ("u3", "u20", "u0", "u7")
    assert batch.samples is None and batch.segment_starts is None


def test_nothing_is_read_before_a_batch_needs_it(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    get = FeatureStore.get
    monkeypatch.setattr(FeatureStore, "get", lambda s, i: (read.append(i), get(s, i))[1])
    speeches = speech(store, SEGMENT)
    assert read == [] and len(speeches) == 21
    speeches.batch([2, 5])
    assert read == ["u2", "u5"]


def test_epochs_are_counted_by_the_batch_size_of_the_step(store: FeatureStore) -> None:
    a = speech(store)
    epochs = [a.batch(a.positions(7, s, 4), 7, s, size=4).epoch for s in range(13)]
    assert epochs == [0] * 6 + [1] * 6 + [2]
    # The last batch of an epoch, and a device's part of a batch, are smaller than the step's size.
    assert a.batch([1], 7, 11, size=4).epoch == 1
    assert a.batch([1, 2]).epoch == 0
    with pytest.raises(ValueError, match="batch size"):
        a.batch([1, 2], 7, 11)


def test_segments_are_drawn_anew_in_training_and_fixed_in_validation(store: FeatureStore) -> None:
    a, b = speech(store, SEGMENT), speech(store, SEGMENT)
    positions = list(range(len(a)))

    def starts(batch: Batch) -> list[int]:
        assert batch.segment_starts is not None and batch.segment_starts.dtype == torch.int64
        return batch.segment_starts.tolist()

    assert same(a.batch(positions, 7, 3, size=21), b.batch(positions, 7, 3, size=21))
    assert starts(a.batch(positions, 7, 3, size=21)) != starts(a.batch(positions, 7, 4, size=21))
    assert starts(a.batch(positions, 7, 3, size=21)) != starts(a.batch(positions, 8, 3, size=21))
    fixed = starts(a.batch(positions))
    assert [starts(b.batch([p], seed=p))[0] for p in reversed(positions)] == fixed[::-1]
    assert len(set(fixed)) > 5
    # However a step is cut over devices, an utterance's segment is the same.
    parts = [starts(a.batch(positions[rank::2], 7, 3, size=21)) for rank in (0, 1)]
    whole = starts(a.batch(positions, 7, 3, size=21))
    assert parts == [whole[0::2], whole[1::2]]
    # All places where a segment fits occur, about equally often, and no other.
    room = int(a.lengths[4]) - SEGMENT
    drawn = np.array([starts(a.batch([4], 7, step, size=21))[0] for step in range(60 * (room + 1))])
    counts = np.bincount(drawn, minlength=room + 1)
    assert len(counts) == room + 1
    assert counts.min() > 30 and counts.max() < 95


def test_samples_are_those_around_their_frames(store: FeatureStore) -> None:
    a = speech(store, SEGMENT)
    batch = a.batch(list(range(len(a))), 7, 3, size=21)
    assert batch.samples is not None and batch.segment_starts is not None
    assert batch.samples.shape == (len(a), SEGMENT * HOP)
    for row, start in enumerate(batch.segment_starts.tolist()):
        recording = store.get(f"u{row}").samples / np.float32(32768)
        padded = np.pad(recording, SEGMENT * HOP)
        first = SEGMENT * HOP + start * HOP - HOP // 2
        np.testing.assert_array_equal(
            batch.samples[row].numpy(), padded[first : first + SEGMENT * HOP]
        )


def test_a_recording_shorter_than_a_segment_is_followed_by_silence(tmp_path: Path) -> None:
    short = noise(5 * HOP, 0)
    store = store_of(tmp_path, [short, noise(40 * HOP, 1)])
    batch = speech(store, SEGMENT).batch([0, 1], 1, 0, size=2)
    assert batch.samples is not None and batch.segment_starts is not None
    assert batch.segment_starts[0] == 0
    expected = np.zeros(SEGMENT * HOP, np.float32)
    expected[HOP // 2 : HOP // 2 + len(short)] = short / np.float32(32768)
    np.testing.assert_array_equal(batch.samples[0].numpy(), expected)


def test_a_click_lies_at_the_same_frame_of_mel_and_samples(tmp_path: Path) -> None:
    clicks = [9, 23, 31, 40]
    recordings = []
    for frame in clicks:
        samples = np.zeros(50 * HOP, np.int16)
        samples[frame * HOP] = 30000
        recordings.append(samples)
    store = store_of(tmp_path, recordings)
    a = speech(store, SEGMENT)
    seen = 0
    for step in range(40):
        batch = a.batch([0, 1, 2, 3], 5, step, size=4)
        assert batch.samples is not None and batch.segment_starts is not None
        for row, start in enumerate(batch.segment_starts.tolist()):
            samples, place = batch.samples[row].numpy(), clicks[row] - start
            if not 0 <= place < SEGMENT:
                assert not samples.any()
                continue
            seen += 1
            # In the middle of the frame's own samples ...
            assert np.flatnonzero(samples).tolist() == [place * HOP + HOP // 2]
            # ... and in the middle of the window of the mel's frame, where it is loudest.
            mel = NORMALISER.log_mel(batch.mel[row, start : start + SEGMENT].numpy())
            assert int(mel.mean(axis=1).argmax()) == place
    assert seen > 20


def test_mel_of_a_segment_is_the_segment_of_the_mel(store: FeatureStore) -> None:
    a = speech(store, SEGMENT)
    batch = a.batch(list(range(len(a))), 7, 5, size=21)
    assert batch.samples is not None and batch.segment_starts is not None
    edge = AUDIO.fft_size // 2 // HOP + 1
    for row, start in enumerate(batch.segment_starts.tolist()):
        # Half a hop is left out, so that frame 0 of what remains is centred where the segment's frame 1 is.
        own = log_mel(batch.samples[row].numpy()[HOP + HOP // 2 :], AUDIO)
        whole = NORMALISER.log_mel(batch.mel[row, start + 1 : start + SEGMENT].numpy())
        inner = slice(edge, SEGMENT - 1 - edge)
        assert len(whole[inner]) >= 5
        np.testing.assert_allclose(own[inner], whole[inner], atol=1e-3)


def test_samples_of_other_frames_and_unknown_utterances_are_refused(store: FeatureStore) -> None:
    assert frame_count(100 * HOP, AUDIO) == 101  # what the check goes by
    with pytest.raises(DataError, match=r"'u0': \d+ samples are not \d+ frames of 32"):
        SpeechSet(store, list(store), VOICES, NORMALISER, SEGMENT, 2 * HOP)
    with pytest.raises(ValueError, match="hop_size"):
        SpeechSet(store, list(store), VOICES, NORMALISER, SEGMENT)
    with pytest.raises(DataError, match="no features of 'absent'"):
        SpeechSet(store, ["u1", "absent"], VOICES, NORMALISER)
    with pytest.raises(DataError, match="no utterance"):
        SpeechSet(store, [], VOICES, NORMALISER)
