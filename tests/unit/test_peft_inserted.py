"""Bottlenecks, prompts and their combination on the synthesisers: where they attach, and where they are refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from eele.backbones import build
from eele.backbones.base import Backbone
from eele.backbones.layers import length_mask
from eele.config.models import AudioConfig, BackboneConfig
from eele.errors import ConfigError
from eele.peft import method
from eele.peft.base import AdapterSpec
from eele.sites import SITES, backbone_sites, width

SIZES = {
    "fastspeech2": {
        "hidden_size": 16,
        "encoder_layers": 2,
        "decoder_layers": 1,
        "filter_size": 24,
        "predictor_size": 12,
        "postnet_size": 14,
        "kernel_size": 3,
    },
    "vits2": {
        "hidden_size": 8,
        "filter_size": 12,
        "encoder_layers": 3,
        "flow_couplings": 2,
        "flow_layers": 1,
        "flow_transformer_layers": 2,
        "speaker_size": 4,
        "posterior_layers": 1,
        "decoder": {"initial_channels": 16},
    },
}
#: Backbone, site -> Transformer layers there, layers of predictors there.
TRANSFORMERS = {
    ("fastspeech2", "text_encoder"): 2,
    ("fastspeech2", "decoder"): 1,
    ("vits2", "text_encoder"): 3,
    ("vits2", "flow"): 4,
}
PREDICTORS = {
    ("fastspeech2", "duration"): 2,
    ("fastspeech2", "variance"): 4,
    ("vits2", "duration"): 2,
}
INSERTED = (
    "bottleneck",
    "parallel_bottleneck",
    "conv_adapter",
    "prompt",
    "prefix",
    "combined",
)
#: Those that stand behind the layers of predictors, too.
BEHIND = ("bottleneck", "conv_adapter")
CASES = [(*place, name) for place in TRANSFORMERS for name in INSERTED]
CASES += [(*place, name) for place in PREDICTORS for name in BEHIND]
LENGTHS = torch.tensor([9, 6])


def config(backbone: str, **sizes: object) -> BackboneConfig:
    values = {"name": backbone, backbone: {**SIZES[backbone], **sizes}}
    return BackboneConfig.model_validate(values)


def model(backbone: str) -> Backbone:
    torch.manual_seed(0)
    net = build(config(backbone), phones=11, speakers=3, audio=AudioConfig(mel_channels=20)).eval()
    net.requires_grad_(False)
    if backbone == "vits2":
        for coupling in net.flow.couplings:
            # A fresh flow is the identity, whatever its blocks do.
            nn.init.normal_(coupling.post.weight)
    return net


def through(net: Backbone, site: str, rows: slice = slice(None)) -> Tensor:
    """What `site` makes of two sequences of 9 and 6 positions (batch, time, channels)."""
    lengths = LENGTHS[rows]
    mask = length_mask(lengths, int(lengths.max()))
    size = net.config.hidden_size if net.name == "vits2" else 16
    x = torch.randn(2, 9, size, generator=torch.Generator().manual_seed(1))[rows, : mask.shape[1]]
    x = x * mask[:, :, None]
    voice = torch.ones(len(lengths), 4)
    if site == "flow":
        return net.flow(x, mask, voice)
    if site == "duration" and net.name == "vits2":
        x, row = x.transpose(1, 2), mask[:, None].to(x.dtype)
        return net.duration_predictor(x, row, voice, torch.ones_like(row))[:, :, None]
    if site in ("duration", "variance"):
        at = [net.duration_predictor] if site == "duration" else []
        at = at or [net.pitch_predictor, net.energy_predictor]
        return torch.stack([predictor(x, mask) for predictor in at], dim=2)
    if net.name == "vits2":
        phones = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8, 9], [9, 8, 7, 6, 5, 4, 0, 0, 0]])[rows]
        return net.text_encoder(phones[:, : mask.shape[1]], mask, voice)[0]
    return (net.encoder if site == "text_encoder" else net.decoder)(x, mask)


def spec(name: str, site: str, size: int = 3) -> AdapterSpec:
    return AdapterSpec(name, (site,), size, alpha=float(size))


def tuned(backbone: str, name: str, site: str) -> Backbone:
    net = model(backbone)
    method(name).attach(net, backbone_sites(config(backbone)), spec(name, site))
    optimiser = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=0.05)
    for _ in range(4):
        optimiser.zero_grad()
        (through(net, site) - 0.5).square().mean().backward()
        optimiser.step()
    return net


def output(net: Backbone, site: str, rows: slice = slice(None)) -> Tensor:
    """`through`, with all weights frozen: torch computes some products in another order for weights that
    want gradients."""
    wanting = [p for p in net.parameters() if p.requires_grad]
    net.requires_grad_(False)
    found = through(net, site, rows)
    for parameter in wanting:
        parameter.requires_grad_(True)
    return found


@pytest.mark.parametrize(("backbone", "site", "name"), CASES)
class TestWhereThereAreLayers:
    def test_count_identity_and_unplugging(self, backbone: str, site: str, name: str) -> None:
        net, sites = model(backbone), backbone_sites(config(backbone))
        how = method(name)
        plain = output(net, site)
        before = {key: value.clone() for key, value in net.state_dict().items()}
        expected = how.formula(net, sites, spec(name, site))
        torch.manual_seed(1)
        how.attach(net, sites, spec(name, site))
        assert torch.equal(output(net, site), plain) == how.identity_at_start
        assert sum(p.numel() for p in net.parameters() if p.requires_grad) == expected
        net = tuned(backbone, name, site)
        assert (output(net, site) - plain).abs().max() > 1e-2
        after = {key.replace(".base_layer", ""): v for key, v in net.state_dict().items()}
        assert all(torch.equal(after[key], value) for key, value in before.items())
        how.scale(net, 0.0)
        assert torch.equal(output(net, site), plain)

    def test_padding_does_not_leak(self, backbone: str, site: str, name: str) -> None:
        net = tuned(backbone, name, site)
        together, lone = output(net, site), output(net, site, slice(1, 2))
        torch.testing.assert_close(together[1:, :6], lone, rtol=1e-4, atol=1e-5)
        assert float(together[1, 6:].abs().max()) == 0

    def test_second_adapter_attaches_beside_it(self, backbone: str, site: str, name: str) -> None:
        net, sites = tuned(backbone, name, site), backbone_sites(config(backbone))
        plain = sites.modules(model(backbone), site).keys()
        assert sites.modules(net, site).keys() == plain
        before = output(net, site)
        method(name).attach(net, sites, spec(name, site), "sad")
        method("lora").attach(net, sites, spec("lora", site), "happy")
        method(name).scale(net, 0.0, "sad")
        assert torch.equal(output(net, site), before)


@pytest.mark.parametrize(
    ("backbone", "site", "name"),
    [
        (backbone, site.name, name)
        for backbone in SITES
        for site in SITES[backbone]
        for name in INSERTED
        if (backbone, site.name, name) not in CASES
    ],
)
def test_site_without_such_layers_is_refused_by_name(backbone: str, site: str, name: str) -> None:
    why = "not part of the site" if (backbone, site) in PREDICTORS else "the site has none"
    reason = f"{name} cannot be attached at site '{site}' of backbone {backbone}: .* {why}"
    for sites in ((site,), ("text_encoder", site)):
        with pytest.raises(ConfigError, match=reason):
            method(name).attach(
                model(backbone), backbone_sites(config(backbone)), AdapterSpec(name, sites, 2)
            )


def test_flow_without_its_transformer_is_refused() -> None:
    bare = config("vits2", flow_transformer_layers=0)
    net = build(bare, phones=11, speakers=3, audio=AudioConfig(mel_channels=20))
    with pytest.raises(ConfigError, match="site 'flow' of backbone vits2"):
        method("prompt").attach(net, backbone_sites(bare), spec("prompt", "flow"))


def test_predictor_that_is_a_flow_is_refused() -> None:
    flow = config("vits2", duration_predictor="flow")
    net = build(flow, phones=11, speakers=3, audio=AudioConfig(mel_channels=20))
    with pytest.raises(ConfigError, match=r"site 'duration' of backbone vits2: .* has none"):
        method("bottleneck").attach(net, backbone_sites(flow), spec("bottleneck", "duration"))


def test_blocks_name_modules_of_the_model() -> None:
    for (backbone, site), count in TRANSFORMERS.items():
        net, sites = model(backbone), backbone_sites(config(backbone))
        blocks = sites.blocks(net, site)
        assert len(blocks) == count
        for block in blocks:
            assert block.attention is not None
            for name in (block.expand, block.contract, block.told, block.attention.key):
                assert name.startswith(f"{block.name}.")
                net.get_submodule(name)
            assert (block.attention.norm is None) == (backbone == "vits2")
            assert width(net, block) == SIZES[backbone]["hidden_size"]


def test_blocks_of_predictors_are_a_convolution_and_its_norm() -> None:
    for (backbone, site), count in PREDICTORS.items():
        net, sites = model(backbone), backbone_sites(config(backbone))
        blocks = sites.blocks(net, site)
        assert len(blocks) == count
        for block in blocks:
            assert block.attention is None
            assert block.name.startswith(f"{block.told}.")
            assert isinstance(net.get_submodule(f"{block.expand}.conv"), nn.Conv1d)
            norm = net.get_submodule(block.contract)
            assert isinstance(norm, nn.LayerNorm)
            assert width(net, block) == norm.normalized_shape[0]


def test_flow_is_undone_with_adapters_in_it() -> None:
    for name in INSERTED:
        net = tuned("vits2", name, "flow")
        mask, voice = length_mask(LENGTHS, 9), torch.ones(2, 4)
        x = torch.randn(2, 9, 8) * mask[:, :, None]
        with torch.no_grad():
            back = net.flow(net.flow(x, mask, voice), mask, voice, inverse=True)
        torch.testing.assert_close(back, x, rtol=1e-4, atol=1e-4)
