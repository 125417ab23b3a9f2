"""Data and quality, conditions and limits: the sections that say what the figures rest on."""

from __future__ import annotations

import json
from typing import Any

from eele import provenance
from eele.cells import sweep
from eele.config.load import dump_study
from eele.config.models import StudyConfig
from eele.io import read_json
from eele.reporting import quality
from eele.reporting.bootstrap import Bootstrap
from eele.reporting.collect import Results, method_words, plain_system, score_of
from eele.reporting.markup import duration_text, shown
from eele.workflow import gpus, trains_vocoder


def data_and_conditions(results: Results) -> dict[str, Any]:
    study, paths = results.study, results.paths
    rejected, _ = quality.rejections(paths)
    record = provenance.collect(study, paths)
    return {
        "corpora": quality.corpus_table(paths),
        "sources": quality.sources(study, paths),
        "rejected": rejected,
        "reports": _reports(results),
        "conditions": _conditions(results, record),
        "stages": quality.stage_table(record["stages"], gpus(study)),
        "config": dump_study(study),
        "provenance": json.dumps(record, indent=2, ensure_ascii=False),
        "limits": _limits(results),
    }


def _reports(results: Results) -> list[dict[str, Any]]:
    study, paths = results.study, results.paths
    recording = plain_system(results, "recording")
    blocks = [
        {
            "title": f"Alignment ({study.alignment.aligner})",
            "note": "",
            "facts": quality.facts(
                quality.required(paths.alignment / "summary.json"), skip=("aligner",)
            ),
        }
    ]
    for judge, kind in study.evaluation.judge_kinds.items():
        if judge not in study.evaluation.judges:
            continue
        origin = (
            "Trained by others, on what they say it was"
            if kind == "published"
            else "Trained on recordings of the training sentences"
        )
        blocks.append(
            {
                "title": f"Judge: {judge}",
                "note": f"{origin}; its scores and confusions on test recordings stand above.",
                "facts": [
                    *quality.facts(
                        paths.judge(judge) / "report.json",
                        skip=(
                            "judge",
                            "confusion",
                            "confidence",
                            "hyperparameters",
                            "feature_names",
                        ),
                    ),
                ],
            }
        )
    heard = score_of(results, recording, "phone_error_rate")
    blocks.append(
        {
            "title": "Phone recogniser",
            "note": "Trained on recordings only; it never heard synthetic speech.",
            "facts": [
                (
                    "phone error rate on test recordings of what the study adapts to",
                    shown(heard, 3),
                ),
                *quality.facts(
                    paths.recogniser / "report.json", skip=("grammar_scale", "insertion")
                ),
            ],
        }
    )
    blocks.append(
        {
            "title": "Feature extraction",
            "note": "",
            "facts": quality.facts(
                quality.required(paths.features / "statistics.json"), skip=("speakers",)
            ),
        }
    )
    trained = {"Neutral model": paths.neutral}
    if trains_vocoder(study):
        trained["Vocoder"] = paths.vocoder
    for title, folder in trained.items():
        training = quality.facts(folder / "training.json", skip=("stage_seconds",))
        blocks.append({"title": title, "note": "", "facts": training})
    return blocks


def _conditions(results: Results, record: dict[str, Any]) -> list[tuple[str, str]]:
    study, code = results.study, record["code"]
    state = {True: ", with uncommitted changes", False: "", None: ""}[code.get("dirty")]
    seeds = record["seeds"]
    packages = [f"{name} {version}" for name, version in record["packages"].items() if version]
    seconds = float(results.cells["train_seconds"].sum())
    found = [
        ("backbone", f"{study.backbone.name}, {_waveform(study)}"),
        ("sweep", f"{len(results.cells)} cells: {_methods(results)}"),
        ("learning rates of cells", _rates(results)),
        ("seeds", "; ".join(f"{name} {_listed(value)}" for name, value in seeds.items())),
        ("intervals", Bootstrap(results).conditions()),
        ("sample rate", f"{study.audio.sample_rate_hz} Hz"),
        ("device", f"{_device(results, record)}, {record['device']['precision']}"),
        ("training of all cells", duration_text(seconds) if seconds else ""),
        ("eele", f"{code.get('version')}, commit {code.get('commit') or 'unknown'}{state}"),
        ("system", f"Python {record['python']}, {record['platform']}"),
        ("packages", ", ".join(packages)),
        ("config hash", str(record["config_sha256"])),
        ("page written", str(record["written_at"])),
    ]
    return [(key, value) for key, value in found if value]


