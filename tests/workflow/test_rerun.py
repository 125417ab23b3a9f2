"""What runs again when something changed: the right things, and nothing else."""

import pytest

TABLES = {"make_tables": 1, "make_figures": 1, "make_page": 1}
LORA = "{method: lora, schemes: [b, g], ranks: [%s]}"
CELLS = 9  # 3 trained, and none, recording, copy_synthesis in neutral and happy


def test_nothing_runs_when_nothing_changed(finished):
    answer = finished()
    assert "Nothing to be done" in answer.text
    assert answer.jobs == {}


@pytest.mark.parametrize(
    "change",
    [
        "runtime={threads: 2, pretrain_threads: 1, device: cuda, log_every: 3}",
        "runtime={precision: bf16-mixed}",
        "data_root=/another/disk",
    ],
)
def test_nothing_runs_when_what_changed_identifies_no_result(finished, change):
    assert "Nothing to be done" in finished("--config", change).text


CHANGES = {
    "a rank more": (
        f"sweep=[{LORA % '2, 4'},{{method: full}}]",
        {"train_cell": 2, "synthesise_cell": 2, "score_cell": 2, **TABLES},
    ),
    "a rank less": ("sweep=[{method: full},{method: lora, schemes: [b], ranks: [2]}]", TABLES),
    "a seed more": (
        "seeds=[1, 2]",
        {"train_cell": 3, "synthesise_cell": 3, "score_cell": 3, **TABLES},
    ),
    "adaptation.steps": (
        "adaptation={steps: 11}",
        {"train_cell": 3, "synthesise_cell": 3, "score_cell": 3, **TABLES},
    ),
    "the rate of one method": (
        "adaptation={method_learning_rates: {lora: 0.01, prefix: 0.03}}",
        {"train_cell": 2, "synthesise_cell": 2, "score_cell": 2, **TABLES},
    ),
    "pretraining.steps": (
        "pretraining={steps: 41}",
        # the baselines recording and copy_synthesis owe nothing to the neutral model
        {"pretrain": 1, "train_cell": 3, "synthesise_cell": 5, "score_cell": 5, **TABLES},
    ),
    "recogniser.steps": (
        "evaluation={recogniser: {steps: 31}}",
        {"train_recogniser": 1, "score_cell": CELLS, **TABLES},
    ),
    "free texts": (
        "synthesis={texts: [Good morning.]}",
        {"synthesise_cell": CELLS, "score_cell": CELLS, **TABLES},
    ),
    "title": ("title=Another", TABLES),
}


@pytest.mark.parametrize("change, jobs", CHANGES.values(), ids=CHANGES)
def test_a_change_reruns_what_depends_on_it(finished, change, jobs):
    assert finished("--config", change).jobs == jobs


def test_a_changed_alignment_reruns_all_that_hears_it(finished):
    jobs = finished("--config", "alignment={gmm: {beam: 11}}").jobs
    assert jobs["train_aligner"] == jobs["align"] == jobs["index_alignment"] == 1
    assert jobs["align"] == jobs["pretrain"] == jobs["train_judge"] == 1
    assert jobs["train_cell"] == 3
    assert not {"collect_corpus", "clean_corpus", "assemble_manifest", "build_lexicon"} & set(jobs)


@pytest.mark.parametrize(
    "change, jobs, kept",
    [
        ("shards: 3", {"align": 3, "index_alignment": 1}, ("train_aligner",)),
        ("max_score_deviation: 5", {"index_alignment": 1}, ("train_aligner", "align")),
    ],
)
def test_alignment_is_done_again_from_where_it_changed(finished, change, jobs, kept):
    planned = finished("--config", f"alignment={{{change}}}").jobs
    assert {rule: planned[rule] for rule in jobs} == jobs
    assert not {*kept} & set(planned)
    assert planned["extract_features"] == 2


def test_one_cell_forced_reruns_that_cell(finished):
    cell = "backbone~fastspeech2/method~full/scheme~-/rank~0/emotion~happy/seed~1"
    adapter = f"results/smoke/cells/{cell}/adapter/adapter.json"
    jobs = finished("--forcerun", adapter, "results/smoke/report/index.html").jobs
    assert jobs == {"train_cell": 1, "synthesise_cell": 1, "score_cell": 1, **TABLES}


def test_a_stage_that_failed_after_a_change_leaves_no_stale_successor(finished, tmp_path):
    """Its outputs are gone, theirs are of the old config: they must not pass for up to date."""
    cell = "cells/backbone~fastspeech2/method~full/scheme~-/rank~0/emotion~happy/seed~1"
    adapters = [finished.folder / "results/smoke" / cell / "adapter" / name for name in (
        "adapter.safetensors", "adapter.json", "training.json", "curves.csv")]  # fmt: skip
    kept = [path.rename(tmp_path / path.name) for path in adapters]
    try:
        jobs = finished(
            f"results/smoke/{cell}/metrics.json", "--config", "adaptation={steps: 11}"
        ).jobs
        assert jobs == {"train_cell": 1, "synthesise_cell": 1, "score_cell": 1}
        path = "results/smoke/manifest.csv"
        assert "Nothing to be done" in finished(path, "--config", "adaptation={steps: 11}").text
    finally:
        for path, target in zip(kept, adapters, strict=True):
            path.rename(target)


def test_another_corpus_leaves_the_first_ones_cleaning_alone(finished):
    more = "corpora=[{adapter: demo, demo: {voices: 2, parallel_sentences: 12, neutral_sentences: 8, emotions: [happy, sad]}}, {adapter: demo, name: second}]"
    jobs = finished("--config", more).jobs
    assert jobs["collect_corpus"] == jobs["clean_corpus"] == jobs["assemble_manifest"] == 1
