"""Tables of a study that adapts to voices: speaker similarity counts, and nothing is said of emotions."""

from __future__ import annotations

from pathlib import Path

import fake_study
import pandas as pd
import pytest

from eele.cells import Cell, sweep
from eele.io import read_json, write_json
from eele.paths import StudyPaths
from eele.reporting.bootstrap import Bootstrap
from eele.reporting.collect import Results, System, load_results
from eele.reporting.comparisons import comparisons_table, front
from eele.reporting.figures_cost import references, score_axis
from eele.reporting.findings import NOT_TESTED, findings_table
from eele.reporting.markup import heat
from eele.reporting.page_tables import scheme_table
from eele.reporting.tables import methods_table, scheme_by_emotion, to_latex
from eele.reporting.tasks import TASK_COLUMNS, synthesis_rows, tasks_html, tasks_table

SIMILARITY = {
    **{"recording": 0.9, "copy_synthesis": 0.85, "none": 0.1, "voice": 0.5, "full": 0.8},
    **{"a": 0.4, "c": 0.6, "g": 0.7},
}
WEIGHTS = {"voice": 96}


def similarity(cell: Cell) -> float:
    return SIMILARITY.get(cell.method, SIMILARITY.get(cell.scheme, 0.0))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    study = fake_study.small_study(
        pretraining={"leave_out": ["demo_bert"]},
        sweep=[
            {"method": "lora", "schemes": ["a", "c", "g"], "ranks": [8]},
            {"method": "voice"},
            {"method": "full"},
        ],
    )
    _, paths = fake_study.build(tmp_path_factory.mktemp("voices"), study, audio=False)
    for cell in sweep(study):
        _score(cell, paths)
    return load_results(study, paths)


def _score(cell: Cell, paths: StudyPaths) -> None:
    """Write the cell's similarity into its files; sentences differ, alike in all cells."""
    folder = paths.cell(cell)
    table = pd.read_csv(folder / "utterances.csv")
    table["speaker_similarity"] = similarity(cell) + 0.01 * (table["sentence"] - 2.5)
    table.to_csv(folder / "utterances.csv", index=False)
    metrics = read_json(folder / "metrics.json")
    metrics["scores"]["speaker_similarity"] = float(table["speaker_similarity"].mean())
    write_json(folder / "metrics.json", metrics)
    if cell.method in WEIGHTS:
        file = folder / "adapter" / "training.json"
        write_json(file, read_json(file) | {"trainable_parameters": WEIGHTS[cell.method]})


def test_systems_are_put_in_order_by_similarity(results: Results) -> None:
    assert set(results.cells["emotion"]) == {"neutral"}
    assert results.goal.score == "speaker_similarity"
    assert results.best_scheme() == System("lora", "g", 8)
    bootstrap = Bootstrap(results)
    system = System("lora", "c", 8)
    assert bootstrap.point(system, "neutral") == pytest.approx(0.6)
    low, high = bootstrap.interval(bootstrap.mean_draws(system))
    assert 0.57 < low < 0.6 < high < 0.63
    table = scheme_by_emotion(results, bootstrap).set_index("method")
    assert table.loc["voice", "mean"] == pytest.approx(0.5)
    assert table.loc["voice", "sites"] == "speaker table"
    methods = methods_table(results, bootstrap).set_index("method")
    assert methods.loc["lora", "scheme"] == "g"
    assert methods.loc["lora", "speaker_similarity_low"] < 0.7
    # Every neutral utterance of the fake is heard as neutral; of that there is no interval.
    assert methods.loc["none", "emotion_accuracy"] == 1.0
    assert "emotion_accuracy_low" not in methods


def test_what_beats_the_voice_vector_alone_is_on_the_front(results: Results) -> None:
    assert [system.scheme for system in front(results)] == ["c", "g"]
    table = comparisons_table(results, Bootstrap(results))
    rows = table[table["family"] == "baseline"].set_index("than")
    assert list(rows.index) == [
        "neutral model",
        "voice vector alone",
        "full fine-tuning",
        "recording",
    ]
    assert rows["difference"].tolist() == pytest.approx([0.6, 0.2, -0.1, -0.2])
    # Sentences differ alike on both sides: the paired difference has no spread.
    assert rows.loc["voice vector alone", "low"] == pytest.approx(0.2)
    assert rows.loc["voice vector alone", "larger"] == "yes"
    assert rows.loc["voice vector alone", "weights_than"] == 96


