"""The stage `index_alignment`: the shards' phone times in one place, without those of wrong text."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eele import io
from eele.align.accuracy import read_truth, summarise
from eele.align.inputs import by_language, read_items
from eele.align.models import read_models
from eele.align.outcome import Item, Outcome
from eele.align.results import read_shard, shard_folder, write_outcomes
from eele.align.verify import set_aside
from eele.config.models import AlignmentConfig, StudyConfig
from eele.errors import DataError
from eele.paths import StudyPaths

log = logging.getLogger(__name__)


def index(study: StudyConfig, paths: StudyPaths) -> None:
    """Write alignment/textgrids/, alignment.csv and summary.json for every utterance of the manifest.

    Wrong text shows against all utterances of a language only, so it is looked for here. Raises
    DataError where shards are missing or are not those of the manifest, and where more than
    alignment.max_failed_share of the utterances fail.
    """
    items = read_items(paths)
    folders = [shard_folder(paths, shard) for shard in range(study.alignment.shards)]
    found = _read(folders, items)
    spent = [io.read_json(folder / "summary.json")["work_seconds"] for folder in folders]
    started = time.perf_counter()
    outcomes = _checked(found, items, study.alignment)
    _check_share(outcomes, study.alignment.max_failed_share)
    models = read_models(paths)
    seconds = models.seconds + sum(spent) + time.perf_counter() - started
    summary = {
        "aligner": study.alignment.aligner,
        "n_aligned": sum(outcome.aligned for outcome in outcomes),
        "n_failed": sum(not outcome.aligned for outcome in outcomes),
        "by_reason": dict(Counter(o.reason for o in outcomes if not o.aligned)),
        "seconds": round(seconds, 2),
        "x_real_time": round(sum(item.duration_s for item in items) / max(seconds, 1e-9), 1),
        "truth": _truth(study, paths, outcomes),
        "warnings": models.warnings,
    }
    write_outcomes(paths.alignment, outcomes)
    io.write_json(paths.alignment / "summary.json", summary)
    log.info("aligned %d of %d utterances", summary["n_aligned"], len(outcomes))


def _read(folders: Sequence[Path], items: Sequence[Item]) -> dict[str, Outcome]:
    """utterance_id -> outcome, of all shards."""
    known = {item.utterance_id: item for item in items}
    listed = [outcome for folder in folders for outcome in read_shard(folder, known)]
    found = {outcome.item.utterance_id: outcome for outcome in listed}
    if len(listed) != len(items) or len(found) != len(items):
        missing = [name for name in known if name not in found]
        example = f"; missing: {missing[0]}" if missing else ""
        raise DataError(
            f"{folders[0].parent}: the shards list {len(listed)} utterances, the manifest "
            f"{len(items)}{example}; run the stage align again"
        )
    return found


def _checked(
    found: dict[str, Outcome], items: list[Item], config: AlignmentConfig
) -> list[Outcome]:
    """The outcomes in the order of `items`, with the misfits of each language failed as wrong text."""
    checked = {}
    for mine in by_language(items).values():
        outcomes = [found[item.utterance_id] for item in mine]
        if config.aligner == "mfa":
            from eele.align.rescore import scored

            outcomes = scored(outcomes)
        for outcome in set_aside(outcomes, config.max_score_deviation):
            checked[outcome.item.utterance_id] = outcome
    return [checked[item.utterance_id] for item in items]


def _check_share(outcomes: Sequence[Outcome], most: float) -> None:
    failed = [outcome for outcome in outcomes if not outcome.aligned]
    if len(failed) > most * len(outcomes):
        reasons = Counter(outcome.reason for outcome in failed).most_common()
        shown = ", ".join(f"{reason} ({n})" for reason, n in reasons)
        example = failed[0]
        raise DataError(
            f"alignment: {len(failed)} of {len(outcomes)} utterances failed: {shown}; for one, "
            f"{example.item.utterance_id}: {example.detail}. Allowed: alignment.max_failed_share "
            f"{most:g}. Check that transcripts belong to their recordings and that `language` is right"
        )


def _truth(study: StudyConfig, paths: StudyPaths, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Accuracy against known phone times, over the corpora that have them; empty without any."""
    truth = {}
    for corpus in study.corpora:
        truth.update(read_truth(paths.corpus(corpus.id), corpus.id))
    pairs = [
        (outcome.grid, truth[outcome.item.utterance_id])
        for outcome in outcomes
        if outcome.grid is not None and outcome.item.utterance_id in truth
    ]
    return dict(summarise(pairs)) if pairs else {}
