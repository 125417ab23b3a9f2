"""The stage `score_cell`: every metric over a cell's test utterances, with intervals and failures."""

from __future__ import annotations

import csv
import io as text_io
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from eele import io, judges
from eele.cells import Cell
from eele.config.models import StudyConfig
from eele.errors import DataError
from eele.metrics import METRICS
from eele.metrics.base import Case, MetricSpec, NotScoredError, Score
from eele.metrics.bootstrap import interval, units_of
from eele.metrics.cases import Item, Recordings, cell_items, neutral_counterparts
from eele.metrics.speaker_similarity import study_space
from eele.paths import StudyPaths
from eele.reporting.columns import judge_columns

if TYPE_CHECKING:
    from eele.metrics.recogniser import Recogniser

log = logging.getLogger(__name__)

#: Columns of utterances.csv; two more for each judge after the first (`judge_columns`).
UTTERANCE_COLUMNS = (
    "utterance_id",
    "speaker",
    "sentence",
    "predicted_emotion",
    "probability_target",
    "phone_error_rate",
    "mcd_db",
    "log_f0_rmse",
    "log_f0_correlation",
    "f0_mean_hz",
    "f0_range_st",
    "rate_phones_per_s",
    "energy_db",
    "speaker_similarity",
    "hypothesis",
    "reason",
)


@dataclass
class Scored:
    """One utterance: what was measured, and why something was not."""

    item: Item
    case: Case | None = None
    scores: dict[str, Score] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


def score_cell(study: StudyConfig, paths: StudyPaths, cell: Cell) -> None:
    """Write the cell's metrics.json, utterances.csv and provenance.json (docs/architecture.md).

    An utterance that cannot be scored, or not by some metric, is listed under `failures` with the
    reason and not counted in n_scored; its other scores are kept. Raises DataError where the cell's
    speech, the features, a judge or the recogniser is missing.
    """
    from eele.metrics import recogniser

    of = Recordings(study, paths)
    items = cell_items(study, paths, cell, of)
    if not items:
        raise DataError(
            f"no test utterance of emotion '{cell.emotion}'; see manifest.csv and alignment/alignment.csv"
        )
    rows = [Scored(item) for item in items]
    neutral = neutral_counterparts(study, paths, cell, items, of)
    space = study_space(of.store)
    for row in rows:
        if row.item.speech is None:
            row.reasons.append(row.item.failure)
            continue
        name = row.item.utterance_id
        row.case = Case(
            row.item.speech,
            row.item.speaker,
            cell.emotion,
            reference=None if cell.method == "recording" else of.speech(name),
            neutral=neutral.get(name),
            level_comparable=of.level_comparable(row.item.corpus),
            space=space,
        )
        if name not in neutral:
            row.reasons.append("the neutral model's speech of this sentence cannot be read")
    transcribe(recogniser.load(study, paths), rows)
    heard = {
        name: listen(judges.load(study, paths, name), name, study, rows)
        for name in study.evaluation.judges
    }
    _hand_first_judgement(rows, heard[study.evaluation.judges[0]])
    for row in rows:
        measure(row, METRICS)

    units = units_of([i.sentence for i in items], [i.speaker for i in items])
    scores: dict[str, float | None] = {}
    for name in METRICS:
        scores |= _summary(study, METRICS[name], [row.scores.get(name) for row in rows], units)
        if METRICS[name].of_recordings:
            scores[f"recording_{name}"] = _of_recordings(METRICS[name], cell, items, of)
    failures = [
        {"utterance_id": row.item.utterance_id, "reason": "; ".join(row.reasons)}
        for row in rows
        if row.reasons
    ]
    for failure in failures:
        log.warning("%s: %s", failure["utterance_id"], failure["reason"])
    folder = paths.cell(cell)
    io.write_text(folder / "utterances.csv", _table(rows, heard))
    io.write_json(
        folder / "metrics.json",
        {
            "cell": cell.as_dict(),
            "scores": scores,
            "n_scored": len(rows) - len(failures),
            "n_total": len(rows),
            "failures": failures,
            "judges": {
                name: _judgement(study, cell, judgement, units) for name, judgement in heard.items()
            },
        },
    )
    _provenance(study, paths, cell)


