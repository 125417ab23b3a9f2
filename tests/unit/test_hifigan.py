"""HiFi-GAN: published sizes, segment lengths, losses by hand, the mel loss's spectrogram."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from eele.backbones import weight_norm
from eele.config.data import AudioConfig
from eele.config.models import DiscriminatorConfig, HifiGanConfig
from eele.features.mel import log_mel
from eele.hifigan import discriminators
from eele.hifigan.discriminators import PeriodDiscriminator, ScaleDiscriminator, WaveformCritic
from eele.hifigan.generator import Generator
from eele.hifigan.mel_loss import MelSpectrogram, mel_loss

SMALL = HifiGanConfig(
    initial_channels=16,
    upsample_rates=(4, 2),
    upsample_kernels=(8, 4),
    resblock_kernels=(3, 5),
    resblock_dilations=(1, 3),
)
CRITIC = DiscriminatorConfig(
    periods=(2, 3, 5),
    period_channels=(4, 8, 8),
    scales=2,
    scale_channels=(4, 8, 16, 8),
    scale_groups=(1, 2, 4, 1),
)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def waveforms(batch: int = 2, samples: int = 331) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    real, fake = torch.randn(2, batch, samples) * 0.3
    return real, fake.requires_grad_()


def rough(module: nn.Module) -> nn.Module:
    """Weights large enough that a mistake shows in the output."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, 0.0, 0.2)
    return module


def test_the_generator_has_the_published_size() -> None:
    generator = Generator(HifiGanConfig(), in_channels=192, speaker_size=256)
    layers = [m for m in generator.modules() if isinstance(m, nn.Conv1d | nn.ConvTranspose1d)]
    assert len(layers) == 79
    weight_norm.normalise(generator)
    assert count(generator) == 14_468_608
    plain = [n for n, m in generator.named_modules() if type(m) is nn.Conv1d]
    assert plain == ["pre", "cond", "post"]


def test_the_discriminators_have_the_published_size() -> None:
    critic = WaveformCritic(DiscriminatorConfig())
    assert count(critic) == pytest.approx(46.7e6, rel=0.02)
    critic.normalise_weights()
    assert count(critic) == pytest.approx(46.7e6, rel=0.02)


@pytest.mark.parametrize("speaker_size", [0, 3])
def test_a_frame_becomes_its_number_of_samples(speaker_size: int) -> None:
    generator = rough(Generator(SMALL, in_channels=5, speaker_size=speaker_size))
    voice = torch.randn(2, speaker_size) if speaker_size else None
    samples = generator(torch.randn(2, 5, 7), voice)
    assert samples.shape == (2, 7 * 8)
    assert samples.abs().max() <= 1
    if voice is not None:
        torch.manual_seed(0)
        frames = torch.randn(2, 5, 7)
        assert not torch.allclose(generator(frames, voice), generator(frames, voice + 1))


def test_the_generator_moves_with_its_frames() -> None:
    generator = rough(Generator(SMALL, in_channels=5)).double()
    frames = torch.randn(1, 5, 60, dtype=torch.float64)
    later = generator(F.pad(frames, (3, 0)))[:, 24:]
    inner = slice(20 * 8, 40 * 8)
    assert torch.allclose(later[:, inner], generator(frames)[:, inner], atol=1e-9)


def test_weight_norm_comes_and_goes_without_changing_the_function() -> None:
    generator, critic = rough(Generator(SMALL, 5)), rough(WaveformCritic(CRITIC))
    frames, (real, fake) = torch.randn(2, 5, 7), waveforms()

    def outputs() -> list[torch.Tensor]:
        scores = [f[-1] for f in critic.features(fake)]
        return [generator(frames), critic({"waveform": (real, fake)})[0]["critic"], *scores]

    before, names = outputs(), set(critic.state_dict())
    for module in (generator, critic):
        weight_norm.normalise(module)
    assert set(critic.state_dict()) != names
    for a, b in zip(before, outputs(), strict=True):
        assert torch.allclose(a, b, atol=1e-5, rtol=1e-5)
    for module in (generator, critic):
        weight_norm.fold(module)
    assert set(critic.state_dict()) == names
    for a, b in zip(before, outputs(), strict=True):
        assert torch.allclose(a, b, atol=1e-5, rtol=1e-5)


def test_the_losses_are_those_of_separate_evaluation() -> None:
    critic = rough(WaveformCritic(CRITIC)).double()
    critic.requires_grad_(False)
    real, fake = (x.detach().double() for x in waveforms())
    own, model = critic({"waveform": (real, fake)})
    expected = {"critic": 0.0, "adversarial": 0.0, "features": 0.0}
    heard = [(real, fake)] * 3
    heard += [(real[:, None], fake[:, None])]
    # The second scale, written out: means of four samples, two apart, between zeros.
    halves = [F.pad(x, (2, 2)).unfold(1, 4, 2).mean(-1)[:, None] for x in (real, fake)]
    heard += [(halves[0], halves[1])]
    for part, (a, b) in zip([*critic.periods, *critic.scales], heard, strict=True):
        true, made = part(a), part(b)
        expected["critic"] += float(((1 - true[-1]) ** 2).mean() + (made[-1] ** 2).mean())
        expected["adversarial"] += float(((1 - made[-1]) ** 2).mean())
        for x, y in zip(true, made, strict=True):
            expected["features"] += float((x - y).abs().mean())
    got = {key: float(value) for key, value in {**own, **model}.items()}
    assert got == pytest.approx(expected, rel=1e-5)


