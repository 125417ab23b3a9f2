"""Adapters on disk, and how one is plugged into the neutral model. Imports no training code: speaking
needs none of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from eele.errors import CheckpointError
from eele.io import read_json, sha256
from eele.neutral import WEIGHTS, NeutralModel, read_tensors
from eele.peft import method
from eele.peft.base import AdapterSpec, Attachment
from eele.sites import backbone_sites

if TYPE_CHECKING:
    from eele.backbones.base import Backbone

ADAPTER_WEIGHTS = "adapter.safetensors"
ADAPTER_FACTS = "adapter.json"


def plug(
    model: Backbone,
    neutral: NeutralModel,
    neutral_folder: Path,
    adapter: Path,
    name: str = "adapter",
) -> Attachment:
    """Attach and fill the adapter of a folder; CheckpointError when it was trained on another neutral model."""
    if not (adapter / ADAPTER_FACTS).is_file():
        raise CheckpointError(f"{adapter / ADAPTER_FACTS} is missing; train the cell first")
    facts = read_json(adapter / ADAPTER_FACTS)
    base = sha256(neutral_folder / WEIGHTS)
    if facts["base_sha256"] != base:
        raise CheckpointError(
            f"{adapter} was trained on another neutral model ({facts['base_sha256'][:12]}, this one is "
            f"{base[:12]}); train the cell again"
        )
    spec = AdapterSpec.from_dict(facts)
    how = method(spec.method, bool(spec.voices))
    attached = how.attach(model, backbone_sites(neutral.backbone), spec, name)
    how.load(model, read_tensors(adapter / ADAPTER_WEIGHTS), name)
    model.eval()
    return attached
