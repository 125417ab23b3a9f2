"""A tiny study of recognition through the real Snakefile: what it plans, makes, refuses and goes on with."""

import csv
import json
import re
import signal
import subprocess
import sys
import time

import pytest
from running import HERE, ROOT, run

from eele.cli import main

pytestmark = pytest.mark.workflow

TINY = HERE / "tiny_recognition.yaml"
PEFT_SER = ROOT / "config" / "studies" / "peft_ser.yaml"
FOLD = "demo_mark-to-demo_steph"
RECOGNISER = (
    f"recognition/encoder~small/method~lora/sites~feed_forward/size~2/testbed~voices/fold~{FOLD}"
)
SYNTHESIS = {"train_aligner", "align", "extract_features", "pretrain", "train_judge", "train_cell"}


def where(folder, *configs):
    """Arguments for the tiny study in `folder`, with further config files."""
    place = ["--snakefile", ROOT / "Snakefile", "--directory", folder]
    return [*place, "--cores", "2", "--quiet", "rules", "--configfile", TINY, *configs]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Working directory of the finished study."""
    folder = tmp_path_factory.mktemp("recognition")
    (folder / "scripts").symlink_to(ROOT / "scripts")
    run(*where(folder), timeout=1200, check=True)
    return folder


@pytest.fixture(scope="module")
def study(folder):
    return folder / "results" / "tiny_recognition"


def rows(file):
    with open(file, encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_every_recogniser_is_scored_and_every_method_has_its_row(study):
    methods = rows(study / "tables" / "recognition.csv")
    assert [row["method"] for row in methods] == ["head", "lora"] * 3
    assert len(rows(study / "tables" / "recognition_folds.csv")) == 8
    methods = methods[:2]
    for row in methods:
        assert row["n_scored"] == row["n_total"] == "48"
        assert 0 <= float(row["uar"]) <= 1
        assert (row["n_female"], row["n_male"]) == ("24", "24")
    head, lora = methods
    assert head["encoder_parameters"] == "0"
    assert int(lora["encoder_parameters"]) == 2 * (16 + 32) * 2
    assert not (study / "cells").exists()
    assert not (study / "features").exists()


def test_speakers_and_phones_are_recognised_on_sentences_that_were_not_heard(study):
    methods = rows(study / "tables" / "recognition.csv")
    assert [(row["target"], row["score"]) for row in methods[::2]] == [
        ("emotion", "uar"),
        ("speaker", "accuracy"),
        ("phones", "per"),
    ]
    _, _, *who, head, lora = methods
    for row in who:
        # Two sentences, in three emotions, by two voices.
        assert row["n_scored"] == row["n_total"] == "12"
        assert row["value"] == row["accuracy"]
        assert "of one gender" in row["fairness_reason"]
    for row in (head, lora):
        assert row["uar"] == row["accuracy"] == ""
        assert float(row["value"]) > 0
        assert row["n_scored"] == row["n_total"] == "12"
    assert float(lora["gain"]) == pytest.approx(float(head["value"]) - float(lora["value"]))
    folder = study / "recognition/encoder~small/method~head/sites~-/size~0"
    (said,) = (folder / "testbed~said").rglob("scores.json")
    scores = json.loads(said.read_text())
    assert scores["per"] == pytest.approx(scores["n_errors"] / scores["n_phones"])
    assert json.loads(said.with_name("training.json").read_text())["set_aside"] == []
    assert (study / "lexicon" / "lexicon.tsv").is_file()
    page = (study / "report" / "index.html").read_text(encoding="utf-8")
    assert "Which few weights does it take to hear an emotion or a speaker or phones?" in page
    for part in ("Speaker classification, who", "Phone recognition, said", 'id="table-tasks"'):
        assert part in page


def test_the_page_is_one_file(study):
    page = (study / "report" / "index.html").read_text(encoding="utf-8")
    assert "LoRA 2 (feed forward)" in page
    assert not re.search(r"""(src|href)=["']https?://[^"']+\.(js|css|png|svg)""", page)
    record = json.loads((study / "provenance.json").read_text(encoding="utf-8"))
    assert record["stages"]["recognise"]["jobs"] == 8


def test_nothing_of_a_training_is_left_behind(study):
    checkpoints = study / "checkpoints"
    assert [path for path in checkpoints.rglob("*") if not path.is_dir()] == []


def test_a_second_run_has_nothing_to_do_and_a_method_more_trains_just_that(folder, tmp_path):
    assert "Nothing to be done" in run("-n", *where(folder), check=True).text
    more = tmp_path / "more.yaml"
    more.write_text(
        "recognition: {methods: [{method: head}, {method: lora, sites: [feed_forward], size: 2},"
        " {method: prompt, sites: [layers], size: 1}]}"
    )
    jobs = run("-n", *where(folder, more), check=True).jobs
    assert jobs["recognise"] == 4
    assert {"prepare_encoder", "divide_testbed", "assemble_manifest"} & set(jobs) == set()


def test_another_training_trains_all_again_and_another_encoder_no_testbed(folder, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text("recognition: {training: {epochs: 3}}")
    jobs = run("-n", *where(folder, other), check=True).jobs
    assert jobs["recognise"] == 8
    assert "prepare_encoder" not in jobs
    other.write_text("encoders: {small: {seed: 2}}")
    jobs = run("-n", *where(folder, other), check=True).jobs
    assert (jobs["prepare_encoder"], jobs["recognise"]) == (1, 8)
    assert "divide_testbed" not in jobs


def test_a_killed_run_goes_on_with_the_same_command(folder, study):
    target = f"results/tiny_recognition/{RECOGNISER}/seed~7/scores.json"  # not in the sweep
    log = study / f"logs/recognise/{RECOGNISER.removeprefix('recognition/')}/seed~7.log"
    command = [sys.executable, "-m", "snakemake", *map(str, where(folder)), "--", target]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    answer = run(*where(folder), "--", target, timeout=300, check=True)
    assert answer.jobs == {"recognise": 1}
    scores = json.loads((study / RECOGNISER / "seed~7" / "scores.json").read_text())
    assert scores["cell"]["seed"] == 7
    assert scores["n"] == 24
    assert "Nothing to be done" in run("-n", *where(folder)).text


def test_one_recogniser_needs_what_it_stands_on_and_nothing_else(tmp_path):
    target = f"results/tiny_recognition/{RECOGNISER}/seed~1/scores.json"
    jobs = run("-n", *where(tmp_path), "--", target, check=True).jobs
    assert set(jobs) == {
        *("collect_corpus", "clean_corpus", "assemble_manifest"),
        *("prepare_encoder", "divide_testbed", "recognise"),
    }
    assert jobs["recognise"] == 1


def test_the_shipped_study_plans_recognition_and_nothing_of_synthesis(tmp_path):
    answer = run(
        "-n", "--quiet", "rules", "--snakefile", ROOT / "Snakefile", "--directory", tmp_path,
        "--configfile", PEFT_SER, "--config", f"data_root={tmp_path}", check=True,
    )  # fmt: skip
    jobs = answer.jobs
    assert jobs["divide_testbed"] == 3
    assert jobs["prepare_encoder"] == jobs["make_recognition_page"] == 1
    assert (SYNTHESIS | {"build_lexicon"}) & set(jobs) == set()


def test_status_and_validate_know_it(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["validate", str(TINY)]) == 0
    assert "2 recognisers a fold" in capsys.readouterr().out
    assert main(["status", "tiny_recognition"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("tiny_recognition: finished")
    assert re.search(r"^recognise +8 +0 +0 +0 +8 ", told, re.M)
    assert "cells" not in told


CONFIGS = {
    "encoder": ("recognition: {encoders: [big]}", ["recognition.encoders", "'big'", "small"]),
    "corpus": (
        "recognition: {testbeds: {voices: {corpora: [emodb]}}}",
        ["recognition.testbeds.voices.corpora", "'emodb'", "demo"],
    ),
    "speakers who are not heard": (
        "recognition: {testbeds: {who: {folds: cross_speaker}}}",
        ["recognition.testbeds.who", "target speaker", "folds cross_speaker"],
    ),
    "size": (
        "recognition: {methods: [{method: lora, sites: [feed_forward]}]}",
        ["recognition.methods.0", "needs sites and size"],
    ),
}
CELLS = {
    "testbed": (RECOGNISER.replace("voices", "rooms") + "/seed~1", ["testbed 'rooms'", "voices"]),
    "size": (RECOGNISER.replace("size~2", "size~0") + "/seed~1", ["needs sites and size"]),
    "axis missing": (RECOGNISER, ["seed missing"]),
    "spelling": (RECOGNISER.replace("size~2", "size~02") + "/seed~1", ["size '02'"]),
}


@pytest.mark.parametrize("content, said", CONFIGS.values(), ids=CONFIGS)
def test_a_wrong_config_is_one_message(tmp_path, content, said):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(content)
    refused(run("-n", *where(tmp_path, wrong)), said)


@pytest.mark.parametrize("cell, said", CELLS.values(), ids=CELLS)
def test_an_impossible_recogniser_is_one_message(tmp_path, cell, said):
    refused(run("-n", *where(tmp_path), "--", f"results/tiny_recognition/{cell}/scores.json"), said)


def refused(answer, said):
    assert answer.code != 0
    assert "Traceback" not in answer.text
    (message,) = [line for line in answer.text.splitlines() if line.startswith("eele: ")]
    for part in said:
        assert part in message + answer.text


def test_folds_that_the_recordings_do_not_allow_are_told_before_any_training(folder, tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("recognition: {testbeds: {voices: {folds: official}}}")
    testbed = folder / "results" / "tiny_recognition" / "testbeds" / "voices" / "folds.csv"
    divided = testbed.read_bytes()
    answer = run(*where(folder, wrong), "--", str(testbed.relative_to(folder)), timeout=120)
    assert answer.code != 0
    assert "divide_testbed: folds official: demo has no split of its own" in answer.text
    assert "Traceback" not in answer.text
    # The right config makes it again, the same as before.
    run(*where(folder), timeout=300, check=True)
    assert testbed.read_bytes() == divided
