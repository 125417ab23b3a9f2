"""Fairness of a recogniser between genders: statistical parity and equality of opportunity.

Both are differences, 0 where the genders fare alike. The measures for many classes are those of the
published experiments (holisticai's multiclass_statistical_parity and multiclass_equality_of_opp with
aggregation "max", the largest over pairs of groups), put together from fairlearn's differences of one
class against the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from fairlearn.metrics import demographic_parity_difference, equal_opportunity_difference

from eele.vocabulary import GENDERS


def fairness(predictions: pd.DataFrame, gender: Sequence[str] | None = None) -> dict[str, Any]:
    """Fairness over `gender` (of each row; the column `gender` when None), as plain values for JSON.

    predictions: columns label and predicted. Rows of unknown gender ("") are left out and counted. The
    result has `applicable` (False with fewer than two genders, and then `reason`), `n` by gender,
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
        "applicable": all(n.values()),
        "n": n,
        "n_unknown": int((~known).sum()),
    }
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
    by_class = {name: _of_class(name, label, predicted, group) for name in classes}
    within = [
        _distance(predicted[label == name], group[label == name], classes)
        for name in classes
        if all(by_class[name]["n"].values())
    ]
    recalls = [
        facts["equality_of_opportunity"]
        for facts in by_class.values()
        if facts["equality_of_opportunity"] is not None
    ]
    return {
        **result,
        "statistical_parity": _distance(predicted, group, classes),
        "equality_of_opportunity": float(np.mean(within)) if within else None,
        "statistical_parity_worst_class": max(
            facts["statistical_parity"] for facts in by_class.values()
        ),
        "equality_of_opportunity_worst_class": max(recalls, default=None),
        "by_class": by_class,
    }


def _of_class(
    name: str, label: np.ndarray, predicted: np.ndarray, group: np.ndarray
) -> dict[str, Any]:
    """One class against the rest; label, predicted, group: (n,)."""
    is_label, is_predicted = label == name, predicted == name
    n = {gender: int((is_label & (group == gender)).sum()) for gender in GENDERS}
    recall = {
        gender: float(is_predicted[is_label & (group == gender)].mean()) if n[gender] else None
        for gender in GENDERS
    }
    return {
        "n": n,
        "predicted": {gender: float(is_predicted[group == gender].mean()) for gender in GENDERS},
        "recall": recall,
        "statistical_parity": _parity(is_predicted, group),
        "equality_of_opportunity": float(
            equal_opportunity_difference(is_label, is_predicted, sensitive_features=group)
        )
        if all(n.values())
        else None,
    }


def _parity(chosen: np.ndarray, group: np.ndarray) -> float:
    """Difference between the groups' shares of chosen rows; chosen, group: (n,)."""
    return float(demographic_parity_difference(chosen, chosen, sensitive_features=group))


def _distance(predicted: np.ndarray, group: np.ndarray, classes: Sequence[str]) -> float:
    """Total variation distance between the two groups' predictions; predicted, group: (n,)."""
    return float(sum(_parity(predicted == name, group) for name in classes) / 2)
