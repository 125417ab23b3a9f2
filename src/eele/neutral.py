"""The neutral model on disk: weights, and everything needed to speak with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eele.backbones import build
from eele.config.models import AudioConfig, BackboneConfig
from eele.errors import CheckpointError
from eele.io import atomic_path, read_json, sha256, write_json

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from torch import Tensor, nn

    from eele.backbones.base import Backbone

WEIGHTS = "model.safetensors"
FACTS = "model.json"
#: The opponent of an adversarially trained model, from which cells go on.
CRITIC = "critic.safetensors"
#: The module of every backbone that holds a row (d,) per voice.
SPEAKER_TABLE = "speaker_embedding"


@dataclass(frozen=True)
class NeutralModel:
    """A trained neutral backbone and its facts."""

    backbone: BackboneConfig
    phones: tuple[str, ...]  # position = phone id
    speakers: tuple[str, ...]  # position = speaker id; the new voices last
    statistics: dict[str, Any]  # features/statistics.json of its training
    audio: AudioConfig
    new_voices: tuple[str, ...] = ()  # left out of its training

    def rows(self, voices: Collection[str]) -> tuple[int, ...]:
        """Speaker ids of some voices."""
        return tuple(self.speakers.index(voice) for voice in sorted(voices))

    def fresh(self) -> Backbone:
        """The backbone with weights drawn from torch's current random state."""
        return build(self.backbone, len(self.phones), len(self.speakers), self.audio)

    def facts(self) -> dict[str, Any]:
        """Plain values for model.json; `new_voices` where there are any."""
        new = {"new_voices": list(self.new_voices)} if self.new_voices else {}
        return {
            "backbone": self.backbone.model_dump(mode="json"),
            "phones": list(self.phones),
            "speakers": list(self.speakers),
            "statistics": self.statistics,
            "audio": self.audio.model_dump(mode="json"),
            **new,
        }

    @classmethod
    def open(cls, folder: Path) -> NeutralModel:
        """The facts of a neutral model's folder; CheckpointError where there is none."""
        if not (folder / FACTS).is_file():
            raise CheckpointError(f"{folder / FACTS} is missing; train the neutral model first")
        facts = read_json(folder / FACTS)
        return cls(
            BackboneConfig.model_validate(facts["backbone"]),
            tuple(facts["phones"]),
            tuple(facts["speakers"]),
            facts["statistics"],
            AudioConfig.model_validate(facts["audio"]),
            tuple(facts.get("new_voices", ())),
        )

    def load(self, folder: Path) -> Backbone:
        """The backbone with the folder's weights, in evaluation mode."""
        model = self.fresh()
        load_exactly(model, folder / WEIGHTS)
        return model.eval()


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write safetensors atomically."""
    from safetensors.torch import save_file

    with atomic_path(path) as temporary:
        # One entry: several come out in any order, and equal weights would be unequal files.
        contiguous = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        save_file(contiguous, temporary, {"format": "pt"})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read safetensors; a damaged or missing file raises CheckpointError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as safetensors ({error}); delete it and run the same command again"
        ) from error


def load_exactly(model: nn.Module, path: Path, partly: bool = False) -> None:
    """Load a file's weights; names and shapes must match exactly (CheckpointError). With `partly` the
    file may hold more than the model takes."""
    tensors = read_tensors(path)
    if partly:
        tensors = {key: tensors[key] for key in model.state_dict() if key in tensors}
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit the backbone of {FACTS}: {error}") from error


def save_neutral(folder: Path, neutral: NeutralModel, state: Mapping[str, Tensor]) -> None:
    """Write weights and facts; the facts last, since their presence says that the model is whole.

    The model speaks for new voices with the mean of those it knows: their rows say nothing but that.
    """
    if neutral.new_voices:
        key = f"{SPEAKER_TABLE}.weight"
        table, known = state[key].clone(), len(neutral.speakers) - len(neutral.new_voices)
        table[known:] = table[:known].mean(dim=0)
        state = {**state, key: table}
    save_tensors(folder / WEIGHTS, state)
    write_json(folder / FACTS, {**neutral.facts(), "sha256": sha256(folder / WEIGHTS)})
