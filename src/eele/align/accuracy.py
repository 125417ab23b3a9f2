"""How near the phone times are to known ones, where a corpus has them (the generated corpus)."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from eele.align.textgrid import SILENCE, Interval, TextGrid
from eele.errors import DataError

#: A phone, its start in seconds, and whether that start may be measured against.
Start = tuple[str, float, bool]


def start_errors(found: Sequence[Interval], truth: Sequence[Start]) -> list[float]:
    """Signed errors in seconds of the starts of those phones that both sequences share.

    Phones are matched by Levenshtein alignment of the symbols, silences aside; inexact truths are left out.
    """
    from rapidfuzz.distance import Levenshtein

    spoken = [interval for interval in found if interval.label]
    operations = Levenshtein.opcodes(
        [interval.label for interval in spoken], [phone for phone, _, _ in truth]
    )
    errors = []
    for operation in operations:
        if operation.tag != "equal":
            continue
        length = operation.src_end - operation.src_start
        for step in range(length):
            _, start_s, exact = truth[operation.dest_start + step]
            if exact:
                errors.append(spoken[operation.src_start + step].start_s - start_s)
    return errors


def read_truth(corpus_folder: Path, corpus: str) -> dict[str, list[Start]]:
    """Cleaned utterance_id -> its true phones, in seconds of the *clean* recording; silences left out.

    Reads truth/phones.csv (times of the raw recording) and clean.csv (what was cut from its start).
    Empty where the corpus has no truth.
    """
    truth_file, clean_file = corpus_folder / "truth" / "phones.csv", corpus_folder / "clean.csv"
    if not truth_file.exists():
        return {}
    try:
        with open(clean_file, newline="", encoding="utf-8") as handle:
            cut = {
                row["utterance_id"]: float(row["leading_cut_s"]) for row in csv.DictReader(handle)
            }
        truth: dict[str, list[Start]] = defaultdict(list)
        with open(truth_file, newline="", encoding="utf-8") as handle:
            for row in csv.DictReader(handle):
                name = f"{corpus}_{row['utterance_id']}"
                if name in cut and row["phone"] != SILENCE:
                    exact = row.get("exact", "1") != "0"
                    truth[name].append((row["phone"], float(row["start_s"]) - cut[name], exact))
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{corpus_folder}: the true phone times cannot be read ({error!r}); delete the folder "
            "and run the corpus's stages again"
        ) from error
    return dict(truth)


def summarise(pairs: Iterable[tuple[TextGrid, Sequence[Start]]]) -> dict[str, float | int]:
    """Figures over all matched phone starts: milliseconds, shares of 0..1, counts."""
    errors: list[float] = []
    n_truth = n_utterances = 0
    for grid, truth in pairs:
        errors += start_errors(grid.phones, truth)
        n_truth += sum(exact for _, _, exact in truth)
        n_utterances += 1
    if not errors:
        return {"n": 0, "n_truth": n_truth, "n_utterances": n_utterances}
    signed_ms = np.array(errors) * 1000.0
    size_ms = np.abs(signed_ms)
    return {
        "median_ms": round(float(np.median(size_ms)), 2),
        "mean_ms": round(float(size_ms.mean()), 2),
        "p90_ms": round(float(np.percentile(size_ms, 90)), 2),
        "bias_ms": round(float(np.median(signed_ms)), 2),
        "within_20_ms": round(float((size_ms <= 20).mean()), 4),
        "within_50_ms": round(float((size_ms <= 50).mean()), 4),
        "n": len(errors),
        "n_truth": n_truth,
        "n_utterances": n_utterances,
    }
