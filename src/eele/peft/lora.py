"""Low-rank adaptation (Hu et al., arXiv 2106.09685) of linear, embedding and convolution layers, through `peft`.

Rank means peft's `r`: a Linear of (in, out) gains r (in + out) weights, a Conv1d or ConvTranspose1d of kernel k
r (in k + out), an Embedding of (entries, size) r (entries + size). The update is scaled by alpha / r.
"""

from __future__ import annotations

from typing import Any, ClassVar

from peft.tuners.lora import layer as peft_layer
from torch import nn

from eele.peft import lora_convolutions, lora_read
from eele.peft.base import AdapterSpec
from eele.peft.tuner import Tuner

_CONVOLUTIONS = (nn.Conv1d, nn.ConvTranspose1d)


def parameters_per_rank(module: nn.Module) -> int:
    """LoRA weights per unit of rank for one wrappable layer."""
    if isinstance(module, _CONVOLUTIONS):
        return module.in_channels * module.kernel_size[0] + module.out_channels
    if isinstance(module, nn.Embedding):
        return module.num_embeddings + module.embedding_dim
    assert isinstance(module, nn.Linear)
    return module.in_features + module.out_features


class Lora(Tuner):
    """Low-rank updates of linear maps, convolutions and embeddings."""

    name = "lora"
    #: What sets a relative apart, as `peft` names it.
    variant: ClassVar[dict[str, bool]] = {}
    layers: ClassVar[dict[type[nn.Module], type[nn.Module]]] = {
        nn.Linear: peft_layer.Linear,
        nn.Embedding: peft_layer.Embedding,
        **lora_convolutions.LAYERS,
    }
    #: Where weights are read.
    read_layers: ClassVar[dict[type[nn.Module], type[nn.Module]]] = lora_read.READ_LAYERS

    def layer(self, base: nn.Module, spec: AdapterSpec, name: str, reads: bool) -> Any:
        kinds = {**self.layers, **(self.read_layers if reads else {})}
        made: Any = kinds[type(base)]
        return made(base, name, **self._settings(spec))

    def extend(self, layer: Any, spec: AdapterSpec, name: str) -> None:
        layer.update_layer(name, **self._settings(spec))

    def size(self, module: nn.Module, rank: int) -> int:
        return rank * parameters_per_rank(module)

    def _settings(self, spec: AdapterSpec) -> dict[str, Any]:
        from peft import LoraConfig

        config = LoraConfig(
            r=spec.rank,
            lora_alpha=spec.alpha,  # type: ignore[arg-type]  # any number works
            lora_dropout=spec.dropout,
            bias="none",
            **self.variant,  # type: ignore[arg-type]
        )
        return {"r": spec.rank, "lora_alpha": spec.alpha, "config": config}