def test_one_graph_serves_both_players() -> None:
    critic = rough(WaveformCritic(CRITIC))
    real, fake = waveforms()
    real.requires_grad_()
    own, model = critic({"waveform": (real, fake)})
    total = model["adversarial"] + 2 * model["features"]
    weights = list(critic.parameters())
    total.backward(inputs=[fake], retain_graph=True)
    assert all(p.grad is None for p in weights)
    own["critic"].backward(inputs=weights)
    # The same, each side in a graph of its own.
    alone = copy.deepcopy(critic)
    own, _ = alone({"waveform": (real, fake.detach())})
    expected = torch.autograd.grad(own["critic"], list(alone.parameters()))
    for p, gradient in zip(weights, expected, strict=True):
        assert torch.allclose(p.grad, gradient, atol=1e-6)
    _, model = alone({"waveform": (real, fake)})
    total = model["adversarial"] + 2 * model["features"]
    (expected_fake,) = torch.autograd.grad(total, [fake], retain_graph=True)
    assert torch.allclose(fake.grad, expected_fake, atol=1e-6)
    # The real half is no way from the model's losses to anything.
    (through_real,) = torch.autograd.grad(total, [real], allow_unused=True)
    assert through_real is None


def test_feature_matching_ends_at_equal_waveforms() -> None:
    critic = rough(WaveformCritic(CRITIC))
    real, _ = waveforms()
    _, model = critic({"waveform": (real, real.clone().requires_grad_())})
    assert model["features"].item() == 0


@pytest.mark.parametrize("period", [2, 3, 5, 7])
def test_every_layout_of_a_period_is_the_same_function(
    period: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = rough(PeriodDiscriminator(period, (4, 6))).double()
    samples = torch.randn(2, 100, dtype=torch.float64)
    results = []
    for side_by_side_from in (1, 100):
        monkeypatch.setattr(discriminators, "_SIDE_BY_SIDE_FROM", side_by_side_from)
        results.append(part(samples))
    for a, b in zip(*results, strict=True):
        as_columns = b.view(2, period, *b.shape[1:]).permute(0, 2, 3, 1)
        assert torch.allclose(a, as_columns, atol=1e-10)


@pytest.mark.parametrize("samples", [64, 97, 98, 99, 331])
def test_convolution_in_phases_is_the_strided_one(samples: int) -> None:
    part = rough(ScaleDiscriminator((4, 8, 16, 8), (1, 2, 4, 1))).double()
    x = torch.randn(2, 1, samples, dtype=torch.float64)
    for made, layer in zip(part(x), [*part.convs, part.post], strict=True):
        x = layer(x)
        if layer is not part.post:
            x = F.leaky_relu(x, 0.1)
        assert torch.allclose(made, x, atol=1e-9)


def test_the_spectrogram_is_that_of_the_features() -> None:
    audio = AudioConfig()
    generator = np.random.default_rng(0)
    t = np.arange(8192) / audio.sample_rate_hz
    # Some noise everywhere: without any, rounding is all there is between the floor and a tone's bands.
    signals = generator.normal(0, 0.01, (2, 8192))
    signals[0] += 0.3 * np.sin(2 * np.pi * 220 * t) * t
    signals = signals.astype(np.float32)
    expected = np.stack([log_mel(s, audio) for s in signals])
    got = MelSpectrogram(audio, audio.mel_fmax_hz)(torch.from_numpy(signals)).numpy()
    assert got.shape == (2, 33, 80)
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_the_loss_listens_up_to_half_the_sample_rate() -> None:
    audio = AudioConfig(mel_fmax_hz=4000.0)
    t = torch.arange(8192) / audio.sample_rate_hz
    torch.manual_seed(0)
    low = torch.randn(1, 8192) * 0.01
    # Faded in and out: the reflected edges would spread it.
    hiss = low + 0.1 * torch.sin(2 * torch.pi * 9000 * t) * torch.hann_window(8192)
    whole = float(mel_loss(MelSpectrogram(audio), low, hiss))
    assert whole > 0.02
    assert float(mel_loss(MelSpectrogram(audio, 4000.0), low, hiss)) < 0.05 * whole
    assert not MelSpectrogram(audio).state_dict()


def test_the_mel_loss_has_finite_slopes_and_full_precision_everywhere() -> None:
    spectrogram = MelSpectrogram(AudioConfig())
    real = torch.randn(2, 4096) * 0.1
    silent = torch.zeros(2, 4096, requires_grad=True)
    mel_loss(spectrogram, real, silent).backward()
    assert torch.isfinite(silent.grad).all()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = spectrogram(real)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, spectrogram(real))
    fake = (real * 0.5).requires_grad_()
    loss = mel_loss(spectrogram, real, fake)
    # Half the level is ln 2 lower in every band.
    assert loss.item() == pytest.approx(np.log(2), rel=1e-3)
    loss.backward()
    assert float(fake.grad.abs().sum()) > 0
