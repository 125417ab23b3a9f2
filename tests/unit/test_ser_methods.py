"""Every adaptation method on tiny real encoders, saved to a folder and loaded from it, keeps its promises."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from eele.config.recognition import EncoderConfig, SmallEncoderConfig
from eele.errors import CheckpointError, ConfigError
from eele.peft import METHODS, method
from eele.peft.base import AdapterSpec
from eele.ser.encoders import Encoder, load_encoder
from eele.ser.sites import encoder_sites

transformers = pytest.importorskip("transformers")

HIDDEN, INNER, LAYERS = 16, 24, 2
_WAVE = {
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "conv_dim": (8, 8),
    "conv_kernel": (10, 8),
    "conv_stride": (10, 8),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "feat_proj_dropout": 0.0,
}
_STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
_WHISPER = {
    "d_model": HIDDEN,
    "encoder_ffn_dim": INNER,
    "encoder_layers": LAYERS,
    "encoder_attention_heads": 2,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": INNER,
    "num_mel_bins": 20,
    "max_source_positions": 100,
    "vocab_size": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "dropout": 0.0,
}
#: Name -> transformers' names of model and config, sizes.
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "wav2vec2": ("Wav2Vec2Model", "Wav2Vec2Config", _WAVE),
    "wav2vec2, norms first": ("Wav2Vec2Model", "Wav2Vec2Config", {**_WAVE, **_STABLE}),
    "hubert": ("HubertModel", "HubertConfig", _WAVE),
    "hubert, norms first": ("HubertModel", "HubertConfig", {**_WAVE, **_STABLE}),
    "wavlm": ("WavLMModel", "WavLMConfig", _WAVE),
    "wavlm, norms first": ("WavLMModel", "WavLMConfig", {**_WAVE, **_STABLE}),
    "whisper": ("WhisperModel", "WhisperConfig", _WHISPER),
}
NAMES = (*MODELS, "small")
#: Method, sites, size.
SPECS = {
    "lora": ("lora", ("feed_forward",), 2),
    "lora, attention": ("lora", ("attention",), 2),
    "lora, both": ("lora", ("attention", "feed_forward"), 3),
    "lora, layers": ("lora", ("layers",), 3),
    "rslora": ("rslora", ("layers",), 3),
    "dora": ("dora", ("layers",), 2),
    "loha": ("loha", ("layers",), 2),
    "ia3": ("ia3", ("layers",), 0),
    "vera": ("vera", ("layers",), 6),
    "bottleneck": ("bottleneck", ("feed_forward",), 5),
    "parallel_bottleneck": ("parallel_bottleneck", ("layers",), 5),
    "conv_adapter": ("conv_adapter", ("feed_forward",), 8),
    "prefix": ("prefix", ("attention",), 3),
    "prompt": ("prompt", ("attention",), 3),
    "prompt, layers": ("prompt", ("layers",), 2),
    "combined": ("combined", ("feed_forward",), 2),
    "combined, layers": ("combined", ("layers",), 2),
    "full": ("full", (), 0),
}
#: Encoders that differ in nothing these methods see are left to others.
ALIKE = ("hubert", "hubert, norms first", "wav2vec2, norms first", "wavlm, norms first")
LIKE_LORA = ("rslora", "dora", "loha", "ia3", "vera")
#: WavLM's attention gives prefixes no way in.
PAIRS = [
    (name, of)
    for name in NAMES
    for of in SPECS
    if not (of == "prefix" and name.startswith("wavlm")) and not (of in LIKE_LORA and name in ALIKE)
]
LENGTHS = torch.tensor([2400, 1300])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Below it one folder per model, as `save_pretrained` writes it."""
    root = tmp_path_factory.mktemp("encoders")
    for name, (model, config, sizes) in MODELS.items():
        torch.manual_seed(0)
        made = getattr(transformers, model)(getattr(transformers, config)(**sizes))
        with torch.no_grad():
            # Small first weights would leave the layers without a say.
            for parameter in made.parameters():
                if parameter.dim() == 2:
                    parameter.mul_(8)
        made.save_pretrained(root / name)
        if name != "whisper":
            transformers.Wav2Vec2FeatureExtractor().save_pretrained(root / name)
    return root


