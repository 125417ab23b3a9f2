"""Rows of the speaker table for voices that pre-training left out: what every adapter to a new voice needs.

The neutral model speaks for a new voice with the mean of the voices it knows; a cell learns how far the voice lies
from there: d weights per voice, zero at the start, which are added to the voice's row wherever the model looks it
up. They are weights of the adapter, so a strength scales them, and the table itself never moves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from eele.errors import ConfigError
from eele.neutral import SPEAKER_TABLE as TABLE
from eele.peft import METHODS
from eele.peft.base import Adapter, AdapterSpec, Attachment, Method
from eele.peft.inserted import Insertion
from eele.peft.where import cannot

if TYPE_CHECKING:
    from eele.sites import Block, SiteMap

_HOLDER = "inserted_voice"


class Moved(nn.Module):
    """How far some voices lie from their rows of the table: (voices, d), zero at the start."""

    rows: Tensor

    def __init__(self, table: nn.Embedding, rows: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer(
            "rows", torch.tensor(rows, device=table.weight.device), persistent=False
        )
        self.voices = nn.Parameter(table.weight.new_zeros(len(rows), table.embedding_dim))

    def forward(self, speakers: Tensor) -> Tensor:
        """(batch,) rows asked for -> (batch, d): zero where a voice is none of these."""
        own = speakers[:, None] == self.rows
        return own.to(self.voices.dtype) @ self.voices


class Voices(Insertion):
    """The adapters at a speaker table, by name."""

    def listen(self, model: nn.Module, block: Block | None = None) -> None:
        """Act on the table `model`, which belongs to no layer."""
        model.register_forward_hook(self.add)

    def add(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Hook on the table: adds what each adapter says of the voices asked for."""
        for adapter, weight in self.active():
            output = output + weight * adapter(inputs[0])
        return output


class Voice(Adapter):
    """Rows of the speaker table for voices left out of pre-training, and nothing else."""

    name = "voice"

    def attach(
        self, model: nn.Module, sites: SiteMap, spec: AdapterSpec, name: str = "adapter"
    ) -> Attachment:
        if spec.sites:
            reason = METHODS[self.name].lacks((), ())
            raise ConfigError(cannot(self.name, spec.sites[0], sites.name, str(reason)))
        wrapped = self.insert(model, spec, name)
        self.train_alone(model, name)
        return Attachment(wrapped)

    def insert(self, model: nn.Module, spec: AdapterSpec, name: str) -> list[str]:
        """Put fresh rows beside the table; returns the module they act on."""
        if not spec.voices:
            raise ConfigError("no voice to learn: pre-training has left none out")
        table = _table(model)
        holder = getattr(table, _HOLDER, None)
        if holder is None:
            holder = Voices()
            table.add_module(_HOLDER, holder)
            holder.listen(table)
        assert isinstance(holder, Voices)
        if name in holder:
            raise ConfigError(f"{TABLE} already holds voices called '{name}'")
        holder[name] = Moved(table, spec.voices)
        holder.strengths[name] = 1.0
        return [TABLE]

    def parameters(self, model: nn.Module, name: str = "adapter") -> dict[str, nn.Parameter]:
        holder = getattr(_table(model), _HOLDER, {})
        if name not in holder:
            return {}
        return {f"{TABLE}.{key}": p for key, p in holder[name].named_parameters()}

    def scale(self, model: nn.Module, weight: float, name: str = "adapter") -> None:
        holder = getattr(_table(model), _HOLDER, None)
        if holder is not None and name in holder:
            holder.strengths[name] = weight

    def merge(self, model: nn.Module) -> None:
        table = _table(model)
        holder = getattr(table, _HOLDER, None)
        if holder is None:
            return
        for name, weight in holder.strengths.items():
            moved = holder[name]
            table.weight.data[moved.rows] += weight * moved.voices.detach()
            holder.strengths[name] = 0.0

    def formula(self, model: nn.Module, sites: SiteMap, spec: AdapterSpec) -> int:
        return len(spec.voices) * _table(model).embedding_dim


class WithVoices(Adapter):
    """A method, and beside it the rows of new voices."""

    def __init__(self, method: Method) -> None:
        assert isinstance(method, Adapter)
        self._method, self._voice = method, Voice()
        self.name = method.name

    def attach(
        self, model: nn.Module, sites: SiteMap, spec: AdapterSpec, name: str = "adapter"
    ) -> Attachment:
        attached = self._method.attach(model, sites, spec, name)
        attached.wrapped += self._voice.insert(model, spec, name)
        self.train_alone(model, name)
        return attached

    def parameters(self, model: nn.Module, name: str = "adapter") -> dict[str, nn.Parameter]:
        return {
            **self._method.parameters(model, name),
            **self._voice.parameters(model, name),
        }

    def scale(self, model: nn.Module, weight: float, name: str = "adapter") -> None:
        self._method.scale(model, weight, name)
        self._voice.scale(model, weight, name)

    def merge(self, model: nn.Module) -> None:
        self._method.merge(model)
        self._voice.merge(model)

    def formula(self, model: nn.Module, sites: SiteMap, spec: AdapterSpec) -> int:
        return self._method.formula(model, sites, spec) + self._voice.formula(model, sites, spec)


def _table(model: nn.Module) -> Any:
    return model.get_submodule(TABLE)
