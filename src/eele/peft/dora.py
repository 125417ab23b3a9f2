"""Weight-decomposed low-rank adaptation (Liu et al., arXiv 2402.09353) of linear, embedding and convolution
layers, through `peft`.

The adapted weight is m (W + V) / |W + V| with V LoRA's update and the norm taken per output channel; the magnitudes
m are learned and begin at |W|. That is LoRA's weights and one per output channel. Strength s gives
W + s (W' - W). `peft` takes norms of convolutions over all but the first dimension, which in a transposed one
is the input: it is left alone.
"""

from __future__ import annotations

from typing import Any

from peft.tuners.lora import layer as peft_layer
from torch import Tensor, nn

from eele.peft import lora_convolutions
from eele.peft.changes import Changes
from eele.peft.lora import Lora


class _Decomposed(Changes):
    of_base = True

    def change(self: Any, name: str) -> tuple[Tensor, Tensor | None]:
        base: Any = self.get_base_layer()
        changed = base.weight + self.get_delta_weight(name)
        magnitude: Any = self.lora_magnitude_vector[name]
        embeds = isinstance(base, nn.Embedding)
        # As peft does, the norm is taken for a constant.
        norm = magnitude.get_weight_norm(changed, 0, scaling=1).detach()
        factor = (magnitude.weight / norm).flatten()
        shape = (1, -1) if embeds else (-1, *[1] * (changed.dim() - 1))
        return factor.view(shape) * changed - base.weight, None

    def update(self: Any, name: str, x: Tensor, plain: Tensor) -> Tensor:
        update: Tensor = self.lora_magnitude_vector[name](
            self.lora_dropout[name](x),
            lora_A=self.lora_A[name],
            lora_B=self.lora_B[name],
            scaling=self.scaling[name],
            base_layer=self.get_base_layer(),
            base_result=plain,
            adapter_name=name,
        )
        return update


class Linear(_Decomposed, peft_layer.Linear):
    """`peft`'s layer around a linear map."""


class Conv1d(_Decomposed, lora_convolutions.Conv1d):
    """LoRA's layer around a convolution, with magnitudes."""


class Embedding(_Decomposed, peft_layer.Embedding):
    """`peft`'s layer around an embedding."""

    def update(self: Any, name: str, x: Tensor, plain: Tensor) -> Tensor:
        by, of_update = self.lora_magnitude_vector[name](
            x,
            lora_A=self.lora_embedding_A[name].T,
            lora_B=self.lora_embedding_B[name].T,
            scaling=self.scaling[name],
            base_layer=self.get_base_layer(),
            embed_fn=self._embed,
            adapter_name=name,
        )
        update: Tensor = (by - 1) * plain + of_update
        return update


class Dora(Lora):
    """Low-rank updates of direction, and magnitudes of output channels."""

    name = "dora"
    variant = {"use_dora": True}  # noqa: RUF012 - constant of the class
    layers = {nn.Linear: Linear, nn.Conv1d: Conv1d, nn.Embedding: Embedding}  # noqa: RUF012
    read_layers = {}  # noqa: RUF012 - these tell the adapted weight as they are

    def size(self, module: nn.Module, rank: int) -> int:
        weight: Any = module.weight
        outputs: int = weight.shape[1 if isinstance(module, nn.Embedding) else 0]
        return super().size(module, rank) + outputs
