"""Each metric on inputs whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_study import AUDIO, PHONES, spoken, study

from eele.errors import ConfigError
from eele.features.extract import analyse
from eele.metrics import METRICS
from eele.metrics.base import Case, NotScoredError
from eele.metrics.bootstrap import interval, units_of
from eele.metrics.dtw import warping_path
from eele.metrics.mcd import mel_cepstrum
from eele.metrics.phone_errors import phone_errors
from eele.metrics.speaker_similarity import learn_space
from eele.metrics.speech import Prosody, Speech, mean_prosody

SCORES = {name: METRICS[name].compute for name in METRICS}


def speech(
    mel: np.ndarray | None = None,
    f0_hz: np.ndarray | float = 120.0,
    energy_db: float = -20.0,
    phones: tuple[str, ...] = ("sil", "a", "i", "sil"),
    durations: tuple[int, ...] = (10, 20, 30, 10),
    seed: int = 0,
) -> Speech:
    frames = sum(durations)
    if mel is None:
        mel = np.random.default_rng(seed).normal(0, 1, (frames, 80)).cumsum(axis=0) / 5
    return Speech(
        mel,
        np.broadcast_to(np.asarray(f0_hz, float), frames).astype(np.float32),
        np.full(frames, energy_db, np.float32),
        phones,
        np.array(durations),
        AUDIO.hop_s,
    )


def of(samples: np.ndarray, phones: list[str], phone_s: float = 0.12) -> Speech:
    """The speech of a computed tone, with its true phone durations."""
    frames = analyse(samples, study())
    bounds = np.round((0.1 + phone_s * np.arange(len(phones) + 1)) / AUDIO.hop_s).astype(int)
    durations = np.diff(np.concatenate(([0], bounds, [len(frames.mel)])))
    return Speech(*frames, ["sil", *phones, "sil"], durations, AUDIO.hop_s)


# --- dynamic time warping ---


@pytest.mark.parametrize("shape", [(40, 55), (1, 9), (9, 1), (1, 1), (120, 80)])
def test_path_costs_what_librosas_costs(shape: tuple[int, int]) -> None:
    from librosa.sequence import dtw

    cost = np.random.default_rng(sum(shape)).uniform(0, 1, shape)
    rows, columns = warping_path(cost)
    assert (rows[0], columns[0]) == (0, 0)
    assert (rows[-1], columns[-1]) == (shape[0] - 1, shape[1] - 1)
    steps = np.stack([np.diff(rows), np.diff(columns)], axis=1)
    assert {tuple(step) for step in steps.tolist()} <= {(1, 1), (1, 0), (0, 1)}
    assert cost[rows, columns].sum() == pytest.approx(dtw(C=cost, backtrack=False)[-1, -1])


def test_equal_sequences_go_down_the_diagonal() -> None:
    x = np.random.default_rng(0).normal(size=30)
    rows, columns = warping_path(np.abs(x[:, None] - x[None, :]))
    np.testing.assert_array_equal(rows, columns)


# --- mel-cepstral distortion ---


@pytest.mark.parametrize("order", [1, 7, 13])
def test_mcd_is_the_rms_difference_in_db(order: int) -> None:
    """Envelopes that differ by a cosine over the bands: RMS of A cos is A / sqrt 2 nepers."""
    bands = np.arange(80) + 0.5
    flat = np.zeros((70, 80))
    ripple = flat + 0.3 * np.cos(np.pi * order * bands / 80)
    assert mel_cepstrum(ripple)[0, order - 1] == pytest.approx(0.3)
    case = Case(speech(ripple), "s", "happy", reference=speech(flat))
    score = SCORES["mcd_db"](case)
    assert score is not None
    assert score.value == pytest.approx(20 / np.log(10) * 0.3 / np.sqrt(2))


def test_mcd_ignores_level_length_and_edge_silence() -> None:
    reference = of(spoken(["a", "i", "u"], 150.0), ["a", "i", "u"])
    louder = of(spoken(["a", "i", "u"], 150.0, level=0.2), ["a", "i", "u"])
    slower = of(spoken(["a", "i", "u"], 150.0, phone_s=0.2), ["a", "i", "u"], 0.2)
    padded = np.concatenate([np.zeros(256 * 60, np.float32), spoken(["a", "i", "u"], 150.0)])
    frames = analyse(padded, study())
    durations = reference.durations.copy()
    durations[0] += len(frames.mel) - durations.sum()
    late = Speech(*frames, reference.phones, durations, AUDIO.hop_s)
    other = of(spoken(["u", "a", "i"], 150.0), ["u", "a", "i"])

    def mcd(one: Speech) -> float:
        score = SCORES["mcd_db"](Case(one, "s", "happy", reference=reference))
        assert score is not None
        return score.value

    assert mcd(reference) == pytest.approx(0, abs=1e-6)
    assert mcd(louder) < 0.5
    assert mcd(late) < 0.5
    assert mcd(slower) < 1.5
    assert mcd(other) > 4


def test_no_reference_no_distortion() -> None:
    case = Case(speech(), "s", "happy")
    assert SCORES["mcd_db"](case) is None
    assert SCORES["log_f0_rmse"](case) is None
    assert SCORES["log_f0_correlation"](case) is None


# --- F0 ---


def test_f0_a_semitone_apart() -> None:
    track = 150 * 2 ** (np.sin(np.arange(70) / 5) / 6)
    base = speech(f0_hz=track)
    higher = speech(base.mel, f0_hz=track * 2 ** (1 / 12))
    case = Case(higher, "s", "happy", reference=base)
    rmse, correlation = SCORES["log_f0_rmse"](case), SCORES["log_f0_correlation"](case)
    assert rmse is not None and correlation is not None
    assert rmse.value == pytest.approx(np.log(2) / 12, rel=1e-3)
    assert correlation.value == pytest.approx(1.0)


def test_a_mirrored_contour_correlates_negatively() -> None:
    swing = np.sin(np.arange(70) / 5) / 6
    base, mirrored = speech(f0_hz=150 * 2**swing), speech(f0_hz=150 * 2**-swing)
    score = SCORES["log_f0_correlation"](Case(mirrored, "s", "happy", reference=base))
    assert score is not None and score.value == pytest.approx(-1.0)


def test_frames_unvoiced_in_one_do_not_count() -> None:
    track = np.full(70, 150.0)
    gaps = track.copy()
    gaps[20:30] = 0
    gaps[35] = 400
    case = Case(speech(f0_hz=gaps), "s", "happy", reference=speech(f0_hz=track))
    score = SCORES["log_f0_rmse"](case)
    assert score is not None
    assert score.value == pytest.approx(np.log(400 / 150) / np.sqrt(40), rel=1e-3)


def test_f0_failures_have_reasons() -> None:
    silent = Case(speech(f0_hz=0.0), "s", "happy", reference=speech())
    with pytest.raises(NotScoredError, match="0 frames voiced in both, 10 are needed"):
        SCORES["log_f0_rmse"](silent)
    level = Case(speech(f0_hz=140.0), "s", "happy", reference=speech())
    with pytest.raises(NotScoredError, match="does not move"):
        SCORES["log_f0_correlation"](level)


# --- prosody ---


def test_prosody_of_a_tone() -> None:
    tone = of(spoken(["a", "i", "u", "a", "i"], 160.0, semitones=6), ["a", "i", "u", "a", "i"])
    assert tone.prosody.f0_mean_hz == pytest.approx(160, rel=0.02)
    # A glide linear in ln F0 over 6 semitones: 90 % of it between the percentiles.
    assert tone.prosody.f0_range_st == pytest.approx(5.4, abs=0.4)
    assert tone.prosody.rate_phones_per_s == pytest.approx(1 / 0.12, rel=0.04)
    assert tone.prosody.energy_db == pytest.approx(-20, abs=0.6)


def test_shifts() -> None:
    neutral = Prosody(100.0, 4.0, 10.0, -25.0)
    case = Case(speech(f0_hz=200.0, durations=(9, 20, 20, 9)), "s", "happy", neutral=neutral)
    values = {name: SCORES[name](case) for name in METRICS if METRICS[name].of_recordings}
    rate = 2 / (40 * AUDIO.hop_s)
    expected = {
        "f0_mean_shift_st": 12.0,
        "f0_range_shift_st": -4.0,
        "rate_ratio": rate / 10,
        "energy_shift_db": 5.0,
    }
    assert set(values) == set(expected)
    for name, value in values.items():
        assert value is not None and value.value == pytest.approx(expected[name], abs=1e-5)


def test_shifts_that_do_not_apply_or_fail() -> None:
    neutral = Prosody(100.0, 4.0, 10.0, -25.0)
    assert (
        SCORES["energy_shift_db"](Case(speech(), "s", "e", neutral=neutral, level_comparable=False))
        is None
    )
    assert SCORES["rate_ratio"](Case(speech(), "s", "e")) is None
    with pytest.raises(NotScoredError, match=r"no voiced frame$"):
        SCORES["f0_mean_shift_st"](Case(speech(f0_hz=0.0), "s", "e", neutral=neutral))
    with pytest.raises(NotScoredError, match="no voiced frame in the neutral speech"):
        SCORES["f0_mean_shift_st"](
            Case(speech(), "s", "e", neutral=Prosody(None, None, 9.0, -20.0))
        )


def test_mean_prosody_is_geometric_for_f0_and_rate() -> None:
    mean = mean_prosody(
        [Prosody(100, 2, 5, -20), Prosody(400, 4, 20, -30), Prosody(None, None, None, None)]
    )
    assert mean == Prosody(pytest.approx(200), 3, pytest.approx(10), -25)
    assert mean_prosody([]) is None


def test_geometric_mean_of_ratios() -> None:
    summary = METRICS["rate_ratio"].summarise(np.array([0.5, 2.0]), np.ones(2))
    assert float(summary) == pytest.approx(1.0)


def test_speech_must_fit_its_phones() -> None:
    with pytest.raises(NotScoredError, match="the phones last 70 frames, the file 60"):
        speech(np.zeros((60, 80)))
    with pytest.raises(NotScoredError, match="no phone is spoken"):
        speech(phones=("sil",), durations=(40,))
    with pytest.raises(NotScoredError, match="2 phones but 1 durations"):
        speech(phones=("a", "i"), durations=(40,))
    assert speech(np.zeros((71, 80)), phones=("a",), durations=(70,)).span == slice(0, 70)


# --- phones, emotion ---


@pytest.mark.parametrize(
    ("hypothesis", "errors"),
    [
        ("a b c d", 0),
        ("a b d", 1),
        ("a x c d", 1),
        ("a b c c d", 1),
        ("x", 4),
        ("", 4),
        ("A b c d", 1),
    ],
)
def test_phone_errors(hypothesis: str, errors: int) -> None:
    assert phone_errors(["a", "b", "c", "d"], hypothesis.split()) == errors


def test_phone_error_rate_pools_errors_over_phones() -> None:
    spec = METRICS["phone_error_rate"]
    scores = []
    for said, heard in ((["a"] * 9, ["a"] * 9), (["i"], [])):
        one = speech(phones=("sil", *said, "sil"), durations=(5, *[4] * len(said), 5))
        scores.append(spec.compute(Case(one, "s", "e", hypothesis=heard)))
    values, weights = (np.array([s[k] for s in scores if s]) for k in (0, 1))
    assert float(spec.summarise(values, weights)) == pytest.approx(0.1)


def test_emotion_accuracy_takes_the_likeliest() -> None:
    for probabilities, expected in (
        ({"happy": 0.6, "sad": 0.4}, 1.0),
        ({"happy": 0.4, "sad": 0.6}, 0.0),
    ):
        case = Case(speech(), "s", "happy", probabilities=probabilities)
        score = SCORES["emotion_accuracy"](case)
        assert score is not None and score.value == expected
    assert SCORES["emotion_accuracy"](Case(speech(), "s", "happy")) is None


# --- speakers ---


@pytest.mark.parametrize("speakers", [2, 3, 8])
def test_similarity_tells_speakers_apart(speakers: int) -> None:
    """Voices as points with a common within-speaker scatter: own voice near 1, others far below."""
    rng = np.random.default_rng(speakers)
    scatter = np.linspace(0.1, 3, 60)
    centres = {f"s{k}": rng.normal(0, 1, 60) * scatter * 3 for k in range(speakers)}

    def draw(name: str, n: int) -> np.ndarray:
        return centres[name] + rng.normal(0, 1, (n, 60)) * scatter

    voices = {name: draw(name, 30) for name in centres}
    space = learn_space(voices, {name: v[:10] for name, v in voices.items()})

    def cosine(x: np.ndarray, name: str) -> float:
        own, other = (x - space.mean) @ space.projection, space.neutral[name]
        return float(own @ other / np.linalg.norm(own) / np.linalg.norm(other))

    fresh = {name: draw(name, 10) for name in centres}
    same = np.mean([cosine(x, name) for name in fresh for x in fresh[name]])
    different = np.mean(
        [
            cosine(x, other)
            for name in fresh
            for x in fresh[name]
            for other in fresh
            if other != name
        ]
    )
    assert same > 0.8 and different < 0.2


# --- intervals ---


def mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return METRICS["mcd_db"].summarise(values, weights)


def test_interval_of_a_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)
    found = interval(mean, values, np.ones(400), [str(i) for i in range(400)], 4000, 0.95, 1)
    assert found is not None
    half = 1.96 * values.std() / np.sqrt(400)
    assert found[0] == pytest.approx(values.mean() - half, abs=0.03)
    assert found[1] == pytest.approx(values.mean() + half, abs=0.03)


def test_whole_sentences_are_drawn() -> None:
    """Ten copies of each of 30 values say no more than the 30: the interval does not shrink."""
    values = np.random.default_rng(1).normal(0, 1, 30)
    single = interval(mean, values, np.ones(30), [str(i) for i in range(30)], 2000, 0.9, 1)
    tenfold = interval(
        mean, np.repeat(values, 10), np.ones(300), [str(i) for i in range(30) for _ in range(10)], 2000, 0.9, 1
    )  # fmt: skip
    assert single is not None and tenfold is not None
    np.testing.assert_allclose(single, tenfold, atol=1e-9)


def test_interval_repeats_and_needs_two_units() -> None:
    values = np.arange(6.0)
    arguments = (mean, values, np.ones(6), list("aabbcc"), 500, 0.95)
    assert interval(*arguments, seed=3) == interval(*arguments, seed=3)
    assert interval(*arguments, seed=3) != interval(*arguments, seed=4)
    assert interval(mean, values, np.ones(6), ["a"] * 6, 500, 0.95, 1) is None


def test_units_are_sentences_where_there_are_enough() -> None:
    assert units_of([1, 2, 3, 4, 5], ["x"] * 5) == ["1", "2", "3", "4", "5"]
    assert units_of([1, 1, 2], ["x", "y", "x"]) == ["1 x", "1 y", "2 x"]


# --- registry ---


def test_every_score_column_is_a_metric() -> None:
    from eele.reporting.columns import SCORE_COLUMNS, SHIFTS

    assert {c for c in SCORE_COLUMNS if not c.endswith(("_low", "_high"))} == set(METRICS)
    assert {n for n in METRICS if METRICS[n].of_recordings} == set(SHIFTS)
    for name in METRICS:
        spec = METRICS[name]
        assert spec.name == name and spec.label and spec.unit and spec.needs
    with pytest.raises(ConfigError, match="unknown metric 'mos'"):
        METRICS["mos"]
    assert PHONES[1] == "sil"
