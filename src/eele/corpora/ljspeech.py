"""LJSpeech: wavs/LJ001-0001.wav and metadata.csv (`id|transcript|normalised transcript`)."""

from __future__ import annotations

from pathlib import Path

from eele.config.models import CorpusConfig
from eele.corpora.base import Adapter, Listing, Utterance, safe_name
from eele.corpora.tables import read_text


class LjSpeech(Adapter):
    """One female reader, neutral; `speakers` is `ljspeech`."""

    name = "ljspeech"
    title = "LJ Speech"
    version = "1.1"
    licence = "public domain"
    url = "https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2"
    citation = (
        "K. Ito, L. Johnson: The LJ Speech Dataset. https://keithito.com/LJ-Speech-Dataset/, 2017"
    )
    languages = ("en",)
    how_to_get = "download"
    ask = (
        "Download https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2 and unpack it there: "
        "metadata.csv, wavs/LJ001-0001.wav, ..."
    )

    def list_utterances(self, root: Path, corpus: CorpusConfig) -> Listing:
        """Rows of metadata.csv; the normalised transcript (numbers written out) is the text."""
        folder = root / "LJSpeech-1.1" if (root / "LJSpeech-1.1").is_dir() else root
        table = folder / "metadata.csv"
        if not table.is_file():
            raise self.layout_error(root, "metadata.csv is missing")
        listing = Listing()
        for number, line in enumerate(read_text(table).splitlines(), start=1):
            if not line.strip():
                continue
            # Quotation marks are part of the text here, so this is no job for a CSV reader.
            name, *texts = line.split("|")
            name = name.strip()
            path = folder / "wavs" / f"{name}.wav"
            utterance_id = safe_name(name)
            if not texts or "/" in name or not name:
                detail = f"metadata.csv line {number}: expected id|transcript|normalised transcript"
                listing.reject(utterance_id, path, self.name, "bad_row", detail)
                continue
            text = next((t.strip() for t in reversed(texts) if t.strip()), "")
            place = (utterance_id, path, self.name)
            listing.rows.append(Utterance(*place, "en", "neutral", text, gender="female"))
        return listing