@cache
def loaded(folders: Path, name: str) -> Encoder:
    if name == "small":
        torch.manual_seed(0)
        sizes = SmallEncoderConfig(
            hidden_size=HIDDEN, layers=LAYERS, heads=2, feed_forward_size=INNER, dropout=0.0
        )
        return load_encoder(EncoderConfig(small=sizes))
    return load_encoder(EncoderConfig(kind="transformers", model=str(folders / name)))


def encoder(folders: Path, name: str) -> Encoder:
    return deepcopy(loaded(folders, name))


@cache
def samples() -> Tensor:
    sound = 0.3 * torch.randn(2, 2400, generator=torch.Generator().manual_seed(1))
    sound[1, 1300:] = 0
    return sound


def states(net: Encoder) -> Tensor:
    # torch computes some products in another order for weights that want gradients, also without any.
    wanting = [p for p in net.parameters() if p.requires_grad]
    net.requires_grad_(False)
    with torch.no_grad():
        found, mask = net(samples(), LENGTHS)
    for parameter in wanting:
        parameter.requires_grad_(True)
    return torch.stack(found) * mask[None, :, :, None]


def spec(of: str, dropout: float = 0.0) -> AdapterSpec:
    name, sites, size = SPECS[of]
    return AdapterSpec(name, sites, size, alpha=4.0, dropout=dropout)


def attach(net: Encoder, of: str, name: str = "adapter", seed: int = 3) -> Any:
    """The method, attached."""
    how = method(SPECS[of][0])
    torch.manual_seed(seed)
    how.attach(net, encoder_sites(net), spec(of), name)
    return how


def train(net: Encoder, steps: int = 4) -> None:
    optimiser = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=0.02)
    for _ in range(steps):
        optimiser.zero_grad()
        found, mask = net(samples(), LENGTHS)
        (torch.stack(found) * mask[None, :, :, None] - 0.5).square().mean().backward()
        optimiser.step()


