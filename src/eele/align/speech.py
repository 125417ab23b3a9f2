"""The frames of utterances, normalised within their speaker, and shares of a corpus to train on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol, TypeVar

from eele.align import frontend
from eele.align.mixtures import Matrix
from eele.align.outcome import UNREADABLE, Item, Outcome


@dataclass(frozen=True)
class Speech:
    """An utterance with its frames (frames, DIMENSION); `duration_s` is the recording's own."""

    item: Item
    duration_s: float
    frames: Matrix


class _Timed(Protocol):
    @property
    def duration_s(self) -> float: ...


T = TypeVar("T", bound=_Timed)


def by_speaker(items: Sequence[Item]) -> list[tuple[str, list[Item]]]:
    """Speakers sorted by name with their items in the order of `items`."""
    ordered = sorted(items, key=lambda item: item.speaker)
    return [(speaker, list(mine)) for speaker, mine in groupby(ordered, lambda i: i.speaker)]


def load_speaker(items: Sequence[Item]) -> Iterator[Speech | Outcome]:
    """One speaker's utterances with their frames, in the order of `items`, normalised together.

    Where a recording cannot be read its outcome comes in place. The cepstra of all are held, a third of the frames.
    """
    import soundfile

    failed: dict[str, Outcome] = {}
    lengths_s, cepstra = [], []
    for item in items:
        try:
            samples, rate = soundfile.read(item.path, dtype="float32", always_2d=True)
        except (OSError, soundfile.SoundFileError) as error:
            detail = f"{item.path}: {error}"
            failed[item.utterance_id] = Outcome(item, reason=UNREADABLE, detail=detail)
            continue
        frames = frontend.mfcc(samples.mean(1), rate)
        if not len(frames):
            detail = f"{item.path}: no samples"
            failed[item.utterance_id] = Outcome(item, reason=UNREADABLE, detail=detail)
            continue
        lengths_s.append(len(samples) / rate)
        cepstra.append(frames)
    whole = zip(lengths_s, frontend.normalised(cepstra), strict=True)
    for item in items:
        yield failed.get(item.utterance_id) or Speech(item, *next(whole))


def load(items: Sequence[Item]) -> list[Speech]:
    """What can be read of `items`, speaker after speaker."""
    return [
        part
        for _, mine in by_speaker(items)
        for part in load_speaker(mine)
        if isinstance(part, Speech)
    ]


def even_share(parts: Sequence[T], seconds: float) -> list[T]:
    """All of `parts`, or about `seconds` of them spread evenly over the list.

    The list goes speaker after speaker, so every speaker keeps their share.
    """
    total = sum(part.duration_s for part in parts)
    if total <= seconds:
        return list(parts)
    # Every utterance has a place on 0 .. total; those nearest to even marks are taken.
    chosen, mark, spent = [], 0.0, 0.0
    for part in parts:
        mark += part.duration_s * seconds / total
        if spent + part.duration_s / 2 <= mark:
            chosen.append(part)
            spent += part.duration_s
    return chosen
