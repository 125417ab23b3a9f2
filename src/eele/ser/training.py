"""Training of recognisers with PEFT-SER's settings (arXiv 2306.05350): Adam, plateau, best epoch by score.

Everything random in a step is seeded from (seed, step), and batches are a pure function of them: a run that
was killed and resumed ends with the same weights as one that was not. `eele.training.loop` is the loop of
the synthesisers, whose schedule goes by steps and whose best weights go by a loss; here both go by epochs
and by the score of the task (`eele.ser.tasks`).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau
from tqdm import tqdm

from eele.config.models import RuntimeConfig
from eele.config.recognition import RecogniserTrainingConfig, Target
from eele.errors import EeleError
from eele.io import hash_json
from eele.ser.adaptation import Adaptation
from eele.ser.ctc import decode
from eele.ser.labelled import LabelledBatch, LabelledSet
from eele.ser.model import Recogniser
from eele.ser.tasks import Task, task_of
from eele.stage import Interrupted
from eele.training import checkpoint
from eele.training.devices import deferred_termination
from eele.training.prefetch import Prefetcher

log = logging.getLogger(__name__)

#: Raised when equal settings give other weights: part of the identity of a recogniser's and a judge's training.
VERSION = 2


@dataclass(frozen=True)
class Fit:
    """What to train and where its state goes."""

    config: RecogniserTrainingConfig
    seed: int
    identity: str  # hash of all that shapes the result
    checkpoint: Path
    label: str
    target: Target = "emotion"

    @property
    def state_identity(self) -> str:
        """Of the resumable state: also which values it holds, which differ between versions of eele."""
        return hash_json([self.identity, [value.name for value in fields(Progress)]])


@dataclass
class Progress:
    """Where a run stands; all of it survives a kill."""

    step: int = 0
    best_epoch: int = 0
    best_score: float | None = None  # on validation
    best_loss: float = math.inf
    #: Sum of the training loss in the epoch at work, over utterances.
    loss_sum: float = 0.0
    seconds: float = 0.0
    curves: list[dict[str, float | str]] = field(default_factory=list)


def fit_recogniser(
    fabric: Fabric,
    recogniser: Recogniser,
    adaptation: Adaptation,
    train_set: LabelledSet,
    validation_set: LabelledSet,
    run: Fit,
    runtime: RuntimeConfig,
) -> Progress:
    """Train the head and what `adaptation` trains; leaves the weights of the best epoch in `recogniser`.

    The best epoch is that of the best score on the validation set, of equal ones that of the lowest
    loss there. Raises EeleError when the loss is no longer finite, Interrupted when the process is
    told to stop: a checkpoint is written first.
    """
    config = run.config
    steps_per_epoch = train_set.steps_per_epoch(config.batch_size)
    steps = config.epochs * steps_per_epoch
    task = task_of(run.target, recogniser.classes, train_set, config, fabric.device)
    full = adaptation.spec.method == "full"
    optimiser = torch.optim.Adam(
        [p for p in recogniser.parameters() if p.requires_grad],
        lr=config.full_learning_rate if full else config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
    )
    schedule = ReduceLROnPlateau(
        optimiser,
        factor=config.plateau_factor,
        patience=config.plateau_patience,
        min_lr=config.min_learning_rate,
    )
    engine, fabric_optimiser = fabric.setup(recogniser, optimiser)
    progress, best = _resume(fabric, run, adaptation, optimiser, schedule)
    started = saved = time.monotonic()
    before = progress.seconds

    def keep() -> None:
        progress.seconds = before + time.monotonic() - started
        checkpoint.save(
            run.checkpoint,
            run.state_identity,
            {
                "weights": adaptation.state(),
                "best": best,
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "precision": fabric.strategy.precision.state_dict(),
                "progress": asdict(progress),
            },
        )

    def make(step: int) -> LabelledBatch:
        return train_set.training_batch(run.seed, step, config.batch_size)

    cuda = fabric.device.type == "cuda"
    with (
        deferred_termination() as told_to_stop,
        Prefetcher(make, progress.step, steps, pin=cuda) as batches,
        tqdm(total=steps, initial=progress.step, desc=run.label, mininterval=5, unit="step") as bar,
    ):
        while progress.step < steps:
            batch = next(batches).to(fabric.device)
            torch.manual_seed((run.seed * 1_000_003 + progress.step) % (2**63))
            engine.train()
            loss = task.loss(engine(batch.samples, batch.lengths), batch.labels)
            fabric_optimiser.zero_grad(set_to_none=True)
            fabric.backward(loss)
            fabric_optimiser.step()
            value = float(loss.detach())
            if not math.isfinite(value):
                raise EeleError(
                    f"{run.label}: the loss is {value} at step {progress.step}; lower learning_rate or "
                    "use precision 32-true"
                )
            progress.loss_sum += value * len(batch.labels)
            progress.step += 1
            bar.update()
            # Asked once a step: what comes later is heard, and saved, at the next.
            stop = told_to_stop()
            over = progress.step % steps_per_epoch == 0
            if over:
                scores = _validate(fabric, engine, task, validation_set, config)
                schedule.step(scores["loss"])
                if _end_epoch(progress, task, scores, optimiser, len(train_set), steps_per_epoch):
                    best = adaptation.state()
                bar.set_postfix({task.score: f"{progress.best_score:.3f}"}, refresh=False)
            late = time.monotonic() - saved > 60 * runtime.checkpoint_minutes
            if stop or late or (over and progress.step < steps):
                keep()
                saved = time.monotonic()
            if stop:
                raise Interrupted
    progress.seconds = before + time.monotonic() - started
    adaptation.load(best or adaptation.state())
    recogniser.eval()
    return progress


@torch.no_grad()
def predict(
    fabric: Fabric, recogniser: Recogniser, utterances: LabelledSet, batch_size: int
) -> np.ndarray:
    """(utterances, classes) float64 probabilities, in the order of `utterances.ids`."""
    recogniser.to(fabric.device)
    out = np.zeros((len(utterances), len(recogniser.classes)))
    for positions in utterances.in_order(batch_size):
        batch = utterances.plain_batch(positions).to(fabric.device)
        probabilities = recogniser.probabilities(batch.samples, batch.lengths)
        out[positions] = probabilities.double().cpu().numpy()
    return out / out.sum(1, keepdims=True)


@torch.no_grad()
def transcribe(
    fabric: Fabric, recogniser: Recogniser, utterances: LabelledSet, batch_size: int
) -> list[list[str]]:
    """Phones heard of each utterance, in the order of `utterances.ids`."""
    recogniser.to(fabric.device).eval()
    out: list[list[str]] = [[] for _ in range(len(utterances))]
    for positions in utterances.in_order(batch_size):
        batch = utterances.plain_batch(positions).to(fabric.device)
        found = decode(recogniser(batch.samples, batch.lengths))
        for position, phones in zip(positions, found, strict=True):
            out[position] = [recogniser.classes[phone] for phone in phones]
    return out


@torch.no_grad()
def _validate(
    fabric: Fabric,
    engine: Any,
    task: Task,
    utterances: LabelledSet,
    config: RecogniserTrainingConfig,
) -> dict[str, float]:
    """Score and loss of the utterances, unaugmented."""
    engine.eval()
    heard = []
    for positions in utterances.in_order(config.batch_size):
        batch = utterances.plain_batch(positions).to(fabric.device)
        heard.append((engine(batch.samples, batch.lengths), batch.labels))
    return task.validate(heard)


def _end_epoch(
    progress: Progress,
    task: Task,
    scores: Mapping[str, float],
    optimiser: torch.optim.Optimizer,
    utterances: int,
    steps_per_epoch: int,
) -> bool:
    """Write down an epoch; whether it is the best so far."""
    epoch = progress.step // steps_per_epoch
    facts: dict[str, float | str] = {"step": progress.step, "epoch": epoch}
    training: dict[str, float | str] = {"split": "train", "loss": progress.loss_sum / utterances}
    rate = float(optimiser.param_groups[0]["lr"])
    progress.curves.append({**facts, **training})
    progress.curves.append({**facts, "split": "validation", **scores, "learning_rate": rate})
    progress.loss_sum = 0.0
    score, loss, best = scores[task.score], scores["loss"], progress.best_score
    if best is not None and (task.merit(score), -loss) <= (task.merit(best), -progress.best_loss):
        return False
    progress.best_score, progress.best_loss = score, loss
    progress.best_epoch = epoch
    return True


def _resume(
    fabric: Fabric,
    run: Fit,
    adaptation: Adaptation,
    optimiser: torch.optim.Optimizer,
    schedule: ReduceLROnPlateau,
) -> tuple[Progress, dict[str, Tensor] | None]:
    state = checkpoint.load(run.checkpoint, run.state_identity)
    if state is None:
        return Progress(), None
    adaptation.load(state["weights"])
    optimiser.load_state_dict(state["optimiser"])
    schedule.load_state_dict(state["schedule"])
    fabric.strategy.precision.load_state_dict(state["precision"])
    progress = Progress(**state["progress"])
    log.info("%s: resumed at step %d", run.label, progress.step)
    return progress, state["best"]
