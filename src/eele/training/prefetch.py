"""Batches made ahead of their use.

`torch.utils.data.DataLoader` works ahead in processes only: they would have to be started again for every
run and hand each batch over through shared memory, while copying out of memory maps is numpy's work, which
leaves the interpreter free for the consumer. One thread is enough, and ends with its run.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

import torch

#: How long either side sleeps before it looks whether the other is still there.
_LOOK_S = 0.1
#: How long leaving waits for the batch being made; the thread is a daemon and may be left behind.
_LEAVE_S = 10.0


class Pinnable(Protocol):
    """A batch."""

    def pinned(self) -> Self:
        """The batch in page-locked memory, from which a GPU copies while it computes."""
        ...


B = TypeVar("B", bound=Pinnable)


class Prefetcher(Generic[B]):
    """Iterator over `make(step)` for steps `first` .. `last - 1`, made in order by one thread.

    A context manager: the thread starts on entering and ends on leaving, whatever the reason. At most
    `depth` batches wait, and one is being made. `pin`: batches are put in page-locked memory. An exception
    of `make` is raised, with its traceback, in place of the batch it belongs to.
    """

    def __init__(
        self, make: Callable[[int], B], first: int, last: int, depth: int = 2, pin: bool = False
    ) -> None:
        self._make, self._steps, self._pin = make, range(first, last), pin
        self._ready: queue.Queue[B | BaseException | None] = queue.Queue(max(1, depth))
        # A new thread would begin on the first GPU, whichever one its process computes on.
        self._device = torch.cuda.current_device() if pin and torch.cuda.is_available() else None
        self._stop = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="prefetcher", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(_LEAVE_S)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> B:
        if self._ended or self._stop.is_set():
            raise StopIteration
        item = self._ready.get()
        if item is not None and not isinstance(item, BaseException):
            return item
        self._ended = True
        if item is None:
            raise StopIteration
        raise item

    def _work(self) -> None:
        try:
            if self._device is not None:
                torch.cuda.set_device(self._device)
            for step in self._steps:
                if self._stop.is_set():
                    return
                batch = self._make(step)
                self._offer(batch.pinned() if self._pin else batch)
            self._offer(None)
        except BaseException as error:
            self._offer(error)

    def _offer(self, item: B | BaseException | None) -> None:
        while not self._stop.is_set():
            try:
                return self._ready.put(item, timeout=_LOOK_S)
            except queue.Full:
                continue
