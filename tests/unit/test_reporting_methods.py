"""Several methods at several places: the front, the differences, what was asked for and what was left out."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import fake_study

from eele.cells import Cell, sweep
from eele.io import read_json, write_json
from eele.reporting import make_figures, make_page, make_tables
from eele.reporting.bootstrap import Bootstrap
from eele.reporting.collect import Results, Size, System, load_results
from eele.reporting.comparisons import (
    COMPARISON_COLUMNS,
    FAMILIES,
    comparisons_table,
    front,
    in_words,
)
from eele.reporting.figures import figure_names
from eele.reporting.findings import findings_table
from eele.reporting.page_costs import budgets_table, left_out_table
from eele.reporting.players import listening_columns
from eele.reporting.tables import shown_systems

SWEEP = [
    {"method": "lora", "schemes": ["a", "c", "g"], "budgets": ["20k"]},
    {"method": "lora", "schemes": ["c"], "budgets": ["60k"]},
    {
        "method": "parallel_bottleneck",
        "schemes": ["a", "c", "g"],
        "budgets": ["20k"],
        "skip_impossible": True,
    },
    {"method": "prompt", "schemes": ["a"], "ranks": [4]},
    {"method": "full"},
]
#: Share of utterances recognised.
HEARD = {
    ("lora", "a"): 0.25,
    ("lora", "c"): 0.5,
    ("lora", "g"): 0.75,
    ("parallel_bottleneck", "a"): 0.5,
    ("parallel_bottleneck", "c"): 1.0,
    ("prompt", "a"): 0.0,
}


def heard(cell: Cell) -> float:
    return HEARD.get((cell.method, cell.scheme), fake_study.even_accuracy(cell))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    rates = {"method_learning_rates": {"parallel_bottleneck": 0.03}}
    study = fake_study.small_study(sweep=SWEEP, seeds=[1, 2, 3], adaptation=rates)
    study, paths = fake_study.build(tmp_path_factory.mktemp("methods"), study, heard)
    for cell in sweep(study):
        # About what was asked for; but twice too many at LoRA's scheme g.
        file = paths.cell(cell) / "adapter" / "training.json"
        if cell.scheme != "-":
            weights = {"a": 19_000, "c": 21_000, "g": 50_000}[cell.scheme]
            weights += 40_000 * (cell.method == "lora" and cell.scheme == "c" and cell.rank > 4)
            weights = 64 if cell.method == "prompt" else weights
            write_json(file, read_json(file) | {"trainable_parameters": weights})
    return study, paths


@pytest.fixture(scope="module")
def results(finished) -> Results:
    return load_results(*finished)


@pytest.fixture(scope="module")
def table(results) -> pd.DataFrame:
    return comparisons_table(results, Bootstrap(results))


def the(results: Results, method: str, scheme: str) -> System:
    return next(s for s in results.compared if (s.method, s.scheme) == (method, scheme))


def test_methods_are_compared_at_one_budget_where_they_have_it(results):
    assert results.methods == ["lora", "parallel_bottleneck", "prompt"]
    assert results.common_size("lora") == results.common_size("parallel_bottleneck")
    assert results.common_size("lora") == Size("budget", 20_000)
    assert results.common_size("prompt") == Size("rank", 4)
    assert [s.scheme for s in results.schemes_of("parallel_bottleneck")] == ["a", "c"]
    ranks = {s.rank for s in results.compared_schemes}
    assert len(ranks) > 1, "one budget is another rank at another scheme"
    assert results.sizes_text.startswith(
        "LoRA a budget of 20,000 weights, parallel bottleneck a budget"
    )
    assert results.best_scheme() == the(results, "parallel_bottleneck", "c")


def test_cells_say_what_budget_they_were_sized_for(finished):
    study, paths = finished
    make_tables(study, paths)
    cells = pd.read_csv(paths.tables / "cells.csv", dtype=str)
    asked = cells.groupby(["method", "scheme"])["budget"].agg(lambda b: sorted(set(b.dropna())))
    assert asked["lora", "g"] == ["20000"] and asked["lora", "c"] == ["20000", "60000"]
    assert asked["prompt", "a"] == asked["full", "-"] == asked["none", "-"] == []
    methods = pd.read_csv(paths.tables / "methods.csv").set_index("method")
    assert methods.loc["parallel_bottleneck", "chosen"] == (
        "best of 2 at a budget of 20,000 weights, on the same test utterances"
    )


def test_a_cell_of_two_budgets_names_both(tmp_path):
    block = {"method": "lora", "schemes": ["g"], "budgets": [1, 2]}
    study, paths = fake_study.build(tmp_path, fake_study.small_study(sweep=[block]), audio=False)
    cells = load_results(study, paths).cells
    assert set(cells.loc[cells["method"] == "lora", "budget"]) == {"1; 2"}


def test_the_front_holds_what_nothing_cheaper_matches(results):
    small, large = sorted((s for s in results.placed if s.label.startswith("LoRA c")), key=str)
    assert {results.mean(s, "trainable_parameters") for s in (small, large)} == {21_000, 61_000}
    # The prompt is the cheapest, and not recognised above the neutral model.
    assert front(results) == [
        the(results, "parallel_bottleneck", "a"),
        the(results, "parallel_bottleneck", "c"),
    ]


def test_without_a_neutral_model_the_cheapest_is_on_the_front(results):
    cells = results.cells[results.cells["method"] != "none"]
    alone = Results(results.study, results.paths, cells, results.utterances)
    assert front(alone)[0] == the(results, "prompt", "a")


def row(table: pd.DataFrame, family: str, what: str, than: str) -> pd.Series:
    found = table[
        (table["family"] == family)
        & table["what"].str.startswith(what)
        & table["than"].str.startswith(than)
    ]
    assert len(found) == 1, table[table["family"] == family]
    return found.iloc[0]


def test_differences_are_means_over_what_both_sides_have(table):
    assert tuple(table.columns) == COMPARISON_COLUMNS
    assert set(table["family"]) == set(FAMILIES)
    methods = row(table, "method", "LoRA", "parallel bottleneck")
    assert methods["over"] == "scheme a, scheme c"
    assert methods["difference"] == pytest.approx((0.25 - 0.5 + 0.5 - 1.0) / 2)
    assert (methods["weights"], methods["weights_than"]) == (20_000, 20_000)
    schemes = row(table, "scheme", "scheme a", "scheme c")
    assert schemes["over"] == "LoRA, parallel bottleneck"
    assert schemes["difference"] == pytest.approx((0.25 - 0.5 + 0.5 - 1.0) / 2)
    assert row(table, "scheme", "scheme a", "scheme g")["over"] == "LoRA"
    assert len(table[table["family"] == "method at scheme"]) == 3
    step = row(table, "front", "parallel bottleneck c", "parallel bottleneck a")
    assert step["difference"] == pytest.approx(0.5)
    none = row(table, "baseline", "parallel bottleneck c", "neutral model")
    assert none["difference"] == 1 and none["weights_than"] == 0


def test_a_difference_is_larger_when_its_interval_lies_on_one_side_of_zero(table):
    known = table[np.isfinite(table["low"])]
    assert len(known) == len(table)
    outside = (known["low"] > 0) | (known["high"] < 0)
    assert (outside == (known["larger"] == "yes")).all()
    assert set(table["larger"]) == {"yes", "no"}
    assert (known["low"] <= known["difference"]).all()
    assert (known["difference"] <= known["high"]).all()
    counted = table["family"].map(table["family"].value_counts())
    assert (table["comparisons"] == counted).all()


def test_a_family_of_many_has_wider_intervals(results):
    bootstrap = Bootstrap(results)
    alone = Results(
        results.study,
        results.paths,
        results.cells[results.cells["method"] != "prompt"],
        results.utterances,
    )
    few, many = (comparisons_table(r, bootstrap) for r in (alone, results))
    few, many = (row(t, "method", "LoRA", "parallel bottleneck") for t in (few, many))
    assert (few["comparisons"], many["comparisons"]) == (1, 3)
    assert many["high"] - many["low"] > few["high"] - few["low"]


def test_the_words_name_the_sure_ones_the_better_first(table):
    said = in_words(table)
    assert len(said) == len(FAMILIES)
    sure = (table["larger"] == "yes").groupby(table["family"]).sum()
    for family, sentence in zip(FAMILIES, said, strict=True):
        n = int((table["family"] == family).sum())
        assert f"{sure[family]} of {n} differences are larger than their interval" in sentence
    assert "parallel bottleneck over LoRA by 0.38 (" in said[0]
    assert "LoRA over parallel bottleneck" not in " ".join(said)


def test_too_few_sentences_give_no_interval_and_the_words_say_so(results):
    one = results.utterances[results.utterances["utterance_id"].str.contains("anna.*_00")]
    alone = Results(results.study, results.paths, results.cells, one)
    table = comparisons_table(alone, Bootstrap(alone))
    assert set(table["larger"]) == {"unknown"}
    assert "3 have none, too few sentences" in in_words(table)[0]


def test_a_budget_missed_by_far_is_told(results):
    budgets = budgets_table(results)
    assert budgets is not None
    notes = {(r[0].text, r[1].text, r[2].text): r[4].note for r in budgets.rows}
    assert len(notes) == 6
    assert {key for key, note in notes.items() if note} == {("LoRA", "g", "20\u202f000")}
    assert notes["LoRA", "g", "20\u202f000"] == "more than a factor of 2 off"
    by_rank = fake_study.small_study()
    assert left_out_table(by_rank) is None


def test_what_was_left_out_is_told_with_its_reason(finished):
    table = left_out_table(finished[0])
    assert table is not None
    ((method, scheme, reason),) = [[cell.text for cell in r] for r in table.rows]
    assert (method, scheme) == ("parallel bottleneck", "g") and "site 'duration'" in reason


def test_a_study_without_budgets_has_no_table_of_them(tmp_path):
    study, paths = fake_study.build(tmp_path, audio=False)
    assert budgets_table(load_results(study, paths)) is None


def test_schemes_of_every_method_are_shown_and_the_main_ones_heard(results):
    shown = [(s.method, s.scheme) for s in shown_systems(results) if s.scheme != "-"]
    assert shown == [
        *(("lora", s) for s in "acg"),
        *(("parallel_bottleneck", s) for s in "ac"),
        ("prompt", "a"),
    ]
    played = [(s.method, s.scheme) for s in listening_columns(results) if s.scheme != "-"]
    assert played[:5] == [
        *(("lora", s) for s in "acg"),
        ("parallel_bottleneck", "c"),
        ("prompt", "a"),
    ]


def test_the_papers_outcome_on_lora_is_not_tested_on_another_method(tmp_path):
    blocks = [
        {"method": "parallel_bottleneck", "schemes": ["a", "c"], "ranks": [4]},
        {"method": "full"},
    ]
    study, paths = fake_study.build(tmp_path, fake_study.small_study(sweep=blocks), audio=False)
    found = findings_table(load_results(study, paths)).set_index("finding")
    lora = found[found.index.str.startswith("LoRA keeps up")].iloc[0]
    assert lora["agrees"] == "not tested"
    place = found[found.index.str.startswith("The best place")].iloc[0]
    assert "method parallel bottleneck, rank 4" in place["conditions"]


def test_the_page_of_several_methods(finished):
    study, paths = finished
    make_tables(study, paths)
    make_figures(study, paths)
    make_page(study, paths)
    page = paths.report.read_text(encoding="utf-8")
    for name in ("budgets", "left-out", "comparisons", "ranks"):
        assert f'id="table-{name}"' in page, name
    assert "Best, parallel bottleneck at (c)" in page
    assert "of 3 kinds, placed at 3 places" in page
    assert "parallel bottleneck over LoRA by 0.38" in page
    assert "On the front: parallel bottleneck a" in page
    assert "LoRA, prompt 0.003; parallel bottleneck 0.03; full fine-tuning 0.0005" in page
    where = (paths.figures / "method_by_scheme.svg").read_text(encoding="utf-8")
    # LoRA at a, c and g, bottlenecks at a and c, a prompt at a: a dash for each of the other three.
    assert len(re.findall(">–</text>", where)) == 3
    for word in (
        "LoRA",
        "20,000 weights",
        "parallel bottleneck",
        "prompt",
        "neutral model",
        "g duration",
    ):
        assert f">{word}" in where, word
    assert "method_by_scheme" not in figure_names(fake_study.small_study())
    cost = (paths.figures / "cost_accuracy.svg").read_text(encoding="utf-8")
    for word in ("LoRA", "parallel bottleneck", "prompt", "recording", "full", "neutral"):
        assert f">{word}" in cost, word
    heat = (paths.figures / "scheme_by_emotion.svg").read_text(encoding="utf-8")
    assert re.search(r"parallel bottleneck +c +decode", heat)
