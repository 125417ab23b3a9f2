"""Training of the phone recogniser's network on aligned recordings: cross-entropy per frame, augmented."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from eele.config.models import RecogniserConfig
from eele.metrics.recogniser_model import RANGE_DB, PhoneNetwork, normalise

#: Target of frames that teach nothing (unknown phones).
IGNORED = -1
_WARM_UP = 0.1
_LABEL_SMOOTHING = 0.05
#: Share of the utterances that are varied; the others are heard as they are.
AUGMENTED = 0.5


@dataclass(frozen=True)
class Aligned:
    """A recording and what is said in it: mel (frames, mel) natural log; classes (phones,) index or -1
    where unknown; durations (phones,) in frames, summing to frames."""

    mel: np.ndarray
    classes: np.ndarray
    durations: np.ndarray


def augment(
    mel: np.ndarray, targets: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A variant of one utterance: (frames, mel), (frames,) -> normalised (frames', mel), (frames',).

    Tempo, vocal-tract length (a warp of the mel axis), blur in time and frequency (synthetic mels are
    smooth), background and grain (vocoders leave both), and SpecAugment's masks (Park et al., 2019).
    """
    from scipy.ndimage import gaussian_filter, gaussian_filter1d

    mel = np.asarray(mel, np.float32)
    frames, bands = mel.shape
    if rng.random() < 0.6:
        count = max(2, round(frames / rng.uniform(0.8, 1.25)))
        place = np.linspace(0, frames - 1, count)
        below = np.minimum(place.astype(int), frames - 2) if frames > 1 else place.astype(int) * 0
        share = (place - below)[:, None].astype(np.float32)
        mel = mel[below] * (1 - share) + mel[np.minimum(below + 1, frames - 1)] * share
        targets = targets[np.round(place).astype(int)]
    if rng.random() < 0.6:
        place = np.minimum(np.arange(bands) * rng.uniform(0.9, 1.1), bands - 1)
        below = np.minimum(place.astype(int), bands - 2)
        share = (place - below).astype(np.float32)
        mel = mel[:, below] * (1 - share) + mel[:, below + 1] * share
    if rng.random() < 0.5:
        mel = gaussian_filter(mel, (rng.uniform(0.3, 1.5), rng.uniform(0.1, 1.5)), truncate=3.0)
    if rng.random() < 0.5:
        background = mel.max() - rng.uniform(30.0, RANGE_DB) * np.log(10) / 20
        mel = np.logaddexp(mel, np.float32(background))
    if rng.random() < 0.5:
        grain = rng.standard_normal(mel.shape, dtype=np.float32) * rng.uniform(0.1, 0.5)
        mel = mel + gaussian_filter1d(grain, 0.7, axis=0)
    normal = normalise(mel)
    for _ in range(2):
        width = int(rng.integers(0, max(2, bands // 7)))
        start = int(rng.integers(0, bands - width + 1))
        normal[:, start : start + width] = 0.0
        length = int(rng.integers(0, max(2, min(14, len(normal) // 5))))
        start = int(rng.integers(0, len(normal) - length + 1))
        normal[start : start + length] = 0.0
    return normal, targets


def train_network(
    utterances: list[Aligned],
    mel_channels: int,
    phones: int,
    settings: RecogniserConfig,
    device: torch.device,
) -> PhoneNetwork:
    """Train from `settings.seed`: equal inputs give equal weights on one machine and thread count.

    A step packs `batch_size` utterances, drawn without replacement within an epoch, end to end: no
    frame is padding. Torch's global random state is left as it was.
    """
    targets = [np.repeat(item.classes, item.durations) for item in utterances]
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(settings.seed)
        network = PhoneNetwork(mel_channels, phones, settings.hidden_size, settings.layers)
        network.to(device).train()
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=0.02
        )
        warm_up = max(1, round(_WARM_UP * settings.steps))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser,
            lambda step: (
                min(1.0, (step + 1) / warm_up)
                * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / settings.steps))))
            ),
        )
        rng = np.random.default_rng(settings.seed)
        queue: list[int] = []
        for _ in range(settings.steps):
            if len(queue) < settings.batch_size:
                queue.extend(rng.permutation(len(utterances)).tolist())
            chosen, queue = queue[: settings.batch_size], queue[settings.batch_size :]
            packed = [
                augment(utterances[i].mel, targets[i], rng)
                if rng.random() < AUGMENTED
                else (normalise(np.asarray(utterances[i].mel)), targets[i])
                for i in chosen
            ]
            mel = torch.from_numpy(np.concatenate([item[0] for item in packed]))[None].to(device)
            target = torch.from_numpy(np.concatenate([item[1] for item in packed])).to(device)
            logits = network(mel)[0]
            loss = torch.nn.functional.cross_entropy(
                logits, target.long(), ignore_index=IGNORED, label_smoothing=_LABEL_SMOOTHING
            )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            schedule.step()
    return network.eval()
