"""Each known outcome of the paper held against ours: an estimate, an interval, a verdict.

Outcomes: EELE (arXiv 2408.10852). Where its text could be read only through a summary, the source
says so. Which modules a scheme holds is our reading, not the paper's. Criteria such as "nearly as good"
are ours too and stand in the column `conditions`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd

from eele.reporting.bootstrap import Bootstrap
from eele.reporting.collect import Results, System, method_words, plain_system

PAPER = "EELE, arXiv 2408.10852"
SUMMARY_A = f"{PAPER} (through the summary at sciencestack.ai)"
SUMMARY_B = f"{PAPER} (through the summary at tomesphere.com)"
MAP_NOTE = "which modules a scheme holds is our reading"

#: "Nearly as good": at most this much emotion accuracy lost. Our criterion; the paper gives none we could read.
NEARLY = 0.05
#: "Far fewer weights": at most this share of full fine-tuning's; above NOT_FEWER the outcome is denied.
FAR_FEWER, NOT_FEWER = 0.10, 0.50

YES, NO, UNCLEAR, NOT_TESTED = "yes", "no", "unclear", "not tested"

FINDING_COLUMNS = (
    "finding",
    "source",
    "ours",
    "interval_low",
    "interval_high",
    "agrees",
    "conditions",
    "measure",
    "detail",
)


@dataclass(frozen=True)
class Finding:
    """One outcome of the paper and ours; `ours` is what the interval belongs to, named by `measure`."""

    finding: str
    source: str
    ours: float | None
    interval_low: float | None
    interval_high: float | None
    agrees: str
    conditions: str
    measure: str
    detail: str


def findings_table(results: Results, bootstrap: Bootstrap | None = None) -> pd.DataFrame:
    """All findings, one a row, in the columns `FINDING_COLUMNS`; empty where not tested."""
    bootstrap = bootstrap or Bootstrap(results)
    found = [test(results, bootstrap) for test in TESTS]
    if results.study.adapts_voices:
        why = "the study adapts to voices, not to emotions"
        found = [_not_tested(f.finding, f.source, why) for f in found]
    rows = [asdict(finding) for finding in found]
    return pd.DataFrame(rows, columns=list(FINDING_COLUMNS))


def verdict(low: float, high: float, threshold: float = 0.0) -> str:
    """yes: the whole interval lies above `threshold`; no: below; unclear: it holds it or is unknown."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return UNCLEAR
    if low > threshold:
        return YES
    return NO if high < threshold else UNCLEAR


def _compared(
    bootstrap: Bootstrap,
    finding: str,
    source: str,
    measure: str,
    detail: str,
    conditions: str,
    estimate: float,
    draws: np.ndarray,
    systems: Sequence[System],
    emotions: Sequence[str] | None = None,
    comparisons: int = 1,
    threshold: float = 0.0,
    heard: bool = True,
) -> Finding:
    """A paired comparison; without `heard` (no side carries emotion) no verdict is given."""
    if not np.isfinite(estimate):
        return _not_tested(finding, source, "no test utterance was scored on both sides")
    n = bootstrap.utterances(systems, emotions)
    interval = bootstrap.difference_interval(draws, estimate, n, comparisons)
    low, high = (None if not np.isfinite(v) else v for v in interval)
    agrees = verdict(*interval, threshold)
    if not heard:
        agrees, detail = UNCLEAR, f"{detail}; neither is recognised above the neutral model"
    return Finding(finding, source, estimate, low, high, agrees, conditions, measure, detail)


def _heard(results: Results, bootstrap: Bootstrap, *systems: System) -> bool:
    """Whether one of `systems` is surely recognised more often than the neutral model."""
    none = plain_system(results, "none")
    if none is None:
        return True
    base = bootstrap.mean_draws(none)
    return any(
        verdict(*bootstrap.interval(bootstrap.mean_draws(system) - base)) == YES
        for system in systems
    )


def _not_tested(finding: str, source: str, why: str) -> Finding:
    return Finding(finding, source, None, None, None, NOT_TESTED, why, "", "")


