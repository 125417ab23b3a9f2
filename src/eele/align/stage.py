"""The stages `train_aligner` and `align`: acoustic models, then the phone times of one shard."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence

from eele import io
from eele.align.inputs import by_language, read_items, read_lexicons, shard_of
from eele.align.models import Models, models_file, read_models, write_models
from eele.align.outcome import Outcome
from eele.align.results import shard_folder, write_shard
from eele.align.textgrid import SILENCE
from eele.config.models import StudyConfig
from eele.errors import DataError
from eele.paths import StudyPaths

log = logging.getLogger(__name__)


def train_aligner(study: StudyConfig, paths: StudyPaths, jobs: int = 1) -> None:
    """Write alignment/models/: an acoustic model per language of the manifest, and models.json.

    `jobs`: processes of MFA; the embedded aligner uses one core. A pretrained model is checked against
    the lexicon and named, not copied. Raises DataError where manifest or lexicon are missing, where
    there is too little speech or MFA fails; MissingToolError where the aligner is not installed.
    """
    items = read_items(paths)
    lexicons, _ = read_lexicons(study, paths)
    folder = models_file(paths).parent
    started = time.perf_counter()
    warnings: list[str] = []
    if study.alignment.aligner == "mfa":
        from eele.align.mfa import train_mfa

        models = train_mfa(by_language(items), lexicons, study.alignment.mfa, folder, jobs)
    else:
        from eele.align.gmm import train_gmm

        models = {}
        for language, mine in by_language(items).items():
            models[language] = f"{language}.safetensors"
            path = folder / models[language]
            warnings += train_gmm(language, mine, lexicons, study.alignment.gmm, path)
    seconds = round(time.perf_counter() - started, 2)
    write_models(paths, Models(study.alignment.aligner, models, seconds, warnings))


def align_shard(study: StudyConfig, paths: StudyPaths, shard: int, jobs: int = 1) -> None:
    """Write alignment/shard~<shard>/: the phone times of its speakers' utterances.

    `summary.json` in it holds the seconds of audio and of work. `jobs`: processes of MFA. Raises
    DataError for a shard outside the study, without models, and where phones outside the inventory come
    back; MissingToolError where the aligner is not installed.
    """
    if not 0 <= shard < study.alignment.shards:
        raise DataError(
            f"shard {shard} does not exist; alignment.shards is {study.alignment.shards}, so shards "
            f"are 0..{study.alignment.shards - 1}"
        )
    items = shard_of(read_items(paths), study.alignment.shards, shard)
    lexicons, inventory = read_lexicons(study, paths)
    models = read_models(paths)
    started = time.perf_counter()
    outcomes: list[Outcome] = []
    for language, mine in by_language(items).items():
        model = models.path(language, paths)
        if study.alignment.aligner == "mfa":
            from eele.align.mfa import align_mfa

            outcomes += align_mfa(language, mine, lexicons, study.alignment.mfa, model, jobs)
        else:
            from eele.align.gmm import align_gmm

            outcomes += align_gmm(language, mine, lexicons, study.alignment.gmm, model)
    _check_phones(outcomes, inventory, paths)
    folder = shard_folder(paths, shard)
    audio_s = sum(item.duration_s for item in items)
    work_s = time.perf_counter() - started
    io.write_json(
        folder / "summary.json",
        {"audio_seconds": round(audio_s, 2), "work_seconds": round(work_s, 2)},
    )
    write_shard(folder, outcomes)
    log.info("%d of %d utterances have phone times", sum(o.aligned for o in outcomes), len(items))


def _check_phones(outcomes: Sequence[Outcome], inventory: Sequence[str], paths: StudyPaths) -> None:
    """A pretrained model may speak of other phones than the lexicon: better now than in the features."""
    known = set(inventory) | {"", SILENCE}
    unknown = Counter(
        interval.label
        for outcome in outcomes
        if outcome.grid is not None
        for interval in outcome.grid.phones
        if interval.label not in known
    )
    if unknown:
        shown = ", ".join(f"{phone} ({n})" for phone, n in unknown.most_common(12))
        raise DataError(
            f"alignment: the aligner's phones are not those of {paths.phones}: {shown}; use one set: "
            "lexicon.source: dictionary with the acoustic model's own dictionary as "
            "lexicon.dictionary, or alignment.mfa.mode: train"
        )
