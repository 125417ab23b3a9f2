"""`report/index.html`: the study as one page that works offline, everything inside one file."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd

import eele
from eele.config.models import StudyConfig
from eele.errors import DataError
from eele.io import write_text
from eele.paths import StudyPaths
from eele.reporting import quality
from eele.reporting.bootstrap import Bootstrap
from eele.reporting.collect import (
    Results,
    load_results,
    method_words,
    plain_system,
    read_table,
    score_of,
)
from eele.reporting.comparisons import COMPARISON_COLUMNS, front, in_words
from eele.reporting.examples import example_clips, example_name
from eele.reporting.figures import WORDS, figure_names
from eele.reporting.figures_combining import combining_name
from eele.reporting.figures_curves import curve_figures, curves_of, last_values
from eele.reporting.figures_detail import recording_shift
from eele.reporting.figures_methods import METHOD_BY_SCHEME
from eele.reporting.findings import FINDING_COLUMNS
from eele.reporting.markup import interval_text, is_empty, shown
from eele.reporting.page_combining import combining_section
from eele.reporting.page_conditions import data_and_conditions
from eele.reporting.page_costs import (
    budgets_table,
    comparisons_html,
    costs_html,
    left_out_table,
    not_wrapped,
)
from eele.reporting.page_judges import judges_section
from eele.reporting.page_listening import listening
from eele.reporting.page_tables import (
    cells_table,
    confusion_tables,
    failures,
    findings_html,
    methods_table,
    rank_table,
    scheme_table,
)
from eele.reporting.players import listening_grid
from eele.reporting.tables import COST_COLUMNS, caption
from eele.reporting.tasks import TASK_COLUMNS, tasks_html

_ASSETS = Path(__file__).parent / "assets"
_BADGES = {
    "yes": ("yes", "as in paper"),
    "no": ("no", "differs"),
    "unclear": ("unclear", "unclear"),
    "not tested": ("untested", "not tested"),
}


def write_page(study: StudyConfig, paths: StudyPaths) -> None:
    """Render the page; raises DataError when a table or figure it shows is missing."""
    from markupsafe import Markup

    results = load_results(study, paths)
    shown_results = {**_head(results), **_results(results)}
    grid = listening_grid(results)
    page = render(
        "page.html.j2",
        **shown_results,
        **listening(results, grid),
        **judges_section(results),
        **data_and_conditions(results),
        speech_json=Markup(_script_json({"mime": grid.mime, "audio": grid.audio})),
    )
    write_text(paths.report, page)


def render(template: str, **values: Any) -> str:
    """One page of a template in `assets/`, with the look and the behaviour that all pages share."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        **values,
        css=Markup((_ASSETS / "page.css").read_text(encoding="utf-8")),
        js=Markup((_ASSETS / "page.js").read_text(encoding="utf-8")),
        version=eele.__version__,
    )


def _script_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


# Head


def _head(results: Results) -> dict[str, Any]:
    study = results.study
    findings = read_table(results.paths.tables / "findings.csv", FINDING_COLUMNS)
    return {
        "title": study.title,
        "lede": _lede(results),
        "key_figures": _key_figures(results, Bootstrap(results)),
        "findings": [_finding(row) for _, row in findings.iterrows()],
        "findings_table": findings_html(findings),
    }


def _lede(results: Results) -> str:
    study = results.study
    if study.adapts_voices:
        return _voices_lede(results)
    emotions = list(study.adapted)
    named = emotions[0] if len(emotions) == 1 else ", ".join(emotions[:-1]) + " and " + emotions[-1]
    schemes, methods = len({system.scheme for system in results.compared}), len(results.methods)
    where = f" at {schemes} places of the model in turn" if schemes > 1 else ""
    kinds = f", of {methods} kinds" if methods > 1 else ""
    return (
        f"A speech synthesiser that has only ever heard neutral speech is frozen and taught to sound "
        f"{named} by small plug-in weights{kinds}, placed{where}. "
        "A judge trained on recordings says how often the emotion is recognised, and recordings of the "
        "same sentences stand beside every figure."
    )


def _voices_lede(results: Results) -> str:
    voices = ", ".join(sorted(set(results.utterances["speaker"].astype(str))))
    return (
        f"A speech synthesiser whose pre-training has not heard {voices} is frozen and taught to speak in "
        f"{'these voices' if ',' in voices else 'this voice'}, in neutral speech: by a vector per voice, by small "
        "plug-in weights beside it, or by all its weights. How near it comes is measured in an embedding of voices "
        "learned from recordings, and recordings of the same sentences stand beside every figure."
    )


