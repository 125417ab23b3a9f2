"""The stage `extract_features`: one shard of the study's aligned utterances, on one core."""

from __future__ import annotations

import heapq
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from eele import io
from eele.config.models import AudioConfig, StudyConfig
from eele.errors import DataError
from eele.features.f0 import f0_hz, interpolate_log_f0
from eele.features.mel import energy_db, log_mel
from eele.features.phones import phone_means
from eele.features.store import ShardWriter, Utterance, shard_folder
from eele.paths import StudyPaths

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

#: A TextGrid may end this far from its recording: times are written with few digits.
_END_TOLERANCE_S = 0.03
#: Exact in float32, so that no bit of a 16-bit sample is lost.
_FULL_SCALE = np.float32(32768)


class Frames(NamedTuple):
    """Frame features of one signal: mel (frames, mel), f0_hz (frames,), energy_db (frames,)."""

    mel: np.ndarray
    f0_hz: np.ndarray
    energy_db: np.ndarray


def analyse(samples: np.ndarray, study: StudyConfig) -> Frames:
    """Log-mel, F0 and energy of `samples` (samples,) at the study's rate, on common frames."""
    return Frames(
        log_mel(samples, study.audio),
        f0_hz(samples, study.audio, study.features),
        energy_db(samples, study.audio),
    )


def read_clean(path: Path, audio: AudioConfig) -> np.ndarray:
    """Samples (samples,) int16 of a clean recording, full scale 32768.

    Raises DataError when the file is missing or damaged, is not 16-bit, has several channels or
    another rate.
    """
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            rate, subtype = file.samplerate, file.subtype
            samples: np.ndarray = file.read(dtype="int16")
    except (OSError, soundfile.SoundFileError) as error:
        raise DataError(
            f"{path}: the clean recording cannot be read ({error}); delete it and clean the corpus again"
        ) from error
    if samples.ndim != 1 or rate != audio.sample_rate_hz:
        raise DataError(
            f"{path}: {1 if samples.ndim == 1 else samples.shape[1]} channel(s) at {rate} Hz; clean "
            f"recordings have one at {audio.sample_rate_hz} Hz; delete it and clean the corpus again"
        )
    if subtype != "PCM_16":
        # Reading it as 16-bit would drop bits that the features are to be computed from.
        raise DataError(
            f"{path}: samples are {subtype}; clean recordings are PCM_16; delete it and clean the "
            "corpus again"
        )
    if samples.size < 2:
        raise DataError(f"{path}: the recording is empty; delete it and clean the corpus again")
    return samples


def aligned_utterances(paths: StudyPaths) -> pd.DataFrame:
    """Rows of the manifest whose alignment succeeded, by utterance_id.

    Raises DataError when the manifest and alignment.csv do not list the same utterances.
    """
    import pandas as pd

    text = {"utterance_id": str, "speaker": str, "path": str, "text": str}
    tables = []
    for file in (paths.manifest, paths.alignment / "alignment.csv"):
        if not file.exists():
            raise DataError(f"{file} is missing; run the stage that writes it first")
        tables.append(pd.read_csv(file, dtype=text, keep_default_na=False))
    manifest, alignment = tables
    unlisted = set(manifest["utterance_id"]) ^ set(alignment["utterance_id"])
    if unlisted:
        raise DataError(
            f"{paths.alignment / 'alignment.csv'}: does not match the manifest "
            f"({len(unlisted)} utterances differ, e.g. '{min(unlisted)}'); align again"
        )
    aligned = set(alignment.loc[alignment["status"] == "aligned", "utterance_id"])
    kept = manifest[manifest["utterance_id"].isin(aligned)]
    return kept.sort_values("utterance_id", ignore_index=True)


def partition(durations_s: np.ndarray, shards: int) -> np.ndarray:
    """Shard of each utterance, (utterances,) int: longest first to the least loaded shard.

    Deterministic; loads differ by one utterance at most.
    """
    loads = [(0.0, shard) for shard in range(shards)]
    chosen = np.zeros(len(durations_s), dtype=int)
    for item in np.argsort(-np.asarray(durations_s, dtype=float), kind="stable"):
        load, shard = loads[0]
        chosen[item] = shard
        heapq.heapreplace(loads, (load + float(durations_s[item]), shard))
    return chosen


