"""`report/index.html`: the study as one page that works offline, everything inside one file."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd

import eele
from eele.config.load import dump_study
from eele.config.models import StudyConfig
from eele.errors import DataError
from eele.io import read_json, write_text
from eele.paths import StudyPaths
from eele.reporting import quality
from eele.reporting.bootstrap import Bootstrap
from eele.reporting.collect import Results, System, load_results, read_table
from eele.reporting.examples import example_clips, example_name
from eele.reporting.figures import WORDS, recording_shift
from eele.reporting.findings import FINDING_COLUMNS
from eele.reporting.markup import duration_text, interval_text, is_empty
from eele.reporting.page_tables import (
    cells_table,
    confusion_tables,
    failures,
    findings_html,
    methods_table,
    rank_table,
    scheme_table,
)
from eele.reporting.players import Grid, listening_grid
from eele.reporting.tables import caption

_ASSETS = Path(__file__).parent / "assets"
_BADGES = {
    "yes": ("yes", "as in paper"),
    "no": ("no", "differs"),
    "unclear": ("unclear", "unclear"),
    "not tested": ("untested", "not tested"),
}


def write_page(study: StudyConfig, paths: StudyPaths) -> None:
    """Render the page; raises DataError when a table or figure it shows is missing."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    results = load_results(study, paths)
    grid = listening_grid(results)
    environment = Environment(
        loader=FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.j2").render(
        **_head(results),
        **_results(results),
        **_listening(results, grid),
        **_data(results),
        css=Markup((_ASSETS / "page.css").read_text(encoding="utf-8")),
        js=Markup((_ASSETS / "page.js").read_text(encoding="utf-8")),
        speech_json=Markup(_script_json({"mime": grid.mime, "audio": grid.audio})),
        version=eele.__version__,
    )
    write_text(paths.report, page)


def _script_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


# Head


def _plain(results: Results, method: str) -> System | None:
    return next((s for s in results.systems if s.method == method), None)


def _score(results: Results, system: System | None, column: str = "emotion_accuracy") -> float:
    return results.mean(system, column) if system else float("nan")


def _shown(value: float, digits: int = 2) -> str:
    return "–" if is_empty(value) else f"{value:.{digits}f}"


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
    emotions = list(study.emotions)
    named = emotions[0] if len(emotions) == 1 else ", ".join(emotions[:-1]) + " and " + emotions[-1]
    schemes = len(results.compared_schemes)
    where = f" at {schemes} places of the model in turn" if schemes > 1 else ""
    return (
        f"A speech synthesiser that has only ever heard neutral speech is frozen and taught to sound "
        f"{named} by small plug-in weights, placed{where}. "
        "A judge trained on recordings says how often the emotion is recognised, and recordings of the "
        "same sentences stand beside every figure."
    )


def _key_figures(results: Results, bootstrap: Bootstrap) -> list[dict[str, str]]:
    best = results.best_scheme()
    recording, none, full = (_plain(results, m) for m in ("recording", "none", "full"))
    classes = 1 + len(results.study.emotions)
    figures = [
        {
            "label": "Judge on test recordings",
            "value": _shown(_score(results, recording)),
            "sub": f"share recognised; chance is 1 in {classes}",
        }
    ]
    if best:
        low, high = bootstrap.interval(bootstrap.mean_draws(best))
        words = caption(best.scheme, results.study)
        figures.append(
            {
                "label": f"Best scheme: {best.scheme}" + (f", {words}" if words else ""),
                "value": _shown(_score(results, best)),
                "sub": f"{interval_text(low, high)} at {bootstrap.confidence:.0%}; rank {best.rank}".lstrip(),
            }
        )
    figures.append(
        {
            "label": "Neutral model, no adapter",
            "value": _shown(_score(results, none)),
            "sub": "share of its speech taken for the emotion",
        }
    )
    if best:
        errors, base = (_score(results, s, "phone_error_rate") for s in (best, none))
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
                "sub": f"{weights:,.0f} of full fine-tuning’s".replace(",", "\u202f"),
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
    lost = failures(results)
    picked = [str(text) for text in methods["chosen"].unique() if "best of" in str(text)]
    return {
        "schemes": scheme_table(results, schemes),
        "ranks": rank_table(results, ranks),
        "methods": methods_table(methods),
        "methods_note": f"Adapters are shown at their {picked[0]}, which flatters them slightly."
        if picked
        else "",
        "confusions": confusion_tables(results),
        "figures": {name: _figure(results, name) for name in WORDS},
        "examples": _examples(results),
        "energy_note": ""
        if quality.energy_comparable(results.study, results.paths)
        else "Energy: a corpus of this study is normalised per file, so its energy shifts mean nothing.",
        "emotions": list(results.study.emotions),
        "cells": cells_table(results),
        "cell_methods": list(dict.fromkeys(results.cells["method"])),
        "cell_emotions": list(dict.fromkeys(results.cells["emotion"])),
        "failures": lost,
    }


