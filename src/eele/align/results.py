"""Outcomes as files: what a shard leaves for the index, and what the index leaves for everyone.

A shard's phone times are one table. As TextGrids they would be as many files once more.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eele import io
from eele.align.outcome import Item, Outcome
from eele.align.textgrid import Interval, TextGrid, write_textgrid
from eele.errors import DataError
from eele.paths import StudyPaths

_LISTED = ("utterance_id", "status", "score", "reason", "detail", "duration_s")
_INTERVALS = ("utterance_id", "tier", "start_s", "end_s", "label")


def shard_folder(paths: StudyPaths, shard: int) -> Path:
    """Folder of one shard: alignment.csv, intervals.csv, summary.json."""
    return paths.alignment / f"shard~{shard}"


@contextmanager
def _table(path: Path, header: Sequence[str]) -> Iterator[Any]:
    with (
        io.atomic_path(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as handle,
    ):
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        yield writer


def write_shard(folder: Path, outcomes: Sequence[Outcome]) -> None:
    """intervals.csv, then alignment.csv; numbers are written so that they come back as they were."""
    with _table(folder / "intervals.csv", _INTERVALS) as table:
        for outcome in outcomes:
            if outcome.grid is not None:
                name = outcome.item.utterance_id
                for tier in ("words", "phones"):
                    for start_s, end_s, label in getattr(outcome.grid, tier):
                        table.writerow([name, tier, repr(start_s), repr(end_s), label])
    with _table(folder / "alignment.csv", _LISTED) as table:
        for outcome in outcomes:
            score = "" if outcome.score is None else repr(outcome.score)
            duration = "" if outcome.grid is None else repr(outcome.grid.duration_s)
            status = "aligned" if outcome.aligned else "failed"
            name = outcome.item.utterance_id
            table.writerow([name, status, score, outcome.reason, outcome.detail, duration])


def read_shard(folder: Path, items: Mapping[str, Item]) -> list[Outcome]:
    """The outcomes of a shard; `items` by utterance_id. Raises DataError where they are not whole."""
    outcomes = []
    try:
        grids: dict[str, dict[str, list[Interval]]] = {}
        with open(folder / "intervals.csv", newline="", encoding="utf-8") as handle:
            for name, tier, start_s, end_s, label in _rows(handle, _INTERVALS):
                tiers = grids.setdefault(name, {"words": [], "phones": []})
                tiers[tier].append(Interval(float(start_s), float(end_s), sys.intern(label)))
        with open(folder / "alignment.csv", newline="", encoding="utf-8") as handle:
            for name, status, score, reason, detail, duration_s in _rows(handle, _LISTED):
                grid = None
                if status == "aligned":
                    tiers = grids[name]
                    grid = TextGrid(
                        float(duration_s), tuple(tiers["words"]), tuple(tiers["phones"])
                    )
                number = float(score) if score else None
                outcomes.append(Outcome(items[name], grid, number, reason, detail))
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{folder} is missing, damaged or of another manifest ({error!r}); run the stage align again"
        ) from error
    return outcomes


def _rows(handle: Any, header: Sequence[str]) -> Iterator[list[str]]:
    reader = csv.reader(handle)
    if next(reader, None) != [*header]:
        raise ValueError(f"no header {','.join(header)}")
    return reader


def write_outcomes(folder: Path, outcomes: Sequence[Outcome]) -> None:
    """textgrids/<speaker>/<utterance_id>.TextGrid, whole or absent, then alignment.csv."""
    with io.atomic_folder(folder / "textgrids") as grids:
        for outcome in outcomes:
            if outcome.grid is not None:
                item = outcome.item
                write_textgrid(grids / item.speaker / f"{item.utterance_id}.TextGrid", outcome.grid)
    with _table(folder / "alignment.csv", ("utterance_id", "status", "score", "reason")) as table:
        for outcome in outcomes:
            score = "" if outcome.score is None else f"{outcome.score:.4f}"
            reason = f"{outcome.reason}: {outcome.detail}" if outcome.reason else ""
            status = "aligned" if outcome.aligned else "failed"
            table.writerow([outcome.item.utterance_id, status, score, reason])