def _schemes_context(results: Results, bootstrap: Bootstrap) -> str:
    method, size = results.main_method, results.common_size(results.main_method)
    named = "" if method in (None, "lora") else f"method {method_words(method)}, "
    return (
        f"{len(results.compared_schemes)} schemes, {named}{size.words if size else 'no size'}, "
        f"{', '.join(bootstrap.emotions)}; {bootstrap.conditions()}; {MAP_NOTE}"
    )


def _best(systems: list[System], score: Callable[[System], float]) -> System | None:
    scored = [(score(system), system) for system in systems]
    scored = [entry for entry in scored if np.isfinite(entry[0])]
    return max(scored, key=lambda entry: entry[0])[1] if scored else None


def best_scheme(results: Results, bootstrap: Bootstrap) -> Finding:
    """(g) against the best of the other schemes, paired over sentences."""
    finding = "Scheme (g), duration and acoustic, is recognised best"
    systems = results.compared_schemes
    ours = next((s for s in systems if s.scheme == "g"), None)
    other = _best([s for s in systems if s.scheme != "g"], bootstrap.mean_point)
    if ours is None or other is None:
        return _not_tested(finding, SUMMARY_A, "needs scheme g and another scheme at one rank")
    a, b = bootstrap.mean_point(ours), bootstrap.mean_point(other)
    return _compared(
        bootstrap,
        finding,
        SUMMARY_A,
        "accuracy of g minus the best other scheme",
        f"g {a:.2f}, best other: {other.scheme} {b:.2f}",
        _schemes_context(results, bootstrap),
        a - b,
        bootstrap.mean_draws(ours) - bootstrap.mean_draws(other),
        (ours, other),
    )


def _emotion_extreme(
    results: Results, bootstrap: Bootstrap, emotion: str, easiest: bool
) -> Finding:
    word = {"angry": "Anger", "surprised": "Surprise"}[emotion]
    finding = f"{word} is the {'easiest' if easiest else 'hardest'} emotion"
    systems = results.compared_schemes
    if emotion not in bootstrap.emotions:
        return _not_tested(finding, SUMMARY_A, f"the study has no {emotion} test speech")
    others = [e for e in bootstrap.emotions if e != emotion]
    if not systems or not others:
        return _not_tested(finding, SUMMARY_A, "needs a scheme and a second emotion")
    sign = 1 if easiest else -1

    def over_schemes(e: str) -> float:
        return float(np.mean([bootstrap.point(s, e) for s in systems]))

    rival = max(others, key=lambda e: sign * over_schemes(e))
    a, b = over_schemes(emotion), over_schemes(rival)
    draws = np.mean(
        [bootstrap.draws(s, emotion) - bootstrap.draws(s, rival) for s in systems], axis=0
    )
    role = "next easiest" if easiest else "next hardest"
    return _compared(
        bootstrap,
        finding,
        SUMMARY_A,
        f"accuracy of {emotion} minus {rival}"
        if easiest
        else f"accuracy of {rival} minus {emotion}",
        f"{emotion} {a:.2f}, {role}: {rival} {b:.2f} (mean over schemes)",
        _schemes_context(results, bootstrap),
        sign * (a - b),
        sign * draws,
        systems,
        (emotion, rival),
    )


def anger_easiest(results: Results, bootstrap: Bootstrap) -> Finding:
    """Angry against the easiest other emotion, over all schemes at the common rank."""
    return _emotion_extreme(results, bootstrap, "angry", easiest=True)


def surprise_hardest(results: Results, bootstrap: Bootstrap) -> Finding:
    """Surprised against the hardest other emotion, over all schemes at the common rank."""
    return _emotion_extreme(results, bootstrap, "surprised", easiest=False)


