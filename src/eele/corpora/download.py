"""Downloads checked by SHA-256 and unpacked inside their folder only."""

from __future__ import annotations

import logging
import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

from eele.corpora.tables import read_table
from eele.errors import DataError
from eele.io import atomic_folder

_LOG = logging.getLogger(__name__)
_TELL = "nothing was unpacked; check its row in config/datasets.tsv and tell its publisher"
_SHA256 = re.compile(r"^[0-9a-f]{64}$")


class RefusedArchiveError(DataError):
    """An archive that would write outside its folder."""


@dataclass(frozen=True)
class Dataset:
    """One archive of `config/datasets.tsv`; `sha256` is empty where nobody has vouched for one."""

    adapter: str
    version: str
    url: str
    sha256: str
    licence: str

    @property
    def file_name(self) -> str:
        """Last part of the URL."""
        return PurePosixPath(urlparse(self.url).path).name


def datasets_file() -> Path:
    """config/datasets.tsv of the working directory, else of the repository this package lies in."""
    local = Path("config") / "datasets.tsv"
    return local if local.is_file() else Path(__file__).parents[3] / "config" / "datasets.tsv"


def read_datasets(path: Path | None = None) -> list[Dataset]:
    """Rows of datasets.tsv; DataError for a damaged table or a checksum that is none."""
    path = path or datasets_file()
    columns = ("adapter", "version", "url", "sha256", "licence")
    datasets = []
    for number, row in read_table(path, columns, delimiter="\t"):
        if row["sha256"] and not _SHA256.match(row["sha256"]):
            raise DataError(
                f"{path}, line {number}: sha256 '{row['sha256']}' is not 64 lower-case hex digits"
            )
        if urlparse(row["url"]).scheme not in ("http", "https"):
            raise DataError(f"{path}, line {number}: url '{row['url']}' is not http(s)")
        datasets.append(Dataset(**{name: row[name] for name in columns}))
    return datasets


def fetch_dataset(
    adapter: str, root: Path, ask: str, datasets: Sequence[Dataset] | None = None
) -> None:
    """Download the archives of `adapter`, check them, unpack them all into `root` in one step.

    Finished archives wait in a hidden folder beside `root` until everything is unpacked, so that an
    interrupted run need not fetch them again. Raises DataError, and leaves no `root`, when an
    archive has no checksum in datasets.tsv, cannot be fetched, is damaged or reaches outside.
    """
    wanted = [
        d for d in (read_datasets() if datasets is None else datasets) if d.adapter == adapter
    ]
    unvouched = [d.file_name for d in wanted if not d.sha256]
    if not wanted or unvouched:
        reason = (
            f"{', '.join(unvouched)} has no sha256 in {datasets_file()}, and nothing is downloaded "
            "without one (add it there if you know it)"
            if wanted
            else f"{datasets_file()} lists no download"
        )
        raise DataError(f"corpus {adapter}: nothing found at {root}. {reason}. {ask}")
    staging = root.parent / f".{root.name}.download"
    archives = [_fetch(dataset, staging, ask) for dataset in wanted]
    try:
        with atomic_folder(root) as folder:
            for archive in archives:
                _LOG.info("unpacking %s", archive)
                unpack(archive, folder)
            _drop_single_top(folder)
    except RefusedArchiveError:
        shutil.rmtree(staging)  # no second run could use it
        raise
    shutil.rmtree(staging)


def _fetch(dataset: Dataset, folder: Path, ask: str) -> Path:
    import pooch
    import requests

    folder.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel("WARNING")
    _LOG.info("downloading %s", dataset.url)
    try:
        return Path(
            pooch.retrieve(
                dataset.url,
                known_hash=f"sha256:{dataset.sha256}",
                fname=dataset.file_name,
                path=folder,
                progressbar=False,
            )
        )
    except ValueError as error:  # pooch: the checksum differs; the file is already removed
        _remove_if_empty(folder)
        raise DataError(
            f"corpus {dataset.adapter}: {dataset.url} is not the expected file ({error}). The "
            f"download was interrupted or the file has changed; run again, or: {ask}"
        ) from error
    except (requests.RequestException, OSError) as error:
        _remove_if_empty(folder)
        raise DataError(
            f"corpus {dataset.adapter}: {dataset.url} could not be downloaded ({error}). Check the "
            f"connection and the free disk space and run again, or: {ask}"
        ) from error


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into `folder`.

    Raises DataError for a damaged archive, one that is neither, and one with members that are links
    or would land outside `folder`; what was unpacked until then is the caller's to discard.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                for member in zipped.infolist():
                    _check_member(archive, member)
                zipped.extractall(folder)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tarred:
                # The data filter refuses absolute paths, '..', outside links and devices.
                tarred.extractall(folder, filter="data")
        else:
            raise DataError(f"{archive}: neither a zip nor a tar archive; delete it and run again")
    except tarfile.FilterError as error:
        raise RefusedArchiveError(
            f"{archive}: refused, a member reaches outside: {error}; {_TELL}"
        ) from error
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise DataError(
            f"{archive}: cannot be unpacked ({error}); check the free disk space, delete the "
            "archive and run again"
        ) from error


def _check_member(archive: Path, member: zipfile.ZipInfo) -> None:
    name = PurePosixPath(member.filename.replace("\\", "/"))
    outside = name.is_absolute() or ".." in name.parts or member.filename[1:2] == ":"
    if outside or stat.S_ISLNK(member.external_attr >> 16):
        raise RefusedArchiveError(
            f"{archive}: refused, its member '{member.filename}' reaches outside or is a link; {_TELL}"
        )


def _drop_single_top(folder: Path) -> None:
    """Archives often hold one folder that holds everything: lift its contents up."""
    entries = [path for path in folder.iterdir() if path.name != "__MACOSX"]
    if (
        len(entries) == 1
        and entries[0].is_dir()
        and not re.match(r"^(wav|Actor_)", entries[0].name)
    ):
        inner = entries[0].rename(folder / f".{entries[0].name}.top")
        for path in inner.iterdir():
            path.rename(folder / path.name)
        inner.rmdir()