def transcribe(listener: Recogniser, rows: Sequence[Scored]) -> None:
    """Fill in what the recogniser hears in every row's utterance."""
    cases = [row.case for row in rows if row.case]
    heard = listener.transcribe([case.spoken.mel for case in cases])
    for case, phones in zip(cases, heard, strict=True):
        case.hypothesis = phones


#: Probabilities of each row's utterance by emotion, None where the judge could not hear it.
Judgement = list[dict[str, float] | None]


def listen(judge: judges.Judge, name: str, study: StudyConfig, rows: Sequence[Scored]) -> Judgement:
    """What the judge called `name` hears in each row; why it cannot is added to the row's reasons.

    Where cells adapt to new voices a judge that knows speakers is not asked about others: emotion is not what is
    scored there, and a new voice need not have emotional recordings.
    """
    known = getattr(judge, "speakers", None) if study.adapts_voices else None
    able = [
        row for row in rows if row.case is not None and (known is None or row.item.speaker in known)
    ]
    result: dict[int, dict[str, float]] = {}

    def ask(some: Sequence[Scored]) -> None:
        found = judge.probabilities(
            [row.item.samples for row in some if row.item.samples is not None],
            study.audio.sample_rate_hz,
            [int((~row.item.speech.silent).sum()) for row in some if row.item.speech],
            [row.item.speaker for row in some],
        )
        for row, probabilities in zip(some, found, strict=True):
            result[id(row)] = dict(zip(judge.classes, map(float, probabilities), strict=True))

    try:
        ask(able)
    except DataError:
        # One utterance spoils the batch: find which, and keep the others.
        for row in able:
            try:
                ask([row])
            except DataError as error:
                row.reasons.append(f"judge {name}: {error}")
    return [result.get(id(row)) for row in rows]


def _hand_first_judgement(rows: list[Scored], judgement: Judgement) -> None:
    for row, probabilities in zip(rows, judgement, strict=True):
        if row.case:
            row.case.probabilities = probabilities


def measure(row: Scored, names: Iterable[str]) -> None:
    """Fill in the scores of these metrics, or the reasons why there are none."""
    if row.case is None:
        return
    for name in names:
        try:
            score = METRICS[name].compute(row.case)
        except NotScoredError as error:
            row.reasons.append(f"{name}: {error}")
            continue
        if score is not None:
            row.scores[name] = score


class Estimate(NamedTuple):
    """A mean over utterances with its interval; None where there is none."""

    value: float | None
    low: float | None
    high: float | None


def estimate(
    study: StudyConfig,
    spec: MetricSpec,
    scores: Sequence[Score | None],
    units: Sequence[str],
    comparisons: int = 1,
) -> Estimate:
    """Mean of the utterances that have a value and its interval, widened for `comparisons` (Bonferroni)."""
    kept = [(s, unit) for s, unit in zip(scores, units, strict=True) if s is not None]
    if not kept:
        return Estimate(None, None, None)
    values = np.array([s.value for s, _ in kept])
    weights = np.array([s.weight for s, _ in kept])
    evaluation = study.evaluation
    confidence = evaluation.confidence
    found = interval(
        spec.summarise,
        values,
        weights,
        [unit for _, unit in kept],
        evaluation.bootstrap_samples,
        confidence if comparisons == 1 else 1 - (1 - confidence) / comparisons,
        evaluation.seed,
    )
    return Estimate(float(spec.summarise(values, weights)), *(found or (None, None)))


def _summary(
    study: StudyConfig, spec: MetricSpec, scores: Sequence[Score | None], units: Sequence[str]
) -> dict[str, float | None]:
    """Column and interval of one metric; null where no utterance has a value."""
    found = estimate(study, spec, scores, units)
    return {
        spec.name: found.value,
        f"{spec.name}_low": found.low,
        f"{spec.name}_high": found.high,
    }


