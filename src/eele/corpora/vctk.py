"""VCTK 0.92: wav48_silence_trimmed/p225/p225_001_mic1.flac with txt/p225/p225_001.txt."""

from __future__ import annotations

from pathlib import Path

from eele.config.models import CorpusConfig
from eele.corpora.base import Adapter, Listing, Utterance, gender_of, safe_name
from eele.corpora.tables import read_text

_MICROPHONE = "_mic1"


class Vctk(Adapter):
    """110 English speakers, neutral; `speakers` are `p225` .. `s5`."""

    name = "vctk"
    title = "CSTR VCTK Corpus"
    version = "0.92"
    licence = "CC BY 4.0"
    url = "https://datashare.ed.ac.uk/handle/10283/3443"
    citation = (
        "J. Yamagishi, C. Veaux, K. MacDonald: CSTR VCTK Corpus: English Multi-speaker Corpus for "
        "CSTR Voice Cloning Toolkit (version 0.92). University of Edinburgh, 2019"
    )
    languages = ("en",)
    how_to_get = "download"
    ask = (
        "Download VCTK-Corpus-0.92.zip (11 GB) from https://datashare.ed.ac.uk/handle/10283/3443 and "
        "unpack it there: wav48_silence_trimmed/p225/p225_001_mic1.flac, txt/p225/p225_001.txt, ..."
    )
    notes = "microphone 1 is used; the transcripts of p315 were lost by the authors"

    def list_utterances(self, root: Path, corpus: CorpusConfig) -> Listing:
        """Microphone-1 recordings with their transcripts."""
        folder = root / "VCTK-Corpus-0.92" if (root / "VCTK-Corpus-0.92").is_dir() else root
        audio = folder / "wav48_silence_trimmed"
        if not audio.is_dir():
            raise self.layout_error(root, "the folder wav48_silence_trimmed is missing")
        genders = _genders(folder / "speaker-info.txt")
        listing = Listing()
        for path in sorted(audio.glob(f"*/*{_MICROPHONE}.flac")):
            speaker = path.parent.name
            name = path.stem.removesuffix(_MICROPHONE)
            transcript = folder / "txt" / speaker / f"{name}.txt"
            if not transcript.is_file():
                detail = f"txt/{speaker}/{name}.txt is missing"
                listing.reject(
                    safe_name(name), path, safe_name(speaker), "missing_transcript", detail
                )
                continue
            text = read_text(transcript).strip()
            place = (safe_name(name), path, safe_name(speaker))
            listing.rows.append(Utterance(*place, "en", "neutral", text, genders.get(speaker, "")))
        if not listing.rows and not listing.rejected:
            raise self.layout_error(root, "no wav48_silence_trimmed/pNNN/pNNN_NNN_mic1.flac in it")
        return listing


def _genders(table: Path) -> dict[str, str]:
    """Speaker -> gender of speaker-info.txt (ID AGE GENDER ...); none where it was not copied along."""
    if not table.is_file():
        return {}
    fields = (line.split() for line in read_text(table, ("utf-8-sig", "latin-1")).splitlines()[1:])
    return {line[0]: gender_of(line[2]) for line in fields if len(line) > 2}
