"""Figures and the page: complete, offline, escaped, playable, sortable."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

sys.path.insert(0, str(Path(__file__).parent))
import fake_study

from eele.cells import sweep
from eele.errors import DataError
from eele.reporting import make_figures, make_page, make_tables, style
from eele.reporting.collect import load_results
from eele.reporting.figures import figure_names
from eele.reporting.figures_curves import (
    Curve,
    averaged,
    curves_of,
    draw_panels,
    last_values,
    shown_terms,
)
from eele.reporting.markup import duration_text, heat, number
from eele.reporting.page_conditions import data_and_conditions
from eele.reporting.page_costs import costs_html, not_wrapped
from eele.reporting.players import listening_grid
from eele.reporting.quality import stage_table
from eele.reporting.tables import COST_COLUMNS


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    study, paths = fake_study.build(tmp_path_factory.mktemp("page"))
    folder = paths.benchmarks / "train_cell"
    folder.mkdir(parents=True)
    header = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    for index, seconds in enumerate((100.0, 50.0)):
        (folder / f"{index}.tsv").write_text(
            f"{header}{seconds}\t0:01:00\t900.5\t1\t1\t1\t0\t0\t99\t1.0\n"
        )
    make_tables(study, paths)
    make_figures(study, paths)
    make_page(study, paths)
    return study, paths


class Page(HTMLParser):
    """What a browser would load, and what a reader meets."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        return [
            attributes
            for name, attributes in self.tags
            if name == tag and all(attributes.get(k) == v for k, v in wanted.items())
        ]


@pytest.fixture(scope="module")
def text(finished) -> str:
    return finished[1].report.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def test_every_figure_is_drawn_as_svg_and_png(finished):
    study, paths = finished
    names = [*figure_names(study), *(f"mel_pitch_{emotion}" for emotion in study.emotions)]
    for name in names:
        svg = (paths.figures / f"{name}.svg").read_text(encoding="utf-8")
        assert svg.startswith("<?xml") and "<text" in svg, name
        assert (paths.figures / f"{name}.png").read_bytes().startswith(b"\x89PNG"), name
    assert {f.stem for f in paths.figures.iterdir()} == set(names)


def test_heat_map_shows_the_numbers_of_the_table(finished):
    svg = (finished[1].figures / "scheme_by_emotion.svg").read_text(encoding="utf-8")
    assert "0.83" in svg and "duration and acoustic" in svg and "neutral model" in svg


def test_page_loads_nothing_from_outside(page, text):
    for tag, attributes in page.tags:
        for key in ("src", "srcset", "data", "poster", "action"):
            assert attributes.get(key, "data:").startswith("data:"), (tag, attributes)
        if tag != "a":
            assert attributes.get("href", "data:").startswith("data:"), (tag, attributes)
    assert "@import" not in text and not re.search(r"url\((?!['\"]?data:)", text)
    assert not page.all("iframe") and not re.search(r"\b(fetch|XMLHttpRequest|import)\(", text)


def test_anchors_point_to_sections_that_exist(page):
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    for anchor in page.all("a"):
        if anchor["href"].startswith("#"):
            assert anchor["href"][1:] in ids
    assert len(ids) == len([1 for _, a in page.tags if "id" in a]), "ids are unique"


def test_titles_and_sentences_are_escaped(text):
    assert "A study &amp; its &lt;title&gt;" in text
    assert "its <title>" not in text.replace("<title>A study", "")


def test_every_system_has_players(finished, page, text):
    study, _ = finished
    played = {button["data-clip"] for button in page.all("button", **{"class": "play"})}
    systems = {clip.split("/")[1] for clip in played}
    assert systems == {
        *("recording", "copy_synthesis", "none", "full"),
        *("lora-a-8", "lora-c-8", "lora-g-8", "lora-g-2"),
    }
    for emotion in study.emotions:
        sentences = {clip.split("/")[0] for clip in played if f"_{emotion}_" in clip}
        assert len(sentences) >= 3
        assert {s.rsplit(f"_{emotion}_")[0] for s in sentences} == set(fake_study.SPEAKERS)
    stored = json.loads(
        re.search(r'<script type="application/json" id="speech-data">(.*?)</script>', text)[1]
    )
    assert played == set(stored["audio"])
    assert page.all("audio", id="player")


