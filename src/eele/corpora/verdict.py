"""What cleaning made of a corpus: counts, and whether too much of it was rejected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eele.config.models import StudyConfig
from eele.corpora.base import NOT_FAULTS
from eele.corpora.tables import write_table
from eele.errors import DataError

REJECTED_COLUMNS = ("utterance_id", "corpus", "speaker", "stage", "reason", "detail")


def summarise(
    accepted: Sequence[Mapping[str, Any]],
    rejected: Sequence[Mapping[str, str]],
    levels: Mapping[str, Any],
) -> dict[str, Any]:
    """Contents of summary.json: counts by reason, seconds before and after, one level per speaker."""
    n_accepted = len(accepted)
    faults = [row for row in rejected if row["reason"] not in NOT_FAULTS]
    n_judged = n_accepted + len(faults)
    return {
        "n_total": n_accepted + len(rejected),
        "n_accepted": n_accepted,
        "n_rejected": len(rejected),
        "n_faults": len(faults),
        "rejected_share": round(len(faults) / n_judged, 6) if n_judged else 1.0,
        "by_reason": dict(sorted(Counter(row["reason"] for row in rejected).items())),
        "source_s": round(sum(row["source_s"] for row in accepted), 3),
        "duration_s": round(sum(row["duration_s"] for row in accepted), 3),
        "mean_cut_s": round(sum(row["cut_s"] for row in accepted) / max(1, n_accepted), 4),
        "speakers": dict(levels),
    }


def refuse_too_many(
    study: StudyConfig,
    folder: Path,
    corpus_id: str,
    summary: Mapping[str, Any],
    rejected: Sequence[Mapping[str, str]],
) -> None:
    """Raise DataError when nothing is left or the share of faults exceeds the config's limit.

    The rejected rows are then in rejected_too_many.csv: a workflow removes the declared outputs of a
    stage that failed, and rejected.csv is one.
    """
    limit = study.cleaning.max_rejected_share
    if summary["n_accepted"] and summary["rejected_share"] <= limit:
        return
    report = folder / "rejected_too_many.csv"
    write_table(report, REJECTED_COLUMNS, rejected)
    top = sorted(summary["by_reason"].items(), key=lambda item: (-item[1], item[0]))[:3]
    n_judged = summary["n_accepted"] + summary["n_faults"]
    raise DataError(
        f"corpus {corpus_id}: {summary['n_faults']} of {n_judged} utterances rejected "
        f"({summary['rejected_share']:.1%}; limit cleaning.max_rejected_share {limit:.1%}): "
        f"{', '.join(f'{reason} {count}' for reason, count in top) or 'no utterances'}. Every one is "
        f"listed in {report}; mend the corpus, or raise the limit"
    )
