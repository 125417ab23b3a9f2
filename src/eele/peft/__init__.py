"""Adaptation methods. A method is one file here and one line below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eele.peft.where import Entry, cannot
from eele.registry import Registry

if TYPE_CHECKING:
    from eele.peft.base import Method
    from eele.sites import Part

#: What adapters stand behind that need nothing but states.
_BEHIND: tuple[Part, ...] = ("feed_forward", "predictor")

#: Name -> what is known of a method without importing torch or peft: its class, the parts of layers it acts on,
#: what its size counts (None: it has none, and its rank is 0).
METHODS: Registry[Entry] = Registry("method")
METHODS.register("lora", Entry("eele.peft.lora:Lora", "weights", "rank of the update"))
METHODS.register("rslora", Entry("eele.peft.rslora:RsLora", "weights", "rank of the update"))
METHODS.register(
    "dora",
    Entry(
        "eele.peft.dora:Dora",
        "weights",
        "rank of the update",
        frozenset(("linear", "convolution", "embedding")),
    ),
)
METHODS.register(
    "loha",
    Entry(
        "eele.peft.loha:Loha",
        "weights",
        "rank of either factor of the update",
        frozenset(("linear", "convolution")),
    ),
)
METHODS.register("ia3", Entry("eele.peft.ia3:Ia3", "weights", None, frozenset(("linear",))))
METHODS.register(
    "vera",
    Entry(
        "eele.peft.vera:Vera",
        "weights",
        "rows of the shared random matrices",
        frozenset(("linear",)),
    ),
)
METHODS.register("full", Entry("eele.peft.full:Full", "model", None))
METHODS.register("voice", Entry("eele.peft.voice:Voice", "voices", None))
METHODS.register("bottleneck", Entry("eele.peft.bottleneck:Bottleneck", _BEHIND, "inner channels"))
METHODS.register(
    "parallel_bottleneck",
    Entry("eele.peft.parallel_bottleneck:ParallelBottleneck", ("feed_forward",), "inner channels"),
)
METHODS.register(
    "conv_adapter",
    Entry(
        "eele.peft.conv_adapter:ConvAdapter",
        _BEHIND,
        "inner channels: the next divisor of the layer's, or multiple, from here down",
    ),
)
METHODS.register(
    "prefix",
    Entry("eele.peft.prefix:Prefix", ("attention",), "keys, and as many values, per layer"),
)
METHODS.register("prompt", Entry("eele.peft.prompt:Prompt", ("attention",), "vectors per layer"))
METHODS.register(
    "combined",
    Entry(
        "eele.peft.combined:Combined",
        ("feed_forward",),
        "rank of LoRA; 4 inner channels of the bottlenecks per unit",
    ),
)


def method(name: str, voices: bool = False) -> Method:
    """The method called `name`, with `voices` together with rows of the speaker table for new voices; an unknown
    name raises ConfigError with those allowed."""
    from importlib import import_module

    module, _, attribute = METHODS[name].where.partition(":")
    found: Method = getattr(import_module(module), attribute)()
    if voices and METHODS[name].sited:
        from eele.peft.voice import WithVoices

        return WithVoices(found)
    return found


def refusal(method: str, model: str, site: str) -> str | None:
    """Why `method` makes no sense at `site` of `model`; None where it can be attached. Needs no torch.

    `model` is a backbone, or `encoder` for any encoder of speech. What a certain model lacks (a flow without
    its Transformer layers, an encoder whose attention gives no way in) is known when it is built: then
    `Method.attach` refuses. Raises ConfigError for an unknown method, model or site.
    """
    from eele.sites import holds

    title, kinds, parts = holds(model, site)
    reason = METHODS[method].lacks(kinds, parts)
    return None if reason is None else cannot(method, site, title, reason)
