"""Resumable training state: written whole or not at all, and bound to what it belongs to."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import torch

from eele.errors import CheckpointError
from eele.io import atomic_path

log = logging.getLogger(__name__)


def save(path: Path, identity: str, state: dict[str, Any]) -> None:
    """Write tensors and plain values; `identity` names the config and data the state belongs to."""
    # By way of memory: where torch itself writes the file, a full disk is an error without a reason.
    buffer = io.BytesIO()
    torch.save({"identity": identity, **state}, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load(path: Path, identity: str) -> dict[str, Any] | None:
    """The saved state, or None when there is none for this identity.

    A state of another config is left aside with a warning; a damaged file raises CheckpointError.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        found = state.pop("identity")
    except Exception as error:  # torch raises many kinds for a damaged file
        raise CheckpointError(
            f"{path}: damaged checkpoint ({type(error).__name__}); delete it and run the same command again"
        ) from error
    if found != identity:
        log.warning("%s belongs to another config or corpus: starting from step 0", path)
        return None
    return state
