"""A small finished study of computed tones, a way to spoil it, and a way to run a stage on it."""

from __future__ import annotations

import fnmatch
import hashlib
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import corpora_samples as samples
import synthetic_study
import yaml
from running import ROOT

from eele.cells import sweep
from eele.config import StudyConfig, check_study, dump_study
from eele.config.load import merge
from eele.paths import StudyPaths

#: Fits a few tables and logs, and no array, model or recording.
FULL_DISK_BYTES = 32 * 1024
#: Scripts whose imports take seconds.
HEAVY = (
    "train_aligner",
    "extract_features",
    "index_features",
    "pretrain",
    "train_recogniser",
    "train_cell",
    "synthesise_cell",
)
WORDS = {"aiu": "a i u", "uai": "u a i", "iua": "i u a", "aui": "a u i", "ui": "u i", "ai": "a i"}
CONFIG: dict[str, Any] = {
    "study": "tones",
    "emotions": ["happy"],
    "corpora": [{"adapter": "folder", "name": "box", "root": "box"}],
    "lexicon": {"source": "dictionary", "dictionary": "words.dict"},
    "features": {"shards": 1},
    "backbone": {
        "fastspeech2": {
            "hidden_size": 16,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "filter_size": 16,
            "predictor_size": 16,
            "postnet_layers": 2,
            "postnet_size": 16,
        }
    },
    "pretraining": {"steps": 2, "batch_size": 4, "warmup_steps": 1, "validate_every": 1},
    "adaptation": {"steps": 2, "batch_size": 4, "warmup_steps": 1, "validate_every": 1},
    "sweep": [{"method": "lora", "schemes": ["b"], "ranks": [2]}, {"method": "full"}],
    "synthesis": {"griffin_lim_iterations": 2},
    "runtime": {"pretrain_threads": 1, "device": "cpu"},
}


@dataclass
class Place:
    """A working directory that holds the study; a case spoils something in it."""

    root: Path
    url: str = ""
    config: dict[str, Any] = field(default_factory=lambda: dict(CONFIG))

    @property
    def study(self) -> StudyConfig:
        return check_study(self.config)

    @property
    def paths(self) -> StudyPaths:
        return StudyPaths(self.root / "results" / "tones")

    def set(self, **values: Any) -> None:
        """Merge values into the config."""
        self.config = merge(self.config, values)

    def any(self, pattern: str) -> Path:
        """The first file below the study that fits."""
        return min(self.paths.root.glob(pattern))

    def corpus(self, count: int = 12, drop: str = "", **spoilt: str) -> Path:
        """A corpus `box` of short recordings in turns neutral and happy; `spoilt` changes its first row."""
        root = self.root / "data" / "box"
        rows = []
        for number in range(count):
            emotion = ("neutral", "happy")[number % 2]
            rows.append(samples.row(f"u{number:02d}", emotion=emotion))
            samples.write(root / rows[-1]["path"], samples.speechlike(f0_hz=100 + 7 * number))
        rows[0].update(spoilt)
        kept = [{key: value for key, value in row.items() if key != drop} for row in rows]
        samples.metadata(root, kept)
        return root

    def collected(self, clean: bool = False) -> None:
        """Run the first stage, or the first two, on `box`."""
        from eele.corpora import clean as clean_stage
        from eele.corpora import collect

        study = self.study.model_copy(update={"data_root": self.root / "data"})
        collect(study, self.paths, "box")
        if clean:
            clean_stage(study, self.paths, "box")


@dataclass(frozen=True)
class Case:
    """One kind of bad input: how it comes about, the command that meets it, what must be said."""

    #: Script (its name), `eele` or `snakemake`, and arguments.
    command: tuple[str, ...]
    #: Parts of the one message: what is wrong, where, what is allowed or to be done.
    said: tuple[str, ...]
    arrange: Callable[[Place], object] = lambda place: None
    code: int = 1
    #: Patterns of files that may stay because the documentation says what they are for.
    leaves: tuple[str, ...] = ()
    #: Folder (below the study) that lies on a disk with FULL_DISK_BYTES of space.
    full_disk: str = ""
    #: Largest file in bytes that may be written (`ulimit -f`).
    largest_file: int = 0


def finished_study(root: Path) -> Place:
    """Lexicon, features, neutral model and two adapters, all by the real stages, in seconds."""
    from eele.features import extract_shard, index
    from eele.text import build_lexicon
    from eele.training import finished, pretrain, train_cell

    place = Place(root)
    (root / "words.dict").write_text("".join(f"{w}\t{p}\n" for w, p in WORDS.items()))
    for folder in ("data", "tmp"):
        (root / folder).mkdir()
    splits = ("train", "train", "train", "train", "validation", "test")
    utterances = [
        {
            "utterance_id": f"{speaker}_{emotion}_{number}",
            "speaker": speaker,
            "emotion": emotion,
            "split": split,
            "sentence": number,
            "phones": phones.split(),
            "f0_hz": hz * (1.2 if emotion == "happy" else 1.0),
        }
        for speaker, hz in (("box_anna", 120), ("box_ben", 190))
        for emotion in ("neutral", "happy")
        for number, (phones, split) in enumerate(zip(WORDS.values(), splits, strict=True))
    ]
    paths = synthetic_study.build(place.paths.root, utterances)
    study = check_study(merge(CONFIG, {"lexicon": {"dictionary": str(root / "words.dict")}}))
    build_lexicon(study, paths)
    extract_shard(study, paths, 0)
    index(study, paths)
    pretrain(study, paths)
    for cell in sweep(study):
        if cell.trained:
            train_cell(study, paths, cell)
    finished.forget(paths.checkpoints)  # as the workflow does at its end: the cases train again
    paths.config.write_text(dump_study(place.study))
    return place


