"""The judge `statistics` on synthetic voices whose emotions are known: pitch, level and rate rules."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from judged_study import FULL, RATE, RULES, STUDY, voice, write_study

from eele import judges
from eele.config import StudyConfig
from eele.errors import ConfigError, DataError
from eele.judges.discriminant import Hyperparameters, fit, probabilities
from eele.judges.statistics import train_on
from eele.judges.utterance_features import LEVEL_FEATURES, feature_names, utterance_features
from eele.paths import StudyPaths


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> StudyPaths:
    paths = write_study(tmp_path_factory.mktemp("study"), FULL)
    judges.train(STUDY, paths, "statistics")
    return paths


def test_report_holds_the_score_on_test_recordings(trained: StudyPaths) -> None:
    report = json.loads((trained.judge("statistics") / "report.json").read_text())
    assert report["classes"] == ["neutral", "happy", "sad"]
    assert (report["n_train"], report["n_test"]) == (36, 12)
    assert report["test_accuracy"] >= 0.9
    assert report["test_accuracy_low"] <= report["test_accuracy"] <= report["test_accuracy_high"]
    assert sum(sum(row.values()) for row in report["confusion"].values()) == 12
    assert report["trained_on"] == ["toy"]
    assert "only 12 training recordings of happy" in report["warnings"]


def test_judges_new_speech_and_gives_probabilities(trained: StudyPaths) -> None:
    judge = judges.load(STUDY, trained, "statistics")
    samples = [voice(110, e, 900 + i) for i, e in enumerate(RULES)]
    result = judge.probabilities(samples, RATE, [6] * 3, ["one"] * 3)
    assert result.shape == (3, 3)
    np.testing.assert_allclose(result.sum(axis=1), 1)
    assert [judge.classes[i] for i in result.argmax(axis=1)] == ["neutral", "happy", "sad"]
    # the same signals at another rate
    import soxr

    higher = [soxr.resample(signal, RATE, 2 * RATE) for signal in samples]
    np.testing.assert_allclose(
        judge.probabilities(higher, 2 * RATE, [6] * 3, ["one"] * 3), result, atol=0.1
    )


def test_loaded_judge_equals_the_one_saved_and_training_repeats(
    trained: StudyPaths, tmp_path: Path
) -> None:
    first = judges.load(STUDY, trained, "statistics")
    before = {file.name: file.read_bytes() for file in trained.judge("statistics").glob("*.json")}
    signal = [voice(210, "sad", 77)]
    expected = first.probabilities(signal, RATE, [6], ["two"])
    judges.train(STUDY, trained, "statistics")
    again = judges.load(STUDY, trained, "statistics")
    np.testing.assert_array_equal(again.probabilities(signal, RATE, [6], ["two"]), expected)
    assert before == {
        file.name: file.read_bytes() for file in trained.judge("statistics").glob("*.json")
    }


def test_bad_input_is_refused(trained: StudyPaths) -> None:
    judge = judges.load(STUDY, trained, "statistics")
    signal = voice(110, "sad", 5)
    with pytest.raises(DataError, match="no speaker three"):
        judge.probabilities([signal], RATE, [6], ["three"])
    with pytest.raises(DataError, match="signal 1 "):
        judge.probabilities([signal, np.zeros(0, np.float32)], RATE, [6, 6], ["one", "one"])
    with pytest.raises(DataError, match="finite"):
        judge.probabilities([signal * np.nan], RATE, [6], ["one"])
    with pytest.raises(ValueError, match="phone counts"):
        judge.probabilities([signal], RATE, [6, 6], ["one"])
    silence = judge.probabilities([np.zeros(RATE, np.float32)], RATE, [6], ["one"])
    assert np.isfinite(silence).all()
    assert judge.probabilities([], RATE, [], []).shape == (0, 3)


def test_judge_of_another_study_is_refused(trained: StudyPaths, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"classes is .* run the rule train_judge"):
        judges.load(StudyConfig(emotions=("sad", "angry")), trained, "statistics")
    with pytest.raises(DataError, match="train_judge first"):
        judges.load(STUDY, StudyPaths(tmp_path), "statistics")
    with pytest.raises(ConfigError, match="unknown judge 'ear'; allowed: statistics"):
        judges.load(STUDY, trained, "ear")


def test_sparse_material_works_and_says_so(tmp_path: Path) -> None:
    counts = {
        ("one", "neutral"): 3,
        ("one", "happy"): 3,
        ("one", "sad"): 2,
        ("two", "happy"): 2,
        ("two", "neutral"): 2,
    }
    paths = write_study(tmp_path / "s", counts, test_sentences=1)
    source = paths.corpus("toy") / "source.json"
    source.parent.mkdir(parents=True)
    source.write_text('{"energy_comparable": false}')
    judges.train(STUDY, paths, "statistics")
    report = json.loads((paths.judge("statistics") / "report.json").read_text())
    warnings = " ".join(report["warnings"])
    assert "only 1 training recordings of sad" in warnings
    assert "two has no training recording of sad" in warnings
    assert "levels are not comparable" in warnings
    assert not set(LEVEL_FEATURES) & set(report["feature_names"])
    judge = judges.load(STUDY, paths, "statistics")
    result = judge.probabilities([voice(210, "happy", 1)], RATE, [6], ["two"])
    assert result.shape == (1, 3) and result.sum() == pytest.approx(1)


def test_constant_offset_of_a_voice_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    names = feature_names(STUDY.audio)
    emotions = np.array(["neutral", "happy", "sad"] * 8)
    features = rng.normal(size=(24, len(names)))
    features[emotions == "happy"] += 2
    table = pd.DataFrame(
        {
            "emotion": emotions,
            "speaker": ["one"] * 12 + ["two"] * 12,
            "sentence": np.arange(24) // 3,
        }
    )
    shifted = features.copy()
    shifted[12:, :4] += 7.0  # the second speaker's voice lies seven semitones higher
    plain, _ = train_on(STUDY, features, table)
    moved, _ = train_on(STUDY, shifted, table)
    speakers = table["speaker"].to_numpy(str)
    np.testing.assert_allclose(
        plain.probabilities_of_features(features, speakers),
        moved.probabilities_of_features(shifted, speakers),
        atol=1e-9,
    )


def test_one_speaker_without_prior_is_plain_discriminant_analysis() -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    rng = np.random.default_rng(3)
    labels = np.repeat(["neutral", "happy", "sad"], 20)
    features = rng.normal(size=(60, 6)) @ rng.normal(size=(6, 6))
    features[labels == "happy", 0] += 1.5
    features[labels == "sad", 3] -= 1.5
    new = rng.normal(size=(200, 6)) * 2
    speakers = np.full(60, "one")
    model = fit(features, labels, speakers, Hyperparameters(1e-9, 0.4))
    scaled = (features - model.centre[0]) / model.scale
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.4).fit(scaled, labels)
    ours = np.array(model.classes)[model.log_odds(new, np.full(200, "one")).argmax(axis=1)]
    expected = reference.predict(np.clip((new - model.centre[0]) / model.scale, -4, 4))
    np.testing.assert_array_equal(ours, expected)


def test_missing_emotion_of_a_speaker_is_expected_as_in_the_other() -> None:
    rng = np.random.default_rng(1)
    emotions = np.array((["neutral"] * 20 + ["happy"] * 20) + ["neutral"] * 20)
    speakers = np.array(["one"] * 40 + ["two"] * 20)
    features = rng.normal(size=(60, 5))
    features[emotions == "happy", 0] += 6
    features[speakers == "two"] += 50
    model = fit(features, emotions, speakers, Hyperparameters(5, 0.5))
    happy = rng.normal(size=(20, 5)) + 50
    happy[:, 0] += 6
    chosen = probabilities(model.log_odds(happy, np.full(20, "two")), 1.0).argmax(axis=1)
    assert (np.array(model.classes)[chosen] == "happy").mean() >= 0.9


def test_utterance_features_measure_what_their_names_say() -> None:
    from eele.judges.statistics import _PITCH

    names = feature_names(STUDY.audio)

    def measured(samples: np.ndarray) -> dict[str, float]:
        values = utterance_features(samples, STUDY.audio, _PITCH, 12)
        assert values.shape == (len(names),)
        return dict(zip(names, values, strict=True))

    times = np.arange(2 * RATE) / RATE
    buzz = sum(np.sin(2 * np.pi * 110 * k * times) / k for k in range(1, 20)).astype(np.float32)
    plain, louder = measured(0.05 * buzz), measured(0.1 * buzz)
    assert plain["f0_mean_st"] == pytest.approx(12, abs=0.1)  # one octave above 55 Hz
    assert plain["f0_range_st"] == pytest.approx(0, abs=0.1)
    assert plain["log_phones_per_s"] == pytest.approx(np.log(6), abs=0.05)
    assert louder["level_mean_db"] - plain["level_mean_db"] == pytest.approx(6.02, abs=0.05)
    rest = [n for n in names if not n.startswith(("level_m", "level_p"))]
    assert [louder[n] for n in rest] == pytest.approx([plain[n] for n in rest], abs=0.1)
    noise = measured(np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32))
    assert noise["loud_log_centroid"] > plain["loud_log_centroid"] + 0.5
    assert noise["loud_tilt_db_per_octave"] > plain["loud_tilt_db_per_octave"]
