"""What a study that adapts to new voices must have: checked when a config is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eele.peft import METHODS

if TYPE_CHECKING:
    from eele.config.models import StudyConfig


def check_voices(study: StudyConfig) -> None:
    """Raise ValueError where voices left out of pre-training, and what is asked of them, do not fit."""
    new = study.pretraining.leave_out
    if not new:
        for index, block in enumerate(study.sweep):
            if METHODS[block.method].needs == "voices":
                raise ValueError(
                    f"sweep.{index}.method: {block.method} learns voices that pre-training has not heard; name "
                    "them in pretraining.leave_out"
                )
        return
    if len(set(new)) < len(new):
        raise ValueError(f"pretraining.leave_out: {', '.join(new)}: one stands twice")
    if study.recognition is not None:
        raise ValueError("pretraining.leave_out: a study of recognition has no voice to adapt")
    foreign = [voice for voice in study.adaptation.speakers or () if voice not in new]
    if foreign:
        raise ValueError(
            f"adaptation.speakers: {', '.join(foreign)}: the study adapts to the voices that pretraining.leave_out "
            f"names ({', '.join(new)}); take the key out, or name some of these"
        )
