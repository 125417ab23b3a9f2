"""Feature shards: a few large arrays that memory-map, and the table that says where each utterance lies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from eele import io
from eele.errors import DataError
from eele.paths import StudyPaths

if TYPE_CHECKING:
    import pandas as pd

#: Columns of a shard's index.csv; features/index.csv has `shard` in front.
INDEX_COLUMNS = (
    "utterance_id",
    "speaker",
    "emotion",
    "split",
    "duration_s",
    "frame_start",
    "frame_count",
    "phone_start",
    "phone_count",
    "sample_start",
    "sample_count",
)
_FRAME_ARRAYS = {"mel": np.float32, "f0_hz": np.float32, "energy_db": np.float32}
_PHONE_ARRAYS = {
    "phones": np.int16,
    "durations": np.int32,
    "phone_log_f0": np.float32,
    "phone_energy_db": np.float32,
}
_SAMPLE_ARRAYS = {"samples": np.int16}
#: Which columns of the index say where an utterance lies in an array.
_AXES = {
    **dict.fromkeys(_FRAME_ARRAYS, "frame"),
    **dict.fromkeys(_PHONE_ARRAYS, "phone"),
    **dict.fromkeys(_SAMPLE_ARRAYS, "sample"),
}
_ARRAYS: dict[str, Any] = {**_FRAME_ARRAYS, **_PHONE_ARRAYS, **_SAMPLE_ARRAYS}


@dataclass(frozen=True)
class Utterance:
    """Features of one utterance. Arrays from a FeatureStore are read-only views of the files.

    mel (frames, mel_channels) float32, natural log; f0_hz (frames,) float32, 0 = unvoiced;
    energy_db (frames,) float32; phones (phones,) int16, ids of lexicon/phones.json; durations
    (phones,) int32 in frames, summing to frames; phone_log_f0 (phones,) float32, mean ln F0 of
    the interpolated contour; phone_energy_db (phones,) float32, mean over the phone's frames;
    samples (samples,) int16, the clean recording as it stands in its file (full scale 32768),
    empty where only its features are known.
    """

    mel: np.ndarray
    f0_hz: np.ndarray
    energy_db: np.ndarray
    phones: np.ndarray
    durations: np.ndarray
    phone_log_f0: np.ndarray
    phone_energy_db: np.ndarray
    samples: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int16))


def shard_folder(paths: StudyPaths, shard: int) -> Path:
    """features/shard~<i>/ of a study."""
    return paths.features / f"shard~{shard}"


class _GrowingArray:
    """A .npy file that grows along axis 0; only the header is written twice."""

    def __init__(self, path: Path, dtype: Any) -> None:
        self.path = path
        self.dtype = np.dtype(dtype)
        self.rows = 0
        self._tail: tuple[int, ...] | None = None
        self._header_bytes = 0
        self._handle: BinaryIO = path.open("wb")

    def append(self, values: np.ndarray) -> None:
        values = np.ascontiguousarray(values, dtype=self.dtype)
        if self._tail is None:
            self._tail = values.shape[1:]
            self._write_header()
            self._header_bytes = self._handle.tell()
        if values.shape[1:] != self._tail:
            raise ValueError(f"{self.path.name}: rows of {values.shape[1:]} after {self._tail}")
        self._handle.write(values.tobytes())
        self.rows += len(values)

    def close(self) -> None:
        if self._tail is None:
            self._tail = ()
            self._write_header()
        else:
            # NumPy pads the header so that the growing axis can be rewritten in place.
            self._handle.seek(0)
            self._write_header()
            if self._handle.tell() != self._header_bytes:
                raise ValueError(f"{self.path}: the header of the array grew while it was written")
        self._handle.close()

    def abandon(self) -> None:
        # On a full disk closing fails as writing did; that first error is the one to be told.
        with contextlib.suppress(OSError):
            self._handle.close()

    def _write_header(self) -> None:
        npy.write_array_header_1_0(
            self._handle,
            {
                "descr": npy.dtype_to_descr(self.dtype),
                "fortran_order": False,
                "shape": (self.rows, *(self._tail or ())),
            },
        )


class ShardWriter:
    """Writes one shard; the folder appears whole when the `with` block ends well, else not at all.

    Memory stays at one utterance however large the shard.
    """

    def __init__(self, paths: StudyPaths, shard: int) -> None:
        self._target = shard_folder(paths, shard)
        self._stack = contextlib.ExitStack()
        self._arrays: dict[str, _GrowingArray] = {}
        self._rows: list[dict[str, Any]] = []
        self._folder = self._target
        #: Written to summary.json when the block ends.
        self.summary: dict[str, float] = {}

    def __enter__(self) -> ShardWriter:
        self._folder = self._stack.enter_context(io.atomic_folder(self._target))
        self._arrays = {
            name: _GrowingArray(self._folder / f"{name}.npy", dtype)
            for name, dtype in _ARRAYS.items()
        }
        return self

    def add(self, row: dict[str, Any], utterance: Utterance) -> None:
        """Append one utterance; `row` holds utterance_id, speaker, emotion, split, duration_s.

        Raises DataError when the arrays disagree in length, or the samples are not 16-bit.
        """
        frames, phones = len(utterance.mel), len(utterance.phones)
        for names, expected in ((_FRAME_ARRAYS, frames), (_PHONE_ARRAYS, phones)):
            for name in names:
                if len(getattr(utterance, name)) != expected:
                    raise DataError(
                        f"{row['utterance_id']}: {name} has {len(getattr(utterance, name))} rows, "
                        f"expected {expected}"
                    )
        if int(np.sum(utterance.durations)) != frames or np.any(
            np.asarray(utterance.durations) < 0
        ):
            raise DataError(
                f"{row['utterance_id']}: phone durations sum to {int(np.sum(utterance.durations))} "
                f"frames, the recording has {frames}; align the corpus again"
            )
        samples = utterance.samples
        if samples.ndim != 1 or samples.dtype != np.int16:
            # Floats in -1..1 would be written as zeros.
            raise DataError(
                f"{row['utterance_id']}: samples are {samples.dtype} of shape {samples.shape}; "
                "allowed: one channel of int16"
            )
        self._rows.append(
            {
                **row,
                "frame_start": self._arrays["mel"].rows,
                "frame_count": frames,
                "phone_start": self._arrays["phones"].rows,
                "phone_count": phones,
                "sample_start": self._arrays["samples"].rows,
                "sample_count": len(samples),
            }
        )
        for name, array in self._arrays.items():
            array.append(getattr(utterance, name))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            try:
                self._finish()
            except BaseException as failure:
                self._stack.__exit__(type(failure), failure, failure.__traceback__)
                raise
        else:
            for array in self._arrays.values():
                array.abandon()
        self._stack.__exit__(kind, error, trace)

    def _finish(self) -> None:
        import pandas as pd

        for array in self._arrays.values():
            array.close()
        pd.DataFrame(self._rows, columns=list(INDEX_COLUMNS)).to_csv(
            self._folder / "index.csv", index=False
        )
        io.write_json(self._folder / "summary.json", self.summary)


class FeatureStore:
    """The features of a study, memory-mapped. Raises DataError when they are absent or damaged."""

    def __init__(self, paths: StudyPaths) -> None:
        import pandas as pd

        self._paths = paths
        file = paths.features / "index.csv"
        if not file.exists():
            raise DataError(f"{file} is missing; run the rule index_features of this study first")
        table = pd.read_csv(
            file, dtype={"utterance_id": str, "speaker": str}, keep_default_na=False
        )
        missing = [column for column in ("shard", *INDEX_COLUMNS) if column not in table.columns]
        if missing:
            raise DataError(
                f"{file}: column {missing[0]} is missing; run the rules extract_features and "
                "index_features again"
            )
        #: One row per utterance, by utterance_id, with the columns of features/index.csv.
        self.index: pd.DataFrame = table.set_index("utterance_id")
        if not self.index.index.is_unique:
            double = self.index.index[self.index.index.duplicated()][0]
            raise DataError(
                f"{file}: '{double}' is listed twice; run the rule index_features again"
            )
        columns = [
            f"{axis}_{end}" for axis in ("frame", "phone", "sample") for end in ("start", "count")
        ]
        self._place = {
            utterance_id: tuple(map(int, place))
            for utterance_id, *place in self.index[["shard", *columns]].itertuples(name=None)
        }
        self._shards: dict[int, dict[str, np.ndarray]] = {}

    def __contains__(self, utterance_id: object) -> bool:
        return utterance_id in self._place

    def __len__(self) -> int:
        return len(self._place)

    def __iter__(self) -> Iterator[str]:
        return iter(self._place)

    def get(self, utterance_id: str) -> Utterance:
        """Features of one utterance, as read-only views. Raises DataError for an unknown id."""
        try:
            shard, *place = self._place[utterance_id]
        except KeyError:
            raise DataError(
                f"{self._paths.features}: no features of '{utterance_id}' "
                f"({len(self)} utterances); was it set aside by the alignment (alignment.csv)?"
            ) from None
        arrays = self._open(shard)
        rows = {
            axis: slice(start, start + count)
            for axis, start, count in zip(
                ("frame", "phone", "sample"), place[::2], place[1::2], strict=True
            )
        }
        return Utterance(**{name: arrays[name][rows[axis]] for name, axis in _AXES.items()})

    @cached_property
    def statistics(self) -> dict[str, Any]:
        """Content of features/statistics.json: mel_mean, mel_std, speakers, extraction_x_real_time."""
        return dict(io.read_json(self._paths.features / "statistics.json"))

    def _open(self, shard: int) -> dict[str, np.ndarray]:
        if shard not in self._shards:
            folder = shard_folder(self._paths, shard)
            arrays = {}
            for name in _ARRAYS:
                try:
                    # As plain arrays over the map: slicing np.memmap costs more than what is read.
                    arrays[name] = np.asarray(
                        np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
                    )
                except (OSError, ValueError) as error:
                    raise DataError(
                        f"{folder / name}.npy cannot be read ({error}); delete {folder} and run again"
                    ) from error
            self._shards[shard] = arrays
        return self._shards[shard]
