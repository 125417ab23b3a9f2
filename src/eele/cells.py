"""The sweep: every cell of a study, its path, and the way back from a path to a cell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from eele.config.models import StudyConfig
from eele.errors import ConfigError
from eele.peft import METHODS
from eele.vocabulary import BASELINES, NOT_APPLICABLE, SCHEMES, scheme_sites

AXES = ("backbone", "method", "scheme", "rank", "emotion", "seed")


@dataclass(frozen=True, order=True)
class Cell:
    """One point of the sweep; `-` (rank 0) where an axis does not apply."""

    backbone: str
    method: str
    scheme: str
    rank: int
    emotion: str
    seed: str

    @property
    def trained(self) -> bool:
        """Whether the cell has weights of its own."""
        return self.method not in BASELINES

    @property
    def spoken(self) -> bool:
        """Whether the cell's speech comes out of a backbone."""
        return self.method not in ("recording", "copy_synthesis")

    @property
    def learns_voices(self) -> bool:
        """Whether the cell adapts to voices that pre-training left out: to neutral speech."""
        return self.trained and self.emotion == "neutral"

    @property
    def path(self) -> Path:
        """Folder of the cell below results/<study>/cells/."""
        return Path(*(f"{axis}~{value}" for axis, value in self.as_dict().items()))

    def as_dict(self) -> dict[str, str | int]:
        """Axis -> value, in the order of the path."""
        return asdict(self)

    @classmethod
    def parse(cls, text: str | Path) -> Cell:
        """The cell of a path such as `backbone~fastspeech2/method~lora/...` (longer paths are fine)."""
        values = axis_values(text, AXES, "cell")
        try:
            rank = int(values.pop("rank"))
        except ValueError:
            raise ConfigError(f"'{text}': the rank is not a whole number") from None
        return cls(rank=rank, **values)

    def sites(self, study: StudyConfig) -> tuple[str, ...]:
        """Sites this cell adapts; empty for `full`, `voice` and baselines."""
        if self.scheme == NOT_APPLICABLE:
            return ()
        return scheme_sites(self.scheme, self.backbone, study.schemes)


def axis_values(text: str | Path, axes: Sequence[str], what: str) -> dict[str, str]:
    """Axis -> value of a path that names a `what` among its folders; ConfigError where an axis is missing."""
    values = dict(part.split("~", 1) for part in Path(text).parts if part.split("~", 1)[0] in axes)
    missing = [axis for axis in axes if axis not in values]
    if missing:
        raise ConfigError(
            f"'{text}' does not name a {what}: {', '.join(missing)} missing; expected "
            + "/".join(f"{axis}~..." for axis in axes)
        )
    return values


def sweep(study: StudyConfig) -> list[Cell]:
    """Every cell of the study, baselines first, each once, in a stable order."""
    na = NOT_APPLICABLE
    backbone = study.backbone.name
    cells: list[Cell] = []
    for emotion in dict.fromkeys(("neutral", *study.adapted)):
        cells.append(Cell(na, "recording", na, 0, emotion, na))
        cells.append(Cell(na, "copy_synthesis", na, 0, emotion, na))
        cells.append(Cell(backbone, "none", na, 0, emotion, na))
    for place in placements(study):
        for emotion in study.adapted:
            for seed in study.seeds:
                cells.append(Cell(backbone, *place[:3], emotion, str(seed)))
    return list(dict.fromkeys(cells))


class Placement(NamedTuple):
    """What a block of the sweep asks for, over all emotions and seeds."""

    method: str
    scheme: str
    rank: int
    #: Trainable weights the rank was chosen for; None where the block names the rank.
    budget: int | None


class LeftOut(NamedTuple):
    """A scheme that a block of the sweep names and that its method cannot go to."""

    method: str
    scheme: str
    reason: str


def placements(study: StudyConfig) -> Iterator[Placement]:
    """What the blocks of the sweep ask for, in their order; one thing may be asked for twice."""
    for block in study.sweep:
        for scheme in block.schemes or (NOT_APPLICABLE,):
            if study.refusal(block.method, scheme) is not None:
                continue  # the config allows that, or was refused when it was read
            for rank in block.ranks or (0,) * (not block.budgets):
                yield Placement(block.method, scheme, rank, None)
            for budget in block.budgets:
                yield Placement(
                    block.method, scheme, _size(study, block.method, scheme, budget), budget
                )


def _size(study: StudyConfig, method: str, scheme: str, budget: int) -> int:
    # torch is imported here, for studies with budgets only.
    from eele.budgets import size_for

    return size_for(study, method, scheme, budget)


def left_out(study: StudyConfig) -> list[LeftOut]:
    """What blocks with `skip_impossible` name and the sweep does not hold, each once."""
    named = [(block.method, scheme) for block in study.sweep for scheme in block.schemes]
    reasons = [
        LeftOut(method, scheme, reason)
        for method, scheme in named
        if (reason := study.refusal(method, scheme)) is not None
    ]
    return list(dict.fromkeys(reasons))


def check_cell(cell: Cell, study: StudyConfig) -> Cell:
    """`cell` itself when the study can build it, inside its sweep or not.

    Raises ConfigError naming the axis, its value and what is allowed there.
    """
    _allow("method", cell.method, (*METHODS, *BASELINES))
    _allow("backbone", cell.backbone, (study.backbone.name if cell.spoken else NOT_APPLICABLE,))
    emotions = study.adapted if cell.trained else ("neutral", *study.adapted)
    _allow("emotion", cell.emotion, tuple(dict.fromkeys(emotions)))
    if cell.trained and METHODS[cell.method].needs == "voices" and not study.adapts_voices:
        raise ConfigError(
            f"cell: method '{cell.method}' is not allowed here; it learns voices that pre-training has not heard, "
            "and pretraining.leave_out names none"
        )
    if cell.trained and METHODS[cell.method].sited:
        _allow("scheme", cell.scheme, (*SCHEMES, *study.schemes))
        if METHODS[cell.method].size is None:
            _allow("rank", str(cell.rank), ("0",))
        elif cell.rank < 1:
            raise ConfigError(f"cell: rank {cell.rank} is not allowed; a rank is 1 or larger")
        if reason := study.refusal(cell.method, cell.scheme):
            raise ConfigError(f"cell: scheme '{cell.scheme}' is not allowed here; {reason}")
    else:
        _allow("scheme", cell.scheme, (NOT_APPLICABLE,))
        _allow("rank", str(cell.rank), ("0",))
    if not cell.trained:
        _allow("seed", cell.seed, (NOT_APPLICABLE,))
    elif not (cell.seed.isascii() and cell.seed.isdigit() and str(int(cell.seed)) == cell.seed):
        raise ConfigError(f"cell: seed '{cell.seed}' is not allowed; a seed is a whole number >= 0")
    return cell


def _allow(axis: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(
            f"cell: {axis} '{value}' is not allowed here; allowed: {', '.join(allowed)}"
        )
