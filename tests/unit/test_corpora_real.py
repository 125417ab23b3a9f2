"""Collect, clean and assemble on real recordings of four corpora (a few seconds)."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpora_samples import read

from eele.config.load import check_study
from eele.config.models import StudyConfig
from eele.corpora import assemble, clean, collect
from eele.errors import ConfigError
from eele.paths import StudyPaths

SHARED = Path(os.environ.get("EELE_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))


def recordings(name: str) -> Path:
    """Folder of one shared corpus; skips the test where it is not there."""
    folder = SHARED / name
    if not (folder / "metadata.csv").is_file():
        pytest.skip(
            f"{folder} is missing: put real recordings there (metadata.csv and audio/, as adapter "
            "`folder` reads them) or set EELE_SHARED_DATA"
        )
    return folder


def run(
    tmp_path: Path, adapter: str, root: Path, emotions: list[str], **corpus: object
) -> tuple[StudyConfig, StudyPaths, list[dict[str, str]]]:
    config = check_study(
        {
            "study": "real",
            "emotions": emotions,
            "corpora": [{"adapter": adapter, "name": "c", "root": str(root), **corpus}],
        }
    )
    paths = StudyPaths.of("real", tmp_path)
    collect(config, paths, "c")
    clean(config, paths, "c")
    assemble(config, paths)
    return config, paths, read(paths.manifest)


def summary(paths: StudyPaths) -> dict[str, object]:
    return json.loads((paths.corpus("c") / "summary.json").read_text())


def test_nemo_folder_is_whole_and_short_edges_stay(tmp_path: Path) -> None:
    root = recordings("nemo_emotion_pl")
    emotions = ["angry", "happy", "sad", "fearful", "surprised"]
    speakers = ["nemo_KD0", "nemo_TP0", "nemo_WR0"]
    _, paths, rows = run(tmp_path, "folder", root, emotions, speakers=speakers)
    assert len(rows) == 360 + 360 + 59
    held = {
        split: {r["sentence"] for r in rows if r["split"] == split}
        for split in ("test", "validation")
    }
    assert (len(held["test"]), len(held["validation"])) == (12, 6)
    for emotion in emotions:
        tested = [r for r in rows if r["emotion"] == emotion and r["split"] == "test"]
        assert len(tested) == 24  # 12 sentences, two voices
    assert summary(paths)["mean_cut_s"] < 0.05
    for level in summary(paths)["speakers"].values():
        reached = -23 - level["limited_by_db"]
        assert level["level_dbfs"] == pytest.approx(reached, abs=0.02)
        assert level["limited_by_db"] < 3


def test_ravdess_loses_a_second_and_a_half_of_silence(tmp_path: Path) -> None:
    root = recordings("ravdess_emotion_en")
    _, paths, rows = run(tmp_path, "ravdess", root, ["happy", "sad"], speakers=["03", "24"])
    assert len(rows) == 120
    with (root / "quality.csv").open(newline="") as handle:
        quality = {r["utterance_id"]: r for r in csv.DictReader(handle)}
    leading = [
        (
            float(r["leading_cut_s"]),
            float(quality[r["utterance_id"].removeprefix("c_")]["lead_silence_s"]),
        )
        for r in rows
    ]
    difference = np.array([silence - cut for cut, silence in leading])
    assert np.median(difference) == pytest.approx(0.1, abs=0.03)  # what is kept
    assert 1.3 < summary(paths)["mean_cut_s"] < 1.8
    counts = {
        split: len({r["sentence"] for r in rows if r["split"] == split})
        for split in ("train", "validation", "test")
    }
    assert counts == {"train": 1, "validation": 0, "test": 1}


def test_emotional_level_differences_survive(tmp_path: Path) -> None:
    root = recordings("ravdess_emotion_en")
    _, paths, rows = run(tmp_path, "ravdess", root, ["angry"], speakers=["16"])
    level = {}
    for r in rows:
        signal, _ = soundfile.read(paths.root / r["path"])
        level.setdefault(r["emotion"], []).append(10 * np.log10(np.mean(signal**2)))
    assert np.mean(level["angry"]) - np.mean(level["neutral"]) > 8


@pytest.mark.parametrize(("adapter", "speaker"), [("emodb", "03"), ("folder", "emodb_03")])
def test_emodb_energy_is_not_comparable(tmp_path: Path, adapter: str, speaker: str) -> None:
    root = recordings("emodb_emotion_de")
    _, paths, rows = run(tmp_path, adapter, root, ["happy", "disgusted"], speakers=[speaker])
    assert len(rows) == 49
    source = json.loads((paths.corpus("c") / "source.json").read_text())
    assert source["energy_comparable"] is False
    report = json.loads((paths.root / "splits.json").read_text())
    assert 1 <= len(report["test_sentences"]) <= 2
    # A single recording in this emotion: it stays in training, and the report says so.
    assert report["utterances_by_emotion"]["disgusted"] == {"train": 1, "validation": 0, "test": 0}
    assert any("disgusted: no test sentence" in note for note in report["notes"])


def test_both_ways_to_read_emodb_agree(tmp_path: Path) -> None:
    root = recordings("emodb_emotion_de")
    tables = []
    for adapter, speaker in (("emodb", "03"), ("folder", "emodb_03")):
        _, _, rows = run(tmp_path / adapter, adapter, root, ["happy"], speakers=[speaker])
        tables.append({r["utterance_id"]: (r["emotion"], r["text"], r["duration_s"]) for r in rows})
    assert tables[0] == tables[1]


def test_nemo_layout_made_of_real_recordings(tmp_path: Path) -> None:
    source = recordings("nemo_emotion_pl")
    labels = {"angry": "anger", "fearful": "fear", "happy": "happiness", "sad": "sadness"}
    lines = ["file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage"]
    root = tmp_path / "nEMO"
    (root / "samples").mkdir(parents=True)
    taken = [
        r
        for r in read(source / "metadata.csv")
        if r["utterance_id"].split("_")[2] in ("1", "2", "4", "5")
    ]
    for r in taken:
        shutil.copy(source / r["path"], root / "samples")
        speaker = r["speaker"].removeprefix("nemo_")
        label = labels.get(r["emotion"], r["emotion"])
        lines.append(f"{r['utterance_id']}.wav\t{label}\t{r['text']}\t-\t        {speaker}\t-\t0")
    (root / "data.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _, _, rows = run(tmp_path, "nemo", root, ["happy", "surprised"])
    assert len(rows) == len(taken) > 60
    assert {r["speaker"] for r in rows} >= {"c_KD0", "c_TP0"}
    expected = {f"c_{r['utterance_id']}": (r["emotion"], r["text"]) for r in taken}
    assert {r["utterance_id"]: (r["emotion"], r["text"]) for r in rows} == expected


def test_neutral_corpus_alone_cannot_make_an_emotional_study(tmp_path: Path) -> None:
    root = recordings("ljspeech_neutral_en")
    with pytest.raises(
        ConfigError, match=r"no utterance in happy; the corpora have: neutral \(32\)"
    ):
        run(tmp_path, "folder", root, ["happy"])
    assert summary(StudyPaths.of("real", tmp_path))["n_accepted"] == 32
