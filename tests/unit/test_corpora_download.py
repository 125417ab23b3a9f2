"""Downloads from a server of our own: checksums, interruptions, hostile archives."""

from __future__ import annotations

import functools
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from eele.config.models import CorpusConfig
from eele.corpora import CORPORA, download
from eele.corpora.download import Dataset, fetch_dataset, read_datasets, unpack
from eele.errors import DataError

ASK = "Get it there and put it here."


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Files as they are; /cut/<file> announces more bytes than it sends."""
        if not self.path.startswith("/cut/"):
            super().do_GET()
            return
        data = (Path(self.directory) / self.path.removeprefix("/cut/")).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the URL it is served under."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def zip_of(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def tar_of(path: Path, members: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


def dataset(url: str, path: Path | None, sha256: str | None = None) -> Dataset:
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path else ""
    return Dataset("ljspeech", "1", url, digest if sha256 is None else sha256, "public domain")


def left(folder: Path) -> list[str]:
    """What lies in a folder, hidden files included."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_download_is_checked_unpacked_and_lifted(
    server: tuple[Path, str], tmp_path: Path, make: Callable[[Path, dict[str, str]], Path]
) -> None:
    folder, url = server
    archive = make(folder / "lj.archive", {"LJ/metadata.csv": "a|b", "LJ/wavs/a.wav": "x"})
    root = tmp_path / "data" / "ljspeech"
    fetch_dataset("ljspeech", root, ASK, [dataset(f"{url}/lj.archive", archive)])
    assert (root / "metadata.csv").read_text() == "a|b"
    assert left(root) == ["metadata.csv", "wavs"]
    assert left(root.parent) == ["ljspeech"]


def test_several_archives_of_one_corpus(server: tuple[Path, str], tmp_path: Path) -> None:
    folder, url = server
    one = zip_of(folder / "one.zip", {"L/dev/a.wav": "1"})
    two = zip_of(folder / "two.zip", {"L/train/b.wav": "2"})
    rows = [dataset(f"{url}/one.zip", one), dataset(f"{url}/two.zip", two)]
    fetch_dataset("ljspeech", tmp_path / "data", ASK, rows)
    assert left(tmp_path / "data") == ["dev", "train"]


def test_wrong_checksum_leaves_nothing(server: tuple[Path, str], tmp_path: Path) -> None:
    folder, url = server
    zip_of(folder / "lj.zip", {"a": "x"})
    root = tmp_path / "data" / "ljspeech"
    with pytest.raises(DataError, match="not the expected file") as caught:
        fetch_dataset("ljspeech", root, ASK, [dataset(f"{url}/lj.zip", None, "0" * 64)])
    assert ASK in str(caught.value) and f"{url}/lj.zip" in str(caught.value)
    assert left(root.parent) == []


@pytest.mark.parametrize("path", ["cut/lj.zip", "absent.zip"])
def test_interrupted_download_leaves_nothing(
    server: tuple[Path, str], tmp_path: Path, path: str
) -> None:
    folder, url = server
    archive = zip_of(folder / "lj.zip", {"a": "x" * 100_000})
    root = tmp_path / "data" / "ljspeech"
    with pytest.raises(DataError, match=r"could not be downloaded|not the expected file"):
        fetch_dataset("ljspeech", root, ASK, [dataset(f"{url}/{path}", archive)])
    assert left(root.parent) == []
    fetch_dataset("ljspeech", root, ASK, [dataset(f"{url}/lj.zip", archive)])
    assert left(root) == ["a"]


def test_no_server(tmp_path: Path) -> None:
    root = tmp_path / "data" / "ljspeech"
    with pytest.raises(DataError, match="could not be downloaded"):
        fetch_dataset("ljspeech", root, ASK, [dataset("http://127.0.0.1:9/x.zip", None, "0" * 64)])
    assert left(root.parent) == []