_WARM = """
import json, os, runpy, sys
import eele.align.gmm, eele.cli, eele.features.extract, eele.synthesis, eele.training.stages
import lightning_fabric.accelerators, librosa, pandas, praatio.textgrid, pyworld, soundfile
for line in sys.stdin:
    call = json.loads(line)
    child = os.fork()
    if child == 0:
        os.environ.clear()
        os.environ.update(call["environment"])
        os.chdir(call["folder"])
        for number, name in ((0, os.devnull), (1, call["stdout"]), (2, call["stderr"])):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
        sys.argv = call["argv"]
        try:
            if sys.argv[0].endswith(".py"):
                runpy.run_path(sys.argv[0], run_name="__main__")
            else:
                sys.exit(eele.cli.main())
        except SystemExit as end:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(end.code or 0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Warm:
    """Runs scripts in forks of one process that has imported torch, which takes seconds, once."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _WARM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        )

    def run(self, place: Place, argv: list[str]) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run` would answer."""
        outputs = {name: place.root.parent / name for name in ("stdout", "stderr")}
        call = {"argv": argv, "folder": str(place.root), "environment": environment(place)}
        call |= {name: str(path) for name, path in outputs.items()}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(call) + "\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline())
        said = [outputs[name].read_text() for name in ("stdout", "stderr")]
        return subprocess.CompletedProcess(argv, code, *said)

    def end(self) -> None:
        """Let the process go."""
        self.process.communicate()


def execute(place: Place, case: Case, warm: Warm | None = None) -> subprocess.CompletedProcess[str]:
    """Run the case's command as a user or a workflow would, in the spoilt place."""
    verb, *arguments = case.command
    if verb in ("eele", "snakemake"):
        command = [sys.executable, "-m", {"eele": "eele.cli"}.get(verb, verb), *arguments]
    else:
        script = str(ROOT / "scripts" / f"{verb}.py")
        command = [sys.executable, script, "--config", "config.yaml", *arguments]
        command += ["--log", "results/tones/logs/job.log"]
    if warm and verb in (*HEAVY, "eele") and not case.full_disk and not case.largest_file:
        return warm.run(place, command[1:] if verb != "eele" else command[2:])
    if case.full_disk:
        command = on_full_disk(place.paths.root / case.full_disk, command)
    limit = case.largest_file
    return subprocess.run(
        command,
        cwd=place.root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment(place),
        preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        if limit
        else None,
    )


def environment(place: Place) -> dict[str, str]:
    """Ours, with the place's folder for temporary files and no aligner but the embedded one."""
    path = os.pathsep.join(
        folder
        for folder in os.environ.get("PATH", os.defpath).split(os.pathsep)
        if not (Path(folder) / "mfa").exists()
    )
    return {
        **{key: value for key, value in os.environ.items() if key != "EELE_PARENT"},
        "PATH": path,
        "PYTHONPATH": str(ROOT / "src"),
        "TMPDIR": str(place.root / "tmp"),
        "OMP_NUM_THREADS": "1",
    }


_ON_FULL_DISK = """
    size=$0 disk=$1 aside=$2; shift 2
    cp -a "$disk/." "$aside" && mount -t tmpfs -o size="$size" none "$disk" || exit 99
    cp -a "$aside/." "$disk" || exit 99
    "$@"; code=$?
    rm -rf "$aside" && mkdir "$aside" && cp -a "$disk/." "$aside" || exit 99
    exit $code
"""


def on_full_disk(folder: Path, command: list[str]) -> list[str]:
    """`command` in a name space of its own where `folder` is a tiny disk; see `back_from_disk`."""
    aside = aside_of(folder)
    aside.mkdir()
    space = str(FULL_DISK_BYTES)
    return ["unshare", "-rm", "sh", "-c", _ON_FULL_DISK, space, str(folder), str(aside), *command]


def aside_of(folder: Path) -> Path:
    """Where the content of the tiny disk is copied to when the command has ended."""
    return folder.with_name(f"{folder.name}.on-full-disk")


def back_from_disk(folder: Path) -> None:
    """Put what lay on the tiny disk where it seemed to lie."""
    shutil.rmtree(folder)
    aside_of(folder).rename(folder)


def can_mount() -> bool:
    """Whether this user may have a tiny disk of their own."""
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def contents(root: Path, but: tuple[str, ...] = ()) -> dict[str, str]:
    """Every file (its digest) and folder below `root`; logs are no output."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        log = {"logs", ".snakemake"} & set(path.relative_to(root).parts)
        if log or any(fnmatch.fnmatch(name, pattern) for pattern in but):
            continue
        found[name] = "" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def write_config(place: Place) -> None:
    """Write config.yaml unless the case wrote one of its own."""
    file = place.root / "config.yaml"
    if not file.exists():
        file.write_text(yaml.safe_dump(place.config))


def archive(escaping: bool = False) -> bytes:
    """The same zip of a corpus at every call; `escaping`: with a member that reaches outside."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        for name in ("L/metadata.csv", *["../../escaped.txt"] * escaping):
            zipped.writestr(zipfile.ZipInfo(name), "text" * 20_000)
    return buffer.getvalue()


class Archives(BaseHTTPRequestHandler):
    """Serves archive() as /good.zip and /escaping.zip; /cut.zip announces more than it sends."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        data = archive(escaping=self.path == "/escaping.zip")
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if self.path == "/cut.zip" else data)


@contextmanager
def server() -> Iterator[str]:
    """The URL of a running server of archives."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Archives) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()
