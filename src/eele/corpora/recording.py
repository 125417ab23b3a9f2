"""One recording: read it, judge it, cut its edges; later write it at its speaker's gain."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from eele.corpora import sound

#: Recordings this much longer than the limit are refused unread: memory stays small.
_UNREAD_EXTRA_S = 60.0
_SILENT_DBFS = -65.0
#: Peaks that spread less than this (standard deviation) over this many files were set per file.
_SAME_PEAK_DB = 1.0
_PEAKS_NEEDED = 10
_PEAK_SAMPLE = 100


class UnusableError(Exception):
    """A recording cannot be used: reason (a word of `eele.corpora.base.REASONS`) and detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Limits:
    """What `examine` needs of the config."""

    sample_rate_hz: int
    edge_silence_s: float
    silence_below_peak_db: float
    min_duration_s: float
    max_duration_s: float
    max_clipped_share: float


@dataclass(frozen=True)
class Task:
    """One recording to examine; the cut signal goes to `spool` (float32 .npy)."""

    path: Path
    sha256: str
    spool: Path
    limits: Limits


@dataclass(frozen=True)
class Examined:
    """What `examine` found: a reason, or the measures of the cut recording."""

    reason: str = ""
    detail: str = ""
    source_s: float = 0.0
    samples: int = 0
    leading_cut_s: float = 0.0
    trailing_cut_s: float = 0.0
    power_sum: float = 0.0
    frames: int = 0
    peak: float = 0.0


@dataclass(frozen=True)
class Writing:
    """One cut recording to write as FLAC at `gain_db`."""

    spool: Path
    target: Path
    sample_rate_hz: int
    gain_db: float


def examine(task: Task) -> Examined:
    """Read, mix to mono, resample, judge and cut one recording; never raises for a bad one."""
    try:
        channels, rate_hz = _read(task)
        return _judge(channels, rate_hz, task)
    except UnusableError as error:
        return Examined(reason=error.reason, detail=error.detail)


def _read(task: Task) -> tuple[np.ndarray, int]:
    """Samples (channels, samples) float32 and their rate."""
    try:
        data = task.path.read_bytes()
    except FileNotFoundError:
        raise UnusableError("missing_file", "the file is gone") from None
    except OSError as error:
        raise UnusableError("broken", f"cannot be read: {error.strerror}") from error
    if not data:
        raise UnusableError("empty", "the file has no bytes")
    if task.sha256 and hashlib.sha256(data).hexdigest() != task.sha256:
        raise UnusableError("broken", "the file changed after it was collected; collect it again")
    limit = task.limits.max_duration_s
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as handle:
            rate_hz = handle.samplerate
            if handle.frames / rate_hz > limit + _UNREAD_EXTRA_S:
                seconds = handle.frames / rate_hz
                raise UnusableError(
                    "too_long", f"{seconds:.1f} s before cutting; limit {limit:g} s"
                )
            samples = handle.read(dtype="float32", always_2d=True).T
            announced = handle.frames
    except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
        hint = " (a Git LFS pointer: run `git lfs pull`)" if data[:8] == b"version " else ""
        raise UnusableError("broken", f"not a readable sound file{hint}: {error}") from error
    if samples.shape[1] == 0:
        raise UnusableError("empty", "the file has no samples")
    if samples.shape[1] < announced:
        raise UnusableError("broken", f"truncated: {samples.shape[1]} of {announced} samples")
    return samples, rate_hz


def _judge(channels: np.ndarray, rate_hz: int, task: Task) -> Examined:
    limits = task.limits
    if not np.isfinite(channels).all():
        raise UnusableError("not_finite", "holds NaN or infinite samples")
    source_s = channels.shape[1] / rate_hz
    mono = channels.mean(axis=0, dtype=np.float32)
    mono -= np.float32(mono.mean(dtype=np.float64))  # a constant offset is no sound
    level = sound.loud_level(sound.frame_levels(mono, rate_hz))
    if level < _SILENT_DBFS:
        raise UnusableError("silent", f"its loudest 0.3 s lie at {level:.0f} dBFS")
    clipped = max(sound.share_at_maximum(channel) for channel in channels)
    if clipped > limits.max_clipped_share:
        raise UnusableError(
            "clipped",
            f"{clipped:.1%} of its samples stand at the maximum; limit {limits.max_clipped_share:.1%}",
        )
    if rate_hz != limits.sample_rate_hz:
        mono = soxr.resample(mono, rate_hz, limits.sample_rate_hz, quality="HQ")
    cut, leading, trailing = sound.trim_edges(
        mono, limits.sample_rate_hz, limits.edge_silence_s, limits.silence_below_peak_db
    )
    seconds = len(cut) / limits.sample_rate_hz
    if seconds < limits.min_duration_s:
        raise UnusableError("too_short", f"{seconds:.2f} s; limit {limits.min_duration_s:g} s")
    if seconds > limits.max_duration_s:
        raise UnusableError("too_long", f"{seconds:.1f} s; limit {limits.max_duration_s:g} s")
    power_sum, frames = sound.active_power(cut, limits.sample_rate_hz)
    np.save(task.spool, cut, allow_pickle=False)
    return Examined(
        source_s=source_s,
        samples=len(cut),
        leading_cut_s=leading,
        trailing_cut_s=trailing,
        power_sum=power_sum,
        frames=frames,
        peak=float(np.abs(cut).max()),
    )


def write_clean(writing: Writing) -> str:
    """Write one cut recording as mono 16-bit FLAC; its SHA-256. The spool file is removed."""
    signal = np.load(writing.spool, allow_pickle=False) * np.float32(10 ** (writing.gain_db / 20))
    # Encoded in memory: libsndfile does not report a full disk, Python's own writing does.
    buffer = io.BytesIO()
    soundfile.write(
        buffer, sound.to_int16(signal), writing.sample_rate_hz, format="FLAC", subtype="PCM_16"
    )
    writing.target.write_bytes(buffer.getvalue())
    writing.spool.unlink()
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def peaks_set_per_file(paths: Sequence[Path]) -> bool:
    """Whether recordings were normalised one by one: their peaks are all but equal.

    Looks at up to 100 of them, evenly spread; unreadable ones are left to `examine`. Fewer than ten
    prove nothing.
    """
    step = max(1, len(paths) // _PEAK_SAMPLE)
    peaks = []
    for path in paths[::step][:_PEAK_SAMPLE]:
        try:
            samples, _ = soundfile.read(path, dtype="float32")
        except (soundfile.SoundFileError, OSError, ValueError):
            continue
        peak = float(np.abs(samples).max(initial=0.0))
        if np.isfinite(peak) and peak > 0:
            peaks.append(20 * np.log10(peak))
    return len(peaks) >= _PEAKS_NEEDED and float(np.std(peaks)) < _SAME_PEAK_DB