def test_nothing_is_downloaded_without_a_checksum(server: tuple[Path, str], tmp_path: Path) -> None:
    folder, url = server
    zip_of(folder / "lj.zip", {"a": "x"})
    with pytest.raises(DataError, match=r"lj\.zip has no sha256 in") as caught:
        fetch_dataset("ljspeech", tmp_path / "data", ASK, [dataset(f"{url}/lj.zip", None)])
    assert ASK in str(caught.value)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["../escaped", "/escaped", "a/../../escaped", "..\\escaped"])
def test_zip_that_reaches_outside_is_refused(tmp_path: Path, name: str) -> None:
    archive = zip_of(tmp_path / "bad.zip", {"good": "x", name: "evil"})
    with pytest.raises(DataError, match="refused, its member"):
        unpack(archive, tmp_path / "inside")
    assert left(tmp_path) == ["bad.zip"]


def test_zip_with_a_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(link, "/etc")
    with pytest.raises(DataError, match="is a link"):
        unpack(tmp_path / "bad.zip", tmp_path / "inside")


@pytest.mark.parametrize("name", ["../escaped", "a/../../escaped"])
def test_tar_that_reaches_outside_is_refused(tmp_path: Path, name: str) -> None:
    archive = tar_of(tmp_path / "bad.tar.gz", {name: "evil"})
    (tmp_path / "inside").mkdir()
    with pytest.raises(DataError, match="reaches outside"):
        unpack(archive, tmp_path / "inside")
    assert left(tmp_path) == ["bad.tar.gz", "inside"]


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_damaged_archive_leaves_no_corpus(
    server: tuple[Path, str], tmp_path: Path, make: Callable[[Path, dict[str, str]], Path]
) -> None:
    folder, url = server
    members = {f"f{i}": str(i) * 5000 for i in range(20)}
    archive = make(folder / "lj.archive", members)
    data = bytearray(archive.read_bytes())
    middle = len(data) // 2
    if make is zip_of:
        data[middle : middle + 200] = bytes(200)
    else:
        del data[middle:]
    archive.write_bytes(data)
    root = tmp_path / "data" / "ljspeech"
    with pytest.raises(DataError, match="cannot be unpacked"):
        fetch_dataset("ljspeech", root, ASK, [dataset(f"{url}/lj.archive", archive)])
    assert not root.exists()


def test_not_an_archive(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<html>log in</html>")
    with pytest.raises(DataError, match="neither a zip nor a tar"):
        unpack(tmp_path / "page.html", tmp_path)


def test_shipped_table_is_sound() -> None:
    rows = read_datasets()
    assert {row.adapter for row in rows} <= set(CORPORA)
    for row in rows:
        assert CORPORA[row.adapter].how_to_get == "download"
        assert CORPORA[row.adapter].version == row.version
    # Those two are published with torchaudio.
    assert {row.adapter for row in rows if row.sha256} == {"vctk", "ljspeech"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("vctk\t1\thttps://x/y.zip\tabc\tfree\n", "line 2: sha256 'abc' is not 64"),
        ("vctk\t1\tfile:///etc/passwd\t\tfree\n", "is not http"),
    ],
)
def test_damaged_table_is_refused(tmp_path: Path, line: str, message: str) -> None:
    table = tmp_path / "datasets.tsv"
    table.write_text("adapter\tversion\turl\tsha256\tlicence\n" + line)
    with pytest.raises(DataError, match=message):
        read_datasets(table)


def test_downloadable_corpus_fetches_itself_when_its_checksum_is_known(
    server: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = server
    archive = zip_of(folder / "lj.zip", {"L/metadata.csv": "a|b"})
    row = dataset(f"{url}/lj.zip", archive)
    monkeypatch.setattr(download, "read_datasets", lambda path=None: [row])
    root = tmp_path / "data"
    CORPORA["ljspeech"].prepare(root, CorpusConfig(adapter="ljspeech"), 22050)
    assert left(root) == ["metadata.csv"]
    archive.unlink()
    CORPORA["ljspeech"].prepare(root, CorpusConfig(adapter="ljspeech"), 22050)


def test_downloadable_corpus_without_checksum_explains(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing is downloaded without one") as caught:
        CORPORA["emodb"].prepare(tmp_path / "data", CorpusConfig(adapter="emodb"), 22050)
    assert CORPORA["emodb"].ask in str(caught.value)
