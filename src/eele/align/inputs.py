"""What the alignment stages read: utterances, pronunciations, and which shard is whose."""

from __future__ import annotations

import csv

import numpy as np

from eele.align.outcome import Item, Lexicons
from eele.config.models import StudyConfig
from eele.errors import DataError
from eele.paths import StudyPaths


def read_items(paths: StudyPaths) -> list[Item]:
    """Utterances of the manifest in its order."""
    from eele.text.normalise import words

    try:
        with open(paths.manifest, newline="", encoding="utf-8") as handle:
            items = [
                Item(
                    row["utterance_id"],
                    row["speaker"],
                    row["language"],
                    paths.root / row["path"],
                    tuple(words(row["text"])),
                    float(row["duration_s"]),
                )
                for row in csv.DictReader(handle)
            ]
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise DataError(
            f"{paths.manifest} is missing or damaged ({error!r}); run the stage assemble_manifest again"
        ) from error
    if not items:
        raise DataError(f"{paths.manifest} holds no utterance; see {paths.rejected}")
    return items


def read_lexicons(study: StudyConfig, paths: StudyPaths) -> tuple[Lexicons, list[str]]:
    """Pronunciations per language and word, and the phone inventory."""
    from eele.text.lexicon import Lexicon

    loaded = Lexicon.load(paths, study)
    lexicons: dict[str, dict[str, list[tuple[str, ...]]]] = {}
    for (language, word), ways in loaded.ways.items():
        lexicons.setdefault(language, {})[word] = [way for way in ways if way]
    return lexicons, list(loaded.phones)


def by_language(items: list[Item]) -> dict[str, list[Item]]:
    """Language -> its items in their order; languages sorted."""
    languages = sorted({item.language for item in items})
    return {name: [item for item in items if item.language == name] for name in languages}


def shard_of(items: list[Item], shards: int, shard: int) -> list[Item]:
    """The items of one of `shards` shards, in their order: whole speakers, about equal seconds each.

    A speaker's utterances stay together because aligners adapt to a speaker. Depends on nothing but
    the manifest; with more shards than speakers some are empty.
    """
    from eele.features.extract import partition

    seconds: dict[str, float] = {}
    for item in sorted(items, key=lambda item: item.speaker):
        seconds[item.speaker] = seconds.get(item.speaker, 0.0) + item.duration_s
    home = dict(
        zip(seconds, partition(np.array([*seconds.values()]), shards).tolist(), strict=True)
    )
    return [item for item in items if home[item.speaker] == shard]
