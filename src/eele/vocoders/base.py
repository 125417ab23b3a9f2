"""What a vocoder is."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from eele.errors import DataError


class Vocoder(Protocol):
    """Turns log-mel spectrograms of `eele.features.mel.log_mel` into waveforms, deterministically."""

    def synthesise(self, log_mel: np.ndarray) -> np.ndarray:
        """(frames, mel) natural log -> samples ((frames - 1) * hop_size,) float32, within -1..1."""
        ...


def check_mel(log_mel: np.ndarray, channels: int) -> None:
    """Raise DataError unless this is a finite mel (two frames or more, channels)."""
    if log_mel.ndim != 2 or log_mel.shape[1] != channels or len(log_mel) < 2:
        raise DataError(
            f"a mel of shape {log_mel.shape} cannot be spoken; expected (frames >= 2, "
            f"{channels} channels)"
        )
    if not np.all(np.isfinite(log_mel)):
        raise DataError("the mel holds values that are not finite; was the model trained?")
