"""EmoDB, the Berlin database of emotional speech: wav/03a01Fa.wav, everything said by the file name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from eele.config.models import CorpusConfig
from eele.corpora.base import Adapter, Listing, Utterance, audio_files

#: Text code -> sentence, in the corpus's own spelling.
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}

#: Speakers who are men; the other five are women.
_MEN = ("03", "10", "11", "12", "15")

# speaker (2 digits), text code, emotion letter of the German word, version letter
_NAME = re.compile(r"^(\d{2})([a-z]\d{2})([A-Z])([a-z]?)$")


class EmoDb(Adapter):
    """Ten actors, ten sentences, seven emotions; `speakers` are `03`, `08` .. `16`."""

    name = "emodb"
    title = "EmoDB, Berlin Database of Emotional Speech"
    version = "1.0"
    licence = "CC0-1.0 as published by audEERING; please cite the paper"
    url = "http://emodb.bilderbar.info/download/download.zip"
    citation = (
        "F. Burkhardt, A. Paeschke, M. Rolfes, W. Sendlmeier, B. Weiss: A Database of German "
        "Emotional Speech. Interspeech 2005"
    )
    languages = ("de",)
    how_to_get = "download"
    energy_comparable = False
    label_map: ClassVar[Mapping[str, str]] = {
        "N": "neutral",
        "W": "angry",
        "L": "bored",
        "E": "disgusted",
        "A": "fearful",
        "F": "happy",
        "T": "sad",
    }
    ask = (
        "Download http://emodb.bilderbar.info/download/download.zip and unpack it there: "
        "wav/03a01Fa.wav, ..."
    )
    notes = "every file is peak-normalised, so its level says nothing about emotion; ten sentences"

    def list_utterances(self, root: Path, corpus: CorpusConfig) -> Listing:
        """Files named like 03a01Fa anywhere below `root`."""
        listing = Listing()
        matched = False
        for path in audio_files(root):
            match = _NAME.match(path.stem)
            if not match:
                continue
            matched = True
            speaker, code, letter = match[1], match[2], match[3]
            if letter not in self.label_map:
                detail = f"emotion letter '{letter}'; the corpus has {', '.join(self.label_map)}"
                listing.reject(path.stem, path, speaker, "unknown_emotion", detail)
            elif code not in SENTENCES:
                detail = f"text code '{code}'; the corpus has {', '.join(SENTENCES)}"
                listing.reject(path.stem, path, speaker, "missing_transcript", detail)
            else:
                emotion = self.label_map[letter]
                gender = "male" if speaker in _MEN else "female"
                listing.rows.append(
                    Utterance(path.stem, path, speaker, "de", emotion, SENTENCES[code], gender)
                )
        if not matched:
            raise self.layout_error(root, "no wav/03a01Fa.wav and the like below it")
        return listing
