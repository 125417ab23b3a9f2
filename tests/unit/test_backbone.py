"""FastSpeech 2: padding never leaks, lengths are exact, losses reach only what they should."""

from __future__ import annotations

import pytest
import torch

from eele.backbones import build
from eele.backbones.base import Backbone, Batch
from eele.backbones.layers import expand_phones, length_mask, sinusoids
from eele.config.models import AudioConfig, BackboneConfig, FastSpeech2Config
from eele.sites import SITES, backbone_sites

CONFIG = BackboneConfig(
    fastspeech2=FastSpeech2Config(
        hidden_size=16, filter_size=24, predictor_size=12, postnet_size=14, kernel_size=3
    )
)


@pytest.fixture
def net() -> Backbone:
    torch.manual_seed(0)
    return build(CONFIG, phones=9, speakers=2, audio=AudioConfig(mel_channels=10)).eval()


def items() -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    found = []
    for phones in (6, 3, 5):
        durations = torch.randint(0, 5, (1, phones), generator=generator) + 1
        frames = int(durations.sum())
        found.append(
            Batch(
                torch.randint(1, 9, (1, phones), generator=generator),
                torch.tensor([phones]),
                torch.tensor([phones % 2]),
                durations,
                torch.randn(1, phones, generator=generator),
                torch.randn(1, phones, generator=generator),
                torch.randn(1, frames, 10, generator=generator),
                torch.tensor([frames]),
            )
        )
    return found


def padded(lone: list[Batch]) -> Batch:
    def pad(name: str) -> torch.Tensor:
        values = [getattr(item, name)[0] for item in lone]
        if values[0].dim() == 0:
            return torch.stack(values)
        return torch.nn.utils.rnn.pad_sequence(values, batch_first=True)

    return Batch(*(pad(name) for name in Batch._fields[:8]))


def test_length_regulator_repeats_each_phone_for_its_frames() -> None:
    x = torch.arange(1.0, 5.0).view(1, 4, 1)
    out, mask = expand_phones(x, torch.tensor([[2, 0, 3, 1]]), 8)
    assert out[0, :, 0].tolist() == [1, 1, 3, 3, 3, 4, 0, 0]
    assert mask[0].tolist() == [True] * 6 + [False] * 2


def test_sinusoids_and_masks_have_known_values() -> None:
    table = sinusoids(3, 4, torch.device("cpu"))
    assert table[0].tolist() == [0, 1, 0, 1]
    assert table[1, 0] == pytest.approx(0.8414710)
    assert length_mask(torch.tensor([1, 3]), 3).tolist() == [[True, False, False], [True] * 3]


def test_a_padded_batch_speaks_each_item_as_alone(net: Backbone) -> None:
    lone = items()
    batch = padded(lone)
    with torch.no_grad():
        together = net.synthesise(batch.phones, batch.phone_lengths, batch.speakers)
        for row, item in enumerate(lone):
            alone = net.synthesise(item.phones, item.phone_lengths, item.speakers)
            frames = int(alone.lengths[0])
            assert int(together.lengths[row]) == frames == int(alone.durations.sum())
            torch.testing.assert_close(
                together.mel[row, :frames], alone.mel[0], rtol=1e-4, atol=1e-5
            )


def test_padded_losses_are_the_weighted_mean_of_lone_losses(net: Backbone) -> None:
    lone = items()
    with torch.no_grad():
        together = net(padded(lone)).losses
        alone = [net(item).losses for item in lone]
    for name, value in together.items():
        by_frame = name in ("mel", "postnet")
        sizes = torch.tensor([float(i.mel_lengths if by_frame else i.phone_lengths) for i in lone])
        expected = (torch.stack([a[name] for a in alone]) * sizes).sum() / sizes.sum()
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("site", [site.name for site in SITES["fastspeech2"]])
def test_pruned_losses_have_the_same_gradients_as_all_losses(net: Backbone, site: str) -> None:
    """A site's own loss terms carry its whole gradient: the others may be left out."""
    batch = padded(items())
    weights = [
        p for m in backbone_sites(CONFIG).modules(net, site).values() for p in m.parameters()
    ]
    gradients = []
    for terms in (None, net.site_losses[site]):
        net.zero_grad()
        sum(net(batch, terms).losses.values()).backward()
        gradients.append([None if p.grad is None else p.grad.clone() for p in weights])
    for full, pruned in zip(*gradients, strict=True):
        if full is None:
            assert pruned is None
        else:
            torch.testing.assert_close(pruned, full)


def test_unknown_terms_are_not_computed(net: Backbone) -> None:
    assert set(net(items()[0], ("duration",)).losses) == {"duration"}