def _waveform(study: StudyConfig) -> str:
    """What makes the waveform."""
    if not study.uses_vocoder:
        return "which makes the waveform itself"
    return f"vocoder {study.synthesis.vocoder.replace('_', ' ')}"


def _methods(results: Results) -> str:
    return ", ".join(method.replace("_", " ") for method in dict.fromkeys(results.cells["method"]))


def _rates(results: Results) -> str:
    """Peak learning rate of each method of the sweep, equal ones together."""
    adaptation = results.study.adaptation
    methods: dict[float, list[str]] = {}
    for method in dict.fromkeys(block.method for block in results.study.sweep):
        rate = adaptation.own_rates.get(method, adaptation.learning_rate)
        methods.setdefault(rate, []).append(method_words(method))
    return "; ".join(f"{', '.join(names)} {rate:g}" for rate, names in methods.items())


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _device(results: Results, record: dict[str, Any]) -> str:
    """The device a cell was scored on: the page itself needs none."""
    for cell in sweep(results.study):
        file = results.paths.cell(cell) / "provenance.json"
        if file.is_file():
            return str(read_json(file).get("device", {}).get("used", record["device"]["used"]))
    return str(record["device"]["used"])


def _vits2_limits(results: Results) -> list[str]:
    predictor = results.study.backbone.vits2.duration_predictor
    judged = "the waveform" + " or the durations" * (predictor == "adversarial")
    full = plain_system(results, "full") is not None
    return [
        "VITS2’s posterior encoder, which hears the recordings in training, belongs to no scheme: every "
        "adapter trains with it frozen"
        + (", full fine-tuning tunes it in full with all the rest." if full else "."),
        f"In cells whose sites reach {judged}, discriminators go on from pre-training and train along. "
        "They are no part of the adapter, nor counted among its weights.",
        "Model and discriminators are updated from one evaluation of both, at the same time; VITS updates "
        "the discriminators first.",
        "Copy synthesis is VITS2’s posterior encoder followed by its decoder: it shows what the model’s own "
        "analysis loses, not what a vocoder would.",
    ]


def _limits(results: Results) -> list[str]:
    study = results.study
    items = [
        "Which modules a scheme holds is our reading of the paper’s figure captions; the paper’s own lists could not be read.",
        "The judge is a recogniser, not a listener: its score on synthetic speech says what a classifier trained on recordings hears.",
        "The best scheme is picked on the same test utterances it is scored on, which flatters it slightly.",
    ]
    if study.adapts_voices:
        items.append(
            "Pre-training has not heard the new voices. All else that is learned from recordings has: the aligner, the "
            "phone recogniser, the judges, the vocoder where it is trained, the mean spectrum of the features, and the "
            "embedding in which voices are compared."
        )
    if len(study.seeds) == 1:
        items.append("One seed: the intervals cover sentences, not the spread between trainings.")
    if not quality.energy_comparable(study, results.paths):
        items.append("A corpus is normalised per file: its energy shifts are not comparable.")
    if study.uses_vocoder and study.synthesis.vocoder == "griffin_lim":
        items.append(
            "Griffin-Lim rebuilds phase from the spectrogram alone: copy synthesis shows what it costs."
        )
    if study.backbone.name == "vits2":
        items += _vits2_limits(results)
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
