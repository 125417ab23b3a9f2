"""One case table: every method at every site keeps its promises."""

from __future__ import annotations

import itertools

import pytest
import torch

from eele.backbones import build
from eele.backbones.base import Backbone, Batch
from eele.config.models import AudioConfig, BackboneConfig, FastSpeech2Config
from eele.errors import CheckpointError, ConfigError
from eele.peft import METHODS, method
from eele.peft.base import AdapterSpec
from eele.sites import SITES, backbone_sites

CONFIG = BackboneConfig(
    fastspeech2=FastSpeech2Config(
        hidden_size=16,
        encoder_layers=2,
        decoder_layers=2,
        filter_size=24,
        predictor_size=12,
        postnet_size=14,
        kernel_size=3,
    )
)
SITE_NAMES = tuple(site.name for site in SITES[CONFIG.name])
CASES = [
    ("lora", sites, rank)
    for count in (1, 4)
    for sites in itertools.combinations(SITE_NAMES, count)
    for rank in (1, 4)
] + [("full", (), 0)]


def model() -> Backbone:
    torch.manual_seed(0)
    return build(CONFIG, phones=11, speakers=3, audio=AudioConfig(mel_channels=20)).eval()


def batch(seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([7, 5])
    durations = torch.randint(1, 6, (2, 7), generator=generator)
    durations[1, 5:] = 0
    frames = durations.sum(1)
    keep = (torch.arange(7)[None] < lengths[:, None]).float()
    return Batch(
        phones=(torch.randint(1, 11, (2, 7), generator=generator) * keep).long(),
        phone_lengths=lengths,
        speakers=torch.tensor([0, 2]),
        durations=durations,
        pitch=torch.randn(2, 7, generator=generator) * keep,
        energy=torch.randn(2, 7, generator=generator) * keep,
        mel=torch.randn(2, int(frames.max()), 20, generator=generator),
        mel_lengths=frames,
    )


def speech(net: Backbone) -> torch.Tensor:
    b = batch()
    with torch.no_grad():
        return net.synthesise(b.phones, b.phone_lengths, b.speakers).mel


def teacher_forced(net: Backbone) -> torch.Tensor:
    with torch.no_grad():
        return torch.stack(list(net(batch()).losses.values()))


def train(net: Backbone, steps: int = 4) -> None:
    optimiser = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=0.02)
    for step in range(steps):
        optimiser.zero_grad()
        sum(net(batch(step)).losses.values()).backward()
        optimiser.step()


def spec(name: str, sites: tuple[str, ...], rank: int) -> AdapterSpec:
    return AdapterSpec(name, sites, rank, alpha=float(rank or 1))


@pytest.mark.parametrize(("name", "sites", "rank"), CASES)
class TestEveryMethodAtEverySite:
    def test_identity_at_start(self, name: str, sites: tuple[str, ...], rank: int) -> None:
        net = model()
        before = teacher_forced(net)
        method(name).attach(net, backbone_sites(CONFIG), spec(name, sites, rank))
        assert torch.equal(teacher_forced(net), before)

    def test_only_the_adapter_moves_and_only_inside_its_sites(
        self, name: str, sites: tuple[str, ...], rank: int
    ) -> None:
        net = model()
        inside = {m for site in sites for m in backbone_sites(CONFIG).modules(net, site)}
        before = {k: v.clone() for k, v in net.state_dict().items()}
        method(name).attach(net, backbone_sites(CONFIG), spec(name, sites, rank))
        started = {k: v.clone() for k, v in net.state_dict().items()}
        train(net)
        moved = {k for k, v in net.state_dict().items() if not torch.equal(v, started[k])}
        assert moved
        if name == "full":
            assert {k.split(".")[0] for k in moved} == {k.split(".")[0] for k in before}
            return
        for key in moved:
            assert ".lora_" in key
            assert key.split(".lora_")[0] in inside
        for key, value in before.items():
            wrapped = (
                key
                if key in net.state_dict()
                else key.rpartition(".")[0] + ".base_layer." + key.rpartition(".")[2]
            )
            assert torch.equal(net.state_dict()[wrapped], value)

    def test_count_equals_formula(self, name: str, sites: tuple[str, ...], rank: int) -> None:
        net = model()
        expected = method(name).formula(net, backbone_sites(CONFIG), spec(name, sites, rank))
        method(name).attach(net, backbone_sites(CONFIG), spec(name, sites, rank))
        assert sum(p.numel() for p in net.parameters() if p.requires_grad) == expected

    def test_save_and_load_agree(self, name: str, sites: tuple[str, ...], rank: int) -> None:
        net = model()
        how = method(name)
        how.attach(net, backbone_sites(CONFIG), spec(name, sites, rank))
        train(net)
        again = model()
        how.attach(again, backbone_sites(CONFIG), spec(name, sites, rank))
        how.load(again, how.state(net))
        assert torch.equal(teacher_forced(again), teacher_forced(net))

    def test_strength_zero_is_the_base_bit_for_bit(
        self, name: str, sites: tuple[str, ...], rank: int
    ) -> None:
        net = model()
        neutral = speech(net), teacher_forced(net)
        how = method(name)
        how.attach(net, backbone_sites(CONFIG), spec(name, sites, rank))
        train(net)
        tuned = teacher_forced(net)
        other = model()
        how.attach(other, backbone_sites(CONFIG), spec(name, sites, rank))
        how.load(other, how.state(net))
        how.scale(other, 0.0)
        assert torch.equal(speech(other), neutral[0])
        assert torch.equal(teacher_forced(other), neutral[1])
        how.scale(other, 1.0)
        assert torch.equal(teacher_forced(other), tuned)
        assert not torch.equal(tuned, neutral[1])
        how.scale(other, 0.5)
        assert not torch.equal(teacher_forced(other), tuned)

    def test_merge_is_exact(self, name: str, sites: tuple[str, ...], rank: int) -> None:
        net = model().double()
        how = method(name)
        how.attach(net, backbone_sites(CONFIG), spec(name, sites, rank))
        net.double()

        def outputs() -> torch.Tensor:
            b = batch()
            b = Batch(*(t.double() if t.is_floating_point() else t for t in b[:8]))
            with torch.no_grad():
                return torch.stack(list(net(b).losses.values()))

        optimiser = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=0.02)
        b = Batch(*(t.double() if t.is_floating_point() else t for t in batch()[:8]))
        for _ in range(3):
            optimiser.zero_grad()
            sum(net(b).losses.values()).backward()
            optimiser.step()
        before = outputs()
        how.merge(net)
        torch.testing.assert_close(outputs(), before, rtol=1e-9, atol=1e-9)