def test_a_clip_is_the_speech_it_names(finished, text):
    _, paths = finished
    stored = json.loads(
        re.search(r'<script type="application/json" id="speech-data">(.*?)</script>', text)[1]
    )
    key = "demo_anna_angry_00/recording"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(stored["audio"][key])))
    original, original_rate = soundfile.read(
        paths.root / "cells/backbone~-/method~recording/scheme~-/rank~0/emotion~angry/seed~-/speech"
        "/demo_anna_angry_00.wav"
    )
    assert stored["mime"] == "audio/mpeg" and rate == original_rate
    assert len(samples) == pytest.approx(len(original), abs=0.1 * rate)
    # The same loudness and the same pitch: the strongest line of the spectrum.
    assert np.std(samples) * np.sqrt(len(samples)) == pytest.approx(
        np.std(original) * np.sqrt(len(original)), rel=0.1
    )
    peak = [
        np.argmax(np.abs(np.fft.rfft(x, 1 << 15))) * rate / (1 << 15) for x in (samples, original)
    ]
    assert peak[0] == pytest.approx(peak[1], rel=0.05)


def test_budget_limits_sentences_but_never_below_three(finished):
    study, paths = finished
    results = load_results(study, paths)
    few = listening_grid(results, budget=1)
    assert len(few.rows) == 3 * len(study.emotions)
    assert few.available == 12 * len(study.emotions)
    assert len(listening_grid(results).rows) == few.available


def test_tables_carry_sort_keys_and_buttons(page):
    for name in (
        "schemes",
        "ranks",
        "methods",
        "costs",
        "not-wrapped",
        "findings",
        "cells",
        "corpora",
        "rejected",
        "stages",
    ):
        assert page.all("table", id=f"table-{name}"), name
    headings = [a for a in page.all("th", scope="col") if "aria-sort" in a]
    assert len(headings) > 40 and {a["aria-sort"] for a in headings} == {"none"}
    cells = [a for tag, a in page.tags if tag == "td" and "num" in a.get("class", "").split()]
    for cell in cells:
        if cell["data-sort"]:
            float(cell["data-sort"])


def test_pictures_have_words(page):
    pictures = page.all("img")
    assert len(pictures) == 5 + 2
    assert all(len(picture["alt"]) > 30 for picture in pictures)


def test_page_names_failures_conditions_and_limits(text):
    for words in (
        "score too low for its text",
        "no transcript",
        "CC0-1.0",
        "our reading",
        "normalised per file",
        "One seed",
        "against the true phone times: median",
        "41.5 × real time",
        "config hash",
        "lora_alpha_per_rank",
        "LoRA 0.003; full fine-tuning 0.0005",
    ):
        assert words in text, words


def limits_of(tmp_path: Path, **changes: object) -> tuple[str, str, str]:
    """The page's limits, its word on the backbone, and the titles of its reports."""
    study = fake_study.small_study(**changes)
    sections = data_and_conditions(load_results(*fake_study.build(tmp_path, study, audio=False)))
    titles = ", ".join(block["title"] for block in sections["reports"])
    return " ".join(sections["limits"]), dict(sections["conditions"])["backbone"], titles


def test_a_backbone_that_ends_at_the_mel_names_its_vocoder(tmp_path):
    limits, backbone, titles = limits_of(tmp_path)
    assert backbone == "fastspeech2, vocoder griffin lim" and "Griffin-Lim" in limits
    assert "posterior" not in limits and "iscriminators" not in limits
    assert titles.endswith("Neutral model")


