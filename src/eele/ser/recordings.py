"""Recordings as encoders hear them: mono samples at 16 kHz, read when asked for and kept while memory lasts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from eele.errors import DataError
from eele.ser.encoders import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    import pandas as pd

_FULL_SCALE = 32767.0


class Recordings:
    """Samples by utterance id.

    Kept as 16 bits, the resolution of the clean recordings, whether they come from the file or from
    memory: what is heard does not depend on the memory there is.
    """

    def __init__(self, files: dict[str, Path], cache_mb: int = 2000) -> None:
        self._files = files
        self._room = cache_mb * 1_000_000
        self._kept: dict[str, np.ndarray] = {}
        self._lock = Lock()

    @classmethod
    def of(cls, root: Path, table: pd.DataFrame, cache_mb: int = 2000) -> Recordings:
        """Of a table's columns utterance_id and path; paths are relative to `root`."""
        rows = zip(table["utterance_id"], table["path"], strict=True)
        return cls({str(name): root / str(path) for name, path in rows}, cache_mb)

    def __getitem__(self, utterance_id: str) -> np.ndarray:
        """(samples,) float32 in [-1, 1]. Raises DataError for a recording that is absent or unreadable."""
        kept = self._kept.get(utterance_id)
        if kept is None:
            if utterance_id not in self._files:
                raise DataError(f"'{utterance_id}' is not in the table of recordings")
            kept = read(self._files[utterance_id])
            with self._lock:
                if kept.nbytes <= self._room and utterance_id not in self._kept:
                    self._kept[utterance_id] = kept
                    self._room -= kept.nbytes
        return kept.astype(np.float32) / np.float32(_FULL_SCALE)

    def lengths(self, utterance_ids: Sequence[str]) -> np.ndarray:
        """(n,) int64 samples at 16 kHz, from the files' headers."""
        import soundfile

        counts = []
        for name in utterance_ids:
            path = self._files[name]
            try:
                facts = soundfile.info(path)
            except (OSError, soundfile.SoundFileError) as error:
                raise DataError(f"{path}: cannot be read as audio ({error})") from error
            counts.append(-(-facts.frames * SAMPLE_RATE_HZ // facts.samplerate))
        return np.array(counts, np.int64)


def read(path: Path) -> np.ndarray:
    """(samples,) int16 at 16 kHz of a mono or multi-channel file."""
    import soundfile

    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise DataError(f"{path}: cannot be read as audio ({error})") from error
    if not len(samples):
        raise DataError(f"{path}: holds no samples")
    return to_16_bits(resampled(samples.mean(1), rate))


def resampled(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """(samples,) float32 at `rate_hz` -> at 16 kHz."""
    if rate_hz == SAMPLE_RATE_HZ:
        return samples
    import soxr

    out: np.ndarray = soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ, quality="HQ")
    return out


def to_16_bits(samples: np.ndarray) -> np.ndarray:
    """(samples,) float in [-1, 1] -> int16; beyond is clipped."""
    return np.round(np.clip(samples, -1, 1) * _FULL_SCALE).astype(np.int16)
