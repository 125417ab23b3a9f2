"""Fairness of a recogniser between genders: statistical parity and equality of opportunity.

Both are differences, 0 where the genders fare alike. The measures for many classes are those of the
published experiments (holisticai's multiclass_statistical_parity and multiclass_equality_of_opp with
aggregation "max", the largest over pairs of groups), put together from fairlearn's differences between
groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from fairlearn.metrics import MetricFrame

from eele.config.recognition import Target
from eele.vocabulary import GENDERS

#: Target -> why the measures say nothing there.
_MEANINGLESS = {
    "speaker": "a speaker is of one gender, so no class has recordings of both",
    "phones": "the measures compare how often a class is recognised, and a recording holds many phones",
}


def fairness(
    predictions: pd.DataFrame,
    gender: Sequence[str] | None = None,
    target: Target = "emotion",
) -> dict[str, Any]:
    """Fairness over `gender` (of each row; the column `gender` when None), as plain values for JSON.

    predictions: columns label and predicted. Rows of unknown gender ("") are left out and counted. The
    result has `applicable` (False with fewer than two genders, and where speakers or phones are recognised,
    and then `reason`), `n` by gender,
    `n_unknown`, and where applicable:

    statistical_parity: half the summed differences between the genders' shares of each predicted class
    (total variation distance), 0 to 1.
    equality_of_opportunity: the same among the recordings of one true class, averaged over the classes
    that both genders have.
    statistical_parity_worst_class, equality_of_opportunity_worst_class: the largest difference of a
    single class's share, and of a single class's recall.
    by_class: per class n, share predicted and recall of each gender (None without recordings), and the
    two differences.
    """
    groups = np.asarray(predictions["gender"] if gender is None else gender, dtype=str)
    if len(groups) != len(predictions):
        raise ValueError(f"{len(groups)} genders for {len(predictions)} predictions")
    known = np.isin(groups, GENDERS)
    n = {name: int((groups == name).sum()) for name in GENDERS}
    result: dict[str, Any] = {
        "applicable": all(n.values()) and target not in _MEANINGLESS,
        "n": n,
        "n_unknown": int((~known).sum()),
    }
    if target in _MEANINGLESS:
        return {**result, "reason": _MEANINGLESS[target]}
    if not result["applicable"]:
        there = [name for name, count in n.items() if count]
        result["reason"] = (
            f"all speakers are {there[0]}" if there else "no speaker's gender is known"
        ) + "; name genders with the corpus's key `genders`" * bool(result["n_unknown"])
        return result
    label = predictions["label"].to_numpy(str)[known]
    predicted = predictions["predicted"].to_numpy(str)[known]
    group = groups[known]
    classes = sorted(set(label) | set(predicted))
    overall = _shares(predicted, group, classes)
    apart = overall.difference()
    by_class: dict[str, Any] = {}
    distances, recalls = [], []
    for name in classes:
        mine = label == name
        facts: dict[str, Any] = {
            "n": {gender: int((mine & (group == gender)).sum()) for gender in GENDERS},
            "predicted": _plain(overall.by_group[name]),
            "recall": dict.fromkeys(GENDERS),
            "statistical_parity": float(apart[name]),
            "equality_of_opportunity": None,
        }
        by_class[name] = facts
        if not mine.any():
            continue
        within = _shares(predicted[mine], group[mine], classes)
        facts["recall"] |= _plain(within.by_group[name])
        if all(facts["n"].values()):
            facts["equality_of_opportunity"] = float(within.difference()[name])
            recalls.append(facts["equality_of_opportunity"])
            distances.append(_distance(within))
    return {
        **result,
        "statistical_parity": _distance(overall),
        "equality_of_opportunity": float(np.mean(distances)) if distances else None,
        "statistical_parity_worst_class": float(apart.max()),
        "equality_of_opportunity_worst_class": max(recalls, default=None),
        "by_class": by_class,
    }


def _shares(predicted: np.ndarray, group: np.ndarray, classes: Sequence[str]) -> MetricFrame:
    """Share of each predicted class within each group; predicted, group: (n,)."""
    metrics = {name: partial(_share, name) for name in classes}
    return MetricFrame(
        metrics=metrics, y_true=predicted, y_pred=predicted, sensitive_features=group
    )


def _share(name: str, _label: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.mean(np.asarray(predicted) == name))


def _distance(shares: MetricFrame) -> float:
    """Total variation distance between the two groups' predictions, 0 to 1."""
    return float(shares.difference().sum() / 2)


def _plain(shares: pd.Series) -> dict[str, float]:
    return {str(gender): float(share) for gender, share in shares.items()}