def small_ranks(results: Results, bootstrap: Bootstrap) -> Finding:
    """The smallest rank against the largest, at every scheme run at several ranks."""
    finding = "Small ranks are nearly as good as large ones"
    groups = [g for (method, _), g in results.ranked.items() if method == results.main_method]
    if not groups:
        return _not_tested(finding, SUMMARY_A, "no scheme was run at more than one rank")
    estimate = float(
        np.mean([bootstrap.mean_point(g[0]) - bootstrap.mean_point(g[-1]) for g in groups])
    )
    draws = np.mean(
        [bootstrap.mean_draws(g[0]) - bootstrap.mean_draws(g[-1]) for g in groups], axis=0
    )
    detail = "; ".join(
        f"{g[0].scheme}: " + ", ".join(f"r{s.rank} {bootstrap.mean_point(s):.2f}" for s in g)
        for g in groups
    )
    return _compared(
        bootstrap,
        finding,
        SUMMARY_A,
        "accuracy at the smallest rank minus the largest",
        detail,
        f"“nearly” = at most {NEARLY:.2f} lost (our criterion); {bootstrap.conditions()}; {MAP_NOTE}",
        estimate,
        draws,
        [s for g in groups for s in (g[0], g[-1])],
        threshold=-NEARLY,
        heard=_heard(results, bootstrap, *(s for g in groups for s in (g[0], g[-1]))),
    )


def fewer_weights(results: Results, bootstrap: Bootstrap) -> Finding:
    """Trainable weights of the best adapter over those of full fine-tuning: a count, no interval."""
    finding = "Adapters train far fewer weights than full fine-tuning"
    full, best = plain_system(results, "full"), results.best_scheme()
    if full is None or best is None:
        return _not_tested(finding, PAPER, "needs full fine-tuning and a scheme")
    whole = results.mean(full, "trainable_parameters")
    share = results.mean(best, "trainable_parameters") / whole
    shares = {s: results.mean(s, "trainable_parameters") / whole for s in results.placed}
    least, most = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
    return Finding(
        finding,
        PAPER,
        share,
        None,
        None,
        YES if share <= FAR_FEWER else NO if share >= NOT_FEWER else UNCLEAR,
        f"“far fewer” = at most {FAR_FEWER:.0%}, denied from {NOT_FEWER:.0%} (our criterion); "
        f"best: {best.label}; a count, so no interval; {MAP_NOTE}",
        "share of full fine-tuning’s weights",
        f"{shares[least]:.1%} ({least.label}) to {shares[most]:.1%} ({most.label}) over all adapters",
    )


def against_full(results: Results, bootstrap: Bootstrap) -> Finding:
    """The best scheme against full fine-tuning, paired over sentences."""
    finding = "LoRA keeps up with full fine-tuning at a fraction of its weights"
    full, best = (
        plain_system(results, "full"),
        _best(results.compared_schemes, bootstrap.mean_point),
    )
    if full is None or best is None or best.method != "lora":
        return _not_tested(finding, SUMMARY_B, "needs full fine-tuning and LoRA at a scheme")
    a, b = bootstrap.mean_point(best), bootstrap.mean_point(full)
    return _compared(
        bootstrap,
        finding,
        SUMMARY_B,
        "accuracy of the best scheme minus full fine-tuning",
        f"{best.label} {a:.2f}, full {b:.2f}",
        f"“keeps up” = at most {NEARLY:.2f} lost (our criterion); best scheme chosen on the same "
        f"utterances; {_schemes_context(results, bootstrap)}",
        a - b,
        bootstrap.mean_draws(best) - bootstrap.mean_draws(full),
        (best, full),
        threshold=-NEARLY,
        heard=_heard(results, bootstrap, best, full),
    )