def _key_figures(results: Results, bootstrap: Bootstrap) -> list[dict[str, str]]:
    best = results.best_scheme()
    recording, none, full = (plain_system(results, m) for m in ("recording", "none", "full"))
    classes = 1 + len(results.study.emotions)
    label, sub = results.goal.of_recordings
    figures = [
        {
            "label": label,
            "value": shown(score_of(results, recording)),
            "sub": sub + f"; chance is 1 in {classes}" * (not results.study.adapts_voices),
        }
    ]
    if best:
        low, high = bootstrap.interval(bootstrap.mean_draws(best))
        words = caption(best.scheme, results.study)
        figures.append(
            {
                "label": f"Best scheme, ({best.scheme})"
                if len(results.methods) == 1
                else f"Best, {method_words(best.method)} at ({best.scheme})",
                "value": shown(score_of(results, best)),
                "sub": (f"{interval_text(low, high)}; " if interval_text(low, high) else "")
                + ", ".join(filter(None, (words, f"rank {best.rank}" * bool(best.rank)))),
            }
        )
    figures.append(
        {
            "label": "Neutral model, no adapter",
            "value": shown(score_of(results, none)),
            "sub": results.goal.of_neutral,
        }
    )
    if best:
        errors, base = (score_of(results, s, "phone_error_rate") for s in (best, none))
        figures.append(
            {
                "label": "Phone error rate",
                "value": "–" if is_empty(errors) else f"{errors:.1%}".replace("%", " %"),
                "sub": "best scheme; neutral model "
                + ("–" if is_empty(base) else f"{base:.1%}".replace("%", " %")),
            }
        )
    if best and full:
        weights = results.mean(best, "trainable_parameters")
        share = weights / results.mean(full, "trainable_parameters")
        figures.append(
            {
                "label": "Weights trained",
                "value": f"{share:.1%}".replace("%", " %"),
                "sub": f"of full fine-tuning’s; {weights:,.0f}".replace(",", "\u202f"),
            }
        )
    return figures


def _finding(row: pd.Series) -> dict[str, str]:
    kind, badge = _BADGES[str(row["agrees"])]
    if kind == "untested":
        detail = str(row["conditions"])
    else:
        detail = "" if is_empty(row["detail"]) else str(row["detail"])
        spread = interval_text(row["interval_low"], row["interval_high"])
        if spread and not is_empty(row["ours"]):
            ours = f"{float(row['ours']):+.2f}".replace("-", "−")
            detail += f". {str(row['measure']).capitalize()}: {ours} ({spread})"
    return {"finding": str(row["finding"]), "kind": kind, "badge": badge, "detail": detail}


# Results


def _results(results: Results) -> dict[str, Any]:
    tables = results.paths.tables
    schemes = read_table(tables / "scheme_by_emotion.csv", ("method", "mean"))
    ranks = read_table(tables / "rank.csv", ("method", "mean"))
    methods = read_table(tables / "methods.csv", ("method", "emotion_accuracy"))
    tasks = read_table(tables / "tasks.csv", TASK_COLUMNS)
    costs = read_table(tables / "costs.csv", COST_COLUMNS)
    compared = read_table(tables / "comparisons.csv", COMPARISON_COLUMNS)
    lost = failures(results)
    picked = [str(text) for text in methods["chosen"].unique() if "best of" in str(text)]
    return {
        "schemes": scheme_table(results, schemes),
        "ranks": rank_table(results, ranks),
        "methods": methods_table(results, methods),
        "tasks": tasks_html(tasks) if results.study.adapts_voices else None,
        "methods_note": f"{results.goal.methods_note} Adapters are shown at their {picked[0] if len(picked) == 1 else 'best scheme'}, "
        "which flatters them slightly."
        if picked
        else results.goal.methods_note,
        "several_methods": len(results.methods) > 1,
        "comparisons": comparisons_html(results, compared),
        "comparison_words": in_words(compared),
        "budgets": budgets_table(results),
        "left_out": left_out_table(results.study),
        "costs": costs_html(costs),
        "costs_note": _costs_note(results),
        "not_wrapped": not_wrapped(costs),
        "confusions": confusion_tables(results),
        "figures": {name: _figure(results, name) for name in figure_names(results.study)},
        "curves": curve_figures(results.study),
        "examples": _examples(results),
        "combined": _combined(results),
        "energy_note": ""
        if quality.energy_comparable(results.study, results.paths)
        else "Energy: a corpus of this study is normalised per file, so its energy shifts mean nothing.",
        "emotions": list(results.study.adapted),
        "cells": cells_table(results),
        "cell_methods": list(dict.fromkeys(results.cells["method"])),
        "cell_emotions": list(dict.fromkeys(results.cells["emotion"])),
        "failures": lost,
    }


