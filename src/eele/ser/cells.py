"""One recogniser of a study of emotion recognition, its path, and the way back from a path to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import ValidationError

from eele.cells import axis_values
from eele.config.models import StudyConfig
from eele.config.recognition import MethodConfig, RecognitionConfig
from eele.errors import ConfigError
from eele.vocabulary import NOT_APPLICABLE

AXES = ("encoder", "method", "sites", "size", "testbed", "fold", "seed")


@dataclass(frozen=True, order=True)
class RecognitionCell:
    """One point of the comparison; `-` (size 0) where an axis does not apply."""

    encoder: str
    method: str
    sites: str  # joined by +
    size: int
    testbed: str
    fold: str
    seed: int

    @property
    def path(self) -> Path:
        """Folder of the cell below results/<study>/recognition/."""
        return Path(*(f"{axis}~{value}" for axis, value in self.as_dict().items()))

    def as_dict(self) -> dict[str, str | int]:
        """Axis -> value, in the order of the path."""
        return asdict(self)

    @property
    def adaptation(self) -> MethodConfig:
        """The cell's method as a config; ConfigError where sites or size do not belong to it."""
        sites = () if self.sites == NOT_APPLICABLE else tuple(self.sites.split("+"))
        try:
            return MethodConfig.model_validate(
                {"method": self.method, "sites": sites, "size": self.size or None}
            )
        except ValidationError as error:
            reasons = "; ".join(str(one["msg"]) for one in error.errors())
            raise ConfigError(f"recognition cell {self.path}: {reasons}") from error

    @classmethod
    def of(
        cls, encoder: str, method: MethodConfig, testbed: str, fold: str, seed: int
    ) -> RecognitionCell:
        """The cell of one method of the config."""
        sites = "+".join(method.sites) or NOT_APPLICABLE
        return cls(encoder, method.method, sites, method.size or 0, testbed, fold, seed)

    @classmethod
    def parse(cls, text: str | Path) -> RecognitionCell:
        """The cell of a path such as `encoder~small/method~lora/...` (longer paths are fine)."""
        values = axis_values(text, AXES, "recognition cell")
        for axis in ("size", "seed"):
            number = values[axis]
            if not (number.isascii() and number.isdigit() and str(int(number)) == number):
                raise ConfigError(f"'{text}': {axis} '{number}' is not a whole number >= 0")
        return cls(
            values["encoder"],
            values["method"],
            values["sites"],
            int(values["size"]),
            values["testbed"],
            values["fold"],
            int(values["seed"]),
        )


def recognition_of(study: StudyConfig) -> RecognitionConfig:
    """The study's recognition section; ConfigError where it is no study of recognition."""
    if study.recognition is None:
        raise ConfigError(f"study {study.study} has no section recognition: nothing to recognise")
    return study.recognition


def check_recognition_cell(cell: RecognitionCell, study: StudyConfig) -> RecognitionCell:
    """`cell` itself when the study can build it, inside its comparison or not; the fold is checked where the
    recordings are known. Raises ConfigError naming the axis, its value and what is allowed there."""
    recognition = recognition_of(study)
    for axis, allowed in (("encoder", study.encoders), ("testbed", recognition.testbeds)):
        value = str(cell.as_dict()[axis])
        if value not in allowed:
            raise ConfigError(
                f"recognition cell: {axis} '{value}' is not allowed here; allowed: {', '.join(allowed)}"
            )
    _ = cell.adaptation
    return cell
