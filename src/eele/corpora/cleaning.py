"""Cleaning of one corpus: every recording judged, cut, levelled per speaker and written as FLAC."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from eele.config.models import StudyConfig
from eele.corpora.collecting import (
    LISTING_COLUMNS,
    MANIFEST_COLUMNS,
    read_manifest,
)
from eele.corpora.recording import Examined, Limits, Task, Writing, examine, write_clean
from eele.corpora.sound import level_dbfs
from eele.corpora.tables import read_table, write_table
from eele.corpora.verdict import REJECTED_COLUMNS, refuse_too_many, summarise
from eele.errors import DataError
from eele.io import hash_json, read_json, sha256, write_json
from eele.paths import StudyPaths

_LOG = logging.getLogger(__name__)

CLEAN_COLUMNS = (*MANIFEST_COLUMNS[:-1], "duration_s", "leading_cut_s", "gain_db", "sha256")

#: Changing what cleaning does must change this: unfinished work of another version is discarded.
_VERSION = 2
#: No sample is louder than this after levelling (dBFS).
_PEAK_LIMIT_DBFS = -0.1

Row = dict[str, str]
T = TypeVar("T")
R = TypeVar("R")
Mapper = Callable[[Callable[[T], R], Iterable[T]], Iterable[R]]


@dataclass
class Speaker:
    """One speaker's outcome, as kept in the unfinished work."""

    accepted: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, str]] = field(default_factory=list)
    level: dict[str, Any] = field(default_factory=dict)


def clean_corpus(study: StudyConfig, paths: StudyPaths, corpus_id: str, jobs: int = 1) -> None:
    """Clean the corpus `corpus_id`: corpora/<id>/clean/, clean.csv, rejected.csv, summary.json.

    Speaker after speaker, `jobs` recordings at a time. Finished speakers are kept in a hidden
    folder, so that an interrupted run goes on where it stopped and ends in the same files. Raises
    DataError when a larger share than `cleaning.max_rejected_share` is rejected; what was rejected
    then stands in rejected_too_many.csv.
    """
    started = time.monotonic()
    folder = paths.corpus(corpus_id)
    rows = read_manifest(folder / "manifest.csv")
    listing = [
        _rejection(corpus_id, row, "collect", row["reason"], row["detail"])
        for _, row in read_table(folder / "rejected_listing.csv", LISTING_COLUMNS)
    ]
    duplicates = _duplicates(rows)
    by_speaker: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_speaker[row["speaker"]].append(row)
    _refuse_merged_speakers(corpus_id, by_speaker)

    work = _open_work(folder / ".cleaning", study)
    speakers: dict[str, Speaker] = {}
    with _mapper(jobs) as run:
        for name in sorted(by_speaker):
            rows = by_speaker[name]
            try:
                speaker = _clean_speaker(study, corpus_id, name, rows, duplicates, work, run)
            except OSError as error:
                raise DataError(
                    f"corpus {corpus_id}: cleaning cannot write below {work} ({error}); free some "
                    "disk space and run again: finished speakers are kept"
                ) from error
            speakers[prefixed(corpus_id, name)] = speaker
            counts = len(speaker.accepted), len(speaker.rejected)
            _LOG.info("%s: %s: %d accepted, %d rejected", corpus_id, name, *counts)
    rejected = [*listing, *(row for speaker in speakers.values() for row in speaker.rejected)]
    accepted = [row for speaker in speakers.values() for row in speaker.accepted]
    summary = summarise(
        accepted, rejected, {name: s.level for name, s in speakers.items() if s.level}
    )
    refuse_too_many(study, folder, corpus_id, summary, rejected)

    final = folder / "clean"
    (work / "clean").mkdir(exist_ok=True)
    if final.exists():
        shutil.rmtree(final)
    (work / "clean").replace(final)
    table = [{key: row[key] for key in CLEAN_COLUMNS} for row in accepted]
    write_table(folder / "clean.csv", CLEAN_COLUMNS, table)
    write_table(folder / "rejected.csv", REJECTED_COLUMNS, rejected)
    write_json(folder / "summary.json", summary)
    (folder / "rejected_too_many.csv").unlink(missing_ok=True)
    shutil.rmtree(work)
    seconds = time.monotonic() - started
    _LOG.info(
        "%s: %d accepted, %d rejected %s; %.1f s of sound in %.1f s",
        corpus_id,
        summary["n_accepted"],
        summary["n_rejected"],
        summary["by_reason"] or "",
        summary["source_s"],
        seconds,
    )


