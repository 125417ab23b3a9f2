"""Typed study configs: models, loading with clear errors, and the generated documentation."""

from eele.config.load import check_study, dump_study, load_study
from eele.config.models import StudyConfig

__all__ = ["StudyConfig", "check_study", "dump_study", "load_study"]
