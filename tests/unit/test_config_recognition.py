"""Config of a study of emotion recognition: what is refused, with which message."""

from __future__ import annotations

from typing import Any

import pytest

from eele.config.load import check_study
from eele.errors import ConfigError


def recognition(**values: Any) -> dict[str, Any]:
    return {"recognition": {"testbeds": {"here": {}}, **values}}


def test_a_study_of_recognition_has_defaults_for_all_but_its_testbeds() -> None:
    study = check_study(recognition())
    assert study.recognition is not None
    assert study.recognition.encoders == ("small",) and study.recognition.seeds == (1,)
    assert [m.method for m in study.recognition.methods] == ["head"]
    assert study.recognition.testbeds["here"].folds == "leave_one_speaker_out"
    assert check_study({}).recognition is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"encoders": ["wavlm"]}, "unknown encoder 'wavlm'; `encoders` has: small"),
        ({"encoders": ["small", "small"]}, "encoders: one stands twice"),
        ({"methods": [{"method": "lora"}]}, "method lora needs sites and size"),
        ({"methods": [{"method": "head", "size": 8}]}, "method head takes no sites and no size"),
        ({"methods": [{"method": "full", "sites": ["attention"]}]}, "method full takes no sites"),
        (
            {"methods": [{"method": "lora", "size": 8, "sites": ["attention", "attention"]}]},
            "one stands twice",
        ),
        ({"testbeds": {}}, "at least 1 item"),
        ({"testbeds": {"a": {"corpora": ["esd"]}}}, "testbeds.a.corpora: unknown corpus 'esd'"),
        ({"testbeds": {"a": {"folds": "session", "groups": 3}}}, "folds session takes no groups"),
        ({"testbeds": {"a": {"folds": "speakers", "groups": 1}}}, "groups: at least two"),
        (
            {"testbeds": {"a": {"labels": "four", "classes": ["bored"]}}},
            "classes: bored: labels four has neutral, happy, sad, angry",
        ),
        ({"testbeds": {"a": {"fold": "session"}}}, "folds"),
        ({"testbeds": {"a": {"target": "words"}}}, "target"),
        (
            {"testbeds": {"a": {"target": "speaker"}}},
            "target speaker: folds leave_one_speaker_out keep the test's speakers out of training",
        ),
        (
            {"testbeds": {"a": {"target": "speaker", "folds": "session"}}},
            "target speaker: folds session",
        ),
        (
            {"testbeds": {"a": {"target": "phones", "labels": "four"}}},
            "target phones takes no labels and no classes",
        ),
        (
            {"testbeds": {"a": {"target": "speaker", "folds": "official", "classes": ["sad"]}}},
            "target speaker takes no labels and no classes",
        ),
    ],
)
def test_mistakes_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_study(recognition(**values))
    assert message in str(caught.value)


def test_an_encoder_hears_corpora_of_the_study() -> None:
    with pytest.raises(
        ConfigError, match=r"encoders\.small\.small\.corpora: unknown corpus 'vctk'"
    ):
        check_study({"encoders": {"small": {"small": {"corpora": ["vctk"]}}}})


def test_a_gender_is_one_of_two_words() -> None:
    with pytest.raises(ConfigError, match=r"genders\.anna"):
        check_study({"corpora": [{"adapter": "esd", "genders": {"anna": "f"}}]})


def test_the_generated_corpus_acts_only_what_it_has_rules_for() -> None:
    with pytest.raises(ConfigError, match=r"demo\.emotions"):
        check_study({"corpora": [{"adapter": "demo", "demo": {"emotions": ["excited"]}}]})
