"""Rank-stabilised LoRA (Kalajdzievski, arXiv 2312.03732), through `peft`: LoRA whose update is scaled by
alpha / sqrt(r), so that large ranks learn as fast as small ones at one alpha."""

from __future__ import annotations

from eele.peft.lora import Lora


class RsLora(Lora):
    """LoRA scaled by alpha / sqrt(r)."""

    name = "rslora"
    variant = {"use_rslora": True}  # noqa: RUF012 - constant of the class
