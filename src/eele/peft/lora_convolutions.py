"""LoRA layers for convolutions that `peft` wraps wrongly or not at all: dilated, padded otherwise than with zeros,
transposed.

Each is base(x) + scale * B(A(x)): A is the base layer with `rank` output channels and no bias, B a convolution of
kernel 1. Two convolutions in a row of which the second has kernel 1 are one convolution, so the update is a change
of the base's weight whatever the base's stride, padding and dilation are, and merging is exact.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import layer as peft_layer
from torch import Tensor, nn


class Conv1d(peft_layer.Conv1d):
    """`peft`'s layer, whose A forgets the base's dilation and padding mode, with an A that keeps them."""

    def update_layer(self, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """Add the adapter `adapter_name`; further arguments are `peft`'s."""
        super().update_layer(adapter_name, *args, **kwargs)
        down: Any = self.lora_A[adapter_name]
        self.lora_A[adapter_name] = _narrowed(self.get_base_layer(), down.weight)


class ConvTranspose1d(Conv1d):
    """The same around a transposed convolution; B too is transposed, which at kernel 1 makes no difference.

    With A (in, rank, kernel) and B (rank, out, 1) the base's weight (in, out, kernel) changes by
    scale * sum over r of A[in, r, kernel] B[r, out].
    """

    def _get_in_out_features(self, module: nn.Module) -> tuple[int, int]:
        assert isinstance(module, nn.ConvTranspose1d)
        return module.in_channels, module.out_channels

    def reset_lora_parameters(self, adapter_name: str, init_lora_weights: Any) -> None:
        """B is zero. A is uniform within +- n^-0.5 as in the other layers, n the inputs that make an output.

        `peft` takes n from the weight's second dimension, which here is the rank.
        """
        super().reset_lora_parameters(adapter_name, init_lora_weights)
        base: Any = self.get_base_layer()
        down: Any = self.lora_A[adapter_name]
        inputs = base.in_channels * max(1.0, base.kernel_size[0] / base.stride[0])
        nn.init.uniform_(down.weight, -(inputs**-0.5), inputs**-0.5)

    def get_delta_weight(self, adapter: str) -> Tensor:
        """What merging adds to the base's weight, (in, out, kernel)."""
        down: Any = self.lora_A[adapter]
        up: Any = self.lora_B[adapter]
        product = torch.einsum("irk,ro->iok", down.weight, up.weight[:, :, 0])
        return product * float(self.scaling[adapter])


#: Layer type -> the layer of this file that wraps it.
LAYERS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: Conv1d,
    nn.ConvTranspose1d: ConvTranspose1d,
}


def _narrowed(base: nn.Module, weight: nn.Parameter) -> nn.Module:
    """A layer of all of `base`'s settings, without a bias, that holds `weight` of `peft`'s shape for A."""
    assert isinstance(base, nn.Conv1d | nn.ConvTranspose1d)
    names = ["kernel_size", "stride", "padding", "dilation", "padding_mode"]
    transposed = isinstance(base, nn.ConvTranspose1d)
    names += ["output_padding"] if transposed else []
    settings = {name: getattr(base, name) for name in names}
    rank = weight.shape[1 if transposed else 0]
    narrowed = type(base)(base.in_channels, rank, bias=False, device="meta", **settings)
    narrowed.weight = weight
    return narrowed
