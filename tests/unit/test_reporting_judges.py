"""Scores of several judges and their agreement, from decisions that are known."""

from __future__ import annotations

from pathlib import Path

import fake_study
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from eele.cells import sweep
from eele.config import StudyConfig
from eele.errors import DataError
from eele.io import read_json, write_json
from eele.paths import StudyPaths
from eele.reporting import make_figures, make_page, make_tables
from eele.reporting.bootstrap import Bootstrap
from eele.reporting.collect import System, load_results
from eele.reporting.columns import judge_columns
from eele.reporting.comparisons import in_words
from eele.reporting.judges import (
    AGREEMENT_COLUMNS,
    JUDGE_COLUMNS,
    agreement_table,
    heard_by,
    judges_table,
    spearman,
    stability,
    system_scores,
)

#: `half` recognises half of what the first does, `contrary` as many utterances as that one misses.
JUDGES = ("statistics", "half", "contrary")
KNOWS_ESD = {
    "model": "nobody/nothing",
    "labels": {"n": "neutral", "a": "angry", "h": "happy"},
    "trained_on": ["ESD"],
}


def three_judges(**changes: object) -> StudyConfig:
    evaluation = {
        "bootstrap_samples": 200,
        "judges": JUDGES,
        "encoder_judges": {"half": {}},
        "published_judges": {"contrary": KNOWS_ESD},
    }
    return fake_study.small_study(evaluation=evaluation, **changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyConfig, StudyPaths]:
    corpora = [{"adapter": "esd", "name": "demo"}]
    study = three_judges(corpora=corpora)
    study, paths = fake_study.build(tmp_path_factory.mktemp("judges"), study)
    make_tables(study, paths)
    make_figures(study, paths)
    make_page(study, paths)
    return study, paths


def agreement(paths: StudyPaths, measure: str, judge: str, other: str) -> pd.DataFrame:
    table = pd.read_csv(paths.tables / "agreement.csv", keep_default_na=False)
    chosen = table[
        (table["measure"] == measure) & (table["judge"] == judge) & (table["other"] == other)
    ]
    return chosen.set_index("speech")


def test_every_cell_has_a_row_for_every_judge(finished: tuple[StudyConfig, StudyPaths]) -> None:
    study, paths = finished
    table = pd.read_csv(paths.tables / "judges.csv")
    assert tuple(table.columns[: len(JUDGE_COLUMNS)]) == JUDGE_COLUMNS
    assert len(table) == 3 * len(sweep(study))
    row = table[
        (table["judge"] == "half")
        & (table["scheme"] == "g")
        & (table["rank"] == 8)
        & (table["emotion"] == "happy")
    ].iloc[0]
    assert row["accuracy"] == pytest.approx(10 / 12) and row["n"] == 12
    assert row["heard_happy"] == 10 and row["heard_happy"] + row["heard_neutral"] == 12
    assert row["recording_accuracy"] == 1.0
    assert row["mean_probability_target"] == pytest.approx(0.9 * 10 / 12 + 0.1 * 2 / 12, abs=1e-3)


def test_a_judge_that_knows_the_corpus_carries_its_warning(
    finished: tuple[StudyConfig, StudyPaths],
) -> None:
    _, paths = finished
    table = pd.read_csv(paths.tables / "judges.csv").set_index("judge")["warning"]
    assert table["contrary"].str.contains("trained on ESD").all()
    assert table[["statistics", "half"]].isna().all()
    page = paths.report.read_text(encoding="utf-8")
    assert "<strong>Warning.</strong> contrary: trained on ESD" in page


def test_decisions_agree_as_scikit_learn_says(finished: tuple[StudyConfig, StudyPaths]) -> None:
    study, paths = finished
    table = load_results(study, paths).utterances
    groups = {
        "recording": table["method"] == "recording",
        "copy_synthesis": table["method"] == "copy_synthesis",
        "synthetic": ~table["method"].isin(["recording", "copy_synthesis"]),
    }
    for judge, other in (("statistics", "half"), ("half", "contrary")):
        columns = judge_columns(JUDGES)
        for speech, chosen in groups.items():
            a, b = (table[chosen][columns[name][0]] for name in (judge, other))
            equal = agreement(paths, "equal_decisions", judge, other).loc[speech]
            kappa = agreement(paths, "cohen_kappa", judge, other).loc[speech]
            assert float(equal["value"]) == pytest.approx((a.to_numpy() == b.to_numpy()).mean())
            assert float(kappa["value"]) == pytest.approx(cohen_kappa_score(a, b))
            assert int(equal["n"]) == chosen.sum()
            assert float(equal["low"]) <= float(equal["value"]) <= float(equal["high"])


def test_the_order_of_the_schemes_is_held_against_another(
    finished: tuple[StudyConfig, StudyPaths],
) -> None:
    _, paths = finished
    alike = agreement(paths, "scheme_rank_correlation", "statistics", "half").loc["synthetic"]
    assert float(alike["value"]) == pytest.approx(1) and alike["n"] == 3
    turned = agreement(paths, "scheme_rank_correlation", "statistics", "contrary").loc["synthetic"]
    assert float(turned["value"]) == pytest.approx(-1)
    assert turned["detail"] == "the judges put the schemes in opposite orders"
    table = pd.read_csv(paths.tables / "agreement.csv").set_index(["measure", "judge"])
    best = table.loc["best_scheme"]["detail"]
    assert best["statistics"] == best["half"] == "puts first: LoRA g · rank 8"
    assert best["contrary"] == "puts first: LoRA a · rank 8"
    page = paths.report.read_text(encoding="utf-8")
    assert "statistics and contrary: the judges put the schemes in opposite orders (rank" in page
    for name in ("judges", "judge-schemes", "agreement", "confusion-half-recording"):
        assert f'id="table-{name}"' in page