def _costs_note(results: Results) -> str:
    # Only this backbone keeps the outputs of its frozen parts.
    kept = results.study.backbone.name == "vits2"
    return (
        "A cell computes only the losses that its sites can lower"
        + (", and what its frozen parts put out once an utterance" if kept else "")
        + ". Times include validation, and are of this machine under the load of the sweep."
    )


def _figure(
    results: Results, name: str, alt: str | None = None, words: str | None = None
) -> dict[str, Any]:
    known = WORDS.get(name)
    return picture(
        results.paths.figures / f"{name}.svg",
        alt or _alt(results, name),
        words or (known.of(results) if known else ""),
    )


def picture(file: Path, alt: str, words: str) -> dict[str, Any]:
    """A figure as the template's `picture` takes it; DataError where it is not drawn."""
    if not file.is_file():
        raise DataError(f"{file} is missing; draw the figures first (snakemake {file.parent})")
    svg = file.read_text(encoding="utf-8")
    size = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', svg)
    if size is None:
        raise DataError(f"{file}: states no size; delete it and draw the figures again")
    return {
        "src": "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode(),
        "width": round(float(size[1]) * 4 / 3),
        "height": round(float(size[2]) * 4 / 3),
        "alt": alt,
        "caption": words,
    }


def _alt(results: Results, name: str) -> str:
    """What a figure says, for those who cannot see it."""
    words = WORDS[name].of(results)
    if name == METHOD_BY_SCHEME:
        values = [f"{s.label}: {shown(score_of(results, s))}" for s in results.compared]
        return f"{words} {'; '.join(values)}."
    if name == "rank_curve":
        values = [
            f"{s.label}: {shown(score_of(results, s))}"
            for group in results.ranked.values()
            for s in group
        ]
        return f"{words} {'; '.join(values)}."
    if name == "cost_accuracy":
        values = [
            f"{s.label}, {results.mean(s, 'trainable_parameters'):.0f} weights: {shown(score_of(results, s))}"
            for s in front(results)
        ]
        return f"{words} On the front: {'; '.join(values) or 'none'}."
    if name == "prosody_shifts":
        best = results.best_scheme()
        values = [
            f"{e}: recordings {recording_shift(results, 'f0_mean_shift_st', e):+.1f}"
            + (f", best scheme {results.mean(best, 'f0_mean_shift_st', e):+.1f}" if best else "")
            for e in results.study.adapted
        ]
        return f"{words} F0 mean in semitones: {'; '.join(values)}."
    if name in curve_figures(results.study):
        return f"{words} At the end, {last_values(curves_of(results, name)) or 'no curves'}."
    return f"{words} The figures stand in the tables of this page."


def _combined(results: Results) -> list[dict[str, Any]]:
    """Each mixture with its figure, which its sentences describe."""
    return [
        {
            **mixed,
            "figure": _figure(
                results,
                combining_name(mixed["mixture"]),
                alt=f"{mixed['title']}. {' '.join(mixed['found'])}",
                words="Above, the mean probability of each emotion; below, F0, speaking rate and voice.",
            ),
        }
        for mixed in combining_section(results)
    ]


def _examples(results: Results) -> list[dict[str, Any]]:
    found = []
    for emotion in results.study.adapted:
        chosen = example_clips(results, emotion)
        if not chosen:
            continue
        said = f"“{chosen[0].text}”, {chosen[0].speaker}, {emotion}"
        names = ", ".join(clip.system.label for clip in chosen)
        figure = _figure(
            results,
            example_name(emotion),
            alt=f"Pitch contours and mel spectrograms of {said}: {names}.",
            words=f"{said}: pitch of {names} in one plot, their mel spectrograms below. "
            "The first test sentence of the emotion, not a chosen one.",
        )
        found.append({**figure, "emotion": emotion})
    return found
