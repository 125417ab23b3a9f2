"""Monotonic alignment search finds the best of all paths; its noise is what it says."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from eele.backbones.vits2.alignment import search, start_search, with_noise


def all_paths(phones: int, frames: int) -> list[tuple[int, ...]]:
    """Every way to cut `frames` into `phones` stretches of one or more."""
    cuts = itertools.combinations(range(1, frames), phones - 1)
    return [tuple(b - a for a, b in itertools.pairwise((0, *places, frames))) for places in cuts]


def score(scores: Tensor, durations: tuple[int, ...]) -> float:
    phone = torch.repeat_interleave(torch.arange(len(durations)), torch.tensor(durations))
    return float(scores.double()[phone, torch.arange(sum(durations))].sum())


@pytest.mark.parametrize("seed", range(8))
def test_it_finds_the_best_of_all_paths_of_ragged_items(seed):
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(1, 10, (12,), generator=generator)
    phones = (torch.rand(12, generator=generator) * frames).long() + 1
    scores = torch.randn(12, 10, 10, generator=generator)
    found = search(scores, phones, frames)
    assert found.dtype == torch.int64 and found.shape == (12, 10)
    for row, (n, t) in enumerate(zip(phones.tolist(), frames.tolist(), strict=True)):
        best = max(all_paths(n, t), key=lambda path: score(scores[row], path))
        assert tuple(found[row, :n].tolist()) == best
        assert (found[row, n:] == 0).all()


@pytest.mark.parametrize("phones", [1, 7, 39, 69, 100, 130])
def test_it_finds_a_planted_path_over_many_tiles_of_frames(phones):
    generator = torch.Generator().manual_seed(phones)
    planted = torch.ones(phones, dtype=torch.int64)
    extra = torch.randint(0, phones, (130 - phones,), generator=generator)
    planted.index_add_(0, extra, torch.ones_like(extra))
    scores = -torch.rand(1, phones, 130, generator=generator) - 1
    scores[0, torch.repeat_interleave(torch.arange(phones), planted), torch.arange(130)] = -0.5
    found = search(scores, torch.tensor([phones]), torch.tensor([130]))
    assert torch.equal(found[0], planted)


def plain_best(scores: Tensor) -> float:
    """The greatest total score, by the recursion of VITS's appendix A in double precision."""
    phones, frames = scores.shape
    best = torch.full((phones + 1,), -torch.inf, dtype=torch.float64)
    best[0] = 0.0
    for t in range(frames):
        ends = torch.maximum(best[1:], best[:-1]) + scores[:, t].double()
        best = torch.cat((torch.tensor([-torch.inf], dtype=torch.float64), ends))
    return float(best[-1])


def test_a_long_random_grid_gets_the_recursions_best_score():
    generator = torch.Generator().manual_seed(3)
    scores = 10 * torch.randn(2, 90, 333, generator=generator) - 100
    found = search(scores, torch.tensor([90, 57]), torch.tensor([333, 200]))
    for row, (n, t) in enumerate([(90, 333), (57, 200)]):
        durations = tuple(found[row, :n].tolist())
        assert sum(durations) == t and min(durations) >= 1
        assert score(scores[row], durations) == pytest.approx(
            plain_best(scores[row, :n, :t]), abs=1e-2
        )


def test_of_equal_paths_the_one_with_the_longest_last_phone_is_taken():
    lengths = torch.tensor([3, 3]), torch.tensor([7, 5])
    found = search(torch.zeros(2, 3, 7), *lengths)
    assert found.tolist() == [[1, 1, 5], [1, 1, 3]]


def test_padding_and_layout_have_no_influence():
    generator = torch.Generator().manual_seed(0)
    alone = torch.randn(1, 4, 9, generator=generator)
    expected = search(alone, torch.tensor([4]), torch.tensor([9]))
    padded = torch.full((2, 6, 12), 1e6)
    padded[1] = torch.nan
    padded[:, :4, :9] = alone
    lengths = torch.tensor([4, 4]), torch.tensor([9, 9])
    found = search(padded, *lengths)
    assert torch.equal(found[:, :4], expected.expand(2, -1))
    turned = padded.transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    assert torch.equal(search(turned, *lengths), found)


def test_undefined_scores_still_give_a_path():
    found = search(torch.full((1, 4, 6), torch.nan), torch.tensor([4]), torch.tensor([6]))
    assert found.sum() == 6 and (found >= 1).all()


def test_lengths_that_no_path_fits_are_refused_by_row():
    scores = torch.zeros(2, 5, 5)
    with pytest.raises(ValueError, match="row 1: 4 phones have no path through 3 frames"):
        search(scores, torch.tensor([2, 4]), torch.tensor([5, 3]))
    for phones, frames in ((6, 6), (0, 3), (2, 6)):
        with pytest.raises(ValueError, match=r"row 0: .* do not fit"):
            search(scores, torch.tensor([phones, 1]), torch.tensor([frames, 5]))


def test_a_search_leaves_torchs_threads_alone():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        start_search(torch.zeros(1, 2, 3), torch.tensor([2]), torch.tensor([3])).durations()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gets_the_same_durations():
    scores = torch.randn(8, 40, 120)
    lengths = torch.randint(1, 41, (8,)), torch.randint(40, 121, (8,))
    on_gpu = search(scores.cuda(), lengths[0].cuda(), lengths[1].cuda())
    assert on_gpu.is_cuda
    assert torch.equal(on_gpu.cpu(), search(scores, *lengths))


def test_noise_has_the_items_own_standard_deviation_and_stays_out_of_padding():
    torch.manual_seed(0)
    scores = torch.stack((torch.randn(100, 400), 5 * torch.randn(100, 400) + 30))
    mask = torch.zeros(2, 100, 400)
    mask[0, :80, :300] = 1
    mask[1] = 1
    scores[0, 80:] = torch.inf
    scores[0, :80, 300:] = -1e30
    noise = with_noise(scores, mask, 0.1) - scores
    assert noise[0, :80, :300].std() == pytest.approx(0.1, rel=0.03)
    assert noise[1].std() == pytest.approx(0.5, rel=0.03)
    assert abs(float(noise[1].mean())) < 0.01
    assert torch.equal(with_noise(scores, mask, 0.1)[0, 80:], scores[0, 80:])
    assert torch.equal(with_noise(scores, mask, 0.1)[0, :, 300:], scores[0, :, 300:])


def test_noise_of_scale_0_changes_nothing():
    scores = torch.randn(2, 3, 4)
    assert torch.equal(with_noise(scores, torch.ones(2, 3, 4), 0.0), scores)
