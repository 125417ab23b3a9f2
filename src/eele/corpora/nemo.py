"""nEMO: data.tsv (file_id, emotion, raw_text, ..., speaker_id) and samples/<file_id>."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import ClassVar

from eele.config.models import CorpusConfig
from eele.corpora.base import Adapter, Listing, Utterance, gender_of, safe_name
from eele.corpora.tables import read_table

_COLUMNS = ("file_id", "emotion", "raw_text", "speaker_id")


class Nemo(Adapter):
    """Nine Polish actors, 90 sentences, six emotions; `speakers` are `KD0`, `TP0`, ..."""

    name = "nemo"
    title = "nEMO, Dataset of Emotional Speech in Polish"
    version = "1.0"
    licence = "CC BY-NC-SA 4.0 (non-commercial)"
    url = "https://github.com/amu-cai/nEMO"
    citation = "I. Christop: nEMO: Dataset of Emotional Speech in Polish. LREC-COLING 2024"
    languages = ("pl",)
    how_to_get = "ask"
    label_map: ClassVar[Mapping[str, str]] = {
        "neutral": "neutral",
        "anger": "angry",
        "fear": "fearful",
        "happiness": "happy",
        "sadness": "sad",
        "surprised": "surprised",
    }
    ask = (
        "Clone https://github.com/amu-cai/nEMO and name the clone as root: data.tsv, "
        "samples/KD0_anger_1.wav, ..."
    )
    notes = "one orthographic text for all actors: some sentences are in the masculine form"

    def list_utterances(self, root: Path, corpus: CorpusConfig) -> Listing:
        """Rows of data.tsv; the orthographic text (`raw_text`) is the text."""
        table = root / "data.tsv"
        if not table.is_file():
            raise self.layout_error(root, "data.tsv is missing")
        listing = Listing()
        for _number, row in read_table(table, _COLUMNS, delimiter="\t"):
            file_name = PurePosixPath(row["file_id"]).name
            utterance_id = safe_name(PurePosixPath(file_name).stem)
            speaker = safe_name(row["speaker_id"])
            path = root / "samples" / file_name
            if not path.is_file() and path.with_suffix(".flac").is_file():
                path = path.with_suffix(".flac")
            emotion = self.label_map.get(row["emotion"])
            if emotion is None:
                detail = f"label '{row['emotion']}'; nEMO has {', '.join(self.label_map)}"
                listing.reject(utterance_id, path, speaker, "unknown_emotion", detail)
                continue
            gender = gender_of(row.get("gender", ""))
            listing.rows.append(
                Utterance(utterance_id, path, speaker, "pl", emotion, row["raw_text"], gender)
            )
        # The table is shuffled; the listing is not.
        listing.rows.sort(key=lambda row: row.utterance_id)
        return listing
