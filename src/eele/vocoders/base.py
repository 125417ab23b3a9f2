"""What a vocoder is."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Vocoder(Protocol):
    """Turns log-mel spectrograms of `eele.features.mel.log_mel` into waveforms, deterministically."""

    def synthesise(self, log_mel: np.ndarray) -> np.ndarray:
        """(frames, mel) natural log -> samples ((frames - 1) * hop_size,) float32, within -1..1."""
        ...
