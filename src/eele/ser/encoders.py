"""What an encoder of speech is, and how one is loaded: by name, from a folder, or as a study prepared it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from eele.config.recognition import EncoderConfig, SmallEncoderConfig
from eele.errors import CheckpointError
from eele.io import read_json, sha256, write_json, write_text
from eele.neutral import load_exactly, save_tensors

if TYPE_CHECKING:
    from eele.sites import SiteMap

WEIGHTS = "model.safetensors"
FACTS = "model.json"
#: One utterance id a line: what the study let the encoder hear.
HEARD = "utterances.txt"
SAMPLE_RATE_HZ = 16000
#: Raised when equal settings give another prepared encoder, or its weights mean another computation.
VERSION = 3


class Encoder(nn.Module, ABC):
    """A speech encoder: samples in, the states of every Transformer layer out.

    What an item's states are does not depend on the batch it is in: padding is masked everywhere.
    """

    hidden_size: int
    layer_count: int
    sample_rate_hz: int = SAMPLE_RATE_HZ

    @abstractmethod
    def frames(self, samples: int) -> int:
        """Number of states of an utterance of so many samples."""

    @abstractmethod
    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """samples (B, S) float32 in [-1, 1], lengths (B,) int64 -> states: what enters the first layer and
        what each layer puts out, layer_count + 1 tensors (B, T, hidden_size); mask (B, T) bool, true on an
        item's own frames. The last state is the encoder's output, after its last normalisation. T is the
        frames of the longest item; what stands in `samples` beyond an item's length is not looked at.
        """

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Plain values from which `load_encoder` builds this encoder without its weights."""


def load_encoder(config: EncoderConfig, folder: Path | None = None) -> Encoder:
    """The encoder of a config, in evaluation mode.

    With `folder`, as `prepare_encoder` left it there: nothing else is read. Without, `small` has fresh
    weights from torch's random state, and `transformers` comes from the hub or the folder the config names.
    Raises CheckpointError when a prepared folder is missing, damaged or of another config, ConfigError or
    MissingToolError when the named model cannot be had.
    """
    if folder is not None:
        return _prepared(config, folder)
    if config.kind == "small":
        from eele.ser.small import SmallEncoder

        return SmallEncoder(config.small).eval()
    from eele.ser.pretrained import from_hub

    return from_hub(str(config.model), config.revision).eval()


def save_encoder(
    folder: Path, encoder: Encoder, config: EncoderConfig, heard: list[str], source: dict[str, Any]
) -> None:
    """Write weights, the utterances heard and facts; the facts last, since they say that all is there."""
    save_tensors(folder / WEIGHTS, encoder.state_dict())
    write_text(folder / HEARD, "".join(f"{name}\n" for name in heard))
    write_json(
        folder / FACTS,
        {
            "version": VERSION,
            "config": config.model_dump(mode="json"),
            "encoder": encoder.facts(),
            "hidden_size": encoder.hidden_size,
            "layer_count": encoder.layer_count,
            "sample_rate_hz": encoder.sample_rate_hz,
            "parameters": sum(p.numel() for p in encoder.parameters()),
            "heard_utterances": len(heard),
            "source": source,
            "sha256": sha256(folder / WEIGHTS),
        },
    )


def encoder_facts(folder: Path) -> dict[str, Any]:
    """model.json of a prepared encoder; CheckpointError where there is none."""
    if not (folder / FACTS).is_file():
        raise CheckpointError(f"{folder / FACTS} is missing; run the rule prepare_encoder first")
    facts: dict[str, Any] = read_json(folder / FACTS)
    return facts


def heard_utterances(folder: Path) -> list[str]:
    """Ids of the study's utterances a prepared encoder was trained on, unlabelled."""
    encoder_facts(folder)
    return (folder / HEARD).read_text(encoding="utf-8").split()


def encoder_sites(encoder: nn.Module) -> SiteMap:
    """Sites of an encoder where methods attach: feed_forward, attention, layers."""
    from eele.ser.sites import encoder_sites as sites

    return sites(encoder)


def _prepared(config: EncoderConfig, folder: Path) -> Encoder:
    facts = encoder_facts(folder)
    if (facts.get("version"), facts["config"]) != (VERSION, config.model_dump(mode="json")):
        raise CheckpointError(
            f"{folder} holds an encoder of another config or version of eele; "
            "run the rule prepare_encoder again"
        )
    encoder = build(facts["encoder"])
    load_exactly(encoder, folder / WEIGHTS)
    return encoder.eval()


def build(facts: dict[str, Any]) -> Encoder:
    """The encoder of `Encoder.facts()`, with weights that are yet to be loaded."""
    if facts["kind"] == "small":
        from eele.ser.small import SmallEncoder

        return SmallEncoder(SmallEncoderConfig.model_validate(facts["sizes"]))
    from eele.ser.pretrained import from_facts

    return from_facts(facts)


def frame_mask(lengths: Tensor, size: int) -> Tensor:
    """(B,) frames of each item -> (B, size) bool, true on its own frames."""
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]
