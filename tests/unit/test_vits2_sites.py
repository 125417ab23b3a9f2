"""The sites of VITS2: what they hold, LoRA weights at the published sizes, adapters at all of them."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from eele.backbones import build
from eele.config.models import AudioConfig, BackboneConfig
from eele.peft import method
from eele.peft.base import AdapterSpec
from eele.peft.lora import Lora, parameters_per_rank
from eele.sites import SITES, backbone_sites


def vits2(predictor: str) -> tuple[nn.Module, BackboneConfig]:
    """At the published sizes; weights without memory."""
    config = BackboneConfig.model_validate(
        {"name": "vits2", "vits2": {"duration_predictor": predictor}}
    )
    with torch.device("meta"):
        return build(config, phones=178, speakers=109, audio=AudioConfig()), config


@pytest.mark.parametrize("predictor", ["flow", "adversarial"])
def test_sites_of_vits2_hold_all_of_its_speaking_parts(predictor: str) -> None:
    model, config = vits2(predictor)
    found = {site.name: backbone_sites(config).modules(model, site.name) for site in SITES["vits2"]}
    counts = {"text_encoder": 57, "duration": 143, "flow": 80, "decoder": 79}
    if predictor == "adversarial":
        counts["duration"] = 7
    assert {site: len(modules) for site, modules in found.items()} == counts
    inside = {id(p) for modules in found.values() for m in modules.values() for p in m.parameters()}
    outside = {name.split(".")[0] for name, p in model.named_parameters() if id(p) not in inside}
    assert outside == {"speaker_embedding", "posterior"}


@pytest.mark.parametrize(
    ("changes", "site", "count"),
    [
        ({"encoder_layers": 4}, "text_encoder", 4 * 9 + 3),
        ({"flow_couplings": 2, "flow_layers": 3}, "flow", 2 * (9 + 2 + 7)),
        ({"flow_transformer_layers": 0}, "flow", 4 * (2 + 9)),
        ({"flow_transformer_layers": 2}, "flow", 4 * (2 + 18 + 9)),
        (
            {
                "decoder": {
                    "upsample_rates": (16, 16),
                    "upsample_kernels": (32, 32),
                    "resblock_kernels": (3, 5, 7, 9),
                    "resblock_dilations": (1, 2),
                }
            },
            "decoder",
            3 + 2 * (1 + 4 * 2 * 2),
        ),
    ],
)
def test_counts_of_vits2_follow_its_sizes(changes: dict, site: str, count: int) -> None:
    config = BackboneConfig.model_validate({"name": "vits2", "vits2": changes})
    with torch.device("meta"):
        model = build(config, phones=9, speakers=2, audio=AudioConfig())
    assert len(backbone_sites(config).modules(model, site)) == count


def test_lora_weights_per_rank_at_the_published_sizes() -> None:
    """By arithmetic on the layer sizes of VITS and HiFi-GAN V1: 37, 1, 68, 79 and 51 layers."""
    model, config = vits2("flow")
    found: dict[str, dict[str, nn.Module]] = {}
    refused: dict[str, list[str]] = {}
    for site in ("text_encoder", "flow", "decoder", "duration"):
        found[site], left = Lora().wrappable(model, backbone_sites(config), (site,))
        refused[site] = sorted(entry["reason"].split(" (")[0] for entry in left)
    parts = {site: list(modules.values()) for site, modules in found.items()}
    text = found["text_encoder"]
    embedding, projection = (text[f"text_encoder.{part}"] for part in ("embedding", "projection"))
    parts["text_encoder"] = [m for m in text.values() if m not in (embedding, projection)]
    parts["projection"] = [projection]
    per_rank = {name: sum(map(parameters_per_rank, modules)) for name, modules in parts.items()}
    assert per_rank == {
        "text_encoder": 32_704,
        "projection": 576,
        "flow": 54_784,
        "decoder": 85_505,
        "duration": 16_625,
    }
    assert {name: len(modules) for name, modules in parts.items()} == {
        "text_encoder": 37,
        "projection": 1,
        "flow": 68,
        "decoder": 79,
        "duration": 51,
    }
    assert parameters_per_rank(embedding) == 178 + 192
    assert refused["decoder"] == []
    assert refused["duration"].count("grouped convolution") == 30
    assert len(refused["duration"]) == 30 + 60 + 2


def small_vits2() -> tuple[nn.Module, BackboneConfig]:
    config = BackboneConfig.model_validate(
        {
            "name": "vits2",
            "vits2": {
                "hidden_size": 8,
                "filter_size": 12,
                "speaker_size": 4,
                "posterior_layers": 1,
                "duration_predictor": "flow",
                "decoder": {"initial_channels": 16},
            },
        }
    )
    torch.manual_seed(0)
    return build(config, phones=9, speakers=2, audio=AudioConfig()).eval(), config


def test_vits2_attaches_twice_at_every_site() -> None:
    """Attention holds weights and layers: adapters are seen through below it, too."""
    model, config = small_vits2()
    sites = tuple(site.name for site in SITES["vits2"])
    how = method("lora")
    twice = AdapterSpec("lora", sites, 2)
    count = how.formula(model, backbone_sites(config), twice)
    first = how.attach(model, backbone_sites(config), twice, "happy")
    second = how.attach(model, backbone_sites(config), twice, "sad")
    assert first == second
    assert len(first.wrapped) == 1 + 37 + 1 + 68 + 79 + 51
    assert {entry["type"] for entry in first.unwrappable} == {
        "Conv1d",
        "LayerNorm",
        "PairFlow",
        "RelativeAttention",
    }
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == count


def test_decoder_of_vits2_is_adapted_and_merged_once_its_weights_are_folded() -> None:
    model, config = small_vits2()
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(4)  # first weights so small give silence
    spec = AdapterSpec("lora", ("decoder",), 2, alpha=2.0)
    model.normalise_weights()
    attached = method("lora").attach(deepcopy(model), backbone_sites(config), spec)
    assert attached.wrapped == ["decoder.pre", "decoder.cond", "decoder.post"]
    assert len(attached.unwrappable) == 76
    assert all("weight-normalised" in left["reason"] for left in attached.unwrappable)
    model.fold_weights()
    assert len(method("lora").attach(model, backbone_sites(config), spec).wrapped) == 79
    latent, voice = torch.randn(1, 8, 6), torch.randn(1, 4)
    neutral = model.decoder(latent, voice).detach()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.02)
    for _ in range(3):
        optimiser.zero_grad()
        (model.decoder(latent, voice) - 0.5).square().mean().backward()
        optimiser.step()
    with torch.no_grad():
        tuned = model.decoder(latent, voice)
        assert (tuned - neutral).abs().max() > 0.1
        method("lora").merge(model)
        torch.testing.assert_close(model.decoder(latent, voice), tuned, rtol=1e-5, atol=1e-5)
