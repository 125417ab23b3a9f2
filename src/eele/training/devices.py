"""The device, precision and processes a training runs on, and being told to stop."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.plugins.precision import MixedPrecision
from lightning_fabric.strategies import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException

from eele.config.models import RuntimeConfig
from eele.errors import ConfigError


class Autocast(MixedPrecision):
    """Mixed precision that leaves the inputs as they are: samples and mels are what losses compare with."""

    def convert_input(self, data: Any) -> Any:
        return data


def make_fabric(runtime: RuntimeConfig, devices: int = 1) -> Fabric:
    """Lightning Fabric for the study's device and precision; ConfigError where this machine lacks them.

    With several devices the running script is started once more for each (DDP), whatever a batch system
    says of its tasks.
    """
    name, _, number = runtime.device.partition(":")
    try:
        kind = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
        plugins: list[Any] = [LightningEnvironment()] if devices > 1 else []
        if runtime.precision != "32-true":
            plugins.append(Autocast(runtime.precision, kind))
        fabric = Fabric(
            accelerator=kind,
            devices=[int(number)] if number else devices,
            # Buffers are constants, and validation gives the processes unequal numbers of batches.
            strategy=DDPStrategy(broadcast_buffers=False) if devices > 1 else "auto",
            plugins=plugins,
        )
        fabric.launch()
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        raise ConfigError(
            f"runtime.device '{runtime.device}' with runtime.precision '{runtime.precision}' and "
            f"{devices} device(s) is not possible on this machine, which has "
            f"{torch.cuda.device_count()} CUDA devices ({error}); "
            "allowed: auto, cpu, or what is there: cuda, cuda:<number>, mps"
        ) from error
    return fabric


@contextlib.contextmanager
def deferred_termination() -> Iterator[Callable[[], bool]]:
    """While it lasts, SIGTERM is remembered instead of obeyed; yields whether it came.

    A scheduler that wants its node back sends it some time before it kills: time to finish the step
    and save. Outside the main thread signals are not ours to handle, and nothing changes.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return

    def remember(number: int, frame: FrameType | None) -> None:
        came.set()

    before = signal.signal(signal.SIGTERM, remember)
    try:
        yield came.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
