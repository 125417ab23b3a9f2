"""MSP-Improv: Evalution.txt (labels) and session1..6/<scene>/<kind>/MSP-IMPROV-S01A-F01-P-FM01.wav."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from eele.config.models import CorpusConfig
from eele.corpora.base import Adapter, Listing, Utterance, audio_files
from eele.corpora.tables import read_text

#: The release spells it the first way.
_LABELS = ("Evalution.txt", "Evaluation.txt")
#: Sessions of the published single split (PEFT-SER): the fourth validates, the fifth tests.
_PARTITIONS = {"4": "validation", "5": "test"}

# UTD-IMPROV-S01A-F01-P-FM01.avi; N; A:3.000000; V:3.500000; D:3.000000; ...
_LINE = re.compile(r"^UTD-(IMPROV-\w+-([FM])(\d\d)-\w+-\w+)\.\w+;\s*(\w)\s*;", re.MULTILINE)


class MspImprov(Adapter):
    """Twelve actors in six sessions, improvised; `speakers` are `F01` .. `F06`, `M01` .. `M06`."""

    name = "msp_improv"
    title = "MSP-IMPROV"
    version = "1.0"
    licence = "research only; licence agreement with the University of Texas at Dallas"
    url = "https://www.lab-msp.com/MSP/MSP-Improv.html"
    citation = (
        "C. Busso, S. Parthasarathy, A. Burmania, M. AbdelWahab, N. Sadoughi, E. Mower Provost: "
        "MSP-IMPROV: An Acted Corpus of Dyadic Interactions to Study Emotion Perception. IEEE Trans. "
        "Affective Computing 8(1), 2017"
    )
    languages = ("en",)
    how_to_get = "ask"
    transcribed = False
    label_map: ClassVar[Mapping[str, str]] = {
        "N": "neutral",
        "H": "happy",
        "S": "sad",
        "A": "angry",
    }
    #: Other, and no agreement between the listeners.
    unmapped = ("O", "X")
    ask = (
        "Ask the authors (https://www.lab-msp.com/MSP/MSP-Improv.html), then unpack the corpus there: "
        "Evalution.txt, Audio/session1/S01A/P/MSP-IMPROV-S01A-F01-P-FM01.wav, ..."
    )
    notes = "no texts are read: for recognition only; labels are the listeners' majority"

    def list_utterances(self, root: Path, corpus: CorpusConfig) -> Listing:
        """Labelled turns of all kinds (read, improvised, natural); recordings anywhere below `root`."""
        tables = [root / name for name in _LABELS if (root / name).is_file()]
        if not tables:
            raise self.layout_error(root, f"{_LABELS[0]} is missing")
        recordings = {path.stem: path for path in audio_files(root)}
        listing = Listing()
        for name, letter, number, label in _LINE.findall(
            read_text(tables[0], ("utf-8-sig", "latin-1"))
        ):
            utterance_id = f"MSP-{name}"
            speaker = f"{letter}{number}"
            path = recordings.get(utterance_id, root / f"{utterance_id}.wav")
            emotion = self.label_map.get(label)
            if emotion is None:
                reason = "unmapped_emotion" if label in self.unmapped else "unknown_emotion"
                detail = f"label '{label}' has no word in this study's vocabulary"
                listing.reject(utterance_id, path, speaker, reason, detail)
                continue
            session = str(int(number))
            listing.rows.append(
                Utterance(
                    utterance_id,
                    path,
                    speaker,
                    "en",
                    emotion,
                    "",
                    gender="female" if letter == "F" else "male",
                    session=session,
                    partition=_PARTITIONS.get(session, "train"),
                )
            )
        if not listing.rows and not listing.rejected:
            raise self.layout_error(root, f"no line of a turn in {tables[0].name}")
        listing.rows.sort(key=lambda row: row.utterance_id)
        return listing
