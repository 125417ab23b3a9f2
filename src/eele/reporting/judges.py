"""What every judge of a study says of every cell, and how far the judges agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd

from eele.cells import sweep
from eele.errors import DataError
from eele.io import read_json
from eele.judges.rules import overlap
from eele.metrics.bootstrap import interval, units_of
from eele.reporting.bootstrap import Bootstrap
from eele.reporting.collect import Results, System
from eele.reporting.columns import AXIS_COLUMNS, judge_columns

JUDGE_COLUMNS = (
    *AXIS_COLUMNS,
    *("judge", "kind", "accuracy", "accuracy_low", "accuracy_high", "n"),
    *("mean_probability_target", "recording_accuracy", "warning"),
)
AGREEMENT_COLUMNS = ("measure", "judge", "other", "speech", "value", "low", "high", "n", "detail")

EQUAL, KAPPA, RANKING, BEST = (
    *("equal_decisions", "cohen_kappa"),
    *("scheme_rank_correlation", "best_scheme"),
)
#: Speech on which judges are compared: recordings, the same through the vocoder, all that models speak.
SPEECH = ("recording", "copy_synthesis", "synthetic")
#: A ranking is called stable when the interval of its correlation begins here or higher. Our criterion.
STABLE = 0.7


def judges_table(results: Results) -> pd.DataFrame:
    """One row per cell and judge: `JUDGE_COLUMNS`, then a column heard_<emotion> for each row of the confusion
    matrix. `recording_accuracy` is the judge's own score on recordings of the cell's emotion. Raises
    DataError for a cell that a judge of the study has not heard.
    """
    study, paths = results.study, results.paths
    kinds = study.evaluation.judge_kinds
    warnings = {judge: "; ".join(overlap(study, paths, judge)) for judge in study.evaluation.judges}
    rows = []
    for cell in sweep(study):
        file = paths.cell(cell) / "metrics.json"
        found = read_json(file).get("judges", {})
        for judge in study.evaluation.judges:
            if judge not in found:
                raise DataError(
                    f"{file}: judge {judge} has not heard this cell; delete the file and score it again"
                )
            heard = found[judge]
            rows.append(
                {
                    **cell.as_dict(),
                    "judge": judge,
                    "kind": kinds[judge],
                    "accuracy": heard["accuracy"],
                    "accuracy_low": heard["low"],
                    "accuracy_high": heard["high"],
                    "n": heard["n"],
                    "mean_probability_target": heard["mean_probability"].get(cell.emotion),
                    "warning": warnings[judge],
                    **{f"heard_{emotion}": n for emotion, n in heard["predictions"].items()},
                }
            )
    table = pd.DataFrame(rows)
    recording = table[table["method"] == "recording"].set_index(["judge", "emotion"])["accuracy"]
    table["recording_accuracy"] = [
        recording.get((judge, emotion))
        for judge, emotion in zip(table["judge"], table["emotion"], strict=True)
    ]
    further = [column for column in table.columns if column.startswith("heard_")]
    return table[[*JUDGE_COLUMNS, *further]]


def agreement_table(results: Results) -> pd.DataFrame:
    """Pairs of judges: share of equal decisions and Cohen's kappa on each kind of speech, Spearman's
    correlation of the schemes' order; then for each judge the scheme it puts first, `value` being the share
    of draws in which it does. Intervals over sentences, for which all judges share the draws. Empty with
    one judge.
    """
    judges = results.study.evaluation.judges
    schemes = results.compared_schemes
    rows: list[dict[str, object]] = []
    if len(judges) > 1:
        heard = {judge: Bootstrap(heard_by(results, judge)) for judge in judges}
        for pair in combinations(judges, 2):
            rows += [*_decisions(results, *pair), _ranking(heard, schemes, *pair)]
        if schemes:
            rows += [_best(heard[judge], schemes, judge) for judge in judges]
    table = pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))
    table["n"] = pd.to_numeric(table["n"]).astype("Int64")
    return table


_Summary = Callable[[np.ndarray], np.ndarray]


def heard_by(results: Results, judge: str) -> Results:
    """The same results with this judge's decisions in place of the first one's, of what all judges heard."""
    table = results.utterances
    columns = judge_columns(results.study.evaluation.judges)
    table = table[table[[predicted for predicted, _ in columns.values()]].notna().all(axis=1)]
    predicted = table[columns[judge][0]]
    table = table.assign(
        predicted_emotion=predicted, score=(predicted == table["emotion"]).astype(float)
    )
    return replace(results, utterances=table)


def _of_speech(table: pd.DataFrame, speech: str) -> pd.DataFrame:
    plain = SPEECH[:-1]
    return table[
        ~table["method"].isin(plain) if speech == "synthetic" else table["method"] == speech
    ]


def _decisions(results: Results, judge: str, other: str) -> list[dict[str, object]]:
    evaluation = results.study.evaluation
    columns = judge_columns(evaluation.judges)
    table = results.utterances.dropna(subset=[columns[judge][0], columns[other][0]])
    classes = ["neutral", *results.study.emotions]
    rows: list[dict[str, object]] = []
    for speech in SPEECH:
        chosen = _of_speech(table, speech)
        if chosen.empty:
            continue
        unit = units_of(chosen["sentence"].astype(str).tolist(), chosen["speaker"].tolist())
        counts = (
            pd.DataFrame(
                {
                    "unit": unit,
                    "a": [classes.index(e) for e in chosen[columns[judge][0]]],
                    "b": [classes.index(e) for e in chosen[columns[other][0]]],
                }
            )
            .value_counts()
            .sort_index()
            .reset_index(name="n")
        )
        a, b, n = (counts[key].to_numpy() for key in ("a", "b", "n"))
        for measure, summarise in ((EQUAL, _equal(a, b)), (KAPPA, _kappa(a, b, len(classes)))):
            found = interval(
                partial(_of_weights, summarise),
                n,
                n,
                counts["unit"].tolist(),
                evaluation.bootstrap_samples,
                evaluation.confidence,
                evaluation.seed,
            ) or (np.nan, np.nan)
            rows.append(
                {
                    **{"measure": measure, "judge": judge, "other": other, "speech": speech},
                    "value": float(summarise(n[None, :])[0]),
                    **{"low": found[0], "high": found[1], "n": len(chosen), "detail": ""},
                }
            )
    return rows


def _of_weights(summarise: _Summary, _: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return summarise(weights)


def _equal(a: np.ndarray, b: np.ndarray) -> _Summary:
    def shares(weights: np.ndarray) -> np.ndarray:
        out: np.ndarray = weights @ (a == b) / weights.sum(axis=1)
        return out

    return shares


def _kappa(a: np.ndarray, b: np.ndarray, classes: int) -> _Summary:
    """Cohen's kappa of every row of weights at once (`sklearn.metrics.cohen_kappa_score` takes one, and a
    study needs thousands); NaN where both judges hear one and the same emotion throughout."""
    of_a, of_b = np.eye(classes)[a], np.eye(classes)[b]

    def kappas(weights: np.ndarray) -> np.ndarray:
        n = weights.sum(axis=1)
        equal = weights @ (a == b) / n
        chance = ((weights @ of_a) * (weights @ of_b)).sum(axis=1) / n**2
        room = 1 - chance
        return np.divide(equal - chance, room, out=np.full(len(n), np.nan), where=room > 1e-12)

    return kappas


def _ranking(
    heard: dict[str, Bootstrap], schemes: list[System], judge: str, other: str
) -> dict[str, object]:
    """Spearman's correlation between two judges' orders of the schemes."""
    row: dict[str, object] = {
        **{"measure": RANKING, "judge": judge, "other": other, "speech": "synthetic"},
        "n": len(schemes),
    }
    if len(schemes) < 3:
        return {**row, "detail": "fewer than three schemes: there is no order to compare"}
    both = heard[judge], heard[other]
    points = [np.array([[one.mean_point(s) for s in schemes]]) for one in both]
    draws = [np.stack([one.mean_draws(s) for s in schemes], axis=1) for one in both]
    value = float(spearman(*points)[0])
    low, high = both[0].interval(spearman(*draws))
    detail = stability(value, low, high)
    return {**row, "value": value, "low": low, "high": high, "detail": detail}


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rank correlation of each row of a with that of b, both (rows, items) -> (rows,); ties share their mean
    rank, NaN where one side has no order."""
    from scipy.stats import rankdata

    ranks = [rankdata(x, axis=1) for x in (a, b)]
    x, y = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    spread = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return np.divide((x * y).sum(axis=1), spread, out=np.full(len(a), np.nan), where=spread > 0)


