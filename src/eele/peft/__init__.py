"""Adaptation methods. A method is one file here and one line below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eele.registry import Registry

if TYPE_CHECKING:
    from eele.peft.base import Method

#: Name -> module:class, so that listing methods imports neither torch nor peft.
METHODS: Registry[str] = Registry("method")
METHODS.register("lora", "eele.peft.lora:Lora")
METHODS.register("full", "eele.peft.full:Full")
METHODS.register("bottleneck", "eele.peft.bottleneck:Bottleneck")
METHODS.register("parallel_bottleneck", "eele.peft.parallel_bottleneck:ParallelBottleneck")
METHODS.register("prompt", "eele.peft.prompt:Prompt")
METHODS.register("combined", "eele.peft.combined:Combined")


def method(name: str) -> Method:
    """The method called `name`; an unknown name raises ConfigError with those allowed."""
    from importlib import import_module

    module, _, attribute = METHODS[name].partition(":")
    found: Method = getattr(import_module(module), attribute)()
    return found
