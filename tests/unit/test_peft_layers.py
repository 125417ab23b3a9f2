"""One table: every method of `peft` on every layer type and setting keeps its promises."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from eele.backbones import weight_norm
from eele.config.models import BackboneConfig
from eele.errors import ConfigError
from eele.peft import METHODS, method
from eele.peft.base import AdapterSpec
from eele.peft.changes import Changes
from eele.peft.lora import Lora, parameters_per_rank
from eele.peft.tuner import kind
from eele.sites import SITES, Site, backbone_sites

CONFIG = BackboneConfig()
RANK = 3
#: Name -> layer, its inputs (times kernel; entries of an embedding), its outputs.
LAYERS = {
    "linear": (lambda: nn.Linear(6, 5), 6, 5),
    "linear, no bias": (lambda: nn.Linear(6, 5, bias=False), 6, 5),
    "embedding": (lambda: nn.Embedding(9, 5), 9, 5),
    "embedding, padded": (lambda: nn.Embedding(9, 5, padding_idx=0), 9, 5),
    "conv": (lambda: nn.Conv1d(6, 5, 3), 6 * 3, 5),
    "conv, 1x1": (lambda: nn.Conv1d(6, 5, 1), 6, 5),
    "conv, padded": (lambda: nn.Conv1d(6, 5, 7, padding=3, bias=False), 6 * 7, 5),
    "conv, strided": (lambda: nn.Conv1d(6, 5, 5, stride=3, padding=2), 6 * 5, 5),
    "conv, reflecting": (lambda: nn.Conv1d(6, 5, 5, padding=2, padding_mode="reflect"), 6 * 5, 5),
    "conv, dilated": (lambda: nn.Conv1d(6, 5, 3, dilation=5, padding=5), 6 * 3, 5),
    "conv, dilated, no padding": (lambda: nn.Conv1d(6, 5, 3, dilation=3), 6 * 3, 5),
    "conv, dilated, 'same'": (lambda: nn.Conv1d(6, 5, 4, dilation=3, padding="same"), 6 * 4, 5),
    "conv, dilated, circular": (
        lambda: nn.Conv1d(6, 5, 3, dilation=2, padding=2, padding_mode="circular"),
        6 * 3,
        5,
    ),
    "conv, dilated and strided": (
        lambda: nn.Conv1d(6, 5, 3, stride=2, dilation=3, padding=3),
        6 * 3,
        5,
    ),
    "transposed": (lambda: nn.ConvTranspose1d(6, 5, 3), 6 * 3, 5),
    "transposed, by 8": (lambda: nn.ConvTranspose1d(6, 5, 16, stride=8, padding=4), 6 * 16, 5),
    "transposed, by 2": (lambda: nn.ConvTranspose1d(6, 5, 4, stride=2, padding=1), 6 * 4, 5),
    "transposed, output padding": (
        lambda: nn.ConvTranspose1d(6, 5, 5, stride=3, padding=1, output_padding=2, bias=False),
        6 * 5,
        5,
    ),
    "transposed, dilated": (
        lambda: nn.ConvTranspose1d(6, 5, 3, stride=2, padding=2, dilation=3),
        6 * 3,
        5,
    ),
}


#: Method -> weights of its adapter by hand, from inputs and outputs.
COUNTS: dict[str, Callable[[int, int], int]] = {
    "lora": lambda inputs, outputs: RANK * (inputs + outputs),
    "rslora": lambda inputs, outputs: RANK * (inputs + outputs),
    "dora": lambda inputs, outputs: RANK * (inputs + outputs) + outputs,
    "loha": lambda inputs, outputs: 2 * RANK * (inputs + outputs),
    "ia3": lambda inputs, outputs: outputs,
    "vera": lambda inputs, outputs: RANK + outputs,
}
_PADDED = "convolution padded in mode '.*': peft's loha pads with zeros"


def left_alone(of: str, name: str) -> str | None:
    """The reason for which method `of` does not adapt layer `name`, as a pattern; None where it does."""
    layer = LAYERS[name][0]()
    if kind(layer) not in METHODS[of].kinds:
        return f"{type(layer).__name__}: not a kind of layer that {of} adapts"
    return _PADDED if of == "loha" and getattr(layer, "padding_mode", "zeros") != "zeros" else None


CASES = [(of, name) for of in COUNTS for name in LAYERS if left_alone(of, name) is None]


class Model(nn.Module):
    """One layer as a site, between weights that do not belong to it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer: nn.Module = LAYERS[name][0]() if name in LAYERS else nn.Identity()
        self.before = nn.Parameter(torch.ones(6, 1))
        self.after = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        scaled = x * self.before if x.ndim == 3 else x if x.dtype == torch.int64 else x * 1.5
        return self.after(self.layer(scaled))


