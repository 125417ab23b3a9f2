"""Named parts (corpora, backbones, methods, metrics, ...), registered by explicit import."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from eele.errors import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """A name -> part table that refuses duplicate names and explains unknown ones."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._parts: dict[str, T] = {}

    def register(self, name: str, part: T) -> T:
        """Add `part` under `name`; a name taken twice is a programming error and raises at import."""
        if name in self._parts:
            raise ValueError(f"{self.kind} '{name}' is registered twice")
        self._parts[name] = part
        return part

    def __getitem__(self, name: str) -> T:
        if name not in self._parts:
            raise ConfigError(f"unknown {self.kind} '{name}'; allowed: {', '.join(self)}")
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._parts))

    def __contains__(self, name: object) -> bool:
        return name in self._parts
