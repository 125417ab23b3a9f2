"""Collection of one corpus: what its adapter finds, checked, as manifest.csv."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from eele.config.models import CorpusConfig, StudyConfig
from eele.corpora.base import Adapter, Listing, Utterance, filter_listing, safe_name
from eele.corpora.sentences import sentence_key
from eele.corpora.tables import read_table, write_table
from eele.errors import ConfigError, DataError
from eele.io import sha256, write_json
from eele.paths import StudyPaths
from eele.vocabulary import EMOTIONS

_LOG = logging.getLogger(__name__)

#: `sha256` (of the file's bytes) must stay the last: cleaning replaces it.
MANIFEST_COLUMNS = (
    "utterance_id",
    "path",
    "speaker",
    "language",
    "emotion",
    "text",
    "gender",
    "session",
    "partition",
    "sha256",
)
#: File systems allow 255 bytes; the corpus goes in front and a suffix behind.
_LONGEST_NAME = 150
LISTING_COLUMNS = ("utterance_id", "path", "speaker", "reason", "detail")


def collect_corpus(study: StudyConfig, paths: StudyPaths, corpus_id: str, jobs: int = 1) -> None:
    """List the corpus `corpus_id`: corpora/<id>/manifest.csv, rejected_listing.csv, source.json.

    Fetches or generates it first where its adapter can. Rows without a file, without a transcript
    or with an id that stands earlier are set aside. Raises DataError when the corpus is not there
    or not in its layout, ConfigError for speakers or emotions it does not have.
    """
    from eele.corpora import CORPORA

    corpus = corpus_config(study, corpus_id)
    adapter = CORPORA[corpus.adapter]
    folder = paths.corpus(corpus_id)
    root = folder if adapter.how_to_get == "generated" else study.corpus_root(corpus)
    adapter.prepare(root, corpus, study.audio.sample_rate_hz)
    listing = filter_listing(adapter.list_utterances(root, corpus), corpus)
    listing = _checked(_with_genders(listing, corpus), adapter.transcribed)
    if not listing.rows:
        reasons = sorted({row.reason for row in listing.rejected})
        raise DataError(
            f"corpus {corpus_id}: no usable utterance at {root}"
            + (f" ({len(listing.rejected)} set aside: {', '.join(reasons)})" if reasons else "")
            + f". {adapter.ask}"
        )
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:  # hashing releases the GIL
        digests = list(pool.map(_sha256, (row.path for row in listing.rows)))
    write_table(
        folder / "manifest.csv",
        MANIFEST_COLUMNS,
        (
            {**vars(row), "sha256": digest}
            for row, digest in zip(listing.rows, digests, strict=True)
        ),
    )
    write_table(folder / "rejected_listing.csv", LISTING_COLUMNS, map(vars, listing.rejected))
    write_json(folder / "source.json", _source(adapter, corpus, root, listing, digests))
    _LOG.info(
        "%s: %d utterances listed, %d set aside",
        corpus_id,
        len(listing.rows),
        len(listing.rejected),
    )


def corpus_config(study: StudyConfig, corpus_id: str) -> CorpusConfig:
    """The study's corpus of that id; ConfigError naming those it has."""
    for corpus in study.corpora:
        if corpus.id == corpus_id:
            return corpus
    known = ", ".join(corpus.id for corpus in study.corpora)
    raise ConfigError(f"study {study.study} has no corpus '{corpus_id}'; it has: {known}")


def read_manifest(path: Path) -> list[dict[str, str]]:
    """Rows of a corpus's manifest.csv; DataError when it is missing, damaged or lacks columns."""
    if not path.is_file():
        raise DataError(f"{path} is missing; collect the corpus first")
    return [row for _, row in read_table(path, MANIFEST_COLUMNS)]


