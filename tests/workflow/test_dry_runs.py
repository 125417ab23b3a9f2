"""Every shipped study can be planned, with or without its corpora on this machine."""

import pytest
from running import ROOT

from eele.cells import sweep
from eele.config import load_study
from eele.workflow import judge_encoders

SHIPPED = [ROOT / "config" / "config.yaml", *sorted((ROOT / "config" / "studies").glob("*.yaml"))]
STUDIES = [path for path in SHIPPED if load_study(path).recognition is None]
NEEDED_ONCE = {
    "assemble_manifest",
    "build_lexicon",
    "train_aligner",
    "index_alignment",
    "index_features",
    "pretrain",
    "train_recogniser",
    "make_tables",
    "make_figures",
    "make_page",
}


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_shipped_study_plans_every_stage_and_cell(snakemake, tmp_path, path):
    study = load_study(path)
    cells = sweep(study)
    answer = snakemake(
        "-n", "--quiet", "rules", "--snakefile", ROOT / "Snakefile", "--directory", tmp_path,
        "--configfile", path, "--config", f"data_root={tmp_path / 'nowhere'}", check=True,
    )  # fmt: skip
    jobs = answer.jobs
    assert {rule for rule in NEEDED_ONCE if jobs[rule] != 1} == set()
    assert jobs["collect_corpus"] == jobs["clean_corpus"] == len(study.corpora)
    assert jobs["train_judge"] == len(study.evaluation.judges)
    assert jobs.get("prepare_encoder", 0) == len(set(judge_encoders(study).values()))
    assert jobs["align"] == study.alignment.shards
    assert jobs["extract_features"] == study.features.shards
    assert jobs["train_cell"] == sum(cell.trained for cell in cells)
    assert jobs["synthesise_cell"] == jobs["score_cell"] == len(cells)


def test_the_default_study_needs_no_argument(snakemake):
    answer = snakemake("-n", "--quiet", "rules", "--forceall", check=True)
    assert "results/demo" in snakemake("-n", "--summary", check=True).text
    assert answer.jobs["make_page"] == 1


def test_one_cell_needs_what_it_stands_on_and_nothing_else(snakemake, tmp_path):
    cell = (
        "backbone~fastspeech2/method~lora/scheme~a/rank~64/emotion~happy/seed~1"  # not in the sweep
    )
    answer = snakemake(
        f"results/smoke/cells/{cell}/metrics.json", "-n", "--snakefile", ROOT / "Snakefile",
        "--directory", tmp_path, "--configfile", ROOT / "config/studies/smoke.yaml", check=True,
    )  # fmt: skip
    assert answer.jobs["train_cell"] == 1
    assert answer.jobs["score_cell"] == 1
    assert answer.jobs["synthesise_cell"] == 2  # its own, and the neutral model's to compare with
    assert answer.jobs["pretrain"] == answer.jobs["train_judge"] == 1
    assert not {"make_tables", "make_figures", "make_page"} & set(answer.jobs)


def test_recordings_are_scored_without_any_training_of_a_voice(snakemake, tmp_path):
    cell = "backbone~-/method~recording/scheme~-/rank~0/emotion~happy/seed~-"
    answer = snakemake(
        f"results/smoke/cells/{cell}/metrics.json", "-n", "--snakefile", ROOT / "Snakefile",
        "--directory", tmp_path, "--configfile", ROOT / "config/studies/smoke.yaml", check=True,
    )  # fmt: skip
    assert not {"pretrain", "train_cell"} & set(answer.jobs)
    assert answer.jobs["synthesise_cell"] == answer.jobs["score_cell"] == 1


@pytest.mark.parametrize("device, gpus", [("auto", 0), ("cpu", 0), ("cuda", 1), ("cuda:1", 1)])
def test_training_asks_for_a_gpu_where_the_config_does(snakemake, tmp_path, device, gpus):
    answer = snakemake(
        "-n", "results/demo/neutral/model.json", "--snakefile", ROOT / "Snakefile",
        "--directory", tmp_path, "--configfile", ROOT / "config/config.yaml",
        "--config", f"runtime={{device: '{device}'}}", check=True,
    )  # fmt: skip
    pretrain = answer.text.partition("rule pretrain")[2]
    assert f"gpu={gpus}" in pretrain


def test_the_slurm_profile_works_as_typed(snakemake):
    answer = snakemake("--profile", "slurm", "-n", "--quiet", "rules", "--forceall", check=True)
    assert "Using profiles slurm" in answer.text
    assert answer.jobs["make_page"] == 1


def test_snakemake_lint_is_content(snakemake):
    assert "good condition" in snakemake("--lint", check=True).text