@contextmanager
def _mapper(jobs: int) -> Iterator[Mapper]:
    """A `map` over processes, or the plain one; a killed process becomes a DataError."""
    if jobs <= 1:
        yield map
        return
    executor: Executor
    with ProcessPoolExecutor(max_workers=jobs) as executor:

        def run(function: Callable[[T], R], items: Iterable[T]) -> Iterable[R]:
            return executor.map(function, items, chunksize=8)

        try:
            yield run
        except BrokenProcessPool as error:
            raise DataError(
                "a cleaning process was killed (out of memory?); use fewer jobs and run again: "
                "finished speakers are kept"
            ) from error


def _open_work(work: Path, study: StudyConfig) -> Path:
    """The folder of unfinished work; emptied when it belongs to other settings."""
    settings = {
        "version": _VERSION,
        "cleaning": study.cleaning.model_dump(mode="json", exclude={"max_rejected_share"}),
        "sample_rate_hz": study.audio.sample_rate_hz,
    }
    stamp = work / "settings.json"
    if work.exists() and (not stamp.is_file() or read_json(stamp) != settings):
        _LOG.warning("%s: unfinished work of other settings is discarded", work)
        shutil.rmtree(work)
    for part in ("clean", "speakers", "spool"):
        (work / part).mkdir(parents=True, exist_ok=True)
    if not stamp.is_file():
        write_json(stamp, settings)
    return work


def _duplicates(rows: list[Row]) -> dict[str, str]:
    """Utterance id -> why its recording, byte for byte that of another row, is not used.

    Where text, emotion and speaker agree the first stays. Where they differ one of them is wrong,
    and nothing says which: none stays.
    """
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        path = Path(row["path"])
        if row["sha256"] and path.is_file() and path.stat().st_size:
            groups[row["sha256"]].append(row)
    reasons = {}
    for group in groups.values():
        labels = {(row["speaker"], row["emotion"], row["text"]) for row in group}
        first = group[0]
        if len(labels) > 1:
            for row, other in zip(group, [group[1], *([first] * (len(group) - 1))], strict=True):
                reasons[row["utterance_id"]] = (
                    f"same bytes as {other['utterance_id']} with another text, emotion or speaker"
                )
        for row in group[1:] if len(labels) == 1 else ():
            reasons[row["utterance_id"]] = f"same bytes as {first['utterance_id']}"
    return reasons


def _clean_speaker(
    study: StudyConfig,
    corpus_id: str,
    name: str,
    rows: list[Row],
    duplicates: dict[str, str],
    work: Path,
    run: Mapper,
) -> Speaker:
    clean_name = prefixed(corpus_id, name)
    folder = work / "clean" / clean_name
    done = work / "speakers" / f"{clean_name}.json"
    usable = [row for row in rows if row["utterance_id"] not in duplicates]
    fingerprint = hash_json(
        [rows, {r["utterance_id"]: duplicates.get(r["utterance_id"]) for r in rows}]
    )
    if done.is_file():
        kept = read_json(done)
        if kept.pop("fingerprint") == fingerprint and _all_there(folder, kept["accepted"]):
            return Speaker(**kept)

    spool = work / "spool"
    for path in (folder, spool):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
    limits = _limits(study)
    tasks = [
        Task(Path(row["path"]), row["sha256"], spool / f"{index}.npy", limits)
        for index, row in enumerate(usable)
    ]
    examined = list(run(examine, tasks))
    speaker = Speaker()
    good = []
    for task, row, result in zip(tasks, usable, examined, strict=True):
        if result.reason:
            speaker.rejected.append(
                _rejection(corpus_id, row, "clean", result.reason, result.detail)
            )
        else:
            good.append((task, row, result))
    speaker.rejected += [
        _rejection(corpus_id, row, "clean", "duplicate_audio", duplicates[row["utterance_id"]])
        for row in rows
        if row["utterance_id"] in duplicates
    ]
    if good:
        speaker.level = _level([(row, result) for _, row, result in good], study)
        gain_db = speaker.level["gain_db"]
        rate_hz = study.audio.sample_rate_hz
        writings = [
            Writing(
                task.spool, folder / f"{corpus_id}_{row['utterance_id']}.flac", rate_hz, gain_db
            )
            for task, row, _ in good
        ]
        digests = list(run(write_clean, writings))
        for writing, (_, row, result), digest in zip(writings, good, digests, strict=True):
            speaker.accepted.append(
                {
                    **row,
                    "utterance_id": writing.target.stem,
                    "path": f"corpora/{corpus_id}/clean/{clean_name}/{writing.target.name}",
                    "speaker": clean_name,
                    "duration_s": round(result.samples / rate_hz, 6),
                    "leading_cut_s": round(result.leading_cut_s, 4),
                    "gain_db": gain_db,
                    "sha256": digest,
                    "source_s": result.source_s,
                    "cut_s": result.leading_cut_s + result.trailing_cut_s,
                }
            )
    write_json(
        done,
        {
            "fingerprint": fingerprint,
            "accepted": speaker.accepted,
            "rejected": speaker.rejected,
            "level": speaker.level,
        },
    )
    return speaker


