"""Sizes for budgets: which size of a method comes closest to so many trainable weights.

Sizes have to be known before there is a corpus, so they are counted on a backbone without storage (torch's meta
device) with so many phones and voices as a study usually has. A phone more or less moves the counts of
methods that adapt the phone embedding a little: tables show what was really trained.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from eele.config.models import AudioConfig, BackboneConfig, StudyConfig
from eele.vocabulary import scheme_sites

if TYPE_CHECKING:
    from torch import nn

    from eele.sites import Block, SiteMap

#: About what espeak-ng's phones of one language come to, and a few voices.
NOMINAL_PHONES, NOMINAL_VOICES = 64, 8
#: No size is looked for beyond this.
LARGEST = 2**20


def size_for(study: StudyConfig, method: str, scheme: str, budget: int) -> int:
    """The size of `method` at `scheme` whose trainable weights come closest to `budget`.

    Imports torch, for a second or two; asked again it remembers.
    """
    sites = scheme_sites(scheme, study.backbone.name, study.schemes)
    sizes = study.backbone.model_dump_json(), study.audio.model_dump_json()
    voices = study.adaptation.speakers or study.pretraining.leave_out
    return _size(*sizes, method, sites, budget, len(voices) if study.adapts_voices else 0)


def closest(count: Callable[[int], int], budget: int) -> int:
    """The size >= 1 whose `count`, which does not fall with the size, is nearest to `budget`; of two equally
    near, and of many with one count, the smaller."""
    top = 1
    while count(top) < budget and top < LARGEST:
        top *= 2

    def first(goal: int) -> int:
        """The smallest size that counts `goal` or more; `top` does."""
        low, high = 0, top
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if count(middle) < goal else (low, middle)
        return high

    # Where all counts stay below the budget, the largest of them is the nearest.
    above = first(min(budget, count(top)))
    below = first(count(above - 1)) if above > 1 else above
    return min(below, above, key=lambda size: (abs(count(size) - budget), size))


@cache
def _size(
    backbone: str, audio: str, name: str, sites: tuple[str, ...], budget: int, voices: int
) -> int:
    from eele.peft import method
    from eele.peft.base import AdapterSpec

    model, places = _bare(backbone, audio)
    how, rows = method(name, bool(voices)), tuple(range(voices))
    return closest(
        lambda size: how.formula(model, places, AdapterSpec(name, sites, size, voices=rows)), budget
    )


@cache
def _bare(backbone: str, audio: str) -> tuple[nn.Module, SiteMap]:
    """A backbone without storage, and its sites."""
    import torch

    from eele.backbones import build
    from eele.sites import backbone_sites

    config = BackboneConfig.model_validate_json(backbone)
    with torch.device("meta"):
        model = build(
            config, NOMINAL_PHONES, NOMINAL_VOICES, AudioConfig.model_validate_json(audio)
        )
    return model, _Remembered(backbone_sites(config))


class _Remembered:
    """A site map that looks through a model once: a search asks the same hundreds of times."""

    def __init__(self, sites: SiteMap) -> None:
        self.name, self.names = sites.name, sites.names
        self._modules = cache(sites.modules)
        self._blocks = cache(sites.blocks)

    def modules(self, model: nn.Module, site: str) -> dict[str, nn.Module]:
        """See `SiteMap.modules`."""
        return self._modules(model, site)

    def blocks(self, model: nn.Module, site: str) -> list[Block]:
        """See `SiteMap.blocks`."""
        return self._blocks(model, site)
