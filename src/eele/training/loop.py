"""The one training loop: neutral pre-training, the vocoder and every cell run through it.

Everything random in a step is seeded from (seed, step), and batches are a pure function of (seed, step):
a run that was killed and resumed ends with the same weights as one that was not.

Adversarial training has a second player, the critic. Both are updated from the same evaluation of the
critic, the model first: neither side's update waits for the other's, and no feature is computed twice.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from tqdm import tqdm

from eele.backbones.base import Batch, Critic, Trainable
from eele.config.models import RuntimeConfig, TrainingConfig
from eele.errors import EeleError
from eele.stage import Interrupted
from eele.training import checkpoint
from eele.training.curves import write_tensorboard
from eele.training.data import SpeechSet
from eele.training.devices import deferred_termination
from eele.training.prefetch import Prefetcher

log = logging.getLogger(__name__)

State = Mapping[str, Tensor]


@dataclass
class Progress:
    """Where a run stands; all of it survives a kill."""

    step: int = 0
    best_step: int = 0
    best_loss: float = math.inf
    stale: int = 0
    seconds: float = 0.0
    curves: list[dict[str, float | str]] = field(default_factory=list)

    def facts(self, steps: int) -> dict[str, Any]:
        """What training.json says of a run of at most `steps` steps."""
        return {
            "steps": self.step,
            "best_step": self.best_step,
            "stopped_early": self.step < steps,
            "train_seconds": self.seconds,
        }


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
    pretraining: bool = False  # whether the model is told the step


@dataclass
class Player:
    """One side of the training: its weights, their optimiser, and how to read and set what is kept."""

    engine: Any
    optimiser: Any
    parameters: list[nn.Parameter]
    state_of: Callable[[], State]
    load_state: Callable[[State], None]

    def update(
        self,
        fabric: Fabric,
        loss: Tensor,
        clip: float | None,
        alone: bool = False,
        shared: bool = False,
    ) -> None:
        """One step down `loss`. Unless `alone`, only this player's gradients are computed: the other side's
        weights are part of the graph, not of the step. `shared`: the graph is needed again for the other.
        """
        self.optimiser.zero_grad(set_to_none=True)
        fabric.backward(loss, inputs=None if alone else self.parameters, retain_graph=shared)
        if clip is not None:
            fabric.clip_gradients(
                self.engine, self.optimiser, max_norm=clip, error_if_nonfinite=False
            )
        self.optimiser.step()


def learning_rate(config: TrainingConfig, peak: float, step: int, epoch: int = 0) -> float:
    """Linear warm-up to `peak`; then `decay_per_epoch` to the power of `epoch`, or half a cosine down to
    2 % of the peak at the last step."""
    if step < config.warmup_steps:
        return peak * (step + 1) / config.warmup_steps
    if config.decay_per_epoch is not None:
        return float(peak * config.decay_per_epoch**epoch)
    span = max(1, config.steps - config.warmup_steps)
    progress = min(1.0, (step - config.warmup_steps) / span)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def fit(
    fabric: Fabric,
    model: Trainable,
    train_set: SpeechSet,
    validation_set: SpeechSet | None,
    run: Run,
    runtime: RuntimeConfig,
    state_of: Callable[[], State],
    load_state: Callable[[State], None],
    critic: Critic | None = None,
) -> Progress:
    """Train `model`'s trainable weights, and `critic` beside it where there is one; leaves the best weights
    of both (by the model's validation) in them.

    `state_of`/`load_state` get and set the trained weights (an adapter, or the whole model). Without a
    validation set the last weights stay. Raises EeleError when the loss is no longer finite, Interrupted
    when the process is told to stop: a checkpoint is written first.
    """
    # A cell is over before compiling has paid.
    compiled = runtime.compile and run.pretraining
    players = [make_player(fabric, model, run, state_of, load_state, compiled)]
    if critic is not None:
        players.append(
            make_player(fabric, critic, run, critic.state_dict, critic.load_state_dict, compiled)
        )
    progress, best = _resume(fabric, run, players)
    started = saved = time.monotonic()
    before = progress.seconds
    config, rank, world = run.config, fabric.global_rank, fabric.world_size

    def make(step: int) -> Batch:
        positions = train_set.positions(run.seed, step, config.batch_size)
        mine = positions[rank::world] or positions[:1]
        return train_set.batch(
            mine, run.seed, step, runtime.pad_frames, runtime.pad_phones, config.batch_size
        )

    def keep() -> None:
        progress.seconds = before + time.monotonic() - started
        _save(fabric, run, players, best, progress)

    def check(losses: Mapping[str, Tensor]) -> None:
        # Loss scaling (16-mixed) meets gradients beyond its range now and then, and skips their step.
        scaled = getattr(fabric.strategy.precision, "scaler", None) is not None
        _check_finite(run, progress.step, losses, [] if scaled else players)

    cuda = fabric.device.type == "cuda"
    with (
        deferred_termination() as told_to_stop,
        Prefetcher(make, progress.step, config.steps, pin=cuda) as batches,
        tqdm(
            total=config.steps,
            initial=progress.step,
            desc=run.label,
            mininterval=5,
            unit="step",
            disable=rank > 0,
        ) as bar,
    ):
        if run.pretraining and validation_set is not None and not progress.curves:
            # What has learned nothing: where the curves begin.
            best = _validate(fabric, model, validation_set, run, progress, players, best)
        while progress.step < config.steps and progress.stale < config.patience:
            step = progress.step
            batch = next(batches).to(fabric.device)
            torch.manual_seed(_step_seed(run.seed, step, rank))
            for player in players:
                for group in player.optimiser.param_groups:
                    group["lr"] = learning_rate(config, run.learning_rate, step, batch.epoch)
                player.engine.train()
            told = step if run.pretraining else None
            losses, total = train_step(fabric, model, players, batch, run, told)
            progress.step = step + 1
            bar.update()
            last = progress.step == config.steps
            # Asked once a step: what comes later is heard, and saved, at the next.
            stop = told_to_stop()
            if progress.step % runtime.log_every == 0 or last:
                _log(progress, "train", losses, total)
            if progress.step % config.validate_every == 0 or last:
                check(losses)
                if validation_set is not None:
                    best = _validate(fabric, model, validation_set, run, progress, players, best)
                    bar.set_postfix(validation=f"{progress.best_loss:.3f}", refresh=False)
                keep()
                saved = time.monotonic()
            elif stop or time.monotonic() - saved > 60 * runtime.checkpoint_minutes:
                check(losses)
                keep()
                saved = time.monotonic()
            if stop:
                raise Interrupted
    progress.seconds = before + time.monotonic() - started
    if best is not None:
        for player, state in zip(players, best, strict=True):
            player.load_state(state)
    else:
        progress.best_step = progress.step
    if fabric.is_global_zero:
        write_tensorboard(run.tensorboard, progress.curves)
    return progress


def train_step(
    fabric: Fabric,
    model: Trainable,
    players: list[Player],
    batch: Batch,
    run: Run,
    step: int | None,
) -> tuple[dict[str, Tensor], Tensor]:
    """One update of the model and then of its critic; returns all loss terms and the model's total."""
    losses, judged = players[0].engine(batch, run.terms, step)
    clip = run.config.gradient_clip
    if len(players) == 1:
        total = model.total(losses)
        players[0].update(fabric, total, clip, alone=True)
        return losses, total
    critic_losses, opposed = players[1].engine(judged)
    losses.update(opposed)
    total = model.total(losses)
    players[0].update(fabric, total, clip, shared=True)
    players[1].update(fabric, torch.stack(list(critic_losses.values())).sum(), clip)
    return {**losses, **critic_losses}, total


def make_player(
    fabric: Fabric,
    module: Trainable | Critic,
    run: Run,
    state_of: Callable[[], State],
    load_state: Callable[[State], None],
    compiled: bool = False,
) -> Player:
    # The schedule sets the rate at each step. A fused kernel everywhere torch offers one; loss scaling
    # (16-mixed) has to unscale the gradients before they are clipped, which fused kernels do themselves.
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        parameters,
        lr=run.learning_rate,
        betas=run.config.betas,
        weight_decay=run.config.weight_decay,
        fused=getattr(fabric.strategy.precision, "scaler", None) is None,
    )
    if compiled:
        for part in module.compiled_parts():
            part.compile()
    # The bare module is kept: cells hold peft layers whose names must not move.
    engine, fabric_optimiser = fabric.setup(module, optimiser)
    return Player(engine, fabric_optimiser, parameters, state_of, load_state)


