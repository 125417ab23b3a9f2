"""Scoring a cell of a study of tones: known shifts, failures counted, intervals, repeatable files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from synthetic_study import RATE, build, spoken, study

import eele.features as features
from eele import judges
from eele.cells import Cell
from eele.config.models import EvaluationConfig, StudyConfig
from eele.errors import DataError
from eele.features.store import FeatureStore
from eele.metrics import METRICS, recogniser, score_cell
from eele.metrics.bootstrap import bounds
from eele.metrics.score import UTTERANCE_COLUMNS
from eele.paths import StudyPaths

SENTENCES = 6
VOICES = {"s1": (120.0, 0.3), "s2": (210.0, 1.8)}
HAPPY = 2 ** (3 / 12)
LORA = Cell("fastspeech2", "lora", "g", 8, "happy", "1")
NONE = Cell("fastspeech2", "none", "-", 0, "happy", "-")
RECORDING = Cell("-", "recording", "-", 0, "happy", "-")
COPY = Cell("-", "copy_synthesis", "-", 0, "happy", "-")


def phones_of(sentence: int) -> list[str]:
    return [["a", "i", "u"][(sentence + k * k) % 3] for k in range(6)]


class QuickJudge:
    """Hears `happy` where the speech is faster than seven phones a second; refuses silence."""

    classes = ("neutral", "happy")

    def probabilities(
        self,
        samples: Sequence[np.ndarray],
        sample_rate_hz: int,
        phone_counts: Sequence[int],
        speakers: Sequence[str],
    ) -> np.ndarray:
        rows = []
        for signal, count in zip(samples, phone_counts, strict=True):
            if np.abs(signal).max() < 1e-3:
                raise DataError("signal 0 is silent")
            happy = 0.9 if count / (len(signal) / sample_rate_hz - 0.2) > 7 else 0.2
            rows.append((1 - happy, happy))
        return np.array(rows)


class DeafRecogniser:
    """Hears the phone `a` and nothing else, whatever is said."""

    def transcribe(self, log_mels: Sequence[np.ndarray]) -> list[list[str]]:
        return [["a"] for _ in log_mels]


@pytest.fixture
def hearing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(judges, "load", lambda study, paths, name: QuickJudge())
    monkeypatch.setattr(recogniser, "load", lambda study, paths: DeafRecogniser())
    yield


def speak(paths: StudyPaths, cell: Cell, factor: float, phone_s: float, level: float) -> None:
    """The speech folder of a cell: the test sentences at a pitch, rate and level."""
    folder = paths.cell(cell) / "speech"
    folder.mkdir(parents=True)
    rows = []
    for speaker, (f0_hz, tilt) in VOICES.items():
        for sentence in range(SENTENCES):
            name = f"{speaker}_{cell.emotion}_t{sentence}"
            phones = phones_of(sentence)
            samples = spoken(phones, f0_hz * factor, phone_s, level, tilt, semitones=3)
            soundfile.write(folder / f"{name}.wav", samples, RATE, subtype="PCM_16")
            frames = 1 + len(samples) // 256
            bounds = np.round((0.1 + phone_s * np.arange(7)) * RATE / 256).astype(int)
            durations = np.diff(np.concatenate(([0], bounds, [frames])))
            rows.append(
                {
                    "file": f"{name}.wav",
                    "kind": "test",
                    "utterance_id": name,
                    "speaker": speaker,
                    "text": "t",
                    "phones": " ".join(["sil", *phones, "sil"]),
                    "durations": " ".join(map(str, durations)),
                }
            )
    rows.append({**rows[0], "file": "text-1_s1.wav", "kind": "text", "utterance_id": ""})
    pd.DataFrame(rows).to_csv(folder / "speech.csv", index=False)


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> StudyPaths:
    rows: list[dict[str, object]] = []
    for speaker, (f0_hz, tilt) in VOICES.items():
        for emotion, factor in (("neutral", 1.0), ("happy", HAPPY)):
            for split, count in (("train", 4), ("test", SENTENCES)):
                for number in range(count):
                    name = f"{speaker}_{emotion}_{'t' if split == 'test' else 'x'}{number}"
                    rows.append(
                        {
                            "utterance_id": name,
                            "speaker": speaker,
                            "emotion": emotion,
                            "split": split,
                            "sentence": number if split == "test" else 100 + number,
                            "phones": phones_of(number if split == "test" else number + 1),
                            "f0_hz": f0_hz * factor,
                            "tilt": tilt,
                            "semitones": 3,
                            "level": 0.1 if emotion == "neutral" else 0.2,
                            "phone_s": 0.15 if emotion == "neutral" else 0.1,
                        }
                    )
    paths = build(tmp_path_factory.mktemp("scored"), rows)
    features.extract_shard(study(1), paths, 0)
    features.index(study(1), paths)
    # The cell: two semitones up, 1.25 times as fast, 3 dB louder than what the neutral model says.
    speak(paths, NONE, 1.0, 0.15, 0.1)
    speak(paths, LORA, 2 ** (2 / 12), 0.12, 0.1 * 10 ** (3 / 20))
    speak(paths, RECORDING, HAPPY, 0.1, 0.2)
    speak(paths, COPY, HAPPY, 0.1, 0.2)
    return paths


@pytest.fixture
def paths(master: StudyPaths, tmp_path: Path) -> StudyPaths:
    shutil.copytree(master.root, tmp_path / "study")
    return StudyPaths(tmp_path / "study")


def result(paths: StudyPaths, cell: Cell, config: StudyConfig | None = None) -> dict:  # type: ignore[type-arg]
    score_cell(config or study(1), paths, cell)
    return dict(json.loads((paths.cell(cell) / "metrics.json").read_text()))


def test_known_shifts_of_an_adapted_cell(paths: StudyPaths, hearing: None) -> None:
    found = result(paths, LORA)
    scores = found["scores"]
    assert found["cell"] == LORA.as_dict()
    assert found["n_scored"] == found["n_total"] == 2 * SENTENCES and found["failures"] == []
    assert scores["f0_mean_shift_st"] == pytest.approx(2, abs=0.15)
    assert scores["f0_range_shift_st"] == pytest.approx(0, abs=0.4)
    assert scores["rate_ratio"] == pytest.approx(1.25, rel=0.03)
    assert scores["energy_shift_db"] == pytest.approx(3, abs=0.3)
    assert scores["recording_f0_mean_shift_st"] == pytest.approx(3, abs=0.15)
    assert scores["recording_rate_ratio"] == pytest.approx(1.5, rel=0.03)
    assert scores["recording_energy_shift_db"] == pytest.approx(6, abs=0.3)
    # One semitone from the recording; the contours are the same.
    assert scores["log_f0_rmse"] == pytest.approx(np.log(2) / 12, rel=0.25)
    assert scores["log_f0_correlation"] > 0.9
    assert scores["emotion_accuracy"] == 1.0
    assert 0 < scores["mcd_db"] < 4
    assert scores["speaker_similarity"] > 0.3
    for name in METRICS:
        assert scores[f"{name}_low"] <= scores[name] + 1e-9 <= scores[f"{name}_high"] + 2e-9
    judge = found["judges"]["statistics"]
    assert judge["n"] == 12 and judge["predictions"] == {"neutral": 0, "happy": 12}
    assert judge["mean_probability"] == {"neutral": pytest.approx(0.1), "happy": pytest.approx(0.9)}


def test_every_judge_is_heard_and_the_first_fills_the_scores(
    paths: StudyPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    class DullJudge(QuickJudge):
        """Hears `neutral` in everything, and nothing of the second speaker."""

        def probabilities(self, samples, sample_rate_hz, phone_counts, speakers):  # type: ignore[no-untyped-def]
            if "s2" in speakers:
                raise DataError("the judge knows no speaker s2")
            return np.tile([0.7, 0.3], (len(samples), 1))

    of = {"statistics": QuickJudge(), "dull": DullJudge()}
    monkeypatch.setattr(judges, "load", lambda study, paths, name: of[name])
    monkeypatch.setattr(recogniser, "load", lambda study, paths: DeafRecogniser())
    config = study(1)
    evaluation = EvaluationConfig(judges=("statistics", "dull"), encoder_judges={"dull": {}})
    config = config.model_copy(update={"evaluation": evaluation})
    found = result(paths, LORA, config)
    assert found["scores"]["emotion_accuracy"] == found["judges"]["statistics"]["accuracy"] == 1
    dull = found["judges"]["dull"]
    assert dull["accuracy"] == 0 and dull["n"] == 6
    assert dull["predictions"] == {"neutral": 6, "happy": 0}
    assert dull["mean_probability"]["happy"] == pytest.approx(0.3)
    # What one judge cannot hear is a failure, and its other scores are kept.
    assert found["n_scored"] == 6
    assert all("judge dull: the judge knows no" in f["reason"] for f in found["failures"])
    table = pd.read_csv(paths.cell(LORA) / "utterances.csv")
    assert tuple(table.columns) == (*UTTERANCE_COLUMNS, "predicted_dull", "probability_dull")
    of_one = table["speaker"] == "s1"
    assert (table.loc[of_one, "predicted_dull"] == "neutral").all()
    assert table.loc[of_one, "probability_dull"].eq(0.3).all()
    assert table.loc[~of_one, "predicted_dull"].isna().all()
    assert (table["predicted_emotion"] == "happy").all()


def test_phone_error_rate_is_pooled(paths: StudyPaths, hearing: None) -> None:
    scores = result(paths, LORA)["scores"]
    counts = [phones_of(s).count("a") for s in range(SENTENCES)]
    expected = np.mean([(5 if a else 6) / 6 for a in counts])
    assert scores["phone_error_rate"] == pytest.approx(expected)


def test_the_neutral_model_does_not_shift(paths: StudyPaths, hearing: None) -> None:
    scores = result(paths, NONE)["scores"]
    assert (
        scores["f0_mean_shift_st"] == scores["f0_range_shift_st"] == scores["energy_shift_db"] == 0
    )
    assert scores["rate_ratio"] == 1
    assert scores["emotion_accuracy"] == 0
    assert scores["recording_f0_mean_shift_st"] == pytest.approx(3, abs=0.15)


def test_recordings_are_not_held_against_themselves(paths: StudyPaths, hearing: None) -> None:
    scores = result(paths, RECORDING)["scores"]
    for name in ("mcd_db", "log_f0_rmse", "log_f0_correlation"):
        assert scores[name] is None and scores[f"{name}_low"] is None
    for name in ("f0_mean_shift_st", "f0_range_shift_st", "rate_ratio", "energy_shift_db"):
        assert scores[name] == pytest.approx(scores[f"recording_{name}"], abs=0.05)
    assert scores["f0_mean_shift_st"] == pytest.approx(3, abs=0.15)
    copied = result(paths, COPY)["scores"]
    assert copied["mcd_db"] == pytest.approx(0, abs=0.3)
    assert copied["f0_mean_shift_st"] == pytest.approx(3, abs=0.15)


def test_what_cannot_be_scored_is_counted(paths: StudyPaths, hearing: None) -> None:
    folder = paths.cell(LORA) / "speech"
    (folder / "s1_happy_t0.wav").write_bytes(b"RIFF")
    soundfile.write(folder / "s1_happy_t1.wav", np.zeros(22050), RATE)
    soundfile.write(folder / "s1_happy_t2.wav", np.zeros(8000), 8000)
    (folder / "s1_happy_t3.wav").unlink()
    samples, _ = soundfile.read(folder / "s1_happy_t4.wav")
    soundfile.write(folder / "s1_happy_t4.wav", samples * 0, RATE)
    table = pd.read_csv(folder / "speech.csv", keep_default_na=False)
    table[table["utterance_id"] != "s1_happy_t5"].to_csv(folder / "speech.csv", index=False)
    found = result(paths, LORA)
    assert found["n_total"] == 12 and found["n_scored"] == 6
    reasons = {f["utterance_id"]: f["reason"] for f in found["failures"]}
    assert len(reasons) == 6
    assert "s1_happy_t0.wav: " in reasons["s1_happy_t0"]
    assert "the phones last" in reasons["s1_happy_t1"]
    assert "8000 Hz" in reasons["s1_happy_t2"]
    assert "s1_happy_t3.wav" in reasons["s1_happy_t3"]
    assert "is silent" in reasons["s1_happy_t4"] and "voiced" in reasons["s1_happy_t4"]
    assert reasons["s1_happy_t5"] == "not in speech.csv"
    assert found["judges"]["statistics"]["n"] == 6
    lines = pd.read_csv(paths.cell(LORA) / "utterances.csv").set_index("utterance_id")
    assert len(lines) == 12 and lines["reason"].notna().sum() == 6
    assert pd.isna(lines.loc["s1_happy_t4", "predicted_emotion"])
    assert lines.loc["s2_happy_t0", "predicted_emotion"] == "happy"


def test_a_cell_of_nothing_but_failures_has_no_scores(paths: StudyPaths, hearing: None) -> None:
    for file in (paths.cell(LORA) / "speech").glob("*.wav"):
        file.unlink()
    found = result(paths, LORA)
    assert found["n_scored"] == 0 and len(found["failures"]) == 12
    assert {v for k, v in found["scores"].items() if not k.startswith("recording_")} == {None}
    assert found["judges"]["statistics"]["accuracy"] is None


def test_a_missing_counterpart_is_a_failure(paths: StudyPaths, hearing: None) -> None:
    (paths.cell(NONE) / "speech" / "s1_happy_t0.wav").unlink()
    found = result(paths, LORA)
    assert found["n_scored"] == 11
    assert "neutral model's speech" in found["failures"][0]["reason"]
    assert found["scores"]["f0_mean_shift_st"] == pytest.approx(2, abs=0.15)


def test_levels_that_cannot_be_compared_are_not(paths: StudyPaths, hearing: None) -> None:
    source = paths.corpus("tones") / "source.json"
    source.write_text(json.dumps({"energy_comparable": False}))
    found = result(paths, LORA)
    assert found["scores"]["energy_shift_db"] is None
    assert found["scores"]["recording_energy_shift_db"] is None
    assert found["n_scored"] == 12


def test_files_are_the_contracts_and_repeat(paths: StudyPaths, hearing: None) -> None:
    result(paths, LORA)
    folder = paths.cell(LORA)
    first = {f: (folder / f).read_bytes() for f in ("metrics.json", "utterances.csv")}
    table = pd.read_csv(folder / "utterances.csv")
    assert tuple(table.columns) == UTTERANCE_COLUMNS
    assert table["rate_phones_per_s"].mean() == pytest.approx(1 / 0.12, rel=0.03)
    assert table["f0_mean_hz"].min() > 100 and table["probability_target"].eq(0.9).all()
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["stage"] == "score_cell" and provenance["cell"] == LORA.as_dict()
    assert provenance["metrics"]["mcd_db"]["unit"] == "dB"
    result(paths, LORA)
    assert first == {f: (folder / f).read_bytes() for f in first}


def test_few_sentences_widen_to_sentence_by_speaker(paths: StudyPaths, hearing: None) -> None:
    table = pd.read_csv(paths.manifest)
    table["sentence"] = table["sentence"] % 2
    table.to_csv(paths.manifest, index=False)
    scores = result(paths, LORA)["scores"]
    assert scores["mcd_db_low"] < scores["mcd_db"] < scores["mcd_db_high"]


def test_missing_and_foreign_speech_is_refused(paths: StudyPaths, hearing: None) -> None:
    file = paths.cell(LORA) / "speech" / "speech.csv"
    table = pd.read_csv(file, keep_default_na=False)
    table.assign(utterance_id=table["utterance_id"] + "x").to_csv(file, index=False)
    with pytest.raises(DataError, match="is no test utterance of emotion 'happy'"):
        score_cell(study(1), paths, LORA)
    table.drop(columns="phones").to_csv(file, index=False)
    with pytest.raises(DataError, match="column phones is missing"):
        score_cell(study(1), paths, LORA)
    file.unlink()
    with pytest.raises(DataError, match="synthesise the cell first"):
        score_cell(study(1), paths, LORA)
    assert not (paths.cell(LORA) / "metrics.json").exists()


def test_similarity_tells_the_two_tones_apart(paths: StudyPaths) -> None:
    from eele.metrics.speaker_similarity import study_space

    store = FeatureStore(paths)
    space = study_space(store)
    assert space is not None
    test = store.index[store.index["split"] == "test"]
    for name, speaker in zip(test.index, test["speaker"], strict=True):
        other = {"s1": "s2", "s2": "s1"}[speaker]
        mel = store.get(str(name)).mel
        assert space.similarity(mel, speaker) > 0.2 > space.similarity(mel, other)


def test_a_bound_of_rounding_noise_is_zero():
    """Ten tenths less one: 1e-16 is no difference, and must not be told as one larger than its interval."""
    noise = sum([0.1] * 10) - 1.0
    assert noise != 0 and bounds(np.array([noise, 0.0, -noise]), 0.0) == (0.0, 0.0)
    assert bounds(np.array([1e-6, 2e-6]), 0.0) == (1e-6, 2e-6)
