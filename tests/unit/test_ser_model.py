"""The head, and augmentation as published."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from recognition_study import SMALL
from torch import nn

from eele.config.recognition import RecogniserTrainingConfig
from eele.ser.augment import augment, masked, with_noise
from eele.ser.model import Head, Recogniser
from eele.ser.small import SmallEncoder

CLASSES = ("neutral", "angry", "sad")


def recogniser() -> Recogniser:
    torch.manual_seed(0)
    return Recogniser(SmallEncoder(SMALL), CLASSES, size=16).eval()


def test_padding_is_nothing_to_the_head() -> None:
    torch.manual_seed(0)
    head = Head(2, 8, 3, size=16).eval()
    states = [torch.randn(2, 9, 8) for _ in range(3)]
    mask = torch.arange(9)[None] < torch.tensor([9, 4])[:, None]
    alone = head([s[1:, :4] for s in states], mask[1:, :4])
    assert torch.allclose(head(states, mask)[1:], alone, atol=1e-6)


def test_layers_are_weighed_and_what_enters_the_first_is_left_out() -> None:
    head = Head(2, 8, 3, size=16).eval()
    states = [torch.randn(1, 5, 8) for _ in range(3)]
    mask = torch.ones(1, 5, dtype=torch.bool)
    before = head(states, mask)
    assert torch.equal(before, head([states[0] + 1, *states[1:]], mask))
    # Equal weights at first; one far above the others leaves its layer alone.
    mean = (states[1] + states[2]) / 2
    assert torch.allclose(before, head([states[0], mean, mean], mask), atol=1e-5)
    with torch.no_grad():
        head.layer_weights.copy_(torch.tensor([0.0, 50.0]))
    assert torch.allclose(head(states, mask), head([states[0], states[2], states[2]], mask))


def test_the_head_has_the_published_parameters() -> None:
    # Layer weights, three 1x1 convolutions and two linear maps of 256 on 12 layers of 768 channels.
    expected = 12 + (768 + 1) * 256 + 2 * 257 * 256 + 257 * 256 + 257 * 4
    assert sum(p.numel() for p in Head(12, 768, 4).parameters()) == expected


def test_a_padded_utterance_is_judged_as_alone() -> None:
    model = recogniser()
    sound = 0.1 * torch.randn(2, 9000, generator=torch.Generator().manual_seed(1))
    both = model.probabilities(sound, torch.tensor([9000, 5000]))
    alone = model.probabilities(sound[1:, :5000], torch.tensor([5000]))
    assert both.shape == (2, 3) and torch.allclose(both.sum(1), torch.ones(2))
    assert torch.allclose(both[1:], alone, atol=1e-5)


def test_a_frozen_encoder_hears_without_dropout_and_without_a_graph() -> None:
    model = recogniser()
    for parameter in model.encoder.parameters():
        parameter.requires_grad_(False)
    model.train()
    assert model.head.training and not any(m.training for m in model.encoder.modules())
    states: list[torch.Tensor] = []
    model.head.register_forward_pre_hook(lambda _, inputs: states.extend(inputs[0]))
    loss = model(torch.randn(1, 4000), torch.tensor([4000])).sum()
    loss.backward()
    assert not any(state.requires_grad for state in states)
    next(iter(model.encoder.parameters())).requires_grad_(True)
    model.train()
    assert all(m.training for m in model.encoder.modules() if isinstance(m, nn.Dropout))


@pytest.mark.parametrize("snr_db", [10.0, 30.0])
def test_noise_has_the_ratio_asked_for(snr_db: float) -> None:
    sound = np.sin(np.arange(80000) / 7).astype(np.float32)
    noise = with_noise(sound, snr_db, np.random.default_rng(0)) - sound
    found = 10 * np.log10(np.mean(sound**2) / np.mean(noise**2))
    assert found == pytest.approx(snr_db, abs=0.1)


def test_a_mask_silences_its_share() -> None:
    sound = np.ones(16000, np.float32)
    out = masked(sound, 0.12, np.random.default_rng(0))
    changed = np.flatnonzero(out != 1)
    # The first and last sample of a fade are 1 and 0.
    assert changed[-1] - changed[0] + 1 == round(0.12 * 16000) - 2
    assert (out == 0).sum() == round(0.12 * 16000) - 2 * 160 + 2
    assert (sound == 1).all()


def test_augmentation_can_be_switched_off_and_is_drawn_from_its_ranges() -> None:
    sound = np.sin(np.arange(16000) / 7).astype(np.float32)
    off = RecogniserTrainingConfig(noise_snr_db=None, time_mask_share=None)
    assert np.array_equal(augment(sound, off, np.random.default_rng(0)), sound)
    noisy = RecogniserTrainingConfig(time_mask_share=None)
    ratios = []
    for seed in range(20):
        noise = augment(sound, noisy, np.random.default_rng(seed)) - sound
        ratios.append(10 * np.log10(np.mean(sound**2) / np.mean(noise**2)))
    assert min(ratios) > 9.5 and max(ratios) < 30.5 and max(ratios) - min(ratios) > 10
