"""Speed of monotonic alignment search against a dynamic programme in plain torch, vectorised over batch and phones.

    python benchmarks/alignment_search.py [--batch 64] [--phones 201] [--frames 800] [--repeats 10]

Prints milliseconds of both, their ratio, and whether they agree.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from eele.backbones.vits2.alignment import search


def plain_search(scores: Tensor, phone_lengths: Tensor, frame_lengths: Tensor) -> Tensor:
    """The same search, frame by frame: (batch, phones, frames) -> durations (batch, phones)."""
    batch, phones, frames = scores.shape
    by_frame = scores.permute(2, 0, 1).contiguous()
    # Column 0 stands for what comes before the first phone.
    best = torch.full((batch, phones + 1), -torch.inf)
    best[:, 0] = 0.0
    moved = torch.empty(frames, batch, phones, dtype=torch.bool)
    for t in range(frames):
        stay, move = best[:, 1:], best[:, :-1]
        torch.gt(move, stay, out=moved[t])
        ends = by_frame[t] + torch.maximum(stay, move)
        best = torch.cat((torch.full((batch, 1), -torch.inf), ends), dim=1)
    durations = torch.zeros(batch, phones, dtype=torch.int64)
    rows = torch.arange(batch)
    phone = phone_lengths - 1
    for t in reversed(range(frames)):
        real = t < frame_lengths
        durations[rows, phone] += real
        phone = torch.where(real & moved[t, rows, phone], phone - 1, phone).clamp_min(0)
    return durations


def milliseconds(function: Callable[[], Tensor], repeats: int) -> float:
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--phones", type=int, default=201)
    parser.add_argument("--frames", type=int, default=800)
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(args.batch, args.phones, args.frames, generator=generator)
    phones = torch.full((args.batch,), args.phones)
    frames = torch.full((args.batch,), args.frames)
    half = torch.arange(args.batch) % 2 == 1
    ragged = (
        torch.where(half, phones // 2 + 1, phones),
        torch.where(half, frames * 3 // 4, frames),
    )
    for lengths in ((phones, frames), ragged):
        if not torch.equal(search(scores, *lengths), plain_search(scores, *lengths)):
            raise SystemExit("the two searches disagree")
    compiled = milliseconds(lambda: search(scores, phones, frames), args.repeats)
    plain = milliseconds(lambda: plain_search(scores, phones, frames), args.repeats)
    print(f"{args.batch} items of {args.phones} phones x {args.frames} frames, ")
    print(f"{torch.get_num_threads()} threads; durations equal, ragged lengths too")
    print(f"compiled search  {compiled:8.1f} ms")
    print(f"plain torch      {plain:8.1f} ms")
    print(f"ratio            {plain / compiled:8.1f} x")


if __name__ == "__main__":
    main()
