"""The feature stages on a study of tones whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from synthetic_study import AUDIO, PHONES, RATE, build, study

import eele.features as features
from eele import io
from eele.errors import DataError
from eele.features.extract import partition
from eele.features.mel import log_mel
from eele.features.store import shard_folder
from eele.paths import StudyPaths


def utterances() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for speaker, f0_hz in (("s1", 120.0), ("s2", 210.0)):
        for number, split in enumerate(("train", "train", "test")):
            for emotion, shift in (("neutral", 1.0), ("happy", 1.3)):
                rows.append(
                    {
                        "utterance_id": f"{speaker}_{emotion}_{number}",
                        "speaker": speaker,
                        "emotion": emotion,
                        "split": split,
                        "sentence": number,
                        "phones": ["a", "i", "u", "a", "i"][: 3 + number],
                        "f0_hz": f0_hz * shift,
                    }
                )
    rows.append({**rows[0], "utterance_id": "s1_unaligned", "status": "failed"})
    return rows


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> StudyPaths:
    paths = build(tmp_path_factory.mktemp("tones"), utterances())
    for shard in (0, 1):
        features.extract_shard(study(), paths, shard)
    features.index(study(), paths)
    return paths


def test_every_aligned_utterance_is_there_once(extracted: StudyPaths) -> None:
    store = features.FeatureStore(extracted)
    assert set(store) == {str(u["utterance_id"]) for u in utterances()} - {"s1_unaligned"}
    assert set(store.index["shard"]) == {0, 1}


def test_values_are_those_of_the_tones(extracted: StudyPaths) -> None:
    store = features.FeatureStore(extracted)
    found = store.get("s2_happy_2")
    assert [PHONES[i] for i in found.phones] == ["sil", "a", "i", "u", "a", "i", "sil"]
    frames = len(found.mel)
    assert int(found.durations.sum()) == frames == store.index.loc["s2_happy_2", "frame_count"]
    expected = 0.12 / AUDIO.hop_s
    np.testing.assert_allclose(found.durations[1:-1], expected, atol=1)
    np.testing.assert_allclose(np.exp(found.phone_log_f0), 273, rtol=0.02)
    # The tone's RMS is 0.1: -20 dBFS; silence is 60 dB lower.
    speech = found.energy_db[found.durations[0] + 3 : -found.durations[-1] - 3]
    assert 10 * np.log10(np.mean(10 ** (speech / 10))) == pytest.approx(-20, abs=0.5)
    assert found.phone_energy_db[0] < -40


def test_samples_are_those_of_the_clean_file(extracted: StudyPaths) -> None:
    store = features.FeatureStore(extracted)
    for name in ("s2_happy_2", "s1_neutral_0"):
        path = next((extracted.root / "corpora").rglob(f"{name}.flac"))
        samples, _ = soundfile.read(path, dtype="int16")
        found = store.get(name)
        np.testing.assert_array_equal(found.samples, samples)
        assert np.abs(samples).max() > 1000
        # The features are those of the samples: nothing is lost between the two.
        np.testing.assert_array_equal(found.mel, log_mel(samples / np.float32(32768), AUDIO))
        floats, _ = soundfile.read(path, dtype="float32")
        np.testing.assert_array_equal(found.mel, log_mel(floats, AUDIO))


def test_statistics(extracted: StudyPaths) -> None:
    store = features.FeatureStore(extracted)
    statistics = store.statistics
    training = [store.get(i).mel for i in store if store.index.loc[i, "split"] == "train"]
    np.testing.assert_allclose(statistics["mel_mean"], np.concatenate(training).mean(0), atol=1e-3)
    np.testing.assert_allclose(statistics["mel_std"], np.concatenate(training).std(0), atol=1e-3)
    for speaker, f0_hz in (("s1", 120.0), ("s2", 210.0)):
        entry = statistics["speakers"][speaker]
        # Neutral training speech only: the happy utterances lie 30 % higher.
        assert np.exp(entry["log_f0_mean"]) == pytest.approx(f0_hz, rel=0.02)
        assert entry["log_f0_std"] < 0.1
        assert entry["phones_per_s"] == pytest.approx(1 / 0.12, rel=0.06)
        assert entry["neutral"] is True
    assert statistics["extraction_x_real_time"] > 1


def test_extraction_repeats_bit_for_bit(extracted: StudyPaths) -> None:
    files = sorted(shard_folder(extracted, 0).glob("*.npy"))
    before = {file.name: io.sha256(file) for file in files}
    features.extract_shard(study(), extracted, 0)
    assert len(before) == 8
    assert before == {file.name: io.sha256(file) for file in files}


def test_speakers_without_neutral_speech_say_so(tmp_path: Path) -> None:
    rows = [{**row, "emotion": "happy"} for row in utterances()[:4:2]]
    paths = build(tmp_path, rows)
    features.extract_shard(study(1), paths, 0)
    features.index(study(1), paths)
    assert features.FeatureStore(paths).statistics["speakers"]["s1"]["neutral"] is False


def test_partition_is_balanced_and_complete() -> None:
    durations = np.random.default_rng(0).uniform(1, 10, 300)
    chosen = partition(durations, 7)
    loads = [durations[chosen == shard].sum() for shard in range(7)]
    assert max(loads) - min(loads) < 1.5
    np.testing.assert_array_equal(chosen, partition(durations, 7))
    assert set(partition(np.ones(2), 5)) <= set(range(5))


def test_more_shards_than_utterances(tmp_path: Path) -> None:
    paths = build(tmp_path, utterances()[:1])
    for shard in range(3):
        features.extract_shard(study(3), paths, shard)
    features.index(study(3), paths)
    assert len(features.FeatureStore(paths)) == 1


def one(tmp_path: Path) -> tuple[StudyPaths, Path, Path]:
    paths = build(tmp_path, utterances()[:1])
    return (
        paths,
        next((tmp_path / "corpora").rglob("*.flac")),
        next((tmp_path / "alignment").rglob("*.TextGrid")),
    )


def test_broken_inputs_are_named_and_leave_nothing(tmp_path: Path) -> None:
    paths, recording, textgrid = one(tmp_path)

    def refuse(message: str) -> None:
        with pytest.raises(DataError, match=message):
            features.extract_shard(study(1), paths, 0)
        assert not list(paths.features.glob("*")) and not list(paths.features.glob(".*"))

    good, good_grid = recording.read_bytes(), textgrid.read_bytes()
    recording.write_bytes(good[:50])
    refuse(f"{recording.name}: the clean recording cannot be read")
    recording.unlink()
    refuse("clean the corpus again")
    soundfile.write(recording, np.zeros(4000), RATE, subtype="PCM_24")
    refuse("samples are PCM_24; clean recordings are PCM_16")
    recording.write_bytes(good)
    textgrid.unlink()
    refuse("TextGrid is missing")
    textgrid.write_bytes(good_grid.replace(b'"u"', b'"zz"'))
    refuse("phone 'zz' is not in")
    textgrid.write_bytes(good_grid)
    table = pd.read_csv(paths.manifest)
    pd.concat([table, table.assign(utterance_id="more")]).to_csv(paths.manifest, index=False)
    refuse("does not match the manifest .*'more'")


def test_a_textgrid_of_another_recording_is_refused(tmp_path: Path) -> None:
    paths, recording, _ = one(tmp_path)
    samples, rate = soundfile.read(recording)
    soundfile.write(recording, samples[: len(samples) // 2], rate)
    with pytest.raises(DataError, match="align again"):
        features.extract_shard(study(1), paths, 0)
    soundfile.write(recording, samples, 16000)
    with pytest.raises(DataError, match="at 16000 Hz"):
        features.extract_shard(study(1), paths, 0)


def test_shards_outside_the_study(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"shards are 0\.\.1"):
        features.extract_shard(study(2), StudyPaths(tmp_path), 2)
    paths = build(tmp_path, utterances()[:1])
    features.extract_shard(study(2), paths, 0)
    with pytest.raises(DataError, match="shard~1 is missing"):
        features.index(study(2), paths)
