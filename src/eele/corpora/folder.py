"""Any folder with a metadata.csv: utterance_id, path, speaker, language, emotion, text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import ClassVar

from eele.config.models import CorpusConfig
from eele.corpora.base import Adapter, Listing, Utterance, gender_of, safe_name
from eele.corpora.tables import read_table
from eele.errors import DataError
from eele.vocabulary import EMOTIONS, GENDERS

_COLUMNS = ("utterance_id", "path", "speaker", "emotion", "text")


class Folder(Adapter):
    """One's own recordings; a column `gender` is read, other further ones (duration_s, ...) are not."""

    name = "folder"
    title = "folder with a metadata.csv"
    version = "-"
    licence = "as the folder's owner says"
    url = "-"
    citation = "-"
    languages = ()
    how_to_get = "local"
    label_map: ClassVar[Mapping[str, str]] = {emotion: emotion for emotion in EMOTIONS}
    ask = (
        "Put metadata.csv there (UTF-8, comma separated; columns utterance_id, path relative to the "
        "folder, speaker, language, emotion, text; where known gender, female or male; emotions: "
        f"{', '.join(EMOTIONS)})."
    )

    def list_utterances(self, root: Path, corpus: CorpusConfig) -> Listing:
        """Rows of metadata.csv; `corpus.language` fills in where the column or a value is missing."""
        table = root / "metadata.csv"
        if not table.is_file():
            raise self.layout_error(root, "metadata.csv is missing")
        columns = _COLUMNS if corpus.language else (*_COLUMNS, "language")
        listing = Listing()
        speakers: dict[str, str] = {}
        for number, row in read_table(table, columns):
            other = speakers.setdefault(safe_name(row["speaker"]), row["speaker"])
            if other != row["speaker"]:
                raise DataError(
                    f"{table}, line {number}: speakers '{other}' and '{row['speaker']}' are both "
                    f"'{safe_name(other)}' as a file name; use letters a-z, digits, '_', '.', '-'"
                )
            self._add(root, corpus, number, row, listing)
        if not listing.rows and not listing.rejected:
            raise DataError(f"{table}: no rows; {self.ask}")
        return listing

    def _add(
        self,
        root: Path,
        corpus: CorpusConfig,
        number: int,
        row: dict[str, str],
        listing: Listing,
    ) -> None:
        place = f"metadata.csv line {number}"
        utterance_id = safe_name(row["utterance_id"])
        speaker = safe_name(row["speaker"])
        emotion = row["emotion"].lower()
        language = row.get("language") or corpus.language or ""
        gender = gender_of(row.get("gender", ""))
        missing = [key for key in ("utterance_id", "path", "speaker") if not row[key]]
        if not language:
            missing.append("language")
        if missing:
            detail = f"{place}: {', '.join(missing)} empty"
            listing.reject(utterance_id, row["path"], speaker, "bad_row", detail)
        elif _leaves_folder(row["path"]):
            detail = f"{place}: path must lie inside the folder, relative and without '..'"
            listing.reject(utterance_id, row["path"], speaker, "outside_folder", detail)
        elif emotion not in self.label_map:
            detail = f"{place}: emotion '{row['emotion']}'; allowed: {', '.join(EMOTIONS)}"
            listing.reject(utterance_id, row["path"], speaker, "unknown_emotion", detail)
        elif row.get("gender") and not gender:
            detail = f"{place}: gender '{row['gender']}'; allowed: {', '.join(GENDERS)}, or nothing"
            listing.reject(utterance_id, row["path"], speaker, "bad_row", detail)
        else:
            path = root / row["path"]
            listing.rows.append(
                Utterance(utterance_id, path, speaker, language, emotion, row["text"], gender)
            )


def _leaves_folder(path: str) -> bool:
    # Backslashes and drive letters too: a table made on Windows must not surprise here.
    pure = PurePosixPath(path.replace("\\", "/"))
    return pure.is_absolute() or ".." in pure.parts or path[1:2] == ":" or "\0" in path
