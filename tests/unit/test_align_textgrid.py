"""TextGrids: what MFA writes is read, what is written is read back, frames sum exactly."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eele.align.textgrid import (
    Interval,
    TextGrid,
    cover,
    read_textgrid,
    to_frames,
    write_textgrid,
)
from eele.errors import DataError


def long_textgrid(duration_s: float, tiers: dict[str, list[tuple[float, float, str]]]) -> str:
    """A file as MFA writes it: long text format, one tier per speaker and kind."""
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 "]
    lines += [f"xmax = {duration_s} ", "tiers? <exists> ", f"size = {len(tiers)} ", "item []: "]
    for number, (name, intervals) in enumerate(tiers.items(), start=1):
        lines += [f"    item [{number}]:", '        class = "IntervalTier" ']
        lines += [f'        name = "{name}" ', "        xmin = 0 ", f"        xmax = {duration_s} "]
        lines += [f"        intervals: size = {len(intervals)} "]
        for index, (start, end, label) in enumerate(intervals, start=1):
            lines += [f"        intervals [{index}]:", f"            xmin = {start} "]
            lines += [f"            xmax = {end} ", f'            text = "{label}" ']
    return "\n".join(lines) + "\n"


WORDS = [(0.0, 0.1, ""), (0.1, 0.5, "to"), (0.5, 0.9, "łoś"), (0.9, 1.0, "")]
PHONES = [(0.0, 0.1, ""), (0.1, 0.3, "t"), (0.3, 0.5, "ɔ"), (0.5, 0.9, "spn"), (0.9, 1.0, "")]


def test_reads_what_mfa_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.TextGrid"
    path.write_text(long_textgrid(1.0, {"words": WORDS, "phones": PHONES}), encoding="utf-8")
    grid = read_textgrid(path)
    assert grid.duration_s == 1.0
    assert grid.words == tuple(Interval(*w) for w in WORDS)
    assert [p.label for p in grid.phones] == ["", "t", "ɔ", "spn", ""]


def test_chooses_the_speakers_tiers(tmp_path: Path) -> None:
    other = [(0.0, 1.0, "x")]
    path = tmp_path / "a.TextGrid"
    tiers = {"ann - words": WORDS, "ann - phones": PHONES, "bob - words": other}
    path.write_text(long_textgrid(1.0, {**tiers, "bob - phones": other}), encoding="utf-8")
    assert [p.label for p in read_textgrid(path, speaker="bob").phones] == ["x"]
    assert len(read_textgrid(path, speaker="ann").phones) == 5
    with pytest.raises(DataError, match="several tiers 'words'"):
        read_textgrid(path)
    with pytest.raises(DataError, match=r"no interval tier 'words' of speaker 'eve'.*ann - words"):
        read_textgrid(path, speaker="eve")


def test_fills_gaps_and_removes_float_noise(tmp_path: Path) -> None:
    path = tmp_path / "a.TextGrid"
    phones = [(0.1, 0.30000000004, "a"), (0.3, 0.5, "sil"), (0.7, 0.99999, "b")]
    path.write_text(long_textgrid(1.0, {"words": [], "phones": phones}), encoding="utf-8")
    found = read_textgrid(path).phones
    assert [p.label for p in found] == ["", "a", "", "b"]
    assert [p.end_s for p in found[:-1]] == [p.start_s for p in found[1:]]
    assert (found[0].start_s, found[-1].end_s) == (0.0, 1.0)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_writes_and_reads_back(tmp_path: Path, encoding: str) -> None:
    grid = TextGrid.of(
        1.25, [Interval(0.1, 0.5, 'a"b')], [Interval(0.1, 0.2, "ɔ"), Interval(0.2, 0.5, '"')]
    )
    path = tmp_path / "x" / "a.TextGrid"
    write_textgrid(path, grid)
    path.write_text(path.read_text("utf-8"), encoding=encoding)
    assert read_textgrid(path) == grid


def test_any_truncation_is_noticed(tmp_path: Path) -> None:
    whole = long_textgrid(1.0, {"words": WORDS, "phones": PHONES})
    path = tmp_path / "a.TextGrid"
    last_label = whole.rindex("xmax")
    for cut in range(0, last_label, 17):
        path.write_text(whole[:cut], encoding="utf-8")
        with pytest.raises(DataError, match=r"a\.TextGrid"):
            read_textgrid(path)


def test_refuses_overlap_and_overrun() -> None:
    with pytest.raises(DataError, match=r"'b'.*overlaps"):
        cover([Interval(0, 0.5, "a"), Interval(0.4, 0.6, "b")], 1.0)
    with pytest.raises(DataError, match="leaves the recording"):
        cover([Interval(0, 1.2, "a")], 1.0)


def test_frames_with_known_answer() -> None:
    # hop 0.1 s, 11 frames: boundaries at round(time / hop), half up; the last one is n_frames.
    intervals = [
        Interval(0.0, 0.12, ""),
        Interval(0.12, 0.34, "a"),
        Interval(0.34, 0.344, "b"),
        Interval(0.344, 0.75, "c"),
        Interval(0.75, 1.0, ""),
    ]
    phones, durations = to_frames(intervals, 11, 0.1)
    assert phones == ["sil", "a", "b", "c", "sil"]
    assert durations.tolist() == [1, 2, 0, 5, 3]
    assert durations.dtype == np.int32


def test_frames_merge_silences_and_drop_empty_ones() -> None:
    intervals = [Interval(0, 0.2, "sp"), Interval(0.2, 0.4, ""), Interval(0.4, 0.9, "a")]
    assert to_frames([*intervals, Interval(0.9, 0.94, "")], 9, 0.1)[0] == ["sil", "a"]
    assert to_frames([], 5, 0.1) == (["sil"], pytest.approx([5]))


@given(
    lengths=st.lists(st.floats(0, 0.4), min_size=1, max_size=20),
    labels=st.lists(st.sampled_from(["", "a", "b"]), min_size=20, max_size=20),
    hop_s=st.sampled_from([0.005, 256 / 22050, 0.0125]),
    extra=st.integers(-1, 2),
)
def test_frames_always_sum(
    lengths: list[float], labels: list[str], hop_s: float, extra: int
) -> None:
    ends = np.cumsum(lengths)
    starts = np.concatenate([[0.0], ends[:-1]])
    intervals = [
        Interval(float(a), float(b), label)
        for a, b, label in zip(starts, ends, labels, strict=False)
    ]
    n_frames = max(1, 1 + int(ends[-1] / hop_s) + extra)
    phones, durations = to_frames(intervals, n_frames, hop_s)
    assert durations.sum() == n_frames
    assert (durations >= 0).all()
    spoken = [i.label for i in intervals if i.label]
    assert [p for p in phones if p != "sil"] == spoken
    assert all(p != "sil" or q != "sil" for p, q in pairwise(phones))
