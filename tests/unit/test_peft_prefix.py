"""A prefix is keys and values in front of an attention's own, computed literally; strengths weigh them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from test_peft_inserted import config, model
from torch import Tensor, nn

from eele.backbones.layers import SelfAttention
from eele.backbones.vits2.attention import RelativeAttention
from eele.config.recognition import SmallEncoderConfig
from eele.errors import ConfigError
from eele.peft import method
from eele.peft.base import AdapterSpec
from eele.ser.sites import encoder_sites
from eele.ser.small import SmallEncoder
from eele.sites import SiteMap, backbone_sites

TIME, OWN = 7, 5


def wave(kind: str, **sizes: Any) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{kind}Config")(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        conv_dim=(8,),
        conv_kernel=(10,),
        conv_stride=(10,),
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        **sizes,
    )
    return getattr(transformers, f"{kind}Model")(config).eval()


def whisper() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    sizes = {"d_model": 16, "encoder_ffn_dim": 24, "encoder_layers": 2}
    return WhisperEncoder(transformers.WhisperConfig(encoder_attention_heads=2, **sizes)).eval()


def small() -> nn.Module:
    sizes = {"hidden_size": 16, "layers": 2, "heads": 2, "feed_forward_size": 24}
    return SmallEncoder(SmallEncoderConfig.model_validate(sizes)).eval()


MODELS = {
    "fastspeech2": ("decoder", lambda: model("fastspeech2")),
    "vits2": ("flow", lambda: model("vits2")),
    "wav2vec2": ("attention", lambda: wave("Wav2Vec2")),
    "whisper": ("attention", whisper),
    "small": ("layers", small),
}


def site_map(name: str, net: nn.Module) -> SiteMap:
    return backbone_sites(config(name)) if name in ("fastspeech2", "vits2") else encoder_sites(net)


def asked(attention: nn.Module, x: Tensor, masked: bool) -> Tensor:
    """What the attention makes of x (1, time, channels), of which OWN states are real if `masked`."""
    readable = torch.arange(TIME)[None] < (OWN if masked else TIME)
    with torch.no_grad():
        if isinstance(attention, SelfAttention | RelativeAttention):
            return attention(x, readable)
        mask = readable[:, None, None] if masked else None
        return attention(x, attention_mask=mask)[0]


def literal(
    attention: Any, x: Tensor, masked: bool, front: list[tuple[float, Tensor, Tensor]]
) -> Tensor:
    """The same, one weight at a time, with (strength, keys, values) in front."""
    ours = isinstance(attention, SelfAttention | RelativeAttention)
    names = (
        ("query", "key", "value", "output") if ours else ("q_proj", "k_proj", "v_proj", "out_proj")
    )
    query, key, value, put_out = (getattr(attention, name) for name in names)
    heads = attention.heads if ours else attention.num_heads
    size = x.shape[2] // heads
    window = getattr(attention, "window", None)
    q, k, v = (projection(x)[0].view(TIME, heads, size) for projection in (query, key, value))
    mixed = torch.zeros(TIME, heads, size)
    for t in range(TIME):
        for h in range(heads):
            scores, values = [], []
            for strength, keys, learned in front:
                for own_key, own_value in zip(keys, learned, strict=True):
                    part = slice(h * size, (h + 1) * size)
                    scores.append(q[t, h] @ own_key[part] / math.sqrt(size) + math.log(strength))
                    values.append(own_value[part])
            for s in range(OWN if masked else TIME):
                near = window is not None and abs(s - t) <= window
                read = k[s, h] + (attention.relative_keys[s - t + window] if near else 0)
                scores.append(q[t, h] @ read / math.sqrt(size))
                values.append(v[s, h] + (attention.relative_values[s - t + window] if near else 0))
            weights = torch.stack(scores).softmax(0)
            mixed[t, h] = (weights[:, None] * torch.stack(values)).sum(0)
    return put_out(mixed.reshape(1, TIME, -1))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_prefix_is_keys_and_values_in_front(name: str, masked: bool) -> None:
    site, make = MODELS[name]
    torch.manual_seed(0)
    net = make()
    sites, how = site_map(name, net), method("prefix")
    block = sites.blocks(net, site)[0]
    attention = net.get_submodule(block.told)
    x = torch.randn(1, TIME, attention.query.in_features if hasattr(attention, "query") else 16)
    plain = asked(attention, x, masked)
    parts = []
    for adapter, count, strength in (("happy", 3, 1.0), ("sad", 2, 0.3)):
        how.attach(net, sites, AdapterSpec("prefix", (site,), count), adapter)
        how.scale(net, strength, adapter)
        state = how.state(net, adapter)
        key = f"{block.name}.inserted_prefix"
        parts.append((strength, state[f"{key}.keys"], state[f"{key}.values"]))
    found = asked(attention, x, masked)
    assert (found - plain).abs().max() > 1e-2
    # The maps themselves are asked, with the hooks out.
    for adapter in ("happy", "sad"):
        how.scale(net, 0.0, adapter)
    assert torch.equal(asked(attention, x, masked), plain)
    with torch.no_grad():
        expected = literal(attention, x, masked, parts)
        unchanged = literal(attention, x, masked, [])
    own = slice(None, OWN if masked else TIME)
    torch.testing.assert_close(found[:, own], expected[:, own], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(plain[:, own], unchanged[:, own], rtol=1e-4, atol=1e-5)


def test_prefix_fades_out_towards_strength_zero() -> None:
    net = model("fastspeech2")
    sites, how = backbone_sites(config("fastspeech2")), method("prefix")
    attention = net.get_submodule(sites.blocks(net, "decoder")[0].told)
    x = torch.randn(1, TIME, 16, generator=torch.Generator().manual_seed(1))
    plain = asked(attention, x, False)
    how.attach(net, sites, AdapterSpec("prefix", ("decoder",), 4))
    moved = []
    for strength in (1.0, 0.1, 0.01, 0.001):
        how.scale(net, strength)
        moved.append(float((asked(attention, x, False) - plain).abs().max()))
    assert moved == sorted(moved, reverse=True) and moved[-1] < 0.02 * moved[0]
    with pytest.raises(ConfigError, match="strength of a prefix cannot be negative: -1"):
        how.scale(net, -1.0)


@pytest.mark.parametrize("site", ["attention", "layers"])
def test_attention_that_reads_weights_gives_no_way_in(site: str) -> None:
    net = wave("WavLM")
    before = net.state_dict().keys()
    with pytest.raises(
        ConfigError, match=f"prefix cannot be attached at site '{site}' of encoder WavLM"
    ):
        method("prefix").attach(net, encoder_sites(net), AdapterSpec("prefix", (site,), 2))
    assert net.state_dict().keys() == before


def test_prompt_and_prefix_side_by_side_in_either_order() -> None:
    """Prompts stay the frames' neighbours, and the prefix at no position."""
    found = []
    for order in (("prompt", "prefix"), ("prefix", "prompt")):
        net = model("vits2")
        sites = backbone_sites(config("vits2"))
        for of in order:
            torch.manual_seed(len(of))
            method(of).attach(net, sites, AdapterSpec(of, ("flow",), 2))
        attention = net.get_submodule(sites.blocks(net, "flow")[0].told)
        x = torch.randn(1, TIME, 8, generator=torch.Generator().manual_seed(1))
        found.append(asked(attention, x, True))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)