def test_two_adapters_side_by_side_add_up() -> None:
    how = method("lora")
    parts = {}
    for emotion, sites, rank in (("happy", ("decoder",), 2), ("sad", ("decoder", "duration"), 3)):
        net = model()
        torch.manual_seed(rank)
        how.attach(net, backbone_sites(CONFIG), spec("lora", sites, rank))
        train(net)
        parts[emotion] = (sites, rank, how.state(net))
    both = model()
    for emotion, (sites, rank, state) in parts.items():
        how.attach(both, backbone_sites(CONFIG), spec("lora", sites, rank), emotion)
        how.load(both, state, emotion)
    how.scale(both, 0.7, "happy")
    how.scale(both, 0.4, "sad")
    layer = both.get_submodule("mel_projection")
    base = model().get_submodule("mel_projection").weight
    expected = base.clone()
    for emotion, weight in (("happy", 0.7), ("sad", 0.4)):
        state = parts[emotion][2]
        expected += (
            weight * state["mel_projection.lora_B.weight"] @ state["mel_projection.lora_A.weight"]
        )
    x = torch.randn(5, 16)
    bias = layer.base_layer.bias
    torch.testing.assert_close(layer(x), x @ expected.T + bias, rtol=1e-4, atol=1e-5)
    how.scale(both, 0.0, "happy")
    how.scale(both, 0.0, "sad")
    assert torch.equal(speech(both), speech(model()))


def test_what_lora_leaves_alone_is_listed() -> None:
    attached = method("lora").attach(model(), backbone_sites(CONFIG), spec("lora", ("decoder",), 2))
    assert all(entry["type"] == "LayerNorm" for entry in attached.unwrappable)
    assert attached.unwrappable


def test_foreign_adapter_is_refused() -> None:
    how = method("lora")
    net = model()
    how.attach(net, backbone_sites(CONFIG), spec("lora", ("decoder",), 2))
    state = how.state(net)
    other = model()
    how.attach(other, backbone_sites(CONFIG), spec("lora", ("decoder",), 3))
    with pytest.raises(CheckpointError, match="shape"):
        how.load(other, state)
    third = model()
    how.attach(third, backbone_sites(CONFIG), spec("lora", ("duration",), 2))
    with pytest.raises(CheckpointError, match="does not fit"):
        how.load(third, state)


@pytest.mark.parametrize("other", ["lora", "bottleneck"])
def test_fully_tuned_weights_stand_alone(other: str) -> None:
    how, sites = method("full"), backbone_sites(CONFIG)
    state = how.state(model())
    net = model()
    method(other).attach(net, sites, spec(other, ("decoder",), 2))
    with pytest.raises(CheckpointError, match="into the plain neutral model, alone"):
        how.load(net, state)
    net = model()
    how.load(net, state)
    method(other).attach(net, sites, spec(other, ("decoder",), 2))
    with pytest.raises(ConfigError, match="into the plain neutral model, alone"):
        how.scale(net, 0.5)


def test_site_that_matches_the_wrong_number_of_modules_stops() -> None:
    net = model()
    net.decoder.blocks = net.decoder.blocks[:1]
    with pytest.raises(ConfigError, match="expected"):
        backbone_sites(CONFIG).modules(net, "decoder")
    with pytest.raises(ConfigError, match="unknown site 'flow'"):
        backbone_sites(CONFIG).modules(net, "flow")


def test_unknown_method_names_those_allowed() -> None:
    with pytest.raises(ConfigError, match=r"unknown method 'lore'; allowed: .*full, .*lora"):
        METHODS["lore"]
