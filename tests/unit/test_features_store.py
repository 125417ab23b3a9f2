"""Shards: what is written comes back, memory-mapped; interrupted writes leave nothing."""

from __future__ import annotations

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
    for name, expected in written.items():
        read = store.get(name)
        for field in expected.__dataclass_fields__:
            value = getattr(read, field)
            assert value.dtype == getattr(expected, field).dtype
            np.testing.assert_array_equal(value, getattr(expected, field))
        assert isinstance(read.mel, np.memmap) and not read.mel.flags.writeable


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