def test_scores_of_systems_are_those_of_each_judge(
    finished: tuple[StudyConfig, StudyPaths],
) -> None:
    results = load_results(*finished)
    g = System("lora", "g", 8)
    scores = system_scores(results, [g])
    assert [round(scores[judge][g][0] * 12) for judge in JUDGES] == [10, 5, 2]
    # The first judge's scores are those of the rest of the page.
    bootstrap = Bootstrap(results)
    assert scores["statistics"][g] == (
        bootstrap.mean_point(g),
        *bootstrap.interval(bootstrap.mean_draws(g)),
    )


def test_judges_are_compared_on_what_all_of_them_heard(tmp_path: Path) -> None:
    study, paths = fake_study.build(tmp_path, three_judges(), audio=False)
    cell = next(cell for cell in sweep(study) if cell.scheme == "g" and cell.rank == 8)
    file = paths.cell(cell) / "utterances.csv"
    table = pd.read_csv(file)
    table.loc[:3, "predicted_half"] = np.nan
    table.to_csv(file, index=False)
    results = load_results(study, paths)
    all_rows = len(results.utterances)
    assert {len(heard_by(results, judge).utterances) for judge in JUDGES} == {all_rows - 4}
    found = agreement_table(results).set_index(["measure", "judge", "other", "speech"])["n"]
    synthetic = found[("equal_decisions", "statistics", "contrary", "synthetic")]
    assert found[("equal_decisions", "statistics", "half", "synthetic")] == synthetic - 4


def test_one_judge_has_no_agreement_and_fills_its_table(tmp_path: Path) -> None:
    study, paths = fake_study.build(tmp_path, audio=False)
    make_tables(study, paths)
    assert len(pd.read_csv(paths.tables / "judges.csv")) == len(sweep(study))
    empty = pd.read_csv(paths.tables / "agreement.csv")
    assert tuple(empty.columns) == AGREEMENT_COLUMNS and empty.empty


def test_too_few_schemes_have_no_order(tmp_path: Path) -> None:
    blocks = [{"method": "lora", "schemes": ["a", "g"], "ranks": [8]}]
    study, paths = fake_study.build(tmp_path, three_judges(sweep=blocks), audio=False)
    table = agreement_table(load_results(study, paths)).set_index("measure")
    ranking = table.loc["scheme_rank_correlation"]
    assert ranking["value"].isna().all()
    assert set(ranking["detail"]) == {"fewer than three schemes: there is no order to compare"}


def test_a_cell_a_judge_has_not_heard_is_named(tmp_path: Path) -> None:
    study, paths = fake_study.build(tmp_path, three_judges(), audio=False)
    file = paths.cell(sweep(study)[0]) / "metrics.json"
    metrics = read_json(file)
    del metrics["judges"]["half"]
    write_json(file, metrics)
    with pytest.raises(DataError, match="judge half has not heard this cell"):
        judges_table(load_results(study, paths))


def test_rank_correlation_is_scipys() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, (50, 8)), rng.integers(0, 5, (50, 8))
    expected = [spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(spearman(a, b), expected)
    assert np.isnan(spearman(np.ones((1, 4)), np.arange(4.0)[None])).all()


@pytest.mark.parametrize(
    "value, low, high, words",
    [
        (0.9, 0.75, 1.0, "is stable"),
        (0.8, 0.2, 1.0, "in outline only"),
        (0.3, -0.2, 0.8, "not stable"),
        (-0.8, -1.0, -0.2, "opposite orders"),
        (float("nan"), float("nan"), float("nan"), "all schemes alike"),
        (0.5, float("nan"), float("nan"), "too few test sentences"),
    ],
)
def test_a_correlation_in_words(value: float, low: float, high: float, words: str) -> None:
    assert words in stability(value, low, high)


def test_differences_are_told_as_each_judge_hears_them(
    finished: tuple[StudyConfig, StudyPaths],
) -> None:
    _, paths = finished
    table = pd.read_csv(paths.tables / "comparisons.csv")
    assert list(dict.fromkeys(table["judge"])) == list(JUDGES)
    pair = ["family", "what", "over", "than"]
    heard = {
        judge: rows.fillna({"over": ""}).set_index(pair)["difference"]
        for judge, rows in table.groupby("judge")
    }
    assert len(heard["statistics"]) > 3 and heard["statistics"].abs().max() > 0.3
    contrary = heard["contrary"][heard["statistics"].index]
    # Who is recognised by the first is missed by that one; of recordings and neutral speech both know the same.
    assert contrary.to_numpy() == pytest.approx(-heard["statistics"].to_numpy(), abs=0.02)
    said = in_words(table)
    sure = table[(table["family"] == "baseline") & (table["larger"] == "yes")]
    n = sure.groupby("judge").size()
    assert n["statistics"] == n["contrary"] > 0
    (sentence,) = [text for text in said if text.startswith("The best system against")]
    assert f"By contrary {n['contrary']} of" in sentence and "0 of those above among" in sentence
    assert "the other way round: neutral model over " in sentence
    page = paths.report.read_text(encoding="utf-8")
    assert "difference, contrary" in page
