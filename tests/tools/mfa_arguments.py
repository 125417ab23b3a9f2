"""Print, as JSON, the `mfa` command lines eele makes for a tiny corpus written into the given folder."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import soundfile

from eele.align.mfa import MfaRun, write_corpus
from eele.align.outcome import Item
from eele.config.models import MfaConfig


def command_lines(folder: Path) -> list[list[str]]:
    """`train` and `align` in mode train, and `align` in mode pretrained; every file they name exists."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / "a.wav", np.zeros(1600, np.int16), 16000)
    items = [Item("a", "speaker", "en", folder / "a.wav", ("one",))]
    lexicons = {"en": {"one": [("w", "ʌ", "n")]}}
    trained = MfaRun(folder, "en", MfaConfig(beam=20, retry_beam=80), jobs=2)
    write_corpus(trained.corpus, items, lexicons)
    for name in ("model.zip", "english.zip"):
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("model/meta.json", json.dumps({"phones": ["w", "ʌ", "n"]}))
            # The parser looks for them and does not read them.
            for part in ("final.mdl", "tree"):
                archive.writestr(f"model/{part}", "")
    pretrained = MfaRun(
        folder,
        "en",
        MfaConfig(mode="pretrained", acoustic_model=str(folder / "english.zip")),
        jobs=1,
    )
    return [*trained.commands(items, lexicons), *pretrained.commands(items, lexicons)]


if __name__ == "__main__":
    print(json.dumps(command_lines(Path(sys.argv[1]))))
