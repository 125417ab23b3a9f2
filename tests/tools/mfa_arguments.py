"""Print, as JSON, the `mfa` command lines eele makes for a tiny corpus written into the given folder."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import soundfile

from eele.align.mfa import MfaRun, write_corpus, write_dictionary
from eele.align.outcome import Item
from eele.config.models import MfaConfig


def command_lines(folder: Path) -> list[list[str]]:
    """`train`, and `align` by the trained and by a pretrained model; every file they name exists."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / "a.wav", np.zeros(1600, np.int16), 16000)
    items = [Item("a", "speaker", "en", folder / "a.wav", ("one",), 0.1)]
    lexicons = {"en": {"one": [("w", "ʌ", "n")]}}
    run = MfaRun(folder, "en", MfaConfig(beam=20, retry_beam=80), jobs=2)
    write_corpus(run.corpus, items, lexicons)
    write_dictionary(run.dictionary, lexicons["en"])
    models = [run.model, folder / "english.zip"]
    for model in models:
        with zipfile.ZipFile(model, "w") as archive:
            archive.writestr("model/meta.json", json.dumps({"phones": ["w", "ʌ", "n"]}))
            # The parser looks for them and does not read them.
            for part in ("final.mdl", "tree"):
                archive.writestr(f"model/{part}", "")
    return [
        run.train_command(run.dictionary),
        *(run.align_command(run.dictionary, model) for model in models),
    ]


if __name__ == "__main__":
    print(json.dumps(command_lines(Path(sys.argv[1]))))