def place_differs(results: Results, bootstrap: Bootstrap) -> Finding:
    """Whether two emotions prefer different schemes: the largest crossing, paired over sentences."""
    finding = "The best place differs by emotion"
    systems, emotions = results.compared_schemes, bootstrap.emotions
    if len(systems) < 2 or len(emotions) < 2:
        return _not_tested(finding, SUMMARY_B, "needs two schemes and two emotions")
    tops: dict[str, list[System]] = {}
    for emotion in emotions:
        scores = {s: bootstrap.point(s, emotion) for s in systems}
        top = np.nanmax(list(scores.values())) if any(map(np.isfinite, scores.values())) else np.nan
        tops[emotion] = [s for s in systems if scores[s] == top]
    detail = "best: " + "; ".join(
        f"{emotion} {'/'.join(s.scheme for s in top)}" for emotion, top in tops.items()
    )
    context = _schemes_context(results, bootstrap)
    common = [s for s in systems if all(s in top for top in tops.values())]
    if common:
        return _one_place(finding, bootstrap, systems, common[0], detail, context)
    measure = "how much more one emotion gains from its best scheme than the other does"
    pairs = [
        (e, f, s, t)
        for e, f in combinations(emotions, 2)
        for s in tops[e][:1]
        for t in tops[f][:1]
        if s not in tops[f]
    ]

    def crossing(value: Callable[[System, str], np.ndarray | float], pair: tuple) -> np.ndarray:
        e, f, s, t = pair
        return np.asarray((value(s, e) - value(t, e)) - (value(s, f) - value(t, f)))

    pair = max(pairs, key=lambda candidate: float(crossing(bootstrap.point, candidate)))
    e, f, s, t = pair
    return _compared(
        bootstrap,
        finding,
        SUMMARY_B,
        measure,
        f"{detail}; widest: {s.scheme} for {e} against {t.scheme} for {f}",
        f"{context}; the widest of {len(pairs)} pairs, interval widened for that (Bonferroni)",
        float(crossing(bootstrap.point, pair)),
        crossing(bootstrap.draws, pair),
        (s, t),
        (e, f),
        comparisons=len(pairs),
    )


def _one_place(
    finding: str,
    bootstrap: Bootstrap,
    systems: list[System],
    top: System,
    detail: str,
    context: str,
) -> Finding:
    """One scheme leads for every emotion: the outcome is denied only if each lead is sure."""
    leads: list[tuple[float, float, float]] = []
    emotions = bootstrap.emotions
    for emotion in emotions:
        rival = _best([s for s in systems if s != top], partial(bootstrap.point, emotion=emotion))
        if rival is None:
            continue
        lead = bootstrap.point(top, emotion) - bootstrap.point(rival, emotion)
        draws = bootstrap.draws(top, emotion) - bootstrap.draws(rival, emotion)
        n = bootstrap.utterances((top, rival), (emotion,))
        leads.append((lead, *bootstrap.difference_interval(draws, lead, n, len(emotions))))
    if not leads:
        return _not_tested(finding, SUMMARY_B, "no emotion was scored for two schemes")
    lead, low, high = min(leads)
    return Finding(
        finding,
        SUMMARY_B,
        lead,
        low if np.isfinite(low) else None,
        high if np.isfinite(high) else None,
        NO if all(verdict(x, y) == YES for _, x, y in leads) else UNCLEAR,
        context,
        "smallest lead of the scheme that is best for every emotion",
        detail,
    )


def adapter_carries(results: Results, bootstrap: Bootstrap) -> Finding:
    """The best scheme against the neutral model: emotion comes from the adapter alone."""
    finding = "Emotion can be plugged into a frozen neutral model"
    best = _best(results.compared_schemes, bootstrap.mean_point)
    none = plain_system(results, "none")
    if best is None or none is None:
        return _not_tested(finding, PAPER, "needs a scheme and the neutral model")
    a, b = bootstrap.mean_point(best), bootstrap.mean_point(none)
    return _compared(
        bootstrap,
        finding,
        PAPER,
        "accuracy of the best scheme minus the neutral model",
        f"{best.label} {a:.2f}, neutral model {b:.2f}",
        _schemes_context(results, bootstrap),
        a - b,
        bootstrap.mean_draws(best) - bootstrap.mean_draws(none),
        (best, none),
    )


TESTS = (
    adapter_carries,
    best_scheme,
    anger_easiest,
    surprise_hardest,
    small_ranks,
    fewer_weights,
    against_full,
    place_differs,
)
