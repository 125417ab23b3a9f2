"""Training curves on disk: as a table, and for TensorBoard."""

from __future__ import annotations

import csv
from pathlib import Path

from eele.io import atomic_path


def write_curves(path: Path, curves: list[dict[str, float | str]]) -> None:
    """curves.csv: step, split, loss and each term."""
    terms = sorted({key for row in curves for key in row} - {"step", "split", "loss"})
    with (
        atomic_path(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as handle,
    ):
        writer = csv.DictWriter(handle, ["step", "split", "loss", *terms])
        writer.writeheader()
        writer.writerows(curves)


def write_tensorboard(folder: Path, curves: list[dict[str, float | str]]) -> None:
    """The same curves for TensorBoard."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for old in folder.glob("events.*"):
        old.unlink()
    writer = EventFileWriter(str(folder))
    for row in curves:
        values = [
            Summary.Value(tag=f"{row['split']}/{key}", simple_value=value)
            for key, value in row.items()
            if isinstance(value, float)
        ]
        writer.add_event(Event(step=int(row["step"]), summary=Summary(value=values)))
    writer.close()
