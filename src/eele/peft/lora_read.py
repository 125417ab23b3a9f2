"""LoRA around linear maps whose weights are read instead of the maps being called, as in WavLM's attention.

`peft` shows such a reader the base's weight, and the adapter would silently do nothing. Here `weight` is the
adapted one. Dropout of the update's input, which is not at hand then, drops input channels for a whole batch.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import layer as peft_layer
from torch import Tensor, nn


class Linear(peft_layer.Linear):
    """`peft`'s layer with the adapters in its `weight`, too."""

    @property
    def weight(self) -> Tensor:
        """(out, in), with what every active adapter adds that is not merged."""
        inner: Any = self.base_layer
        weight: Tensor = inner.weight
        if self.disable_adapters:
            return weight
        for name in self.active_adapters:
            if name not in self.lora_A or name in self.merged_adapters:
                continue
            down: Any = self.lora_A[name]
            up: Any = self.lora_B[name]
            kept = self.lora_dropout[name](torch.ones_like(down.weight[:1]))
            weight = weight + self.scaling[name] * (up.weight @ (down.weight * kept))
        return weight


#: Layer type -> the layer of this file that wraps it.
READ_LAYERS: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: Linear}
