"""EmoV-DB: <speaker>/<Emotion>/<emotion>_<range>_<number>.wav and cmuarctic.data for the texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from eele.config.models import CorpusConfig
from eele.corpora.base import Adapter, Listing, Utterance, audio_files, safe_name
from eele.corpora.tables import read_text

#: Speaker -> gender.
SPEAKERS = {"bea": "female", "jenie": "female", "josh": "male", "sam": "male"}

# ( arctic_a0001 "Author of the danger trail, Philip Steels, etc." )
_PROMPT = re.compile(r'arctic_a(\d{4})\s+"(.*)"')
_NUMBER = re.compile(r"(\d{4})$")


class EmovDb(Adapter):
    """Four English speakers reading CMU ARCTIC A prompts; `speakers` are bea, jenie, josh, sam."""

    name = "emovdb"
    title = "EmoV-DB, the Emotional Voices Database"
    version = "1.0"
    licence = "non-commercial research (licence file of the repository)"
    url = "https://github.com/numediart/EmoV-DB"
    citation = (
        "A. Adigwe, N. Tits, K. El Haddad, S. Ostadabbas, T. Dutoit: The Emotional Voices Database: "
        "Towards Controlling the Emotion Dimension in Voice Generation Systems. arXiv 1806.09514, 2018"
    )
    languages = ("en",)
    how_to_get = "ask"
    label_map: ClassVar[Mapping[str, str]] = {
        "neutral": "neutral",
        "amused": "happy",
        "anger": "angry",
        "angry": "angry",
        "disgust": "disgusted",
        "disgusted": "disgusted",
    }
    #: Labels the study's vocabulary has no word for.
    unmapped = ("sleepiness", "sleepy")
    ask = (
        "Download the sorted version (https://github.com/numediart/EmoV-DB, or "
        "https://www.openslr.org/115/) and http://www.festvox.org/cmu_arctic/cmuarctic.data and put "
        "them there: bea/Amused/amused_1-15_0001.wav, ..., cmuarctic.data"
    )
    notes = "amused (speech with laughter) is mapped to happy; sleepiness has no word here"

    def list_utterances(self, root: Path, corpus: CorpusConfig) -> Listing:
        """Recordings below <speaker>/<Emotion>/ or, as OpenSLR unpacks them, <speaker>_<Emotion>/."""
        prompts = root / "cmuarctic.data"
        if not prompts.is_file():
            raise self.layout_error(root, "cmuarctic.data is missing")
        texts = {match[1]: match[2] for match in _PROMPT.finditer(read_text(prompts))}
        folders = [
            (speaker, label, folder)
            for speaker in SPEAKERS
            for label, folder in _emotion_folders(root, speaker)
        ]
        if not folders:
            raise self.layout_error(root, f"no folders {', '.join(SPEAKERS)} with emotions in them")
        listing = Listing()
        for speaker, label, folder in folders:
            for path in audio_files(folder):
                # The file names repeat between speakers (and could between emotions' spellings).
                utterance_id = safe_name(f"{speaker}_{path.stem}")
                emotion = self.label_map.get(label)
                number = _NUMBER.search(path.stem)
                if emotion is None:
                    known = label in self.unmapped
                    reason = "unmapped_emotion" if known else "unknown_emotion"
                    detail = f"label '{label}' has no word in this study's vocabulary"
                    listing.reject(utterance_id, path, speaker, reason, detail)
                elif number is None or number[1] not in texts:
                    detail = "the last four digits of its name are no sentence of cmuarctic.data"
                    listing.reject(utterance_id, path, speaker, "missing_transcript", detail)
                else:
                    text = texts[number[1]]
                    place = (utterance_id, path, speaker)
                    gender = SPEAKERS[speaker]
                    listing.rows.append(Utterance(*place, "en", emotion, text, gender))
        return listing


def _emotion_folders(root: Path, speaker: str) -> list[tuple[str, Path]]:
    """(label in lower case, folder) of one speaker, in both layouts."""
    nested = root / speaker
    found = [p for p in nested.iterdir() if p.is_dir()] if nested.is_dir() else []
    flat = [p for p in root.glob(f"{speaker}_*") if p.is_dir()]
    pairs = [(p.name.lower(), p) for p in found]
    pairs += [(p.name.lower().removeprefix(f"{speaker}_"), p) for p in flat]
    return sorted(pairs)
