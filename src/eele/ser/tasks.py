"""What a recogniser learns: the loss of what it puts out, its score on validation, and which way that is better."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from eele.config.recognition import RecogniserTrainingConfig, Target
from eele.metrics.phone_errors import phone_errors
from eele.ser.ctc import NONE, FrameLogits, ctc_losses, decode
from eele.ser.labelled import LabelledSet
from eele.ser.scores import LOWER_IS_BETTER, SCORES, uar


class Task(ABC):
    """The part of training that depends on what is learned.

    What a recogniser puts out is `heard`, the labels are those of a `LabelledBatch`.
    """

    score: str

    @abstractmethod
    def loss(self, heard: Any, labels: Tensor) -> Tensor:
        """Loss of a batch, a mean over its utterances."""

    @abstractmethod
    def validate(self, batches: Sequence[tuple[Any, Tensor]]) -> dict[str, float]:
        """`loss` and the score, by its name, of all utterances: what was heard, and their labels, by batch."""

    def merit(self, score: float) -> float:
        """`score`, turned where less is better."""
        return -score if self.score in LOWER_IS_BETTER else score


class Classes(Task):
    """One class an utterance: cross-entropy, chosen by UAR or accuracy."""

    def __init__(self, score: str, classes: Sequence[str], weights: Tensor | None) -> None:
        """weights: (classes,) of the loss."""
        self.score, self._classes, self._weights = score, classes, weights

    def loss(self, heard: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(heard, labels, self._weights)

    def validate(self, batches: Sequence[tuple[Tensor, Tensor]]) -> dict[str, float]:
        logits = torch.cat([heard.float() for heard, _ in batches])
        labels = torch.cat([labels for _, labels in batches])
        found = logits.argmax(1)
        if self.score == "uar":
            names = [[self._classes[i] for i in some.tolist()] for some in (labels, found)]
            score = uar(*names)
        else:
            score = float((found == labels).double().mean())
        return {"loss": float(self.loss(logits, labels)), self.score: score}


class Phones(Task):
    """A sequence of phones an utterance: CTC, per phone, chosen by phone error rate."""

    score = "per"

    def loss(self, heard: FrameLogits, labels: Tensor) -> Tensor:
        return ctc_losses(heard, labels).mean()

    def validate(self, batches: Sequence[tuple[FrameLogits, Tensor]]) -> dict[str, float]:
        losses = torch.cat([ctc_losses(heard, labels) for heard, labels in batches])
        errors = count = 0
        for heard, labels in batches:
            for said, found in zip(labels.tolist(), decode(heard), strict=True):
                spoken = [phone for phone in said if phone != NONE]
                errors += phone_errors([str(p) for p in spoken], [str(p) for p in found])
                count += len(spoken)
        return {"loss": float(losses.mean()), "per": errors / count}


def task_of(
    target: Target,
    classes: Sequence[str],
    train_set: LabelledSet,
    config: RecogniserTrainingConfig,
    device: torch.device,
) -> Task:
    """The task of a testbed's target; class weights, where asked for, are those of the training utterances."""
    if target == "phones":
        return Phones()
    weights = train_set.class_weights(len(classes)).to(device) if config.class_weights else None
    return Classes(SCORES[target], classes, weights)
