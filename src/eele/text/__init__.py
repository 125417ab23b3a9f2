"""Text: words, phones, the pronouncing lexicon."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eele.config.models import StudyConfig
    from eele.paths import StudyPaths

__all__ = ["build_lexicon"]


def build_lexicon(study: StudyConfig, paths: StudyPaths) -> None:
    """Write the study's lexicon; see `eele.text.lexicon.build_lexicon`."""
    from eele.text.lexicon import build_lexicon as build

    build(study, paths)
