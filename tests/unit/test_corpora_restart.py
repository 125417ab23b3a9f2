"""Cleaning that was interrupted, or ran out of disk, or whose corpus changed."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from corpora_samples import both, contents, levelled, read, speechlike, study, write

from eele.config.models import StudyConfig
from eele.corpora import clean, cleaning, collect
from eele.errors import DataError
from eele.paths import StudyPaths

KEEP_ALL = {"cleaning": {"max_rejected_share": 1.0}}


@pytest.fixture
def levels(tmp_path: Path) -> tuple[Path, StudyConfig, StudyPaths]:
    """Two speakers, neutral at different levels, happy 6 dB louder than neutral."""
    return levelled(tmp_path)


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the program may catch it."""


@pytest.mark.parametrize("calls", [0, 1, 3, 5])
def test_interrupted_cleaning_goes_on_to_the_same_files(
    tmp_path: Path,
    levels: tuple[Path, StudyConfig, StudyPaths],
    monkeypatch: pytest.MonkeyPatch,
    calls: int,
) -> None:
    _, config, paths = levels
    folder = both(config, paths)
    wanted = contents(folder)
    other = StudyPaths.of("again", tmp_path / "results")
    collect(config, other, "box")
    done = {"n": 0}

    def killing(real: Any) -> Any:
        def call(*args: Any) -> Any:
            if done["n"] == calls:
                raise Killed
            done["n"] += 1
            return real(*args)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(cleaning, "examine", killing(cleaning.examine))
        patch.setattr(cleaning, "write_clean", killing(cleaning.write_clean))
        with pytest.raises(Killed):
            clean(config, other, "box")
    assert not (other.corpus("box") / "clean.csv").exists()
    clean(config, other, "box")
    assert contents(other.corpus("box")) == wanted


def test_finished_speakers_are_reused_unless_settings_or_files_changed(
    levels: tuple[Path, StudyConfig, StudyPaths], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root, config, paths = levels
    collect(config, paths, "box")
    examined: list[str] = []
    real = cleaning.examine
    monkeypatch.setattr(
        cleaning, "examine", lambda task: (examined.append(task.path.stem), real(task))[1]
    )

    def stop(*args: Any) -> None:
        raise Killed

    def interrupted(config: StudyConfig) -> list[str]:
        examined.clear()
        with monkeypatch.context() as patch:
            patch.setattr(cleaning, "summarise", stop)
            with pytest.raises(Killed):
                clean(config, paths, "box")
        return list(examined)

    assert len(interrupted(config)) == 4
    assert interrupted(config) == []
    # A half-written file of a finished speaker is noticed.
    victim = next((paths.corpus("box") / ".cleaning" / "clean" / "box_ben").glob("*.flac"))
    victim.write_bytes(victim.read_bytes()[:100])
    assert set(interrupted(config)) == {"ben_neutral", "ben_happy"}
    # Another recording of one speaker.
    write(root / "audio" / "anna_happy.wav", speechlike(rms=0.07, seed=99))
    collect(config, paths, "box")
    assert set(interrupted(config)) == {"anna_neutral", "anna_happy"}
    # Another setting.
    louder, _ = study(root, tmp_path, cleaning={"loudness_dbfs": -20.0})
    assert len(interrupted(louder)) == 4
    # The limit of rejections changes no recording.
    laxer, _ = study(root, tmp_path, cleaning={"loudness_dbfs": -20.0, "max_rejected_share": 0.5})
    assert interrupted(laxer) == []


def test_file_changed_after_collecting_is_set_aside(
    levels: tuple[Path, StudyConfig, StudyPaths],
) -> None:
    root, _, paths = levels
    config, _ = study(root, root.parent, **KEEP_ALL)
    collect(config, paths, "box")
    write(root / "audio" / "anna_happy.wav", speechlike(seed=77))
    clean(config, paths, "box")
    (rejected,) = read(paths.corpus("box") / "rejected.csv")
    assert rejected["reason"] == "broken" and "changed after it was collected" in rejected["detail"]


def test_full_disk_is_one_clear_error(
    levels: tuple[Path, StudyConfig, StudyPaths], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, config, paths = levels
    collect(config, paths, "box")

    def full(*args: Any, **values: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match=r"No space left on device.*free some disk space"):
        clean(config, paths, "box")
    assert not (paths.corpus("box") / "clean").exists()
