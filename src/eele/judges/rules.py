"""What a judge may have heard. A judge that breaks a rule is refused, when it is trained and whenever it is loaded
(but files are looked for among synthetic speech when it is trained only).

Every judge's folder holds heard.json: the utterances it learned from, with labels and, through its encoder,
without. A judge others trained declares corpora only; what it heard of them nobody can look up, so one
that knows a corpus of the study is shown with a warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eele import io
from eele.config import StudyConfig
from eele.errors import DataError
from eele.paths import StudyPaths

if TYPE_CHECKING:
    import pandas as pd

HEARD = "heard.json"


@dataclass(frozen=True)
class Heard:
    """What a judge learned from: names of corpora, ids of the study's utterances.

    `unlabelled`: what its encoder heard without labels; `declared`: known by what its publisher says only;
    `synthetic`: whether any of it was spoken by a model.
    """

    corpora: tuple[str, ...]
    utterances: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    declared: bool = False
    synthetic: bool = False


def declare(folder: Path, judge: str, heard: Heard) -> None:
    """Write heard.json into a judge's folder."""
    content = asdict(heard)
    io.write_json(folder / HEARD, {"judge": judge, **content, "sha256": _digest(heard)})


def check_stored(study: StudyConfig, paths: StudyPaths, judge: str) -> Heard:
    """What the stored judge heard; DataError when it does not say so or may not judge this study."""
    file = paths.judge(judge) / HEARD
    if not file.is_file():
        raise DataError(
            f"{file} is missing; run the rule train_judge first: a judge that does not say what it heard "
            "is not used"
        )
    content = io.read_json(file)
    try:
        heard = Heard(
            tuple(content["corpora"]),
            tuple(content["utterances"]),
            tuple(content["unlabelled"]),
            content["declared"],
            content["synthetic"],
        )
        whole = content["sha256"] == _digest(heard) and content["judge"] == judge
    except (KeyError, TypeError):
        whole = False
    if not whole:
        raise DataError(
            f"{file} is not what the training of judge {judge} wrote; run the rule train_judge again"
        )
    check(study, paths, judge, heard)
    return heard


def check(study: StudyConfig, paths: StudyPaths, judge: str, heard: Heard) -> None:
    """Raise DataError when a judge that heard this may not judge the study."""
    if heard.synthetic:
        raise DataError(f"judge {judge} was trained on synthetic speech; {_MAY_NOT}")
    if not (heard.utterances or heard.unlabelled):
        return
    manifest = _manifest(paths)
    refuse_test_material(f"judge {judge} heard", heard.utterances, manifest)
    refuse_test_material(f"the encoder of judge {judge} heard", heard.unlabelled, manifest)


def _manifest(paths: StudyPaths) -> pd.DataFrame:
    import pandas as pd

    columns = ["utterance_id", "path", "split", "sentence", "corpus"]
    table = pd.read_csv(
        paths.manifest, usecols=columns, dtype={"utterance_id": str}, keep_default_na=False
    )
    return table.set_index("utterance_id")


def refuse_test_material(did: str, heard: Sequence[str], manifest: pd.DataFrame) -> None:
    """Raise DataError when one of the utterances `heard`, or what is said in it, is test material.

    manifest: index utterance_id, columns split and sentence; `did` begins the message. An utterance that
    is not listed may be anything, and is refused as well.
    """
    strange = sorted(set(heard) - set(manifest.index))
    if strange:
        raise DataError(
            f"{did} {strange[0]} ({len(strange)} such in all), which is not in this study's manifest.csv: "
            "nobody can say what it is; run the rules prepare_encoder and train_judge again"
        )
    known = manifest.loc[list(heard)]
    test = manifest[manifest["split"] == "test"]
    utterances = sorted(set(known.index) & set(test.index))
    if utterances:
        raise DataError(
            f"{did} the test utterance {utterances[0]} ({len(utterances)} such in all); {_MAY_NOT}"
        )
    sentences = sorted(set(known["sentence"].astype(str)) & set(test["sentence"].astype(str)))
    if sentences:
        raise DataError(
            f"{did} the test sentence {sentences[0]} ({len(sentences)} such in all); {_MAY_NOT}"
        )


_MAY_NOT = "a judge may hear neither what it is tested on nor synthetic speech"


def refuse_synthetic(paths: StudyPaths, judge: str, heard: Heard) -> None:
    """Raise DataError when a recording of those heard, or the file it was made of, is speech a cell spoke.

    A copy that lies elsewhere looks like any recording.
    """
    import pandas as pd

    wanted = _manifest(paths).loc[sorted({*heard.utterances, *heard.unlabelled})]
    files = {name: [paths.root / str(path)] for name, path in wanted["path"].items()}
    for corpus in sorted(set(wanted["corpus"].astype(str))):
        listing = paths.corpus(corpus) / "manifest.csv"
        if not listing.is_file():
            continue
        sources = pd.read_csv(listing, dtype=str, keep_default_na=False)
        for name, path in zip(sources["utterance_id"], sources["path"], strict=True):
            # A cleaned utterance carries its corpus in front.
            files.get(f"{corpus}_{name}", []).append(Path(path))
    spoken = [path for those in files.values() for path in those if is_synthetic(path)]
    if spoken:
        raise DataError(
            f"judge {judge} was trained on synthetic speech: {spoken[0]} ({len(spoken)} such files in all); "
            f"{_MAY_NOT}"
        )


def is_synthetic(path: Path) -> bool:
    """Whether a file is, or is a link to, one below the cells of some study."""
    for one in (path, path.resolve()):
        parts = one.parts
        cells = [i for i, part in enumerate(parts[:-1]) if part == "cells"]
        if any(parts[i + 1].startswith("backbone~") for i in cells):
            return True
    return False


def refuse_emotions(judge: str, known: Iterable[str], study: StudyConfig) -> None:
    """Raise DataError when a judge cannot answer neutral or one of the study's emotions."""
    known = sorted(set(known))
    lacking = [e for e in ("neutral", *study.emotions) if e not in known]
    if lacking:
        raise DataError(
            f"judge {judge} does not know {', '.join(lacking)}, it knows {', '.join(known) or 'nothing'}; "
            "a judge must know neutral and every emotion of the study: choose another judge or "
            "other emotions"
        )


def overlap(study: StudyConfig, paths: StudyPaths, judge: str) -> list[str]:
    """Warnings of a judge others trained: corpora of the study among those it declares."""
    config = study.evaluation.published_judges.get(judge)
    if config is None:
        return []
    declared = {_plain(name): name for name in config.trained_on}
    found = []
    for corpus in study.corpora:
        names = [corpus.id] + [corpus.adapter] * (corpus.adapter != "folder")
        source = paths.corpus(corpus.id) / "source.json"
        if source.is_file():
            names.append(str(io.read_json(source).get("name", "")))
        same = [declared[_plain(name)] for name in names if _plain(name) in declared]
        if same:
            found.append(
                f"trained on {same[0]}, which this study speaks after ({corpus.id}): its scores may "
                "flatter, and it may have heard the test sentences"
            )
    return found


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


def _digest(heard: Heard) -> str:
    return io.hash_json(asdict(heard))
