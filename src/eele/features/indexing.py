"""The stage `index_features`: one table over all shards, and the normalisation statistics."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np

from eele import io
from eele.config.models import StudyConfig
from eele.errors import DataError
from eele.features.phones import SILENT, phones_per_s
from eele.features.store import FeatureStore, shard_folder
from eele.paths import StudyPaths

log = logging.getLogger(__name__)

#: Deviations are never smaller than this, so that consumers may divide by them.
_SMALLEST_DEVIATION = 1e-4


def index(study: StudyConfig, paths: StudyPaths) -> None:
    """Write features/index.csv and features/statistics.json (see docs/architecture.md).

    Raises DataError when a shard is missing, an utterance lies in two shards, the study has no
    training speech, or a speaker has no voiced frame.
    """
    import pandas as pd

    tables, seconds = [], {"audio_seconds": 0.0, "work_seconds": 0.0}
    for shard in range(study.features.shards):
        folder = shard_folder(paths, shard)
        if not (folder / "index.csv").exists():
            raise DataError(f"{folder} is missing; extract that shard first")
        table = pd.read_csv(
            folder / "index.csv", dtype={"utterance_id": str, "speaker": str}, keep_default_na=False
        )
        table.insert(0, "shard", shard)
        tables.append(table)
        for key, value in io.read_json(folder / "summary.json").items():
            seconds[key] += value
    # An empty table has object columns and would turn the places of the others into text.
    united = pd.concat([table for table in tables if len(table)] or tables, ignore_index=True)
    united = united.sort_values("utterance_id", ignore_index=True)
    io.write_text(paths.features / "index.csv", united.to_csv(index=False))

    store = FeatureStore(paths)
    silent_ids = [io.read_json(paths.phones).index(symbol) for symbol in SILENT]
    mel_mean, mel_std = _mel_statistics(store)
    io.write_json(
        paths.features / "statistics.json",
        {
            "mel_mean": mel_mean,
            "mel_std": mel_std,
            "speakers": {
                speaker: _speaker_statistics(store, speaker, silent_ids, study.audio.hop_s)
                for speaker in sorted(set(store.index["speaker"]))
            },
            "extraction_x_real_time": seconds["audio_seconds"] / max(seconds["work_seconds"], 1e-9),
        },
    )


def _mel_statistics(store: FeatureStore) -> tuple[list[float], list[float]]:
    """Mean and deviation of each mel channel over the frames of all training utterances."""
    training = store.index.index[store.index["split"] == "train"]
    if training.empty:
        raise DataError("no training utterance was aligned; the study cannot be normalised")
    frames, total, squares = 0, 0.0, 0.0
    for utterance_id in training:
        mel = np.asarray(store.get(utterance_id).mel, dtype=np.float64)
        frames += len(mel)
        total = total + mel.sum(axis=0)
        squares = squares + np.square(mel).sum(axis=0)
    mean = np.asarray(total) / frames
    variance = np.maximum(np.asarray(squares) / frames - mean**2, 0.0)
    return mean.tolist(), np.maximum(np.sqrt(variance), _SMALLEST_DEVIATION).tolist()


def reference_utterances(store: FeatureStore, speaker: str) -> tuple[list[str], bool]:
    """Ids of the speaker's neutral training utterances and True; all training utterances and
    False where there are none; all utterances and False where none is for training."""
    mine = store.index[store.index["speaker"] == speaker]
    training = mine[mine["split"] == "train"]
    neutral = training[training["emotion"] == "neutral"]
    if len(neutral):
        return list(neutral.index), True
    return list(training.index if len(training) else mine.index), False


def _speaker_statistics(
    store: FeatureStore, speaker: str, silent_ids: list[int], hop_s: float
) -> dict[str, Any]:
    ids, neutral = reference_utterances(store, speaker)
    if not neutral:
        log.warning("%s: no neutral training speech; its statistics mix emotions", speaker)
    utterances = [store.get(utterance_id) for utterance_id in ids]
    log_f0 = np.concatenate([np.log(u.f0_hz[u.f0_hz > 0], dtype=np.float64) for u in utterances])
    if log_f0.size == 0:
        raise DataError(
            f"speaker '{speaker}': no voiced frame in {len(ids)} utterances; check the recordings "
            "and features.f0_floor_hz, features.f0_ceiling_hz"
        )
    silent = [np.isin(u.phones, silent_ids) for u in utterances]
    energy = np.concatenate(
        [
            u.energy_db[~np.repeat(quiet, u.durations)]
            for u, quiet in zip(utterances, silent, strict=True)
        ]
    ).astype(np.float64)
    if energy.size == 0:
        raise DataError(f"speaker '{speaker}': {len(ids)} aligned utterances hold silence only")
    rates = [
        phones_per_s(quiet, u.durations, hop_s) for u, quiet in zip(utterances, silent, strict=True)
    ]
    return {
        "log_f0_mean": float(log_f0.mean()),
        "log_f0_std": _deviation(log_f0),
        "energy_db_mean": float(energy.mean()),
        "energy_db_std": _deviation(energy),
        "phones_per_s": _mean(rate for rate in rates if rate is not None),
        "neutral": neutral,
    }


def _deviation(values: np.ndarray) -> float:
    return max(float(values.std()), _SMALLEST_DEVIATION)


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
