"""CREMA-D: AudioWAV/1001_DFA_ANG_XX.wav, everything said by the file name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from eele.config.models import CorpusConfig
from eele.corpora.base import Adapter, Listing, Utterance, audio_files, gender_of
from eele.corpora.tables import read_table

#: Sentence code -> text.
SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}

#: The published split of PEFT-SER (Feng & Narayanan, ACII 2023): actors from here on validate, test.
_VALIDATION_FROM, _TEST_FROM = 1059, 1074
_DEMOGRAPHICS = "VideoDemographics.csv"

# actor, sentence, emotion, level (LO, MD, HI; X or XX where unspecified)
_NAME = re.compile(r"^(\d{4})_([A-Z]{3})_([A-Z]{3})_(LO|MD|HI|XX?)$")


class CremaD(Adapter):
    """91 actors, twelve sentences, six emotions; `speakers` are `1001` .. `1091`."""

    name = "cremad"
    title = "CREMA-D"
    version = "1.0"
    licence = "ODbL 1.0 (database), DbCL 1.0 (contents)"
    url = "https://github.com/CheyneyComputerScience/CREMA-D"
    citation = (
        "H. Cao, D. G. Cooper, M. K. Keutmann, R. C. Gur, A. Nenkova, R. Verma: CREMA-D: "
        "Crowd-sourced Emotional Multimodal Actors Dataset. IEEE Trans. Affective Computing 5(4), 2014"
    )
    languages = ("en",)
    how_to_get = "ask"
    label_map: ClassVar[Mapping[str, str]] = {
        "NEU": "neutral",
        "HAP": "happy",
        "SAD": "sad",
        "ANG": "angry",
        "FEA": "fearful",
        "DIS": "disgusted",
    }
    ask = (
        "Clone https://github.com/CheyneyComputerScience/CREMA-D with Git LFS (`git lfs pull`) and "
        "name the clone as root: AudioWAV/1001_DFA_ANG_XX.wav, ..., VideoDemographics.csv (genders)"
    )
    notes = "labels are the emotions the actors were asked for; a few files hold no speech or several takes (1076_MTI_SAD_XX, 1064_IEO_DIS_MD)"

    def list_utterances(self, root: Path, corpus: CorpusConfig) -> Listing:
        """Files of AudioWAV/ (or of `root` itself) named like 1001_DFA_ANG_XX."""
        folder = root / "AudioWAV" if (root / "AudioWAV").is_dir() else root
        genders = _genders(root / _DEMOGRAPHICS)
        listing = Listing()
        matched = False
        for path in audio_files(folder):
            match = _NAME.match(path.stem)
            if not match:
                continue
            matched = True
            speaker, code, label = match[1], match[2], match[3]
            if label not in self.label_map:
                detail = f"label '{label}'; the corpus has {', '.join(self.label_map)}"
                listing.reject(path.stem, path, speaker, "unknown_emotion", detail)
            elif code not in SENTENCES:
                detail = f"sentence code '{code}'; the corpus has {', '.join(SENTENCES)}"
                listing.reject(path.stem, path, speaker, "missing_transcript", detail)
            else:
                emotion = self.label_map[label]
                listing.rows.append(
                    Utterance(
                        path.stem,
                        path,
                        speaker,
                        "en",
                        emotion,
                        SENTENCES[code],
                        gender=genders.get(speaker, ""),
                        partition=_partition(int(speaker)),
                    )
                )
        if not matched:
            raise self.layout_error(root, "no AudioWAV/1001_DFA_ANG_XX.wav and the like below it")
        return listing


def _genders(table: Path) -> dict[str, str]:
    """Actor -> gender; none where the table was not copied along."""
    if not table.is_file():
        return {}
    return {
        row["ActorID"]: gender_of(row["Sex"]) for _, row in read_table(table, ("ActorID", "Sex"))
    }


def _partition(actor: int) -> str:
    if actor >= _TEST_FROM:
        return "test"
    return "validation" if actor >= _VALIDATION_FROM else "train"
