"""Config section of the sweep: which methods, at which sites, of which size."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from eele.config.data import Count, Name, Section
from eele.peft import METHODS

_BUDGET = re.compile(r"(\d+(?:\.\d+)?)([kM]?)")
_FACTORS = {"": 1, "k": 1_000, "M": 1_000_000}


def _weights(value: Any) -> Any:
    """The number that `50k` or `1.5M` means; what is no text as it is."""
    if not isinstance(value, str):
        return value
    found = _BUDGET.fullmatch(value)
    number = Decimal(found[1]) * _FACTORS[found[2]] if found else Decimal("NaN")
    if not number.is_finite() or number != int(number):
        raise ValueError(f"'{value}' is no number of weights; write 50000, 50k or 1.5M")
    return int(number)


def _registered(name: str) -> str:
    if name not in METHODS:
        raise ValueError(f"unknown method '{name}'; allowed: {', '.join(METHODS)}")
    return name


#: A method by its name.
AdaptationMethod = Annotated[
    str, AfterValidator(_registered), WithJsonSchema({"type": "string", "enum": list(METHODS)})
]

Budget = Annotated[
    Count,
    BeforeValidator(_weights),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "string", "pattern": f"^{_BUDGET.pattern}$"},
            ]
        }
    ),
]


class SweepBlock(Section):
    """One block of the sweep: method x schemes x (ranks and budgets); blocks are united."""

    method: AdaptationMethod = Field("lora", description="adaptation method (docs/adaptation.md)")
    schemes: tuple[Name, ...] = Field(
        (), description="insertion schemes (not for `full` and `voice`)"
    )
    ranks: tuple[Count, ...] = Field(
        (),
        description="sizes; docs/adaptation.md says what a method's size counts (not for methods without)",
    )
    budgets: tuple[Budget, ...] = Field(
        (),
        description="beside or instead of ranks: trainable weights, such as 50k or 1.5M; every scheme gets "
        "the size that comes closest",
    )
    skip_impossible: bool = Field(
        False, description="leave out schemes with a site the method cannot go to, not refuse them"
    )

    @model_validator(mode="after")
    def _axes(self) -> SweepBlock:
        method = METHODS[self.method]
        sized = self.ranks or self.budgets
        if not method.sited:
            if self.schemes or sized:
                what = "moves every weight" if method.needs == "model" else "learns voices alone"
                raise ValueError(
                    f"method {self.method} {what}: it takes no schemes and no ranks or budgets"
                )
        elif method.size is None:
            if not self.schemes or sized:
                raise ValueError(
                    f"method {self.method} has one size: it needs schemes, and takes no ranks or budgets"
                )
        elif not self.schemes or not sized:
            raise ValueError(f"method {self.method} needs schemes, and ranks or budgets")
        return self