def _of_recordings(spec: MetricSpec, cell: Cell, items: list[Item], of: Recordings) -> float | None:
    """The same shift in the recordings of these utterances, from the speakers' neutral recordings."""
    scores = []
    for item in items:
        speech = of.speech(item.utterance_id)
        if speech is None:
            continue
        case = Case(
            speech,
            item.speaker,
            cell.emotion,
            neutral=of.neutral(item.speaker),
            level_comparable=of.level_comparable(item.corpus),
        )
        try:
            scores.append(spec.compute(case))
        except NotScoredError as error:
            log.warning("recording %s: %s: %s", item.utterance_id, spec.name, error)
    kept = [score for score in scores if score is not None]
    if not kept:
        return None
    return float(
        spec.summarise(np.array([s.value for s in kept]), np.array([s.weight for s in kept]))
    )


def _judgement(
    study: StudyConfig, cell: Cell, judgement: Judgement, units: Sequence[str]
) -> dict[str, Any]:
    """A judge's entry in metrics.json."""
    kept = [(p, unit) for p, unit in zip(judgement, units, strict=True) if p is not None]
    emotions = list(kept[0][0]) if kept else ["neutral", *study.emotions]
    heard = [max(p, key=lambda emotion: p[emotion]) for p, _ in kept]
    hits: list[Score | None] = [Score(float(emotion == cell.emotion)) for emotion in heard]
    scores = _summary(study, METRICS["emotion_accuracy"], hits, [unit for _, unit in kept])
    return {
        "accuracy": scores["emotion_accuracy"],
        "low": scores["emotion_accuracy_low"],
        "high": scores["emotion_accuracy_high"],
        "n": len(kept),
        "predictions": {emotion: heard.count(emotion) for emotion in emotions},
        "mean_probability": {
            emotion: float(np.mean([p[emotion] for p, _ in kept])) if kept else None
            for emotion in emotions
        },
    }


def _table(rows: list[Scored], heard: Mapping[str, Judgement]) -> str:
    """utterances.csv; empty cells where something was not measured. `heard`: judgements by judge."""
    buffer = text_io.StringIO()
    of_judges = judge_columns(list(heard))
    further = [column for columns in list(of_judges.values())[1:] for column in columns]
    writer = csv.DictWriter(buffer, [*UTTERANCE_COLUMNS, *further], lineterminator="\n")
    writer.writeheader()
    for index, row in enumerate(rows):
        entry: dict[str, Any] = {
            "utterance_id": row.item.utterance_id,
            "speaker": row.item.speaker,
            "sentence": row.item.sentence,
            "reason": "; ".join(row.reasons),
        }
        if row.case:
            prosody = row.case.spoken.prosody
            for judge, (predicted, probability) in of_judges.items():
                p = heard[judge][index]
                if p:
                    entry[predicted] = max(p, key=lambda emotion: p[emotion])
                    entry[probability] = p.get(row.case.emotion)
            entry["hypothesis"] = " ".join(row.case.hypothesis or [])
            for name in ("f0_mean_hz", "f0_range_st", "rate_phones_per_s", "energy_db"):
                entry[name] = getattr(prosody, name)
            for name, score in row.scores.items():
                if name in UTTERANCE_COLUMNS:
                    entry[name] = score.value
        writer.writerow(entry)
    return buffer.getvalue()


def _provenance(study: StudyConfig, paths: StudyPaths, cell: Cell) -> None:
    from eele import provenance

    folder = paths.cell(cell)
    provenance.write(
        folder / "provenance.json",
        study,
        stage="score_cell",
        inputs=[folder / "speech" / "speech.csv", paths.manifest, paths.features / "index.csv"],
        extra={
            "cell": cell.as_dict(),
            "metrics": {
                name: {
                    "label": METRICS[name].label,
                    "unit": METRICS[name].unit,
                    "direction": METRICS[name].direction,
                }
                for name in METRICS
            },
        },
    )
