"""Montreal Forced Aligner 3.x, run as the program `mfa` of its own conda environment (envs/mfa.yaml).

Every run gets a private folder in the system's temporary folder: corpus, dictionary, output, and MFA's root
(`MFA_ROOT_DIR`: configuration, unpacked models, database), which MFA otherwise shares and rewrites
without a lock. MFA leaves out utterances it cannot align and still exits with 0: the list of TextGrids is
held against the list of utterances.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from eele.align.outcome import (
    NO_TEXTGRID,
    UNREADABLE,
    Item,
    Lexicon,
    Lexicons,
    Outcome,
    check_words,
)
from eele.align.textgrid import TextGrid, read_textgrid
from eele.config.models import MfaConfig
from eele.errors import DataError, MissingToolError
from eele.io import atomic_path

log = logging.getLogger(__name__)

#: Options of MFA's aligners that its command line takes without declaring them.
UNDECLARED_OPTIONS = ("--beam", "--retry_beam")

_HOW_TO_GET = (
    "create its environment with `conda env create -f envs/mfa.yaml` and run inside it "
    "(`conda activate eele-mfa`), or let Snakemake do both with `--sdm conda`; without conda use "
    "alignment.aligner: gmm"
)


def train_mfa(
    items: Mapping[str, Sequence[Item]],
    lexicons: Lexicons,
    config: MfaConfig,
    folder: Path,
    jobs: int = 1,
) -> dict[str, str]:
    """Language -> its acoustic model: `<language>.zip`, trained into `folder`, or a pretrained one's path.

    `items` by language. Raises MissingToolError without `mfa` or the pretrained model, DataError where MFA
    fails and where the pretrained model does not fit.
    """
    _check_installed()
    if config.mode == "pretrained":
        return _pretrained(list(items), lexicons, config)
    models = {}
    for language, mine in items.items():
        models[language] = f"{language}.zip"
        with _run(language, config, jobs) as run:
            run.train(mine, lexicons, folder / models[language])
    return models


def align_mfa(
    language: str,
    items: Sequence[Item],
    lexicons: Lexicons,
    config: MfaConfig,
    model: Path,
    jobs: int = 1,
) -> list[Outcome]:
    """Outcomes of `items`, all of one language and of each speaker all, in their order, without scores.

    Raises MissingToolError without `mfa` or `model`, DataError where MFA fails.
    """
    _check_installed()
    with _run(language, config, jobs) as run:
        return run.align(items, lexicons, model)


def _pretrained(languages: Sequence[str], lexicons: Lexicons, config: MfaConfig) -> dict[str, str]:
    if len(languages) > 1:
        raise DataError(
            f"alignment.mfa.mode: pretrained has one acoustic model, the study has the languages "
            f"{', '.join(languages)}; use mode: train, or a study per language"
        )
    model = resolve_model("acoustic", config.acoustic_model or "", ".zip")
    if config.dictionary:
        resolve_model("dictionary", config.dictionary, ".dict")
    else:
        check_phones(model, lexicons[languages[0]])
    return {languages[0]: str(model)}


@contextmanager
def _run(language: str, config: MfaConfig, jobs: int) -> Iterator[MfaRun]:
    # TMPDIR chooses the place: local disk of the node, as large as the recordings.
    with tempfile.TemporaryDirectory(prefix="eele-mfa-") as folder:
        yield MfaRun(Path(folder).resolve(), language, config, jobs)


class MfaRun:
    """One run of one language below `folder` (absolute, its name nobody else's)."""

    def __init__(self, folder: Path, language: str, config: MfaConfig, jobs: int) -> None:
        self.config = config
        self.jobs = jobs
        self.language = language
        # MFA names its database after the corpus folder, wherever that lies, and refuses a corpus
        # whose path begins with the path of its root.
        self.corpus = folder / f"corpus_{language}_{folder.name}"
        self.root = folder / "mfa_root"
        self.dictionary = folder / "lexicon.dict"
        self.model = folder / f"{language}.zip"
        self.output = folder / "aligned"
        self.log = folder / "mfa.log"

    def train(self, items: Sequence[Item], lexicons: Lexicons, target: Path) -> None:
        """Write the corpus, train on it and put the model at `target`; nothing where no item is usable."""
        if len(write_corpus(self.corpus, items, lexicons)) == len(items):
            return
        self._call(self.train_command(self._dictionary(lexicons)))
        if not self.model.is_file():
            raise DataError(
                f"alignment: `mfa train` ended well and left no model of language '{self.language}'; "
                "its output is in the log"
            )
        with atomic_path(target) as temporary:
            shutil.copyfile(self.model, temporary)

    def align(self, items: Sequence[Item], lexicons: Lexicons, model: Path) -> list[Outcome]:
        """Write the corpus, align it by `model` and read the TextGrids."""
        outcomes = write_corpus(self.corpus, items, lexicons)
        usable = [item for item in items if item.utterance_id not in outcomes]
        if usable:
            if not model.is_file():
                raise MissingToolError(
                    f"alignment.mfa: the acoustic model {model} is no file; run the stage train_aligner again"
                )
            self._call(self.align_command(self._dictionary(lexicons), model))
            for outcome in read_output(self.output, usable):
                outcomes[outcome.item.utterance_id] = outcome
        return [outcomes[item.utterance_id] for item in items]

    def _dictionary(self, lexicons: Lexicons) -> Path:
        """The dictionary asked for, or one of all the language's words, the same for every shard."""
        if self.config.dictionary:
            return resolve_model("dictionary", self.config.dictionary, ".dict")
        write_dictionary(self.dictionary, lexicons[self.language])
        return self.dictionary

    def train_command(self, dictionary: Path) -> list[str]:
        """`mfa train`: an acoustic model of this corpus; no output folder, so no alignment."""
        return ["mfa", "train", str(self.corpus), str(dictionary), str(self.model), *self._common()]

    def align_command(self, dictionary: Path, model: Path) -> list[str]:
        """`mfa align`: TextGrids by an acoustic model; the texts are words already."""
        return [
            *("mfa", "align", str(self.corpus), str(dictionary), str(model), str(self.output)),
            *self._common(),
            *("--output_format", "long_textgrid", "--no_tokenization"),
            *("--beam", str(self.config.beam), "--retry_beam", str(self.config.retry_beam)),
        ]

    def _common(self) -> list[str]:
        # --clean although it is said to be the default: MFA's own first import writes
        # `clean: false` into its configuration, and that wins.
        return [
            *("--temporary_directory", str(self.root), "--num_jobs", str(self.jobs)),
            *("--clean", "--overwrite", "--no_use_postgres"),
        ]

    def _call(self, command: Sequence[str]) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        log.info("running %s", " ".join(command))
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("PYTHONPATH", "PYTHONHOME", "MFA_PROFILE", "MFA_ROOT_DIR")
        }
        environment["MFA_ROOT_DIR"] = str(self.root)
        with open(self.log, "wb") as handle:
            code = _run_group(command, environment, handle.fileno())
        said = self.log.read_text(encoding="utf-8", errors="replace")
        log.info("%s", said)
        if code != 0:
            tail = "\n".join(said.strip().splitlines()[-15:])
            raise DataError(
                f"alignment: `mfa {command[1]}` stopped with exit status {code}; its last words:\n"
                f"{tail}\nCorrect what it names, or use alignment.aligner: gmm"
            )


