"""What is known of methods and sites without torch agrees with the models."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError
from test_peft_inserted import config
from torch import nn

from eele.backbones import build
from eele.config.models import AudioConfig
from eele.config.recognition import MethodConfig, SmallEncoderConfig
from eele.errors import ConfigError
from eele.peft import METHODS, refusal
from eele.ser.sites import encoder_sites
from eele.ser.small import SmallEncoder
from eele.sites import ENCODER_SITES, SITES, backbone_sites, holds

KINDS = {
    nn.Linear: "linear",
    nn.Conv1d: "convolution",
    nn.ConvTranspose1d: "transposed convolution",
    nn.Embedding: "embedding",
}


@pytest.mark.parametrize("backbone", SITES)
def test_sites_hold_the_kinds_of_layers_they_say(backbone: str) -> None:
    net = build(config(backbone), phones=11, speakers=3, audio=AudioConfig(mel_channels=20))
    sites = backbone_sites(config(backbone))
    for site in sites.names:
        title, kinds, parts = holds(backbone, site)
        modules = sites.modules(net, site).values()
        assert {KINDS[type(m)] for m in modules if type(m) in KINDS} == set(kinds)
        assert {part for block in sites.blocks(net, site) for part in block.parts} == set(parts)
        assert title == sites.name


def test_sites_of_encoders_hold_what_they_say() -> None:
    net = SmallEncoder(SmallEncoderConfig(hidden_size=16, layers=2, heads=2, feed_forward_size=24))
    sites = encoder_sites(net)
    assert set(sites.names) == set(ENCODER_SITES)
    for site in sites.names:
        _, kinds, parts = holds("encoder", site)
        assert kinds == ("linear",)
        assert {type(m) for m in sites.modules(net, site).values()} == {nn.Linear}
        assert {part for block in sites.blocks(net, site) for part in block.parts} == set(parts)


def test_refusals_say_why() -> None:
    assert refusal("lora", "vits2", "decoder") is None
    assert refusal("bottleneck", "vits2", "duration") is None
    assert refusal("bottleneck", "vits2", "decoder") == (
        "bottleneck cannot be attached at site 'decoder' of backbone vits2: it adapts layers of Transformers "
        "and of predictors, and the site has none"
    )
    assert refusal("prefix", "vits2", "duration") == (
        "prefix cannot be attached at site 'duration' of backbone vits2: it acts on the attention, which is "
        "not part of the site"
    )
    assert refusal("prompt", "encoder", "feed_forward") == (
        "prompt cannot be attached at site 'feed_forward' of encoder: it acts on the attention, which is "
        "not part of the site"
    )
    assert "takes no sites" in (refusal("full", "fastspeech2", "decoder") or "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lore", "vits2", "flow"), "unknown method 'lore'; allowed: .*lora"),
        (("lora", "vits3", "flow"), "unknown model 'vits3'; allowed: fastspeech2, vits2, encoder"),
        (
            ("lora", "vits2", "variance"),
            "unknown site 'variance' of backbone vits2; allowed: text_",
        ),
    ],
)
def test_unknown_names_are_refused_with_those_allowed(
    arguments: tuple[str, str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        refusal(*arguments)


def test_refusing_needs_no_torch() -> None:
    code = "import sys; from eele.peft import METHODS, refusal\n"
    code += (
        "for name in METHODS: refusal(name, 'vits2', 'flow'); refusal(name, 'encoder', 'layers')\n"
    )
    code += "assert not {'torch', 'peft', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("site", ENCODER_SITES)
def test_config_refuses_a_pair_that_cannot_be_attached(name: str, site: str) -> None:
    entry = METHODS[name]
    size = None if entry.size is None else 2
    if entry.needs == "model":
        with pytest.raises(ValidationError, match=f"method {name} takes no sites and no size"):
            MethodConfig.model_validate({"method": name, "sites": (site,), "size": 2})
    elif (reason := refusal(name, "encoder", site)) is not None:
        with pytest.raises(ValidationError, match=reason):
            MethodConfig.model_validate({"method": name, "sites": (site,), "size": size})
    else:
        MethodConfig.model_validate({"method": name, "sites": (site,), "size": size})
        wrong = {"size": 2} if size is None else {}
        with pytest.raises(ValidationError, match=f"method {name} (needs|takes no) .*size"):
            MethodConfig.model_validate({"method": name, "sites": (site,), **wrong})


def test_config_refuses_an_unknown_method() -> None:
    with pytest.raises(ValidationError, match=r"unknown method 'lore'; allowed: head, .*lora"):
        MethodConfig.model_validate({"method": "lore", "sites": ("layers",), "size": 2})
