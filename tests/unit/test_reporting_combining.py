"""Adapters plugged together in tables, figures and words, from points that are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import fake_study
import numpy as np
import pandas as pd
import pytest

from eele.combining import mixtures
from eele.combining.mixtures import NEUTRAL
from eele.combining.summary import point_columns
from eele.config import StudyConfig
from eele.errors import DataError
from eele.paths import StudyPaths
from eele.reporting import make_figures, make_page, make_tables
from eele.reporting.collect import load_results
from eele.reporting.combining import (
    F0,
    MIXTURE_COLUMNS,
    RATE,
    combining_table,
    course,
    movement,
    points_of,
)

JUDGES = ("statistics", "half")
COMBINING = {
    "strong": {"cells": ["lora/g/8/happy"], "intensities": [0, 0.5, 1]},
    "line": {"cells": ["lora/g/8/happy", "bottleneck/c/4/angry"], "points": 3},
}


def combined_study() -> StudyConfig:
    return fake_study.small_study(
        combining=COMBINING,
        sweep=[{"method": "lora", "schemes": ["g"], "ranks": [8]}],
        evaluation={
            "bootstrap_samples": 50,
            "judges": JUDGES,
            "encoder_judges": {"half": {}},
        },
    )


def write_points(study: StudyConfig, paths: StudyPaths) -> None:
    for mixture in mixtures(study).values():
        rows = []
        for point in [None, *mixture.points]:
            for judge in JUDGES:
                at = 0.0 if point is None or point.at is None else point.at
                row: dict[str, object] = {
                    "point": NEUTRAL if point is None else point.name,
                    "at": None if point is None else at,
                    "weights": "" if point is None else " ".join(map(str, point.weights)),
                    "judge": judge,
                    "n": 11,
                    "same_as_neutral": 12 if at == 0 else 0,
                    "n_scored": 11,
                    "n_total": 12,
                }
                values = {
                    "accuracy": 0.5,
                    "probability_happy": at,
                    "probability_angry": 0.1,
                    "f0_mean_shift_st": 2 * at,
                    "rate_ratio": 1 + at / 10,
                }
                if mixture.name == "strong":  # the other as in a study of one speaker
                    values |= {"speaker_similarity": 0.9 - at / 4}
                if at > 0:
                    values |= {"f0_mean_step_st": 1.0, "rate_step": 1.05}
                    values |= {"speaker_similarity_step": -0.125}
                for name, value in values.items():
                    row |= {name: value, f"{name}_low": value - 0.02, f"{name}_high": value + 0.02}
                rows.append(row)
        paths.combining(mixture.name).mkdir(parents=True)
        table = pd.DataFrame(rows, columns=list(point_columns(study)))
        table.to_csv(paths.combining(mixture.name) / "points.csv", index=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyConfig, StudyPaths]:
    study, paths = fake_study.build(tmp_path_factory.mktemp("combined"), combined_study())
    with pytest.raises(DataError, match=r"points\.csv is missing"):
        combining_table(study, paths)
    write_points(study, paths)
    make_tables(study, paths)
    make_figures(study, paths)
    make_page(study, paths)
    return study, paths


def test_the_table_holds_every_point_and_judge(
    finished: tuple[StudyConfig, StudyPaths],
) -> None:
    study, paths = finished
    table = pd.read_csv(paths.tables / "combining.csv")
    assert tuple(table.columns) == (*MIXTURE_COLUMNS, *point_columns(study))
    assert len(table) == 2 * 4 * len(JUDGES)
    assert set(table["cells"]) == {
        "lora/g/8/happy/1",
        "lora/g/8/happy/1; bottleneck/c/4/angry/1",
    }
    assert "lora/g" not in (paths.tables / "combining.tex").read_text(encoding="utf-8")
    rows = points_of(load_results(study, paths), mixtures(study)["strong"])
    assert rows["weights"].fillna("").tolist() == [
        w for w in ("", "0.0", "0.5", "1.0") for _ in "ab"
    ]


def test_the_page_has_figure_words_and_table(finished: tuple[StudyConfig, StudyPaths]) -> None:
    _, paths = finished
    for name in COMBINING:
        assert (paths.figures / f"combining_{name}.svg").stat().st_size > 1000
        assert (paths.figures / f"combining_{name}.png").is_file()
    page = paths.report.read_text(encoding="utf-8")
    assert "<h3>What does mixing adapters do?</h3>" in page
    assert "Intensity of LoRA g · rank 8, happy" in page
    assert "From LoRA g · rank 8, happy to bottleneck c · size 4, angry" in page
    assert 'id="table-combining-line"' in page and 'id="table-combining-strong"' in page
    assert "F0 mean rises monotonically, at every step by more than its interval." in page
    assert "At weight 0 12 of 12 files are the neutral model’s, bit for bit." in page
    assert "4 utterances could not be measured in full" in page
    drawn = (paths.figures / "combining_strong.svg").read_text(encoding="utf-8")
    for text in ("heard by statistics", "heard by half", "Speaking rate", "angry", "neutral"):
        assert text in drawn
    # Said of one mixture: in its sentences and as its figure's alternative.
    assert "Speaker similarity" in drawn and page.count("Speaker similarity falls") == 2
    other = (paths.figures / "combining_line.svg").read_text(encoding="utf-8")
    assert "Speaking rate" in other and "Speaker similarity" not in other


def test_a_study_that_combines_nothing_has_an_empty_table_and_no_section(tmp_path: Path) -> None:
    study = fake_study.small_study()
    table = combining_table(study, StudyPaths(tmp_path))
    assert table.empty and tuple(table.columns) == (*MIXTURE_COLUMNS, *point_columns(study))


def points(what: str, values: Sequence[float], spread: float) -> pd.DataFrame:
    """Points 0, 1, 2, ... whose steps have these values and intervals of this half width."""
    steps = np.array([np.nan, *values])
    return pd.DataFrame(
        {
            "at": np.arange(len(steps), dtype=float),
            what: steps,
            f"{what}_low": steps - spread,
            f"{what}_high": steps + spread,
        }
    )


@pytest.mark.parametrize(
    ("steps", "spread", "said"),
    [
        ([1, 2], 0.5, "F0 mean rises monotonically, at every step by more than its interval."),
        ([-1, -2], 0.5, "F0 mean falls monotonically, at every step by more than its interval."),
        (
            [1, 0.2],
            0.5,
            "F0 mean rises monotonically; not told from no movement by its interval from 1 to 2 "
            "(+0.20, −0.30 to 0.70).",
        ),
        (
            [2, -0.2],
            0.5,
            "F0 mean rises on the whole; it falls from 1 to 2 (−0.20, −0.70 to 0.30), which its interval does "
            "not tell from no movement.",
        ),
        (
            [-0.2, 4, -2],
            0.5,
            "F0 mean does not move monotonically: it rises on the whole, but falls by more than its interval "
            "from 2 to 3 (−2.00, −2.50 to −1.50).",
        ),
        ([0, 0], 0.0, "F0 mean does not move."),
        ([1, np.nan], 0.5, "F0 mean could not be measured at every point."),
        ([1, 2], np.nan, "not told from no movement by its interval from 0 to 1 (+1.00), from 1"),
    ],
)
def test_whether_f0_moves_monotonically_and_where_not(
    steps: list[float], spread: float, said: str
) -> None:
    assert said in movement(F0, points(F0.step, steps, spread))


def test_the_rate_moves_by_ratios() -> None:
    said = movement(RATE, points(RATE.step, [0.8, 1.1], 0.05))
    assert "falls on the whole, but rises by more than its interval from 1 to 2 (1.10, " in said
    # 1.5 and 0.7 multiply to more than one, 1.4 and 0.7 to less: their sums say otherwise.
    assert "rises on the whole" in movement(RATE, points(RATE.step, [1.5, 0.7], 0.01))
    assert "falls on the whole" in movement(RATE, points(RATE.step, [1.4, 0.7], 0.01))


def test_the_course_of_a_probability_names_its_peak() -> None:
    frame = pd.DataFrame({"at": [0, 1, 2], "probability_sad": [0.1, 0.9, 0.4]})
    frame = frame.assign(probability_sad_low=np.nan, probability_sad_high=np.nan)
    assert course(frame, "sad") == "probability of sad 0.10 at 0 to 0.40 at 2, at most 0.90 at 1"
    unheard = frame.assign(probability_sad=np.nan)
    assert course(unheard, "sad") == "no probability of sad"
