"""A VITS2 that fits into a test, batches for it, and a store of computed tones. Shared by several tests."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from torch.nn.utils.rnn import pad_sequence

from eele.backbones import build
from eele.backbones.base import Batch
from eele.backbones.vits2.model import Vits2
from eele.config.models import (
    AudioConfig,
    BackboneConfig,
    DiscriminatorConfig,
    HifiGanConfig,
    Vits2Config,
)
from eele.features.mel import log_mel

HOP, SEGMENT = 16, 6
AUDIO = AudioConfig(
    sample_rate_hz=8000, fft_size=64, window_size=64, hop_size=HOP, mel_channels=8, mel_fmax_hz=4000
)


def config(predictor: str = "adversarial", **changes: object) -> BackboneConfig:
    return BackboneConfig(
        name="vits2",
        vits2=Vits2Config(
            hidden_size=8,
            filter_size=12,
            encoder_layers=3,
            speaker_size=5,
            posterior_layers=2,
            flow_couplings=2,
            flow_layers=2,
            predictor_size=8,
            decoder=HifiGanConfig(
                initial_channels=8,
                upsample_rates=(4, 4),
                upsample_kernels=(8, 8),
                resblock_kernels=(3, 5),
                resblock_dilations=(1, 3),
            ),
            discriminator=DiscriminatorConfig(
                periods=(2, 3),
                period_channels=(4, 8),
                scale_channels=(4, 8, 8),
                scale_groups=(1, 2, 1),
            ),
            segment_frames=SEGMENT,
            duration_predictor=predictor,
            **changes,
        ),
    )


def net(predictor: str = "adversarial", **changes: object) -> Vits2:
    torch.manual_seed(0)
    model = build(config(predictor, **changes), phones=7, speakers=3, audio=AUDIO)
    with torch.no_grad():
        for parameter in model.parameters():  # what starts at zero hides mistakes
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def items(epoch: int = 0) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    found = []
    for row, phones in enumerate((5, 3, 4)):
        durations = torch.randint(1, 5, (1, phones), generator=generator)
        frames = int(durations.sum())
        found.append(
            Batch(
                torch.randint(1, 7, (1, phones), generator=generator),
                torch.tensor([phones]),
                torch.tensor([row]),
                durations,
                torch.zeros(1, phones),
                torch.zeros(1, phones),
                torch.randn(1, frames, 8, generator=generator),
                torch.tensor([frames]),
                torch.tensor([max(0, frames - SEGMENT) // 2]),
                0.1 * torch.randn(1, SEGMENT * HOP, generator=generator),
                (f"u{row}",),
                epoch,
            )
        )
    return found


def padded(lone: list[Batch]) -> Batch:
    fields = {}
    for name in Batch._fields[:10]:
        values = [getattr(item, name)[0] for item in lone]
        flat = values[0].dim() == 0
        fields[name] = torch.stack(values) if flat else pad_sequence(values, batch_first=True)
    return Batch(**fields, items=tuple(i.items[0] for i in lone), epoch=lone[0].epoch)


class ToneStore:
    """Utterances whose phones are tones: stands for a FeatureStore."""

    def __init__(self, count: int, frames_per_phone: int | None = None) -> None:
        generator = np.random.default_rng(0)
        self.utterances = {}
        for number in range(count):
            phones = generator.integers(1, 7, 5 if frames_per_phone else generator.integers(3, 6))
            durations = generator.integers(2, 5, len(phones))
            if frames_per_phone:
                durations[:] = frames_per_phone
            hertz = np.repeat(200.0 * phones, durations * HOP)[: (durations.sum() - 1) * HOP + 3]
            wave = 0.3 * np.sin(2 * np.pi * np.cumsum(hertz) / AUDIO.sample_rate_hz)
            samples = np.round(wave * 32767).astype(np.int16)
            self.utterances[f"u{number}"] = SimpleNamespace(
                phones=phones.astype(np.int16),
                durations=durations.astype(np.int32),
                mel=log_mel(samples / np.float32(32768), AUDIO),
                phone_log_f0=np.zeros(len(phones), np.float32),
                phone_energy_db=np.zeros(len(phones), np.float32),
                samples=samples,
            )
        self.index = pd.DataFrame(
            [
                {
                    "speaker": f"s{number % 3}",
                    "frame_count": len(u.mel),
                    "phone_count": len(u.phones),
                    "sample_count": len(u.samples),
                }
                for number, u in enumerate(self.utterances.values())
            ],
            index=list(self.utterances),
        )

    def get(self, utterance_id: str) -> SimpleNamespace:
        return self.utterances[utterance_id]