def _step_seed(seed: int, step: int, rank: int = 0) -> int:
    return (seed * 1_000_003 + step + (rank << 40)) % (2**63)


def _check_finite(run: Run, step: int, losses: Mapping[str, Tensor], players: list[Player]) -> None:
    """Raise EeleError where a loss or a gradient is no longer a number, before it is saved."""
    values = {name: float(value.detach()) for name, value in losses.items()}
    wrong = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
    for player in players:
        gradients = [p.grad for p in player.parameters if p.grad is not None]
        if not math.isfinite(float(torch.nn.utils.get_total_norm(gradients))):
            wrong.append("a gradient is not finite")
    if wrong:
        raise EeleError(
            f"{run.label}: {', '.join(wrong)} at step {step}; lower learning_rate (now "
            f"{run.learning_rate:g}) or gradient_clip, or use precision 32-true"
        )


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
    model: Trainable,
    validation_set: SpeechSet,
    run: Run,
    progress: Progress,
    players: list[Player],
    best: list[State] | None,
) -> list[State] | None:
    """Mean losses over the validation utterances; the weights are kept when they are the best so far."""
    engine = players[0].engine
    engine.eval()
    torch.manual_seed(_step_seed(run.seed, 0))
    sums: dict[str, Tensor] = {}
    count = torch.zeros((), device=fabric.device)
    batches = validation_set.in_order(run.config.batch_size)
    mine = batches[fabric.global_rank :: fabric.world_size]
    for positions in mine or batches[:1]:
        # A process without a batch has to name the terms all the same.
        weight = len(positions) if mine else 0
        batch = validation_set.batch(positions).to(fabric.device)
        for name, value in engine(batch, run.terms).losses.items():
            zero = torch.zeros((), device=fabric.device)
            sums[name] = sums.get(name, zero) + value * weight
        count += weight
    if fabric.world_size > 1:
        sums, count = fabric.all_reduce((sums, count), reduce_op="sum")
    means = {name: value / count for name, value in sums.items()}
    total = model.total(means)
    _log(progress, "validation", means, total)
    if float(total) < progress.best_loss:
        progress.best_loss, progress.best_step, progress.stale = float(total), progress.step, 0
        return [_snapshot(player.state_of()) for player in players]
    progress.stale += 1
    return best


