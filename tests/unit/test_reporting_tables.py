"""Tables and findings from scores that are known."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import fake_study

from eele.cells import Cell, sweep
from eele.errors import DataError
from eele.io import read_json, write_json
from eele.reporting import COLUMNS, make_tables
from eele.reporting.bootstrap import Bootstrap
from eele.reporting.collect import Results, Size, System, load_results
from eele.reporting.findings import FINDING_COLUMNS, findings_table, verdict
from eele.reporting.tables import COST_COLUMNS, TABLES, costs_table, to_latex


@pytest.fixture(scope="module")
def study_of_tables(tmp_path_factory):
    study, paths = fake_study.build(tmp_path_factory.mktemp("tables"), audio=False)
    make_tables(study, paths)
    return study, paths


def read(paths, name: str) -> pd.DataFrame:
    return pd.read_csv(paths.tables / f"{name}.csv")


CONTRACT = [
    "backbone",
    "method",
    "scheme",
    "rank",
    "emotion",
    "seed",
    "trainable_parameters",
    "adapter_bytes",
    "train_seconds",
    "steps",
    "emotion_accuracy",
    "emotion_accuracy_low",
    "emotion_accuracy_high",
    "phone_error_rate",
    "mcd_db",
    "log_f0_rmse",
    "log_f0_correlation",
    "f0_mean_shift_st",
    "f0_range_shift_st",
    "rate_ratio",
    "energy_shift_db",
    "speaker_similarity",
    "n_scored",
    "n_total",
]


def test_cells_hold_the_contract_columns_first_and_one_row_per_cell(study_of_tables):
    study, paths = study_of_tables
    table = read(paths, "cells")
    assert list(COLUMNS) == CONTRACT
    assert list(table.columns[: len(CONTRACT)]) == CONTRACT
    assert {"phone_error_rate_low", "recording_f0_mean_shift_st"} <= set(table.columns)
    assert len(table) == len(sweep(study))
    assert (table["n_scored"] == table["n_total"]).all()


def test_cells_hold_the_values_of_the_files(study_of_tables):
    study, paths = study_of_tables
    cell = next(c for c in sweep(study) if c.scheme == "g" and c.rank == 2 and c.emotion == "happy")
    table = read(paths, "cells")
    row = table[
        (table["scheme"] == "g") & (table["rank"] == 2) & (table["emotion"] == "happy")
    ].iloc[0]
    scores = read_json(paths.cell(cell) / "metrics.json")["scores"]
    for key in ("emotion_accuracy", "phone_error_rate", "mcd_db", "phone_error_rate_high"):
        assert row[key] == scores[key]
    assert row["trainable_parameters"] == 2_000 * 2 * 3
    assert row["steps"] == 300


def test_empty_means_not_applicable(study_of_tables):
    text = (study_of_tables[1].tables / "cells.csv").read_text(encoding="utf-8").splitlines()
    recording = dict(zip(text[0].split(","), text[1].split(","), strict=True))
    assert recording["method"] == "recording"
    assert recording["mcd_db"] == "" and recording["trainable_parameters"] == ""
    assert recording["emotion_accuracy"] == "1.0"


def test_scheme_table_averages_emotions_at_the_common_rank(study_of_tables):
    table = read(study_of_tables[1], "scheme_by_emotion").set_index(["method", "scheme"])
    assert list(table.index.get_level_values(0)) == [
        *("recording", "copy_synthesis", "lora", "lora", "lora", "full", "none")
    ]
    assert table.loc[("lora", "g"), "mean"] == pytest.approx(10 / 12)
    assert table.loc[("lora", "g"), "rank"] == 8
    assert table.loc[("none", "-"), "mean"] == 0
    row = table.loc[("lora", "c")]
    assert row["mean"] == pytest.approx((row["angry"] + row["happy"]) / 2)
    assert row["mean_low"] < row["mean"] < row["mean_high"]


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ([(["a", "c", "g"], [8]), (["g"], [2, 4, 8, 16])], 8),
        ([(["a", "g"], [2, 4, 8, 16, 32])], 8),
        ([(["g"], [4])], 4),
    ],
)
def test_common_rank(tmp_path, blocks, expected):
    sweep_blocks = [{"method": "lora", "schemes": s, "ranks": r} for s, r in blocks]
    study, paths = fake_study.build(
        tmp_path, fake_study.small_study(sweep=sweep_blocks), audio=False
    )
    assert load_results(study, paths).common_size("lora") == Size("rank", expected)


def test_ranks_and_methods(study_of_tables):
    ranks = read(study_of_tables[1], "rank")
    assert list(ranks["rank"]) == [2, 8] and set(ranks["scheme"]) == {"g"}
    methods = read(study_of_tables[1], "methods").set_index("method")
    assert methods.loc["lora", "scheme"] == "g"
    assert methods.loc["lora", "share_of_full"] == pytest.approx(48_000 / 1_000_000)
    assert methods.loc["lora", "chosen"].startswith("best of 3 at rank 8")


def test_costs_hold_one_row_per_scheme_and_full(study_of_tables):
    table = read(study_of_tables[1], "costs")
    assert tuple(table.columns) == COST_COLUMNS
    assert list(table["scheme"]) == ["a", "c", "g", "-"] and table["method"].iloc[-1] == "full"
    rows = table.set_index("scheme")
    g, full = rows.loc["g"], rows.loc["-"]
    assert g["sites"] == "duration, variance, decoder" and full["sites"] == "every weight"
    assert g["loss_terms"] == "duration, energy, mel, pitch, postnet"
    assert rows.loc["c", "loss_terms"] == "mel, postnet"
    assert g["ranks"] == "2, 8" and pd.isna(full["ranks"])
    assert (g["trainable_parameters_least"], g["trainable_parameters_most"]) == (12_000, 48_000)
    assert (g["n_cells"], full["n_cells"]) == (4, 2)
    # Three sites at 0.02 s a step, 300 steps in each of four cells; a step of full takes 0.1 s.
    assert g["seconds_per_step"] == pytest.approx(0.06)
    assert g["ratio_to_full"] == pytest.approx(0.6) and full["ratio_to_full"] == 1
    assert (g["steps_least"], g["steps_most"]) == (300, 300)
    assert g["train_seconds"] == pytest.approx(4 * 300 * 0.06)
    assert (g["critic_parameters"], full["not_wrapped"]) == (0, 0)
    assert g["not_wrapped_reasons"] == "6 × LayerNorm holds no map"


def test_costs_average_the_time_of_a_step_over_cells_not_over_steps(tmp_path):
    study, paths = fake_study.build(tmp_path, audio=False)
    cell = next(c for c in sweep(study) if c.scheme == "a" and c.emotion == "happy")
    file = paths.cell(cell) / "adapter" / "training.json"
    write_json(file, read_json(file) | {"steps": 100, "train_seconds": 8.0})
    row = costs_table(load_results(study, paths)).set_index("scheme").loc["a"]
    assert row["seconds_per_step"] == pytest.approx((0.02 + 0.08) / 2)
    assert row["ratio_to_full"] == pytest.approx(0.5)
    assert (row["steps_least"], row["steps_most"]) == (100, 300)
    assert row["train_seconds"] == pytest.approx(300 * 0.02 + 8.0)


def test_costs_name_the_critic_and_what_could_not_be_wrapped(tmp_path):
    study = fake_study.small_study(backbone={"name": "vits2"})
    study, paths = fake_study.build(tmp_path, study, audio=False)
    rows = costs_table(load_results(study, paths)).set_index("scheme")
    waveform, duration = (fake_study.CRITIC_PARAMETERS[j] for j in ("waveform", "duration"))
    assert rows.loc["a", "critic_parameters"] == 0
    assert rows.loc["c", "critic_parameters"] == waveform
    assert rows.loc["g", "critic_parameters"] == waveform + duration
    assert rows.loc["g", "not_wrapped"] == 9
    assert rows.loc["g", "not_wrapped_reasons"] == (
        "6 × LayerNorm holds no map; 3 × grouped convolution (groups=192): cannot be merged"
    )


def test_costs_of_one_scheme_without_full_compare_with_nothing(tmp_path):
    study = fake_study.small_study(sweep=[{"method": "lora", "schemes": ["e"], "ranks": [4]}])
    study, paths = fake_study.build(tmp_path, study, audio=False)
    for cell in sweep(study):
        file = paths.cell(cell) / "adapter" / "training.json"
        if file.is_file():
            facts = read_json(file)
            for key in ("loss_terms", "critic_parameters", "unwrappable"):
                del facts[key]
            write_json(file, facts)
    make_tables(study, paths)
    (row,) = read(paths, "costs").to_dict("records")
    assert row["scheme"] == "e" and row["seconds_per_step"] == pytest.approx(0.02)
    for column in ("ratio_to_full", "loss_terms", "critic_parameters", "not_wrapped"):
        assert pd.isna(row[column]), column


def test_making_tables_twice_gives_the_same_bytes(study_of_tables):
    study, paths = study_of_tables
    before = {f.name: f.read_bytes() for f in paths.tables.iterdir()}
    make_tables(study, paths)
    assert {f.name: f.read_bytes() for f in paths.tables.iterdir()} == before


def test_every_table_is_there_as_csv_and_latex(study_of_tables):
    names = {file.name for file in study_of_tables[1].tables.iterdir()}
    for name in TABLES:
        assert {f"{name}.csv", f"{name}.tex"} <= names


def test_latex_escapes_and_uses_booktabs(study_of_tables):
    study, _ = study_of_tables
    table = pd.DataFrame(
        {"method": ["a_b & 50% of {x} #1 $y^2~\\"], "rank": [3], "mean": [0.12345]}
    )
    text = to_latex("rank", table, study)
    assert r"a\_b \& 50\% of \{x\} \#1 \$y\textasciicircum 2\textasciitilde \textbackslash " in text
    assert r"\toprule" in text and r"\bottomrule" in text
    assert "0.12 \\\\" in text and "0.12345" not in text
    assert r"A study \& its" in text


@pytest.mark.parametrize("name", ["metrics.json", "utterances.csv", "adapter/training.json"])
def test_a_missing_file_is_named(tmp_path, name):
    study, paths = fake_study.build(tmp_path, audio=False)
    cell = next(c for c in sweep(study) if c.method == "full")
    (paths.cell(cell) / name).unlink()
    with pytest.raises(DataError, match=name) as caught:
        make_tables(study, paths)
    assert str(cell.path) in str(caught.value)
    assert not paths.tables.exists()


def test_a_score_left_out_is_an_error_but_null_is_not(tmp_path):
    study, paths = fake_study.build(tmp_path, audio=False)
    file = paths.cell(sweep(study)[0]) / "metrics.json"
    metrics = read_json(file)
    del metrics["scores"]["rate_ratio"]
    write_json(file, metrics)
    with pytest.raises(DataError, match="rate_ratio"):
        load_results(study, paths)


def test_scores_of_another_cell_are_refused(tmp_path):
    study, paths = fake_study.build(tmp_path, audio=False)
    first, second = sweep(study)[:2]
    metrics = read_json(paths.cell(second) / "metrics.json")
    write_json(paths.cell(first) / "metrics.json", metrics)
    with pytest.raises(DataError, match="another cell"):
        load_results(study, paths)


# Intervals and findings


@pytest.mark.parametrize(
    ("low", "high", "threshold", "expected"),
    [
        (0.01, 0.2, 0.0, "yes"),
        (-0.2, -0.01, 0.0, "no"),
        (-0.1, 0.1, 0.0, "unclear"),
        (-0.04, 0.1, -0.05, "yes"),
        (float("nan"), float("nan"), 0.0, "unclear"),
    ],
)
def test_verdict(low, high, threshold, expected):
    assert verdict(low, high, threshold) == expected


def results_with(
    hits: dict[tuple[str, str, int, str], list[int]], tmp_path: Path, **changes: object
) -> Results:
    """Results whose utterances hit as given: (method, scheme, rank, emotion) -> hit per sentence."""
    study, paths = fake_study.build(tmp_path, fake_study.small_study(**changes), audio=False)
    results = load_results(study, paths)
    table = results.utterances
    for (method, scheme, rank, emotion), pattern in hits.items():
        chosen = (
            (table["method"] == method)
            & (table["scheme"] == scheme)
            & (table["rank"] == rank)
            & (table["emotion"] == emotion)
        )
        assert chosen.any()
        table.loc[chosen, "score"] = [
            float(pattern[int(sentence)]) for sentence in table[chosen]["sentence"]
        ]
    return Results(study, paths, results.cells, table)


ALL, HALF, NONE = [1] * 6, [1, 0, 1, 0, 1, 0], [0] * 6


def finding(results: Results, start: str) -> pd.Series:
    table = findings_table(results)
    assert list(table.columns) == list(FINDING_COLUMNS)
    return table[table["finding"].str.startswith(start)].iloc[0]


def schemes(**patterns: list[int]) -> dict[tuple[str, str, int, str], list[int]]:
    return {("lora", s, 8, e): p for s, p in patterns.items() for e in ("angry", "happy")}


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ({"a": NONE, "c": HALF, "g": ALL}, "yes"),
        ({"a": ALL, "c": HALF, "g": NONE}, "no"),
        ({"a": NONE, "c": [0, 1, 0, 1, 0, 1], "g": HALF}, "unclear"),
    ],
)
def test_scheme_g_best(tmp_path, patterns, expected):
    row = finding(results_with(schemes(**patterns), tmp_path), "Scheme (g)")
    assert row["agrees"] == expected
    assert row["interval_low"] <= row["ours"] <= row["interval_high"]
    assert "our reading" in row["conditions"]


@pytest.mark.parametrize(
    ("angry", "happy", "expected"), [(ALL, HALF, "yes"), (NONE, ALL, "no"), (HALF, HALF, "unclear")]
)
def test_anger_easiest(tmp_path, angry, happy, expected):
    hits = {("lora", s, 8, "angry"): angry for s in "acg"}
    hits |= {("lora", s, 8, "happy"): happy for s in "acg"}
    assert finding(results_with(hits, tmp_path), "Anger")["agrees"] == expected


def test_an_emotion_the_study_lacks_is_not_tested(tmp_path):
    row = finding(results_with({}, tmp_path), "Surprise")
    assert row["agrees"] == "not tested" and pd.isna(row["ours"])


def test_surprise_hardest(tmp_path):
    hits = {("lora", s, 8, "surprised"): NONE for s in "acg"}
    hits |= {("lora", s, 8, "happy"): ALL for s in "acg"}
    results = results_with(hits, tmp_path, emotions=["surprised", "happy"])
    assert finding(results, "Surprise")["agrees"] == "yes"
    assert finding(results, "Anger")["agrees"] == "not tested"


@pytest.mark.parametrize(
    ("small", "large", "expected"),
    [(ALL, HALF, "yes"), (NONE, ALL, "no"), (HALF, ALL, "no"), (ALL, ALL, "unclear")],
)
def test_small_ranks(tmp_path, small, large, expected):
    hits = {("lora", "g", 2, e): small for e in ("angry", "happy")}
    hits |= {("lora", "g", 8, e): large for e in ("angry", "happy")}
    assert finding(results_with(hits, tmp_path), "Small ranks")["agrees"] == expected


def test_agreement_of_a_few_utterances_is_not_certainty(tmp_path):
    hits = {("lora", "g", rank, e): ALL for rank in (2, 8) for e in ("angry", "happy")}
    row = finding(results_with(hits, tmp_path), "Small ranks")
    # Rule of three: 24 utterances agree, so up to 1 - 0.025^(1/24) of others may not.
    assert row["interval_high"] == pytest.approx(1 - 0.025 ** (1 / 24))
    assert row["interval_low"] == -row["interval_high"]


def test_two_failures_do_not_keep_up_with_each_other(tmp_path):
    hits = schemes(a=NONE, c=NONE, g=NONE)
    hits |= {("full", "-", 0, e): NONE for e in ("angry", "happy")}
    row = finding(results_with(hits, tmp_path), "LoRA keeps up")
    assert row["agrees"] == "unclear" and "neither" in row["detail"]


def test_weights_are_a_count_without_an_interval(tmp_path):
    row = finding(results_with({}, tmp_path), "Adapters train far fewer")
    assert row["agrees"] == "yes" and row["ours"] == pytest.approx(0.048)
    assert pd.isna(row["interval_low"])


@pytest.mark.parametrize(
    ("a_angry", "c_angry", "a_happy", "c_happy", "expected"),
    [
        (ALL, NONE, NONE, ALL, "yes"),
        (ALL, NONE, ALL, NONE, "no"),
        (HALF, [0, 1, 0, 1, 0, 0], [0, 1, 0, 1, 0, 0], HALF, "unclear"),
    ],
)
def test_best_place_differs(tmp_path, a_angry, c_angry, a_happy, c_happy, expected):
    hits = {
        ("lora", "a", 8, "angry"): a_angry,
        ("lora", "c", 8, "angry"): c_angry,
        ("lora", "a", 8, "happy"): a_happy,
        ("lora", "c", 8, "happy"): c_happy,
        ("lora", "g", 8, "angry"): NONE,
        ("lora", "g", 8, "happy"): NONE,
    }
    assert finding(results_with(hits, tmp_path), "The best place")["agrees"] == expected


def test_no_source_claims_more_than_could_be_read(tmp_path):
    table = findings_table(results_with({}, tmp_path))
    assert table["source"].str.contains("2408.10852").all()
    assert set(table["agrees"]) <= {"yes", "no", "unclear", "not tested"}


def test_interval_matches_the_binomial_of_independent_sentences(tmp_path):
    results = results_with(schemes(g=HALF), tmp_path, evaluation={"bootstrap_samples": 4000})
    bootstrap = Bootstrap(results)
    draws = bootstrap.draws(System("lora", "g", 8), "angry")
    # Six sentences, half of them hit: standard error sqrt(p (1 - p) / 6).
    assert draws.std() == pytest.approx(np.sqrt(0.25 / 6), rel=0.05)
    assert bootstrap.point(System("lora", "g", 8), "angry") == 0.5


def test_differences_are_paired(tmp_path):
    same = [1, 0, 1, 1, 0, 1]
    bootstrap = Bootstrap(results_with(schemes(a=same, g=same), tmp_path))
    difference = bootstrap.mean_draws(System("lora", "a", 8)) - bootstrap.mean_draws(
        System("lora", "g", 8)
    )
    assert np.abs(difference).max() == 0


def test_seeds_widen_the_interval(tmp_path):
    study = fake_study.small_study(seeds=[1, 2])

    def by_seed(cell: Cell) -> float:
        return 1.0 if cell.seed == "1" or not cell.trained else 0.0

    study, paths = fake_study.build(tmp_path, study, by_seed, audio=False)
    bootstrap = Bootstrap(load_results(study, paths))
    low, high = bootstrap.interval(bootstrap.mean_draws(System("lora", "g", 8)))
    assert (low, high) == (0.0, 1.0)
    assert bootstrap.mean_point(System("lora", "g", 8)) == 0.5
    assert "2 seeds" in bootstrap.conditions()


def test_few_sentences_resample_sentences_by_speaker(tmp_path):
    results = results_with({}, tmp_path)
    few = results.utterances[results.utterances["sentence"].astype(int) < 2]
    bootstrap = Bootstrap(Results(results.study, results.paths, results.cells, few))
    assert bootstrap.unit == "sentence by speaker" and bootstrap.n_units == 4


def test_one_unit_gives_no_interval(tmp_path):
    results = results_with({}, tmp_path)
    one = results.utterances[
        (results.utterances["sentence"].astype(int) == 0)
        & (results.utterances["speaker"] == fake_study.SPEAKERS[0])
    ]
    bootstrap = Bootstrap(Results(results.study, results.paths, results.cells, one))
    low, high = bootstrap.interval(bootstrap.mean_draws(System("lora", "g", 8)))
    assert np.isnan(low) and np.isnan(high)
