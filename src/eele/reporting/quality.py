"""What went in and what was set aside: corpora, sources, rejections, alignment, recognisers, run times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from eele.config.models import StudyConfig
from eele.errors import DataError
from eele.io import read_json
from eele.paths import StudyPaths
from eele.reporting.collect import read_table
from eele.reporting.markup import (
    Heading,
    HtmlTable,
    TableCell,
    duration_text,
    interval_text,
    is_empty,
    number,
    text,
    words,
)
from eele.vocabulary import EMOTIONS, SPLITS


def corpus_table(paths: StudyPaths) -> HtmlTable:
    """Accepted utterances per speaker, emotion and split; an empty cell means none."""
    manifest = read_table(paths.manifest, ("corpus", "speaker", "emotion", "split", "duration_s"))
    present = set(manifest["emotion"])
    emotions = [e for e in EMOTIONS if e in present]
    counts = manifest.groupby(["corpus", "speaker", "emotion", "split"]).size()
    minutes = manifest.groupby(["corpus", "speaker"])["duration_s"].sum() / 60
    rows = []
    for corpus, speaker in sorted(minutes.index):
        row = [text(speaker), text(corpus)]
        total = 0
        for emotion in emotions:
            split_counts = [
                int(counts.get((corpus, speaker, emotion, split), 0)) for split in SPLITS
            ]
            total += sum(split_counts)
            row.append(
                TableCell(" / ".join(map(str, split_counts)), str(sum(split_counts)), "num")
                if any(split_counts)
                else TableCell("–", "0", "empty num")
            )
        row += [number(total, 0), number(minutes[(corpus, speaker)], 1)]
        rows.append(row)
    headings = [Heading("speaker"), Heading("corpus")]
    headings += [Heading(e, True) for e in emotions]
    headings += [Heading("utterances", True), Heading("minutes", True)]
    return HtmlTable("corpora", "Accepted utterances: training / validation / test", headings, rows)


def _not_aligned(paths: StudyPaths) -> pd.DataFrame:
    """Corpus, stage and reason of the recordings whose alignment failed."""
    alignment = read_table(paths.alignment / "alignment.csv", ("utterance_id", "status", "reason"))
    failed = alignment[alignment["status"] != "aligned"]
    corpora = read_table(paths.manifest, ("utterance_id", "corpus")).set_index("utterance_id")
    return pd.DataFrame(
        {
            "corpus": corpora["corpus"].reindex(failed["utterance_id"]).to_numpy(),
            "stage": "align",
            # Scores and times differ per utterance: what comes after the colon is detail.
            "reason": failed["reason"].fillna("").str.split(":").str[0].to_numpy(),
        }
    )


def required(file: Path) -> Path:
    """`file`, which an earlier stage wrote; DataError when it is gone, so that no section stays silent."""
    if not file.is_file():
        raise DataError(f"{file} is missing; run the stage that writes it (snakemake {file})")
    return file


def sources(study: StudyConfig, paths: StudyPaths) -> list[dict[str, str]]:
    """Name, version, licence, address and notes of every corpus."""
    found = []
    for corpus in study.corpora:
        facts: dict[str, Any] = read_json(required(paths.corpus(corpus.id) / "source.json"))
        notes = facts.get("notes") or ""
        found.append(
            {
                "id": corpus.id,
                "name": str(facts.get("name") or corpus.id),
                "version": str(facts.get("version") or ""),
                "licence": str(facts.get("licence") or "not stated"),
                "url": str(facts.get("url") or ""),
                "citation": str(facts.get("citation") or ""),
                "notes": _sentences(*(notes if isinstance(notes, list) else [notes])),
                "sha256": _hash_text(facts.get("sha256")),
                "energy": ""
                if facts.get("energy_comparable", True)
                else "Energy is not comparable between its files.",
            }
        )
    return found


def _sentences(*parts: Any) -> str:
    """Notes one after another, each ended by a full stop."""
    texts = [str(part).strip() for part in parts if str(part).strip()]
    return " ".join(text if text.endswith((".", "!", "?")) else f"{text}." for text in texts)


def _hash_text(value: Any) -> str:
    if isinstance(value, dict):
        return f"{len(value)} files hashed"
    return str(value or "")


def energy_comparable(study: StudyConfig, paths: StudyPaths) -> bool:
    """Whether every corpus keeps the loudness of its utterances."""
    return not any(source["energy"] for source in sources(study, paths))


def rejections(paths: StudyPaths, aligned: bool = True) -> tuple[HtmlTable, int]:
    """Recordings set aside, counted by corpus, stage and reason; and their number.

    `aligned`: whether the study aligns its recordings, which sets more of them aside.
    """
    rejected = read_table(paths.rejected, ("utterance_id", "corpus", "stage", "reason"))
    frames = [rejected[["corpus", "stage", "reason"]]]
    if aligned:
        frames.append(_not_aligned(paths))
    united = pd.concat(frames, ignore_index=True).astype(str)
    if united.empty:
        rows: list[list[TableCell]] = []
    else:
        counts = united.groupby(["corpus", "stage", "reason"]).size()
        rows = [
            [text(reason), text(corpus), text(words(str(stage))), number(count, 0)]
            for corpus, stage, reason, count in counts.reset_index(name="count").itertuples(
                index=False
            )
        ]
    headings = [Heading("reason"), Heading("corpus"), Heading("stage"), Heading("utterances", True)]
    return HtmlTable("rejected", "Recordings set aside, by reason", headings, rows), len(united)


#: Words for keys whose own words would puzzle a reader.
_LABELS = {
    "truth": "against the true phone times",
    "n": "boundaries compared",
    "n_truth": "true boundaries",
    "n_utterances": "utterances",
    "n_train": "training recordings",
    "n_train_per_emotion": "training recordings",
    "n_validation": "validation recordings",
    "n_test": "test recordings",
    "n_test_phones": "test phones",
    "n_test_unknown_phones": "test phones never heard in training",
    "n_aligned": "aligned",
    "n_failed": "failed",
    "cv_score": "cross-validated accuracy on training recordings",
    "cv_folds": "folds",
    "by_reason": "failed",
    "x_real_time": "speed",
    "extraction_x_real_time": "speed",
    "seconds": "time",
    "train_seconds": "training time",
    "trainable_parameters": "weights",
    "critic_parameters": "weights of the discriminators",
    "minutes": "minutes of speech",
    "train_seconds_audio": "speech trained on",
    "best_step": "best step",
}

#: Key endings that state a unit.
_UNITS = {"_ms": "ms", "_s": "s", "_hz": "Hz", "_db": "dB", "_dbfs": "dBFS", "_mb": "MB"}


def facts(file: Path, skip: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Plain values of a JSON report as (words, text); groups of values one level down."""
    if not file.is_file():
        return []
    found: list[tuple[str, str]] = []
    content = read_json(file)
    for key, value in content.items() if isinstance(content, dict) else ():
        if key in skip or key.endswith(("_low", "_high")):
            continue
        if isinstance(value, dict):
            group = _LABELS.get(key, words(key))
            found += [
                (f"{group}: {label}", text)
                for label, text in (_fact(str(k), v) for k, v in value.items())
            ]
        else:
            label, text = _fact(key, value)
            spread = interval_text(content.get(f"{key}_low"), content.get(f"{key}_high"))
            found.append((label, f"{text} ({spread})" if text and spread else text))
    return [(label, text) for label, text in found if text]


