"""Voices left out of pre-training: who hears whom, and rows of the speaker table that alone move."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from test_peft_inserted import config
from torch import Tensor

from eele.backbones import build
from eele.backbones.base import Backbone
from eele.cells import Cell, check_cell, sweep
from eele.combining import parse_cell
from eele.config import StudyConfig, check_study
from eele.config.models import AudioConfig
from eele.corpora.assembling import _check_new_voices
from eele.errors import CheckpointError, ConfigError, DataError
from eele.io import read_json
from eele.metrics.base import Case
from eele.metrics.cases import Item
from eele.metrics.score import Scored, listen
from eele.neutral import FACTS, NeutralModel, save_neutral
from eele.peft import method
from eele.peft.base import AdapterSpec
from eele.sites import backbone_sites
from eele.training import select
from eele.workflow import lineages, stage_parameters

AUDIO = AudioConfig(mel_channels=20)
BACKBONES = ("fastspeech2", "vits2")
#: Rows 1 and 2 of three are new voices.
NEW = (1, 2)
ADAPTERS = [("voice", (), 0), ("lora", ("text_encoder",), 2), ("prefix", ("text_encoder",), 2)]


def study(**values: object) -> StudyConfig:
    return check_study({"pretraining": {"leave_out": ["demo_b"]}, **values})


def model(backbone: str) -> Backbone:
    torch.manual_seed(0)
    return build(config(backbone), phones=11, speakers=3, audio=AUDIO).eval()


@torch.no_grad()
def say(net: Backbone, voice: int) -> list[Tensor]:
    # torch computes some products in another order for weights that want gradients.
    wanting = [p for p in net.parameters() if p.requires_grad]
    net.requires_grad_(False)
    spoken = net.synthesise(
        torch.tensor([[1, 2, 3, 4, 5]]), torch.tensor([5]), torch.tensor([voice])
    )
    for parameter in wanting:
        parameter.requires_grad_(True)
    speech = spoken.mel if spoken.mel is not None else spoken.samples
    assert speech is not None
    return [speech, spoken.durations]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(one, other, strict=True))


# Which utterances


def index() -> pd.DataFrame:
    rows = [
        (f"{speaker}-{emotion}-{split}", f"demo_{speaker}", emotion, split)
        for speaker, emotions in (
            ("a", ("neutral", "happy")),
            ("b", ("neutral",)),
            ("c", ("happy",)),
        )
        for emotion in emotions
        for split in ("train", "validation", "test")
    ]
    return pd.DataFrame(rows, columns=["id", "speaker", "emotion", "split"]).set_index("id")


def test_pretraining_hears_nothing_of_a_voice_left_out() -> None:
    voices = study()
    for split in ("train", "validation", "test"):
        assert select.neutral_ids(voices, index(), split) == [f"a-neutral-{split}"]
        assert select.cell_ids(voices, index(), "neutral", split) == [f"b-neutral-{split}"]
    assert select.neutral_speakers(voices, index()) == ("demo_a",)
    assert select.new_voices(voices, index()) == select.adaptation_speakers(voices, index())
    assert select.new_voices(StudyConfig(), index()) == ()


def test_some_of_the_voices_left_out_can_be_adapted_to() -> None:
    both = {"pretraining": {"leave_out": ["demo_a", "demo_b"]}}
    some = check_study({**both, "adaptation": {"speakers": ["demo_b"]}})
    assert select.adaptation_speakers(some, index()) == ("demo_b",)
    assert select.new_voices(some, index()) == ("demo_a", "demo_b")
    with pytest.raises(DataError, match="beside that of pretraining"):
        select.neutral_speakers(some, index())


def test_a_voice_without_neutral_speech_is_refused() -> None:
    silent = check_study({"pretraining": {"leave_out": ["demo_c"]}})
    with pytest.raises(DataError, match=r"demo_c without neutral training speech.*demo_a, demo_b"):
        select.new_voices(silent, index())


def manifest(*rows: tuple[str, str, str]) -> list[dict[str, str]]:
    return [dict(zip(("speaker", "emotion", "split"), row, strict=True)) for row in rows]


def test_the_manifest_has_speech_to_train_and_test_a_new_voice_and_to_pretrain() -> None:
    a, b = (("demo_a", "neutral", "train"), ("demo_b", "neutral", "train"))
    tested = ("demo_b", "neutral", "test")
    _check_new_voices(study(), manifest(a, b, tested))
    _check_new_voices(StudyConfig(), manifest())
    with pytest.raises(DataError, match="demo_b without a neutral utterance in the test split"):
        _check_new_voices(study(), manifest(a, b, ("demo_b", "happy", "test")))
    with pytest.raises(DataError, match="in the train split"):
        _check_new_voices(study(), manifest(a, tested))
    with pytest.raises(ConfigError, match="nothing to pre-train on"):
        _check_new_voices(study(), manifest(b, tested))


class Knows:
    """A judge that hears happiness in everything said by `demo_a`."""

    classes = ("neutral", "happy")
    speakers = ("demo_a",)

    def probabilities(self, samples: list, rate: int, phones: list, speakers: list) -> np.ndarray:
        if unknown := set(speakers) - set(self.speakers):
            raise DataError(f"knows no {unknown}")
        return np.tile([0.2, 0.8], (len(samples), 1))


def test_a_judge_is_not_asked_about_a_new_voice_it_does_not_know() -> None:
    def listened(of: StudyConfig) -> tuple[list, list[list[str]]]:
        rows = [
            Scored(Item(f"{name}-1", f"demo_{name}", "0", "demo", np.zeros(9)), Case(None, "", ""))
            for name in ("a", "b")
        ]
        return listen(Knows(), "statistics", of, rows), [row.reasons for row in rows]

    known = {"neutral": 0.2, "happy": 0.8}
    assert listened(study()) == ([known, None], [[], []])
    # Where emotion is what counts, that is a failure.
    heard, reasons = listened(StudyConfig())
    assert heard == [known, None] and reasons[0] == [] and "knows no" in reasons[1][0]


# What a config may ask for


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"adaptation": {"speakers": ["demo_a"]}}, "adaptation.speakers: demo_a: the study adapts"),
        ({"pretraining": {"leave_out": ["demo_b", "demo_b"]}}, "one stands twice"),
        (
            {"pretraining": {}, "sweep": [{"method": "voice"}]},
            "sweep.0.method: voice learns voices that pre-training has not heard",
        ),
        ({"sweep": [{"method": "voice", "schemes": ["a"]}]}, "learns voices alone"),
        (
            {"combining": {"x": {"cells": ["lora/g/8/happy"], "intensities": [0, 1]}}},
            "emotion 'happy' is not allowed here; allowed: neutral",
        ),
    ],
)
def test_refused_configs(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        study(**values)


def test_the_sweep_adapts_to_neutral_voices() -> None:
    voices = study(sweep=[{"method": "lora", "schemes": ["g"], "ranks": [2]}, {"method": "voice"}])
    cells = sweep(voices)
    assert {cell.emotion for cell in cells} == {"neutral"} and len(cells) == len(set(cells)) == 5
    assert [cell.method for cell in cells if cell.learns_voices] == ["lora", "voice"]
    assert parse_cell("voice/neutral", voices) == cells[-1]
    with pytest.raises(ConfigError, match="emotion 'happy' is not allowed"):
        check_cell(Cell("fastspeech2", "full", "-", 0, "happy", "1"), voices)
    with pytest.raises(ConfigError, match="leave_out names none"):
        check_cell(Cell("fastspeech2", "voice", "-", 0, "happy", "1"), StudyConfig())
    mixed = study(combining={"x": {"cells": ["lora/g/8/neutral"], "intensities": [0, 1]}})
    assert mixed.adapted == ("neutral",)


def test_a_study_that_leaves_nobody_out_stays_what_it_was() -> None:
    plain, voices = StudyConfig(), study()
    for name in ("pretrain", "synthesise_cell", "score_cell", "combine"):
        assert "leave_out" not in str(stage_parameters(plain, name))
        assert "demo_b" in str(stage_parameters(voices, name))
    changed = {k for k, v in lineages(plain).items() if lineages(voices)[k] != v}
    # What is known of recordings is the same whoever is left out.
    assert changed == {"pretrain", "train_cell", "synthesise_cell", "score_cell", "combine"}


# The neutral model


def test_the_neutral_model_says_new_voices_with_the_mean_of_those_it_knows(tmp_path: Path) -> None:
    statistics: dict[str, object] = {}
    names = ("a", "b", "new")
    neutral = NeutralModel(
        config("fastspeech2"), tuple("abcdefghijk"), names, statistics, AUDIO, ("new",)
    )
    net = neutral.fresh()
    save_neutral(tmp_path, neutral, net.state_dict())
    assert read_json(tmp_path / FACTS)["new_voices"] == ["new"]
    opened = NeutralModel.open(tmp_path)
    assert opened == neutral and opened.rows(["new", "a"]) == (0, 2)
    before, after = net.speaker_embedding.weight, opened.load(tmp_path).speaker_embedding.weight
    assert torch.equal(after[:2], before[:2])
    torch.testing.assert_close(after[2], before[:2].mean(dim=0))
    plain = NeutralModel(config("fastspeech2"), neutral.phones, names, statistics, AUDIO)
    assert "new_voices" not in plain.facts()
    save_neutral(tmp_path, plain, net.state_dict())
    assert torch.equal(plain.load(tmp_path).speaker_embedding.weight, before)


# The rows


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(("of", "places", "size"), ADAPTERS, ids=[a[0] for a in ADAPTERS])
def test_only_the_rows_and_the_method_move(
    of: str, places: tuple[str, ...], size: int, backbone: str
) -> None:
    net, sites, how = model(backbone), backbone_sites(config(backbone)), method(of, True)
    spec = AdapterSpec(of, places, size, alpha=1.0, voices=NEW)
    neutral = [say(net, voice) for voice in range(3)]
    before = {key: value.clone() for key, value in net.state_dict().items()}
    expected = how.formula(net, sites, spec)
    alone = method(of).formula(net, sites, spec) if places else 0
    assert expected == alone + len(NEW) * net.speaker_embedding.embedding_dim
    attached = how.attach(net, sites, spec, "new")
    assert "speaker_embedding" in attached.wrapped
    own = how.parameters(net, "new")
    assert {id(p) for p in net.parameters() if p.requires_grad} == {id(p) for p in own.values()}
    assert sum(p.numel() for p in own.values()) == expected
    if method(of).identity_at_start:
        assert all(same(say(net, voice), neutral[voice]) for voice in range(3))
    # A large step with much weight decay: nothing else is touched.
    torch.manual_seed(1)
    optimiser = torch.optim.AdamW(own.values(), lr=0.3, weight_decay=0.5)
    sum((p * torch.randn_like(p)).sum() for p in own.values()).backward()
    optimiser.step()
    after = {key.replace(".base_layer", ""): value for key, value in net.state_dict().items()}
    assert all(torch.equal(after[key], value) for key, value in before.items())
    tuned = [say(net, voice) for voice in range(3)]
    assert not any(same(tuned[voice], neutral[voice]) for voice in NEW)
    # Rows alone leave the known voice as it is.
    assert same(tuned[0], neutral[0]) == (of == "voice")

    again = model(backbone)
    how.attach(again, sites, spec, "glad")
    how.load(again, how.state(net, "new"), "glad")
    assert all(same(say(again, voice), tuned[voice]) for voice in range(3))
    how.scale(again, 0.0, "glad")
    assert all(same(say(again, voice), neutral[voice]) for voice in range(3))
    how.scale(again, 0.5, "glad")
    assert not any(same(say(again, v), x[v]) for v in NEW for x in (tuned, neutral))
    if of == "prefix":
        with pytest.raises(ConfigError, match="cannot merge"):
            how.merge(net)
        return
    how.merge(net)
    for one, other in zip(say(net, 1), tuned[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_voices_of_several_adapters_add_up_and_do_not_fit_another_number() -> None:
    net, sites, how = model("fastspeech2"), backbone_sites(config("fastspeech2")), method("voice")
    spec = AdapterSpec("voice", (), 0, voices=NEW)
    for name in ("one", "other"):
        how.attach(net, sites, spec, name)
        for parameter in how.parameters(net, name).values():
            torch.nn.init.ones_(parameter)
    table = net.speaker_embedding
    plain = table.weight.detach()
    torch.testing.assert_close(table(torch.tensor([0, 2])) - plain[[0, 2]], torch.stack(
        (torch.zeros_like(plain[0]), torch.full_like(plain[0], 2.0))
    ))  # fmt: skip
    with pytest.raises(ConfigError, match="already holds voices called 'one'"):
        how.attach(net, sites, spec, "one")
    state = {"speaker_embedding.voices": torch.zeros(1, table.embedding_dim)}
    with pytest.raises(CheckpointError, match="shape"):
        how.load(net, state, "one")


def test_voices_are_refused_where_there_are_none() -> None:
    net, sites = model("fastspeech2"), backbone_sites(config("fastspeech2"))
    with pytest.raises(ConfigError, match="pre-training has left none out"):
        method("voice").attach(net, sites, AdapterSpec("voice", (), 0))
    with pytest.raises(ConfigError, match="cannot be attached at site 'decoder'"):
        method("voice").attach(net, sites, AdapterSpec("voice", ("decoder",), 0, voices=NEW))


def test_an_adapter_without_voices_is_stored_as_ever() -> None:
    plain = AdapterSpec("lora", ("decoder",), 2)
    assert "voices" not in plain.as_dict()
    spec = AdapterSpec("lora", ("decoder",), 2, voices=NEW)
    assert AdapterSpec.from_dict(spec.as_dict()) == spec
    assert AdapterSpec.from_dict(plain.as_dict()) == plain
