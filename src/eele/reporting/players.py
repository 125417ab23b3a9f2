"""The listening grid: which clips the page carries, and their encoding."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from eele.reporting.collect import Results, System
from eele.reporting.examples import Clip, clips, read_clip

#: Base64 characters the page spends on speech at most, beyond the sentences it always carries.
AUDIO_BUDGET = 12_000_000
#: Sentences of each emotion that the page always carries, whatever they cost.
ALWAYS = 3

#: Rates of MPEG audio layer III; speech at another rate travels as FLAC.
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


@dataclass(frozen=True)
class Row:
    """One sentence by one speaker in one emotion, spoken by every system that has it."""

    emotion: str
    speaker: str
    text: str
    utterance_id: str
    clips: dict[str, Clip]  # system key -> clip


@dataclass(frozen=True)
class Grid:
    """What the page lets one hear."""

    columns: list[System]
    rows: list[Row]
    audio: dict[str, str]  # clip key -> base64
    mime: str
    available: int  # sentences x speakers x emotions in the study

    def key(self, row: Row, system: System) -> str:
        """Name of a clip in `audio`."""
        return f"{row.utterance_id}/{system.key}"


def listening_columns(results: Results) -> list[System]:
    """Recording, copy synthesis, neutral model, voice vectors alone, full, the main method's compared schemes, the best one of every
    further method, then one scheme's further ranks."""
    plain = {s.method: s for s in results.systems if s not in results.placed}
    order = ("recording", "copy_synthesis", "none", "voice", "full")
    first = [plain[m] for m in order if m in plain]
    others = [results.best_of(results.schemes_of(m)) for m in results.methods[1:]]
    schemes = [*results.compared_schemes, *(system for system in others if system is not None)]
    best = results.best_scheme()
    groups = list(results.ranked.values())
    # One scheme's ranks are enough to hear what the rank does: the best one's where it has several.
    group = next((g for g in groups if best in g), groups[0] if groups else [])
    further = [system for system in group if system not in results.compared]
    return [*first, *schemes, *further]


def listening_grid(results: Results, budget: int = AUDIO_BUDGET) -> Grid:
    """Sentences in turn over emotions and speakers until `budget` is spent; three per emotion at least.

    No sentence is picked by how it sounds: they come in the order of their numbers.
    """
    columns = listening_columns(results)
    queues: dict[str, list[Row]] = {
        str(e): _ordered(_rows(results, columns, e)) for e in results.study.adapted
    }
    available = sum(len(queue) for queue in queues.values())
    mime = "audio/mpeg" if results.study.audio.sample_rate_hz in _MP3_RATES else "audio/flac"
    audio: dict[str, str] = {}
    chosen: list[Row] = []
    spent = 0
    for index in range(max((len(q) for q in queues.values()), default=0)):
        for queue in queues.values():
            if index >= len(queue):
                continue
            row = queue[index]
            encoded = {f"{row.utterance_id}/{key}": encode(clip) for key, clip in row.clips.items()}
            size = sum(map(len, encoded.values()))
            if index >= ALWAYS and spent + size > budget:
                return Grid(columns, _by_emotion(chosen, queues), audio, mime, available)
            audio |= encoded
            chosen.append(row)
            spent += size
    return Grid(columns, _by_emotion(chosen, queues), audio, mime, available)


def encode(clip: Clip) -> str:
    """Base64 of the clip as MP3 (about 50 kbit/s, played by every browser), or FLAC at other rates."""
    import soundfile

    samples, rate = read_clip(clip)
    buffer = io.BytesIO()
    if rate in _MP3_RATES:
        soundfile.write(
            buffer,
            np.clip(samples, -1, 1),
            rate,
            format="MP3",
            subtype="MPEG_LAYER_III",
            compression_level=0.6,
            bitrate_mode="VARIABLE",
        )
    else:
        soundfile.write(buffer, samples, rate, format="FLAC", subtype="PCM_16")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _rows(results: Results, columns: list[System], emotion: str) -> list[Row]:
    spoken = {s.key: {c.utterance_id: c for c in clips(results, s, emotion)} for s in columns}
    order = dict.fromkeys(uid for known in spoken.values() for uid in known)
    rows = []
    for uid in order:
        found = {key: known[uid] for key, known in spoken.items() if uid in known}
        any_clip = next(iter(found.values()))
        rows.append(Row(emotion, any_clip.speaker, any_clip.text, uid, found))
    return rows


def _ordered(rows: list[Row]) -> list[Row]:
    """Sentences first in turn with a changing speaker, so that few rows hold many of both."""
    sentences: dict[str, list[Row]] = {}
    for row in rows:
        sentences.setdefault(row.text, []).append(row)
    return list(_rotate(list(sentences.values())))


def _rotate(groups: list[list[Row]]) -> Iterator[Row]:
    longest = max((len(group) for group in groups), default=0)
    for turn in range(longest):
        for index, group in enumerate(groups):
            if turn < len(group):
                yield group[(index + turn) % len(group)]


def _by_emotion(rows: list[Row], queues: dict[str, list[Row]]) -> list[Row]:
    order = list(queues)
    return sorted(rows, key=lambda row: order.index(row.emotion))