def test_vits2_names_no_vocoder_and_says_what_trains_beside_a_cell(tmp_path):
    limits, backbone, titles = limits_of(tmp_path, backbone={"name": "vits2"})
    assert backbone == "vits2, which makes the waveform itself" and "Griffin" not in limits
    for said in (
        "every adapter trains with it frozen, full fine-tuning tunes it",
        "reach the waveform or the durations, discriminators go on from pre-training",
        "no part of the adapter",
        "VITS updates the discriminators first",
        "posterior encoder followed by its decoder",
    ):
        assert said in limits, said
    assert titles.endswith("Neutral model")


def test_vits2_says_nothing_of_what_its_study_lacks(tmp_path):
    limits, _, _ = limits_of(
        tmp_path,
        backbone={"name": "vits2", "vits2": {"duration_predictor": "flow"}},
        sweep=[{"method": "lora", "schemes": ["g"], "ranks": [8]}],
    )
    assert "full fine-tuning" not in limits and "or the durations" not in limits


def test_a_vocoder_of_the_study_has_its_curves_and_its_report(tmp_path):
    study = fake_study.small_study(synthesis={"vocoder": "hifigan"})
    assert "vocoder_curves" in figure_names(study)
    assert "vocoder_curves" not in figure_names(fake_study.small_study())
    study, paths = fake_study.build(tmp_path, study, audio=False)
    results = load_results(study, paths)
    assert shown_terms(curves_of(results, "vocoder_curves")) == [
        *("loss", "mel", "adversarial", "features", "critic")
    ]
    assert data_and_conditions(results)["reports"][-1]["title"] == "Vocoder"


def test_every_loss_term_of_a_run_has_an_axis_of_its_own(tmp_path):
    study = fake_study.small_study(backbone={"name": "vits2"})
    results = load_results(*fake_study.build(tmp_path, study, audio=False))
    curves = curves_of(results, "pretraining_curves")
    assert shown_terms(curves) == [
        *("loss", "mel", "kl", "duration", "adversarial", "features"),
        *("duration_adversarial", "critic", "duration_critic"),
    ]
    stored = pd.read_csv(results.paths.neutral / "curves.csv")
    held_out = stored[stored["split"] == "validation"]["mel"]
    with style.drawing() as plt:
        panels = {axes.get_title(loc="left"): axes for axes in draw_panels(plt, curves).axes}
    training, validation = panels["mel"].lines
    assert list(validation.get_ydata()) == list(held_out)
    assert len(training.get_ydata()) == 2 * len(held_out)
    assert len(panels["discriminators"].lines) == 1
    assert f"mel {held_out.iloc[-1]:.3g}" in last_values(curves)


def test_a_long_run_is_averaged_over_neighbouring_steps():
    rows = pd.DataFrame({"step": np.arange(600.0), "mel": np.tile([0.0, 1.0, 2.0, 5.0], 150)})
    drawn = averaged(rows)
    assert len(drawn) == 150 and (drawn["mel"] == 2.0).all()
    assert list(drawn["step"][:2]) == [1.5, 5.5]
    assert averaged(rows[:150]).equals(rows[:150])


def test_cells_show_the_terms_they_can_lower(tmp_path):
    study = fake_study.small_study(sweep=[{"method": "lora", "schemes": ["c"], "ranks": [8]}])
    results = load_results(*fake_study.build(tmp_path, study, audio=False))
    curves = curves_of(results, "training_curves")
    assert [curve.label for curve in curves] == ["angry", "happy"]
    assert shown_terms(curves) == ["loss", "mel", "postnet"]


def test_a_run_without_curves_is_an_empty_figure():
    rows = pd.DataFrame(columns=["step", "split", "loss"])
    with style.drawing() as plt:
        figure = draw_panels(plt, [Curve("training", "black", rows)])
    assert [text.get_text() for text in figure.axes[0].texts] == ["no curves"]
    assert last_values([Curve("training", "black", rows)]) == ""


def test_a_loss_that_falls_far_is_drawn_on_a_log_scale():
    rows = pd.DataFrame({"step": [1, 2], "kl": [300.0, 2.0], "duration": [-3.0, 400.0]})
    with style.drawing() as plt:
        scales = {
            axes.get_title(loc="left"): axes.get_yscale()
            for axes in draw_panels(plt, [Curve("training", "black", rows)]).axes
            if axes.get_title(loc="left")
        }
    assert scales == {"divergence (log scale)": "log", "duration": "linear"}


