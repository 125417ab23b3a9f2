"""Corpora: adapters of official layouts, collection, cleaning, splits.

The stages are imported when they are called: listing adapters loads no audio library.
"""

from __future__ import annotations

from eele.config.models import StudyConfig
from eele.corpora.base import Adapter
from eele.corpora.cremad import CremaD
from eele.corpora.demo import Demo
from eele.corpora.emodb import EmoDb
from eele.corpora.emovdb import EmovDb
from eele.corpora.esd import Esd
from eele.corpora.folder import Folder
from eele.corpora.iemocap import Iemocap
from eele.corpora.libritts_r import LibriTtsR
from eele.corpora.ljspeech import LjSpeech
from eele.corpora.msp_improv import MspImprov
from eele.corpora.msp_podcast import MspPodcast
from eele.corpora.nemo import Nemo
from eele.corpora.ravdess import Ravdess
from eele.corpora.vctk import Vctk
from eele.paths import StudyPaths
from eele.registry import Registry

__all__ = ["CORPORA", "Adapter", "assemble", "clean", "collect"]

CORPORA: Registry[Adapter] = Registry("corpus")
for _adapter in (
    Vctk(),
    Esd(),
    LjSpeech(),
    LibriTtsR(),
    Ravdess(),
    CremaD(),
    EmoDb(),
    Nemo(),
    EmovDb(),
    Iemocap(),
    MspImprov(),
    MspPodcast(),
    Folder(),
    Demo(),
):
    CORPORA.register(_adapter.name, _adapter)


def collect(study: StudyConfig, paths: StudyPaths, corpus_id: str, jobs: int = 1) -> None:
    """List one corpus; see `eele.corpora.collecting.collect_corpus`."""
    from eele.corpora.collecting import collect_corpus

    collect_corpus(study, paths, corpus_id, jobs)


def clean(study: StudyConfig, paths: StudyPaths, corpus_id: str, jobs: int = 1) -> None:
    """Clean one corpus; see `eele.corpora.cleaning.clean_corpus`."""
    from eele.corpora.cleaning import clean_corpus

    clean_corpus(study, paths, corpus_id, jobs)


def assemble(study: StudyConfig, paths: StudyPaths) -> None:
    """Unite the cleaned corpora; see `eele.corpora.assembling.assemble_manifest`."""
    from eele.corpora.assembling import assemble_manifest

    assemble_manifest(study, paths)
