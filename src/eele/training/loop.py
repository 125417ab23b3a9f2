"""The one training loop: neutral pre-training and every cell run through it.

Everything random in a step is seeded from (seed, step), and batches are a pure function of (seed, step):
a run that was killed and resumed ends with the same weights as one that was not.
"""

from __future__ import annotations

import csv
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor
from tqdm import tqdm

from eele.backbones.base import Backbone, Batch
from eele.config.models import RuntimeConfig, TrainingConfig
from eele.errors import ConfigError, EeleError
from eele.io import atomic_path
from eele.training import checkpoint
from eele.training.data import SpeechSet

log = logging.getLogger(__name__)


@dataclass
class Progress:
    """Where a run stands; all of it survives a kill."""

    step: int = 0
    best_step: int = 0
    best_loss: float = math.inf
    stale: int = 0
    seconds: float = 0.0
    curves: list[dict[str, float | str]] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """What to train and where its state goes."""

    config: TrainingConfig
    learning_rate: float
    seed: int
    identity: str  # hash of all that shapes the result
    checkpoint: Path
    tensorboard: Path
    label: str
    terms: tuple[str, ...] | None = None  # loss terms the trainable weights can lower; None = all


def make_fabric(runtime: RuntimeConfig) -> Fabric:
    """Lightning Fabric for the study's device and precision; ConfigError where this machine lacks them."""
    name, _, number = runtime.device.partition(":")
    try:
        devices = [int(number)] if number else 1
        return Fabric(accelerator=name, devices=devices, precision=runtime.precision)
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        raise ConfigError(
            f"runtime.device '{runtime.device}' with runtime.precision '{runtime.precision}' is not "
            f"possible on this machine, which has {torch.cuda.device_count()} CUDA devices ({error}); "
            "allowed: auto, cpu, or what is there: cuda, cuda:<number>, mps"
        ) from error


def learning_rate(config: TrainingConfig, peak: float, step: int) -> float:
    """Linear warm-up to `peak`, then half a cosine down to 2 % of it at the last step."""
    if step < config.warmup_steps:
        return peak * (step + 1) / config.warmup_steps
    span = max(1, config.steps - config.warmup_steps)
    progress = min(1.0, (step - config.warmup_steps) / span)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def fit(
    fabric: Fabric,
    model: Backbone,
    train_set: SpeechSet,
    validation_set: SpeechSet | None,
    run: Run,
    runtime: RuntimeConfig,
    state_of: Callable[[], Mapping[str, Tensor]],
    load_state: Callable[[Mapping[str, Tensor]], None],
) -> Progress:
    """Train `model`'s trainable weights; leaves the best weights (by validation) in the model.

    `state_of`/`load_state` get and set the trained weights (an adapter, or the whole model). Without a
    validation set the last weights stay. Raises EeleError when the loss is no longer finite.
    """
    # The schedule sets the rate at each step. A fused kernel everywhere torch offers one.
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        parameters,
        lr=run.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=run.config.weight_decay,
        fused=True,
    )
    # The bare module is kept: cells hold peft layers whose names must not move.
    engine, fabric_optimiser = fabric.setup(model, optimiser)
    engine.mark_forward_method("losses")
    progress, best = _resume(run, fabric_optimiser, load_state)
    started = time.monotonic() - progress.seconds
    bar = tqdm(
        total=run.config.steps, initial=progress.step, desc=run.label, mininterval=5, unit="step"
    )
    while progress.step < run.config.steps and not _stop(progress, run.config):
        step = progress.step
        torch.manual_seed(_step_seed(run.seed, step))
        for group in fabric_optimiser.param_groups:
            group["lr"] = learning_rate(run.config, run.learning_rate, step)
        batch = train_set.batch(train_set.positions(run.seed, step, run.config.batch_size))
        engine.train()
        losses = engine.losses(batch.to(fabric.device), run.terms)
        total = model.total(losses)
        fabric_optimiser.zero_grad(set_to_none=True)
        fabric.backward(total)
        torch.nn.utils.clip_grad_norm_(parameters, run.config.gradient_clip)
        fabric_optimiser.step()
        progress.step = step + 1
        bar.update()
        last = progress.step == run.config.steps
        if progress.step % runtime.log_every == 0 or last:
            _log(progress, "train", losses, total)
        if progress.step % run.config.validate_every == 0 or last:
            if not math.isfinite(float(total)):
                raise EeleError(
                    f"{run.label}: the loss is {float(total)} at step {progress.step}; lower learning_rate "
                    f"(now {run.learning_rate:g}) or gradient_clip, or use precision 32-true"
                )
            if validation_set is not None:
                best = _validate(fabric, engine, validation_set, run, progress, state_of, best)
                bar.set_postfix(validation=f"{progress.best_loss:.3f}", refresh=False)
            progress.seconds = time.monotonic() - started
            _save(run, fabric_optimiser, state_of, best, progress)
    bar.close()
    progress.seconds = time.monotonic() - started
    if best is not None:
        load_state(best)
    else:
        progress.best_step = progress.step
    write_tensorboard(run.tensorboard, progress.curves)
    return progress


