"""One look for every figure: colours that stay apart for colour-blind readers, quiet axes, fixed bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from eele.io import atomic_path, write_text

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe & Ito (2008), ordered so that the first few differ most in lightness as well.
CATEGORIES = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#7A5195",
    "#4D4D4D",
)
INK = "#1d2733"
MUTED = "#6b7682"
RULE = "#d5dbe1"
RECORDING = "#1d2733"
NEUTRAL = "#8a949e"
BEST = "#0072B2"
FULL = "#D55E00"
HEAT = "Blues"
MEL = "magma"

#: One line of the page in inches; figures are read at this width.
PAGE_WIDTH = 7.2

_RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": RULE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "savefig.facecolor": "white",
    "svg.fonttype": "none",  # text stays text: sharp, selectable, small
    "svg.hashsalt": "eele",
    "image.interpolation": "nearest",
}

#: Viewers without DejaVu take their own sans-serif, which is narrower, so nothing collides.
_FONTS = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"


@contextmanager
def drawing() -> Iterator[Any]:
    """Yield pyplot with the Agg canvas and the study's look; close every figure afterwards."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context(_RC):  # type: ignore[arg-type]
        try:
            yield pyplot
        finally:
            pyplot.close("all")


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write `<name>.svg` and `<name>.png`, equal bytes for equal content."""
    with atomic_path(folder / f"{name}.png") as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight", metadata={"Software": None})
    with atomic_path(folder / f"{name}.svg") as temporary:
        figure.savefig(temporary, format="svg", bbox_inches="tight", metadata={"Date": None})
        text = temporary.read_text(encoding="utf-8")
    write_text(folder / f"{name}.svg", re.sub(r"'DejaVu Sans'(?:, sans-serif)?", _FONTS, text))


def ink_on(shade: float) -> str:
    """Text colour readable on a heat map cell of `shade` (0 light .. 1 dark)."""
    return "white" if shade > 0.66 else INK


def as_table(axes: Axes) -> None:
    """Columns named above, rows from the top, no frame."""
    axes.tick_params(colors=INK)
    axes.xaxis.tick_top()
    axes.invert_yaxis()
    for spine in axes.spines.values():
        spine.set_visible(False)


def reference(axes: Axes, value: float, label: str, colour: str = MUTED) -> None:
    """A dashed line across `axes` at `value`, named at its right end above the line."""
    if value != value:
        return
    axes.axhline(value, color=colour, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate(
        label,
        (1, value),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        ha="left",
        va="center",
        fontsize=8,
        color=colour,
    )
