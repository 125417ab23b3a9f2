"""Config section of one mixture: adapters plugged together, in which strengths."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from eele.config.data import Section

Strength = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class CombiningConfig(Section):
    """Adapters plugged together: the line between two of them, or one or several at several intensities."""

    cells: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        ...,
        description="adapters as `eele say --cell` names them: METHOD/SCHEME/RANK/EMOTION[/SEED][:WEIGHT]; the study's "
        "first seed and weight 1 where none is given",
    )
    points: Annotated[int, Field(ge=2)] | None = Field(
        None, description="points of the line from the first of two cells to the second"
    )
    intensities: tuple[Strength, ...] = Field(
        (), description="what the weights of all cells are multiplied by, rising"
    )

    @model_validator(mode="after")
    def _one_axis(self) -> CombiningConfig:
        if (self.points is None) == (not self.intensities):
            raise ValueError(
                "give either points (of the line between two cells) or intensities (of all cells together)"
            )
        if self.points is not None and len(self.cells) != 2:
            raise ValueError(f"a line lies between two cells; {len(self.cells)} named")
        if self.intensities and (
            len(self.intensities) < 2 or list(self.intensities) != sorted(set(self.intensities))
        ):
            raise ValueError("intensities: at least two are needed, each larger than the last")
        return self
