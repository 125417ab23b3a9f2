"""The smoke study with two judges, three methods and two mixtures, run through the real Snakefile to its tables and page."""

import csv
import json
import subprocess
import sys

import pytest
from running import HERE, ROOT, SMOKE, run

from eele.cells import sweep
from eele.config import load_study

pytestmark = pytest.mark.workflow

JUDGES = ("statistics", "ear")


def ask(folder, *arguments, config=(), **options):
    return run(
        *arguments, "--cores", "2", "--quiet", "rules", "--snakefile", ROOT / "Snakefile",
        "--configfile", SMOKE, HERE / "tiny_judges.yaml", *(["--config", *config] if config else []),
        cwd=folder, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(heard):
    folder = heard("judges")
    done = ask(folder, timeout=1500, check=True)
    # What the first judge is does not depend on there being a second one.
    assert done.jobs["train_judge"] == done.jobs["prepare_encoder"] == 1
    return folder


@pytest.fixture(scope="module")
def study(folder):
    return folder / "results" / "smoke"


def table(study, name):
    with open(study / "tables" / f"{name}.csv", encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_every_cell_is_heard_by_both_judges(study):
    cells = sweep(load_study(study / "config.resolved.yaml"))
    for cell in cells:
        metrics = json.loads((study / "cells" / cell.path / "metrics.json").read_text("utf-8"))
        assert set(metrics["judges"]) == set(JUDGES)
        assert metrics["judges"]["statistics"]["accuracy"] == metrics["scores"]["emotion_accuracy"]
        assert all(metrics["judges"][judge]["n"] == 6 for judge in JUDGES)
        with open(study / "cells" / cell.path / "utterances.csv", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
        heard = [row["predicted_ear"] for row in rows]
        assert {e: heard.count(e) for e in ("neutral", "happy")} == (
            metrics["judges"]["ear"]["predictions"]
        )
        assert all(0 <= float(row["probability_ear"]) <= 1 for row in rows)
    rows = table(study, "judges")
    assert len(rows) == len(JUDGES) * len(cells)
    assert all(row["recording_accuracy"] for row in rows)


def test_the_agreement_of_the_judges_is_in_the_tables_and_on_the_page(study):
    rows = table(study, "agreement")
    found = {(row["measure"], row["speech"]) for row in rows}
    for speech in ("recording", "copy_synthesis", "synthetic"):
        assert {("equal_decisions", speech), ("cohen_kappa", speech)} <= found
    (ranking,) = [row for row in rows if row["measure"] == "scheme_rank_correlation"]
    assert ranking["n"] == "3" and ranking["detail"]
    page = (study / "report" / "index.html").read_text(encoding="utf-8")
    assert 'id="table-agreement"' in page and 'id="table-judge-schemes"' in page
    assert ranking["detail"] in page and "Judge: ear" in page


def test_a_judge_says_what_it_and_its_encoder_heard(study):
    with open(study / "manifest.csv", encoding="utf-8", newline="") as handle:
        split = {row["utterance_id"]: row["split"] for row in csv.DictReader(handle)}
    for judge in JUDGES:
        heard = json.loads((study / "judges" / judge / "heard.json").read_text("utf-8"))
        listened = {*heard["utterances"], *heard["unlabelled"]}
        assert {split[name] for name in listened} == {"train", "validation"}
        assert bool(heard["unlabelled"]) == (judge == "ear")


def test_every_method_has_its_cells_and_the_page_tells_what_was_left_out(study):
    rows = [row for row in table(study, "cells") if row["trainable_parameters"]]
    (bottleneck,) = [row for row in rows if row["method"] == "parallel_bottleneck"]
    assert (bottleneck["scheme"], bottleneck["budget"]) == ("c", "2000")
    # One layer of 48 channels: 97 weights for an inner channel, and 48.
    assert int(bottleneck["trainable_parameters"]) == 97 * int(bottleneck["rank"]) + 48 == 1988
    (prompt,) = [row for row in rows if row["method"] == "prompt"]
    assert int(prompt["trainable_parameters"]) == 3 * 48 and prompt["budget"] == ""
    families = {row["family"] for row in table(study, "comparisons")}
    assert families >= {"method", "scheme", "baseline"}
    page = (study / "report" / "index.html").read_text(encoding="utf-8")
    assert (
        'id="table-left-out"' in page and "parallel_bottleneck cannot be attached at site" in page
    )
    assert 'id="table-budgets"' in page and 'id="table-comparisons"' in page


def test_adapters_are_plugged_together_and_measured(folder, study):
    rows = table(study, "combining")
    assert len(rows) == (1 + 3 + 1 + 2) * len(JUDGES)
    assert all(row["n"] == row["n_total"] == "6" for row in rows)
    between = [r for r in rows if r["mixture"] == "between" and r["judge"] == "ear"]
    assert [row["weights"] for row in between] == ["", "1 0", "0.5 0.5", "0 1"]
    assert [row["same_as_neutral"] for row in between] == ["6", "0", "0", "0"]
    off, strong = [r for r in rows if r["mixture"] == "stronger" and r["judge"] == "ear"][1:]
    assert off["same_as_neutral"] == "6" and float(off["rate_ratio"]) == 1
    # Scheme e is the duration predictor: what it moves is the rate.
    assert strong["same_as_neutral"] != "6" and float(strong["rate_step"]) != 1
    outside = "backbone~fastspeech2/method~lora/scheme~e/rank~4/emotion~happy/seed~1"
    assert (study / "cells" / outside / "adapter" / "adapter.safetensors").is_file()
    assert not (study / "cells" / outside / "metrics.json").exists()
    # A mixture alone is the cell: at its end the line says what the cell says.
    cell = study / "cells" / outside.replace("~e", "~g").replace("~4", "~2") / "metrics.json"
    alone = json.loads(cell.read_text(encoding="utf-8"))["scores"]
    assert float(between[1]["rate_ratio"]) == pytest.approx(alone["rate_ratio"], rel=1e-3)
    assert float(between[1]["phone_error_rate"]) == pytest.approx(
        alone["phone_error_rate"], abs=0.05
    )
    page = (study / "report" / "index.html").read_text(encoding="utf-8")
    assert 'id="table-combining-between"' in page
    assert "At weight 0 6 of 6 files are the neutral model’s, bit for bit." in page
    jobs = ask(
        folder, "-n", config=["combining={stronger: {intensities: [0, 2]}}"], check=True
    ).jobs
    assert jobs == {"combine": 1, "make_tables": 1, "make_figures": 1, "make_page": 1}


@pytest.mark.parametrize("cell", ["parallel_bottleneck/c/20/happy", "prompt/a/3/happy"])
def test_an_adapter_of_any_method_speaks(folder, cell):
    def say(*options):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "eele.cli", "say", "The sun is up.", "--study", "smoke"),
                *(*options, "-o", "said.wav"),
            ],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return (folder / "said.wav").read_bytes()

    neutral = say()
    assert say("--cell", cell, "--intensity", "0") == neutral
    assert say("--cell", cell) != neutral
    assert say("--cell", f"{cell}:0.5", "--cell", "lora/g/2/happy") != neutral


def test_a_method_learns_at_its_own_rate(folder):
    cells = folder / "results/smoke/cells/backbone~fastspeech2"
    rates = {
        file.relative_to(cells).parts[0]: json.loads(file.read_text())["learning_rate"]
        for file in cells.rglob("training.json")
    }
    assert rates.pop("method~prompt") == 0.02
    assert set(rates.values()) == {0.003} and len(rates) == 2


def test_a_second_run_has_nothing_to_do(folder):
    assert "Nothing to be done" in ask(folder, check=True).text


def test_a_changed_encoder_reruns_its_judge_and_the_scores_alone(folder):
    change = "encoders={tiny: {small: {steps: 9}}}"
    jobs = ask(folder, "-n", config=[change], check=True).jobs
    cells = len(sweep(load_study(folder / "results" / "smoke" / "config.resolved.yaml")))
    assert jobs["prepare_encoder"] == jobs["train_judge"] == 1
    assert jobs["score_cell"] == cells
    assert not {"train_cell", "synthesise_cell", "pretrain", "train_recogniser"} & set(jobs)


def test_a_judge_that_heard_a_test_sentence_stops_the_study(folder, study):
    """The last test: it damages the study."""
    file = study / "encoders" / "tiny" / "utterances.txt"
    with open(study / "manifest.csv", encoding="utf-8", newline="") as handle:
        held = next(r["utterance_id"] for r in csv.DictReader(handle) if r["split"] == "test")
    file.write_text(file.read_text(encoding="utf-8") + f"{held}\n", encoding="utf-8")
    answer = ask(folder, "results/smoke/judges/ear", "--forcerun", "train_judge")
    assert answer.code == 1
    assert f"the encoder of judge ear heard the test utterance {held}" in answer.text