def test_costs_are_shown_with_their_units_and_dashes():
    row = dict.fromkeys(COST_COLUMNS) | {
        **{"method": "lora", "scheme": "e", "caption": "duration", "sites": "duration"},
        **{"loss_terms": "duration_adversarial, duration", "critic_parameters": 395_777},
        **{"trainable_parameters_least": 2_000, "trainable_parameters_most": 16_000},
        **{"n_cells": 4, "seconds_per_step": 0.0213, "ratio_to_full": float("nan")},
        **{"steps_least": 300, "steps_most": 300, "train_seconds": 25.6, "not_wrapped": 0},
    }
    table = pd.DataFrame([row])
    shown = costs_html(table)
    assert [cell.text for cell in shown.rows[0]] == [
        *("(e) duration", "0.021 s", "–", "4", "300", "26 s"),
        *("2\u202f000 to 16\u202f000", "395\u202f777", "duration, adversarial duration"),
    ]
    assert len(shown.headings) == len(shown.rows[0])
    assert not_wrapped(table) is None
    left = not_wrapped(table.assign(not_wrapped=2, not_wrapped_reasons="2 × of no use"))
    assert left and [c.text for c in left.rows[0]] == ["(e) duration", "2", "2 × of no use"]


def test_page_is_refused_without_its_figures(tmp_path):
    study, paths = fake_study.build(tmp_path, audio=False)
    make_tables(study, paths)
    with pytest.raises(DataError, match=r"figures.*svg"):
        make_page(study, paths)
    assert not paths.report.exists()


def test_a_listed_clip_that_is_gone_is_an_error(tmp_path):
    study, paths = fake_study.build(tmp_path)
    cell = next(c for c in sweep(study) if c.method == "full")
    next((paths.cell(cell) / "speech").glob("*_00.wav")).unlink()
    with pytest.raises(DataError, match=r"_00\.wav is missing"):
        listening_grid(load_results(study, paths))


def test_stage_table_orders_by_cost():
    table = stage_table(
        {
            "align": {"jobs": 1, "wall_s": 20.0, "longest_wall_s": 20.0, "peak_memory_mb": 512.0},
            "train_cell": {"jobs": 2, "wall_s": 150.0, "longest_wall_s": 100.0, "cpu_s": 360.0},
        },
        gpus={"train_cell": 2, "pretrain": 2},
    )
    assert [row[0].text for row in table.rows] == ["train cell", "align"]
    assert [cell.text for cell in table.rows[0]] == [
        "train cell",
        "2",
        "2 min",
        "2 min",
        "0.100",
        "0.083",
        "–",
    ]
    assert [cell.text for cell in table.rows[1][4:]] == ["–", "–", "512 MB"]


def test_numbers_sort_by_value_and_empty_cells_by_nothing():
    assert number(1234567, 0).text == "1\u202f234\u202f567"
    assert number(-0.5).text == "−0.50" and float(number(-0.5).sort) == -0.5
    assert number(float("nan")).sort == "" and number(None).text == "–"
    assert duration_text(59) == "59 s" and duration_text(3900) == "1 h 05 min"


@pytest.mark.parametrize("value", np.linspace(0, 1, 21))
def test_heat_map_ink_has_contrast(value):
    cell = heat(float(value))

    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(cell.shade), luminance(cell.ink)))
    assert (high + 0.05) / (low + 0.05) >= 4.5


@pytest.mark.parametrize(
    "name",
    [
        "alignment/alignment.csv",
        "rejected.csv",
        "alignment/summary.json",
        "corpora/demo/source.json",
    ],
)
def test_a_section_without_its_file_is_an_error_not_an_empty_section(tmp_path, name):
    study, paths = fake_study.build(tmp_path, audio=False)
    results = load_results(study, paths)
    (paths.root / name).unlink()
    with pytest.raises(DataError, match=name):
        data_and_conditions(results)
