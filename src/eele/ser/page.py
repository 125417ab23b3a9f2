"""`report/index.html` of a study of recognition: one page that works offline, with the look of all pages."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from eele import provenance
from eele.config.load import dump_study
from eele.config.models import StudyConfig
from eele.io import write_text
from eele.paths import StudyPaths
from eele.reporting import quality
from eele.reporting.markup import duration_text, interval_text, shown
from eele.reporting.page import picture, render
from eele.ser.encoders import encoder_facts
from eele.ser.figures import by_score, chance_of, figure_words, read_main, system_of
from eele.ser.page_tables import (
    confusion_table,
    fairness_note,
    fairness_table,
    folds_table,
    published_table,
    ranking_table,
    recognisers_table,
    shown_confusions,
    tasks_table,
)
from eele.ser.results import Recognised, load, method_words
from eele.ser.scores import SCORE_WORDS, SCORES
from eele.ser.tables import TASK_WORDS
from eele.workflow import gpus

_FOLD_WORDS = {
    "leave_one_speaker_out": "unseen speakers, one at a time",
    "speakers": "unseen speakers, in groups",
    "session": "unseen sessions, one at a time",
    "sentences": "unseen sentences of known speakers",
    "official": "the corpus’s own split",
    "cross_speaker": "one voice against the other",
}


#: Target -> what is heard, and in which order the page shows it.
_TARGET_WORDS = {"emotion": "an emotion", "speaker": "a speaker", "phones": "phones"}
_SCORE_NOTES = {
    "uar": "UAR, the unweighted average recall, is the mean over the classes of the share of their test recordings "
    "that is recognised.",
    "accuracy": "Accuracy is the share of all test recordings whose class is recognised.",
    "per": "The phone error rate is the phones substituted, left out and put in over the phones to be recognised: "
    "lower is better.",
}


def write_page(study: StudyConfig, paths: StudyPaths) -> None:
    """Render the page; raises DataError when a table or figure it shows is missing."""
    results, table = load(study, paths), read_main(paths)
    figures = {
        name: picture(paths.figures / f"{name}.svg", f"{caption} {said}.", caption)
        for name, (caption, said) in figure_words(study, paths).items()
    }
    order = list(TASK_WORDS)
    names = sorted(results.config.testbeds, key=lambda name: order.index(results.target(name)))
    testbeds = [_testbed(results, table, figures, name) for name in names]
    targets = list(dict.fromkeys(results.target(name) for name in names))
    page = render(
        "recognition.html.j2",
        title=study.title,
        lede=_lede(results),
        key_figures=_key_figures(results, table),
        findings=[f for name in names for f in _findings(table, name)],
        score_notes=[_SCORE_NOTES[SCORES[target]] for target in targets],
        interval_note=_interval_note(results, table),
        tasks=tasks_table(results, table),
        compares_genders=any(results.target(name) == "emotion" for name in names),
        testbeds=testbeds,
        published=published_table(results, table),
        curves=[f for name, f in figures.items() if name.startswith(("curves_", "encoder_"))],
        recognisers=recognisers_table(results),
        methods=list(dict.fromkeys(method_words(m) for m in results.runs["method"])),
        **_data_and_conditions(results, table),
    )
    write_text(paths.report, page)


def _lede(results: Recognised) -> str:
    encoders = len(results.config.encoders)
    targets = {results.target(name) for name in results.config.testbeds}
    heard = " or ".join(said for target, said in _TARGET_WORDS.items() if target in targets)
    return (
        f"Which few weights does it take to hear {heard}? {encoders} encoder{'s' * (encoders > 1)} of speech "
        f"that never saw a label {'are' if encoders > 1 else 'is'} adapted in {len(results.config.methods)} ways, "
        "each trained on the same folds, and every test recording is heard by recognisers that were not "
        "trained on it."
    )


def _key_figures(results: Recognised, table: pd.DataFrame) -> list[dict[str, str]]:
    figures = []
    for testbed in results.config.testbeds:
        best = by_score(table[table["testbed"] == testbed]).iloc[0]
        spread = interval_text(best["value_low"], best["value_high"])
        chance = _chance(results, testbed)
        figures.append(
            {
                "label": f"Best {SCORE_WORDS[best['score']]}, {testbed}",
                "value": shown(best["value"]),
                "sub": f"{system_of(best).label}, encoder {best['encoder']}"
                + f"; {spread}" * bool(spread)
                + f"; {chance}" * bool(chance),
            }
        )
    figures.append(
        {
            "label": "Recognisers",
            "value": str(len(results.runs)),
            "sub": f"trained in {duration_text(float(results.runs['train_seconds'].sum()))}",
        }
    )
    return figures


def _chance(results: Recognised, testbed: str) -> str:
    """What guessing scores, in words; an empty text where there are no classes to guess."""
    chance = chance_of(results.study, results.paths, testbed)
    if chance is None:
        return ""
    if SCORES[results.target(testbed)] == "uar":
        return f"chance is 1 in {len(results.classes[testbed])}"
    return f"always the most frequent class scores {chance:.2f}"


def _findings(table: pd.DataFrame, testbed: str) -> list[dict[str, str]]:
    """Per encoder: whether adapters, and whether full fine-tuning, hear more than the head alone."""
    found = []
    rows = table[(table["testbed"] == testbed) & table["gain"].notna()]
    for encoder, mine in rows.groupby("encoder", sort=False):
        for name, some in (
            ("adapters", mine[mine["method"] != "full"]),
            ("full fine-tuning", mine[mine["method"] == "full"]),
        ):
            if some.empty:
                continue
            better, worse = some[some["gain_low"] > 0], some[some["gain_high"] < 0]
            kind, badge = ("unclear", "unclear")
            if len(better):
                kind, badge = "yes", "yes"
            elif len(worse) == len(some):
                kind, badge = "no", "no"
            told = better if len(better) else some
            found.append(
                {
                    "finding": f"{testbed}, {encoder}: {name} hear{'s' * (name != 'adapters')} more than the "
                    "head alone",
                    "kind": kind,
                    "badge": badge,
                    "detail": "; ".join(_gain(row) for _, row in by_score(told).iterrows()),
                }
            )
    return found


def _gain(row: pd.Series) -> str:
    gain = f"{row['gain']:+.3f}".replace("-", "−")
    spread = interval_text(row["gain_low"], row["gain_high"], 3)
    return f"{system_of(row).label} {gain}" + f" ({spread})" * bool(spread)


def _interval_note(results: Recognised, table: pd.DataFrame) -> str:
    units = table.groupby("interval_unit", sort=False)["testbed"].unique()
    drawn = "; ".join(f"{unit} in {', '.join(names)}" for unit, names in units.items())
    return (
        f"Intervals hold {results.study.evaluation.confidence:.0%} of bootstrap draws; drawn are whole units: "
        f"{drawn}. They are not widened for the number of methods compared, and do not cover "
        + ("the spread between trainings." if len(results.config.seeds) == 1 else "new seeds.")
    )


def _testbed(
    results: Recognised, table: pd.DataFrame, figures: dict[str, dict[str, Any]], name: str
) -> dict[str, Any]:
    rows = table[table["testbed"] == name]
    classes, config = results.classes[name], results.config.testbeds[name]
    fair = config.target == "emotion"
    return {
        "name": name,
        "task": TASK_WORDS[config.target].capitalize(),
        "about": f"{_FOLD_WORDS[config.folds]}; {', '.join(classes) or 'phones of the text'}",
        "classes": len(classes),
        "ranking": figures[f"ranking_{name}"],
        "parameters": figures[f"parameters_{name}"],
        "table": ranking_table(rows, name),
        "fairness": fairness_table(rows, name) if fair else None,
        "fairness_note": f"{name}: " * (not fair) + fairness_note(rows),
        "confusions": [confusion_table(results, s) for s in shown_confusions(results, rows)]
        if classes
        else [],
        "set_aside": _set_aside(results, name),
        "folds": folds_table(results.folds[name], name),
    }


def _set_aside(results: Recognised, testbed: str) -> str:
    """What of a testbed no recogniser took up, in words; empty where nothing is left out."""
    scored = results.runs[results.runs["testbed"] == testbed]
    count = int(scored["n_set_aside"].max())
    if not count:
        return ""
    return (
        f"{count} recording{'s' * (count > 1)} of a fold set aside, neither trained on nor scored: longer than what is "
        "heard of a recording, with a word that has no pronunciation, or with more phones than the encoder has "
        "states (listed in each recogniser’s training.json)."
    )


def _data_and_conditions(results: Recognised, table: pd.DataFrame) -> dict[str, Any]:
    study, paths = results.study, results.paths
    record = provenance.collect(study, paths)
    return {
        "corpora": quality.corpus_table(paths),
        "sources": quality.sources(study, paths),
        "rejected": quality.rejections(paths, aligned=False)[0],
        "reports": [_encoder(results, name) for name in results.config.encoders],
        "conditions": _conditions(results, record),
        "stages": quality.stage_table(record["stages"], gpus(study)),
        "config": dump_study(study),
        "provenance": json.dumps(record, indent=2, ensure_ascii=False),
        "limits": _limits(results, table),
    }


def _encoder(results: Recognised, name: str) -> dict[str, Any]:
    folder, facts = results.paths.encoder(name), encoder_facts(results.paths.encoder(name))
    return {
        "title": f"Encoder {name}",
        "note": "",
        "facts": [
            ("kind", str(facts["config"]["kind"])),
            *(
                (key.replace("_", " "), str(value))
                for key, value in facts["source"].items()
                if value
            ),
            ("weights", f"{facts['parameters']:,}".replace(",", "\u202f")),
            ("layers", str(facts["layer_count"])),
            ("channels", str(facts["hidden_size"])),
            ("recordings heard without labels", str(facts["heard_utterances"])),
            *quality.facts(folder / "training.json", skip=("stage_seconds", "utterances")),
        ],
    }


def _conditions(results: Recognised, record: dict[str, Any]) -> list[tuple[str, str]]:
    code, training = record["code"], results.config.training
    state = ", with uncommitted changes" if code.get("dirty") else ""
    packages = [f"{name} {version}" for name, version in record["packages"].items() if version]
    return [
        (
            "recognisers",
            f"{len(results.runs)}: {', '.join(method_words(m.method) for m in results.config.methods)}",
        ),
        (
            "training",
            f"{training.epochs} epochs, batch {training.batch_size}, Adam {training.learning_rate:g} (full "
            f"fine-tuning {training.full_learning_rate:g}), {training.crop_s:g} s of an utterance, best epoch "
            "by validation score",
        ),
        ("LoRA’s update", f"times {training.lora_alpha or 'rank'} / rank"),
        ("seeds", ", ".join(map(str, results.config.seeds))),
        ("device", f"{record['device']['used']}, {record['device']['precision']}"),
        ("eele", f"{code.get('version')}, commit {code.get('commit') or 'unknown'}{state}"),
        ("system", f"Python {record['python']}, {record['platform']}"),
        ("packages", ", ".join(packages)),
        ("config hash", str(record["config_sha256"])),
        ("page written", str(record["written_at"])),
    ]


def _limits(results: Recognised, table: pd.DataFrame) -> list[str]:
    items = [
        "The best method of a testbed is picked on the test recordings it is scored on, which flatters it slightly.",
        "Training and test recordings come from the same corpora: what the recognisers hear in other speech is "
        "not measured.",
    ]
    heard = table[table["n_heard_by_encoder"] > 0]
    for (testbed, encoder), rows in heard.groupby(["testbed", "encoder"], sort=False):
        items.append(
            f"{testbed}: {int(rows['n_heard_by_encoder'].max())} of {int(rows['n_total'].max())} test recordings "
            f"were heard by the encoder {encoder} before, without labels; by no recogniser."
        )
    if any(results.study.encoders[name].kind == "small" for name in results.config.encoders):
        items.append(
            "The small encoder has heard minutes of speech, published ones hundreds of hours: what adapters add "
            "to it says little about what they add to those."
        )
    if len(results.config.seeds) == 1:
        items.append("One seed: the intervals cover recordings, not the spread between trainings.")
    emotion = table["target"] == "emotion"
    few = table[emotion & (table["interval_unit"] != "speaker")]["testbed"].unique()
    if len(few):
        items.append(
            f"Fewer than five speakers in {', '.join(few)}: the figures hold for these speakers only."
        )
    others = table[~emotion]["testbed"].unique()
    if len(others):
        items.append(f"Intervals of {', '.join(others)} cover other sentences, not other speakers.")
    if any(corpus.adapter == "demo" for corpus in results.study.corpora):
        items.append(
            "The demo corpus is generated by rules, so emotions are stylised and easier to tell apart than in "
            "recordings of people."
        )
    return items