def _stop(progress: Progress, config: TrainingConfig) -> bool:
    return progress.stale >= config.patience


def _step_seed(seed: int, step: int) -> int:
    return (seed * 1_000_003 + step) % (2**63)


def _log(progress: Progress, split: str, losses: Mapping[str, Tensor], total: Tensor) -> None:
    row: dict[str, float | str] = {
        "step": progress.step,
        "split": split,
        "loss": float(total.detach()),
    }
    row.update({name: float(value.detach()) for name, value in losses.items()})
    progress.curves.append(row)


@torch.no_grad()
def _validate(
    fabric: Fabric,
    engine: Any,
    validation_set: SpeechSet,
    run: Run,
    progress: Progress,
    state_of: Callable[[], Mapping[str, Tensor]],
    best: Mapping[str, Tensor] | None,
) -> Mapping[str, Tensor] | None:
    """Mean losses over the validation utterances; the weights are kept when they are the best so far."""
    engine.eval()
    sums: dict[str, Tensor] = {}
    for positions in validation_set.in_order(run.config.batch_size):
        batch: Batch = validation_set.batch(positions).to(fabric.device)
        for name, value in engine.losses(batch, run.terms).items():
            sums[name] = sums.get(name, torch.zeros((), device=fabric.device)) + value * len(
                positions
            )
    means = {name: value / len(validation_set) for name, value in sums.items()}
    total = engine.total(means)
    _log(progress, "validation", means, total)
    if float(total) < progress.best_loss:
        progress.best_loss, progress.best_step, progress.stale = float(total), progress.step, 0
        return {key: value.detach().cpu().clone() for key, value in state_of().items()}
    progress.stale += 1
    return best


def _save(
    run: Run,
    optimiser: Any,
    state_of: Callable[[], Mapping[str, Tensor]],
    best: Mapping[str, Tensor] | None,
    progress: Progress,
) -> None:
    checkpoint.save(
        run.checkpoint,
        run.identity,
        {
            "weights": dict(state_of()),
            "best": dict(best) if best is not None else None,
            "optimiser": optimiser.state_dict(),
            "progress": asdict(progress),
        },
    )


def _resume(
    run: Run, optimiser: Any, load_state: Callable[[Mapping[str, Tensor]], None]
) -> tuple[Progress, Mapping[str, Tensor] | None]:
    state = checkpoint.load(run.checkpoint, run.identity)
    if state is None:
        return Progress(), None
    load_state(state["weights"])
    optimiser.load_state_dict(state["optimiser"])
    progress = Progress(**state["progress"])
    log.info("%s: resumed at step %d of %d", run.label, progress.step, run.config.steps)
    return progress, state["best"]


def write_curves(path: Path, curves: list[dict[str, float | str]]) -> None:
    """curves.csv: step, split, loss and each term."""
    terms = sorted({key for row in curves for key in row} - {"step", "split", "loss"})
    with (
        atomic_path(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as handle,
    ):
        writer = csv.DictWriter(handle, ["step", "split", "loss", *terms])
        writer.writeheader()
        writer.writerows(curves)


def write_tensorboard(folder: Path, curves: list[dict[str, float | str]]) -> None:
    """The same curves for TensorBoard."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for old in folder.glob("events.*"):
        old.unlink()
    writer = EventFileWriter(str(folder))
    for row in curves:
        values = [
            Summary.Value(tag=f"{row['split']}/{key}", simple_value=value)
            for key, value in row.items()
            if isinstance(value, float)
        ]
        writer.add_event(Event(step=int(row["step"]), summary=Summary(value=values)))
    writer.close()