@pytest.mark.parametrize(("name", "of"), PAIRS)
class TestEveryMethodOnEveryEncoder:
    def test_identity_at_start_or_declared_otherwise(
        self, folders: Path, name: str, of: str
    ) -> None:
        net = encoder(folders, name)
        before = states(net)
        how = attach(net, of)
        assert torch.equal(states(net), before) == how.identity_at_start

    def test_only_its_parameters_move_all_of_them_and_as_many_as_the_formula_says(
        self, folders: Path, name: str, of: str
    ) -> None:
        net = encoder(folders, name)
        plain = {key: value.clone() for key, value in net.state_dict().items()}
        expected = method(SPECS[of][0]).formula(net, encoder_sites(net), spec(of))
        attach(net, of)
        start = {key: value.clone() for key, value in net.named_parameters()}
        train(net.train())
        moved = {key for key, p in net.named_parameters() if not torch.equal(p, start[key])}
        trainable = {key for key, p in net.named_parameters() if p.requires_grad}
        assert sum(net.get_parameter(key).numel() for key in trainable) == expected
        assert moved <= trainable
        if of == "full":
            return
        assert moved == trainable
        after = {key.replace(".base_layer", ""): v for key, v in net.state_dict().items()}
        for key, value in plain.items():
            assert torch.equal(after[key], value)

    def test_save_and_load_agree(self, folders: Path, name: str, of: str, tmp_path: Path) -> None:
        net = encoder(folders, name)
        how = attach(net, of, "happy")
        train(net)
        save_file(how.state(net, "happy"), tmp_path / "adapter.safetensors")
        again = encoder(folders, name)
        if of != "full":
            attach(again, of, "glad", seed=8)
        how.load(again, load_file(tmp_path / "adapter.safetensors"), "glad")
        assert torch.equal(states(again), states(net))
        kept = how.state(net, "happy")
        kept.popitem()
        with pytest.raises(CheckpointError):
            how.load(again, kept, "glad")

    def test_strength_zero_is_the_plain_encoder_bit_for_bit(
        self, folders: Path, name: str, of: str
    ) -> None:
        net = encoder(folders, name)
        plain = states(net)
        how = attach(net, of)
        train(net)
        tuned, other = states(net), encoder(folders, name)
        if of != "full":
            attach(other, of)
        how.load(other, how.state(net))
        how.scale(other, 0.0)
        assert torch.equal(states(other), plain)
        how.scale(other, 0.5)
        half = states(other)
        how.scale(other, 1.0)
        assert torch.equal(states(other), tuned)
        assert not torch.equal(half, tuned) and not torch.equal(half, plain)
        assert (tuned - plain).abs().max() > 0.01

    def test_a_copy_is_adapted_by_its_own_adapter(self, folders: Path, name: str, of: str) -> None:
        net = encoder(folders, name)
        how = attach(net, of)
        train(net)
        before = states(net)
        copied = deepcopy(net)
        assert torch.equal(states(copied), before)
        train(copied, 2)
        assert torch.equal(states(net), before)
        assert not torch.equal(states(copied), before)
        if of != "full":
            how.scale(copied, 0.0)
            assert torch.equal(states(net), before)

    def test_padding_does_not_leak(self, folders: Path, name: str, of: str) -> None:
        net = encoder(folders, name)
        attach(net, of)
        train(net)
        with torch.no_grad():
            found, mask = net(samples()[1:, :1300], LENGTHS[1:])
        assert bool(mask.all())
        together = states(net)[:, 1, : mask.shape[1]]
        torch.testing.assert_close(together, torch.stack(found)[:, 0], rtol=1e-4, atol=1e-5)

    def test_merge_is_exact_or_refused(self, folders: Path, name: str, of: str) -> None:
        net = encoder(folders, name)
        how = attach(net, of)
        train(net)
        if METHODS[SPECS[of][0]].needs not in ("weights", "model"):
            with pytest.raises(
                ConfigError, match=r"cannot merge: (a bottleneck|prompts|prefixes|convolutions)"
            ):
                how.merge(net)
            return
        before = states(net)
        how.merge(net)
        torch.testing.assert_close(states(net), before, rtol=1e-4, atol=1e-4)
        if of == "full":
            return
        plain = encoder(folders, name)
        changed = [
            (layer.get_base_layer().weight - plain.get_submodule(key).weight).abs().max()
            for key, layer in net.named_modules()
            if hasattr(layer, "get_base_layer")
        ]
        assert len(changed) == LAYERS * {"lora": 2, "lora, attention": 4}.get(of, 6)
        assert min(changed) > 0


@pytest.mark.parametrize(("name", "of"), [pair for pair in PAIRS if pair[1] != "full"])
def test_adapters_side_by_side(folders: Path, name: str, of: str) -> None:
    """Each keeps its weights and strength; with the second out, the first is as it was alone."""
    net = encoder(folders, name)
    how = attach(net, of, "happy")
    train(net)
    alone, kept = states(net), how.state(net, "happy")
    attach(net, of, "sad", seed=5)
    assert {key for key, p in net.named_parameters() if p.requires_grad} == {
        key for key, _ in net.named_parameters() if ".sad" in key
    }
    train(net)
    both = states(net)
    assert (both - alone).abs().max() > 1e-3
    for key, value in how.state(net, "happy").items():
        assert torch.equal(value, kept[key])
    how.scale(net, 0.0, "sad")
    assert torch.equal(states(net), alone)
    how.scale(net, 1.0, "sad")
    assert torch.equal(states(net), both)
    how.scale(net, 0.0, "happy")
    how.scale(net, 0.0, "sad")
    assert torch.equal(states(net), states(encoder(folders, name)))


