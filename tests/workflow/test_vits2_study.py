"""The smoke study on VITS2, run through the real Snakefile to its page."""

import csv
import json

import pytest
from running import HERE, ROOT, SMOKE, run

from eele.cells import sweep
from eele.config import load_study
from eele.neutral import NeutralModel
from eele.sites import backbone_sites

pytestmark = pytest.mark.workflow

#: The fewest schemes that reach every site: duration and text encoder (f), flow and decoder (d).
SWEEP = (
    "sweep=[{method: lora, schemes: [f], ranks: [%s]}, {method: lora, schemes: [d], ranks: [2]},"
    " {method: full}]"
)
SITES = {"f": ("duration", "text_encoder"), "d": ("flow", "decoder")}
#: What each scheme's weights can lower; the rest of the losses is not computed in its cells.
TERMS = {
    "f": ["duration", "duration_adversarial", "kl"],
    "d": ["adversarial", "features", "kl", "mel"],
}
LORA = "backbone~vits2/method~lora/scheme~{}/rank~2/emotion~happy/seed~1"
FULL = "backbone~vits2/method~full/scheme~-/rank~0/emotion~happy/seed~1"
TABLES = {"make_tables": 1, "make_figures": 1, "make_page": 1}


def ask(folder, *arguments, ranks="2", config=(), **options):
    """Run the study in `folder`; `ranks` of its scheme f, further config values."""
    return run(
        *arguments, "--cores", "2", "--quiet", "rules", "--snakefile", ROOT / "Snakefile",
        "--configfile", SMOKE, HERE / "tiny_vits2.yaml", "--config", SWEEP % ranks, *config,
        cwd=folder, check=True, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(heard):
    """Working directory of the finished study."""
    folder = heard("vits2")
    done = ask(folder, timeout=900)
    # What a backbone does not change was heard before.
    assert not {"align", "extract_features", "train_judge", "train_recogniser"} & set(done.jobs)
    return folder


@pytest.fixture(scope="module")
def study(folder):
    return folder / "results" / "smoke"


@pytest.fixture(scope="module")
def rows(study):
    with open(study / "tables" / "cells.csv", encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def read(study, cell, name):
    return json.loads((study / "cells" / cell / name).read_text(encoding="utf-8"))


def test_the_page_shows_every_cell_scored(study, rows):
    assert (study / "report" / "index.html").is_file()
    cells = sweep(load_study(study / "config.resolved.yaml"))
    axes = ("backbone", "method", "scheme", "rank", "emotion", "seed")
    assert sorted(tuple(row[axis] for axis in axes) for row in rows) == sorted(
        tuple(str(value) for value in cell.as_dict().values()) for cell in cells
    )
    assert [row["method"] for row in rows].count("lora") == 2
    for row in rows:
        assert int(row["n_total"]) == 6
        needed = {"emotion_accuracy", "phone_error_rate", "rate_ratio", "speaker_similarity"}
        needed |= {"mcd_db"} if row["method"] != "recording" else set()
        assert {column for column in needed if row[column] == ""} == set()


def test_a_voice_of_a_few_steps_fails_in_nothing_but_its_pitch(study):
    """A hoarse one has no F0 to compare; everything else is measured of every utterance."""
    for cell in sweep(load_study(study / "config.resolved.yaml")):
        for failure in read(study, cell.path, "metrics.json")["failures"]:
            assert cell.backbone == "vits2"
            assert all(part.strip().startswith(("log_f0_", "f0_")) for part in
                       failure["reason"].split(";"))  # fmt: skip


def test_the_critic_of_the_pretraining_is_kept_for_the_cells(study):
    assert (study / "neutral" / "critic.safetensors").stat().st_size > 0
    # Scheme d trains no durations and needs no judge of them; f none of the waveform; full both.
    f, d, full = (
        read(study, cell, "adapter/training.json")["critic_parameters"]
        for cell in (LORA.format("f"), LORA.format("d"), FULL)
    )
    assert min(f, d) > 0
    assert f + d == full


def test_a_cell_trains_on_the_losses_its_sites_can_lower(study):
    facts = {s: read(study, LORA.format(s), "adapter/training.json") for s in SITES}
    assert {s: found["loss_terms"] for s, found in facts.items()} == TERMS
    every = sorted({term for terms in TERMS.values() for term in terms})
    assert read(study, FULL, "adapter/training.json")["loss_terms"] == every
    model = NeutralModel.open(study / "neutral").load(study / "neutral")
    for scheme, sites in SITES.items():
        assert sorted({term for s in sites for term in model.site_losses[s]}) == TERMS[scheme]
    for scheme in SITES:
        with open(study / "cells" / LORA.format(scheme) / "adapter" / "curves.csv") as handle:
            columns = set(next(csv.reader(handle)))
        assert columns & set(every) == set(TERMS[scheme])


def test_what_a_scheme_holds_is_wrapped_or_listed(study, rows):
    neutral = NeutralModel.open(study / "neutral")
    model = neutral.load(study / "neutral")
    for scheme, sites in SITES.items():
        found = read(study, LORA.format(scheme), "adapter/training.json")
        bare = [entry["module"] for entry in found["unwrappable"]]
        wrapped = read(study, LORA.format(scheme), "adapter/adapter.json")["wrapped"]
        modules = {
            name for site in sites for name in backbone_sites(neutral.backbone).modules(model, site)
        }
        assert sorted([*bare, *wrapped]) == sorted(modules)
        assert all("Norm" in e["type"] or "Attention" in e["type"] for e in found["unwrappable"])
        assert all(e["type"] in e["reason"] for e in found["unwrappable"])
        (row,) = [row for row in rows if row["scheme"] == scheme]
        assert int(row["trainable_parameters"]) == found["trainable_parameters"] > 0


def test_a_second_run_has_nothing_to_do(folder):
    assert "Nothing to be done" in ask(folder).text


def test_a_rank_more_reruns_its_cell_alone(folder):
    jobs = ask(folder, "-n", ranks="2, 3").jobs
    assert jobs == {"train_cell": 1, "synthesise_cell": 1, "score_cell": 1, **TABLES}


def test_the_sizes_of_another_backbone_are_nothing_to_this_study(folder):
    other = "backbone={fastspeech2: {hidden_size: 64}}"
    jobs = ask(folder, "-n", config=[other]).jobs
    # The page shows the whole config.
    assert set(jobs) <= set(TABLES)


def test_a_changed_size_reruns_the_pretraining_and_all_that_follows(folder):
    jobs = ask(folder, "-n", config=["backbone={vits2: {posterior_layers: 3}}"]).jobs
    # Copy synthesis goes through the model as well; recordings do not.
    assert jobs == {
        "pretrain": 1,
        "train_cell": 3,
        "synthesise_cell": 7,
        "score_cell": 7,
        **TABLES,
    }
