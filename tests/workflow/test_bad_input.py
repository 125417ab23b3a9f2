"""Bad input: one clear message, a non-zero exit code, nothing half-written. One table of it all."""

import csv
import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time

import bad_input
import corpora_samples as samples
import numpy as np
import pytest
from bad_input import Case, Place, archive, contents, execute
from running import ROOT, SMOKE

LORA = "backbone~fastspeech2/method~lora/scheme~b/rank~2/emotion~happy/seed~1"
COLLECT = ("collect_corpus", "--corpus", "box")
CLEAN = ("clean_corpus", "--corpus", "box")
EXTRACT = ("extract_features", "--shard", "0")
TRAIN = ("train_cell", "--cell", LORA)
SAY = ("eele", "say", "aiu uai.", "-o", "said.wav", "--study")


def config(text):
    """config.yaml holds this text."""
    return lambda place: (place.root / "config.yaml").write_text(text)


def setting(**values):
    """These values in the config."""
    return lambda place: place.set(**values)


def do(*steps):
    """One after another."""

    def all_of_them(place):
        for step in steps:
            step(place)

    return all_of_them


def corpus(**options):
    """A corpus `box`; see Place.corpus."""
    return lambda place: place.corpus(**options)


def collected(place):
    place.collected()


def cleaned(place):
    place.corpus()
    place.collected(clean=True)


def truncated(pattern, kept=0.5):
    """The first file that fits loses its end."""

    def cut(place):
        path = place.any(pattern)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])

    return cut


def gone(pattern):
    """The first file or folder that fits is not there."""

    def remove(place):
        path = place.any(pattern)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


def emptied(folder):
    """The folder is there, and empty."""

    def empty(place):
        shutil.rmtree(place.paths.root / folder, ignore_errors=True)
        (place.paths.root / folder).mkdir(parents=True)

    return empty


def written(name, data):
    """This file of the study holds these bytes."""

    def write(place):
        path = place.paths.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return write


def transcripts(language="en", text=""):
    """Every row of the manifest in this language, with this text where one is given."""

    def rewrite(place):
        with place.paths.manifest.open(newline="", encoding="utf-8") as handle:
            rows = [row | {"language": language} for row in csv.DictReader(handle)]
        rows = [row | {"text": text} for row in rows] if text else rows
        with place.paths.manifest.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    return rewrite


def many_rejected(place):
    root = place.corpus()
    for number in range(3):
        (root / f"audio/u0{number}.wav").write_bytes(b"")
    place.collected()


def download(name, sha256):
    """config/datasets.tsv offers the corpus under this name of our server."""

    def offer(place):
        place.set(corpora=[{"adapter": "ljspeech", "name": "box"}])
        (place.root / "config").mkdir()
        (place.root / "config" / "datasets.tsv").write_text(
            "adapter\tversion\turl\tsha256\tlicence\n"
            f"ljspeech\t1.1\t{place.url}/{name}\t{sha256}\tpublic domain\n"
        )

    return offer


def other_neutral_model(place):
    facts = place.paths.root / "cells" / LORA / "adapter" / "adapter.json"
    values = json.loads(facts.read_text())
    facts.write_text(json.dumps(values | {"base_sha256": "0" * 64}))


GOOD = hashlib.sha256(archive()).hexdigest()
ESCAPING = hashlib.sha256(archive(escaping=True)).hexdigest()

