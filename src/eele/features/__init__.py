"""Features: log-mel, F0, energy, phone durations; extraction in shards and the store that reads them.

Names load on first use, so that importing the package stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eele.features.extract import extract_shard
    from eele.features.indexing import index
    from eele.features.store import FeatureStore, Utterance

_HOMES = {
    "FeatureStore": "eele.features.store",
    "Utterance": "eele.features.store",
    "extract_shard": "eele.features.extract",
    "index": "eele.features.indexing",
}

__all__ = ["FeatureStore", "Utterance", "extract_shard", "index"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