def stability(value: float, low: float, high: float) -> str:
    """What a rank correlation with its interval says, in words."""
    if not np.isfinite(value):
        return "a judge hears all schemes alike: there is no order to compare"
    if not np.isfinite(low):
        return "too few test sentences for an interval"
    if low >= STABLE:
        return "the order of the schemes is stable between these judges"
    if high < 0:
        return "the judges put the schemes in opposite orders"
    if low > 0:
        return "the judges agree on the order of the schemes in outline only"
    return "the order of the schemes is not stable: the interval includes no relation at all"


def _best(bootstrap: Bootstrap, schemes: list[System], judge: str) -> dict[str, object]:
    points = np.array([bootstrap.mean_point(s) for s in schemes])
    draws = np.stack([bootstrap.mean_draws(s) for s in schemes], axis=1)
    known = np.isfinite(draws).all(axis=1)
    first = int(np.argmax(np.nan_to_num(points, nan=-1.0)))
    # Of equal ones each takes its share.
    top = draws[known] == draws[known].max(axis=1, keepdims=True)
    share = (
        float((top / top.sum(axis=1, keepdims=True))[:, first].mean()) if known.any() else np.nan
    )
    return {
        **{"measure": BEST, "judge": judge, "other": "", "speech": "synthetic", "value": share},
        "n": len(schemes),
        "detail": f"puts first: {schemes[first].label}",
    }


def system_scores(
    results: Results, systems: Sequence[System]
) -> dict[str, dict[System, tuple[float, float, float]]]:
    """Judge -> system -> mean accuracy over emotions and its interval, of what all judges heard."""
    found = {}
    for judge in results.study.evaluation.judges:
        bootstrap = Bootstrap(heard_by(results, judge))
        found[judge] = {
            system: (
                bootstrap.mean_point(system),
                *bootstrap.interval(bootstrap.mean_draws(system)),
            )
            for system in systems
        }
    return found
