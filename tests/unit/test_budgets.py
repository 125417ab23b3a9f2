"""Budgets: which size comes closest, and what a sweep by budgets holds."""

import subprocess
import sys

import pytest

from eele.budgets import LARGEST, NOMINAL_PHONES, NOMINAL_VOICES, closest, size_for
from eele.cells import placements, sweep
from eele.config import StudyConfig, check_study, dump_study
from eele.config.load import read_yaml
from eele.errors import ConfigError

#: (count of a size, budget) -> the size expected.
COUNTS = {
    "linear": (lambda size: 100 * size, 830, 8),
    "between two, nearer the larger": (lambda size: 100 * size, 870, 9),
    "as far from two": (lambda size: 100 * size, 850, 8),
    "with a part that does not grow": (lambda size: 7 + 10 * size, 58, 5),
    "less than the smallest": (lambda size: 5000 + size, 100, 1),
    "in steps": (lambda size: 100 * (size // 4), 320, 12),
    "a step below": (lambda size: 100 * (size // 4), 240, 8),
    "never so many": (lambda size: min(50 * size, 400), 900, 8),
    "always as many": (lambda size: 70, 900, 1),
    "beyond all": (lambda size: size, 10**9, LARGEST),
}


@pytest.mark.parametrize("count, budget, expected", COUNTS.values(), ids=COUNTS)
def test_the_closest_size(count, budget, expected):
    assert closest(count, budget) == expected


def test_the_closest_size_is_that_of_a_search_through_all():
    for step in (1, 2, 3, 7):
        for rest in (0, 1, 5):
            for budget in range(1, 60):

                def count(size, step=step, rest=rest):
                    return rest + 3 * (size // step)

                best = min(range(1, 200), key=lambda size: (abs(count(size) - budget), size))
                assert closest(count, budget) == best


SMALL = {
    "backbone": {
        "fastspeech2": {
            "hidden_size": 48,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "filter_size": 64,
            "predictor_size": 32,
            "postnet_layers": 2,
            "postnet_size": 32,
        }
    }
}


def parameters(study: StudyConfig, method: str, scheme: str, rank: int) -> int:
    """Counted on a backbone that is there, by attaching."""
    from eele.backbones import build
    from eele.peft import method as method_of
    from eele.peft.base import AdapterSpec
    from eele.sites import backbone_sites
    from eele.vocabulary import scheme_sites

    model = build(study.backbone, NOMINAL_PHONES, NOMINAL_VOICES, study.audio)
    sites = scheme_sites(scheme, study.backbone.name, study.schemes)
    method_of(method).attach(
        model, backbone_sites(study.backbone), AdapterSpec(method, sites, rank)
    )
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("method, scheme", [("lora", "g"), ("lora", "a"), ("bottleneck", "c")])
def test_no_other_size_comes_closer(method, scheme):
    study = check_study(SMALL)
    budget = 12_000
    size = size_for(study, method, scheme, budget)
    assert size > 1
    off = {near: abs(parameters(study, method, scheme, near) - budget) for near in (size, size + 1)}
    off[size - 1] = abs(parameters(study, method, scheme, size - 1) - budget)
    assert min(off, key=off.__getitem__) == size


def test_budgets_become_sizes_in_the_paths_of_cells():
    block = {"method": "lora", "schemes": ["c", "g"], "budgets": ["3k", 12000]}
    study = check_study({**SMALL, "sweep": [block]})
    found = {(p.scheme, p.budget): p.rank for p in placements(study)}
    assert set(found) == {(s, b) for s in "cg" for b in (3000, 12000)}
    assert found["c", 3000] > found["g", 3000] and found["c", 12000] > found["c", 3000]
    assert {c.rank for c in sweep(study) if c.trained} == set(found.values())


def test_a_budget_counts_the_vectors_of_new_voices():
    two = {"leave_out": ["demo_a", "demo_b"]}
    new = check_study({**SMALL, "pretraining": two})
    one = check_study({**SMALL, "pretraining": two, "adaptation": {"speakers": ["demo_b"]}})
    for study, rows in ((new, 2), (one, 1)):
        for budget in (3000, 12_345):
            with_rows = size_for(study, "lora", "c", budget + 48 * rows)
            assert with_rows == size_for(check_study(SMALL), "lora", "c", budget)
    # Nothing is left for the adapter: it gets the smallest size.
    assert size_for(new, "lora", "c", 48) == 1


def test_a_cell_by_rank_and_by_budget_is_one_cell():
    size = size_for(check_study(SMALL), "lora", "c", 3000)
    blocks = [
        {"method": "lora", "schemes": ["c"], "ranks": [size]},
        {"method": "lora", "schemes": ["c"], "budgets": ["3k"]},
    ]
    study = check_study({**SMALL, "sweep": blocks})
    assert len([c for c in sweep(study) if c.trained]) == len(study.emotions)
    assert [p.budget for p in placements(study)] == [None, 3000]


def test_the_config_writes_budgets_as_numbers(tmp_path):
    study = check_study(
        {"sweep": [{"method": "lora", "schemes": ["c"], "budgets": ["1.5M", "2k"]}]}
    )
    (tmp_path / "resolved.yaml").write_text(dump_study(study))
    written = read_yaml(tmp_path / "resolved.yaml")
    assert written["sweep"][0]["budgets"] == [1_500_000, 2000]
    assert check_study(written) == study


@pytest.mark.parametrize("wrong", ["50x", "1.0001k", "k", 0, "0k", -5, 1.5, None, "1e3"])
def test_what_is_no_number_of_weights(wrong):
    with pytest.raises(ConfigError, match=r"sweep\.0\.budgets\.0"):
        check_study({"sweep": [{"method": "lora", "schemes": ["c"], "budgets": [wrong]}]})


def test_only_a_sweep_by_budgets_imports_torch():
    code = (
        "import sys; from eele.config import check_study; from eele.cells import sweep;"
        "block = {'method': 'prompt', 'schemes': ['a', 'e'], 'skip_impossible': True};"
        "sweep(check_study({'sweep': [{**block, 'ranks': [2]}]})); print('torch' in sys.modules);"
        "sweep(check_study({'sweep': [{**block, 'budgets': ['1k']}]})); print('torch' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == ["False", "True"]
