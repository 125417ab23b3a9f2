"""VITS2 (Kong et al., arXiv 2307.16430): a variational auto-encoder whose prior is made from text by a flow, trained
end to end against discriminators.

Which loss reaches what: the mel, adversarial and feature-matching losses reach decoder and posterior encoder; the
divergence of posterior and prior (`kl`) reaches text encoder, flow and posterior encoder; the duration losses
reach the duration predictor alone.
"""

from __future__ import annotations

from collections.abc import Collection
from math import log
from zlib import crc32

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eele.backbones import weight_norm
from eele.backbones.base import Backbone, Batch, Critic, Judged, Outcome, Spoken
from eele.backbones.layers import expand_phones, length_mask
from eele.backbones.vits2.constants import Constants
from eele.backbones.vits2.durations_adversarial import (
    AdversarialDurationPredictor,
    DurationCritic,
)
from eele.backbones.vits2.durations_flow import FlowDurationPredictor
from eele.backbones.vits2.flow import Flow
from eele.backbones.vits2.parts import Parts
from eele.backbones.vits2.text_encoder import TextEncoder
from eele.backbones.vits2.wavenet import PosteriorEncoder
from eele.config.models import AudioConfig, Vits2Config
from eele.hifigan.discriminators import WaveformCritic
from eele.hifigan.generator import Generator
from eele.hifigan.mel_loss import MelSpectrogram, mel_loss

#: Longest phone in frames that synthesis allows: a predictor that has learned little would never end.
_LONGEST = 200.0
#: The module of each site; the posterior encoder and the speaker vectors belong to none.
_MODULES = {
    "text_encoder": "text_encoder",
    "duration": "duration_predictor",
    "flow": "flow",
    "decoder": "decoder",
}