def _run_group(command: Sequence[str], environment: Mapping[str, str], output: int) -> int:
    """Run a program with all its children; end them all when this process is interrupted."""
    process = subprocess.Popen(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        return process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


def _check_installed() -> None:
    """Raise MissingToolError unless `mfa` 3.x is on PATH."""
    if shutil.which("mfa") is None:
        raise MissingToolError(
            "alignment.aligner: mfa needs the program `mfa` (Montreal Forced Aligner 3.x), which is "
            f"not on PATH; {_HOW_TO_GET}"
        )
    with _private_root() as environment:
        answer = subprocess.run(
            ["mfa", "version"], env=environment, capture_output=True, text=True, check=False
        )
    version = answer.stdout.strip().splitlines()[-1:] or ["nothing"]
    if answer.returncode != 0 or not version[0].startswith("3."):
        said = version[0] if answer.returncode == 0 else answer.stderr.strip()[-500:]
        raise MissingToolError(f"`mfa version` says {said}; needed: 3.x; {_HOW_TO_GET}")


@contextmanager
def _private_root() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="eele-mfa-root-") as root:
        yield {**os.environ, "MFA_ROOT_DIR": root}


def write_corpus(folder: Path, items: Sequence[Item], lexicons: Lexicons) -> dict[str, Outcome]:
    """`folder`/<speaker>/<utterance_id>.wav and .lab; returns failed outcomes by utterance_id."""
    import soundfile

    failed: dict[str, Outcome] = {}
    for item in items:
        failure = check_words(item, lexicons)
        if failure is None:
            try:
                samples, rate = soundfile.read(item.path, dtype="int16", always_2d=True)
            except (OSError, soundfile.SoundFileError) as error:
                failure = Outcome(item, reason=UNREADABLE, detail=f"{item.path}: {error}")
        if failure is not None:
            failed[item.utterance_id] = failure
            continue
        place = folder / item.speaker
        place.mkdir(parents=True, exist_ok=True)
        soundfile.write(place / f"{item.utterance_id}.wav", samples[:, 0], rate, subtype="PCM_16")
        (place / f"{item.utterance_id}.lab").write_text(" ".join(item.words), encoding="utf-8")
    return failed


