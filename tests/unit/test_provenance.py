"""Where a result comes from, and what it cost."""

import json
import subprocess
import sys

import pytest

from eele import provenance
from eele.config import check_study
from eele.errors import DataError
from eele.io import read_json, sha256, write_json
from eele.paths import StudyPaths

STUDY = check_study({"study": "mine", "corpora": [{"adapter": "emodb", "name": "berlin"}]})
HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def benchmark(path, wall_s, peak_mb, cpu_s):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        HEADER + f"{wall_s}\t0:00:01\t{peak_mb}\t1\t1\t1\t1\t1\t1\t{cpu_s}\n", encoding="utf-8"
    )


@pytest.fixture
def paths(tmp_path):
    paths = StudyPaths.of("mine", tmp_path)
    write_json(
        paths.corpus("berlin") / "source.json",
        {"adapter": "emodb", "licence": "free", "sha256": "ab" * 32, "notes": "long"},
    )
    write_json(paths.alignment / "summary.json", {"aligner": "gmm", "aligned": 3})
    benchmark(paths.benchmarks / "align.tsv", 4.0, 900, 7.5)
    benchmark(paths.benchmarks / "train_cell" / "method~lora" / "seed~1.tsv", 10, 500, 9)
    benchmark(paths.benchmarks / "train_cell" / "method~full" / "seed~1.tsv", 30, 700, 28)
    return paths


def test_costs_add_up_per_stage(paths):
    costs = provenance.stage_costs(paths.benchmarks)
    assert costs["align"] == {
        "jobs": 1,
        "wall_s": 4.0,
        "longest_wall_s": 4.0,
        "cpu_s": 7.5,
        "peak_memory_mb": 900,
    }
    assert costs["train_cell"] == {
        "jobs": 2,
        "wall_s": 40.0,
        "longest_wall_s": 30.0,
        "cpu_s": 37.0,
        "peak_memory_mb": 700,
    }


@pytest.mark.parametrize("unsampled", ["NA", "-"])
def test_a_job_too_short_to_sample_still_counts(tmp_path, unsampled):
    benchmark(tmp_path / "fast.tsv", 0.05, unsampled, unsampled)
    assert provenance.stage_costs(tmp_path) == {
        "fast": {"jobs": 1, "wall_s": 0.05, "longest_wall_s": 0.05}
    }


def test_a_benchmark_without_wall_time_is_told(tmp_path):
    (tmp_path / "odd.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(DataError, match=r"odd\.tsv"):
        provenance.stage_costs(tmp_path)


def test_the_study_record(paths):
    returned = provenance.collect(STUDY, paths)
    record = read_json(paths.provenance)
    assert record == json.loads(json.dumps(returned))
    assert record["corpora"]["berlin"]["licence"] == "free"
    assert record["corpora"]["berlin"]["sha256"] == "ab" * 32
    assert record["alignment"] == {"aligner": "gmm", "aligned": 3}
    assert set(record["stages"]) == {"align", "train_cell"}
    assert record["seeds"]["cells"] == [1]
    assert record["packages"]["numpy"]


def test_a_cell_record_names_its_inputs_and_the_corpora(paths, tmp_path):
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"weights")
    path = paths.root / "cells" / "x" / "provenance.json"
    provenance.write(path, STUDY, "score_cell", inputs=[model], extra={"cell": {"rank": 8}})
    record = read_json(path)
    assert record["stage"] == "score_cell"
    assert record["inputs"] == {model.as_posix(): sha256(model)}
    assert record["cell"] == {"rank": 8}
    assert record["corpora"]["berlin"]["licence"] == "free"


def test_the_hash_follows_what_identifies_a_result_and_nothing_else():
    base = provenance.config_hash(STUDY)
    values = STUDY.model_dump()
    same = check_study({**values, "runtime": {"threads": 7}, "data_root": "elsewhere"})
    other = check_study({**values, "adaptation": {"steps": 7}})
    assert provenance.config_hash(same) == base
    assert provenance.config_hash(other) != base


def test_commit_and_dirty_flag_are_those_of_the_repository():
    code = provenance.code_version()
    assert set(code) == {"version", "commit", "dirty"}
    if code["commit"] is not None:
        assert len(code["commit"]) == 40
        assert isinstance(code["dirty"], bool)


def test_a_package_outside_a_repository_has_no_commit(tmp_path, monkeypatch):
    provenance.code_version.cache_clear()
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert provenance.code_version()["commit"] is None
    provenance.code_version.cache_clear()


def test_provenance_does_not_import_torch():
    code = "import sys, eele.provenance as p; p._record; print('torch' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"
