"""What a method needs of a place where it is to be attached, and why a place does not do. Needs no torch.

The same words serve a config that is read and a model that is at hand.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

from eele.sites import Kind, Part

KINDS: frozenset[Kind] = frozenset(get_args(Kind))


@dataclass(frozen=True)
class Entry:
    """One method, as far as it is known without torch."""

    where: str  # module:class
    #: Parts of layers it acts on; `weights`: layers that hold weights, of its `kinds`; `model`: all of the model;
    #: `voices`: the speaker table, for voices that pre-training left out.
    needs: Literal["weights", "model", "voices"] | tuple[Part, ...]
    size: str | None  # what its size (`rank`) counts, for messages and tables; None: it has none
    kinds: frozenset[Kind] = KINDS

    @property
    def sited(self) -> bool:
        """Whether it goes to sites: to a scheme of a sweep."""
        return self.needs not in ("model", "voices")

    def lacks(self, kinds: Collection[Kind], parts: Collection[Part]) -> str | None:
        """Why it has nothing to do at a site that holds `kinds` and `parts` of layers; None where it has."""
        if self.needs == "model":
            return "it moves every weight of the model, and takes no sites"
        if self.needs == "voices":
            return "it learns new voices of a synthesiser, and takes no sites"
        if self.needs == "weights":
            if self.kinds.isdisjoint(kinds):
                return f"it adapts {_listed(self.kinds)} only, and the site holds {_listed(kinds)}"
            return None
        if not set(self.needs).isdisjoint(parts):
            return None
        layers = " and of predictors" * ("predictor" in self.needs)
        if not parts:
            return f"it adapts layers of Transformers{layers}, and the site has none"
        return f"it acts on the {self.needs[0].replace('_', '-')}, which is not part of the site"


def cannot(method: str, site: str, model: str, reason: str) -> str:
    """The message that refuses a method at a site."""
    return f"{method} cannot be attached at site '{site}' of {model}: {reason}"


_PLURALS: dict[Kind, str] = {
    "linear": "linear maps",
    "convolution": "convolutions",
    "transposed convolution": "transposed convolutions",
    "embedding": "embeddings",
}


def _listed(kinds: Collection[Kind]) -> str:
    names = [name for kind, name in _PLURALS.items() if kind in kinds]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names or ["none"])