def _snapshot(state: State) -> State:
    return {key: value.detach().cpu().clone() for key, value in state.items()}


def _save(
    fabric: Fabric,
    run: Run,
    players: list[Player],
    best: list[State] | None,
    progress: Progress,
) -> None:
    if not fabric.is_global_zero:
        return
    checkpoint.save(
        run.checkpoint,
        run.identity,
        {
            "weights": [dict(player.state_of()) for player in players],
            "best": [dict(state) for state in best] if best is not None else None,
            "optimisers": [player.optimiser.state_dict() for player in players],
            "precision": fabric.strategy.precision.state_dict(),
            "progress": asdict(progress),
        },
    )


def _resume(fabric: Fabric, run: Run, players: list[Player]) -> tuple[Progress, list[State] | None]:
    state = checkpoint.load(run.checkpoint, run.identity)
    if state is None:
        return Progress(), None
    for player, weights, optimiser in zip(
        players, state["weights"], state["optimisers"], strict=True
    ):
        player.load_state(weights)
        player.optimiser.load_state_dict(optimiser)
    fabric.strategy.precision.load_state_dict(state["precision"])
    progress = Progress(**state["progress"])
    log.info("%s: resumed at step %d of %d", run.label, progress.step, run.config.steps)
    return progress, state["best"]
