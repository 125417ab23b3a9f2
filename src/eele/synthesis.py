"""Speech from the neutral model and its adapters: the sentences of a cell, or any text."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from eele.cells import Cell
from eele.config import StudyConfig
from eele.errors import DataError
from eele.features import FeatureStore
from eele.io import atomic_folder, read_json
from eele.neutral import NeutralModel
from eele.paths import StudyPaths
from eele.peft.stored import plug
from eele.text.lexicon import Lexicon
from eele.training import select
from eele.training.data import Normaliser
from eele.vocoders import load as load_vocoder

if TYPE_CHECKING:
    from eele.backbones.base import Backbone, Spoken

log = logging.getLogger(__name__)

SPEECH_COLUMNS = ("file", "kind", "utterance_id", "speaker", "text", "phones", "durations")
#: Free texts are spoken by at most this many voices of a study.
FREE_TEXT_SPEAKERS = 2
_BATCH = 16

Manifest = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Line:
    """One thing to say."""

    file: str
    kind: str  # test | text
    utterance_id: str
    speaker: str
    text: str
    language: str


@dataclass(frozen=True)
class Utterance:
    """One thing said: float samples, phone symbols and their frames."""

    samples: np.ndarray
    phones: list[str]
    durations: list[int]


class Synthesiser:
    """A backbone with its vocoder: phone symbols and speaker in, waveform out."""

    def __init__(
        self, study: StudyConfig, paths: StudyPaths, neutral: NeutralModel, model: Backbone
    ) -> None:
        self.neutral = neutral
        self.device = _device(study.runtime.device)
        self.model = model.eval().to(self.device)
        self._phone_ids = {phone: index for index, phone in enumerate(neutral.phones)}
        self._speaker_ids = {name: index for index, name in enumerate(neutral.speakers)}
        self._normaliser = Normaliser.from_statistics(neutral.statistics)
        self._hop_size = study.audio.hop_size
        self._vocoder = load_vocoder(study, paths) if study.uses_vocoder else None

    @torch.no_grad()
    def say(self, phones: Sequence[list[str]], speakers: Sequence[str]) -> list[Utterance]:
        """Speak each phone sequence in its voice; raises DataError for an unknown voice or phone."""
        said: list[Utterance | None] = [None] * len(phones)
        order = sorted(range(len(phones)), key=lambda i: len(phones[i]))
        for start in range(0, len(order), _BATCH):
            chosen = order[start : start + _BATCH]
            ids = [torch.tensor([self._phone(p) for p in phones[i]]) for i in chosen]
            spoken = self.model.synthesise(
                torch.nn.utils.rnn.pad_sequence(ids, batch_first=True).to(self.device),
                torch.tensor([len(i) for i in ids], device=self.device),
                torch.tensor([self._speaker(speakers[i]) for i in chosen], device=self.device),
            )
            for row, i in enumerate(chosen):
                said[i] = Utterance(
                    self._waveform(spoken, row),
                    list(phones[i]),
                    spoken.durations[row, : len(phones[i])].tolist(),
                )
        return [utterance for utterance in said if utterance is not None]

    @torch.no_grad()
    def copy(self, log_mel: np.ndarray, speaker: str) -> np.ndarray:
        """(frames, mel) of a recording -> samples, through the analysis and decoder of a backbone that
        makes the waveform."""
        samples = self.model.resynthesise(
            torch.from_numpy(self._normaliser.mel(log_mel))[None].to(self.device),
            torch.tensor([len(log_mel)], device=self.device),
            torch.tensor([self._speaker(speaker)], device=self.device),
        )
        assert samples is not None
        return samples[0].float().cpu().numpy()

    def _waveform(self, spoken: Spoken, row: int) -> np.ndarray:
        frames = int(spoken.lengths[row])
        if spoken.samples is not None:
            samples = spoken.samples[row, : (frames - 1) * self._hop_size]
            return samples.float().cpu().numpy()
        assert spoken.mel is not None and self._vocoder is not None
        mel = spoken.mel[row, :frames].float().cpu().numpy()
        return self._vocoder.synthesise(self._normaliser.log_mel(mel))

    def _phone(self, symbol: str) -> int:
        if symbol not in self._phone_ids:
            raise DataError(f"phone '{symbol}' is not in the neutral model's inventory")
        return self._phone_ids[symbol]

    def _speaker(self, name: str) -> int:
        if name not in self._speaker_ids:
            raise DataError(
                f"speaker '{name}' is unknown to the neutral model; known: "
                + ", ".join(self._speaker_ids)
            )
        return self._speaker_ids[name]


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def synthesise_cell(study: StudyConfig, paths: StudyPaths, cell: Cell) -> None:
    """Write the cell's `speech/`: every test sentence of its emotion, then the free texts.

    `recording` holds the clean test recordings, `copy_synthesis` the same through mel and vocoder, or
    through the analysis and decoder of a backbone that makes the waveform; both carry the recording's
    aligned phones.
    """
    torch.set_num_threads(study.runtime.threads)
    store = FeatureStore(paths)
    ids = select.cell_ids(study, store.index, cell.emotion, "test")
    if not ids:
        raise DataError(
            f"no test utterance of emotion '{cell.emotion}' by the adaptation speakers; "
            "see manifest.csv, rejected.csv and alignment/alignment.csv"
        )
    manifest = _manifest(paths)
    lines = test_lines(ids, manifest)
    if cell.spoken:
        lines += _free_texts(study, manifest, select.adaptation_speakers(study, store.index))
        said = _speak(study, paths, cell, lines)
    elif cell.method == "copy_synthesis":
        said = _copy(study, paths, store, lines)
    else:
        said = [_recorded(paths, store, line, manifest[line.utterance_id]) for line in lines]
    with atomic_folder(paths.cell(cell) / "speech") as folder:
        write_speech(study, folder, lines, said)


def test_lines(ids: Sequence[str], manifest: Mapping[str, Mapping[str, str]]) -> list[Line]:
    """What is said of test utterances; `manifest` holds their rows by utterance id."""
    return [
        Line(f"{i}.wav", "test", i, row["speaker"], row["text"], row["language"])
        for i, row in ((i, manifest[i]) for i in ids)
    ]


def _speak(study: StudyConfig, paths: StudyPaths, cell: Cell, lines: list[Line]) -> list[Utterance]:
    neutral = NeutralModel.open(paths.neutral)
    model = neutral.load(paths.neutral)
    if cell.trained:
        plug(model, neutral, paths.neutral, paths.cell(cell) / "adapter")
    lexicon = Lexicon.load(paths, study)
    phones = [lexicon.phones_of(line.text, line.language) for line in lines]
    return Synthesiser(study, paths, neutral, model).say(phones, [line.speaker for line in lines])


def _recorded(paths: StudyPaths, store: FeatureStore, line: Line, row: dict[str, str]) -> Utterance:
    import soundfile

    samples, _ = soundfile.read(paths.root / row["path"], dtype="float32")
    return _as_aligned(samples, store, line, read_json(paths.phones))


def _copy(
    study: StudyConfig, paths: StudyPaths, store: FeatureStore, lines: list[Line]
) -> list[Utterance]:
    """Test recordings through all of the chain but what is between text and spectrum."""
    inventory = read_json(paths.phones)
    mels = [np.asarray(store.get(line.utterance_id).mel) for line in lines]
    if study.uses_vocoder:
        vocoder = load_vocoder(study, paths)
        copies = [vocoder.synthesise(mel) for mel in mels]
    else:
        neutral = NeutralModel.open(paths.neutral)
        synthesiser = Synthesiser(study, paths, neutral, neutral.load(paths.neutral))
        copies = [
            synthesiser.copy(mel, line.speaker) for mel, line in zip(mels, lines, strict=True)
        ]
    return [
        _as_aligned(samples, store, line, inventory)
        for samples, line in zip(copies, lines, strict=True)
    ]


def _as_aligned(
    samples: np.ndarray, store: FeatureStore, line: Line, inventory: list[str]
) -> Utterance:
    features = store.get(line.utterance_id)
    phones = [inventory[i] for i in features.phones]
    return Utterance(samples, phones, [int(d) for d in features.durations])


def _free_texts(study: StudyConfig, manifest: Manifest, speakers: tuple[str, ...]) -> list[Line]:
    lines = []
    for speaker in speakers[:FREE_TEXT_SPEAKERS]:
        language = next(r["language"] for r in manifest.values() if r["speaker"] == speaker)
        lines += [
            Line(f"text-{n}_{speaker}.wav", "text", "", speaker, text, language)
            for n, text in enumerate(study.synthesis.texts, start=1)
        ]
    return lines


def _manifest(paths: StudyPaths) -> Manifest:
    """manifest.csv by utterance id."""
    with open(paths.manifest, newline="", encoding="utf-8") as handle:
        return {row["utterance_id"]: row for row in csv.DictReader(handle)}


def write_wav(path: Path, samples: np.ndarray, sample_rate_hz: int) -> None:
    """16-bit mono WAV; samples beyond full scale are clipped and reported."""
    import soundfile

    beyond = int((np.abs(samples) > 1).sum())
    if beyond:
        log.warning("%s: %d samples clipped", path.name, beyond)
    soundfile.write(path, np.clip(samples, -1, 1), sample_rate_hz, subtype="PCM_16", format="WAV")


def write_speech(
    study: StudyConfig, folder: Path, lines: Sequence[Line], said: Sequence[Utterance]
) -> None:
    """Write each utterance as WAV, and speech.csv, into `folder`."""
    with open(folder / "speech.csv", "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(SPEECH_COLUMNS)
        for line, utterance in zip(lines, said, strict=True):
            write_wav(folder / line.file, utterance.samples, study.audio.sample_rate_hz)
            phones, durations = " ".join(utterance.phones), " ".join(map(str, utterance.durations))
            writer.writerow(
                [
                    line.file,
                    line.kind,
                    line.utterance_id,
                    line.speaker,
                    line.text,
                    phones,
                    durations,
                ]
            )