@pytest.mark.parametrize("first", ["bottleneck", "parallel_bottleneck"])
@pytest.mark.parametrize("name", NAMES)
def test_order_of_lora_and_bottleneck_does_not_matter(folders: Path, name: str, first: str) -> None:
    """LoRA puts a layer of its own in a map's place; what listens to the map goes on with it."""
    trained = {}
    for of in (first, "lora"):
        net = encoder(folders, name)
        trained[of] = attach(net, of, of)
        train(net)
        trained[of] = trained[of].state(net, of)
    found = []
    for order in ((first, "lora"), ("lora", first)):
        net = encoder(folders, name)
        for of in order:
            attach(net, of, of).load(net, trained[of], of)
        found.append(states(net))
    assert torch.equal(*found)
    method("lora").merge(net)
    torch.testing.assert_close(states(net), found[1], rtol=1e-4, atol=1e-4)


class InFrontOfLayer(nn.Module):
    """Vectors in front of what enters a layer, dropped from what leaves it."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.vectors = vectors

    def enter(self, layer: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        count, (x, *rest) = len(self.vectors), args
        x = torch.cat((self.vectors.expand(len(x), -1, -1), x), 1)

        def longer(mask: Any) -> Any:
            if not isinstance(mask, Tensor):
                return mask
            assert mask.dim() == 2 and bool(mask.all())
            return torch.ones(len(mask), mask.shape[1] + count, dtype=mask.dtype)

        kwargs = {k: longer(v) if k == "attention_mask" else v for k, v in kwargs.items()}
        return (x, *map(longer, rest)), kwargs

    def leave(self, layer: nn.Module, args: Any, out: Any) -> Any:
        count = len(self.vectors)
        return (out[0][:, count:], *out[1:]) if isinstance(out, tuple) else out[:, count:]


@pytest.mark.parametrize("name", NAMES)
def test_prompts_are_vectors_in_front_of_every_layer(folders: Path, name: str) -> None:
    """Also with position biases, and where the layer normalises first."""
    lone = samples()[:1], LENGTHS[:1]
    net = encoder(folders, name)
    how = attach(net, "prompt")
    train(net)
    literal = encoder(folders, name)
    for block in encoder_sites(literal).blocks(literal, "layers"):
        layer = literal.get_submodule(block.name)
        acts = InFrontOfLayer(how.state(net)[f"{block.name}.inserted_prompt.vectors"])
        layer.register_forward_pre_hook(acts.enter, with_kwargs=True)
        layer.register_forward_hook(acts.leave, prepend=True)
    with torch.no_grad():
        found, expected = net(*lone)[0], literal(*lone)[0]
        plain = encoder(folders, name)(*lone)[0]
    # The first state is what enters the first layer; recorders may see it before or after its prompt.
    torch.testing.assert_close(found[1:], expected[1:], rtol=1e-5, atol=1e-5)
    assert (found[-1] - plain[-1]).abs().max() > 1e-2


@pytest.mark.parametrize("of", ["prompt", "prefix", "conv_adapter"])
@pytest.mark.parametrize("name", ["wav2vec2", "hubert, norms first", "whisper"])
def test_additive_masks(folders: Path, name: str, of: str) -> None:
    """Attention computed step by step adds its mask to the scores; the other kind takes True and False."""
    net = encoder(folders, name)
    attach(net, of)
    train(net)
    expected = states(net)
    net.model.set_attn_implementation("eager")
    torch.testing.assert_close(states(net), expected, rtol=1e-4, atol=1e-5)


def test_loras_dropout_acts_where_weights_are_read(folders: Path) -> None:
    net = encoder(folders, "wavlm")
    torch.manual_seed(0)
    method("lora").attach(net, encoder_sites(net), spec("lora, attention", dropout=0.5))
    train(net.train())
    still = states(net.eval())
    assert torch.equal(states(net), still)
    assert not torch.equal(states(net.train()), still)


@pytest.mark.parametrize(
    ("name", "sites", "reason"),
    [
        ("bottleneck", ("attention",), "acts on the feed-forward, which is not part of the site"),
        ("parallel_bottleneck", ("layers", "attention"), "acts on the feed-forward"),
        ("prompt", ("feed_forward",), "acts on the attention, which is not part of the site"),
        ("combined", ("attention",), "acts on the feed-forward, which is not part of the site"),
        ("lora", ("decoder",), "unknown site 'decoder' of encoder .*; allowed: feed_forward, att"),
    ],
)
def test_site_where_a_method_makes_no_sense_is_refused(
    folders: Path, name: str, sites: tuple[str, ...], reason: str
) -> None:
    net = encoder(folders, "small")
    before = net.state_dict().keys()
    with pytest.raises(ConfigError, match=reason):
        method(name).attach(net, encoder_sites(net), AdapterSpec(name, sites, 2))
    assert net.state_dict().keys() == before


def test_a_second_adapter_of_the_same_name_is_refused(folders: Path) -> None:
    net = encoder(folders, "small")
    attach(net, "prompt")
    with pytest.raises(ConfigError, match="already holds a prompt called 'adapter'"):
        attach(net, "prompt")


def test_encoder_of_an_unknown_kind_or_with_other_layers_is_refused(folders: Path) -> None:
    with pytest.raises(ConfigError, match="no Transformer layers of a known kind"):
        encoder_sites(nn.Linear(2, 2))
    net = encoder(folders, "small")
    net.layer_count = 3
    with pytest.raises(ConfigError, match="says 3 layers and holds 2"):
        encoder_sites(net)
    whole = transformers.WhisperModel.from_pretrained(folders / "whisper")
    with pytest.raises(ConfigError, match="says 2 layers and holds 3"):
        encoder_sites(whole)


@cache
def published(name: str) -> nn.Module:
    """A model at its published sizes; weights without memory."""
    if name.startswith("Whisper"):
        heads, layers = {"Whisper-t": (6, 4), "Whisper-b": (8, 6), "Whisper-s": (12, 12)}[name]
        config = transformers.WhisperConfig(
            d_model=64 * heads,
            encoder_ffn_dim=256 * heads,
            encoder_layers=layers,
            encoder_attention_heads=heads,
        )
        kind = "WhisperEncoder"
    else:
        kind = {"WavLM B+": "WavLMModel", "W2V2-b": "Wav2Vec2Model", "HuBERT-b": "HubertModel"}[
            name
        ]
        config = getattr(transformers, kind.replace("Model", "Config"))()
    with torch.device("meta"):
        if kind == "WhisperEncoder":
            from transformers.models.whisper.modeling_whisper import WhisperEncoder

            return WhisperEncoder(config)
        return getattr(transformers, kind)(config)


_BASE = {
    ("bottleneck", 128): 2.37,
    ("parallel_bottleneck", 128): 2.37,
    ("prompt", 5): 0.046,
    ("lora", 1): 0.09,
    ("lora", 8): 0.74,
    ("lora", 16): 1.47,
    ("lora", 32): 2.95,
    # Adapter 128, one prompt and LoRA 32, by the sizes: no figure of it is published.
    ("combined", 32): 2.370048 + 0.009216 + 2.949120,
}
PUBLISHED = {
    **{name: _BASE for name in ("W2V2-b", "WavLM B+", "HuBERT-b", "Whisper-s")},
    "Whisper-b": {("bottleneck", 128): 0.79, ("prompt", 5): 0.015, ("lora", 16): 0.49},
    "Whisper-t": {("bottleneck", 128): 0.40, ("prompt", 5): 0.008, ("lora", 16): 0.25},
}


@pytest.mark.parametrize(
    ("name", "of", "size", "millions"),
    [(n, of, size, m) for n, counts in PUBLISHED.items() for (of, size), m in counts.items()],
)
def test_counts_at_published_sizes(name: str, of: str, size: int, millions: float) -> None:
    model = published(name)
    site = "attention" if of == "prompt" else "feed_forward"
    count = method(of).formula(model, encoder_sites(model), AdapterSpec(of, (site,), size))
    digits = 6 if of == "combined" else 3 if millions < 0.05 else 2
    assert round(count / 1e6, digits) == pytest.approx(millions)


def test_all_methods_are_in_the_table() -> None:
    # An encoder has no voices.
    assert {name for name, _, _ in SPECS.values()} | {"voice"} == set(METHODS)
