"""MSP-Podcast: Labels/labels_consensus.csv, Audios/MSP-PODCAST_0001_0008.wav, Transcripts/*.txt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from eele.config.models import CorpusConfig
from eele.corpora.base import Adapter, Listing, Utterance, gender_of, safe_name
from eele.corpora.tables import read_table, read_text

#: The releases spell it both ways.
_LABELS = ("labels_consensus.csv", "labels_concensus.csv")
_SPLITS = ("Partition.txt", "Partitions.txt")
_COLUMNS = ("FileName", "EmoClass", "SpkrID", "Gender")
#: The official partitions; Test2 and Test3 belong to none of ours (the published figures are on Test1).
_PARTITIONS = {
    "train": "train",
    "development": "validation",
    "validation": "validation",
    "test1": "test",
}


class MspPodcast(Adapter):
    """Speaking turns of podcasts, spontaneous; `speakers` are the numbers of SpkrID."""

    name = "msp_podcast"
    title = "MSP-Podcast"
    version = "1.x"
    licence = "research only; licence agreement with the University of Texas at Dallas"
    url = "https://www.lab-msp.com/MSP/MSP-Podcast.html"
    citation = (
        "R. Lotfian, C. Busso: Building Naturalistic Emotionally Balanced Speech Corpus by Retrieving "
        "Emotional Speech From Existing Podcast Recordings. IEEE Trans. Affective Computing 10(4), 2019"
    )
    languages = ("en",)
    how_to_get = "ask"
    transcribed = False
    label_map: ClassVar[Mapping[str, str]] = {
        "N": "neutral",
        "H": "happy",
        "S": "sad",
        "A": "angry",
        "U": "surprised",
        "F": "fearful",
        "D": "disgusted",
        "C": "contemptuous",
    }
    #: Other, and no agreement between the listeners.
    unmapped = ("O", "X")
    ask = (
        "Ask the authors (https://www.lab-msp.com/MSP/MSP-Podcast.html), then unpack the corpus there: "
        "Labels/labels_consensus.csv, Audios/MSP-PODCAST_0001_0008.wav, ..., and for releases whose "
        "table has no column Split_Set also Partition.txt"
    )
    notes = (
        "turns of unknown speakers are set aside, as in the published experiments; texts where the "
        "release has them"
    )

    def list_utterances(self, root: Path, corpus: CorpusConfig) -> Listing:
        """Rows of the table of consensus labels; the part of the split from it or from Partition.txt."""
        found = [path for name in _LABELS if (path := root / "Labels" / name).is_file()]
        if not found:
            raise self.layout_error(root, f"Labels/{_LABELS[0]} is missing")
        audio = root / "Audios" if (root / "Audios").is_dir() else root / "Audio"
        partitions = self._partitions(root)
        listing = Listing()
        for _, row in read_table(found[0], _COLUMNS):
            file_name = row["FileName"]
            stem = Path(file_name).stem
            utterance_id = safe_name(stem)
            speaker = safe_name(row["SpkrID"])
            path = audio / Path(file_name).name
            emotion = self.label_map.get(row["EmoClass"])
            if emotion is None:
                known = row["EmoClass"] in self.unmapped
                reason = "unmapped_emotion" if known else "unknown_emotion"
                detail = f"label '{row['EmoClass']}' has no word in this study's vocabulary"
                listing.reject(utterance_id, path, speaker, reason, detail)
            elif row["SpkrID"].lower() in ("", "unknown"):
                detail = "the corpus does not say who speaks"
                listing.reject(utterance_id, path, speaker, "unknown_speaker", detail)
            else:
                transcript = root / "Transcripts" / f"{stem}.txt"
                text = (
                    read_text(transcript, ("utf-8-sig", "latin-1")) if transcript.is_file() else ""
                )
                part = row.get("Split_Set") or partitions.get(stem, "")
                listing.rows.append(
                    Utterance(
                        utterance_id,
                        path,
                        speaker,
                        "en",
                        emotion,
                        text.strip(),
                        gender=gender_of(row["Gender"]),
                        partition=_PARTITIONS.get(part.lower(), ""),
                    )
                )
        if not listing.rows and not listing.rejected:
            raise self.layout_error(root, f"no row in {found[0].name}")
        return listing

    def _partitions(self, root: Path) -> dict[str, str]:
        """File name without suffix -> part, of lines `Test1; MSP-PODCAST_0001_0008.wav` in either order."""
        found = [path for name in _SPLITS if (path := root / name).is_file()]
        parts = {}
        for line in read_text(found[0]).splitlines() if found else ():
            fields = [field.strip() for field in line.split(";")]
            if len(fields) >= 2:
                part, name = fields[:2]
                if part.lower().endswith(".wav"):
                    part, name = name, part
                parts[Path(name).stem] = part
        return parts