def inputs(model: Model, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    layer = model.layer.get_base_layer() if hasattr(model.layer, "get_base_layer") else model.layer
    if isinstance(layer, nn.Embedding):
        return torch.randint(0, 9, (2, 7), generator=generator)
    if isinstance(layer, nn.Linear):
        return torch.randn(2, 7, 6, generator=generator).transpose(1, 2).reshape(14, 6)
    return torch.randn(2, 6, 17, generator=generator)


def output(model: Model) -> Tensor:
    with torch.no_grad():
        return model(inputs(model))


def spec(of: str = "lora", rank: int = RANK, alpha: float = 6.0) -> AdapterSpec:
    return AdapterSpec(of, ("only",), rank, alpha=alpha)


def adapted(
    of: str, name: str, adapter: str = "adapter", steps: int = 5, rank: int = RANK
) -> Model:
    model = Model(name)
    torch.manual_seed(rank)
    method(of).attach(model, backbone_sites(CONFIG), spec(of, rank), adapter)
    train(model, steps)
    return model


def train(model: Model, steps: int) -> None:
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for step in range(steps):
        optimiser.zero_grad()
        (model(inputs(model, step)) - 1).square().mean().backward()
        optimiser.step()


@pytest.fixture(autouse=True)
def _site(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model's layer is the site `only`."""
    monkeypatch.setitem(SITES, CONFIG.name, (Site("only", "layer", lambda sizes: 1),))


def changes(of: str, name: str, rank: int) -> tuple[Model, list[Tensor]]:
    """A trained adapter, and what it changes of the layer's weight and bias."""
    model, plain = adapted(of, name, rank=rank), Model(name).layer
    trained = deepcopy(model)
    method(of).merge(trained)
    base = trained.layer.get_base_layer()
    with torch.no_grad():
        return model, [getattr(base, key) - p for key, p in plain.named_parameters()]


def altered(name: str, parts: list[tuple[float, list[Tensor]]]) -> Model:
    """The plain layer with a sum of changes of its weight and bias."""
    model = Model(name)
    with torch.no_grad():
        for strength, change in parts:
            for parameter, by in zip(model.layer.parameters(), change, strict=True):
                parameter += strength * by
    return model


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize(("of", "name"), CASES)
class TestEveryMethodOnEveryLayer:
    def test_identity_at_start(self, of: str, name: str) -> None:
        assert torch.equal(output(adapted(of, name, steps=0)), output(Model(name)))

    def test_only_the_adapter_gets_a_gradient_and_moves_the_output(
        self, of: str, name: str
    ) -> None:
        model = adapted(of, name)
        reached = {id(p) for p in model.parameters() if p.grad is not None}
        assert reached == {id(p) for p in method(of).parameters(model).values()}
        for key, value in Model(name).state_dict().items():
            now = model.state_dict()
            moved = key.replace("layer.", "layer.base_layer.")
            assert torch.equal(now[moved], value)
        assert (output(model) - output(Model(name))).abs().max() > 0.02

    def test_merged_equals_unmerged_and_comes_apart_again(self, of: str, name: str) -> None:
        model = adapted(of, name)
        plain, before = Model(name).layer.weight, output(model)
        method(of).merge(model)
        merged = model.layer.get_base_layer().weight
        assert (merged - plain).abs().max() > 0.01
        torch.testing.assert_close(output(model), before, rtol=1e-5, atol=1e-5)
        model.layer.unmerge()
        torch.testing.assert_close(merged, plain, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(output(model), before, rtol=1e-5, atol=1e-5)

    def test_merged_weight_alone_is_the_adapted_layer(self, of: str, name: str) -> None:
        """The base layer, taken out of everything after merging."""
        model = adapted(of, name)
        before = output(model)
        method(of).merge(model)
        bare = Model(name)
        bare.layer.load_state_dict(model.layer.get_base_layer().state_dict())
        torch.testing.assert_close(output(bare), before, rtol=1e-5, atol=1e-5)

    def test_strength_zero_and_switching_off_give_the_base_bit_for_bit(
        self, of: str, name: str
    ) -> None:
        model, base = adapted(of, name), output(Model(name))
        tuned = output(model)
        method(of).scale(model, 0.0)
        assert torch.equal(output(model), base)
        method(of).scale(model, 1.0)
        assert torch.equal(output(model), tuned)
        model.layer.enable_adapters(False)
        assert torch.equal(output(model), base)

    def test_save_and_load_agree(self, of: str, name: str, tmp_path: Path) -> None:
        model = adapted(of, name)
        save_file(method(of).state(model), tmp_path / "adapter.safetensors")
        again = adapted(of, name, steps=0)
        method(of).load(again, load_file(tmp_path / "adapter.safetensors"))
        assert torch.equal(output(again), output(model))

    def test_count_equals_formula(self, of: str, name: str) -> None:
        model, expected = Model(name), COUNTS[of](*LAYERS[name][1:])
        if of == "lora":
            assert RANK * parameters_per_rank(model.layer) == expected
        assert method(of).formula(model, backbone_sites(CONFIG), spec(of)) == expected
        model = adapted(of, name, steps=0)
        assert sum(p.numel() for p in model.parameters() if p.requires_grad) == expected

    def test_two_adapters_side_by_side_add_up(self, of: str, name: str) -> None:
        """Of different ranks, and whatever the base is: the sum of both changes of its weight."""
        both, how, parts = Model(name), method(of), []
        for adapter, rank, strength in (("happy", 2, 0.7), ("sad", 4, 0.4)):
            alone, change = changes(of, name, rank)
            how.attach(both, backbone_sites(CONFIG), spec(of, rank), adapter)
            how.load(both, how.state(alone), adapter)
            how.scale(both, strength, adapter)
            parts.append((strength, change))
        expected = output(altered(name, parts))
        torch.testing.assert_close(output(both), expected, rtol=1e-5, atol=1e-5)
        if isinstance(both.layer, Changes):
            # What WavLM's attention would read.
            layer = altered(name, parts).layer
            torch.testing.assert_close(both.layer.weight, layer.weight, rtol=1e-5, atol=1e-5)
        merged = deepcopy(both)
        how.merge(merged)
        torch.testing.assert_close(output(merged), expected, rtol=1e-5, atol=1e-5)
        how.scale(both, 0.0, "happy")
        how.scale(both, 0.0, "sad")
        assert torch.equal(output(both), output(Model(name)))

    def test_copy_is_a_model_of_its_own(self, of: str, name: str) -> None:
        model = adapted(of, name)
        before = output(model)
        copied = deepcopy(model)
        assert torch.equal(output(copied), before)
        train(copied, 2)
        assert torch.equal(output(model), before)
        assert not torch.equal(output(copied), before)

    def test_dropout_acts_in_training_alone(self, of: str, name: str) -> None:
        model = Model(name)
        with_dropout = AdapterSpec(of, ("only",), RANK, dropout=0.5)
        method(of).attach(model, backbone_sites(CONFIG), with_dropout)
        train(model, 5)
        still = output(model.eval())
        assert torch.equal(output(model), still)
        # peft has no dropout for embeddings, nor for the factors of ia3; loha's is not used.
        without = name.startswith("embedding") or of in ("loha", "ia3")
        assert torch.equal(output(model.train()), still) == without


@pytest.mark.parametrize(
    ("of", "name"), [(of, n) for of, n in itertools.product(COUNTS, LAYERS) if (of, n) not in CASES]
)
def test_layer_of_another_kind_is_refused_by_name(of: str, name: str) -> None:
    reason = f"{of} cannot be attached at site 'only' of .*: it can wrap no module there .*"
    with pytest.raises(ConfigError, match=f"{reason}{left_alone(of, name)}"):
        method(of).attach(Model(name), backbone_sites(CONFIG), spec(of))


@pytest.mark.parametrize("name", ["linear", "embedding", "conv, dilated", "transposed, by 2"])
def test_methods_side_by_side_add_up_in_any_order(name: str) -> None:
    """Each is the change of the plain layer that it is alone."""
    methods = [of for of in COUNTS if (of, name) in CASES]
    alone = {of: changes(of, name, rank) for rank, of in enumerate(methods, start=2)}
    expected = output(altered(name, [(0.5, change) for _, change in alone.values()]))
    for order in (methods, methods[::-1]):
        model = Model(name)
        for of in order:
            # All are called `adapter`.
            trained = alone[of][0]
            how, ranked = method(of), spec(of, 2 + methods.index(of))
            before = output(model)
            how.attach(model, backbone_sites(CONFIG), ranked)
            assert torch.equal(output(model), before)
            assert {id(p) for p in model.parameters() if p.requires_grad} == {
                id(p) for p in how.parameters(model).values()
            }
            how.load(model, how.state(trained))
            assert how.state(model).keys() == how.state(trained).keys()
            how.scale(model, 0.5)
        torch.testing.assert_close(output(model), expected, rtol=1e-5, atol=1e-5)
        for of in methods:
            if set(methods) & {"dora", "ia3"}:
                with pytest.raises(ConfigError, match="cannot merge: layer holds adapters of seve"):
                    method(of).merge(model)
        for of in methods:
            method(of).scale(model, 0.0)
        assert torch.equal(output(model), output(Model(name)))


def test_methods_whose_updates_know_no_base_merge_beside_each_other() -> None:
    model, methods = Model("linear"), ("lora", "rslora", "loha", "vera")
    for of in methods:
        method(of).attach(model, backbone_sites(CONFIG), spec(of), of)
        train(model, 3)
    before = output(model)
    for of in methods:
        method(of).merge(model)
        torch.testing.assert_close(output(model), before, rtol=1e-5, atol=1e-5)
    bare = Model("linear")
    bare.layer.load_state_dict(model.layer.get_base_layer().state_dict())
    torch.testing.assert_close(output(bare), before, rtol=1e-5, atol=1e-5)


def test_update_of_rslora_is_that_of_lora_at_another_scale() -> None:
    model, plain = adapted("rslora", "linear"), Model("linear")
    lora = Model("linear")
    Lora().attach(lora, backbone_sites(CONFIG), spec("lora", alpha=6.0 * RANK**0.5))
    Lora().load(lora, method("rslora").state(model))
    torch.testing.assert_close(output(lora), output(model))
    assert not torch.equal(output(lora), output(plain))


def test_half_a_dora_is_half_of_its_change() -> None:
    model, change = changes("dora", "conv", RANK)
    method("dora").scale(model, 0.5)
    torch.testing.assert_close(output(model), output(altered("conv", [(0.5, change)])))


def test_random_matrices_of_vera_are_those_of_the_adapter_alone() -> None:
    """Also beside an adapter of other sizes, and in a model of its own."""
    first, second = (adapted("vera", "linear", rank=rank) for rank in (2, 5))
    both = Model("linear")
    for rank, model in ((2, first), (5, second)):
        method("vera").attach(both, backbone_sites(CONFIG), spec("vera", rank), str(rank))
        method("vera").load(both, method("vera").state(model), str(rank))
    for rank, model in ((2, first), (5, second)):
        for other in ("2", "5"):
            method("vera").scale(both, float(other == str(rank)), other)
        assert torch.equal(output(both), output(model))


@pytest.mark.parametrize("strength", [1.0, 0.5, 0.0])
def test_a_second_adapter_leaves_the_first_as_it_is(
    strength: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Be it at the same layers or at others."""
    model = adapted("lora", "conv, dilated", "happy")
    model.other = nn.Linear(2, 2)
    Lora().scale(model, strength, "happy")
    before = output(model)
    Lora().attach(model, backbone_sites(CONFIG), spec(), "sad")
    assert torch.equal(output(model), before)
    monkeypatch.setitem(SITES, CONFIG.name, (Site("only", "other", lambda sizes: 1),))
    Lora().attach(model, backbone_sites(CONFIG), spec(), "angry")
    assert torch.equal(output(model), before)


def test_first_weights_of_a_transposed_convolution_do_not_depend_on_the_rank() -> None:
    """A's output varies as that of a Linear's A: a third of its input's variance, at any rank."""
    for rank in (1, 16):
        model = Model("")
        model.layer = nn.ConvTranspose1d(128, 8, 16, stride=8, padding=4)
        torch.manual_seed(0)
        Lora().attach(model, backbone_sites(CONFIG), spec("lora", rank))
        down = model.layer.lora_A["adapter"]
        with torch.no_grad():
            hidden = down(torch.randn(16, 128, 64))[:, :, 8:-8]
        assert 0.28 < float(hidden.var()) < 0.38


REFUSED = {
    "grouped": (lambda: nn.Conv1d(6, 6, 3, groups=2), "grouped convolution (groups=2)"),
    "depthwise": (lambda: nn.Conv1d(6, 6, 3, groups=6), "grouped convolution (groups=6)"),
    "transposed": (lambda: nn.ConvTranspose1d(6, 6, 3, groups=3), "grouped convolution (groups=3)"),
    "new": (lambda: nn.utils.parametrizations.weight_norm(nn.Conv1d(6, 5, 3)), "weight-normalised"),
    "new, no bias": (
        lambda: nn.utils.parametrizations.weight_norm(nn.ConvTranspose1d(6, 5, 3, bias=False)),
        "weight-normalised",
    ),
    "old": (lambda: nn.utils.weight_norm(nn.Linear(6, 5)), "weight-normalised"),
    "norm": (lambda: nn.LayerNorm(6), "LayerNorm: not a kind of layer"),
    "two dimensions": (lambda: nn.Conv2d(6, 5, 3), "Conv2d: not a kind of layer"),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_wrapped_exactly_is_left_alone_and_listed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, reason = REFUSED[name]
    model = Model("linear")
    model.refused = make()
    assert reason in (Lora().refusal(model.refused) or "")
    before = deepcopy(model.refused.state_dict())
    both = Site("only", r"(layer|refused)(\..+)?", lambda sizes: 2)
    monkeypatch.setitem(SITES, CONFIG.name, (both,))
    attached = Lora().attach(model, backbone_sites(CONFIG), spec())
    assert attached.wrapped == ["layer"]
    (left,) = attached.unwrappable
    assert left["module"] == "refused" and reason in left["reason"]
    assert left["type"].endswith(type(model.refused).__name__)
    for key, value in before.items():
        assert torch.equal(model.refused.state_dict()[key], value)
    only = Site("only", r"refused(\..+)?", lambda sizes: 1)
    monkeypatch.setitem(SITES, CONFIG.name, (only,))
    with pytest.raises(ConfigError, match="can wrap no module"):
        Lora().attach(model, backbone_sites(CONFIG), spec())


def test_layer_marked_for_weight_normalisation_is_plain() -> None:
    assert Lora().refusal(weight_norm.normalised(nn.Conv1d(6, 5, 3))) is None


def test_merging_is_refused_once_the_base_is_weight_normalised() -> None:
    model = adapted("lora", "conv, dilated")
    nn.utils.parametrizations.weight_norm(model.layer.get_base_layer())
    with pytest.raises(ConfigError, match="cannot merge: weight-normalised"):
        Lora().merge(model)
