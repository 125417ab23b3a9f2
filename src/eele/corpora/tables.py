"""Reading other people's tables and writing ours."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from eele.errors import DataError
from eele.io import write_text


def read_text(path: Path, encodings: Sequence[str] = ("utf-8-sig",)) -> str:
    """Text of a file in the first of `encodings` that fits it; DataError when none does."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        # Without its mark UTF-16 fits nearly any bytes of even length, so it proves nothing.
        encodings = [name for name in encodings if name != "utf-16"]
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError(
        f"{path}: not text in {' or '.join(encodings)}; save the file as UTF-8 and run again"
    )


def read_table(
    path: Path, columns: Iterable[str], delimiter: str = ","
) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row) of a delimited table with a header, values stripped of spaces around them.

    A short row has "" in its missing columns. Raises DataError for a damaged file or one that lacks
    any of `columns`.
    """
    reader = csv.DictReader(
        io.StringIO(read_text(path), newline=""), delimiter=delimiter, restval="", strict=True
    )
    try:
        header = [name.strip() for name in reader.fieldnames or []]
        missing = [name for name in columns if name not in header]
        if missing:
            raise DataError(
                f"{path}: column{'s' if len(missing) > 1 else ''} {', '.join(missing)} missing; "
                f"the header has: {', '.join(header) or 'nothing'}"
            )
        repeated = sorted({name for name in header if header.count(name) > 1})
        if repeated:
            raise DataError(f"{path}: column {', '.join(repeated)} stands twice in the header")
        reader.fieldnames = header
        for row in reader:
            # DictReader gathers surplus fields under None.
            yield reader.line_num, {k: v.strip() for k, v in row.items() if k is not None}
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: not a readable table ({error})"
        ) from error


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a CSV with exactly `columns`, atomically; a row with other keys is a programming error."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())