def _figure(
    results: Results, name: str, alt: str | None = None, words: str | None = None
) -> dict[str, Any]:
    file = results.paths.figures / f"{name}.svg"
    if not file.is_file():
        raise DataError(f"{file} is missing; draw the figures first (snakemake {file.parent})")
    svg = file.read_text(encoding="utf-8")
    size = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', svg)
    if size is None:
        raise DataError(f"{file}: states no size; delete it and draw the figures again")
    known = WORDS.get(name)
    return {
        "src": "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode(),
        "width": round(float(size[1]) * 4 / 3),
        "height": round(float(size[2]) * 4 / 3),
        "alt": alt or _alt(results, name),
        "caption": words or (known.caption if known else ""),
    }


def _alt(results: Results, name: str) -> str:
    """What a figure says, for those who cannot see it."""
    words = WORDS[name].caption
    if name == "rank_curve":
        values = [
            f"scheme {s.scheme} rank {s.rank}: {_shown(_score(results, s))}"
            for group in results.ranked.values()
            for s in group
        ]
        return f"{words} {'; '.join(values)}."
    if name == "prosody_shifts":
        best = results.best_scheme()
        values = [
            f"{e}: recordings {recording_shift(results, 'f0_mean_shift_st', e):+.1f}"
            + (f", best scheme {results.mean(best, 'f0_mean_shift_st', e):+.1f}" if best else "")
            for e in results.study.emotions
        ]
        return f"{words} F0 mean in semitones: {'; '.join(values)}."
    return f"{words} The figures stand in the tables of this page."


def _examples(results: Results) -> list[dict[str, Any]]:
    found = []
    for emotion in results.study.emotions:
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


# Listening


def _listening(results: Results, grid: Grid) -> dict[str, Any]:
    columns = []
    previous = ""
    for system in grid.columns:
        kind = (
            "baseline"
            if system not in results.placed
            else ("scheme" if system in results.compared_schemes else "rank")
        )
        head, sub = {
            "baseline": (system.label, ""),
            "scheme": (system.scheme, caption(system.scheme, results.study)),
            "rank": (f"{system.scheme}, r{system.rank}", f"rank {system.rank}"),
        }[kind]
        columns.append({"system": system, "head": head, "sub": sub, "group": kind != previous})
        previous = kind
    rows = []
    for row in grid.rows:
        cells = []
        for column in columns:
            system = column["system"]
            clip = row.clips.get(system.key)
            if clip is None:
                cells.append({"key": "", "group": column["group"]})
                continue
            hit = clip.predicted == row.emotion
            cells.append(
                {
                    "key": grid.key(row, system),
                    "group": column["group"],
                    "label": f"{system.label}: {row.text} ({row.speaker}, {row.emotion})",
                    "hit": hit,
                    "heard": f"{'✓' if hit else '✗'} {clip.predicted}"
                    if clip.predicted
                    else "not scored",
                    "probability": "" if is_empty(clip.probability) else f"{clip.probability:.2f}",
                }
            )
        rows.append(
            {"emotion": row.emotion, "speaker": row.speaker, "text": row.text, "clips": cells}
        )
    rank = f"Schemes a to h at rank {results.common_rank}. " if results.common_rank else ""
    seed = f", seed {results.study.seeds[0]}" if len(results.study.seeds) > 1 else ""
    return {
        "listen_columns": columns,
        "listen_rows": rows,
        "listen_speakers": sorted({row.speaker for row in grid.rows}),
        "listening_note": (
            f"{len(grid.rows)} of the study’s {grid.available} test utterances{seed}, taken in turn over "
            "emotions and speakers, none picked by ear; the rest lies in cells/…/speech/. " + rank
        ),
    }


# Data, conditions, limits


