"""The judge `statistics`: statistics of pitch, level, rhythm and spectrum, and a linear discriminant.

Trained per study on recordings of the training and validation sentences; its score on recordings of the
test sentences is in report.json. Hyper-parameters are chosen by cross-validation within the
training recordings, grouped by sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eele import io
from eele.config import StudyConfig
from eele.config.models import AudioConfig, FeatureConfig
from eele.errors import DataError
from eele.judges import rules
from eele.judges.discriminant import (
    Discriminant,
    Hyperparameters,
    best_temperature,
    fit,
    probabilities,
)
from eele.judges.material import Material, training_material
from eele.judges.recordings import score_on_recordings
from eele.judges.utterance_features import LEVEL_FEATURES, feature_names, utterance_features
from eele.paths import StudyPaths

if TYPE_CHECKING:
    import pandas as pd

NAME = "statistics"
#: Raised when features or model change, so that a stored judge of another version is refused.
VERSION = 1
#: From the least to the most strongly regularised: of equally good ones the last is taken.
CANDIDATES = tuple(
    Hyperparameters(prior, share) for share in (0.3, 0.5, 0.7) for prior in (1, 5, 20)
)
#: Used where the training recordings hold too few sentences to cross-validate.
DEFAULT = Hyperparameters(5, 0.5)
DEFAULT_TEMPERATURE = 3.0
FOLDS = 6
#: Fewer training recordings of an emotion than this are reported as a warning.
FEW_RECORDINGS = 20

# Pitch by DIO whatever the study extracts: on smoothed, resynthesised speech the judge keeps up to eight
# points more with it than with Praat's autocorrelation, and on plain recordings they are equal.
_PITCH = FeatureConfig(f0_method="dio", f0_floor_hz=65.0, f0_ceiling_hz=600.0)


class StatisticsJudge:
    """A trained judge; see `eele.judges.Judge`."""

    def __init__(
        self,
        model: Discriminant,
        classes: tuple[str, ...],
        columns: np.ndarray,
        temperature: float,
        audio: AudioConfig,
    ) -> None:
        """`columns` (used features,): positions among `feature_names(audio)`."""
        self.classes = classes
        self.model = model
        self.columns = columns
        self.temperature = temperature
        self.audio = audio

    @property
    def speakers(self) -> tuple[str, ...]:
        """Speakers it knows: those with emotional training recordings."""
        return self.model.speakers

    def probabilities(
        self,
        samples: Sequence[np.ndarray],
        sample_rate_hz: int,
        phone_counts: Sequence[int],
        speakers: Sequence[str],
    ) -> np.ndarray:
        """Emotion probabilities (n, classes); see `eele.judges.Judge`."""
        if not len(samples) == len(phone_counts) == len(speakers):
            raise ValueError(
                f"{len(samples)} signals, {len(phone_counts)} phone counts, {len(speakers)} speakers"
            )
        unknown = sorted(set(speakers) - set(self.speakers))
        if unknown:
            raise DataError(
                f"the judge knows no speaker {unknown[0]}; it has heard emotional recordings of "
                f"{', '.join(self.speakers)}"
            )
        if not len(samples):
            return np.zeros((0, len(self.classes)))
        features = np.stack(
            [
                _features(signal, sample_rate_hz, self.audio, count, f"signal {index}")
                for index, (signal, count) in enumerate(zip(samples, phone_counts, strict=True))
            ]
        )
        return self.probabilities_of_features(features, np.array(speakers))

    def probabilities_of_features(self, features: np.ndarray, speakers: np.ndarray) -> np.ndarray:
        """The same from `utterance_features` (n, all features) and speaker names (n,)."""
        odds = self.model.log_odds(features[:, self.columns], speakers)
        places = [self.model.classes.index(emotion) for emotion in self.classes]
        return probabilities(odds, self.temperature)[:, places]


def train(study: StudyConfig, paths: StudyPaths, name: str = NAME) -> None:
    """Train on recordings and write judges/statistics/{model.npz, model.json, report.json, heard.json}.

    Raises DataError when the recordings do not suffice (see `training_material`) or cannot be read.
    """
    material, heard = training_material(study, paths, name)
    features = _features_of(material.train, study, paths)
    judge, chosen = train_on(study, features, material.train, material.level_comparable)
    report = _report(study, paths, judge, material, chosen)
    with io.atomic_folder(paths.judge(name)) as folder:
        _save(judge, folder)
        io.write_json(folder / "report.json", report)
        rules.declare(folder, name, heard)


def train_on(
    study: StudyConfig, features: np.ndarray, table: pd.DataFrame, level_comparable: bool = True
) -> tuple[StatisticsJudge, dict[str, Any]]:
    """The judge of `features` (n, all features) of the utterances in `table` (speaker, emotion, sentence).

    Returns it with what was chosen: hyper-parameters, temperature, cross-validation score, folds.
    """
    names = feature_names(study.audio)
    used = [i for i, name in enumerate(names) if level_comparable or name not in LEVEL_FEATURES]
    columns = np.array(used)
    emotions = table["emotion"].to_numpy(str)
    speakers = table["speaker"].to_numpy(str)
    chosen = _choose(features[:, columns], emotions, speakers, table["sentence"].to_numpy())
    model = fit(features[:, columns], emotions, speakers, chosen["hyperparameters"])
    classes = ("neutral", *study.emotions)
    judge = StatisticsJudge(model, classes, columns, chosen["temperature"], study.audio)
    return judge, chosen


def load(study: StudyConfig, paths: StudyPaths, name: str = NAME) -> StatisticsJudge:
    """The trained judge. Raises DataError when it is absent, damaged or of other classes or audio."""
    folder = paths.judge(name)
    if not (folder / "model.json").exists():
        raise DataError(f"{folder}/model.json is missing; run the rule train_judge first")
    facts = io.read_json(folder / "model.json")
    expected = _facts(("neutral", *study.emotions), study.audio)
    for key, value in expected.items():
        if facts.get(key) != value:
            raise DataError(
                f"{folder}/model.json: {key} is {facts.get(key)}, this study has {value}; "
                "run the rule train_judge again"
            )
    try:
        with np.load(folder / "model.npz", allow_pickle=False) as arrays:
            model = Discriminant(
                classes=tuple(facts["trained_classes"]),
                speakers=tuple(facts["speakers"]),
                **{key: arrays[key] for key in _ARRAYS},
            )
            columns = arrays["columns"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{folder}/model.npz cannot be read ({error}); delete {folder} and run the rule "
            "train_judge again"
        ) from error
    return StatisticsJudge(
        model, tuple(facts["classes"]), columns, float(facts["temperature"]), study.audio
    )


_ARRAYS = ("centre", "scale", "fill", "weights", "bias")


def _facts(classes: tuple[str, ...], audio: AudioConfig) -> dict[str, Any]:
    return {"version": VERSION, "classes": list(classes), "audio": audio.model_dump(mode="json")}


def _save(judge: StatisticsJudge, folder: Path) -> None:
    arrays = {key: getattr(judge.model, key) for key in _ARRAYS}
    np.savez(folder / "model.npz", columns=judge.columns, **arrays)
    facts = _facts(judge.classes, judge.audio) | {
        "trained_classes": list(judge.model.classes),
        "speakers": list(judge.speakers),
        "temperature": judge.temperature,
    }
    io.write_json(folder / "model.json", facts)


def _features(
    samples: np.ndarray, sample_rate_hz: int, audio: AudioConfig, phone_count: int, what: str
) -> np.ndarray:
    if samples.ndim != 1 or samples.size < audio.hop_size or not np.isfinite(samples).all():
        raise DataError(
            f"{what} of shape {samples.shape} cannot be judged; allowed: one channel of finite samples, "
            f"at least {audio.hop_size} of them"
        )
    if sample_rate_hz != audio.sample_rate_hz:
        import soxr

        samples = soxr.resample(samples, sample_rate_hz, audio.sample_rate_hz)
    return utterance_features(samples, audio, _PITCH, phone_count)


def _features_of(table: pd.DataFrame, study: StudyConfig, paths: StudyPaths) -> np.ndarray:
    import soundfile

    rows = []
    for path, count in zip(table["path"], table["phone_count"], strict=True):
        file = paths.root / path
        try:
            samples, rate_hz = soundfile.read(file, dtype="float32")
        except (OSError, soundfile.LibsndfileError) as error:
            raise DataError(
                f"{file} cannot be read ({error}); run the rule clean_corpus again"
            ) from error
        rows.append(_features(samples, rate_hz, study.audio, count, str(file)))
    return np.stack(rows) if rows else np.zeros((0, len(feature_names(study.audio))))


def _choose(
    features: np.ndarray, emotions: np.ndarray, speakers: np.ndarray, sentences: np.ndarray
) -> dict[str, Any]:
    """Hyper-parameters by cross-validation grouped by sentence; the strongest within one standard error."""
    groups = np.unique(sentences)
    folds = min(FOLDS, len(groups))
    # Sentences are dealt to folds in order: equal inputs give equal folds, no draw is needed.
    fold = np.searchsorted(groups, sentences) % max(folds, 1)
    held_out = [
        (fold != index, fold == index)
        for index in range(folds)
        if _covers(emotions[fold != index], speakers[fold != index], emotions, speakers)
    ]
    if len(held_out) < 2:
        return {
            "hyperparameters": DEFAULT,
            "temperature": DEFAULT_TEMPERATURE,
            "cv_score": None,
            "cv_folds": 0,
        }
    scores, odds_of, truth_of = [], [], []
    for candidate in CANDIDATES:
        hits, all_odds, all_truth = [], [], []
        for training, testing in held_out:
            model = fit(features[training], emotions[training], speakers[training], candidate)
            odds = model.log_odds(features[testing], speakers[testing])
            truth = np.searchsorted(model.classes, emotions[testing])
            hits.append(float((odds.argmax(axis=1) == truth).mean()))
            all_odds.append(odds)
            all_truth.append(truth)
        scores.append((float(np.mean(hits)), float(np.std(hits) / np.sqrt(len(hits)))))
        odds_of.append(np.concatenate(all_odds))
        truth_of.append(np.concatenate(all_truth))
    best, error = max(scores)
    # Strong regularisation holds up on synthetic speech, so half a standard error is given for it.
    position = max(i for i, (score, _) in enumerate(scores) if score >= best - 0.5 * error)
    return {
        "hyperparameters": CANDIDATES[position],
        "temperature": best_temperature(odds_of[position], truth_of[position]),
        "cv_score": scores[position][0],
        "cv_folds": len(held_out),
    }


def _covers(
    some_emotions: np.ndarray, some_speakers: np.ndarray, emotions: np.ndarray, speakers: np.ndarray
) -> bool:
    return set(some_emotions) == set(emotions) and set(some_speakers) == set(speakers)


def _report(
    study: StudyConfig,
    paths: StudyPaths,
    judge: StatisticsJudge,
    material: Material,
    chosen: dict[str, Any],
) -> dict[str, Any]:
    known = material.test["speaker"].isin(list(judge.speakers))
    test = material.test[known].reset_index(drop=True)
    features = _features_of(test, study, paths)
    result = judge.probabilities_of_features(features, test["speaker"].to_numpy(str))
    names = feature_names(study.audio)
    return {
        "judge": NAME,
        "classes": list(judge.classes),
        "classifier": "linear discriminant, class means adapted to the speaker, shrunk covariance",
        "hyperparameters": asdict(chosen["hyperparameters"]) | {"temperature": judge.temperature},
        "cv_score": chosen["cv_score"],
        "cv_folds": chosen["cv_folds"],
        "n_train": len(material.train),
        "n_train_per_emotion": {
            emotion: int((material.train["emotion"] == emotion).sum()) for emotion in judge.classes
        },
        **score_on_recordings(study, judge.classes, test, result),
        "feature_names": [names[i] for i in judge.columns],
        "trained_on": sorted(set(material.train["corpus"].astype(str))),
        "speakers": list(judge.speakers),
        "warnings": _warnings(judge, material, chosen),
    }


def _warnings(judge: StatisticsJudge, material: Material, chosen: dict[str, Any]) -> list[str]:
    found = []
    train = material.train
    for emotion in judge.classes:
        count = int((train["emotion"] == emotion).sum())
        if count < FEW_RECORDINGS:
            found.append(f"only {count} training recordings of {emotion}")
    for speaker in judge.speakers:
        own = set(train.loc[train["speaker"] == speaker, "emotion"])
        if "neutral" not in own:
            found.append(f"{speaker} has no neutral training recording: centred on all they say")
        lacking = [e for e in judge.model.classes if e not in own and e != "neutral"]
        if lacking:
            found.append(f"{speaker} has no training recording of {', '.join(lacking)}")
    if chosen["cv_score"] is None:
        found.append("too few training sentences for cross-validation: default hyper-parameters")
    if not material.level_comparable:
        found.append("levels are not comparable in this material: absolute level is not used")
    if material.test.empty:
        found.append("no test recording: the judge's own score is unknown")
    return found