def _fact(key: str, value: Any) -> tuple[str, str]:
    """Label and text of one value: units move from the key to the value."""
    if key.startswith("within_") and isinstance(value, float):
        return words(key), f"{value:.1%}".replace("%", " %")
    text = _plain(value)
    if key.endswith("x_real_time") and text:
        return _LABELS.get(key, words(key)), f"{text} × real time"
    if key in ("seconds", "train_seconds", "train_seconds_audio") and isinstance(
        value, int | float
    ):
        return _LABELS[key], duration_text(float(value))
    if key in _LABELS:
        return _LABELS[key], text
    for ending, unit in _UNITS.items():
        if key.endswith(ending) and text:
            return words(key.removesuffix(ending)), f"{text} {unit}"
    return words(key), text


def _plain(value: Any) -> str:
    if is_empty(value) or isinstance(value, dict):
        return ""
    if isinstance(value, list):
        # Long lists are inventories (features, phones), not findings.
        return ", ".join(map(str, value)) if len(value) <= 12 else ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}".replace(",", "\u202f") if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, int) and abs(value) >= 1000:
        return f"{value:,}".replace(",", "\u202f")
    return str(value)


def stage_table(costs: dict[str, dict[str, float]], gpus: dict[str, int]) -> HtmlTable:
    """What each stage took; `costs` as `eele.provenance.stage_costs`, `gpus` as `eele.workflow.gpus` gives them."""
    rows = [
        [
            text(words(stage)),
            number(cost["jobs"], 0),
            _seconds(cost["wall_s"]),
            _seconds(cost["longest_wall_s"]),
            _hours(cost.get("cpu_s")),
            _hours(cost["wall_s"] * gpus[stage] if gpus.get(stage) else None),
            number(cost.get("peak_memory_mb"), 0, suffix=" MB"),
        ]
        for stage, cost in sorted(costs.items(), key=lambda entry: -entry[1]["wall_s"])
    ]
    headings = [
        Heading("stage"),
        Heading("jobs", True),
        Heading("wall time, all jobs", True),
        Heading("longest job", True),
        Heading("core-hours", True, "time of processors at work, all jobs"),
        Heading("GPU-hours", True, "wall time times the GPUs asked for, all jobs"),
        Heading("peak memory", True),
    ]
    return HtmlTable("stages", "Time and peak memory per stage", headings, rows)


def _hours(seconds: float | None) -> TableCell:
    return number(None if seconds is None else seconds / 3600, 3)


def _seconds(value: float) -> TableCell:
    return TableCell(duration_text(value), repr(float(value)), "num")
