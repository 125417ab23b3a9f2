"""TextGrids in the study's one form, read tolerantly, written strictly, and turned into frames.

The form (docs/architecture.md): interval tiers `words` and `phones`, both covering 0 .. duration
without a gap, `""` for silence. Montreal Forced Aligner writes close relatives of it, with
`<speaker> - words` tiers where a file has several speakers, gaps, and times that differ in the last digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eele.errors import DataError
from eele.io import atomic_path

#: Phone symbol of silence in frames and inventories; TextGrids hold `""` instead.
SILENCE = "sil"
#: Labels other aligners write for silence.
_SILENT = frozenset({"", "sil", "SIL", "sp", "<eps>", "<sil>", "<SIL>"})
#: Times closer than this are one time: far below a sample, far above float noise in a text file.
TOLERANCE_S = 1e-4


class Interval(NamedTuple):
    """A labelled stretch of time in seconds; label `""` is silence."""

    start_s: float
    end_s: float
    label: str


@dataclass(frozen=True)
class TextGrid:
    """Words and phones of one utterance; each tier covers 0 .. `duration_s` without gap or overlap."""

    duration_s: float
    words: tuple[Interval, ...]
    phones: tuple[Interval, ...]

    @classmethod
    def of(
        cls, duration_s: float, words: Iterable[Interval], phones: Iterable[Interval]
    ) -> TextGrid:
        """The grid of these intervals, gaps filled with silence (see `cover`)."""
        return cls(
            duration_s,
            tuple(cover(words, duration_s)),
            tuple(cover(phones, duration_s)),
        )


def cover(intervals: Iterable[Interval], duration_s: float) -> list[Interval]:
    """`intervals` over exactly 0 .. `duration_s`: silence in the gaps, float noise removed.

    Silence labels become `""` and neighbouring silences become one. Raises DataError where intervals run backwards, overlap or leave the
    recording by more than TOLERANCE_S.
    """
    covered: list[Interval] = []

    def add(start_s: float, end_s: float, label: str) -> None:
        if label == "" and covered and covered[-1].label == "":
            covered[-1] = covered[-1]._replace(end_s=end_s)
        else:
            covered.append(Interval(start_s, end_s, label))

    now = 0.0
    for start_s, end_s, label in intervals:
        if end_s < start_s or start_s < now - TOLERANCE_S or end_s > duration_s + TOLERANCE_S:
            raise DataError(
                f"interval '{label}' {start_s:g}..{end_s:g} s overlaps its neighbour or leaves the "
                f"recording (0..{duration_s:g} s)"
            )
        if start_s > now + TOLERANCE_S:
            add(now, start_s, "")
            now = start_s
        end_s = duration_s if abs(end_s - duration_s) <= TOLERANCE_S else max(end_s, now)
        add(now, end_s, "" if label.strip() in _SILENT else label.strip())
        now = end_s
    if now < duration_s:
        add(now, duration_s, "")
    return covered


def write_textgrid(path: str | Path, grid: TextGrid) -> None:
    """Write `grid` as a long TextGrid (UTF-8), atomically; tier order words, phones."""
    from praatio import textgrid

    document = textgrid.Textgrid(0.0, grid.duration_s)
    for name, intervals in (("words", grid.words), ("phones", grid.phones)):
        document.addTier(
            textgrid.IntervalTier(name, [tuple(i) for i in intervals], 0.0, grid.duration_s)
        )
    with atomic_path(path) as temporary:
        document.save(str(temporary), "long_textgrid", includeBlankSpaces=True)


def read_textgrid(path: str | Path, speaker: str | None = None) -> TextGrid:
    """The words and phones of a TextGrid file (long, short or JSON; UTF-8 or UTF-16).

    `speaker` chooses among `<speaker> - words` tiers and is needed only where several speakers
    share a file. Raises DataError naming the file where it is damaged, a tier is missing, or
    intervals overlap.
    """
    from praatio.utilities import textgrid_io
    from praatio.utilities.errors import PraatioException

    path = Path(path)
    data = path.read_bytes()
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
        # The parser alone: praatio's Textgrid class refuses the float noise tolerated here.
        document = textgrid_io.parseTextgridStr(text, includeEmptyIntervals=True)
        duration_s = float(document["xmax"])
        tiers = {
            str(tier["name"]): [
                Interval(float(start), float(end), label) for start, end, label in tier["entries"]
            ]
            for tier in document["tiers"]
            if tier["class"] == textgrid_io.INTERVAL_TIER
        }
        # A truncated long TextGrid parses without complaint: hold it against its own counts.
        declared = [int(size) for size in re.findall(r"intervals: size = (\d+)", text)]
        if "item [" in text and (
            len(declared) != len(tiers) or sum(declared) != sum(map(len, tiers.values()))
        ):
            raise ValueError("fewer tiers or intervals than announced")
    except (PraatioException, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not a TextGrid, or a damaged one ({error}); delete it and align again"
        ) from error
    try:
        return TextGrid.of(
            duration_s, _tier(tiers, "words", speaker), _tier(tiers, "phones", speaker)
        )
    except DataError as error:
        raise DataError(f"{path}: {error}; correct the file or align again") from error


def _tier(tiers: dict[str, list[Interval]], kind: str, speaker: str | None) -> list[Interval]:
    """The tier `kind` or `<speaker> - <kind>`."""
    suffix = f" - {kind}"
    found = [
        name
        for name in tiers
        if name == kind
        or (name.endswith(suffix) and speaker in (None, name.removesuffix(suffix).strip()))
    ]
    if len(found) == 1:
        return tiers[found[0]]
    wanted = f"'{kind}'" + (f" of speaker '{speaker}'" if speaker else "")
    problem = f"several tiers {wanted}" if found else f"no interval tier {wanted}"
    raise DataError(f"{problem}; the file holds: {', '.join(tiers) or 'none'}")


def to_frames(
    intervals: Sequence[Interval], n_frames: int, hop_s: float
) -> tuple[list[str], NDArray[np.int32]]:
    """Phones and their durations in frames, shape (phones,), that sum to `n_frames` exactly.

    A boundary at t seconds lies at round(t / hop_s) frames; the last boundary is `n_frames`
    (1 + samples // hop_size for centred frames). A phone shorter than a frame may get 0 frames and is
    kept, so the phones stay those of the text. Silences are `sil`; neighbours are merged and
    those of 0 frames left out. Gaps count as silence.
    """
    if n_frames < 1 or hop_s <= 0:
        raise ValueError(f"n_frames and hop_s must be positive, got {n_frames} and {hop_s}")
    end_s = max([n_frames * hop_s, *(interval.end_s for interval in intervals)])
    whole = cover(intervals, end_s)
    starts = np.array([interval.start_s for interval in whole])
    bounds = np.append(np.floor(starts / hop_s + 0.5), n_frames)
    durations = np.diff(np.clip(bounds, 0, n_frames)).astype(np.int32)
    phones: list[str] = []
    frames: list[int] = []
    for interval, count in zip(whole, durations.tolist(), strict=True):
        if interval.label:
            phones.append(interval.label)
            frames.append(count)
        elif phones and phones[-1] == SILENCE:
            frames[-1] += count
        elif count:
            phones.append(SILENCE)
            frames.append(count)
    return phones, np.array(frames, dtype=np.int32)
