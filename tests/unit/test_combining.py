"""Adapters plugged together: weights, intensity 0, the stage on a tiny voice, going on where it was killed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from synthetic_study import AUDIO, PHONES, build

import eele.features as features
from eele import judges
from eele.cells import Cell
from eele.combining import combine, combined_cells, mixtures
from eele.combining import stage as combining_stage
from eele.combining.measuring import utterance_columns
from eele.combining.mixtures import NEUTRAL, Mixture
from eele.combining.summary import point_columns, point_rows
from eele.config import StudyConfig, check_study
from eele.config.models import BackboneConfig, FastSpeech2Config
from eele.errors import ConfigError, DataError
from eele.io import read_json, sha256, write_json
from eele.metrics import recogniser
from eele.neutral import WEIGHTS, NeutralModel, read_tensors, save_neutral, save_tensors
from eele.paths import StudyPaths
from eele.peft import method
from eele.peft.base import AdapterSpec
from eele.peft.stored import ADAPTER_FACTS, ADAPTER_WEIGHTS
from eele.sites import backbone_sites
from eele.training import finished

LORA, NARROW = "lora/g/2/happy", "bottleneck/c/3/sad"
COMBINING = {
    "line": {"cells": [LORA, f"{NARROW}:0.5"], "points": 3},
    "strong": {"cells": [LORA], "intensities": [0, 1.5]},
}
SPEAKERS = {"s1": 120.0, "s2": 210.0}
SENTENCES = 3


def tones(**changes: object) -> StudyConfig:
    return check_study(
        {
            "study": "tones",
            "emotions": ["happy", "sad"],
            "combining": COMBINING,
            "features": {"shards": 1},
            "lexicon": {"source": "dictionary", "dictionary": "words.txt"},
            "synthesis": {"griffin_lim_iterations": 2},
            "evaluation": {"bootstrap_samples": 50},
            "runtime": {"device": "cpu"},
            **changes,
        }
    )


# which cells, which weights


def test_a_line_and_intensities() -> None:
    found = mixtures(tones())
    line, strong = found["line"], found["strong"]
    assert [(p.name, p.at, p.weights) for p in line.points] == [
        ("0", 0.0, (1.0, 0.0)),
        ("1", 0.5, (0.5, 0.25)),
        ("2", 1.0, (0.0, 0.5)),
    ]
    assert [line.meant(point) for point in line.points] == [("happy",), ("happy", "sad"), ("sad",)]
    assert line.emotions == ("happy", "sad") and (line.axis, strong.axis) == ("line", "intensity")
    assert [(p.at, p.weights) for p in strong.points] == [(0.0, (0.0,)), (1.5, (1.5,))]
    assert strong.meant(strong.points[0]) == ("neutral",)
    # A cell of two mixtures is one cell; neither has to be in the sweep.
    assert combined_cells(tones()) == [
        Cell("fastspeech2", "lora", "g", 2, "happy", "1"),
        Cell("fastspeech2", "bottleneck", "c", 3, "sad", "1"),
    ]
    assert combined_cells(tones(combining={})) == []


ENTRIES = {
    "no axis": ({"cells": [LORA]}, ["combining.mine", "either points", "intensities"]),
    "two axes": ({"cells": [LORA, NARROW], "points": 2, "intensities": [0, 1]}, ["either"]),
    "half a line": ({"cells": [LORA], "points": 3}, ["between two cells; 1 named"]),
    "falling": ({"cells": [LORA], "intensities": [1, 0]}, ["each larger than the last"]),
    "negative": ({"cells": [LORA], "intensities": [-1, 0]}, ["mine.intensities.0", "got -1"]),
    "emotion": (
        {"cells": ["lora/g/2/angry"], "intensities": [0, 1]},
        ["combining.mine.cells: cell: emotion 'angry'", "allowed: happy, sad"],
    ),
    "scheme": ({"cells": ["lora/z/2/sad"], "intensities": [0, 1]}, ["scheme 'z'", "a, b, c"]),
    "method": ({"cells": ["lara/a/2/sad"], "intensities": [0, 1]}, ["method 'lara'", "lora, "]),
    "place": ({"cells": ["prompt/e/2/sad"], "intensities": [0, 1]}, ["site 'duration'"]),
    "weight": ({"cells": [f"{LORA}:nan"], "intensities": [0, 1]}, ["weight 'nan' is not a number"]),
    "twice": ({"cells": [LORA, f"{LORA}:2"], "points": 2}, ["the same cell is named twice"]),
    "full": ({"cells": ["full/sad", LORA], "points": 2}, ["method full", "cannot be mixed"]),
    "nothing": ({"cells": ["none/-/0/sad"], "intensities": [0, 1]}, ["no adapter to plug"]),
}


@pytest.mark.parametrize(("entry", "said"), ENTRIES.values(), ids=ENTRIES)
def test_an_impossible_mixture_is_refused_with_the_config(
    entry: dict[str, object], said: list[str]
) -> None:
    with pytest.raises(ConfigError) as raised:
        tones(combining={"mine": entry})
    for part in said:
        assert part in str(raised.value)


def test_a_study_of_recognition_combines_nothing() -> None:
    with pytest.raises(ConfigError, match="combining: a study of recognition"):
        tones(recognition={"testbeds": {"all": {}}})


# the stage


class HalfDeafJudge:
    """Hears `happy` the more, the longer the signal; refuses the second speaker where it is told to."""

    classes = ("neutral", "happy", "sad")
    refused: Sequence[str] = ()

    def probabilities(
        self, samples: Sequence[np.ndarray], rate: int, counts: Sequence[int], speakers: list[str]
    ) -> np.ndarray:
        if set(speakers) & set(self.refused):
            raise DataError("the judge knows no speaker s2")
        happy = np.array([len(signal) / (len(signal) + rate) for signal in samples])
        return np.stack([(1 - happy) * 0.75, happy, (1 - happy) * 0.25], axis=1)


class DeafRecogniser:
    def transcribe(self, log_mels: Sequence[np.ndarray]) -> list[list[str]]:
        return [["a"] for _ in log_mels]


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[HalfDeafJudge]:
    listener = HalfDeafJudge()
    monkeypatch.setattr(judges, "load", lambda study, paths, name: listener)
    monkeypatch.setattr(recogniser, "load", lambda study, paths: DeafRecogniser())
    yield listener


@pytest.fixture
def paths(tmp_path: Path) -> StudyPaths:
    """Test sentences of two speakers and emotions, an untrained voice, an adapter of each method."""
    rows: list[dict[str, object]] = []
    for speaker, f0_hz in SPEAKERS.items():
        for emotion in ("neutral", "happy", "sad"):
            for number in range(1 if emotion == "neutral" else 1 + SENTENCES):
                rows.append(
                    {
                        "utterance_id": f"{speaker}_{emotion}_{number}",
                        "speaker": speaker,
                        "emotion": emotion,
                        "split": "test" if number else "train",
                        "sentence": number,
                        "phones": ["aiu", "uia", "iau", "aau"][number],
                        "f0_hz": f0_hz,
                        "phone_s": 0.05,
                    }
                )
    paths = build(tmp_path, rows)
    features.extract_shard(tones(), paths, 0)
    features.index(tones(), paths)
    lexicon = [
        "language\tword\tphones",
        *(f"en\t{w}\t{' '.join(w)}" for w in ("uia", "iau", "aau")),
    ]
    paths.lexicon.write_text("\n".join(lexicon) + "\n", encoding="utf-8")
    for folder in (paths.recogniser, paths.judge("statistics")):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").touch()
    _voice(paths)
    return paths


def _voice(paths: StudyPaths) -> None:
    sizes = FastSpeech2Config(
        hidden_size=8, encoder_layers=1, decoder_layers=1, filter_size=8, predictor_size=8,
        postnet_size=8, postnet_layers=2,
    )  # fmt: skip
    statistics = read_json(paths.features / "statistics.json")
    neutral = NeutralModel(
        BackboneConfig(fastspeech2=sizes), tuple(PHONES), tuple(SPEAKERS), statistics, AUDIO
    )
    torch.manual_seed(0)
    model = neutral.fresh()
    save_neutral(paths.neutral, neutral, model.state_dict())
    for cell in combined_cells(tones()):
        net = neutral.load(paths.neutral)
        spec = AdapterSpec(cell.method, cell.sites(tones()), cell.rank, alpha=float(cell.rank))
        how = method(cell.method)
        how.attach(net, backbone_sites(neutral.backbone), spec)
        state = {key: torch.randn_like(value) / 2 for key, value in how.state(net).items()}
        folder = paths.cell(cell) / "adapter"
        save_tensors(folder / ADAPTER_WEIGHTS, state)
        base = {"base_sha256": sha256(paths.neutral / WEIGHTS)}
        write_json(folder / ADAPTER_FACTS, {**spec.as_dict(), **base})


def mixed(name: str, study: StudyConfig | None = None) -> Mixture:
    return mixtures(study or tones())[name]


def files(folder: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in folder.glob("*.csv")}


def test_intensity_0_is_the_neutral_model_bit_for_bit(
    paths: StudyPaths, judge: HalfDeafJudge
) -> None:
    voice = combining_stage._Voice(tones(), paths, mixed("line"), _lines(paths))
    plain = voice.say(combining_stage.Point(NEUTRAL, None, ()))
    for weights, equal in (((1.0, 0.5), False), ((0.0, 0.0), True), ((0.0, 1.0), False)):
        said = voice.say(combining_stage.Point("x", 0.0, weights))
        same = [np.array_equal(a.samples, b.samples) for a, b in zip(plain, said, strict=True)]
        assert all(same) if equal else not any(same)


def _lines(paths: StudyPaths) -> list[combining_stage.Line]:
    of = combining_stage.Recordings(tones(), paths)
    return combining_stage.mixture_lines(tones(), mixed("line"), of)


def test_a_mixture_is_spoken_heard_and_measured(paths: StudyPaths, judge: HalfDeafJudge) -> None:
    combine(tones(), paths, mixed("strong"))
    folder = paths.combining("strong")
    points = pd.read_csv(folder / "points.csv", dtype={"point": str, "weights": str})
    assert tuple(points.columns) == point_columns(tones())
    assert points["point"].tolist() == [NEUTRAL, "0", "1"]
    assert points["weights"].fillna("").tolist() == ["", "0", "1.5"]
    plain, off, strong = (row for _, row in points.iterrows())
    total = 2 * SENTENCES
    assert plain["same_as_neutral"] == off["same_as_neutral"] == total
    assert strong["same_as_neutral"] == 0 and (points["n"] == total).all()
    # Durations are the model's own: they can be measured although an untrained voice has no F0.
    assert plain["rate_ratio"] == off["rate_ratio"] == 1 != strong["rate_ratio"]
    assert strong["rate_step"] == pytest.approx(strong["rate_ratio"])
    assert strong["rate_step_low"] <= strong["rate_step"] <= strong["rate_step_high"]
    assert np.isnan(plain["rate_step"]) and np.isnan(off["rate_step"])
    assert -1 <= strong["speaker_similarity"] <= 1
    assert plain["speaker_similarity"] == off["speaker_similarity"]
    assert off["speaker_similarity"] + strong["speaker_similarity_step"] == pytest.approx(
        strong["speaker_similarity"]
    )
    chances = points[[f"probability_{e}" for e in ("neutral", "happy", "sad")]]
    assert chances.sum(axis=1).tolist() == pytest.approx([1, 1, 1])
    heard = pd.read_csv(folder / "utterances.csv", dtype={"point": str}).set_index("point")
    assert list(heard.columns) == list(utterance_columns(tones()))
    assert off["accuracy"] == (heard.loc["0", "heard_statistics"] == "neutral").mean()
    assert strong["accuracy"] == (heard.loc["1", "heard_statistics"] == "happy").mean()
    assert strong["probability_happy"] == pytest.approx(
        heard.loc["1", "probability_statistics_happy"].mean()
    )
    assert (folder / "1" / "s1_happy_1.wav").is_file()
    record = json.loads((folder / "provenance.json").read_text())
    assert record["stage"] == "combine" and record["cells"][0]["method"] == "lora"


def test_every_sentence_of_both_emotions_is_said_once(paths: StudyPaths) -> None:
    names = [line.utterance_id for line in _lines(paths)]
    assert names == [f"{s}_happy_{n}" for s in SPEAKERS for n in (1, 2, 3)]
    index = pd.read_csv(paths.manifest)
    index.loc[index["utterance_id"] == "s2_sad_3", "sentence"] = 9
    index.to_csv(paths.manifest, index=False)
    assert len(_lines(paths)) == len(names) + 1


def test_what_cannot_be_heard_is_counted(paths: StudyPaths, judge: HalfDeafJudge) -> None:
    judge.refused = ["s2"]
    combine(tones(), paths, mixed("strong"))
    points = pd.read_csv(paths.combining("strong") / "points.csv")
    assert (points["n"] == SENTENCES).all() and (points["n_total"] == 2 * SENTENCES).all()
    assert (points["n_scored"] <= SENTENCES).all()
    heard = pd.read_csv(paths.combining("strong") / "utterances.csv")
    assert heard.loc[heard["speaker"] == "s2", "reason"].str.contains("knows no speaker s2").all()


def test_a_killed_job_goes_on_where_it_was(
    paths: StudyPaths, judge: HalfDeafJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    say, dying = combining_stage._Voice.say, ["2"]

    def counted(self, point):  # type: ignore[no-untyped-def]
        if point.name in dying:
            raise KeyboardInterrupt
        said.append(point.name)
        return say(self, point)

    monkeypatch.setattr(combining_stage._Voice, "say", counted)
    with pytest.raises(KeyboardInterrupt):
        combine(tones(), paths, mixed("line"))
    assert said == [NEUTRAL, "0", "1"] and not (paths.combining("line") / "points.csv").exists()
    dying.clear()
    said.clear()
    combine(tones(), paths, mixed("line"))
    assert said == ["2"]
    first = files(paths.combining("line"))
    # In one go it comes to the same.
    finished.forget(paths.checkpoints)
    combine(tones(), paths, mixed("line"))
    assert said == ["2", NEUTRAL, "0", "1", "2"] and files(paths.combining("line")) == first
    # With another adapter nothing of it holds.
    adapter = paths.cell(combined_cells(tones())[0]) / "adapter" / ADAPTER_WEIGHTS
    save_tensors(adapter, {k: v * 1.1 for k, v in read_tensors(adapter).items()})
    said.clear()
    combine(tones(), paths, mixed("line"))
    assert said == [NEUTRAL, "0", "1", "2"]
    # Points that the config no longer asks for are gone.
    shorter = tones(combining={"line": {**COMBINING["line"], "points": 2}})
    combine(shorter, paths, mixed("line", shorter))
    kept = {place.name for place in paths.combining("line").iterdir() if place.is_dir()}
    assert kept == {NEUTRAL, "0", "1"}


def test_an_adapter_that_is_missing_is_named(paths: StudyPaths) -> None:
    file = paths.cell(combined_cells(tones())[0]) / "adapter" / ADAPTER_WEIGHTS
    file.unlink()
    with pytest.raises(DataError, match=r"adapter\.safetensors is missing; run: snakemake"):
        combine(tones(), paths, mixed("strong"))


# the summary


def measured(point: str, shifts: Sequence[float], rates: Sequence[float]) -> pd.DataFrame:
    """A point's utterances with known shifts; the last one unheard."""
    count = len(shifts)
    table = pd.DataFrame(
        {
            "utterance_id": [f"u{n}" for n in range(count)],
            "speaker": "s1",
            "sentence": [str(n) for n in range(count)],
            "f0_mean_shift_st": shifts,
            "rate_ratio": rates,
            "phone_error_rate": [0.5] * (count - 1) + [1.0],
            "phones": [10.0] * (count - 1) + [30.0],
            "same_as_neutral": False,
            "heard_statistics": ["happy"] * (count - 2) + ["neutral", None],
            "probability_statistics_neutral": [0.25] * (count - 1) + [np.nan],
            "probability_statistics_happy": [0.5] * (count - 1) + [np.nan],
            "probability_statistics_sad": [0.25] * (count - 1) + [np.nan],
            "reason": [None] * (count - 1) + ["judge statistics: silent"],
        }
    )
    return table.reindex(columns=list(utterance_columns(tones())))