def prefixed(corpus_id: str, speaker: str) -> str:
    """The speaker's name in the study: with the corpus in front, unless it begins so already."""
    if speaker == corpus_id or speaker.startswith(f"{corpus_id}_"):
        return speaker
    return f"{corpus_id}_{speaker}"


def _all_there(folder: Path, accepted: list[dict[str, Any]]) -> bool:
    """Whether the speaker's finished files are whole (they may lack what was never flushed)."""
    return all(
        (path := folder / f"{row['utterance_id']}.flac").is_file() and sha256(path) == row["sha256"]
        for row in accepted
    )


def _limits(study: StudyConfig) -> Limits:
    cleaning = study.cleaning
    return Limits(
        sample_rate_hz=study.audio.sample_rate_hz,
        edge_silence_s=cleaning.edge_silence_s,
        silence_below_peak_db=cleaning.silence_below_peak_db,
        min_duration_s=cleaning.min_duration_s,
        max_duration_s=cleaning.max_duration_s,
        max_clipped_share=cleaning.max_clipped_share,
    )


def _refuse_merged_speakers(corpus_id: str, speakers: Iterable[str]) -> None:
    names: dict[str, str] = {}
    for speaker in speakers:
        other = names.setdefault(prefixed(corpus_id, speaker), speaker)
        if other != speaker:
            raise DataError(
                f"corpus {corpus_id}: speakers '{other}' and '{speaker}' would both be called "
                f"'{prefixed(corpus_id, speaker)}'; give the corpus another `name`"
            )


def _rejection(corpus_id: str, row: Row, stage: str, reason: str, detail: str) -> dict[str, str]:
    return {
        "utterance_id": f"{corpus_id}_{row['utterance_id']}",
        "corpus": corpus_id,
        "speaker": prefixed(corpus_id, row["speaker"]),
        "stage": stage,
        "reason": reason,
        "detail": f"{row['path']}: {detail}",
    }


def _level(results: list[tuple[Row, Examined]], study: StudyConfig) -> dict[str, Any]:
    """The speaker's one gain: from the neutral utterances' active level to the target.

    Energy is part of emotion, so all utterances of a speaker get the same gain. Where it would clip
    the loudest one it is made smaller for all of them (`limited`).
    """
    neutral = [result for row, result in results if row["emotion"] == "neutral"]
    measured = neutral or [result for _, result in results]
    level = level_dbfs(sum(r.power_sum for r in measured), sum(r.frames for r in measured))
    wanted = study.cleaning.loudness_dbfs - level
    largest = _PEAK_LIMIT_DBFS - 20 * math.log10(max(r.peak for _, r in results))
    gain_db = math.floor(min(wanted, largest) * 1000) / 1000
    return {
        "measured_on": "neutral" if neutral else "all",
        "source_level_dbfs": round(level, 2),
        "gain_db": gain_db,
        "level_dbfs": round(level + gain_db, 2),
        "limited": largest < wanted,
        "limited_by_db": round(max(0.0, wanted - largest), 2),
    }
