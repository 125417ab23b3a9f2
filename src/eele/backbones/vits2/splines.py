"""Monotonic rational-quadratic splines with linear tails (Durkan et al., arXiv 1906.04032, section 3.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

#: Least share of the interval that a bin takes in width and height, and least slope at a knot: they
#: bound the map's slope from above and below, so that it stays invertible in single precision.
MIN_SHARE = 1e-3
MIN_SLOPE = 1e-3


def rational_quadratic(
    x: Tensor,
    widths: Tensor,
    heights: Tensor,
    derivatives: Tensor,
    inverse: bool = False,
    tail_bound: float = 5.0,
) -> tuple[Tensor, Tensor]:
    """Map each element of `x` by its own increasing spline; the identity outside +- `tail_bound`.

    x: any shape (...); widths, heights: (..., bins) unnormalised; derivatives: (..., bins - 1)
    unnormalised, of the inner knots (the outer ones have slope 1, as the tails). All zero: the identity.
    Returns y and ln |dy/dx| (of the inverse map with `inverse`), both (...) float32. Nothing here has a
    shape that depends on values, so a GPU is never waited for, and autocast is held off.
    Raises ValueError when the bins do not fit.
    """
    bins = widths.shape[-1]
    if heights.shape[-1] != bins or derivatives.shape[-1] != bins - 1:
        raise ValueError(
            f"{bins} widths need {bins} heights and {bins - 1} derivatives, "
            f"got {heights.shape[-1]} and {derivatives.shape[-1]}"
        )
    if bins * MIN_SHARE >= 1:
        raise ValueError(f"{bins} bins do not fit: each takes at least {MIN_SHARE} of the interval")
    with torch.autocast(x.device.type, enabled=False):
        return _rational_quadratic(
            x.float(), widths.float(), heights.float(), derivatives.float(), inverse, tail_bound
        )


def _rational_quadratic(
    x: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor, inverse: bool, bound: float
) -> tuple[Tensor, Tensor]:
    bins = widths.shape[-1]
    # Sizes of the bins in x and y: (..., 2, bins); their cumulative sums are the knots.
    shares = F.softmax(torch.stack((widths, heights), dim=-2), dim=-1)
    sizes = 2 * bound * (MIN_SHARE + (1 - MIN_SHARE * bins) * shares)
    inner = torch.cumsum(sizes[..., :-1], dim=-1) - bound
    starts = F.pad(inner, (1, 0), value=-bound)
    # Softplus of 0 + offset is 1 - MIN_SLOPE: zero parameters give slope 1 at each knot.
    slopes = MIN_SLOPE + F.softplus(derivatives + math.log(math.expm1(1 - MIN_SLOPE)))
    table = torch.cat(
        (
            starts,
            sizes,
            F.pad(slopes, (1, 0), value=1.0)[..., None, :],
            F.pad(slopes, (0, 1), value=1.0)[..., None, :],
        ),
        dim=-2,
    )
    # Beyond the tails the spline is worked out at the bound, so that no gradient there is undefined.
    inside = x.clamp(-bound, bound)
    bin_index = (inside[..., None] >= inner[..., 1 if inverse else 0, :]).sum(dim=-1)
    chosen = bin_index[..., None, None].expand(*x.shape, 6, 1)
    x0, y0, width, height, slope0, slope1 = table.gather(-1, chosen).squeeze(-1).unbind(-1)
    secant = height / width
    bend = slope0 + slope1 - 2 * secant
    if inverse:
        # Equations 6 to 8: the root of a quadratic in the place within the bin, in its stable form.
        over = inside - y0
        a = height * (secant - slope0) + over * bend
        b = height * slope0 - over * bend
        c = -secant * over
        place = 2 * c / (-b - torch.sqrt((b * b - 4 * a * c).clamp_min(1e-20)))
    else:
        place = (inside - x0) / width
    rest = 1 - place
    product = place * rest
    denominator = secant + bend * product
    # Equation 5, in logarithms.
    rise = slope1 * place * place + 2 * secant * product + slope0 * rest * rest
    log_slope = 2 * torch.log(secant / denominator) + torch.log(rise)
    if inverse:
        log_slope = -log_slope
        y = x0 + place * width
    else:
        # Equation 4.
        y = y0 + height * (secant * place * place + slope0 * product) / denominator
    within = x.abs() <= bound
    return torch.where(within, y, x), torch.where(within, log_slope, torch.zeros_like(x))
