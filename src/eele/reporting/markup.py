"""Plain data for the page's tables: what a cell shows, what it sorts by, how it is shaded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class TableCell:
    """One cell: shown text, sort value (empty sorts last), and optional look."""

    text: str
    sort: str = ""
    kind: str = ""  # CSS class
    shade: str = ""  # background colour of a heat map
    ink: str = ""
    title: str = ""
    note: str = ""  # a second, smaller line


@dataclass(frozen=True)
class Heading:
    """One column: label, whether numbers, and a word of explanation."""

    label: str
    numeric: bool = False
    title: str = ""


@dataclass(frozen=True)
class HtmlTable:
    """A sortable table. `rows` hold one cell per heading; the first heads its row."""

    id: str
    caption: str
    headings: Sequence[Heading]
    rows: Sequence[Sequence[TableCell]]
    #: per row, attributes for filters: {"method": "lora"}
    tags: Sequence[dict[str, str]] = field(default_factory=tuple)
    kind: str = ""
    sortable: bool = True


def is_empty(value: Any) -> bool:
    """None, NaN, NA or an empty text."""
    if value is None or value is pd.NA:
        return True
    return (isinstance(value, float) and math.isnan(value)) or value == ""


def text(value: Any, kind: str = "", title: str = "", note: str = "") -> TableCell:
    """A text cell; it sorts by its lower-case text."""
    if is_empty(value):
        return TableCell("–", "", "empty")
    return TableCell(str(value), str(value).lower(), kind, title=title, note=note)


def number(
    value: Any,
    digits: int = 2,
    kind: str = "",
    suffix: str = "",
    signed: bool = False,
    note: str = "",
) -> TableCell:
    """A number cell; it sorts by the full number, not by the rounded text."""
    if is_empty(value):
        return TableCell("–", "", "empty num")
    shown = f"{float(value):{'+' if signed else ''},.{digits}f}"
    shown = shown.replace("-", "−").replace(",", "\u202f")
    return TableCell(shown + suffix, repr(float(value)), f"num {kind}".strip(), note=note)


def span(least: Any, most: Any, digits: int = 0) -> TableCell:
    """A range of numbers, or the one number it holds; it sorts by its lower end."""
    low, high = number(least, digits), number(most, digits)
    return low if low.text == high.text else replace(low, text=f"{low.text} to {high.text}")


def percent(value: Any, digits: int = 1) -> TableCell:
    """A share as per cent."""
    return (
        TableCell("–", "", "empty num")
        if is_empty(value)
        else TableCell(f"{100 * float(value):.{digits}f} %", repr(float(value)), "num")
    )


def shown(value: float, digits: int = 2) -> str:
    """A number as text, a dash where unknown."""
    return "–" if is_empty(value) else f"{value:.{digits}f}".replace("-", "−")


def interval_text(low: Any, high: Any, digits: int = 2) -> str:
    """`0.61 to 0.78`, or an empty text where an end is unknown."""
    if is_empty(low) or is_empty(high):
        return ""
    ends = [f"{float(end):.{digits}f}".replace("-", "−") for end in (low, high)]
    return f"{ends[0]} to {ends[1]}"


#: Steps of a sequential blue from white to deep, readable for colour-blind eyes.
_STEPS = ((247, 251, 255), (200, 221, 240), (115, 178, 216), (41, 121, 185), (8, 72, 140))


def heat(value: Any, digits: int = 2, lowest: float = 0.0) -> TableCell:
    """A number cell shaded by its value between `lowest` and 1, with ink that stays readable on it."""
    if is_empty(value):
        return TableCell("–", "", "empty num")
    share = min(1.0, max(0.0, (float(value) - lowest) / (1 - lowest)))
    place = share * (len(_STEPS) - 1)
    low = min(int(place), len(_STEPS) - 2)
    rest = place - low
    colour = tuple(
        round(a + (b - a) * rest) for a, b in zip(_STEPS[low], _STEPS[low + 1], strict=True)
    )
    return TableCell(
        shown(float(value), digits),
        repr(float(value)),
        "num heat",
        shade="#{:02x}{:02x}{:02x}".format(*colour),
        ink=_ink(_luminance(colour)),
    )


def _ink(luminance: float) -> str:
    """Text colour with a contrast of at least 4.5 to 1 on a ground of this luminance (WCAG 2.2)."""
    if luminance < 0.183:
        return "#ffffff"
    return "#000000" if luminance < 0.3 else "#12202e"


def _luminance(colour: Iterable[float]) -> float:
    """Relative luminance of an sRGB colour (WCAG 2.2)."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (channel / 255 for channel in colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def bytes_text(value: float) -> str:
    """Bytes as kB or MB."""
    return f"{value / 1e6:.1f} MB" if value >= 1e6 else f"{value / 1e3:.0f} kB"


def duration_text(seconds: float) -> str:
    """Seconds as `45 s`, `12 min` or `1 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def words(key: str) -> str:
    """A key of a file as words."""
    return key.replace("_", " ")
