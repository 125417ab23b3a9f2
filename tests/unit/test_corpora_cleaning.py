"""Collecting and cleaning: gains, rates, every reason of rejection, restarts, limits."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpora_samples import (
    both,
    contents,
    levelled,
    metadata,
    read,
    row,
    sound_of,
    source,
    speechlike,
    study,
    summary,
    write,
)

from eele.config.models import StudyConfig
from eele.corpora import clean, collect
from eele.corpora.base import REASONS
from eele.errors import ConfigError, DataError
from eele.paths import StudyPaths

RATE = 16000
KEEP_ALL = {"cleaning": {"max_rejected_share": 1.0}}


def rms_db(signal: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(signal, dtype=np.float64))))


@pytest.fixture
def levels(tmp_path: Path) -> tuple[Path, StudyConfig, StudyPaths]:
    """Two speakers, neutral at different levels, happy 6 dB louder than neutral."""
    return levelled(tmp_path)


def test_one_gain_per_speaker_to_the_target_level(
    levels: tuple[Path, StudyConfig, StudyPaths],
) -> None:
    _, config, paths = levels
    folder = both(config, paths)
    rows = {r["utterance_id"]: r for r in read(folder / "clean.csv")}
    gain = {name: float(r["gain_db"]) for name, r in rows.items()}
    assert gain["box_anna_neutral"] == gain["box_anna_happy"]
    assert gain["box_ben_neutral"] == gain["box_ben_happy"]
    difference = gain["box_anna_neutral"] - gain["box_ben_neutral"]
    assert difference == pytest.approx(20 * np.log10(4), abs=0.1)
    for speaker in ("anna", "ben"):
        neutral, _ = sound_of(paths, rows[f"box_{speaker}_neutral"])
        happy, _ = sound_of(paths, rows[f"box_{speaker}_happy"])
        assert rms_db(neutral) == pytest.approx(config.cleaning.loudness_dbfs, abs=0.5)
        assert rms_db(happy) - rms_db(neutral) == pytest.approx(6.02, abs=0.1)
    speakers = summary(folder)["speakers"]
    assert speakers["box_anna"]["measured_on"] == "neutral"
    assert not speakers["box_anna"]["limited"]


def test_gain_is_limited_so_that_nothing_clips_and_says_so(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    write(root / "audio" / "quiet.wav", speechlike(rms=0.003, seed=1))
    write(root / "audio" / "loud.wav", speechlike(rms=0.25, seed=2))
    metadata(root, [row("quiet"), row("loud", emotion="angry")])
    config, paths = study(root, tmp_path)
    folder = both(config, paths)
    level = summary(folder)["speakers"]["box_anna"]
    assert level["limited"] and level["limited_by_db"] > 10
    assert level["level_dbfs"] == pytest.approx(-23 - level["limited_by_db"], abs=0.02)
    peaks = [np.abs(sound_of(paths, r)[0]).max() for r in read(folder / "clean.csv")]
    assert 0.97 < max(peaks) < 1.0


def test_speaker_without_neutral_is_levelled_on_all(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    write(root / "audio" / "u1.wav")
    metadata(root, [row("u1", emotion="happy")])
    config, paths = study(root, tmp_path)
    level = summary(both(config, paths))["speakers"]["box_anna"]
    assert level["measured_on"] == "all"
    assert level["level_dbfs"] == pytest.approx(-23.0, abs=0.01)


@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 48000])
def test_resampling_keeps_pitch_and_length(tmp_path: Path, rate_hz: int) -> None:
    root = tmp_path / "corpus"
    signal = speechlike(1.5, rate_hz, f0_hz=200.0)
    write(root / "audio" / "u1.wav", np.stack([signal, signal], axis=1), rate_hz)  # stereo
    metadata(root, [row("u1")])
    config, paths = study(root, tmp_path)
    (cleaned,) = read(both(config, paths) / "clean.csv")
    out, out_rate = sound_of(paths, cleaned)
    info = soundfile.info(paths.root / cleaned["path"])
    assert (out_rate, info.channels, info.subtype, info.format) == (22050, 1, "PCM_16", "FLAC")
    assert len(out) / out_rate == pytest.approx(1.5, abs=0.001)
    assert float(cleaned["duration_s"]) == pytest.approx(len(out) / out_rate, abs=1e-5)
    spectrum = np.abs(np.fft.rfft(out * np.hanning(len(out))))
    peak_hz = np.argmax(spectrum) * out_rate / len(out)
    assert peak_hz == pytest.approx(200.0, abs=1.0)


def test_rows_name_the_study_and_the_edges_cut(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    silence = np.zeros(RATE, np.float32)
    write(root / "audio" / "u1.wav", np.concatenate([silence, speechlike(), silence]))
    write(root / "audio" / "u2.flac")
    metadata(
        root, [row("u1"), row("u2", path="audio/u2.flac", speaker="box_anna", text="  A\n b ")]
    )
    config, paths = study(root, tmp_path, corpora=[folder_corpus(root, speakers=["anna"])])
    folder = both(config, paths)
    (cleaned,) = read(folder / "clean.csv")
    assert cleaned["utterance_id"] == "box_u1"
    assert cleaned["speaker"] == "box_anna"
    assert cleaned["path"] == "corpora/box/clean/box_anna/box_u1.flac"
    assert float(cleaned["leading_cut_s"]) == pytest.approx(0.9, abs=0.03)
    assert float(cleaned["duration_s"]) == pytest.approx(1.2, abs=0.05)
    assert summary(folder)["mean_cut_s"] == pytest.approx(1.8, abs=0.05)
    assert not (folder / ".cleaning").exists()


def folder_corpus(root: Path, **values: object) -> dict[str, object]:
    return {"adapter": "folder", "name": "box", "root": str(root), **values}


def test_speaker_names_that_would_merge_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    write(root / "audio" / "u1.wav")
    write(root / "audio" / "u2.wav")
    metadata(root, [row("u1"), row("u2", speaker="box_anna")])
    config, paths = study(root, tmp_path)
    collect(config, paths, "box")
    with pytest.raises(DataError, match="would both be called 'box_anna'"):
        clean(config, paths, "box")


def test_text_is_kept_on_one_line(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    write(root / "audio" / "u1.wav")
    metadata(root, [row("u1", text=' A "quoted",\n  line ')])
    config, paths = study(root, tmp_path)
    assert read(both(config, paths) / "clean.csv")[0]["text"] == 'A "quoted", line'


def bad_corpus(root: Path) -> dict[str, str]:
    """A corpus with one recording of every kind of fault; utterance id -> expected reason."""
    audio = root / "audio"
    rows = [row("good", text="Good one.")]
    write(audio / "good.wav")

    def add(name: str, **values: str) -> Path:
        rows.append(row(name, **values))
        return audio / f"{name}.wav"

    add("gone")
    add("broken").write_bytes(b"RIFF this is no sound")
    add("pointer").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    whole = write(audio / "whole.flac").read_bytes()
    rows.append(row("cut_off", path="audio/cut_off.flac"))
    (audio / "cut_off.flac").write_bytes(whole[: len(whole) // 2])
    (audio / "whole.flac").unlink()
    add("no_bytes").write_bytes(b"")
    write(add("no_samples"), np.zeros(0, np.float32))
    nan = speechlike(seed=5)
    nan[100] = np.nan
    soundfile.write(add("nan"), nan, RATE, subtype="FLOAT")
    infinite = speechlike(seed=6)
    infinite[100] = np.inf
    soundfile.write(add("infinite"), infinite, RATE, subtype="FLOAT")
    write(add("silent"), np.random.default_rng(0).normal(0, 1e-4, RATE).astype(np.float32))
    write(add("offset"), np.full(RATE, 0.3, np.float32))
    write(add("clipped"), np.clip(20 * speechlike(seed=7), -1, 1))
    write(add("short"), speechlike(0.2))
    write(add("long"), speechlike(16.0))
    write(add("hour"), speechlike(80.0, f0_hz=90))
    write(add("no_text", text=" "))
    write(add("only_dots", text="..."))
    write(add("good", text="Second of that id."))
    twin = write(add("twin", text="Good one.")).with_name("good.wav")
    shutil.copy(twin, audio / "twin.wav")
    write(add("liar_a", text="One thing."), speechlike(seed=8))
    shutil.copy(audio / "liar_a.wav", add("liar_b", text="Another thing."))
    write(add("puzzled", emotion="puzzled"))
    write(add("outside", path="../outside.wav"))
    metadata(root, rows)
    return {
        "box_gone": "missing_file",
        "box_broken": "broken",
        "box_pointer": "broken",
        "box_cut_off": "broken",
        "box_no_bytes": "empty",
        "box_no_samples": "empty",
        "box_nan": "not_finite",
        "box_infinite": "not_finite",
        "box_silent": "silent",
        "box_offset": "silent",
        "box_clipped": "clipped",
        "box_short": "too_short",
        "box_long": "too_long",
        "box_hour": "too_long",
        "box_no_text": "missing_transcript",
        "box_only_dots": "missing_transcript",
        "box_good": "duplicate_id",
        "box_twin": "duplicate_audio",
        "box_liar_a": "duplicate_audio",
        "box_liar_b": "duplicate_audio",
        "box_puzzled": "unknown_emotion",
        "box_outside": "outside_folder",
    }


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_fault_is_set_aside_with_its_reason_and_stops_nothing(
    tmp_path: Path, jobs: int
) -> None:
    expected = bad_corpus(tmp_path / "corpus")
    config, paths = study(tmp_path / "corpus", tmp_path, **KEEP_ALL)
    folder = both(config, paths, jobs)
    rejected = read(folder / "rejected.csv")
    assert {r["utterance_id"]: r["reason"] for r in rejected} == expected
    assert {r["reason"] for r in rejected} <= set(REASONS)
    assert all(r["detail"] and r["corpus"] == "box" for r in rejected)
    assert {r["stage"] for r in rejected} == {"collect", "clean"}
    detail = {r["utterance_id"]: r["detail"] for r in rejected}
    assert "git lfs pull" in detail["box_pointer"]
    assert "same bytes as liar_b with another text" in detail["box_liar_a"]
    assert "same bytes as liar_a with another text" in detail["box_liar_b"]
    assert [r["utterance_id"] for r in read(folder / "clean.csv")] == ["box_good"]
    counts = summary(folder)
    assert (counts["n_total"], counts["n_accepted"]) == (len(expected) + 1, 1)
    assert counts["n_rejected"] == len(expected) == sum(counts["by_reason"].values())
    assert [p.name for p in (folder / "clean").rglob("*.flac")] == ["box_good.flac"]


def test_too_many_rejected_stops_and_names_them(tmp_path: Path) -> None:
    bad_corpus(tmp_path / "corpus")
    config, paths = study(tmp_path / "corpus", tmp_path)
    collect(config, paths, "box")
    with pytest.raises(DataError) as caught:
        clean(config, paths, "box")
    message = str(caught.value)
    for part in (
        "22 of 23",
        "95.7%",
        "10.0%",
        "max_rejected_share",
        "broken 3",
        "duplicate_audio 3",
    ):
        assert part in message, part
    folder = paths.corpus("box")
    assert str(folder / "rejected_too_many.csv") in message
    assert len(read(folder / "rejected_too_many.csv")) == 22
    assert not (folder / "clean.csv").exists() and not (folder / "clean").exists()
    # Raising the limit goes on from there and leaves nothing of the failure behind.
    config, _ = study(tmp_path / "corpus", tmp_path, **KEEP_ALL)
    clean(config, paths, "box")
    assert not (folder / "rejected_too_many.csv").exists()
    assert len(read(folder / "rejected.csv")) == 22


def test_labels_without_a_word_here_do_not_count_as_faults(tmp_path: Path) -> None:
    root = tmp_path / "emov"
    for number in range(1, 4):
        write(root / "bea" / "Neutral" / f"neutral_1-28_000{number}.wav")
        write(root / "bea" / "Sleepiness" / f"sleepiness_1-28_000{number}.wav")
    lines = (f'( arctic_a000{n} "Sentence {n}." )\n' for n in range(1, 4))
    (root / "cmuarctic.data").write_text("".join(lines))
    corpus = {"adapter": "emovdb", "name": "box", "root": str(root)}
    config, paths = study(root, tmp_path, corpora=[corpus])
    counts = summary(both(config, paths))
    assert (counts["n_accepted"], counts["n_rejected"], counts["n_faults"]) == (3, 3, 0)
    assert counts["by_reason"] == {"unmapped_emotion": 3}


def test_peak_normalised_files_are_noticed(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    rows = []
    for index in range(12):
        signal = speechlike(rms=0.02 * (1 + index), seed=index)
        write(root / "audio" / f"u{index}.wav", 0.99 * signal / np.abs(signal).max())
        rows.append(row(f"u{index}"))
    metadata(root, rows)
    config, paths = study(root, tmp_path)
    assert source(both(config, paths))["energy_comparable"] is False
    for index in range(12):
        write(root / "audio" / f"u{index}.wav", speechlike(rms=0.02 * (1 + index), seed=index))
    assert source(both(config, paths))["energy_comparable"] is True


def test_jobs_change_nothing(tmp_path: Path, levels: tuple[Path, StudyConfig, StudyPaths]) -> None:
    _, config, paths = levels
    one = contents(both(config, paths, jobs=1))
    two = contents(both(config, StudyPaths.of("two", tmp_path / "results"), jobs=2))
    assert one == two


def test_source_says_where_the_corpus_comes_from(
    levels: tuple[Path, StudyConfig, StudyPaths],
) -> None:
    root, config, paths = levels
    collect(config, paths, "box")
    facts = source(paths.corpus("box"))
    for key in ("adapter", "name", "version", "licence", "url", "citation", "notes"):
        assert isinstance(facts[key], str)
    assert facts["energy_comparable"] is True
    first = facts["sha256"]
    write(root / "audio" / "anna_happy.wav", speechlike(seed=55))
    collect(config, paths, "box")
    again = source(paths.corpus("box"))["sha256"]
    assert len(first) == len(again) == 64 and first != again


def test_unknown_corpus_and_missing_manifest(
    levels: tuple[Path, StudyConfig, StudyPaths],
) -> None:
    _, config, paths = levels
    with pytest.raises(ConfigError, match="no corpus 'bag'; it has: box"):
        collect(config, paths, "bag")
    with pytest.raises(DataError, match=r"manifest\.csv is missing; collect the corpus first"):
        clean(config, paths, "box")


def test_corpus_without_a_usable_row_is_an_error(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    metadata(root, [row("u1", emotion="odd"), row("u2")])
    config, paths = study(root, tmp_path)
    with pytest.raises(DataError, match=r"no usable utterance .*missing_file, unknown_emotion"):
        collect(config, paths, "box")
    assert not (paths.corpus("box") / "manifest.csv").exists()
