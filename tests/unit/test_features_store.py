"""Shards: what is written comes back, memory-mapped; interrupted writes leave nothing."""

from __future__ import annotations

import mmap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eele.errors import DataError
from eele.features.store import FeatureStore, ShardWriter, Utterance, shard_folder
from eele.paths import StudyPaths


def utterance(frames: int, phones: int, seed: int = 0) -> Utterance:
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.integers(0, frames + 1, phones - 1))
    durations = np.diff(np.concatenate(([0], cuts, [frames])))
    return Utterance(
        mel=rng.normal(size=(frames, 5)).astype(np.float32),
        f0_hz=rng.uniform(80, 300, frames).astype(np.float32),
        energy_db=rng.uniform(-60, 0, frames).astype(np.float32),
        phones=rng.integers(1, 30, phones).astype(np.int16),
        durations=durations.astype(np.int32),
        phone_log_f0=rng.normal(5, 0.1, phones).astype(np.float32),
        phone_energy_db=rng.uniform(-60, 0, phones).astype(np.float32),
        samples=rng.integers(-32768, 32768, 16 * frames - 9).astype(np.int16),
    )


def row(name: str) -> dict[str, object]:
    return {
        "utterance_id": name, "speaker": "s1", "emotion": "neutral", "split": "train", "duration_s": 1.5,
    }  # fmt: skip


def write_index(paths: StudyPaths, shards: list[int]) -> None:
    tables = []
    for shard in shards:
        table = pd.read_csv(shard_folder(paths, shard) / "index.csv", dtype={"utterance_id": str})
        table.insert(0, "shard", shard)
        tables.append(table)
    pd.concat(tables).to_csv(paths.features / "index.csv", index=False)


def mapped(values: np.ndarray) -> bool:
    """Whether the array is a view of a memory-mapped file."""
    base: object = values
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, mmap.mmap)


def test_round_trip_over_two_shards(tmp_path: Path) -> None:
    paths = StudyPaths(tmp_path)
    written = {f"00{i}": utterance(11 + i, 3 + i, seed=i) for i in range(4)}
    for shard in (0, 1):
        with ShardWriter(paths, shard) as writer:
            for name in list(written)[shard::2]:
                writer.add(row(name), written[name])
    write_index(paths, [0, 1])

    store = FeatureStore(paths)
    assert len(store) == 4 and "002" in store and "2" not in store
    assert list(store.index.loc["003", ["frame_count", "phone_count"]]) == [14, 6]
    assert list(store.index.loc["003", ["sample_start", "sample_count"]]) == [
        16 * 12 - 9,
        16 * 14 - 9,
    ]
    for name, expected in written.items():
        read = store.get(name)
        for field in expected.__dataclass_fields__:
            value = getattr(read, field)
            assert value.dtype == getattr(expected, field).dtype
            np.testing.assert_array_equal(value, getattr(expected, field))
            assert not value.flags.writeable and mapped(value)


def test_an_interrupted_shard_leaves_nothing(tmp_path: Path) -> None:
    paths = StudyPaths(tmp_path)
    with pytest.raises(KeyboardInterrupt), ShardWriter(paths, 0) as writer:
        writer.add(row("a"), utterance(10, 3))
        raise KeyboardInterrupt
    assert list(paths.features.iterdir()) == []


def test_durations_must_sum_to_the_frames(tmp_path: Path) -> None:
    wrong = utterance(10, 3)
    wrong.durations[0] += 1
    with (
        pytest.raises(DataError, match="a: phone durations sum to 11"),
        ShardWriter(StudyPaths(tmp_path), 0) as writer,
    ):
        writer.add(row("a"), wrong)
    assert list((tmp_path / "features").iterdir()) == []


@pytest.mark.parametrize("samples", [np.zeros(50, np.float32), np.zeros((50, 2), np.int16)])
def test_samples_are_one_channel_of_16_bits(tmp_path: Path, samples: np.ndarray) -> None:
    with (
        pytest.raises(DataError, match=r"a: samples are .* allowed: one channel of int16"),
        ShardWriter(StudyPaths(tmp_path), 0) as writer,
    ):
        writer.add(row("a"), replace(utterance(10, 3), samples=samples))


def test_an_index_from_before_there_were_samples_says_what_to_run(tmp_path: Path) -> None:
    paths = StudyPaths(tmp_path)
    with ShardWriter(paths, 0) as writer:
        writer.add(row("a"), utterance(10, 3))
    write_index(paths, [0])
    file = paths.features / "index.csv"
    pd.read_csv(file).drop(columns="sample_start").to_csv(file, index=False)
    with pytest.raises(DataError, match="sample_start is missing; run the rules extract_features"):
        FeatureStore(paths)


def test_missing_and_damaged_features_are_named(tmp_path: Path) -> None:
    paths = StudyPaths(tmp_path)
    with pytest.raises(DataError, match="run the rule index_features"):
        FeatureStore(paths)
    with ShardWriter(paths, 0) as writer:
        writer.add(row("a"), utterance(10, 3))
    write_index(paths, [0])
    with pytest.raises(DataError, match="no features of 'b'"):
        FeatureStore(paths).get("b")
    (shard_folder(paths, 0) / "mel.npy").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"mel\.npy cannot be read"):
        FeatureStore(paths).get("a")


def test_an_empty_shard_is_whole(tmp_path: Path) -> None:
    paths = StudyPaths(tmp_path)
    with ShardWriter(paths, 0):
        pass
    assert np.load(shard_folder(paths, 0) / "mel.npy").size == 0
    assert len(pd.read_csv(shard_folder(paths, 0) / "index.csv")) == 0
