"""The score that counts against weights: the Pareto front, and which differences between systems are larger than their interval.

Every difference is paired over sentences and seeds (`Bootstrap`), and its interval widened for the number of
differences of its family (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from eele.reporting.bootstrap import Bootstrap
from eele.reporting.collect import Results, System, method_words, plain_system, score_of
from eele.reporting.judges import heard_by
from eele.reporting.markup import interval_text

COMPARISON_COLUMNS = (
    *("family", "judge", "what", "over", "than", "difference", "low", "high", "larger"),
    *("weights", "weights_than", "comparisons", "detail"),
)

#: Families, in the order they are told, with the question each answers.
FAMILIES = {
    "method": "methods, each at its size, over the schemes both went to",
    "scheme": "schemes, over the methods that went to both",
    "method at scheme": "methods against the main one, at one scheme",
    "front": "steps along the Pareto front: the next dearer system against the cheaper one",
    "baseline": "the best system against the baselines",
}
LARGER, WITHIN, UNKNOWN = "yes", "no", "unknown"


class Comparison(NamedTuple):
    """Two sides of equal length, compared pair by pair and averaged."""

    family: str
    what: str
    than: str
    these: tuple[System, ...]
    those: tuple[System, ...]
    over: str = ""  # what the sides share


def front(results: Results) -> list[System]:
    """The adapters that none beats with as few weights, cheapest first.

    The neutral model counts as one of no weights: what scores no better is not worth any. Where voices are adapted
    to, so does the voice vector alone, which every adapter has beside its weights.
    """
    points = [
        (results.mean(s, "trainable_parameters"), -score_of(results, s), s) for s in results.placed
    ]
    plain = [score_of(results, plain_system(results, name)) for name in ("none", "voice")]
    best = max([score for score in plain if np.isfinite(score)], default=-1.0)
    found = []
    for _, negative, system in sorted(p for p in points if np.isfinite(p[:2]).all()):
        if -negative > best:
            best = -negative
            found.append(system)
    return found


def comparisons_table(results: Results, bootstrap: Bootstrap) -> pd.DataFrame:
    """One row per difference in the mean of the score that counts, `what` minus `than`: `COMPARISON_COLUMNS`.

    `larger`: yes where the whole interval lies on one side of zero, no where it holds zero, unknown where there
    are too few sentences for one. `weights` are means of trainable weights of either side. Each judge has rows of its
    own, of the pairs that the first one's scores make: the best system and the front are the first one's.
    """
    rows: list[dict[str, object]] = []
    heard = _heard(results, bootstrap)
    for family in FAMILIES:
        members = list(_MEMBERS[family](results))
        for judge, one in heard.items():
            rows += [
                {
                    **{"family": family, "judge": judge},
                    **row,
                    "comparisons": len(members),
                    "detail": one.of.conditions(),
                }
                for row in _compare(results, one, members)
            ]
    return pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS))


def _heard(results: Results, bootstrap: Bootstrap) -> dict[str, _Drawn]:
    """Judge -> the draws of what it heard; what no judge scores is drawn once, for nobody."""
    if results.goal.score != "emotion_accuracy":
        return {"": _Drawn(bootstrap)}
    first, *others = results.study.evaluation.judges
    return {
        first: _Drawn(bootstrap),
        **{judge: _Drawn(Bootstrap(heard_by(results, judge))) for judge in others},
    }


class _Drawn:
    """A bootstrap that draws a system once."""

    def __init__(self, bootstrap: Bootstrap) -> None:
        self.of = bootstrap
        self.draws = cache(bootstrap.mean_draws)


def _compare(
    results: Results, drawn: _Drawn, members: Sequence[Comparison]
) -> Iterator[dict[str, object]]:
    """The difference of each pair that has one."""
    for pair in members:
        sides = list(zip(pair.these, pair.those, strict=True))
        points = [drawn.of.mean_point(a) - drawn.of.mean_point(b) for a, b in sides]
        estimate = float(np.mean(points))
        if not np.isfinite(estimate):
            continue
        low, high = drawn.of.difference_interval(
            np.mean([drawn.draws(a) - drawn.draws(b) for a, b in sides], axis=0),
            estimate,
            drawn.of.utterances([*pair.these, *pair.those]),
            len(members),
        )
        yield {
            **{"what": pair.what, "over": pair.over, "than": pair.than},
            **{"difference": estimate, "low": low, "high": high},
            "larger": _larger(low, high),
            "weights": _weights(results, pair.these),
            "weights_than": _weights(results, pair.those),
        }


def _larger(low: float, high: float) -> str:
    if not (np.isfinite(low) and np.isfinite(high)):
        return UNKNOWN
    return LARGER if low > 0 or high < 0 else WITHIN


def _weights(results: Results, systems: tuple[System, ...]) -> float:
    """Mean trainable weights; those of a baseline are none."""
    weights = [results.mean(system, "trainable_parameters") for system in systems]
    return float(np.mean(np.nan_to_num(weights)))


def _by(results: Results, axis: str) -> dict[str, dict[str, System]]:
    """Compared systems by method and then scheme, or by scheme and then method."""
    found: dict[str, dict[str, System]] = {}
    for system in results.compared:
        first, second = system.method, system.scheme
        if axis == "scheme":
            first, second = second, first
        found.setdefault(first, {})[second] = system
    return found


def _axis(results: Results, axis: str) -> Iterator[Comparison]:
    """Pairs of methods over the schemes, or of schemes over the methods, that they have in common."""
    words = method_words if axis == "method" else "scheme {}".format
    shared_words = "scheme {}".format if axis == "method" else method_words
    for (a, one), (b, other) in combinations(_by(results, axis).items(), 2):
        shared = [key for key in one if key in other]
        if shared:
            these, those = (tuple(side[key] for key in shared) for side in (one, other))
            over = ", ".join(map(shared_words, shared))
            yield Comparison(axis, words(a), words(b), these, those, over)


def _at_one_scheme(results: Results) -> Iterator[Comparison]:
    main = results.main_method
    for scheme, methods in _by(results, "scheme").items():
        if main not in methods:
            continue
        for method, system in methods.items():
            if method != main:
                yield Comparison(
                    "method at scheme",
                    system.label,
                    methods[main].label,
                    (system,),
                    (methods[main],),
                    f"scheme {scheme}",
                )


def _front_steps(results: Results) -> Iterator[Comparison]:
    for cheaper, dearer in pairwise(front(results)):
        yield Comparison("front", dearer.label, cheaper.label, (dearer,), (cheaper,))


def _baselines(results: Results) -> Iterator[Comparison]:
    best = results.best_scheme()
    for name in ("none", "voice", "full", "recording"):
        system = plain_system(results, name)
        if best is not None and system is not None:
            yield Comparison("baseline", best.label, system.label, (best,), (system,))


_MEMBERS = {
    "method": lambda results: _axis(results, "method"),
    "scheme": lambda results: _axis(results, "scheme"),
    "method at scheme": _at_one_scheme,
    "front": _front_steps,
    "baseline": _baselines,
}

#: So many differences of a family are named in words; the table holds all.
_NAMED = 6


def in_words(table: pd.DataFrame) -> list[str]:
    """Which differences are larger than their interval, a sentence or two per family."""
    found = []
    table = table.fillna({"judge": "", "over": ""})
    for family, question in FAMILIES.items():
        members = table[table["family"] == family]
        if members.empty:
            continue
        first, *others = dict.fromkeys(members["judge"])
        rows = members[members["judge"] == first]
        sure = rows[rows["larger"] == LARGER]
        sure = sure.loc[sure["difference"].abs().sort_values(ascending=False, kind="stable").index]
        said = [_said(row) for _, row in sure.head(_NAMED).iterrows()]
        if len(sure) > _NAMED:
            said.append(f"and {len(sure) - _NAMED} more")
        unknown = int((rows["larger"] == UNKNOWN).sum())
        text = f"{question[0].upper()}{question[1:]}: {len(sure)} of {len(rows)} differences are larger than their interval"
        text += f" ({unknown} have none, too few sentences)" * bool(unknown)
        text += f": {'; '.join(said)}." if said else "."
        found.append(" ".join([text, *(_also(rows, members, judge) for judge in others)]))
    return found


#: What tells a pair from the others of its family.
PAIR = ["what", "over", "than"]


def _also(rows: pd.DataFrame, members: pd.DataFrame, judge: str) -> str:
    """How many of the first judge's differences another one hears, and which it hears the other way round."""
    both = rows.merge(members[members["judge"] == judge], on=PAIR, suffixes=("", "_other"))
    sure = both[(both["larger"] == LARGER) & (both["larger_other"] == LARGER)]
    turned = sure[sure["difference"] * sure["difference_other"] < 0]
    text = (
        f"By {judge} {int((both['larger_other'] == LARGER).sum())} of {len(both)} are, "
        f"{len(sure) - len(turned)} of those above among them"
    )
    if len(turned):
        named = [_said(row, "_other") for _, row in turned.iterrows()]
        text += f"; the other way round: {'; '.join(named)}"
    return text + "."


def _said(row: pd.Series, judge: str = "") -> str:
    """`bottleneck over LoRA by 0.12 (0.03 to 0.21)`: the better one first; `judge` ends the columns' names."""
    better, worse = str(row["what"]), str(row["than"])
    value, low, high = (float(row[f"{key}{judge}"]) for key in ("difference", "low", "high"))
    if value < 0:
        better, worse, value, low, high = worse, better, -value, -high, -low
    return f"{better} over {worse} by {value:.2f} ({interval_text(low, high)})"
