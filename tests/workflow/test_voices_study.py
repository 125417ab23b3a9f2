"""The smoke study with one voice left out of pre-training, run through the real Snakefile to its page."""

import csv
import json

import pytest
from running import HERE, ROOT, SMOKE, run

from eele.cells import sweep
from eele.config import load_study
from eele.neutral import NeutralModel, read_tensors

pytestmark = pytest.mark.workflow

NEW = "demo_steph"
CELL = "backbone~fastspeech2/method~{}/scheme~{}/rank~{}/emotion~neutral/seed~1"
VOICE, LORA = CELL.format("voice", "-", 0), CELL.format("lora", "transformers", 2)
HIDDEN = 48


@pytest.fixture(scope="module")
def study(heard):
    """Results of the finished study."""
    folder = heard("voices")
    done = run(
        "--cores", "2", "--quiet", "rules", "--snakefile", ROOT / "Snakefile",
        "--configfile", SMOKE, HERE / "tiny_voices.yaml", cwd=folder, timeout=900, check=True,
    )  # fmt: skip
    # What is known of the recordings is the same whoever is left out.
    heard_before = {"assemble_manifest", "align", "extract_features", "train_judge"}
    assert not (heard_before | {"train_recogniser"}) & set(done.jobs)
    return folder / "results" / "smoke"


def read(study, cell, name):
    return json.loads((study / "cells" / cell / name).read_text(encoding="utf-8"))


def rows(study, name):
    with open(study / name, encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_the_neutral_model_has_not_heard_the_new_voice(study):
    neutral = NeutralModel.open(study / "neutral")
    assert (neutral.speakers, neutral.new_voices) == (("demo_mark", NEW), (NEW,))
    # It speaks for it with the mean of those it knows: here of one.
    known, new = neutral.load(study / "neutral").speaker_embedding.weight
    assert known.equal(new)
    training = json.loads((study / "neutral" / "training.json").read_text(encoding="utf-8"))
    manifest = rows(study, "manifest.csv")
    mine = [r for r in manifest if r["emotion"] == "neutral" and r["split"] == "train"]
    assert training["utterances"] == sum(r["speaker"] != NEW for r in mine)
    assert read(study, VOICE, "adapter/training.json")["utterances"] == sum(
        r["speaker"] == NEW for r in mine
    )


def test_every_cell_learns_the_voice_beside_its_own_weights(study):
    state = read_tensors(study / "cells" / VOICE / "adapter" / "adapter.safetensors")
    assert [tuple(weights.shape) for weights in state.values()] == [(1, HIDDEN)]
    assert all(weights.any() for weights in state.values())
    assert read(study, VOICE, "adapter/training.json")["trainable_parameters"] == HIDDEN
    beside = read_tensors(study / "cells" / LORA / "adapter" / "adapter.safetensors")
    assert state.keys() < beside.keys()
    counted = read(study, LORA, "adapter/training.json")
    assert counted["trainable_parameters"] == sum(weights.numel() for weights in beside.values())
    # A voice is heard in every loss.
    assert counted["loss_terms"] == ["duration", "energy", "mel", "pitch", "postnet"]


def test_cells_are_scored_on_the_new_voice_to_the_page(study):
    cells = sweep(load_study(study / "config.resolved.yaml"))
    found = rows(study, "tables/cells.csv")
    assert len(found) == len(cells) == 6 and {row["emotion"] for row in found} == {"neutral"}
    for cell in cells:
        said = rows(study, f"cells/{cell.path}/utterances.csv")
        assert {row["speaker"] for row in said} == {NEW} and len(said) == 3
    scores = {row["method"]: float(row["speaker_similarity"]) for row in found}
    # The recordings are the new voice; the average of others is not.
    assert scores["recording"] > 0.6 > 0.4 > scores["none"]
    tasks = {row["method"]: row for row in rows(study, "tables/tasks.csv")}
    assert tasks["voice"]["trainable_parameters"] == str(HIDDEN)
    assert tasks["full"]["share_percent"] == "100.0"
    assert (study / "tables" / "tasks.tex").is_file()
    assert {row["agrees"] for row in rows(study, "tables/findings.csv")} == {"not tested"}
    page = (study / "report" / "index.html").read_text(encoding="utf-8")
    assert f"has not heard {NEW}" in page and 'id="table-tasks"' in page
    assert "Differences in speaker similarity" in page


def test_unplugged_the_voice_is_the_neutral_models_bit_for_bit(study):
    points = {row["at"]: row for row in rows(study, "combining/stronger/points.csv")}
    assert points["0.0"]["same_as_neutral"] == points["0.0"]["n_total"] == "3"
    assert points["1.0"]["same_as_neutral"] == "0"
