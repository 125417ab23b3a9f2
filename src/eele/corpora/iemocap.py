"""IEMOCAP: Session1..5 with dialog/EmoEvaluation (labels), dialog/transcriptions and sentences/wav."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from eele.config.models import CorpusConfig
from eele.corpora.base import Adapter, Listing, Utterance, safe_name
from eele.corpora.tables import read_text

#: Sessions of the published single split (PEFT-SER): the fourth validates, the fifth tests.
_PARTITIONS = {"4": "validation", "5": "test"}
_ENCODINGS = ("utf-8-sig", "latin-1")

# [6.2901 - 8.2357]<TAB>Ses01F_impro01_F000<TAB>neu<TAB>[2.5000, 2.5000, 2.5000]
_TURN = re.compile(r"^\[[^\]]*\]\s+(Ses(\d\d)\w+_([FM])\w*)\s+(\w{3})\s", re.MULTILINE)
# Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.
_TEXT = re.compile(r"^(Ses\w+)\s*\[[^\]]*\]:\s*(.*)$", re.MULTILINE)


class Iemocap(Adapter):
    """Ten actors in five dialogues, acted and improvised; `speakers` are `Ses01F`, `Ses01M` .. `Ses05M`."""

    name = "iemocap"
    title = "IEMOCAP, Interactive Emotional Dyadic Motion Capture Database"
    version = "full release"
    licence = "research only; licence agreement with the University of Southern California"
    url = "https://sail.usc.edu/iemocap/"
    citation = (
        "C. Busso, M. Bulut, C.-C. Lee, A. Kazemzadeh, E. Mower, S. Kim, J. N. Chang, S. Lee, "
        "S. S. Narayanan: IEMOCAP: interactive emotional dyadic motion capture database. Language "
        "Resources and Evaluation 42, 2008"
    )
    languages = ("en",)
    how_to_get = "ask"
    label_map: ClassVar[Mapping[str, str]] = {
        "neu": "neutral",
        "hap": "happy",
        "exc": "excited",
        "sad": "sad",
        "ang": "angry",
        "fru": "frustrated",
        "fea": "fearful",
        "sur": "surprised",
        "dis": "disgusted",
    }
    #: No agreement between the listeners, and what they called otherwise.
    unmapped = ("xxx", "oth")
    ask = (
        "Ask for it with the form at https://sail.usc.edu/iemocap/iemocap_release.htm, then unpack the "
        "full release there: Session1/dialog/EmoEvaluation/Ses01F_impro01.txt, "
        "Session1/dialog/transcriptions/Ses01F_impro01.txt, "
        "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav, ..."
    )
    notes = "labels are the listeners' majority; turns without one are set aside"

    def list_utterances(self, root: Path, corpus: CorpusConfig) -> Listing:
        """Labelled turns of all sessions; gender from the turn's name, session from its folder."""
        nested = root / "IEMOCAP_full_release"
        folder = nested if nested.is_dir() else root
        labels = sorted(
            path
            for path in folder.glob("Session*/dialog/EmoEvaluation/*.txt")
            if not path.name.startswith(".")
        )
        if not labels:
            raise self.layout_error(root, "no Session1/dialog/EmoEvaluation/*.txt in it")
        listing = Listing()
        for table in labels:
            self._list_dialogue(table, listing)
        if not listing.rows and not listing.rejected:
            raise self.layout_error(root, "no labelled turn in its EmoEvaluation/*.txt")
        return listing

    def _list_dialogue(self, table: Path, listing: Listing) -> None:
        session = table.parents[2]
        transcript = session / "dialog" / "transcriptions" / table.name
        texts = (
            dict(_TEXT.findall(read_text(transcript, _ENCODINGS))) if transcript.is_file() else {}
        )
        for turn, number, letter, label in _TURN.findall(read_text(table, _ENCODINGS)):
            utterance_id = safe_name(turn)
            speaker = f"Ses{number}{letter}"
            path = session / "sentences" / "wav" / table.stem / f"{turn}.wav"
            emotion = self.label_map.get(label)
            if emotion is None:
                reason = "unmapped_emotion" if label in self.unmapped else "unknown_emotion"
                detail = f"label '{label}' has no word in this study's vocabulary"
                listing.reject(utterance_id, path, speaker, reason, detail)
            elif turn not in texts:
                detail = f"not in dialog/transcriptions/{table.name}"
                listing.reject(utterance_id, path, speaker, "missing_transcript", detail)
            else:
                place = (utterance_id, path, speaker)
                name = str(int(number))
                listing.rows.append(
                    Utterance(
                        *place,
                        "en",
                        emotion,
                        texts[turn],
                        gender="female" if letter == "F" else "male",
                        session=name,
                        partition=_PARTITIONS.get(name, "train"),
                    )
                )
