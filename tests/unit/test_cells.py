"""The sweep: which cells a study has, their paths and the way back."""

from dataclasses import replace

import pytest

from eele.cells import AXES, Cell, check_cell, left_out, sweep
from eele.config import StudyConfig, check_study
from eele.errors import ConfigError
from eele.workflow import lineages, stage_parameters

LORA = Cell("fastspeech2", "lora", "g", 8, "happy", "1")


def test_the_default_sweep():
    cells = sweep(StudyConfig())
    assert len(cells) == len(set(cells))
    per_method = {
        method: sum(cell.method == method for cell in cells)
        for method in ("none", "recording", "copy_synthesis", "lora", "full")
    }
    # Baselines: neutral and two emotions; lora: 8 schemes at rank 8 and 5 ranks at g, one shared.
    assert per_method == {"none": 3, "recording": 3, "copy_synthesis": 3, "lora": 24, "full": 2}


def test_seeds_multiply_trained_cells_only():
    study = StudyConfig()
    once, thrice = sweep(study), sweep(check_study({"seeds": [1, 2, 3]}))
    trained = sum(cell.trained for cell in once)
    assert len(thrice) == len(once) + 2 * trained


def test_judges_may_tell_more_emotions_apart_than_cells_have():
    study = check_study(
        {"emotions": ["sad", "angry", "happy"], "adaptation": {"emotions": ["happy", "sad"]}}
    )
    assert study.adapted == ("sad", "happy")
    assert {cell.emotion for cell in sweep(study)} == {"neutral", "sad", "happy"}
    with pytest.raises(ConfigError, match="'angry' is not allowed here"):
        check_cell(replace(LORA, emotion="angry"), study)
    # A cell is the same whatever others there are.
    fewer = check_study({"emotions": ["sad", "angry", "happy"]})
    for stage in ("train_cell", "synthesise_cell", "train_judge"):
        assert stage_parameters(fewer, stage) == stage_parameters(study, stage)
        assert lineages(fewer)[stage] == lineages(study)[stage]


def test_a_rank_more_adds_cells_and_moves_none():
    block = {"method": "lora", "schemes": ["g"], "ranks": [2]}
    before = sweep(check_study({"sweep": [block]}))
    after = sweep(check_study({"sweep": [{**block, "ranks": [2, 4]}]}))
    assert set(before) < set(after)
    assert {cell.rank for cell in set(after) - set(before)} == {4}


FURTHER = [
    {"method": "prompt", "schemes": list("abcdefgh"), "ranks": [2], "skip_impossible": True},
    {"method": "bottleneck", "schemes": ["c"], "ranks": [4]},
    {"method": "ia3", "schemes": ["a"]},
]


def test_schemes_with_a_site_a_method_cannot_go_to_are_left_out_whole():
    study = check_study({"sweep": FURTHER})
    prompts = {cell.scheme for cell in sweep(study) if cell.method == "prompt"}
    assert prompts == {"a", "c"}
    out = left_out(study)
    assert [(o.method, o.scheme) for o in out] == [("prompt", s) for s in "bdefgh"]
    # d holds the decoder, where prompts can go, and the variance predictors, where they cannot.
    assert "site 'variance'" in next(o.reason for o in out if o.scheme == "d")
    assert left_out(StudyConfig()) == []


def test_another_backbone_leaves_out_other_schemes():
    study = check_study({"sweep": FURTHER[:1], "backbone": {"name": "vits2"}})
    assert {cell.scheme for cell in sweep(study) if cell.method == "prompt"} == {"a", "b"}


@pytest.mark.parametrize("cell", sweep(check_study({"sweep": FURTHER})), ids=lambda c: str(c.path))
def test_cells_of_any_method_are_found_by_their_paths(cell):
    assert check_cell(Cell.parse(f"results/demo/cells/{cell.path}/speech"), StudyConfig()) == cell


@pytest.mark.parametrize("cell", sweep(StudyConfig()), ids=lambda cell: str(cell.path))
def test_a_path_leads_back_to_its_cell(cell):
    assert Cell.parse(f"results/demo/cells/{cell.path}/metrics.json") == cell
    assert check_cell(cell, StudyConfig()) is cell


def test_the_path_is_the_contract():
    assert LORA.path.as_posix() == (
        "backbone~fastspeech2/method~lora/scheme~g/rank~8/emotion~happy/seed~1"
    )
    assert tuple(LORA.as_dict()) == AXES


def test_sites_of_schemes():
    study = check_study({"schemes": {"mine": ["decoder"]}})
    assert LORA.sites(study) == ("duration", "variance", "decoder")
    assert Cell("fastspeech2", "lora", "mine", 2, "happy", "1").sites(study) == ("decoder",)
    assert Cell("fastspeech2", "full", "-", 0, "happy", "1").sites(study) == ()


@pytest.mark.parametrize(
    "text, said",
    [
        ("metrics.json", "backbone, method, scheme, rank, emotion, seed missing"),
        (str(LORA.path).replace("rank~8", "rank~big"), "not a whole number"),
        (str(LORA.path).replace("/seed~1", ""), "seed missing"),
    ],
)
def test_paths_that_name_no_cell(text, said):
    with pytest.raises(ConfigError, match=said):
        Cell.parse(text)


def test_a_cell_outside_the_sweep_may_be_asked_for():
    cell = Cell("fastspeech2", "lora", "a", 64, "happy", "7")
    assert cell not in sweep(StudyConfig())
    assert check_cell(cell, StudyConfig()) is cell


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"rank": 0}, "rank 0 is not allowed"),
        ({"rank": -2}, "rank -2"),
        ({"method": "ia3"}, "rank '8'.*0"),
        ({"method": "prompt"}, "scheme 'g'.*prompt cannot be attached at site 'duration'"),
        ({"scheme": "z"}, "scheme 'z'.*a, b, c, d, e, f, g, h"),
        ({"scheme": "-"}, "scheme '-'"),
        ({"emotion": "angryy"}, "emotion 'angryy'.*happy, sad"),
        ({"emotion": "neutral"}, "emotion 'neutral'"),
        ({"emotion": "bored"}, "emotion 'bored'"),
        ({"method": "lara"}, "method 'lara'.*lora, .*none, recording"),
        ({"backbone": "vits9"}, "backbone 'vits9'.*fastspeech2"),
        ({"seed": "one"}, "seed 'one'"),
        ({"seed": "-1"}, "seed '-1'"),
        ({"seed": "01"}, "seed '01'"),
        ({"method": "full"}, "scheme 'g'.*-"),
        ({"method": "full", "scheme": "-"}, "rank '8'.*0"),
        ({"method": "none", "scheme": "-", "rank": 0}, "seed '1'.*-"),
        ({"method": "recording", "scheme": "-", "rank": 0, "seed": "-"}, "backbone 'fastspeech2'"),
    ],
    ids=str,
)
def test_impossible_cells_are_refused_by_axis_and_value(changes, said):
    cell = Cell(**{**LORA.as_dict(), **changes})
    with pytest.raises(ConfigError, match=said):
        check_cell(cell, StudyConfig())