def test_one_score_is_shown_once_on_the_page(results: Results) -> None:
    bootstrap = Bootstrap(results)
    shown = scheme_table(results, scheme_by_emotion(results, bootstrap))
    labels = [heading.label for heading in shown.headings]
    assert labels[-4:] == ["speaker similarity", "interval", "weights trained", "scored"]
    assert [len(row) for row in shown.rows] == [len(labels)] * len(shown.rows)
    assert (results.mean_of, results.mean_name) == ((), "speaker similarity")


def test_the_scale_begins_below_what_was_adapted_and_names_the_neutral_model(
    results: Results,
) -> None:
    import matplotlib.pyplot as plt

    assert 0.1 < results.scale_from < 0.4  # `none` and the worst scheme
    figure, axes = plt.subplots()
    score_axis(axes, results)
    references(axes, results, {"none": "neutral", "full": "full"})
    assert [text.get_text() for text in axes.texts] == ["full", "neutral\n0.10 ↓"]
    assert [line.get_ydata()[0] for line in axes.lines] == pytest.approx([0.8])
    assert axes.get_ylim()[0] < results.scale_from
    plt.close(figure)
    table = scheme_table(results, scheme_by_emotion(results, Bootstrap(results)))
    shades = {row[2].text: row[2].shade for row in table.rows}
    assert (
        shades["0.10"] == "#f7fbff"
        and shades["0.40"] == heat(0.4, lowest=results.scale_from).shade != heat(0.4).shade
    )


def test_the_papers_outcomes_about_emotions_are_not_tested(results: Results) -> None:
    table = findings_table(results)
    assert set(table["agrees"]) == {NOT_TESTED} and table["ours"].isna().all()
    assert set(table["conditions"]) == {"the study adapts to voices, not to emotions"}


def test_tasks_have_score_weights_and_share(results: Results) -> None:
    table = tasks_table(synthesis_rows(results, Bootstrap(results)))
    assert tuple(table.columns) == TASK_COLUMNS
    assert set(table["task"]) == {"speech synthesis in new voices"}
    assert set(table["corpus"]) == {"demo"} and set(table["score"]) == {"speaker_similarity"}
    row = table.set_index(["method", "sites"]).loc[("lora", "text_encoder")]
    assert (row["size"], row["value"]) == (8, pytest.approx(0.4))
    assert row["low"] < row["value"] < row["high"] and row["n_scored"] == row["n_total"] > 0
    # The neutral model of the fake has a million weights.
    assert row["share_percent"] == pytest.approx(1.6) and row["trainable_parameters"] == 16_000
    voice = table[table["method"] == "voice"].iloc[0]
    assert (voice["sites"], voice["share_percent"]) == ("-", pytest.approx(0.0096))
    assert table[table["method"] == "recording"]["share_percent"].isna().all()
    shown = tasks_html(table)
    assert [len(r) for r in shown.rows] == [len(shown.headings)] * len(table)
    text = to_latex("tasks", table, results.study)
    assert "share percent" in text and "speaker\\_similarity" in text


def test_a_study_of_emotions_has_the_same_table(tmp_path: Path) -> None:
    study, paths = fake_study.build(tmp_path, audio=False)
    found = load_results(study, paths)
    assert found.scale_from == 0
    table = tasks_table(synthesis_rows(found, Bootstrap(found)))
    assert tuple(table.columns) == TASK_COLUMNS
    assert set(table["task"]) == {"emotional speech synthesis"}
    row = table[table["method"] == "full"].iloc[0]
    assert (row["score"], row["value"]) == ("emotion_accuracy", pytest.approx(0.75))
    assert row["share_percent"] == pytest.approx(100)