def _data(results: Results) -> dict[str, Any]:
    study, paths = results.study, results.paths
    rejected, _ = quality.rejections(paths)
    record = read_json(paths.provenance) if paths.provenance.is_file() else None
    return {
        "corpora": quality.corpus_table(paths),
        "sources": quality.sources(study, paths),
        "rejected": rejected,
        "reports": _reports(results),
        "conditions": _conditions(results, record),
        "stages": quality.stage_table(paths),
        "config": dump_study(study),
        "provenance": json.dumps(record, indent=2, ensure_ascii=False) if record else "",
        "limits": _limits(results),
    }


def _reports(results: Results) -> list[dict[str, Any]]:
    study, paths = results.study, results.paths
    recording = _plain(results, "recording")
    blocks = [
        {
            "title": f"Alignment ({study.alignment.aligner})",
            "note": "",
            "facts": quality.facts(paths.alignment / "summary.json"),
        },
        {
            "title": "Features",
            "note": "",
            "facts": [
                (key, f"{value} × real time" if "real time" in key else value)
                for key, value in quality.facts(
                    paths.features / "statistics.json", skip=("speakers",)
                )
            ],
        },
    ]
    for judge in study.evaluation.judges:
        found = [
            fact
            for file in sorted(paths.judge(judge).glob("*.json"))
            for fact in quality.facts(file, skip=("speakers",))
        ]
        blocks.append(
            {
                "title": f"Judge: {judge}",
                "note": "Trained on recordings of the training sentences only.",
                "facts": [
                    ("accuracy on test recordings", _shown(_score(results, recording))),
                    *found[:24],
                ],
            }
        )
    recogniser = paths.recogniser
    blocks.append(
        {
            "title": "Phone recogniser",
            "note": "Trained on recordings only; it never heard synthetic speech.",
            "facts": [
                (
                    "phone error rate on test recordings",
                    _shown(_score(results, recording, "phone_error_rate"), 3),
                ),
                *[
                    fact
                    for file in sorted(recogniser.glob("*.json"))
                    for fact in quality.facts(file)
                ][:24],
            ],
        }
    )
    training = quality.facts(paths.neutral / "training.json")
    blocks.append({"title": "Neutral model", "note": "", "facts": training})
    return blocks


def _conditions(results: Results, record: Any) -> list[tuple[str, str]]:
    study = results.study
    found = [
        ("backbone", study.backbone.name),
        (
            "sweep",
            f"{len(results.cells)} cells: {', '.join(dict.fromkeys(results.cells['method']))}",
        ),
        ("seeds", ", ".join(map(str, study.seeds))),
        ("sample rate", f"{study.audio.sample_rate_hz} Hz"),
        ("vocoder", study.synthesis.vocoder.replace("_", " ")),
    ]
    seconds = results.cells["train_seconds"].sum()
    if seconds:
        found.append(("training of all cells", duration_text(float(seconds))))
    if isinstance(record, dict):
        found += [
            (key.replace("_", " "), str(value))
            for key, value in record.items()
            if isinstance(value, str | int | float) and str(value)
        ]
    return found


def _limits(results: Results) -> list[str]:
    study = results.study
    items = [
        "Which modules a scheme holds is our reading of the paper’s figure captions; the paper’s own lists could not be read.",
        "The judge is a recogniser, not a listener: its score on synthetic speech says what a classifier trained on recordings hears.",
        "The best scheme is picked on the same test utterances it is scored on, which flatters it slightly.",
    ]
    if len(study.seeds) == 1:
        items.append("One seed: the intervals cover sentences, not the spread between trainings.")
    if not quality.energy_comparable(study, results.paths):
        items.append("A corpus is normalised per file: its energy shifts are not comparable.")
    if study.synthesis.vocoder == "griffin_lim":
        items.append(
            "Griffin-Lim rebuilds phase from the spectrogram alone: copy synthesis shows what it costs."
        )
    if any(corpus.adapter == "demo" for corpus in study.corpora):
        items.append(
            "The demo corpus is generated by rules, so emotions are stylised and easier to tell apart than in recordings of people."
        )
    counts = (
        results.cells[results.cells["emotion"] != "neutral"].groupby("emotion")["n_total"].max()
    )
    sparse = [f"{emotion} ({int(n)})" for emotion, n in counts.items() if n < 10]
    if sparse:
        items.append(f"Few test utterances: {', '.join(sparse)}; read their figures with care.")
    unscored = int((results.cells["n_total"] - results.cells["n_scored"]).sum())
    if unscored:
        items.append(f"{unscored} utterances could not be scored; they are counted in “scored”.")
    return items
