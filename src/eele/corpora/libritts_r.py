"""LibriTTS-R: <subset>/<speaker>/<chapter>/<id>.wav with <id>.normalized.txt beside it."""

from __future__ import annotations

from pathlib import Path

from eele.config.models import CorpusConfig
from eele.corpora.base import Adapter, Listing, Utterance, safe_name
from eele.corpora.tables import read_text


class LibriTtsR(Adapter):
    """Restored audiobook speech of 2,456 readers, neutral; `speakers` are the readers' numbers."""

    name = "libritts_r"
    title = "LibriTTS-R"
    version = "1.0"
    licence = "CC BY 4.0"
    url = "https://www.openslr.org/141/"
    citation = (
        "Y. Koizumi et al.: LibriTTS-R: A Restored Multi-Speaker Text-to-Speech Corpus. "
        "Interspeech 2023"
    )
    languages = ("en",)
    how_to_get = "download"
    ask = (
        "Download the subsets you want from https://www.openslr.org/141/ (train_clean_100.tar.gz "
        "suffices) and unpack them there: train-clean-100/103/1240/103_1240_000001_000000.wav, ..."
    )

    def list_utterances(self, root: Path, corpus: CorpusConfig) -> Listing:
        """Every <id>.wav three folders below `root` (or below root/LibriTTS_R)."""
        folder = root / "LibriTTS_R" if (root / "LibriTTS_R").is_dir() else root
        listing = Listing()
        paths = sorted(path for path in folder.glob("*/*/*/*.wav") if path.name[0] != ".")
        if not paths:
            raise self.layout_error(root, "no <subset>/<speaker>/<chapter>/*.wav below it")
        for path in paths:
            speaker = safe_name(path.parent.parent.name)
            utterance_id = safe_name(path.stem)
            transcript = path.with_suffix(".normalized.txt")
            if not transcript.is_file():
                detail = f"{transcript.name} is missing"
                listing.reject(utterance_id, path, speaker, "missing_transcript", detail)
                continue
            text = read_text(transcript).strip()
            listing.rows.append(Utterance(utterance_id, path, speaker, "en", "neutral", text))
        return listing
