"""The stage `align`: manifest and lexicon in, TextGrids and the list of what failed out."""

from __future__ import annotations

import csv
import logging
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eele import io
from eele.align.accuracy import read_truth, summarise
from eele.align.outcome import Item, Lexicons, Outcome
from eele.align.textgrid import SILENCE, write_textgrid
from eele.config.models import StudyConfig
from eele.errors import DataError
from eele.paths import StudyPaths

log = logging.getLogger(__name__)


def align(study: StudyConfig, paths: StudyPaths, jobs: int = 1) -> None:
    """Write alignment/textgrids/, alignment.csv and summary.json for every utterance of the manifest.

    `jobs`: processes of MFA; the embedded aligner uses one core. Raises DataError where manifest or
    lexicon are missing, where more than alignment.max_failed_share of the utterances fail, and where phones
    outside the inventory come back; MissingToolError where the aligner is not installed.
    """
    items, durations = read_items(paths)
    lexicons, inventory = read_lexicons(study, paths)
    started = time.perf_counter()
    warnings: list[str] = []
    if study.alignment.aligner == "mfa":
        from eele.align.mfa import align_mfa

        outcomes = align_mfa(items, lexicons, study.alignment, jobs=jobs)
    else:
        from eele.align.gmm import align_gmm

        outcomes, warnings = align_gmm(items, lexicons, study.alignment)
    seconds = time.perf_counter() - started
    _check_phones(outcomes, inventory, paths)
    _check_share(outcomes, study.alignment.max_failed_share)
    summary = {
        "aligner": study.alignment.aligner,
        "n_aligned": sum(outcome.aligned for outcome in outcomes),
        "n_failed": sum(not outcome.aligned for outcome in outcomes),
        "by_reason": dict(Counter(o.reason for o in outcomes if not o.aligned)),
        "seconds": round(seconds, 2),
        "x_real_time": round(sum(durations) / max(seconds, 1e-9), 1),
        "truth": _truth(study, paths, outcomes),
        "warnings": warnings,
    }
    write_outcomes(paths.alignment, outcomes)
    io.write_json(paths.alignment / "summary.json", summary)
    log.info("aligned %d of %d utterances", summary["n_aligned"], len(outcomes))


def read_items(paths: StudyPaths) -> tuple[list[Item], list[float]]:
    """Utterances of the manifest in its order, and their durations in seconds."""
    from eele.text.normalise import words

    items, durations = [], []
    try:
        with open(paths.manifest, newline="", encoding="utf-8") as handle:
            for row in csv.DictReader(handle):
                items.append(
                    Item(
                        row["utterance_id"],
                        row["speaker"],
                        row["language"],
                        paths.root / row["path"],
                        tuple(words(row["text"])),
                    )
                )
                durations.append(float(row["duration_s"]))
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise DataError(
            f"{paths.manifest} is missing or damaged ({error!r}); run the stage assemble_manifest again"
        ) from error
    if not items:
        raise DataError(f"{paths.manifest} holds no utterance; see {paths.rejected}")
    return items, durations


def read_lexicons(study: StudyConfig, paths: StudyPaths) -> tuple[Lexicons, list[str]]:
    """Pronunciations per language and word, and the phone inventory."""
    from eele.text.lexicon import Lexicon

    loaded = Lexicon.load(paths, study)
    lexicons: dict[str, dict[str, list[tuple[str, ...]]]] = {}
    for (language, word), ways in loaded.ways.items():
        lexicons.setdefault(language, {})[word] = [way for way in ways if way]
    return lexicons, list(loaded.phones)


def write_outcomes(folder: Path, outcomes: Sequence[Outcome]) -> None:
    """textgrids/<speaker>/<utterance_id>.TextGrid, whole or absent, then alignment.csv."""
    with io.atomic_folder(folder / "textgrids") as grids:
        for outcome in outcomes:
            if outcome.grid is not None:
                item = outcome.item
                write_textgrid(grids / item.speaker / f"{item.utterance_id}.TextGrid", outcome.grid)
    with (
        io.atomic_path(folder / "alignment.csv") as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as handle,
    ):
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["utterance_id", "status", "score", "reason"])
        for outcome in outcomes:
            score = "" if outcome.score is None else f"{outcome.score:.4f}"
            reason = f"{outcome.reason}: {outcome.detail}" if outcome.reason else ""
            status = "aligned" if outcome.aligned else "failed"
            writer.writerow([outcome.item.utterance_id, status, score, reason])


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
