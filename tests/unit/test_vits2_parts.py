"""VITS2's own layers: relative positions, flow, posterior, published sizes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from eele.backbones import weight_norm
from eele.backbones.vits2.attention import RelativeAttention, neighbours
from eele.backbones.vits2.flow import Flow
from eele.backbones.vits2.text_encoder import TextEncoder
from eele.backbones.vits2.wavenet import PosteriorEncoder
from eele.config.models import Vits2Config

TINY = Vits2Config(
    hidden_size=8,
    filter_size=12,
    encoder_layers=3,
    attention_window=2,
    speaker_size=5,
    posterior_layers=2,
    flow_couplings=2,
    flow_layers=2,
)
LENGTHS = torch.tensor([9, 4, 6])
MASK = torch.arange(9)[None] < LENGTHS[:, None]


def randomise(module: nn.Module) -> nn.Module:
    """Weights that start at zero hide mistakes."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("time", [1, 3, 7])
def test_neighbours_are_the_places_around_the_diagonal(time: int) -> None:
    window = 2
    square = torch.randn(2, 3, time, time + 2 * window)
    near = neighbours(square, window)
    for t in range(time):
        assert torch.equal(near[:, :, t], square[:, :, t, t : t + 2 * window + 1])


def test_attention_is_the_textbook_sum() -> None:
    attention = randomise(RelativeAttention(8, 2, 2, 0.0))
    x = torch.randn(1, 6, 8)
    out = attention(x, torch.ones(1, 6, dtype=torch.bool))
    query, key, value = attention.query(x)[0], attention.key(x)[0], attention.value(x)[0]
    heads = []
    for h in range(2):
        part = slice(4 * h, 4 * h + 4)
        rows = []
        for i in range(6):
            scores, values = [], []
            for j in range(6):
                near = abs(i - j) <= 2
                k = key[j, part] + (attention.relative_keys[j - i + 2] if near else 0)
                scores.append(query[i, part] @ k / math.sqrt(4))
                values.append(
                    value[j, part] + (attention.relative_values[j - i + 2] if near else 0)
                )
            weights = torch.softmax(torch.stack(scores), 0)
            rows.append((weights[:, None] * torch.stack(values)).sum(0))
        heads.append(torch.stack(rows))
    torch.testing.assert_close(out[0], attention.output(torch.cat(heads, 1)), rtol=1e-4, atol=1e-5)


def test_flow_inverts() -> None:
    flow = randomise(Flow(TINY))
    voice = torch.randn(3, 5)
    x = torch.randn(3, 9, 8) * MASK[:, :, None]
    there = flow(x, MASK, voice)
    assert (there - x).abs().max() > 0.1
    torch.testing.assert_close(flow(there, MASK, voice, inverse=True), x, rtol=1e-5, atol=1e-5)


def test_flow_preserves_volume_as_its_log_determinant_says() -> None:
    flow = randomise(Flow(TINY)).double()
    voice = torch.randn(1, 5, dtype=torch.float64)
    mask = torch.ones(1, 3, dtype=torch.bool)

    def flat(x: torch.Tensor) -> torch.Tensor:
        return flow(x.view(1, 3, 8), mask, voice).flatten()

    jacobian = torch.autograd.functional.jacobian(flat, torch.randn(24, dtype=torch.float64))
    assert torch.linalg.slogdet(jacobian)[1].item() == pytest.approx(0.0, abs=1e-9)
    assert not torch.allclose(jacobian.abs(), jacobian.abs().round())  # more than a permutation


def test_flow_starts_as_the_identity_up_to_order() -> None:
    flow = Flow(TINY).eval()
    x = torch.randn(3, 9, 8) * MASK[:, :, None]
    torch.testing.assert_close(flow(x, MASK, torch.randn(3, 5)), x)  # two reversals


def test_padding_never_leaks() -> None:
    voice = torch.randn(3, 5)
    phones = torch.randint(1, 6, (3, 9)) * MASK
    text = randomise(TextEncoder(TINY, 6))
    posterior = randomise(PosteriorEncoder(TINY, 7))
    flow = randomise(Flow(TINY))
    mel, latent = torch.randn(3, 9, 7), torch.randn(3, 9, 8)
    for row, length in enumerate(LENGTHS.tolist()):
        one, here = slice(row, row + 1), slice(0, length)
        alone = torch.ones(1, length, dtype=torch.bool)
        pairs = [
            (text(phones, MASK, voice), text(phones[one, here], alone, voice[one])),
            (posterior(mel, MASK, voice), posterior(mel[one, here], alone, voice[one])),
            (
                (flow(latent * MASK[:, :, None], MASK, voice),),
                (flow(latent[one, here], alone, voice[one]),),
            ),
        ]
        for together, lone in pairs:
            for a, b in zip(together, lone, strict=True):
                torch.testing.assert_close(a[one, here], b, rtol=1e-4, atol=1e-5)
                assert (a[row, length:] == 0).all()


def test_weight_norm_comes_and_goes_without_a_trace() -> None:
    flow = randomise(Flow(TINY))
    before = {key: value.clone() for key, value in flow.state_dict().items()}
    x, voice = torch.randn(3, 9, 8), torch.randn(3, 5)
    plain = flow(x, MASK, voice)
    weight_norm.normalise(flow)
    weight_norm.normalise(flow)  # a second time changes nothing
    assert parameters(flow) > sum(v.numel() for v in before.values())
    torch.testing.assert_close(flow(x, MASK, voice), plain)
    weight_norm.fold(flow)
    assert flow.state_dict().keys() == before.keys()
    for key, value in flow.state_dict().items():
        torch.testing.assert_close(value, before[key])


#: From the public VCTK configuration: 178 symbols, 80 mel bands, weight normalisation included.
@pytest.mark.parametrize(
    ("part", "published"),
    [
        (lambda: TextEncoder(Vits2Config(), 178), 6_302_016 + 74_112),
        (lambda: Flow(Vits2Config()), 10_766_208),
        (lambda: Flow(Vits2Config(flow_transformer_layers=0)), 8_687_232),
        (lambda: PosteriorEncoder(Vits2Config(), 80), 8_740_032),
    ],
)
def test_sizes_are_the_published_ones(part, published: int) -> None:
    module = part()
    weight_norm.normalise(module)
    assert parameters(module) == pytest.approx(published, rel=0.02)
