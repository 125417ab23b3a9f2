"""Tables, figures and page of a study of recognition whose predictions are known."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import recognised_study as fake

from eele.config import StudyConfig
from eele.errors import DataError
from eele.paths import StudyPaths
from eele.reporting.collect import read_table
from eele.reporting.tasks import TASK_COLUMNS
from eele.ser.published import is_iemocap, published
from eele.ser.reporting import make_figures, make_page, make_tables
from eele.ser.tables import COLUMNS


@pytest.fixture(scope="module")
def study() -> StudyConfig:
    return fake.make_study()


@pytest.fixture(scope="module")
def paths(study: StudyConfig, tmp_path_factory: pytest.TempPathFactory) -> StudyPaths:
    """A finished study with its tables."""
    paths = StudyPaths.of(study.study, tmp_path_factory.mktemp("recognised"))
    fake.write_study(study, paths)
    make_tables(study, paths)
    return paths


@pytest.fixture(scope="module")
def table(paths: StudyPaths) -> pd.DataFrame:
    return read_table(paths.tables / "recognition.csv", COLUMNS)


def row(table: pd.DataFrame, method: str, sites: str = "") -> pd.Series:
    found = table[(table["method"] == method) & ((table["sites"] == sites) | (sites == ""))]
    return found.iloc[0]


def test_one_row_per_method_and_one_per_recogniser(
    table: pd.DataFrame, paths: StudyPaths, study: StudyConfig
) -> None:
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == len(fake.METHODS)
    folds = read_table(paths.tables / "recognition_folds.csv", ("fold", "seed", "uar"))
    assert len(folds) == len(fake.METHODS) * len(fake.SPEAKERS) * 2
    assert set(folds["fold"]) == set(fake.SPEAKERS)


def test_tasks_are_told_in_the_shape_of_all_studies(
    table: pd.DataFrame, paths: StudyPaths, study: StudyConfig
) -> None:
    tasks = read_table(paths.tables / "tasks.csv", TASK_COLUMNS)
    assert list(tasks.columns) == list(TASK_COLUMNS) and len(tasks) == len(table)
    assert set(tasks["task"]) == {"emotion recognition"}
    assert tasks["value"].tolist() == table["value"].tolist()
    assert tasks["share_percent"].to_numpy() == pytest.approx(100 * table["share_of_model"])
    assert tasks["corpus"].notna().all() and (tasks["model"] == table["encoder"]).all()
    assert "emotion recognition" in (paths.tables / "tasks.tex").read_text(encoding="utf-8")


def test_uar_is_over_all_folds_and_seeds(table: pd.DataFrame) -> None:
    for method, (right, for_men) in fake.HITS.items():
        # Half of the speakers are men.
        assert row(table, method)["uar"] == pytest.approx((right + for_men / 2) / 10)
    full = row(table, "full")
    assert (full["uar_fold_least"], full["uar_fold_most"]) == pytest.approx((0.7, 0.8))
    assert full["uar_seed_sd"] == pytest.approx(0.0)
    assert (full["n_folds"], full["n_seeds"]) == (4, 2)
    # Four speakers are too few to draw, and their seeds are no further recordings.
    assert full["interval_unit"] == "sentence by speaker"
    assert full["uar_low"] < full["uar"] < full["uar_high"]


def test_what_is_scored_is_counted(table: pd.DataFrame) -> None:
    assert (table["n_scored"] == 2 * 4 * 30).all()
    assert (table["n_total"] == table["n_scored"]).all()
    assert (table["n_heard_by_encoder"] == 5 * 4 * 2).all()
    assert table["train_seconds"].to_list() == [1.5 * 8] * len(table)


def test_gain_is_the_paired_difference_to_the_head(table: pd.DataFrame) -> None:
    assert pd.isna(row(table, "head")["gain"])
    full, prompt = row(table, "full"), row(table, "prompt")
    assert full["gain"] == pytest.approx(full["uar"] - row(table, "head")["uar"])
    # Every recording that the head hears right it hears right, too: the sign is certain, and on paired draws
    # that is narrower than the UARs' own intervals are wide.
    assert 0 < full["gain_low"] < full["gain"] < full["gain_high"]
    assert full["gain_high"] - full["gain_low"] < full["uar_high"] - full["uar_low"]
    assert prompt["gain_high"] < 0
    same = row(table, "bottleneck")
    assert same["gain"] == same["gain_low"] == same["gain_high"] == 0


def test_weights_of_encoder_and_head_apart(table: pd.DataFrame) -> None:
    lora = row(table, "lora", "feed_forward")
    assert (lora["encoder_parameters"], lora["head_parameters"]) == (800, fake.HEAD_PARAMETERS)
    whole = fake.ENCODER_PARAMETERS + fake.HEAD_PARAMETERS
    assert lora["model_parameters"] == whole
    assert lora["share_of_model"] == pytest.approx((800 + fake.HEAD_PARAMETERS) / whole)


def test_fairness_is_over_all_recordings(table: pd.DataFrame) -> None:
    head, lora = row(table, "head"), row(table, "lora")
    assert (head["n_female"], head["n_male"], head["n_gender_unknown"]) == (120, 120, 0)
    assert head["equality_of_opportunity"] == pytest.approx(0.0)
    # Of ten recordings of a class two more are taken for another one when a man speaks.
    assert lora["equality_of_opportunity"] == pytest.approx(0.2)
    assert lora["statistical_parity"] == pytest.approx(0.0)


def test_a_missing_or_strange_result_is_named(study: StudyConfig, tmp_path: Path) -> None:
    paths = StudyPaths.of(study.study, tmp_path)
    fake.write_study(study, paths)
    first, second = sorted((paths.root / "recognition").rglob("scores.json"))[:2]
    good = first.read_bytes()
    first.write_bytes(second.read_bytes())
    with pytest.raises(DataError, match="another recogniser"):
        make_tables(study, paths)
    first.write_bytes(good)
    (first.parent / "training.json").unlink()
    with pytest.raises(DataError, match=r"training\.json is missing"):
        make_tables(study, paths)


def test_the_page_shows_every_testbed_method_and_recogniser(
    study: StudyConfig, paths: StudyPaths
) -> None:
    make_figures(study, paths)
    make_page(study, paths)
    for name in ("ranking_speakers", "parameters_speakers", "curves_speakers_small"):
        assert (paths.figures / f"{name}.png").stat().st_size > 0
    page = paths.report.read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["']https?://[^"']+\.(js|css|png|svg)""", page)
    for part in ("head only", "full fine-tuning", "LoRA 8 (feed forward, attention)", "chance is"):
        assert part in page
    assert 'id="table-ranking-speakers"' in page
    recognisers = re.search(r'<table id="table-recognisers".*?</table>', page, re.S)
    assert recognisers is not None
    assert recognisers[0].count('<th scope="row"') == len(fake.METHODS) * len(fake.SPEAKERS) * 2
    # Adapters that hear more than the head are named, those that do not are not.
    found = re.search(r'<ul class="found">(.*?)</ul>', page, re.S)
    assert found is not None
    assert "adapters hear more than the head alone" in found[1]
    assert "LoRA 8" in found[1]
    assert "prompt" not in found[1]
    assert "were heard by the encoder small before" in page
    assert (paths.root / "provenance.json").is_file()