def write_dictionary(path: Path, lexicon: Lexicon) -> None:
    """One pronunciation a line: `word<TAB>ph on es`, sorted."""
    lines = {f"{word}\t{' '.join(way)}\n" for word, ways in lexicon.items() for way in ways}
    path.write_text("".join(sorted(lines)), encoding="utf-8")


def resolve_model(kind: str, name: str, suffix: str) -> Path:
    """Absolute path of a model given as a path or as the name of one MFA has downloaded.

    Names are looked up here because a run's private root holds no models.
    """
    given = Path(name).expanduser()
    if given.suffix or given.is_absolute():
        if not given.is_file():
            raise MissingToolError(
                f"alignment.mfa: {kind} model {given} is no file; correct the path"
            )
        return given.resolve()
    roots = [os.environ.get("MFA_ROOT_DIR"), str(Path.home() / "Documents" / "MFA")]
    places = [Path(r) / "pretrained_models" / kind / f"{name}{suffix}" for r in roots if r]
    for place in places:
        if place.is_file():
            return place.resolve()
    raise MissingToolError(
        f"alignment.mfa: the {kind} model '{name}' is not there (looked for "
        f"{', '.join(map(str, places))}); run `mfa model download {kind} {name}`, or give an "
        f"absolute path of a {suffix} file"
    )


def check_phones(model: Path, lexicon: Lexicon) -> None:
    """Refuse a lexicon in other phones than the model's, before MFA runs; models name theirs in meta.json."""
    try:
        with zipfile.ZipFile(model) as archive:
            found = [name for name in archive.namelist() if name.rsplit("/", 1)[-1] == "meta.json"]
            known = set(json.loads(archive.read(found[0]))["phones"]) if found else set()
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{model}: no usable acoustic model ({error!r}); download it again"
        ) from error
    used = {phone for ways in lexicon.values() for way in ways for phone in way}
    foreign = sorted(used - known - {"spn"})
    if known and foreign:
        raise DataError(
            f"alignment.mfa.acoustic_model: {model} does not know the lexicon's phones "
            f"{', '.join(foreign[:12])}; it knows {', '.join(sorted(known)[:12])}, ...; set "
            "lexicon.source: dictionary and lexicon.dictionary to the model's own dictionary, or "
            "alignment.mfa.mode: train"
        )


def read_output(folder: Path, items: Sequence[Item]) -> list[Outcome]:
    """MFA's TextGrids as outcomes, in the order of `items`; those without one have failed."""
    import soundfile

    outcomes = []
    for item in items:
        path = folder / item.speaker / f"{item.utterance_id}.TextGrid"
        if not path.is_file():
            detail = "MFA gave no alignment: text and sound do not fit within retry_beam"
            outcomes.append(Outcome(item, reason=NO_TEXTGRID, detail=detail))
            continue
        grid = read_textgrid(path, speaker=item.speaker)
        if not any(interval.label for interval in grid.phones):
            outcomes.append(
                Outcome(item, reason=NO_TEXTGRID, detail="MFA's TextGrid holds no phone")
            )
            continue
        # MFA rounds the duration; the recording's own counts.
        info = soundfile.info(item.path)
        duration_s = info.frames / info.samplerate
        outcomes.append(Outcome(item, grid=TextGrid.of(duration_s, grid.words, grid.phones)))
    return outcomes
