"""Bottleneck adapters beside the feed-forward of Transformer layers (He et al., arXiv 2110.04366): the update of
`eele.peft.bottleneck` is computed from the feed-forward's input instead, and added to its output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from eele.peft.bottleneck import After, Bottleneck

if TYPE_CHECKING:
    from eele.sites import Block


class Beside(After):
    """Adds to the feed-forward's output what each adapter makes of its input."""

    def __init__(self) -> None:
        super().__init__()
        self._entered: Tensor | None = None

    def listen(self, model: nn.Module, block: Block) -> None:
        super().listen(model, block)
        model.get_submodule(block.expand).register_forward_pre_hook(self.enter)

    def enter(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Hook on the feed-forward's first map."""
        self._entered = inputs[0]

    def add(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        """Hook on the feed-forward's last map."""
        entered, self._entered = self._entered, None
        assert entered is not None
        return output + updates if (updates := self.updates(entered)) is not None else output


class ParallelBottleneck(Bottleneck):
    """Bottleneck adapters beside the feed-forward of each Transformer layer."""

    name = "parallel_bottleneck"
    holder = Beside
