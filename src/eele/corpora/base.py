"""What every corpus adapter is: facts about the corpus, and a way to list its utterances."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from eele.config.models import CorpusConfig
from eele.errors import ConfigError, DataError

HowToGet = Literal["download", "ask", "local", "generated"]

#: Reasons of rows set aside, by adapters and by cleaning. One word each: they are counted by it.
REASONS = (
    "missing_file",
    "missing_transcript",
    "duplicate_id",
    "unknown_emotion",
    "unmapped_emotion",
    "unknown_speaker",
    "bad_row",
    "outside_folder",
    "broken",
    "empty",
    "not_finite",
    "silent",
    "clipped",
    "too_short",
    "too_long",
    "duplicate_audio",
)

#: Reasons that are a choice, not a fault: a label the study's vocabulary has no word for, a speaker
#: the corpus does not name. They are listed and counted, but do not count towards
#: `cleaning.max_rejected_share`.
NOT_FAULTS = ("unmapped_emotion", "unknown_speaker")


@dataclass(frozen=True)
class Utterance:
    """One utterance as the corpus has it.

    `path` is the recording (any format libsndfile reads); `utterance_id` and `speaker` are file-name
    safe (see `safe_name`); `emotion` is a word of `eele.vocabulary.EMOTIONS`. `gender` of the speaker
    is a word of `eele.vocabulary.GENDERS`, `session` the recording session, `partition` the part of
    the corpus's own split (a word of `eele.vocabulary.SPLITS`); "" where the corpus does not say.
    """

    utterance_id: str
    path: Path
    speaker: str
    language: str
    emotion: str
    text: str
    gender: str = ""
    session: str = ""
    partition: str = ""


@dataclass(frozen=True)
class SetAside:
    """An utterance that cannot be used, with the reason (one of `REASONS`) and a sentence of detail."""

    utterance_id: str
    path: str
    speaker: str
    reason: str
    detail: str = ""


@dataclass
class Listing:
    """What an adapter found: usable rows, and those it had to set aside."""

    rows: list[Utterance] = field(default_factory=list)
    rejected: list[SetAside] = field(default_factory=list)

    def reject(
        self, utterance_id: str, path: str | Path, speaker: str, reason: str, detail: str = ""
    ) -> None:
        """Set one utterance aside; `reason` must be one of `REASONS`."""
        if reason not in REASONS:
            raise ValueError(f"unknown reason '{reason}'; allowed: {', '.join(REASONS)}")
        self.rejected.append(SetAside(utterance_id, str(path), speaker, reason, detail))


#: Suffixes looked for, in this order, where the official layout's WAV may have been stored as FLAC.
AUDIO_SUFFIXES = (".wav", ".flac")


def audio_files(folder: Path) -> list[Path]:
    """WAV and FLAC files anywhere below `folder`, sorted; hidden files (`._x.wav`) left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")
    )


class Adapter(ABC):
    """Turns one corpus in its official layout into a `Listing`.

    A subclass states the facts below as class attributes and implements `list_utterances`; it holds
    no state, and one instance of it is registered in `eele.corpora.CORPORA`.
    """

    #: Name in configs; one of `eele.vocabulary.CORPORA`.
    name: ClassVar[str]
    title: ClassVar[str]
    version: ClassVar[str]
    licence: ClassVar[str]
    url: ClassVar[str]
    citation: ClassVar[str]
    #: Language codes (en, pl, de, zh, ...); empty where the files say.
    languages: ClassVar[tuple[str, ...]]
    how_to_get: ClassVar[HowToGet]
    #: False where levels were normalised per file, so that loudness says nothing about emotion.
    energy_comparable: ClassVar[bool] = True
    #: False where the corpus comes without texts: its utterances serve recognition, not synthesis.
    transcribed: ClassVar[bool] = True
    #: The corpus's own label -> word of `eele.vocabulary.EMOTIONS`.
    label_map: ClassVar[Mapping[str, str]] = {}
    #: How to obtain the corpus and what must lie where below its root: shown when it is not there.
    ask: ClassVar[str]
    #: What a reader of the tables should know about the corpus.
    notes: ClassVar[str] = ""

    def prepare(self, root: Path, corpus: CorpusConfig, sample_rate_hz: int) -> None:
        """Make the corpus be there, before it is listed; called once by `collect`.

        Does nothing when `root` holds files already. Otherwise a downloadable corpus whose checksum
        is in `config/datasets.tsv` is fetched, and any other raises DataError saying how to get it.
        Generated corpora override this and write below `root` (`paths.corpus(corpus.id)`) at
        `sample_rate_hz`.
        """
        if root.is_dir() and any(root.iterdir()):
            return
        if root.exists() and not root.is_dir():
            raise DataError(f"corpus {corpus.id}: root {root} is a file; give the corpus's folder")
        if self.how_to_get == "download":
            self.fetch(root)
            return
        raise DataError(f"corpus {corpus.id}: nothing found at {root}. {self.ask}")

    def fetch(self, root: Path) -> None:
        """Download and unpack the corpus into `root`, checked by SHA-256; DataError when that fails."""
        from eele.corpora.download import fetch_dataset

        fetch_dataset(self.name, root, self.ask)

    @abstractmethod
    def list_utterances(self, root: Path, corpus: CorpusConfig) -> Listing:
        """Every utterance of the corpus at `root`, in a stable order, before the config's filters.

        Raises DataError when `root` does not hold the official layout.
        """

    def layout_error(self, root: Path, expected: str) -> DataError:
        """The error for a root that is not the official layout."""
        return DataError(
            f"{self.title}: {root} does not hold the official layout: {expected}. {self.ask}"
        )


_GENDERS = {"f": "female", "female": "female", "m": "male", "male": "male"}


def gender_of(word: str) -> str:
    """female or male for f, F, Female, m, ...; "" for anything else."""
    return _GENDERS.get(word.strip().lower(), "")


_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


def safe_name(text: str) -> str:
    """`text` as a file name: anything but letters, digits, `_`, `.` and `-` becomes `-`."""
    return _UNSAFE.sub("-", text).strip(".-") or "unnamed"


def filter_listing(listing: Listing, corpus: CorpusConfig) -> Listing:
    """The listing with only the speakers and emotions the config keeps.

    Raises ConfigError for a speaker or emotion the corpus does not have, naming those it has.
    """
    kept = listing.rows
    rejected = listing.rejected
    if corpus.speakers is not None:
        known = {row.speaker for row in kept} | {row.speaker for row in rejected}
        # The name as it stands in the study's tables, `<corpus>_<speaker>`, is understood as well.
        prefix = f"{corpus.id}_"
        wanted = tuple(s if s in known else s.removeprefix(prefix) for s in corpus.speakers)
        _refuse_unknown(corpus.id, "speakers", wanted, known)
        kept = [row for row in kept if row.speaker in wanted]
        rejected = [row for row in rejected if row.speaker in wanted]
    if corpus.emotions is not None:
        _refuse_unknown(corpus.id, "emotions", corpus.emotions, {row.emotion for row in kept})
        kept = [row for row in kept if row.emotion in corpus.emotions]
    return Listing(kept, rejected)


def _refuse_unknown(corpus: str, key: str, wanted: tuple[str, ...], known: set[str]) -> None:
    unknown = sorted(set(wanted) - known)
    if unknown:
        raise ConfigError(
            f"corpus {corpus}: {key}: {', '.join(unknown)} not in the corpus; "
            f"it has: {', '.join(sorted(known)) or 'none'}"
        )
