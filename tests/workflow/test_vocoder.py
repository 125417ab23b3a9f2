"""The vocoder hifigan in the smoke study: trained once, where it makes the speech, and nowhere else."""

import json

import pytest
from running import HERE, ROOT, SMOKE, run

pytestmark = pytest.mark.workflow

CELL = "results/smoke/cells/backbone~-/method~{}/scheme~-/rank~0/emotion~happy/seed~-/metrics.json"
COPY, RECORDING = CELL.format("copy_synthesis"), CELL.format("recording")
HIFIGAN = HERE / "tiny_hifigan.yaml"


@pytest.fixture(scope="module")
def folder(heard):
    return heard("vocoder")


def ask(folder, *arguments, files=(HIFIGAN,), config=(), **options):
    overrides = ["--config", *config] if config else []
    return run(
        *arguments, "--cores", "2", "--quiet", "rules", "--snakefile", ROOT / "Snakefile",
        "--configfile", SMOKE, *files, *overrides, cwd=folder, check=True, **options,
    )  # fmt: skip


def test_it_is_trained_once_for_all_cells(folder):
    jobs = ask(folder, "-n").jobs
    assert jobs["train_vocoder"] == 1
    assert (jobs["train_cell"], jobs["synthesise_cell"]) == (3, 9)


@pytest.mark.parametrize(
    "files", [(), (HERE / "tiny_vits2.yaml", HIFIGAN)], ids=["griffin_lim", "vits2"]
)
def test_it_is_not_trained_where_it_speaks_nothing(folder, files):
    """Griffin-Lim has nothing to learn, and VITS2 makes the waveform itself."""
    jobs = ask(folder, "-n", files=files).jobs
    assert jobs["pretrain"] == 1
    assert "train_vocoder" not in jobs


def test_recordings_need_none(folder):
    assert ask(folder, "-n", RECORDING).jobs == {"synthesise_cell": 1, "score_cell": 1}


def test_recordings_go_through_it_and_are_scored(folder):
    """Last of the module: from here on the folder has a vocoder."""
    done = ask(folder, COPY, timeout=300)
    assert done.jobs == {"train_vocoder": 1, "synthesise_cell": 1, "score_cell": 1}
    made = folder / "results" / "smoke" / "vocoder"
    assert json.loads((made / "training.json").read_text())["steps"] == 4
    assert (made / "critic.safetensors").stat().st_size > 0
    found = json.loads((folder / COPY).read_text(encoding="utf-8"))
    assert found["n_total"] == 6
    assert found["scores"]["mcd_db"] > 0
    assert "Nothing to be done" in ask(folder, "-n", COPY).text
    # Its config is a config of the speech it makes; with the other vocoder it is not asked.
    again = ask(folder, "-n", COPY, config=["vocoder={steps: 5}"]).jobs
    assert again == {"train_vocoder": 1, "synthesise_cell": 1, "score_cell": 1}
    other = ask(folder, "-n", COPY, config=["synthesis={vocoder: griffin_lim}"]).jobs
    assert other == {"synthesise_cell": 1, "score_cell": 1}
