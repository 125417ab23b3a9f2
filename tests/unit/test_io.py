"""Files are whole or absent."""

import os
import stat

import pytest

from eele import io
from eele.errors import DataError


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError), io.atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == []


def test_an_atomic_path_keeps_the_suffix_and_makes_folders(tmp_path):
    path = tmp_path / "a" / "b" / "mel.npy"
    with io.atomic_path(path) as temporary:
        assert temporary.suffix == ".npy"
        assert temporary.parent == path.parent
        assert not path.exists()
    assert path.exists()


def test_a_failed_folder_leaves_the_old_one(tmp_path):
    folder = tmp_path / "shard"
    folder.mkdir()
    (folder / "old").touch()
    with pytest.raises(RuntimeError), io.atomic_folder(folder) as temporary:
        (temporary / "new").touch()
        raise RuntimeError
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert leftovers(tmp_path) == []


def test_a_folder_is_replaced_whole(tmp_path):
    folder = tmp_path / "shard"
    folder.mkdir()
    (folder / "old").touch()
    with io.atomic_folder(folder) as temporary:
        (temporary / "new").touch()
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert leftovers(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="file modes are a POSIX matter")
def test_files_and_folders_get_the_users_usual_mode(tmp_path):
    old = os.umask(0o027)
    try:
        io.write_text(tmp_path / "file", "x")
        with io.atomic_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o750


def test_equal_json_gives_equal_bytes(tmp_path):
    io.write_json(tmp_path / "a", {"x": 1, "y": "é"})
    io.write_json(tmp_path / "b", {"y": "é", "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert io.read_json(tmp_path / "a") == {"x": 1, "y": "é"}
    assert io.sha256(tmp_path / "a") == io.sha256(tmp_path / "b")


@pytest.mark.parametrize("content", [b'{"x": ', b"\xff\xfe"])
def test_damaged_json_names_the_file(tmp_path, content):
    (tmp_path / "model.json").write_bytes(content)
    with pytest.raises(DataError, match=r"model\.json: damaged JSON"):
        io.read_json(tmp_path / "model.json")


def test_known_digests(tmp_path):
    (tmp_path / "abc").write_text("abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert io.sha256(tmp_path / "abc") == known
    assert io.hash_json({"a": 1, "b": 2}) == io.hash_json({"b": 2, "a": 1})
    assert io.hash_json({"a": 1}) != io.hash_json({"a": 2})
