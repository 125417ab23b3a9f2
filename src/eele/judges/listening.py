"""How judges that hear samples are given them: checked, at the judge's rate, neighbours in length together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from eele.config.models import RuntimeConfig
from eele.errors import DataError
from eele.ser.recordings import to_16_bits


def heard_samples(
    samples: Sequence[np.ndarray], rate_hz: int, judge_rate_hz: int, crop_s: float
) -> list[np.ndarray]:
    """Signals (samples,) at `rate_hz` -> as a judge hears them: float32 at its rate, at most `crop_s` long.

    Of 16 bits, as the recordings it learned from. Raises DataError for what cannot be heard, naming its
    position.
    """
    import soxr

    found = []
    for index, signal in enumerate(samples):
        if signal.ndim != 1 or signal.size < rate_hz // 100 or not np.isfinite(signal).all():
            raise DataError(
                f"signal {index} of shape {signal.shape} cannot be judged; allowed: one channel of finite "
                f"samples, at least {rate_hz // 100} of them"
            )
        signal = signal.astype(np.float32, copy=False)
        if rate_hz != judge_rate_hz:
            signal = soxr.resample(signal, rate_hz, judge_rate_hz, quality="HQ")
        signal = to_16_bits(signal[: round(crop_s * judge_rate_hz)]).astype(np.float32)
        found.append(signal / np.float32(32767))
    return found


def by_length(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Positions of all signals once, in batches of at most `size`, neighbours in length together."""
    order = np.argsort(np.asarray(lengths, dtype=np.int64), kind="stable").tolist()
    for start in range(0, len(order), size):
        yield order[start : start + size]


def padded(signals: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Signals -> (B, longest) float32 with zeros behind, and lengths (B,)."""
    lengths = torch.tensor([len(signal) for signal in signals])
    out = torch.zeros(len(signals), int(lengths.max()))
    for row, signal in zip(out, signals, strict=True):
        row[: len(signal)] = torch.from_numpy(signal)
    return out, lengths


def device_of(runtime: RuntimeConfig) -> torch.device:
    """Where a judge listens: the study's device where this machine has it, else the CPU."""
    wanted = runtime.device.split(":")[0]
    use = wanted in ("auto", "cuda") and torch.cuda.is_available()
    return torch.device("cuda" if use else "cpu")
