"""Monotonic alignment search: the phone durations that a model finds likeliest (VITS, arXiv 2106.06103, section
2.2.1 and appendix A), and the noise that VITS2 adds to its scores (arXiv 2307.16430, section 2.2)."""

from __future__ import annotations

import torch
from torch import Tensor

#: One stream a device for copies of scores, so that the stream of the model goes on meanwhile.
_streams: dict[torch.device, torch.cuda.Stream] = {}


class PendingSearch:
    """A search whose scores may still be on their way to the processor."""

    def __init__(self, scores: Tensor, phone_lengths: Tensor, frame_lengths: Tensor) -> None:
        self._device = scores.device
        arrays = (scores.detach().float(), phone_lengths.long(), frame_lengths.long())
        self._event: torch.cuda.Event | None = None
        if scores.is_cuda:
            self._host, self._event = _to_host(arrays, self._device)
        else:
            self._host = arrays

    def durations(self) -> Tensor:
        """Wait for the scores, search: (batch, phones) int64 on the device of the scores, 0 in padding.

        Raises ValueError, naming the row, for lengths that no path fits.
        """
        from eele.backbones.vits2.alignment_kernel import run

        if self._event is not None:
            self._event.synchronize()
        scores, phones, frames = (tensor.cpu().contiguous().numpy() for tensor in self._host)
        _, phone_size, frame_size = scores.shape
        for row, (n, t) in enumerate(zip(phones.tolist(), frames.tolist(), strict=True)):
            if not 1 <= n <= phone_size or t > frame_size:
                raise ValueError(
                    f"row {row}: {n} phones and {t} frames do not fit scores of {phone_size} x {frame_size}"
                )
            if n > t:
                raise ValueError(f"row {row}: {n} phones have no path through {t} frames")
        threads = torch.get_num_threads()
        found = torch.from_numpy(run(scores, phones, frames, threads))
        if torch.get_num_threads() != threads:
            # The two may share an OpenMP library; numba, starting its threads, resets torch's count.
            torch.set_num_threads(threads)
        if self._event is not None:
            # From pageable memory the copy would wait for the stream.
            found = found.pin_memory()
        return found.to(self._device, non_blocking=True)


def _to_host(
    arrays: tuple[Tensor, ...], device: torch.device
) -> tuple[tuple[Tensor, ...], torch.cuda.Event]:
    """Copies in page-locked memory, and the event after which they are complete."""
    stream = _streams.setdefault(device, torch.cuda.Stream(device))
    stream.wait_stream(torch.cuda.current_stream(device))
    host = []
    with torch.cuda.stream(stream):
        for tensor in arrays:
            copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            host.append(copy.copy_(tensor, non_blocking=True))
            # Its memory must not be given away while the copy reads it.
            if tensor.is_cuda:
                tensor.record_stream(stream)
        event = torch.cuda.Event()
        event.record(stream)
    return tuple(host), event


def start_search(scores: Tensor, phone_lengths: Tensor, frame_lengths: Tensor) -> PendingSearch:
    """Begin `search`: from a GPU, the scores are copied without anything waiting. Arguments as there."""
    return PendingSearch(scores, phone_lengths, frame_lengths)


def search(scores: Tensor, phone_lengths: Tensor, frame_lengths: Tensor) -> Tensor:
    """Durations (batch, phones) int64 frames of the monotonic path of greatest total score, 0 in padding.

    scores: (batch, phones, frames) log-likelihood of each frame in each phone, on any device;
    phone_lengths, frame_lengths: (batch,). A path gives every phone one frame or more, in order, and
    every frame to a phone. Of equally good paths the one is taken whose last phone starts soonest, then
    the one before it, and so on. Worked out on the processor in single precision. No gradient.
    Raises ValueError, naming the row, where there are more phones than frames.
    """
    return start_search(scores, phone_lengths, frame_lengths).durations()


def with_noise(scores: Tensor, mask: Tensor, scale: float) -> Tensor:
    """`scores` plus Gaussian noise of `scale` standard deviations of the scores (VITS2, section 2.2).

    scores: (batch, phones, frames); mask: the same shape, nonzero where real. The standard deviation is
    that of an item's real scores, so that neither padding nor the rest of the batch has a say in it.
    Padding is left as it is. With scale 0 the scores are returned unchanged.
    """
    if scale == 0:
        return scores
    real = mask.bool()
    zero = scores.new_zeros(())
    count = real.sum(dim=(1, 2), keepdim=True).clamp_min(1)
    mean = torch.where(real, scores, zero).sum(dim=(1, 2), keepdim=True) / count
    squares = torch.where(real, scores - mean, zero).square().sum(dim=(1, 2), keepdim=True)
    spread = scale * (squares / count).sqrt()
    return torch.addcmul(scores, torch.randn_like(scores), spread * real)