class Vits2(Backbone):
    """Text encoder, posterior encoder, flow, duration predictor and waveform decoder."""

    name = "vits2"

    def __init__(self, config: Vits2Config, phones: int, speakers: int, audio: AudioConfig) -> None:
        super().__init__()
        c = config
        self.config = c
        self.hop_size = audio.hop_size
        self.segment_frames = c.segment_frames
        self.speaker_embedding = nn.Embedding(speakers, c.speaker_size)
        self.text_encoder = TextEncoder(c, phones)
        self.posterior = PosteriorEncoder(c, audio.mel_channels)
        self.flow = Flow(c)
        self.duration_predictor: FlowDurationPredictor | AdversarialDurationPredictor
        if c.duration_predictor == "flow":
            self.duration_predictor = FlowDurationPredictor(
                c.hidden_size, c.speaker_size, dropout=c.predictor_dropout
            )
        else:
            self.duration_predictor = AdversarialDurationPredictor(
                c.hidden_size, c.speaker_size, c.predictor_size, dropout=c.predictor_dropout
            )
        self.decoder = Generator(c.decoder, c.hidden_size, c.speaker_size)
        self.spectrogram = MelSpectrogram(audio, None)
        self.loss_weights = {
            "mel": c.mel_weight,
            "kl": c.kl_weight,
            "adversarial": 1.0,
            "features": c.feature_weight,
            "duration": 1.0,
            "duration_adversarial": 1.0,
        }
        adversarial = ("duration_adversarial",) * (c.duration_predictor == "adversarial")
        self.site_losses = {
            "text_encoder": ("kl",),
            "duration": ("duration", *adversarial),
            "flow": ("kl",),
            "decoder": ("mel", "adversarial", "features"),
        }
        #: Outputs of frozen parts, while a cell trains; None while everything moves.
        self.constants: Constants | None = None
        self._sites = frozenset(_MODULES)

    def forward(
        self, batch: Batch, terms: Collection[str] | None = None, step: int | None = None
    ) -> Outcome:
        """Divergence per frame (`kl`), mean absolute error of the ln mel (`mel`), negative log-likelihood
        or squared log error per phone (`duration`); in training, what the critic judges."""
        known = {term for site in self.site_losses.values() for term in site}
        wanted = known if terms is None else known & set(terms)
        parts = Parts(self, batch, self._search_noise(step))
        waveform = wanted & set(self.site_losses["decoder"])
        durations = wanted & set(self.site_losses["duration"])
        losses: dict[str, Tensor] = {}
        judged: Judged = {}
        if durations or "kl" in wanted:
            parts.start_search()
        if waveform:
            real, fake = self._waveforms(parts)
            losses["mel"] = mel_loss(self.spectrogram, real, fake)
            judged["waveform"] = (real, fake)
        if "kl" in wanted:
            losses["kl"] = self._divergence(parts)
        if durations:
            losses["duration"], compared = self._duration_loss(parts)
            judged.update(compared)
        return Outcome(losses, judged if self.training else {})

    def critic(self, terms: Collection[str] | None = None) -> Critic | None:
        """Discriminators of the waveform, and of durations where these are learned adversarially."""
        wanted = {"adversarial", "duration_adversarial"} if terms is None else set(terms)
        critic = Vits2Critic(self.config, wanted)
        return critic if len(critic.judges) else None

    def normalise_weights(self) -> None:
        """As published: gated convolutions and the decoder's upsampling and residual convolutions."""
        weight_norm.normalise(self)

    def fold_weights(self) -> None:
        weight_norm.fold(self)

    def compiled_parts(self) -> list[nn.Module]:
        """The decoder, which hears segments of one length, and what sees padded batches
        (runtime.pad_frames keeps their lengths few)."""
        return [self.decoder, self.posterior, self.flow, self.text_encoder]

    def adapt(self, sites: tuple[str, ...], cache_mb: int) -> None:
        """Everything outside `sites` runs without dropout from now on, and is computed once an utterance."""
        self._sites = frozenset(sites)
        self.constants = Constants(cache_mb, self.config.posterior_draws)
        self.train(self.training)

    def moves(self, *sites: str) -> bool:
        """Whether one of `sites`, or in a pre-training anything, is being trained."""
        return self.constants is None or bool(self._sites.intersection(sites))

    def train(self, mode: bool = True) -> Vits2:
        """Training mode; frozen parts of a cell stay in evaluation mode."""
        super().train(mode)
        if self.constants is not None:
            moving = {_MODULES[site] for site in self._sites}
            for name, child in self.named_children():
                child.train(mode and name in moving)
        return self

    def _search_noise(self, step: int | None) -> float:
        if step is None:
            return 0.0
        return max(0.0, self.config.search_noise - self.config.search_noise_decay * step)

    def _waveforms(self, parts: Parts) -> tuple[Tensor, Tensor]:
        """Samples of the batch's segments, recorded and made: (batch, segment samples) each."""
        starts, real = parts.batch.segment_starts, parts.batch.samples
        assert starts is not None and real is not None
        # Beyond the end of a short utterance lie zeros.
        latent = F.pad(parts.latent[0], (0, 0, 0, self.segment_frames))
        index = starts[:, None] + torch.arange(self.segment_frames, device=latent.device)
        segment = torch.gather(latent, 1, index[:, :, None].expand(-1, -1, latent.shape[2]))
        return real, self.decoder(segment.transpose(1, 2), parts.voice)

    def _divergence(self, parts: Parts) -> Tensor:
        """Kullback-Leibler divergence of posterior and prior, nats per frame over all channels (VITS,
        equation 3), from one sample of the posterior."""
        _, prior_means, prior_log_stds = parts.text
        prior, _ = expand_phones(
            torch.cat((prior_means, prior_log_stds), dim=2).float(),
            parts.durations,
            parts.mapped.shape[1],
        )
        means, log_stds = prior.chunk(2, dim=2)
        distance = (parts.mapped.float() - means).square() * torch.exp(-2 * log_stds)
        divergence = log_stds - parts.latent[1].float() - 0.5 + 0.5 * distance
        mask = parts.frame_mask[:, :, None]
        return (divergence * mask).sum() / mask.sum()

    def _duration_loss(self, parts: Parts) -> tuple[Tensor, Judged]:
        hidden = parts.text[0].detach().transpose(1, 2)
        mask = parts.phone_mask[:, None, :].to(hidden.dtype)
        frames = parts.durations.to(torch.float32)
        predictor = self.duration_predictor
        if isinstance(predictor, FlowDurationPredictor):
            return predictor.loss(hidden, mask, parts.voice, frames).sum() / mask.sum(), {}
        noise = torch.randn(len(hidden), 1, hidden.shape[2], device=hidden.device)
        real = torch.log(frames.clamp(min=1.0)) * mask[:, 0]
        fake = predictor(hidden, mask, parts.voice, noise)
        error = ((fake - real).square() * mask[:, 0]).sum() / mask.sum()
        return error, {"durations": (hidden, mask, real, fake)}

    # -- synthesis --------------------------------------------------------------------------------

    def synthesise(self, phones: Tensor, phone_lengths: Tensor, speakers: Tensor) -> Spoken:
        """Speak with noise that is fixed by phones and speaker: the same request gives the same samples,
        in every batch and with every adapter."""
        mask = length_mask(phone_lengths, phones.shape[1])
        voice = self.speaker_embedding(speakers)
        generators = [
            torch.Generator().manual_seed(crc32(str((row[:size].tolist(), speaker)).encode()))
            for row, size, speaker in zip(
                phones.cpu(), phone_lengths.tolist(), speakers.tolist(), strict=True
            )
        ]
        hidden, means, log_stds = self.text_encoder(phones, mask, voice)
        durations = self._sample_durations(hidden, mask, voice, phone_lengths, generators)
        lengths = durations.sum(dim=1)
        frames = int(lengths.max())
        prior, frame_mask = expand_phones(
            torch.cat((means, log_stds), dim=2).float(), durations, frames
        )
        means, log_stds = prior.chunk(2, dim=2)
        noise = _ragged_noise(lengths.tolist(), means.shape[2], frames, generators).to(means.device)
        latent = means + noise * torch.exp(log_stds) * self.config.latent_noise
        latent = self.flow(latent * frame_mask[:, :, None], frame_mask, voice, inverse=True)
        return Spoken(lengths, durations, samples=self._decode(latent, lengths, voice))

    def resynthesise(self, mel: Tensor, mel_lengths: Tensor, speakers: Tensor) -> Tensor:
        """Through the posterior's means: what the model's own latent space can say."""
        voice = self.speaker_embedding(speakers)
        means, _ = self.posterior(mel, length_mask(mel_lengths, mel.shape[1]), voice)
        return self._decode(means, mel_lengths, voice)

    def _sample_durations(
        self,
        hidden: Tensor,
        mask: Tensor,
        voice: Tensor,
        lengths: Tensor,
        generators: list[torch.Generator],
    ) -> Tensor:
        channels = 2 if isinstance(self.duration_predictor, FlowDurationPredictor) else 1
        noise = _ragged_noise(lengths.tolist(), channels, mask.shape[1], generators)
        noise = noise.transpose(1, 2).to(hidden.device) * self.config.duration_noise
        arguments = (hidden.transpose(1, 2), mask[:, None, :].to(hidden.dtype), voice, noise)
        if isinstance(self.duration_predictor, FlowDurationPredictor):
            log_frames = self.duration_predictor.sample(*arguments)
        else:
            log_frames = self.duration_predictor(*arguments)
        frames = torch.exp(log_frames.float().clamp(max=log(_LONGEST)))
        return (frames.round().clamp(min=1.0) * mask).to(torch.int64)

    def _decode(self, latent: Tensor, lengths: Tensor, voice: Tensor) -> Tensor:
        """Samples (batch, (frames - 1) * hop_size), each utterance decoded alone: beyond its end a
        convolution would otherwise hear what padding gives, not silence."""
        hop = self.hop_size
        samples = latent.new_zeros(len(latent), (latent.shape[1] - 1) * hop)
        for row, frames in enumerate(lengths.tolist()):
            made = self.decoder(
                latent[row : row + 1, :frames].transpose(1, 2), voice[row : row + 1]
            )
            # Frame 0 begins half a hop before sample 0, on which it is centred.
            samples[row, : (frames - 1) * hop] = made[0, hop // 2 :][: (frames - 1) * hop]
        return samples


class Vits2Critic(Critic):
    """Discriminators of the waveform and, token by token, of durations (VITS2, section 2.1)."""

    def __init__(self, config: Vits2Config, terms: Collection[str]) -> None:
        super().__init__()
        self.judges = nn.ModuleDict()
        if "adversarial" in terms:
            self.judges["waveform"] = WaveformCritic(config.discriminator)
        if "duration_adversarial" in terms and config.duration_predictor == "adversarial":
            self.judges["durations"] = DurationCritic(config.hidden_size, dropout=0.0)

    def compiled_parts(self) -> list[nn.Module]:
        return [self.judges["waveform"]] if "waveform" in self.judges else []

    def forward(self, judged: Judged) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        own: dict[str, Tensor] = {}
        models: dict[str, Tensor] = {}
        for name, judge in self.judges.items():
            arguments = (judged,) if name == "waveform" else judged[name]
            critic_losses, model_losses = judge(*arguments)
            own.update(critic_losses)
            models.update(model_losses)
        return own, models


def _ragged_noise(
    lengths: list[int], channels: int, size: int, generators: list[torch.Generator]
) -> Tensor:
    """Standard normal (batch, size, channels), zero beyond each length; a generator per row."""
    noise = torch.zeros(len(lengths), size, channels)
    for row, (length, generator) in enumerate(zip(lengths, generators, strict=True)):
        noise[row, :length] = torch.randn(length, channels, generator=generator)
    return noise
