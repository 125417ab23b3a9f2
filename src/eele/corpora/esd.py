"""ESD: <speaker>/<Emotion>/<id>.wav and <speaker>/<speaker>.txt (id, text, label between tabs)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from eele.config.models import CorpusConfig
from eele.corpora.base import Adapter, Listing, Utterance, audio_files, safe_name
from eele.corpora.tables import read_text

_LINE = re.compile(r"^(\d{4}_\d{6})\s+(.*)$")
_SPEAKER = re.compile(r"^\d{4}$")
#: From the corpus's ReadMe; the other ten speakers are men.
_WOMEN = ("0001", "0002", "0003", "0007", "0009", "0015", "0016", "0017", "0018", "0019")
#: Folders of the official split below <Emotion>/, where the copy has them.
_PARTITIONS = {"train": "train", "evaluation": "validation", "test": "test"}


class Esd(Adapter):
    """Ten Mandarin (0001-0010) and ten English (0011-0020) speakers, 350 sentences, five emotions."""

    name = "esd"
    title = "ESD, Emotional Speech Database"
    version = "1.0"
    licence = "research only; licence agreement with the authors"
    url = "https://github.com/HLTSingapore/Emotional-Speech-Data"
    citation = (
        "K. Zhou, B. Sisman, R. Liu, H. Li: Emotional voice conversion: Theory, databases and ESD. "
        "Speech Communication 137, 2022"
    )
    languages = ("en", "zh")
    how_to_get = "ask"
    label_map: ClassVar[Mapping[str, str]] = {
        "Neutral": "neutral",
        "Happy": "happy",
        "Sad": "sad",
        "Angry": "angry",
        "Surprise": "surprised",
    }
    ask = (
        "Ask the authors (the form is at https://github.com/HLTSingapore/Emotional-Speech-Data), then "
        "unpack the archive there: 0011/0011.txt, 0011/Angry/0011_000351.wav, ..."
    )

    def list_utterances(self, root: Path, corpus: CorpusConfig) -> Listing:
        """Recordings of every speaker folder; `corpus.language` (en or zh) keeps one half.

        Both forms in circulation are read: <Emotion>/*.wav and <Emotion>/{train,evaluation,test}/*.wav.
        """
        nested = root / "Emotion Speech Dataset"
        folder = nested if nested.is_dir() else root
        speakers = sorted(p for p in folder.iterdir() if p.is_dir() and _SPEAKER.match(p.name))
        if not speakers:
            raise self.layout_error(root, "no speaker folders 0001 .. 0020")
        listing = Listing()
        for speaker in speakers:
            language = "zh" if int(speaker.name) <= 10 else "en"
            if corpus.language in (None, language):
                self._list_speaker(speaker, language, listing)
        return listing

    def _list_speaker(self, folder: Path, language: str, listing: Listing) -> None:
        speaker = folder.name
        texts = _transcripts(folder / f"{speaker}.txt")
        for emotion_folder in sorted(path for path in folder.iterdir() if path.is_dir()):
            emotion = self.label_map.get(emotion_folder.name)
            for path in audio_files(emotion_folder):
                utterance_id = safe_name(path.stem)
                if emotion is None:
                    detail = f"folder '{emotion_folder.name}'; ESD has {', '.join(self.label_map)}"
                    listing.reject(utterance_id, path, speaker, "unknown_emotion", detail)
                elif not texts.get(path.stem):
                    detail = f"not in {speaker}.txt"
                    listing.reject(utterance_id, path, speaker, "missing_transcript", detail)
                else:
                    text = texts[path.stem]
                    listing.rows.append(
                        Utterance(
                            utterance_id,
                            path,
                            speaker,
                            language,
                            emotion,
                            text,
                            gender="female" if speaker in _WOMEN else "male",
                            partition=_PARTITIONS.get(path.parent.name, ""),
                        )
                    )


def _transcripts(path: Path) -> dict[str, str]:
    """Id -> text of one speaker's file; missing file gives none. Encodings vary between speakers."""
    if not path.is_file():
        return {}
    texts = {}
    for line in read_text(path, encodings=("utf-8-sig", "utf-16", "gb18030")).splitlines():
        match = _LINE.match(line.strip("\ufeff \t\r\n"))
        if match:
            # The label follows after a tab; in some speakers' files it stands in Chinese.
            texts[match[1]] = match[2].split("\t")[0].strip()
    return texts
