"""HiFi-GAN (arXiv 2010.05646) as a vocoder: a generator trained on the study's recordings."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eele.backbones import weight_norm
from eele.backbones.base import Batch, Critic, Outcome, Trainable
from eele.config.backbones import HifiGanConfig
from eele.config.models import AudioConfig, VocoderConfig
from eele.errors import CheckpointError
from eele.features.mel import MEL_FLOOR
from eele.hifigan.discriminators import WaveformCritic
from eele.hifigan.generator import Generator
from eele.hifigan.mel_loss import MelSpectrogram, mel_loss
from eele.io import read_json, sha256, write_json
from eele.neutral import CRITIC, FACTS, WEIGHTS, load_exactly, save_tensors
from eele.training.data import Normaliser
from eele.vocoders.base import check_mel


class VocoderModel(Trainable):
    """The generator in training: short stretches of a recording's mel, compared with its samples."""

    silence: Tensor

    def __init__(self, config: VocoderConfig, audio: AudioConfig, normaliser: Normaliser) -> None:
        super().__init__()
        self.config = config
        self.segment_frames = config.segment_frames
        self.loss_weights = {
            "mel": config.mel_weight,
            "adversarial": 1.0,
            "features": config.feature_weight,
        }
        self.generator = Generator(config.generator, audio.mel_channels)
        self.spectrogram = MelSpectrogram(audio)
        floor = np.full((1, audio.mel_channels), np.log(MEL_FLOOR), np.float32)
        self.register_buffer(
            "silence", torch.from_numpy(normaliser.mel(floor)[0]), persistent=False
        )

    def forward(
        self, batch: Batch, terms: Collection[str] | None = None, step: int | None = None
    ) -> Outcome:
        """`mel`, and in training what the critic judges, both of (batch, segment_frames * hop_size) samples."""
        real = batch.samples
        assert real is not None
        fake = self.generator(self._segments(batch).transpose(1, 2))
        losses = {"mel": mel_loss(self.spectrogram, real, fake)}
        return Outcome(losses, {"waveform": (real, fake)} if self.training else {})

    def critic(self, terms: Collection[str] | None = None) -> Critic:
        """Fresh discriminators."""
        return WaveformCritic(self.config.discriminator)

    def compiled_parts(self) -> list[nn.Module]:
        """The generator, which hears segments of one length."""
        return [self.generator]

    def normalise_weights(self) -> None:
        weight_norm.normalise(self)

    def fold_weights(self) -> None:
        weight_norm.fold(self)

    def _segments(self, batch: Batch) -> Tensor:
        """The mel under the batch's samples, (batch, segment_frames, mel)."""
        assert batch.segment_starts is not None
        mel = F.pad(batch.mel, (0, 0, 0, self.segment_frames))
        index = batch.segment_starts[:, None] + torch.arange(self.segment_frames, device=mel.device)
        segment = torch.gather(mel, 1, index[:, :, None].expand(-1, -1, mel.shape[2]))
        # An utterance shorter than the segment goes on in silence, as its samples do.
        inside = index < batch.mel_lengths[:, None]
        return torch.where(inside[:, :, None], segment, self.silence)


@dataclass(frozen=True)
class HifiGan:
    """The trained vocoder."""

    generator: nn.Module
    normaliser: Normaliser
    audio: AudioConfig

    @classmethod
    def open(cls, folder: Path, audio: AudioConfig) -> HifiGan:
        """The vocoder of a folder that `save` wrote.

        Raises CheckpointError where there is none, it is damaged, or it was trained for another audio
        specification.
        """
        if not (folder / FACTS).is_file():
            raise CheckpointError(
                f"{folder / FACTS} is missing: the vocoder hifigan is not trained; run "
                f"`snakemake {folder / FACTS}` with the study's --configfile, or set "
                "synthesis.vocoder to griffin_lim"
            )
        facts = read_json(folder / FACTS)
        trained_for = AudioConfig.model_validate(facts["audio"])
        if trained_for != audio:
            raise CheckpointError(
                f"{folder}: the vocoder was trained for the audio {trained_for}; the study's is {audio}; "
                "train it again"
            )
        generator = Generator(HifiGanConfig.model_validate(facts["generator"]), audio.mel_channels)
        load_exactly(generator, folder / WEIGHTS)
        return cls(generator.eval(), Normaliser.from_statistics({**facts, "speakers": {}}), audio)

    @torch.no_grad()
    def synthesise(self, log_mel: np.ndarray) -> np.ndarray:
        """(frames, mel) natural log -> samples ((frames - 1) * hop_size,) float32, within -1..1.

        Sample 0 lies under the middle of frame 0, as in recordings. Raises DataError when the array is
        not a finite mel of the study's channels or has fewer than two frames.
        """
        check_mel(log_mel, self.audio.mel_channels)
        mel = self.normaliser.mel(np.asarray(log_mel, dtype=np.float32))
        samples: np.ndarray = self.generator(torch.from_numpy(mel).T[None])[0].numpy()
        # The generator's frame t is the hop around sample t * hop_size.
        first, hop = self.audio.hop_size // 2, self.audio.hop_size
        return samples[first : first + (len(log_mel) - 1) * hop].copy()


def save(
    folder: Path,
    model: VocoderModel,
    critic: Critic,
    audio: AudioConfig,
    statistics: dict[str, Any],
) -> None:
    """Write model.safetensors, critic.safetensors (to go on training from) and model.json, which is last:
    its presence says that the vocoder is whole. Both models' weights must be folded.

    `statistics` holds `mel_mean` and `mel_std`, as features/statistics.json does.
    """
    state = model.generator.state_dict()
    # One entry of metadata: the order of several is drawn anew each time, and the digest would be too.
    save_tensors(folder / WEIGHTS, state)
    save_tensors(folder / CRITIC, critic.state_dict())
    write_json(
        folder / FACTS,
        {
            "generator": model.config.generator.model_dump(mode="json"),
            "discriminator": model.config.discriminator.model_dump(mode="json"),
            "audio": audio.model_dump(mode="json"),
            "mel_mean": list(statistics["mel_mean"]),
            "mel_std": list(statistics["mel_std"]),
            "sha256": sha256(folder / WEIGHTS),
        },
    )