def _with_genders(listing: Listing, corpus: CorpusConfig) -> Listing:
    """The listing with the config's genders; ConfigError for a speaker it does not have."""
    known = {row.speaker for row in listing.rows}
    genders = {}
    for speaker, gender in corpus.genders.items():
        # The name as it stands in the study's tables is understood as well.
        name = speaker if speaker in known else speaker.removeprefix(f"{corpus.id}_")
        if name not in known:
            raise ConfigError(
                f"corpus {corpus.id}: genders: {speaker} not in the corpus; it has: "
                f"{', '.join(sorted(known)) or 'none'}"
            )
        genders[name] = gender
    rows = [replace(row, gender=genders.get(row.speaker, row.gender)) for row in listing.rows]
    return Listing(rows, listing.rejected)


def _checked(listing: Listing, transcribed: bool = True) -> Listing:
    """The listing with rows set aside that no corpus may hold; adapters need not repeat this."""
    checked = Listing(rejected=list(listing.rejected))
    seen: dict[str, Utterance] = {}
    for row in listing.rows:
        place = (row.utterance_id, row.path, row.speaker)
        if row.emotion not in EMOTIONS:
            raise ValueError(f"adapter bug: '{row.emotion}' is no word of the vocabulary")
        if safe_name(row.utterance_id) != row.utterance_id or safe_name(row.speaker) != row.speaker:
            raise ValueError(f"adapter bug: {row.utterance_id}, {row.speaker}: not file-name safe")
        if len(row.utterance_id) > _LONGEST_NAME or len(row.speaker) > _LONGEST_NAME:
            detail = f"utterance_id or speaker longer than {_LONGEST_NAME} characters"
            checked.reject(*place, "bad_row", detail)
            continue
        if row.utterance_id in seen:
            detail = f"the id stands already for {seen[row.utterance_id].path}"
            checked.reject(*place, "duplicate_id", detail)
            continue
        seen[row.utterance_id] = row
        if not row.path.is_file():
            checked.reject(*place, "missing_file", f"{row.path} is not there")
        elif transcribed and not sentence_key(row.text):
            detail = f"the transcript is '{row.text}'" if row.text else "the transcript is empty"
            checked.reject(*place, "missing_transcript", detail)
        else:
            checked.rows.append(_one_line(row))
    return checked


def _one_line(row: Utterance) -> Utterance:
    return replace(row, text=" ".join(row.text.split()))


def _sha256(path: Path) -> str:
    """SHA-256 of a file; "" where it cannot be read (cleaning says why)."""
    try:
        return sha256(path)
    except OSError as error:
        _LOG.warning("%s: cannot be read (%s)", path, error.strerror)
        return ""


def _source(
    adapter: Adapter, corpus: CorpusConfig, root: Path, listing: Listing, digests: Iterable[str]
) -> dict[str, object]:
    """What the page and the provenance say about the corpus.

    `energy_comparable` is what the adapter knows and what the files show: copies of a corpus whose
    files were normalised one by one tell nothing about energy, whatever the adapter.
    """
    from eele.corpora.recording import peaks_set_per_file

    normalised = peaks_set_per_file([row.path for row in listing.rows])
    notes = [adapter.notes] if adapter.notes else []
    if normalised and adapter.energy_comparable:
        notes.append("the files' peaks are all alike: normalised per file, energy not comparable")
    whole = hashlib.sha256()
    for row, digest in zip(listing.rows, digests, strict=True):
        line = (*(str(v) for k, v in vars(row).items() if k != "path"), digest)
        whole.update(("\t".join(line) + "\n").encode())
    return {
        "adapter": adapter.name,
        "name": adapter.title,
        "version": adapter.version,
        "licence": adapter.licence,
        "url": adapter.url,
        "citation": adapter.citation,
        "energy_comparable": adapter.energy_comparable and not normalised,
        "notes": "; ".join(notes),
        "root": str(root),
        "languages": sorted({row.language for row in listing.rows}),
        "n_listed": len(listing.rows),
        "n_set_aside": len(listing.rejected),
        "sha256": whole.hexdigest(),
        "corpus": corpus.model_dump(mode="json", exclude={"demo"}),
    }
