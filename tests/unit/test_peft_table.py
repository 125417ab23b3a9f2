"""Every method at every site of every backbone: it keeps its promises, or `refusal` says beforehand why not."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from test_peft_inserted import SIZES, config
from torch import Tensor, nn

from eele.backbones import build
from eele.backbones.base import Backbone
from eele.config.models import AudioConfig
from eele.errors import ConfigError
from eele.peft import METHODS, method, refusal
from eele.peft.base import AdapterSpec
from eele.sites import SITES, backbone_sites

PLACES = [(backbone, site.name) for backbone in SITES for site in SITES[backbone]]
CASES = [(of, *place) for of in METHODS for place in PLACES if refusal(of, *place) is None]


def model(backbone: str) -> Backbone:
    torch.manual_seed(0)
    net = build(config(backbone), phones=11, speakers=3, audio=AudioConfig(mel_channels=20)).eval()
    if backbone == "vits2":
        for coupling in net.flow.couplings:
            # A fresh flow is the identity, whatever its blocks do.
            nn.init.normal_(coupling.post.weight)
    return net


def heard(net: Backbone, backbone: str, site: str) -> list[Tensor]:
    """What every module of the site puts out while the model speaks, and the speech."""
    taken: list[Tensor] = []
    names = backbone_sites(config(backbone)).modules(net, site)
    hooks = [
        net.get_submodule(name).register_forward_hook(lambda _, __, out: taken.append(out))
        for name in names
        if not isinstance(net.get_submodule(name), nn.LayerNorm)
    ]
    wanting = [p for p in net.parameters() if p.requires_grad]
    # torch computes some products in another order for weights that want gradients.
    net.requires_grad_(False)
    torch.manual_seed(7)
    phones = torch.tensor([[1, 2, 3, 4, 5], [5, 4, 3, 0, 0]])
    with torch.no_grad():
        spoken = net.synthesise(phones, torch.tensor([5, 3]), torch.tensor([0, 2]))
    for hook in hooks:
        hook.remove()
    for parameter in wanting:
        parameter.requires_grad_(True)
    speech = spoken.mel if spoken.mel is not None else spoken.samples
    return [t for t in taken if isinstance(t, Tensor)] + [speech, spoken.durations]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


@cache
def plain(backbone: str, site: str) -> list[Tensor]:
    return heard(model(backbone), backbone, site)


@pytest.mark.parametrize(("of", "backbone", "site"), CASES)
def test_method_at_site(of: str, backbone: str, site: str) -> None:
    sites, how = backbone_sites(config(backbone)), method(of)
    spec = AdapterSpec(of, (site,), 0 if METHODS[of].size is None else 3, alpha=3.0)
    net = model(backbone)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    expected = how.formula(net, sites, spec)
    torch.manual_seed(1)
    attached = how.attach(net, sites, spec, "happy")
    assert attached.wrapped
    assert same(heard(net, backbone, site), plain(backbone, site)) == how.identity_at_start
    # As many weights as the formula says want gradients: the adapter's, and no others.
    own = how.parameters(net, "happy")
    assert {id(p) for p in net.parameters() if p.requires_grad} == {id(p) for p in own.values()}
    assert sum(p.numel() for p in own.values()) == expected
    with torch.no_grad():
        for parameter in own.values():
            parameter += 0.05 * torch.randn_like(parameter)
    after = {key.replace(".base_layer", ""): value for key, value in net.state_dict().items()}
    assert all(torch.equal(after[key], value) for key, value in before.items())
    tuned = heard(net, backbone, site)
    assert not same(tuned, plain(backbone, site))
    again = model(backbone)
    how.attach(again, sites, spec, "glad")
    how.load(again, how.state(net, "happy"), "glad")
    assert same(heard(again, backbone, site), tuned)
    how.scale(again, 0.0, "glad")
    assert same(heard(again, backbone, site), plain(backbone, site))
    if METHODS[of].needs != "weights":
        with pytest.raises(ConfigError, match="cannot merge"):
            how.merge(net)
        return
    how.merge(net)
    for one, other in zip(heard(net, backbone, site), tuned, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("of", "backbone", "site"),
    [(of, *place) for of in METHODS for place in PLACES if (of, *place) not in CASES],
)
def test_what_is_refused_beforehand_is_refused_on_the_model(
    of: str, backbone: str, site: str
) -> None:
    if METHODS[of].needs == "model":
        return
    net = model(backbone)
    with pytest.raises(ConfigError, match=f"{of} cannot be attached at site '{site}' of backbone"):
        method(of).attach(net, backbone_sites(config(backbone)), AdapterSpec(of, (site,), 2))
    assert net.state_dict().keys() == model(backbone).state_dict().keys()


def test_table_holds_every_method_and_site() -> None:
    assert {of for of, _, _ in CASES} | {"full", "voice"} == set(METHODS)
    assert {place[1:] for place in CASES} == set(PLACES)
    assert set(SIZES) == set(SITES)


#: SURE (arXiv 2303.03267): 24 layers of 1024 (inner 4096) in recognition, 10 layers of 256 in synthesis.
SURE = [
    ("bottleneck", 1024, 24, 512, 25_202_688),
    ("prefix", 1024, 24, 30, 1_474_560),
    ("conv_adapter", 1024, 24, 512, 3_403_776),
    ("bottleneck", 256, 10, 128, 659_200),
    ("prefix", 256, 10, 30, 153_600),
    ("conv_adapter", 256, 10, 128, 108_800),
]


@pytest.mark.parametrize(("of", "channels", "layers", "size", "count"), SURE)
def test_counts_of_sure(of: str, channels: int, layers: int, size: int, count: int) -> None:
    how, spec = method(of), AdapterSpec(of, (), size)
    assert layers * how.size(channels, spec) == count
    fresh = how.fresh(channels, spec)
    assert layers * sum(p.numel() for p in fresh.parameters()) == count


@pytest.mark.parametrize("channels", [8, 16, 24, 256])
def test_counts_of_conv_adapter_do_not_fall_with_its_size(channels: int) -> None:
    how = method("conv_adapter")
    counts = [how.size(channels, AdapterSpec("", (), size)) for size in range(1, 3 * channels)]
    assert counts == sorted(counts)
    for size in (1, 3, channels, 2 * channels + 1):
        fresh = how.fresh(channels, AdapterSpec("", (), size))
        assert sum(p.numel() for p in fresh.parameters()) == counts[size - 1]