CASES = {
    # config
    "config file missing": Case(
        ("eele", "validate", "nowhere.yaml"), ("config file not found", "nowhere.yaml"), code=2
    ),
    "config not YAML": Case(
        COLLECT, ("config.yaml", "not valid YAML", "line 2"), config("study: tones\n a: [1,\n"), 2
    ),
    "config not UTF-8": Case(
        COLLECT,
        ("config.yaml", "cannot be read", "utf-8"),
        lambda place: (place.root / "config.yaml").write_bytes("title: é\n".encode("latin-1")),
        2,
    ),
    "config a list": Case(COLLECT, ("config.yaml", "`key: value`", "list"), config("- a\n"), 2),
    "config typo": Case(
        COLLECT,
        ("config.yaml", "adaptation.stepps", "did you mean 'steps'", "allowed here"),
        setting(adaptation={"stepps": 3}),
        2,
    ),
    "unknown emotion": Case(
        COLLECT, ("emotions.0", "'angryy'", "'angry'"), setting(emotions=["angryy"]), 2
    ),
    "rank 0": Case(
        TRAIN,
        ("sweep.0.ranks.0", "got 0", "greater than or equal to 1"),
        setting(sweep=[{"method": "lora", "schemes": ["a"], "ranks": [0]}]),
        2,
    ),
    "unknown site": Case(
        TRAIN, ("schemes.mine", "'flow'", "text_encoder"), setting(schemes={"mine": ["flow"]}), 2
    ),
    "no such GPU": Case(
        ("pretrain",),
        ("runtime.device 'cuda:99'", "not possible on this machine", "allowed: auto, cpu"),
        setting(runtime={"device": "cuda:99"}),
        2,
    ),
    "no such GPU for the recogniser": Case(
        ("train_recogniser",),
        ("runtime.device 'cuda:99'", "not possible on this machine", "allowed: auto, cpu"),
        setting(runtime={"device": "cuda:99"}),
        2,
    ),
    # command line
    "cell of rank 0": Case(
        ("train_cell", "--cell", LORA.replace("rank~2", "rank~0")),
        ("rank 0", "1 or larger"),
        code=2,
    ),
    "cell of an unknown scheme": Case(
        ("train_cell", "--cell", LORA.replace("scheme~b", "scheme~z")),
        ("scheme 'z'", "allowed: a, b"),
        code=2,
    ),
    "results is a file": Case(
        (*COLLECT, "--results", "words.dict"), ("words.dict", "Not a directory"), corpus()
    ),
    # corpus
    "corpus folder missing": Case(
        COLLECT, ("corpus box", "nothing found at data/box", "Put metadata.csv there")
    ),
    "metadata without a column": Case(
        COLLECT,
        ("data/box/metadata.csv", "column emotion missing", "the header has: utterance_id"),
        corpus(drop="emotion"),
    ),
    "metadata not UTF-8": Case(
        COLLECT,
        ("data/box/metadata.csv", "not text", "save the file as UTF-8"),
        lambda place: (place.corpus() / "metadata.csv").write_bytes("é".encode("latin-1")),
    ),
    "speaker of the config not in the corpus": Case(
        COLLECT,
        ("corpus box", "speakers: carl", "it has: anna"),
        do(
            corpus(),
            setting(
                corpora=[{"adapter": "folder", "name": "box", "root": "box", "speakers": ["carl"]}]
            ),
        ),
        2,
    ),
    "too many rejected": Case(
        CLEAN,
        ("corpus box", "3 of 12", "max_rejected_share", "empty 3", "rejected_too_many.csv"),
        many_rejected,
        leaves=("*/box/.cleaning*", "*/box/rejected_too_many.csv"),
    ),
    "unknown adaptation speaker": Case(
        ("assemble_manifest",),
        ("adaptation.speakers", "carl", "box_anna"),
        do(cleaned, setting(adaptation={"speakers": ["carl"]})),
        2,
    ),
    "emotion absent from the corpora": Case(
        ("assemble_manifest",),
        ("emotions", "no utterance in sad", "happy (6)"),
        do(cleaned, setting(emotions=["sad"])),
        2,
    ),
    # download
    "interrupted download": Case(
        COLLECT, ("/cut.zip", "could not be downloaded", "run again"), download("cut.zip", GOOD)
    ),
    "wrong sha256": Case(
        COLLECT,
        ("/good.zip", "not the expected file", "run again"),
        download("good.zip", "0" * 64),
    ),
    "archive that reaches outside": Case(
        COLLECT,
        ("escaping.zip", "refused", "../../escaped.txt", "reaches outside"),
        download("escaping.zip", ESCAPING),
    ),
    # text
    "unknown language": Case(
        ("build_lexicon",),
        ("language 'xx'", "espeak-ng", "set `language`"),
        do(setting(lexicon={"source": "espeak"}), transcripts("xx")),
        2,
    ),
    "transcripts in another script": Case(
        ("build_lexicon",),
        ("language 'en'", "spells out", "correct `language`"),
        do(setting(lexicon={"source": "espeak"}), transcripts(text="我们 明天 见面")),
    ),
    "dictionary missing": Case(
        ("build_lexicon",),
        ("lexicon.dictionary: absent.dict", "is no file", "lexicon.source: espeak"),
        setting(lexicon={"dictionary": "absent.dict"}),
    ),
    "dictionary lacks words": Case(
        ("build_lexicon",),
        ("words.dict lacks", "uai (4)", "at most 5%", "lexicon.source: espeak"),
        lambda place: (place.root / "words.dict").write_text("aiu\ta i u\n"),
    ),
    # alignment
    "too little speech": Case(
        ("train_aligner",), ("too few", "'en'", "alignment.gmm.min_speech_s", "aligner: mfa")
    ),
    "mfa not installed": Case(
        ("train_aligner",),
        ("`mfa`", "not on PATH", "envs/mfa.yaml", "alignment.aligner: gmm"),
        setting(alignment={"aligner": "mfa"}),
    ),
    "TextGrid damaged": Case(
        EXTRACT, (".TextGrid", "damaged", "align again"), truncated("alignment/*/*/*.TextGrid")
    ),
    "TextGrid missing": Case(
        EXTRACT, (".TextGrid is missing", "align again"), gone("alignment/*/*/*.TextGrid")
    ),
    # audio and features
    "clean recording vanished": Case(
        EXTRACT,
        ("/clean/", ".flac", "cannot be read", "clean the corpus again"),
        gone("corpora/*/clean/*/*.flac"),
    ),
    "clean recording damaged": Case(
        EXTRACT,
        ("/clean/", ".flac", "cannot be read", "clean the corpus again"),
        truncated("corpora/*/clean/*/*.flac"),
    ),
    "phones.json damaged": Case(
        EXTRACT, ("phones.json", "damaged JSON", "delete the file"), truncated("*/phones.json")
    ),
    "feature shard missing": Case(
        ("index_features",), ("shard~0 is missing", "extract that shard"), gone("features/shard~0")
    ),
    "feature shard truncated": Case(
        ("pretrain",),
        ("shard~0/mel.npy", "cannot be read", "delete", "run again"),
        truncated("features/shard~0/mel.npy"),
    ),
    # checkpoints and models
    "checkpoint damaged": Case(
        ("pretrain",),
        ("checkpoints/neutral.pt", "damaged checkpoint", "delete it"),
        written("checkpoints/neutral.pt", b"PK\x03\x04 and nothing more"),
    ),
    "neutral model truncated": Case(
        TRAIN,
        ("neutral/model.safetensors", "cannot be read as safetensors", "delete it"),
        truncated("neutral/model.safetensors"),
    ),
    "neutral model without facts": Case(
        TRAIN, ("neutral/model.json", "missing", "train the neutral model"), gone("*/model.json")
    ),
    "adapter damaged": Case(
        ("synthesise_cell", "--cell", LORA),
        ("adapter.safetensors", "cannot be read as safetensors", "delete it"),
        truncated(f"cells/{LORA}/adapter/adapter.safetensors"),
    ),
    "adapter of another neutral model": Case(
        (*SAY, "tones", "--cell", "lora/b/2/happy"),
        ("adapter was trained on another neutral model", "000000000000", "train the cell again"),
        other_neutral_model,
    ),
    # eele say
    "say: unknown study": Case(
        (*SAY, "tunes"), ("no study 'tunes' in results/", "there: tones"), code=2
    ),
    "say: unknown cell": Case(
        (*SAY, "tones", "--cell", "lora/z/2/happy"), ("scheme 'z'", "allowed: a, b, c"), code=2
    ),
    "say: cell not trained": Case(
        (*SAY, "tones", "--cell", "lora/b/64/happy"),
        ("rank~64", "not trained yet", "run: snakemake results/tones/cells"),
        code=2,
    ),
    "say: full mixed with lora": Case(
        (*SAY, "tones", "--cell", "full/happy", "--cell", "lora/b/2/happy:0.5"),
        ("--cell", "method full", "cannot be mixed"),
        code=2,
    ),
    "say: unknown speaker": Case(
        (*SAY, "tones", "--speaker", "carl"), ("--speaker carl", "known: box_anna"), code=2
    ),
    "say: unknown language": Case(
        (*SAY, "tones", "--language", "xx"), ("aiu", "(xx)", "lexicon", "(en)")
    ),
    "say: output is no file": Case(
        (*SAY, "tones", "-o", "data"), ("-o data", "not a regular file", "WAV"), code=2
    ),
    # disk
    "disk full: clean recordings": Case(
        CLEAN,
        ("corpus box", "cannot write", "corpora/box/.cleaning", "free some disk space"),
        do(corpus(), collected),
        full_disk="corpora/box",
        leaves=("*/box/.cleaning*",),
    ),
    "disk full: features": Case(
        EXTRACT,
        ("no space left on the disk", "features/shard~0", "free some"),
        emptied("features"),
        full_disk="features",
    ),
    "disk full: checkpoint": Case(
        ("pretrain",),
        ("no space left on the disk", "checkpoints/neutral.pt", "free some"),
        emptied("checkpoints"),
        full_disk="checkpoints",
    ),
    "disk full: model": Case(
        ("pretrain",),
        ("no space left on the disk", "free some"),
        emptied("neutral"),
        full_disk="neutral",
        leaves=("*/checkpoints/neutral.pt", "*/neutral/tensorboard*"),
    ),
    "disk full: speech": Case(
        ("synthesise_cell", "--cell", LORA),
        ("no space left on the disk", "free some"),
        emptied(f"cells/{LORA}/speech"),
        full_disk=f"cells/{LORA}",
    ),
    "file larger than ulimit -f": Case(
        EXTRACT,
        ("File too large", "features/shard~0", "ulimit -f"),
        emptied("features"),
        largest_file=32 * 1024,
    ),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The small study everything is spoilt in."""
    return bad_input.finished_study(tmp_path_factory.mktemp("finished")).root


@pytest.fixture(scope="module")
def url():
    with bad_input.server() as running:
        yield running


@pytest.fixture(scope="module")
def warm():
    process = bad_input.Warm()
    yield process
    process.end()


@pytest.fixture
def place(finished, url, tmp_path):
    """A copy of the small study."""
    return Place(shutil.copytree(finished, tmp_path / "work"), url)


def clear(answer, verb, said, code):
    """Whether the answer is one message, with all its parts, and nothing else."""
    assert answer.returncode == code, answer.stderr
    assert answer.stdout == ""
    lines = answer.stderr.strip().splitlines()
    assert [line for line in lines if line.startswith(f"{verb}: ")] == lines[:1]
    assert "Traceback" not in answer.stderr
    assert "unexpected" not in answer.stderr
    assert [part for part in said if part not in answer.stderr] == [], answer.stderr
    return True


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_bad_input_is_told_once_and_leaves_nothing(case, place, warm):
    if case.full_disk and not bad_input.can_mount():
        pytest.skip("a full disk needs `unshare` and user name spaces (Linux)")
    case.arrange(place)
    bad_input.write_config(place)
    before = contents(place.root, but=case.leaves)
    answer = execute(place, case, warm)
    if case.full_disk:
        bad_input.back_from_disk(place.paths.root / case.full_disk)
    assert clear(answer, case.command[0], case.said, case.code)
    assert contents(place.root, but=case.leaves) == before


def broken(root, path):
    (root / path).write_bytes(b"fLaC" + bytes(range(200)))


def clipped(root, path):
    noise = np.random.default_rng(1).normal(0, 3, 16_000)
    samples.write(root / path, np.clip(noise, -1, 1))


SET_ASIDE = {
    "broken": ("broken", broken, {}),
    "empty file": ("empty", lambda root, path: (root / path).write_bytes(b""), {}),
    "no file": ("missing_file", lambda root, path: (root / path).unlink(), {}),
    "clipped noise": ("clipped", clipped, {}),
    "too short": (
        "too_short",
        lambda root, path: samples.write(root / path, samples.speechlike(0.2)),
        {},
    ),
    "silence": ("silent", lambda root, path: samples.write(root / path, np.zeros(16_000)), {}),
    "no transcript": ("missing_transcript", None, {"text": ""}),
    "duplicate id": ("duplicate_id", None, {"utterance_id": "u01"}),
    "unknown emotion": ("unknown_emotion", None, {"emotion": "angryy"}),
    "path outside": ("outside_folder", None, {"path": "../../words.dict"}),
}


@pytest.mark.parametrize("reason, spoil, values", SET_ASIDE.values(), ids=SET_ASIDE)
def test_one_bad_recording_is_set_aside_and_counted(place, reason, spoil, values):
    root = place.corpus(**values)
    if spoil is not None:
        spoil(root, "audio/u00.wav")
    place.collected(clean=True)
    folder = place.paths.corpus("box")
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["n_accepted"], summary["n_rejected"]) == (11, 1)
    assert summary["by_reason"] == {reason: 1}
    with (folder / "rejected.csv").open(newline="", encoding="utf-8") as handle:
        (row,) = csv.DictReader(handle)
    assert row["reason"] == reason
    assert row["detail"]


def test_what_a_job_says_is_seen_once_in_a_run_of_snakemake(place):
    place.corpus(drop="emotion")
    bad_input.write_config(place)
    (place.root / "scripts").symlink_to(ROOT / "scripts")
    target = "results/tones/corpora/box/manifest.csv"
    command = ("snakemake", target, "--cores", "1", "--snakefile", str(ROOT / "Snakefile"))
    known = ("results/tones/benchmarks*",)  # folders Snakemake makes for every job
    before = contents(place.root, known)
    answer = execute(place, Case((*command, "--configfile", "config.yaml"), ()))
    assert answer.returncode == 1
    assert answer.stderr.count("column emotion missing") == 1
    assert "collect_corpus: data/box/metadata.csv" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert contents(place.root, known) == before


def test_a_config_that_is_no_yaml_is_refused_by_snakemake(place):
    (place.root / "config.yaml").write_text("study: tones\n a: [1,\n")
    command = ("snakemake", "-n", "--snakefile", str(ROOT / "Snakefile"))
    before = contents(place.root)
    answer = execute(place, Case((*command, "--configfile", "config.yaml"), ()))
    assert answer.returncode == 1
    # Snakemake's own words; `eele validate` names file and line.
    assert "Config file is not valid JSON or YAML" in answer.stdout
    assert "Traceback" not in answer.stdout + answer.stderr
    assert contents(place.root) == before


def test_the_same_study_twice_at_once_is_refused(place):
    (place.root / "scripts").symlink_to(ROOT / "scripts")
    target = "results/smoke/corpora/demo/manifest.csv"
    command = ("snakemake", target, "--cores", "1", "--snakefile", str(ROOT / "Snakefile"))
    case = Case((*command, "--configfile", str(SMOKE)), ())
    first = subprocess.Popen(
        [sys.executable, "-m", *case.command],
        cwd=place.root,
        env=bad_input.environment(place),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    locks = place.root / ".snakemake" / "locks"
    try:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size for path in locks.glob("*.output.lock")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        first.send_signal(
            signal.SIGSTOP
        )  # held still, it neither finishes nor lets go of the study
        answer = execute(place, case)
    finally:
        first.kill()
        first.wait()
    assert answer.returncode == 1
    assert "cannot be locked" in answer.stderr
    assert "no other Snakemake process" in answer.stderr
    assert "Traceback" not in answer.stderr
