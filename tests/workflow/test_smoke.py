"""The smallest study through the real Snakefile: every stage runs, in minutes."""

import csv
import json
import re
import signal
import subprocess
import sys
import time

import pytest
from running import ROOT, SMOKE, run

pytestmark = pytest.mark.workflow

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
TRAINING = ["trainable_parameters", "adapter_bytes", "train_seconds", "steps"]
CELLS = "cells/backbone~fastspeech2/method~lora/scheme~b"


@pytest.fixture(scope="module")
def folder(heard):
    """Working directory of a finished smoke study."""
    folder = heard("smoke")
    run(*where(folder), cwd=folder, timeout=1500, check=True)
    return folder


def where(folder, *targets):
    """Arguments for the smoke study in `folder`."""
    place = ["--snakefile", ROOT / "Snakefile", "--quiet", "rules", "--configfile", SMOKE]
    return [*targets, "--cores", "2", *place]


@pytest.fixture(scope="module")
def study(folder):
    return folder / "results" / "smoke"


@pytest.fixture(scope="module")
def rows(study):
    with open(study / "tables" / "cells.csv", encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_every_cell_has_its_row_and_every_row_its_columns(rows):
    assert [column for column in CONTRACT if column not in rows[0]] == []
    methods = [row["method"] for row in rows]
    assert sorted(methods) == sorted(
        2 * ["none", "recording", "copy_synthesis"] + 2 * ["lora"] + ["full"]
    )


def test_everything_spoken_is_scored(rows):
    for row in rows:
        assert row["n_scored"] == row["n_total"]
        assert int(row["n_total"]) > 0


def test_empty_means_not_applicable(rows):
    for row in rows:
        trained = row["method"] in ("lora", "full")
        assert all(bool(row[column]) == trained for column in TRAINING)
        for column in ("emotion_accuracy", "phone_error_rate", "rate_ratio", "speaker_similarity"):
            assert row[column] != "", (row["method"], column)


def test_lora_moves_few_weights(rows):
    weights = {
        (row["method"], row["scheme"]): int(row["trainable_parameters"])
        for row in rows
        if row["trainable_parameters"]
    }
    assert weights["lora", "b"] < weights["lora", "g"] < weights["full", "-"] / 10


def test_the_contracts_files_are_there(study):
    for name in ("cells", "scheme_by_emotion", "rank", "methods", "findings", "costs"):
        assert (study / "tables" / f"{name}.csv").stat().st_size > 0
        assert (study / "tables" / f"{name}.tex").stat().st_size > 0
    assert list((study / "figures").glob("*.svg"))
    assert list((study / "figures").glob("*.png"))
    cell = study / CELLS / "rank~2" / "emotion~happy" / "seed~1"
    assert {"adapter", "speech", "metrics.json", "provenance.json"} <= {
        path.name for path in cell.iterdir()
    }
    assert len(list((cell / "speech").glob("*.wav"))) > 1


def test_the_page_needs_no_network(study):
    page = (study / "report" / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["']https?://[^"']+\.(js|css|png|svg|wav|woff2?)""", page)
    assert "<audio" in page


def test_the_study_says_where_it_comes_from(study):
    record = json.loads((study / "provenance.json").read_text(encoding="utf-8"))
    assert record["corpora"]["demo"]["licence"]
    assert record["seeds"]["cells"] == [1]
    for stage in ("clean_corpus", "align", "pretrain", "train_cell", "score_cell", "make_tables"):
        assert record["stages"][stage]["wall_s"] > 0
    assert record["stages"]["pretrain"]["peak_memory_mb"] < 3000


def test_no_half_written_file_is_left(study):
    assert [str(path) for path in study.rglob(".*") if path.name != ".snakemake_timestamp"] == []


def test_a_second_run_has_nothing_to_do(folder):
    answer = run(*where(folder), cwd=folder, check=True)
    assert "Nothing to be done" in answer.text
    assert answer.cpu_s < 10


def test_code_and_runtime_rerun_nothing_but_a_rank_more_reruns_its_cell(folder):
    arguments = ["-n", *where(folder), "--config"]
    assert "Nothing to be done" in run(*arguments, "runtime={threads: 2}", cwd=folder).text
    more = "sweep=[{method: lora, schemes: [b, g], ranks: [2, 3]}, {method: full}]"
    jobs = run(*arguments, more, cwd=folder, check=True).jobs
    assert (jobs["train_cell"], jobs["score_cell"], jobs["make_page"]) == (2, 2, 1)
    assert "pretrain" not in jobs


def test_a_killed_run_goes_on_with_the_same_command(folder, study):
    cell = study / CELLS / "rank~3" / "emotion~happy" / "seed~1"
    log = study / f"logs/train_cell/{CELLS.removeprefix('cells/')}/rank~3/emotion~happy/seed~1.log"
    command = where(folder, f"results/smoke/{cell.relative_to(study)}/metrics.json")
    killed = subprocess.Popen(
        [sys.executable, "-m", "snakemake", *map(str, command)],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (cell / "metrics.json").exists()
    assert list((folder / ".snakemake" / "locks").iterdir())

    answer = run(*command, cwd=folder, timeout=300, check=True)
    assert "its lock is cleared" in answer.text
    assert json.loads((cell / "metrics.json").read_text(encoding="utf-8"))["cell"]["rank"] == 3
    # nothing but this cell ran, and the rest of the study still stands
    assert answer.jobs == {"train_cell": 1, "synthesise_cell": 1, "score_cell": 1}
    assert "Nothing to be done" in run("-n", *where(folder), cwd=folder).text


def test_a_training_that_lost_its_files_is_not_trained_again_unless_that_was_asked_for(
    folder, study
):
    axes = f"{CELLS.removeprefix('cells/')}/rank~4/emotion~happy/seed~1"
    adapter, log = study / "cells" / axes / "adapter", study / f"logs/train_cell/{axes}.log"
    kept = study / "checkpoints" / "cells" / axes / "state.finished"
    taken = "finished by an earlier job"
    target = f"results/smoke/cells/{axes}/adapter/adapter.json"
    run(*where(folder, target), cwd=folder, timeout=300, check=True)
    files = {path.name: path.read_bytes() for path in adapter.iterdir() if path.is_file()}
    assert taken not in log.read_text(encoding="utf-8")
    assert {path.name for path in kept.iterdir()} == {*files, "identity"}

    for name in files:
        (adapter / name).unlink()
    run(*where(folder, target), cwd=folder, timeout=300, check=True)
    assert taken in log.read_text(encoding="utf-8")
    assert {path.name: path.read_bytes() for path in adapter.iterdir() if path.is_file()} == files

    run(*where(folder, target), "--force", cwd=folder, timeout=300, check=True)
    assert taken not in log.read_text(encoding="utf-8")
    weights = "adapter.safetensors"
    assert (adapter / weights).read_bytes() == files[weights]

    # What has its scores needs no second names.
    target = f"results/smoke/cells/{axes}/metrics.json"
    run(*where(folder, target), cwd=folder, timeout=300, check=True)
    assert not kept.exists()


def test_two_runs_at_once_are_refused(folder, study):
    target = f"results/smoke/{CELLS}/rank~5/emotion~happy/seed~1/metrics.json"
    first = subprocess.Popen(
        [sys.executable, "-m", "snakemake", *map(str, where(folder, target))],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while not list((folder / ".snakemake" / "locks").glob("*.lock")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        second = run(*where(folder, target), cwd=folder)
        assert second.code != 0
        assert "cannot be locked" in second.text
    finally:
        first.terminate()
        first.wait(timeout=60)


def test_a_damaged_adapter_is_one_message_and_no_result(folder, study):
    cell = study / CELLS / "rank~2" / "emotion~happy" / "seed~1"
    weights = cell / "adapter" / "adapter.safetensors"
    good = weights.read_bytes()
    try:
        weights.write_bytes(good[: len(good) // 2])
        target = f"results/smoke/{cell.relative_to(study)}/speech/speech.csv"
        answer = run(*where(folder, target), "--forcerun", "synthesise_cell", cwd=folder)
        assert answer.code != 0
        assert "synthesise_cell: " in answer.text
        assert "adapter.safetensors" in answer.text
        assert "Traceback" not in answer.text
        assert not (cell / "speech" / "speech.csv").exists()
        # In a job with others it would take them along: the next time it goes alone.
        assert len(list((study / "logs" / "failed_cells").iterdir())) == 1
    finally:
        weights.write_bytes(good)