def test_points_are_summarised_with_paired_steps() -> None:
    study, mixture = tones(), mixed("line")
    heard = {
        "0": measured("0", [1.0, 2, 3, 4, 5, 6], [1.0] * 6),
        "1": measured("1", [2.0, 3, 4, 5, 6, 7], [1.0, 2, 4, 1, 2, 4]),
        "2": measured("2", [2.0, 3, 4, 5, 6, np.nan], [1.0, 2, 4, 1, 2, 4]),
    }
    rows = point_rows(study, mixture, mixture.points, heard).set_index("point")
    assert rows["f0_mean_shift_st"].tolist() == pytest.approx([3.5, 4.5, 4.0])
    # Every utterance moves alike, so the step is sure where the mean is not.
    assert rows.loc["1", ["f0_mean_step_st", "f0_mean_step_st_low"]].tolist() == [1, 1]
    assert rows.loc["1", "f0_mean_shift_st_low"] < 4.5 < rows.loc["1", "f0_mean_shift_st_high"]
    # Of pairs: the utterance that the second point lacks does not count as a fall.
    assert rows.loc["2", "f0_mean_step_st"] == 0
    assert rows.loc["1", "rate_ratio"] == rows.loc["1", "rate_step"] == pytest.approx(2)
    assert np.isnan(rows.loc["0", "rate_step"])
    assert rows.loc["0", "phone_error_rate"] == pytest.approx((50 * 0.5 + 30) / 80)
    assert rows.loc["0", ["n", "n_scored", "n_total"]].tolist() == [5, 5, 6]
    assert rows["accuracy"].tolist() == pytest.approx([0.8, 0.8, 0.0])
    assert rows.loc["0", "probability_happy"] == 0.5
