"""Unweighted average recall, its interval, and fairness between genders."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from eele.ser.fairness import fairness
from eele.ser.scores import bootstrap_units, score, uar, uar_interval

CLASSES = ("neutral", "angry", "sad")


def predictions(rows: list[tuple[str, str]], speakers: int = 6, sentences: int = 3) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "utterance_id": f"u{i}",
                "label": label,
                "predicted": predicted,
                "speaker": f"s{i % speakers}",
                "sentence": str(i % sentences),
                "gender": ("female", "male")[i % 2],
            }
            for i, (label, predicted) in enumerate(rows)
        ]
    )


def noisy(n: int, hit: float, seed: int = 1, speakers: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    labels = [CLASSES[i % 3] for i in range(n)]
    said = [
        label if rng.random() < hit else CLASSES[(CLASSES.index(label) + 1) % 3] for label in labels
    ]
    return predictions(list(zip(labels, said, strict=True)), speakers)


def test_uar_is_the_mean_recall_whatever_the_class_sizes() -> None:
    labels = ["neutral"] * 8 + ["angry"] * 2
    predicted = ["neutral"] * 8 + ["neutral", "angry"]
    assert uar(labels, predicted) == pytest.approx((1 + 0.5) / 2)


def test_a_class_only_predicted_is_no_class_of_the_mean() -> None:
    assert uar(["neutral", "neutral", "sad"], ["neutral", "angry", "sad"]) == pytest.approx(0.75)


def test_score_holds_recalls_confusion_and_counts() -> None:
    rows = [("neutral", "neutral")] * 3 + [("neutral", "sad")] + [("sad", "sad")] * 2
    found = score(predictions(rows), CLASSES, samples=50)
    assert found["uar"] == pytest.approx((0.75 + 1) / 2) and found["accuracy"] == pytest.approx(
        5 / 6
    )
    assert found["n"] == 6 and found["n_by_class"] == {"neutral": 4, "angry": 0, "sad": 2}
    assert found["recall"] == {"neutral": 0.75, "angry": None, "sad": 1.0}
    assert found["confusion"] == [[3, 0, 1], [0, 0, 0], [0, 0, 2]]
    assert found["interval_unit"] == "speaker"


def test_score_refuses_what_is_no_class_and_nothing_at_all() -> None:
    with pytest.raises(ValueError, match="bored: not among the classes"):
        score(predictions([("neutral", "bored")]), CLASSES)
    with pytest.raises(ValueError, match="no predictions"):
        score(predictions([("sad", "sad")])[:0], CLASSES)


def test_the_interval_covers_the_true_recall_and_narrows_with_recordings() -> None:
    inside, widths = 0, {}
    for n in (90, 900):
        for seed in range(20):
            low, high = uar_interval(noisy(n, 0.7, seed, speakers=n // 3), 300, 0.95, 1) or (1, 0)
            inside += low <= 0.7 <= high
            widths.setdefault(n, []).append(high - low)
    assert inside >= 34  # of 40; 95 % of them are expected
    assert np.mean(widths[900]) < 0.5 * np.mean(widths[90])


def test_the_interval_is_over_speakers_who_differ() -> None:
    table = noisy(600, 1.0, speakers=6)
    half = table["speaker"].isin(["s0", "s1", "s2"])
    table.loc[half, "predicted"] = "neutral"
    by_speaker = uar_interval(table, 500, 0.95, 1)
    by_utterance = uar_interval(table.assign(speaker=table["utterance_id"]), 500, 0.95, 1)
    assert by_speaker is not None and by_utterance is not None
    assert by_speaker[1] - by_speaker[0] > 3 * (by_utterance[1] - by_utterance[0])


def test_the_interval_unit_follows_what_there_is() -> None:
    few = predictions([("sad", "sad")] * 12, speakers=2, sentences=6)
    assert bootstrap_units(few)[0] == "sentence by speaker"
    assert bootstrap_units(few.drop(columns="sentence"))[0] == "utterance"
    assert (
        bootstrap_units(predictions([("sad", "sad")] * 4, speakers=1, sentences=1))[0]
        == "utterance"
    )
    assert uar_interval(few[:1], 10, 0.95, 1) is None
    assert math.isclose(score(few, CLASSES, samples=20)["uar_low"], 1.0)


def by_gender(counts: dict[str, list[tuple[str, str, int]]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"gender": gender, "label": label, "predicted": predicted}
            for gender, rows in counts.items()
            for label, predicted, n in rows
            for _ in range(n)
        ]
    )


def test_fairness_by_hand() -> None:
    table = by_gender(
        {
            "female": [("sad", "sad", 3), ("sad", "angry", 1), ("angry", "angry", 4)],
            "male": [
                ("sad", "sad", 1),
                ("sad", "angry", 1),
                ("angry", "angry", 1),
                ("angry", "neutral", 1),
            ],
        }
    )
    found = fairness(table)
    assert found["applicable"] and found["n"] == {"female": 8, "male": 4}
    # predicted shares: female sad 3/8, angry 5/8; male sad 1/4, angry 1/2, neutral 1/4
    assert found["statistical_parity"] == pytest.approx((1 / 8 + 1 / 8 + 1 / 4) / 2)
    assert found["statistical_parity_worst_class"] == pytest.approx(1 / 4)
    # of the sad: 3/4, 1/4 and 1/2, 1/2; of the angry: 1 and 1/2, 1/2
    assert found["equality_of_opportunity"] == pytest.approx((1 / 4 + 1 / 2) / 2)
    assert found["equality_of_opportunity_worst_class"] == pytest.approx(1 / 2)
    angry = found["by_class"]["angry"]
    assert angry["n"] == {"female": 4, "male": 2}
    assert angry["recall"] == {"female": 1.0, "male": 0.5}
    assert angry["statistical_parity"] == pytest.approx(1 / 8)
    assert found["by_class"]["neutral"]["equality_of_opportunity"] is None


def test_a_recogniser_that_treats_both_alike_is_fair() -> None:
    rows = [("sad", "sad", 2), ("sad", "angry", 1), ("angry", "angry", 3)]
    found = fairness(by_gender({"female": rows, "male": rows}))
    assert found["statistical_parity"] == found["equality_of_opportunity"] == 0
    assert found["equality_of_opportunity_worst_class"] == 0


def test_one_that_hears_gender_instead_of_emotion_is_as_unfair_as_can_be() -> None:
    labels = [("sad", 2), ("angry", 2)]
    found = fairness(
        by_gender(
            {
                gender: [(label, said, n) for label, n in labels]
                for gender, said in (("female", "sad"), ("male", "angry"))
            }
        )
    )
    assert found["statistical_parity"] == found["equality_of_opportunity"] == 1


def test_fairness_needs_two_genders_and_says_so() -> None:
    table = by_gender({"female": [("sad", "sad", 2)]})
    found = fairness(table)
    assert not found["applicable"] and found["reason"] == "all speakers are female"
    assert found["n"] == {"female": 2, "male": 0} and "statistical_parity" not in found
    found = fairness(table, ["", ""])
    assert found["n_unknown"] == 2 and found["reason"].startswith(
        "no speaker's gender is known; name"
    )


def test_recordings_of_unknown_gender_are_left_out_and_counted() -> None:
    known = by_gender({"female": [("sad", "sad", 2)], "male": [("sad", "angry", 2)]})
    more = pd.concat([known, by_gender({"": [("sad", "neutral", 5)]})])
    found = fairness(more)
    assert found["n_unknown"] == 5 and found["statistical_parity"] == 1
    assert found["by_class"].keys() == {"sad", "angry"}


def test_genders_must_fit_the_predictions() -> None:
    with pytest.raises(ValueError, match="1 genders for 2 predictions"):
        fairness(by_gender({"female": [("sad", "sad", 2)]}), ["male"])
