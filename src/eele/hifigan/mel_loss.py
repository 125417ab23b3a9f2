"""Log-mel spectrograms that a loss can be taken through."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eele.config.data import AudioConfig
from eele.features.mel import MEL_FLOOR, analysis_window, mel_filterbank

#: Smallest squared magnitude: the slope of the root stays finite, and the mel's floor lies well above.
_POWER_FLOOR = 1e-12


class MelSpectrogram(nn.Module):
    """Natural log of the mel magnitude, equal to `eele.features.mel.log_mel` where `fmax_hz` is the study's.

    `fmax_hz` None: up to half the sample rate, as HiFi-GAN's loss listens (its section 2.4 and code's
    settings); the generator's input may end lower. Computed in fp32 whatever the precision around it.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, audio: AudioConfig, fmax_hz: float | None = None) -> None:
        super().__init__()
        self.fft_size, self.hop_size = audio.fft_size, audio.hop_size
        highest = audio.sample_rate_hz / 2 if fmax_hz is None else fmax_hz
        wide = audio.model_copy(update={"mel_fmax_hz": highest})
        self.register_buffer(
            "window", torch.from_numpy(analysis_window(audio).copy()), persistent=False
        )
        self.register_buffer(
            "filters", torch.from_numpy(mel_filterbank(wide).copy()), persistent=False
        )

    def forward(self, samples: Tensor) -> Tensor:
        """(batch, samples) -> (batch, 1 + samples // hop_size, mel); needs more than fft_size / 2 samples."""
        with torch.autocast(samples.device.type, enabled=False):
            spectrum = torch.stft(
                samples.float(),
                self.fft_size,
                self.hop_size,
                window=self.window,
                center=True,
                pad_mode="reflect",
                return_complex=True,
            )
            # Not abs() of the complex number: its slope at zero is undefined.
            power = torch.view_as_real(spectrum).square().sum(-1)
            magnitude = power.clamp_min(_POWER_FLOOR).sqrt()
            mel = magnitude.transpose(1, 2) @ self.filters
            return mel.clamp_min(MEL_FLOOR).log()


def mel_loss(spectrogram: MelSpectrogram, real: Tensor, fake: Tensor) -> Tensor:
    """Mean absolute difference of the log mels of (batch, samples), a scalar (equation 5 of the paper)."""
    with torch.no_grad():
        target = spectrogram(real)
    return (target - spectrogram(fake)).abs().mean()
