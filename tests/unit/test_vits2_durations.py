"""Splines and duration predictors: densities integrate, maps invert, padding and gradients stay where they should."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from eele.backbones.vits2.durations_adversarial import (
    AdversarialDurationPredictor,
    DurationCritic,
)
from eele.backbones.vits2.durations_flow import FlowDurationPredictor, PairFlow
from eele.backbones.vits2.splines import rational_quadratic
from eele.peft.lora import Lora

HIDDEN, SPEAKER = 6, 5


def shaken(module: nn.Module, scale: float = 0.2) -> nn.Module:
    """`module` with random weights everywhere: fresh flows are the identity."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return module.eval()


@pytest.fixture
def flow_predictor() -> FlowDurationPredictor:
    torch.manual_seed(0)
    predictor = shaken(FlowDurationPredictor(HIDDEN, SPEAKER, bins=5))
    assert isinstance(predictor, FlowDurationPredictor)
    return predictor


def spline(seed: int, count: int, bins: int = 10) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(count, bins, generator=generator),
        torch.randn(count, bins, generator=generator),
        torch.randn(count, bins - 1, generator=generator),
    )


def text(lengths: list[int], phones: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hidden text, mask, voice, durations; padding holds what must not be looked at."""
    generator = torch.Generator().manual_seed(1)
    batch = len(lengths)
    mask = (torch.arange(phones)[None] < torch.tensor(lengths)[:, None]).float()[:, None]
    hidden = torch.randn(batch, HIDDEN, phones, generator=generator)
    durations = torch.randint(1, 20, (batch, phones), generator=generator).float()
    voice = torch.randn(batch, SPEAKER, generator=generator)
    return hidden, mask, voice, durations * mask[:, 0]


# --- splines ---


def test_the_spline_inverts():
    x = torch.linspace(-7, 7, 4001)
    parameters = [0.5 * p for p in spline(0, 4001)]
    y, log_slope = rational_quadratic(x, *parameters)
    back, log_slope_back = rational_quadratic(y, *parameters, inverse=True)
    torch.testing.assert_close(back, x, atol=1e-5, rtol=0)
    torch.testing.assert_close(log_slope_back, -log_slope, atol=1e-4, rtol=0)
    assert (y - x).abs().max() > 1
    # Steep and flat bins, where x cannot be told so well from y.
    parameters = spline(0, 4001)
    x, _ = rational_quadratic(y, *parameters, inverse=True)
    again, log_slope = rational_quadratic(x, *parameters)
    assert ((again - y).abs() < 1e-5 * (1 + log_slope.exp())).all()


@pytest.mark.parametrize("inverse", [False, True])
def test_the_splines_slope_is_autograds(inverse):
    x = torch.linspace(-6, 6, 999, requires_grad=True)
    y, log_slope = rational_quadratic(x, *spline(1, 999), inverse=inverse)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(log_slope, slope.log(), atol=1e-4, rtol=1e-4)


def test_the_spline_goes_through_its_knots():
    """Two bins by hand: widths 1/4 and 3/4, heights 3/4 and 1/4 of [-2, 2], least shares aside."""
    logits = torch.tensor([[0.0, math.log(3)]])
    x = torch.tensor([-2.0, -2 + 4 * (0.001 + 0.998 / 4), 2.0])
    y, log_slope = rational_quadratic(
        x,
        logits.expand(3, -1),
        -logits.expand(3, -1),
        torch.zeros(3, 1),
        tail_bound=2.0,
    )
    torch.testing.assert_close(y, torch.tensor([-2.0, -x[1], 2.0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(log_slope, torch.zeros(3), atol=1e-4, rtol=0)


def test_the_spline_is_the_identity_outside_and_with_zero_parameters():
    x = torch.tensor([-9.0, -5.001, 5.001, 40.0, torch.inf])
    y, log_slope = rational_quadratic(x, *spline(2, 5))
    assert torch.equal(y, x) and (log_slope == 0).all()
    x = torch.linspace(-6, 6, 101)
    y, log_slope = rational_quadratic(
        x, torch.zeros(101, 4), torch.zeros(101, 4), torch.zeros(101, 3)
    )
    torch.testing.assert_close(y, x, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(log_slope, torch.zeros(101), atol=1e-4, rtol=0)


def test_the_spline_rises_and_has_gradients_everywhere():
    y, _ = rational_quadratic(
        torch.linspace(-5.5, 5.5, 5001), *(p.expand(5001, -1) for p in spline(3, 1))
    )
    assert (y.diff() > 0).all()
    parameters = [(6 * p).expand(5001, -1).contiguous().requires_grad_() for p in spline(3, 1)]
    x = torch.linspace(-5.5, 5.5, 5001, requires_grad=True)
    y, log_slope = rational_quadratic(x, *parameters)
    assert (y.diff() > -1e-5).all()
    (y.sum() + log_slope.sum()).backward()
    assert all(torch.isfinite(p.grad).all() for p in (x, *parameters))


def test_the_spline_keeps_single_precision_under_autocast():
    x = torch.linspace(-4, 4, 50)
    expected = rational_quadratic(x, *spline(4, 50))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = rational_quadratic(x, *spline(4, 50))
    assert found[0].dtype == torch.float32
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


def test_bins_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="derivatives"):
        rational_quadratic(torch.zeros(2), torch.zeros(2, 4), torch.zeros(2, 4), torch.zeros(2, 4))


# --- the stochastic predictor ---


def test_the_published_size_and_what_lora_can_wrap():
    predictor = FlowDurationPredictor(192, 256)
    assert sum(p.numel() for p in predictor.parameters()) == pytest.approx(1_366_512, rel=0.02)
    layers = [m for m in predictor.modules() if isinstance(m, nn.Conv1d | nn.Linear)]
    assert sum(Lora().refusal(layer) is None for layer in layers) == 51
    depthwise = [m for m in layers if isinstance(m, nn.Conv1d) and m.groups > 1]
    assert len(depthwise) == 30 and len(layers) == 81


def square(limit: float, points: int) -> tuple[Tensor, Tensor, float]:
    """Both coordinates (points^2, 1) of a square grid, and the area of a point."""
    line = torch.linspace(-limit, limit, points)
    first, second = torch.meshgrid(line, line, indexing="ij")
    return first.reshape(-1, 1), second.reshape(-1, 1), float(line[1] - line[0]) ** 2


def one_phone(predictor: FlowDurationPredictor, count: int) -> tuple[Tensor, Tensor]:
    condition = torch.randn(1, 1, HIDDEN, generator=torch.Generator().manual_seed(5))
    return condition.expand(count, -1, -1), torch.ones(count, 1, 1)


@torch.no_grad()
def test_both_flows_are_densities():
    torch.manual_seed(0)
    # Wilder weights make densities too jagged for a grid of this many points.
    predictor = shaken(FlowDurationPredictor(HIDDEN, SPEAKER, bins=5), 0.1)
    assert isinstance(predictor, FlowDurationPredictor)
    first, second, area = square(9, 181)
    normal = -0.5 * (first**2 + second**2) - math.log(2 * math.pi)
    condition, keep = one_phone(predictor, len(first))
    by_flow = predictor.log_density(first, second, condition, keep)
    noise = torch.stack(predictor.posterior.inverse(first, second, condition, keep), dim=1)
    z, v, by_posterior = predictor.draw(noise, condition, keep)
    torch.testing.assert_close(torch.stack((z, v)), torch.stack((first, second)), atol=1e-3, rtol=0)
    for log_density in (by_flow, by_posterior):
        assert float(log_density.double().exp().sum()) * area == pytest.approx(1, abs=1e-3)
        assert float((log_density - normal).exp().std()) > 0.3


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 3])
def test_the_loss_bounds_the_likelihood_of_a_duration(flow_predictor, frames):
    """The mean of exp(-loss) over the posterior's draws is the mass that the main flow puts where
    w - 1 < exp(x) < w, whatever the posterior is; the mean loss is no less than its -ln."""
    hidden, mask, voice, _ = text([1], 1)
    first, second, area = square(6, 161)
    count = len(first)
    weight = (-0.5 * (first**2 + second**2)[:, 0]).exp().double() * area / (2 * math.pi)
    loss = flow_predictor.loss(
        hidden.expand(count, -1, -1),
        mask.expand(count, -1, -1),
        voice.expand(count, -1),
        torch.full((count, 1), float(frames)),
        torch.stack((first, second), dim=1),
    ).double()
    likelihood = float((weight * (-loss).exp()).sum())
    low, high, points = (math.log(frames - 1) if frames > 1 else -14.0), math.log(frames), 101
    x = low + (high - low) * (torch.arange(points) + 0.5) / points
    v = torch.linspace(-10, 10, 241)
    grid = [axis.reshape(-1, 1) for axis in torch.meshgrid(x, v, indexing="ij")]
    condition = flow_predictor._condition(hidden, mask.transpose(1, 2), voice)
    density = flow_predictor.log_density(
        *grid, condition.expand(len(grid[0]), -1, -1), torch.ones(len(grid[0]), 1, 1)
    )
    mass = float(density.double().exp().sum()) * float(v[1] - v[0]) * (high - low) / points
    assert likelihood == pytest.approx(mass, rel=0.02)
    assert float((weight * loss).sum()) > -math.log(mass)


@torch.no_grad()
def test_sampling_undoes_the_main_flow(flow_predictor):
    hidden, mask, voice, _ = text([7, 4], 7)
    noise = torch.randn(2, 2, 7, generator=torch.Generator().manual_seed(2))
    keep = mask.transpose(1, 2)
    condition = flow_predictor._condition(hidden, keep, voice)
    x, v = flow_predictor.flow.inverse(noise[:, 0], noise[:, 1], condition, keep)
    first, second, _ = flow_predictor.flow(x, v, condition, keep)
    torch.testing.assert_close(torch.stack((first, second), 1), noise, atol=1e-3, rtol=0)
    sampled = flow_predictor.sample(hidden, mask, voice, noise)
    torch.testing.assert_close(sampled, x * mask[:, 0])
    assert (sampled[1, 4:] == 0).all() and sampled[0].std() > 0


@torch.no_grad()
@pytest.mark.parametrize("couplings", [1, 2, 3])
def test_the_short_inverse_is_the_long_ones_first_number(couplings):
    flow = shaken(PairFlow(HIDDEN, 3, couplings, 5, 5.0))
    values = torch.randn(2, 3, 4)
    condition, keep = torch.randn(3, 4, HIDDEN), torch.ones(3, 4, 1)
    short, _ = flow.inverse(*values, condition, keep, first_only=True)
    torch.testing.assert_close(short, flow.inverse(*values, condition, keep)[0])


def test_the_flows_determinant_is_autograds(flow_predictor):
    condition, keep = one_phone(flow_predictor, 1)
    for point in torch.randn(5, 2, generator=torch.Generator().manual_seed(3)):
        jacobian = torch.autograd.functional.jacobian(
            lambda p: torch.stack(
                flow_predictor.flow(p[0].view(1, 1), p[1].view(1, 1), condition, keep)[:2]
            ).view(2),
            point,
        )
        log_det = flow_predictor.flow(point[0].view(1, 1), point[1].view(1, 1), condition, keep)[2]
        assert float(log_det.detach()) == pytest.approx(
            float(torch.linalg.slogdet(jacobian)[1]), abs=1e-3
        )


@torch.no_grad()
def test_padding_never_reaches_the_flow_predictor(flow_predictor):
    hidden, mask, voice, durations = text([9, 3, 6], 9)
    noise = torch.randn(3, 2, 9, generator=torch.Generator().manual_seed(2))
    loss = flow_predictor.loss(hidden, mask, voice, durations, noise)
    sampled = flow_predictor.sample(hidden, mask, voice, noise)
    for row, n in enumerate([9, 3, 6]):
        here = slice(row, row + 1)
        alone = (hidden[here, :, :n], mask[here, :, :n], voice[here])
        torch.testing.assert_close(
            flow_predictor.loss(*alone, durations[here, :n], noise[here, :, :n]),
            loss[here],
            atol=1e-5,
            rtol=1e-5,
        )
        torch.testing.assert_close(
            flow_predictor.sample(*alone, noise[here, :, :n]),
            sampled[here, :n],
            atol=1e-5,
            rtol=1e-5,
        )


def test_no_gradient_goes_to_the_hidden_text_and_one_to_every_weight(flow_predictor):
    hidden, mask, voice, durations = text([4, 2], 4)
    hidden.requires_grad_()
    voice.requires_grad_()
    flow_predictor.loss(hidden, mask, voice, durations).sum().backward()
    assert hidden.grad is None and voice.grad is not None
    for name, parameter in flow_predictor.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@torch.no_grad()
def test_likelihoods_stay_in_single_precision_under_autocast(flow_predictor):
    hidden, mask, voice, durations = text([4, 2], 4)
    noise = torch.randn(2, 2, 4, generator=torch.Generator().manual_seed(2))
    exact = flow_predictor.loss(hidden, mask, voice, durations, noise)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = flow_predictor.loss(hidden, mask, voice, durations, noise)
        sampled = flow_predictor.sample(hidden, mask, voice, noise)
    assert rough.dtype == torch.float32 and sampled.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.1, atol=1.0)


# --- the adversarial predictor and its critic ---


def test_the_adversarial_predictor_and_its_critic_have_their_sizes():
    predictor = AdversarialDurationPredictor(192, 256, 256)
    # The published deterministic predictor, and a projection of the noise: weight and bias of 192.
    assert sum(p.numel() for p in predictor.parameters()) == 395_201 + 2 * 192
    critic = DurationCritic(192)
    assert sum(p.numel() for p in critic.parameters()) == pytest.approx(600_000, rel=0.1)


def test_the_adversarial_predictor_hears_noise_and_voice_but_not_padding():
    predictor = shaken(AdversarialDurationPredictor(HIDDEN, SPEAKER, 8))
    hidden, mask, voice, _ = text([9, 3, 6], 9)
    hidden.requires_grad_()
    noise = torch.randn(3, 1, 9, generator=torch.Generator().manual_seed(2))
    out = predictor(hidden, mask, voice, noise)
    for row, n in enumerate([9, 3, 6]):
        here = slice(row, row + 1)
        alone = predictor(hidden[here, :, :n], mask[here, :, :n], voice[here], noise[here, :, :n])
        torch.testing.assert_close(alone, out[here, :n], atol=1e-5, rtol=1e-5)
        assert (out[row, n:] == 0).all()
    assert not torch.allclose(predictor(hidden, mask, voice, -noise), out)
    assert not torch.allclose(predictor(hidden, mask, -voice, noise), out)
    out.sum().backward()
    assert hidden.grad is None
    assert all(p.grad.abs().sum() > 0 for p in predictor.parameters())


def test_the_critics_losses_are_least_squares_of_its_scores_over_real_phones():
    critic = shaken(DurationCritic(HIDDEN, 8))
    hidden, mask, _, durations = text([5, 3], 5)
    real, fake = durations.clamp_min(1).log(), torch.randn(2, 5)
    (critic_loss,), (model_loss,) = (d.values() for d in critic(hidden, mask, real, fake))
    of_real, of_fake = (critic.scores(hidden, mask, x)[mask[:, 0] > 0] for x in (real, fake))
    expected = ((of_real - 1) ** 2).mean() + (of_fake**2).mean()
    torch.testing.assert_close(critic_loss, expected)
    torch.testing.assert_close(model_loss, ((of_fake - 1) ** 2).mean())


def test_the_critic_judges_every_phone_by_its_text_and_ignores_padding():
    critic = shaken(DurationCritic(HIDDEN, 8))
    hidden, mask, _, _ = text([9, 3], 9)
    log_durations = torch.randn(2, 9)
    scores = critic.scores(hidden, mask, log_durations)
    assert scores.shape == (2, 9)
    alone = critic.scores(hidden[1:, :, :3], mask[1:, :, :3], log_durations[1:, :3])
    torch.testing.assert_close(alone, scores[1:, :3], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(critic.scores(-hidden, mask, log_durations), scores)
    losses = critic(hidden[1:], mask[1:], log_durations[1:], -log_durations[1:])
    short = critic(
        hidden[1:, :, :3], mask[1:, :, :3], log_durations[1:, :3], -log_durations[1:, :3]
    )
    for padded, lone in zip(losses, short, strict=True):
        torch.testing.assert_close(padded, lone)


def test_one_evaluation_trains_either_side():
    critic = DurationCritic(HIDDEN, 8)
    hidden, mask, _, _ = text([5, 3], 5)
    hidden.requires_grad_()
    fake = torch.randn(2, 5, requires_grad=True)
    of_critic, of_model = critic(hidden, mask, torch.randn(2, 5), fake)
    weights = list(critic.parameters())
    of_critic["duration_critic"].backward(inputs=weights, retain_graph=True)
    assert fake.grad is None and all(w.grad.abs().sum() > 0 for w in weights)
    before = [w.grad.clone() for w in weights]
    of_model["duration_adversarial"].backward(inputs=[fake])
    assert fake.grad.abs().sum() > 0 and hidden.grad is None
    assert (fake.grad[1, 3:] == 0).all()
    assert all(torch.equal(w.grad, b) for w, b in zip(weights, before, strict=True))


def test_a_critic_learns_to_tell_durations_and_the_predictor_to_mislead_it():
    torch.manual_seed(0)
    critic = DurationCritic(HIDDEN, 8, dropout=0.0)
    hidden, mask, voice, durations = text([8] * 4, 8)
    real = durations.log()
    optimiser = torch.optim.Adam(critic.parameters(), 1e-2)
    fixed = torch.zeros(4, 8)
    first = critic(hidden, mask, real, fixed)[0]["duration_critic"].item()
    for _ in range(40):
        optimiser.zero_grad()
        loss = critic(hidden, mask, real, fixed)[0]["duration_critic"]
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.3 * first
    predictor = AdversarialDurationPredictor(HIDDEN, SPEAKER, 8, dropout=0.0)
    optimiser = torch.optim.Adam(predictor.parameters(), 1e-2)
    misled = []
    for _ in range(40):
        optimiser.zero_grad()
        fake = predictor(hidden, mask, voice, torch.randn(4, 1, 8))
        loss = critic(hidden, mask, real, fake)[1]["duration_adversarial"]
        loss.backward(inputs=list(predictor.parameters()))
        optimiser.step()
        misled.append(loss.item())
    assert misled[-1] < 0.7 * misled[0]