def extract_shard(study: StudyConfig, paths: StudyPaths, shard: int) -> None:
    """Write features/shard~<shard>/ (see docs/architecture.md) from clean recordings and TextGrids.

    `summary.json` in it holds the seconds of audio and of work. Raises DataError for a shard
    outside the study, a broken recording, a missing TextGrid, or a phone outside the inventory.
    """
    if not 0 <= shard < study.features.shards:
        raise DataError(
            f"shard {shard} does not exist; features.shards is {study.features.shards}, so shards "
            f"are 0..{study.features.shards - 1}"
        )
    utterances = aligned_utterances(paths)
    if utterances.empty:
        raise DataError(
            f"{paths.alignment / 'alignment.csv'}: no utterance is aligned; see its column `reason`"
        )
    mine = utterances[
        partition(utterances["duration_s"].to_numpy(), study.features.shards) == shard
    ]
    phone_ids = {symbol: index for index, symbol in enumerate(io.read_json(paths.phones))}
    started = time.perf_counter()
    with ShardWriter(paths, shard) as writer:
        for row in mine[
            ["utterance_id", "path", "speaker", "emotion", "split", "duration_s"]
        ].to_dict("records"):
            path = paths.root / row.pop("path")
            writer.add(
                {str(key): value for key, value in row.items()},
                _utterance(study, paths, path, row["utterance_id"], row["speaker"], phone_ids),
            )
        writer.summary = {
            "audio_seconds": float(mine["duration_s"].sum()),
            "work_seconds": time.perf_counter() - started,
        }
    log.info(
        "%s: %d utterances, %.0f x real time",
        shard_folder(paths, shard),
        len(mine),
        writer.summary["audio_seconds"] / max(writer.summary["work_seconds"], 1e-9),
    )


def _utterance(
    study: StudyConfig,
    paths: StudyPaths,
    path: Path,
    utterance_id: str,
    speaker: str,
    phone_ids: dict[str, int],
) -> Utterance:
    from eele.align.textgrid import read_textgrid, to_frames

    samples = read_clean(path, study.audio)
    frames = analyse(samples.astype(np.float32) / _FULL_SCALE, study)
    if not np.any(frames.f0_hz):
        log.warning("%s: no voiced frame; its pitch is that of the middle of the range", path)
    grid_path = paths.alignment / "textgrids" / speaker / f"{utterance_id}.TextGrid"
    if not grid_path.exists():
        raise DataError(
            f"{grid_path} is missing though alignment.csv lists '{utterance_id}' as aligned; align again"
        )
    grid = read_textgrid(grid_path)
    audio_s = samples.size / study.audio.sample_rate_hz
    if abs(grid.duration_s - audio_s) > _END_TOLERANCE_S:
        raise DataError(
            f"{grid_path}: ends at {grid.duration_s:.3f} s, {path} at {audio_s:.3f} s; align again"
        )
    symbols, durations = to_frames(grid.phones, len(frames.mel), study.audio.hop_s)
    unknown = [symbol for symbol in symbols if symbol not in phone_ids]
    if unknown:
        raise DataError(
            f"{grid_path}: phone '{unknown[0]}' is not in {paths.phones} "
            f"({len(phone_ids)} symbols); build the lexicon and align again"
        )
    middle_hz = (study.features.f0_floor_hz * study.features.f0_ceiling_hz) ** 0.5
    contour = interpolate_log_f0(frames.f0_hz, middle_hz)
    return Utterance(
        *frames,
        phones=np.array([phone_ids[symbol] for symbol in symbols], dtype=np.int16),
        durations=durations,
        phone_log_f0=phone_means(contour, durations),
        phone_energy_db=phone_means(frames.energy_db, durations),
        samples=samples,
    )
