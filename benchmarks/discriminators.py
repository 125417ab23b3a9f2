"""Speed of the waveform discriminators: layouts of their convolutions, and of real and fake.

    python benchmarks/discriminators.py [--batch N] [--samples N] [--threads N] [--repeats N]

One training step of the published sizes: forward on real and fake, the model's gradients down to the
fake samples, the critic's gradients. Prints ratios to the plain way: everything as 2-D convolutions with
their stride, real and fake in one batch. The times are interleaved and the best of the repeats is taken.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import time
from collections.abc import Iterator
from unittest import mock

import torch
from torch import Tensor

from eele.config.backbones import DiscriminatorConfig
from eele.hifigan import discriminators
from eele.hifigan.discriminators import WaveformCritic


def together(critic: WaveformCritic, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """The same losses with real and fake in one batch: (critic's, model's)."""
    own = model = torch.zeros(())
    half = len(real)
    for features in critic.features(torch.cat((real, fake))):
        columns = features[-1].shape[0] // (2 * half)
        cut = half * columns
        score = features[-1].float()
        own = own + (1 - score[:cut]).square().mean() + score[cut:].square().mean()
        model = model + (1 - score[cut:]).square().mean()
        for x in features:
            model = model + 2 * (x[:cut].detach() - x[cut:]).abs().mean(dtype=torch.float32)
    return own, model


def apart(critic: WaveformCritic, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Real and fake one after the other, as `WaveformCritic` does."""
    own, model = critic({"waveform": (real, fake)})
    return own["critic"], model["adversarial"] + 2 * model["features"]


@contextlib.contextmanager
def layout(side_by_side_from: int, phases: bool) -> Iterator[None]:
    """Lay columns side by side from this period on; strides made channels or not."""
    with contextlib.ExitStack() as stack:
        patch = mock.patch.object
        stack.enter_context(patch(discriminators, "_SIDE_BY_SIDE_FROM", side_by_side_from))
        if not phases:
            stack.enter_context(patch(discriminators, "_in_phases", discriminators._along_time))
        yield


def step(critic: WaveformCritic, losses: object, real: Tensor, fake: Tensor) -> list[float]:
    """Seconds of the forward pass, of the model's gradients and of the critic's."""
    weights = list(critic.parameters())
    times = [time.perf_counter()]
    own, model = losses(critic, real, fake)  # type: ignore[operator]
    times.append(time.perf_counter())
    torch.autograd.grad(model, fake, retain_graph=True)
    times.append(time.perf_counter())
    torch.autograd.grad(own, weights)
    times.append(time.perf_counter())
    return [b - a for a, b in itertools.pairwise(times)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--samples", type=int, default=8192)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=4)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    critic = WaveformCritic(DiscriminatorConfig())
    real = torch.randn(arguments.batch, arguments.samples) * 0.1
    fake = (torch.randn_like(real) * 0.1).requires_grad_()
    never, always, mixed = 10**6, 1, discriminators._SIDE_BY_SIDE_FROM
    ways = {
        "2-D, strided, in one batch": (together, always, False),
        "2-D, strided, apart": (apart, always, False),
        "1-D, strided, apart": (apart, never, False),
        "by period, strided, apart": (apart, mixed, False),
        "by period, in phases, in one batch": (together, mixed, True),
        "by period, in phases, apart (used)": (apart, mixed, True),
    }
    print(f"{sum(p.numel() for p in critic.parameters()) / 1e6:.2f} M parameters")
    for precision in (torch.float32, torch.bfloat16):
        best: dict[str, list[float]] = {}
        for _ in range(arguments.repeats):
            for name, (losses, side, phases) in ways.items():
                with (
                    layout(side, phases),
                    torch.autocast("cpu", torch.bfloat16, precision == torch.bfloat16),
                ):
                    times = step(critic, losses, real, fake)
                best[name] = min(best.get(name, times), times, key=sum)
        plain = sum(next(iter(best.values())))
        for name, times in best.items():
            parts = " + ".join(f"{1e3 * t:.0f}" for t in times)
            print(
                f"{str(precision)[6:]:9s} {name:36s} forward + model + critic "
                f"{parts} = {1e3 * sum(times):.0f} ms, ratio {sum(times) / plain:.2f}"
            )


if __name__ == "__main__":
    main()