def test_without_a_second_gender_fairness_is_not_applicable(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(fake, "SPEAKERS", dict.fromkeys(fake.SPEAKERS, "female"))
    study = fake.make_study(methods=[{"method": "head"}], seeds=[1])
    paths = StudyPaths.of(study.study, tmp_path)
    fake.write_study(study, paths)
    for make in (make_tables, make_figures, make_page):
        make(study, paths)
    table = read_table(paths.tables / "recognition.csv", COLUMNS)
    assert table["statistical_parity"].isna().all()
    assert "Not applicable: all speakers are female" in paths.report.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("model", "method", "sites", "value"),
    [
        ("microsoft/wavlm-base-plus", "lora", "feed_forward", 0.709),
        ("/models/whisper-tiny/", "head", "-", 0.666),
        ("microsoft/wavlm-base-plus", "lora", "attention", None),
        ("microsoft/wavlm-large", "lora", "feed_forward", None),
        ("microsoft/wavlm-base-plus", "full", "-", None),
    ],
)
def test_published_figures_belong_to_an_encoder_and_a_method(model, method, sites, value) -> None:
    study = fake.make_study(encoders={"e": {"kind": "transformers", "model": model}})
    assert published(study, "e", method, sites) == value


def test_only_iemocap_by_session_is_the_published_testbed() -> None:
    beds = {
        "published": {"labels": "four", "folds": "session"},
        "speakers": {"labels": "four", "folds": "speakers"},
        "full": {"folds": "session"},
    }
    study = fake.make_study(testbeds=beds)
    assert not any(is_iemocap(study, name) for name in beds)
    study = fake.make_study(testbeds=beds, adapter="iemocap")
    assert [name for name in beds if is_iemocap(study, name)] == ["published"]


def test_published_figures_stand_beside_those_of_the_same_encoder_and_method(
    tmp_path: Path,
) -> None:
    encoders = {"tiny": {"kind": "transformers", "model": "openai/whisper-tiny"}, "small": {}}
    study = fake.make_study(
        encoders,
        adapter="iemocap",
        testbeds={"iemocap": {"labels": "four", "folds": "session"}},
        seeds=[1],
    )
    paths = StudyPaths.of(study.study, tmp_path)
    fake.write_study(study, paths)
    for make in (make_tables, make_figures, make_page):
        make(study, paths)
    table = read_table(paths.tables / "recognition.csv", COLUMNS)
    shown = table[table["published_uar"].notna()]
    assert set(shown["encoder"]) == {"tiny"}
    assert dict(zip(shown["method"], shown["published_uar"], strict=True)) == {
        "head": 0.666,
        "lora": 0.641,
        "bottleneck": 0.597,
        "parallel_bottleneck": 0.587,
        "prompt": 0.561,
    }
    page = paths.report.read_text(encoding="utf-8")
    rows = re.search(r'<table id="table-published".*?</table>', page, re.S)
    assert rows is not None
    cells = re.findall(
        r"<tr><th.*?>(.*?)</th><td.*?>(.*?)</td><td.*?>(.*?)</td><td.*?>(.*?)</td>", rows[0]
    )
    assert ("LoRA", "Whisper tiny", "0.641", "0.700") in cells
    assert ("LoRA", "WavLM Base+", "0.709", "–") in cells
    assert len(cells) == 25
    # With two encoders, figures and findings say whose they are.
    assert "iemocap, tiny: adapters hear more" in page
    assert (paths.figures / "curves_iemocap_tiny.svg").is_file()
