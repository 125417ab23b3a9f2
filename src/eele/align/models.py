"""What training leaves for the shards: alignment/models/models.json and the models beside it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from eele import io
from eele.errors import DataError
from eele.paths import StudyPaths


@dataclass(frozen=True)
class Models:
    """Language -> acoustic model: a path, absolute or from alignment/models.

    `seconds`: what training took; `warnings` for the summary.
    """

    aligner: str
    models: dict[str, str]
    seconds: float
    warnings: list[str] = field(default_factory=list)

    def path(self, language: str, paths: StudyPaths) -> Path:
        """Absolute path of a language's model. Raises DataError where it has none."""
        if language not in self.models:
            raise DataError(
                f"{models_file(paths)}: no model of language '{language}'; run the stage train_aligner again"
            )
        return (models_file(paths).parent / self.models[language]).resolve()


def models_file(paths: StudyPaths) -> Path:
    """Written last, when all models lie beside it."""
    return paths.alignment / "models" / "models.json"


def write_models(paths: StudyPaths, models: Models) -> None:
    io.write_json(models_file(paths), asdict(models))


def read_models(paths: StudyPaths) -> Models:
    """Raises DataError where training has not run."""
    try:
        return Models(**io.read_json(models_file(paths)))
    except (FileNotFoundError, TypeError) as error:
        raise DataError(
            f"{models_file(paths)} is missing or damaged ({error!r}); run the stage train_aligner again"
        ) from error
