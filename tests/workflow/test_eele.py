"""The paper's study on corpora of the official layouts, two speakers each: planned whole, run in small."""

import json
import re
import subprocess
import sys

import corpora_samples as samples
import pandas as pd
import pytest
from running import HERE, ROOT, run

from eele.corpora.demo import sentences
from eele.paths import StudyPaths

pytestmark = pytest.mark.workflow

EELE = ROOT / "config" / "studies" / "eele.yaml"
#: Speaker -> voice of the generated corpus.
VCTK, ESD = {"p225": 0, "p226": 1}, {"0011": 2, "0012": 3}
SCHEMES, RANKS, EMOTIONS, SEEDS = 8, 5, 4, 3
TRAINED = SCHEMES * RANKS * EMOTIONS * SEEDS + EMOTIONS * SEEDS
BASELINES = 3 * (EMOTIONS + 1)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Working directory with data/vctk and data/esd; the voices of all four speakers differ."""
    folder = tmp_path_factory.mktemp("eele")
    (folder / "scripts").symlink_to(ROOT / "scripts")
    parallel, neutral = sentences()
    samples.miniature_vctk(folder / "data" / "vctk", VCTK, neutral[:12])
    samples.miniature_esd(folder / "data" / "esd", ESD, parallel[:8])
    # Half of ESD is Mandarin, which this study leaves out.
    samples.write(folder / "data" / "esd" / "0001" / "Neutral" / "0001_000001.wav")
    return folder


@pytest.fixture(scope="module")
def study(place):
    """The study with tiny sizes, run to its page."""
    ask(place, HERE / "tiny_vits2.yaml", HERE / "tiny_study.yaml", timeout=900)
    return StudyPaths(place / "results" / "eele")


@pytest.fixture(scope="module")
def manifest(study):
    return pd.read_csv(study.manifest, dtype=str)


def ask(place, *files, arguments=(), **options):
    return run(
        *arguments, "--cores", "2", "--quiet", "rules", "--snakefile", ROOT / "Snakefile",
        "--configfile", EELE, *files, cwd=place, check=True, **options,
    )  # fmt: skip


def test_its_config_is_valid():
    answer = subprocess.run(
        [sys.executable, "-m", "eele.cli", "validate", str(EELE)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert f"{TRAINED + BASELINES} cells, {TRAINED} of them trained" in answer.stdout


def test_a_dry_run_lists_every_cell_of_the_paper(place, capsys):
    answer = run(
        "-n", "--snakefile", ROOT / "Snakefile", "--configfile", EELE, cwd=place, check=True
    )
    with capsys.disabled():
        print(f" [{TRAINED + BASELINES} cells planned in {answer.cpu_s:.1f} s]", end="")
    assert answer.jobs["train_cell"] == TRAINED == 492
    assert answer.jobs["synthesise_cell"] == answer.jobs["score_cell"] == TRAINED + BASELINES
    listed = re.findall(
        r"output: results/eele/cells/(\S+)/adapter/adapter.safetensors", answer.text
    )
    assert len(set(listed)) == TRAINED
    axes = [set(re.findall(rf"{axis}~([^/\n]+)", "\n".join(listed)))
            for axis in ("method", "scheme", "rank", "emotion", "seed")]  # fmt: skip
    assert axes == [
        {"lora", "full"},
        {*"abcdefgh", "-"},
        {"0", "2", "4", "8", "16", "32"},
        {"angry", "happy", "sad", "surprised"},
        {"1", "2", "3"},
    ]
    assert answer.cpu_s < 60


def test_both_corpora_are_read_as_they_are_published(study, manifest):
    assert {path.name for path in study.root.glob("corpora/*")} == {"vctk", "esd"}
    assert set(manifest["speaker"]) == {f"vctk_{s}" for s in VCTK} | {f"esd_{s}" for s in ESD}
    assert len(manifest) == 2 * 12 + 2 * 5 * 8
    of = manifest.groupby("corpus")["emotion"].agg(set)
    assert of["vctk"] == {"neutral"}
    assert of["esd"] == {"neutral", "angry", "happy", "sad", "surprised"}


def test_what_is_tested_is_parallel_and_never_heard(manifest):
    esd = manifest[manifest["corpus"] == "esd"]
    assert (esd.groupby("sentence")["emotion"].nunique() == 5).all()
    assert (manifest.groupby("sentence")["split"].nunique() == 1).all()
    assert set(manifest.loc[manifest["corpus"] == "vctk", "split"]) == {"train"}
    assert esd.groupby("split")["sentence"].nunique().to_dict() == {
        "train": 5,
        "validation": 1,
        "test": 2,
    }


def test_the_neutral_model_learns_everybodys_neutral_speech(study, manifest):
    """A speaker it never heard could not be adapted: ESD's neutral speech belongs to the pre-training."""
    model = json.loads((study.neutral / "model.json").read_text())
    assert list(model["speakers"]) == sorted(set(manifest["speaker"]))
    aligned = pd.read_csv(study.features / "index.csv", dtype=str)["utterance_id"]
    heard = manifest[manifest["utterance_id"].isin(aligned) & (manifest["split"] == "train")]
    neutral = heard[heard["emotion"] == "neutral"]
    assert set(neutral["corpus"]) == {"vctk", "esd"}
    training = json.loads((study.neutral / "training.json").read_text())
    assert training["utterances"] == len(neutral)
    cell = next(study.root.glob("cells/backbone~vits2/method~lora/scheme~a/*/emotion~angry/seed~1"))
    facts = json.loads((cell / "adapter" / "training.json").read_text())
    assert facts["utterances"] == (heard["emotion"] == "angry").sum() > 0


def test_the_emotional_speakers_are_adapted_tested_and_judged(study):
    for speech in study.root.glob("cells/**/speech/speech.csv"):
        assert set(pd.read_csv(speech, dtype=str)["speaker"]) == {f"esd_{s}" for s in ESD}


def test_it_runs_to_its_page(study, place):
    assert (study.root / "report" / "index.html").is_file()
    cells = pd.read_csv(study.root / "tables" / "cells.csv")
    assert len(cells) == 2 * 2 + 2 + 3 * 3
    assert cells["n_total"].min() == 4
    assert cells[["emotion_accuracy", "phone_error_rate", "speaker_similarity"]].notna().all(None)
    files = (HERE / "tiny_vits2.yaml", HERE / "tiny_study.yaml")
    assert "Nothing to be done" in ask(place, *files, arguments=["-n"]).text
