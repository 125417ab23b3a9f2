"""One utterance as the metrics see it, and its prosody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from eele.features.phones import NOT_SPOKEN, SILENT, phones_per_s
from eele.metrics.base import NotScoredError

#: Durations may miss the frames of a file by so many: rounding of its length.
_FRAME_TOLERANCE = 2


@dataclass(frozen=True)
class Prosody:
    """What shifts are measured in; None where it cannot be measured.

    f0_mean_hz: geometric mean over voiced frames; f0_range_st: 5th to 95th percentile of F0 in
    semitones; rate_phones_per_s: phones per second between the first and the last; energy_db: level of
    the spoken phones' frames in dBFS (power mean).
    """

    f0_mean_hz: float | None
    f0_range_st: float | None
    rate_phones_per_s: float | None
    energy_db: float | None


@dataclass(frozen=True)
class Speech:
    """mel (frames, mel) ln, f0_hz (frames,), energy_db (frames,), phones (n symbols) of `durations` (n,) frames.

    Raises NotScoredError when the phones do not fill the frames or none is spoken.
    """

    mel: np.ndarray
    f0_hz: np.ndarray
    energy_db: np.ndarray
    phones: Sequence[str]
    durations: np.ndarray
    hop_s: float

    def __post_init__(self) -> None:
        if len(self.phones) != len(self.durations):
            raise NotScoredError(f"{len(self.phones)} phones but {len(self.durations)} durations")
        if abs(int(np.sum(self.durations)) - len(self.mel)) > _FRAME_TOLERANCE:
            raise NotScoredError(
                f"the phones last {int(np.sum(self.durations))} frames, the file {len(self.mel)}"
            )
        if self.span.stop <= self.span.start:
            raise NotScoredError("no phone is spoken")

    @cached_property
    def silent(self) -> np.ndarray:
        """Which phones are silence, (n,) bool."""
        return np.array([phone in SILENT for phone in self.phones], dtype=bool)

    @cached_property
    def span(self) -> slice:
        """Frames from the first spoken phone to the last; silence at the edges is no speech."""
        spoken = np.flatnonzero(~self.silent)
        if spoken.size == 0:
            return slice(0, 0)
        ends = np.cumsum(self.durations)
        first, last = spoken[0], spoken[-1]
        return slice(int(ends[first] - self.durations[first]), int(min(ends[last], len(self.mel))))

    @cached_property
    def said(self) -> list[str]:
        """The phones of the text, without silence and unknowns."""
        return [phone for phone in self.phones if phone not in NOT_SPOKEN]

    @cached_property
    def prosody(self) -> Prosody:
        f0 = self.f0_hz[self.span]
        log_f0 = np.log(f0[f0 > 0], dtype=np.float64)
        active = np.repeat(~self.silent, self.durations)[: len(self.energy_db)]
        power = 10 ** (self.energy_db[: len(active)][active].astype(np.float64) / 10)
        return Prosody(
            f0_mean_hz=float(np.exp(log_f0.mean())) if log_f0.size else None,
            f0_range_st=(
                float(12 / np.log(2) * np.subtract(*np.percentile(log_f0, [95, 5])))
                if log_f0.size
                else None
            ),
            rate_phones_per_s=phones_per_s(self.silent, self.durations, self.hop_s),
            energy_db=float(10 * np.log10(power.mean())) if power.size else None,
        )


def mean_prosody(several: Sequence[Prosody]) -> Prosody | None:
    """Mean of several utterances (geometric for F0 and rate); None without any."""
    if not several:
        return None

    def mean(name: str, logarithmic: bool) -> float | None:
        values = np.array([v for p in several if (v := getattr(p, name)) is not None])
        if values.size == 0:
            return None
        return float(np.exp(np.log(values).mean()) if logarithmic else values.mean())

    return Prosody(
        mean("f0_mean_hz", True),
        mean("f0_range_st", False),
        mean("rate_phones_per_s", True),
        mean("energy_db", False),
    )
