"""RAVDESS, speech part: Actor_01/03-01-05-01-01-01-01.wav ..., everything said by the file name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from eele.config.models import CorpusConfig
from eele.corpora.base import Adapter, Listing, Utterance, audio_files

STATEMENTS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}

# modality-channel-emotion-intensity-statement-repetition-actor; 03-01 is audio only, speech
_NAME = re.compile(r"^(\d{2})-(\d{2})-(\d{2})-(\d{2})-(\d{2})-(\d{2})-(\d{2})$")


class Ravdess(Adapter):
    """24 actors, two statements, eight emotions; `speakers` are the actors' numbers (`01` .. `24`)."""

    name = "ravdess"
    title = "RAVDESS (speech, audio only)"
    version = "1.0.0"
    licence = "CC BY-NC-SA 4.0 (non-commercial)"
    url = "https://zenodo.org/records/1188976"
    citation = (
        "S. R. Livingstone, F. A. Russo: The Ryerson Audio-Visual Database of Emotional Speech and "
        "Song (RAVDESS). PLoS ONE 13(5): e0196391, 2018"
    )
    languages = ("en",)
    how_to_get = "download"
    label_map: ClassVar[Mapping[str, str]] = {
        "01": "neutral",
        "02": "calm",
        "03": "happy",
        "04": "sad",
        "05": "angry",
        "06": "fearful",
        "07": "disgusted",
        "08": "surprised",
    }
    ask = (
        "Download Audio_Speech_Actors_01-24.zip from https://zenodo.org/records/1188976 and unpack "
        "it there: Actor_01/03-01-01-01-01-01-01.wav, ..."
    )
    notes = "two sentences only; about a second of silence at each end of every file"

    def list_utterances(self, root: Path, corpus: CorpusConfig) -> Listing:
        """Files of modality 03 (audio only) and channel 01 (speech) anywhere below `root`."""
        listing = Listing()
        matched = False
        for path in audio_files(root):
            match = _NAME.match(path.stem)
            if not match or (match[1], match[2]) != ("03", "01"):
                continue
            matched = True
            emotion, statement, actor = match[3], match[5], match[7]
            if emotion not in self.label_map:
                allowed = f"emotion code '{emotion}'; the corpus has {', '.join(self.label_map)}"
                listing.reject(path.stem, path, actor, "unknown_emotion", allowed)
            elif statement not in STATEMENTS:
                detail = f"statement code '{statement}'; the corpus has 01 and 02"
                listing.reject(path.stem, path, actor, "missing_transcript", detail)
            else:
                listing.rows.append(
                    Utterance(
                        path.stem,
                        path,
                        actor,
                        "en",
                        self.label_map[emotion],
                        STATEMENTS[statement],
                        gender="male" if int(actor) % 2 else "female",
                    )
                )
        if not matched:
            raise self.layout_error(root, "no Actor_NN/03-01-*.wav below it")
        return listing
