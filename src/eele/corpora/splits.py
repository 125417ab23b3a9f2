"""Splits by sentence: a test sentence is heard in training in no emotion, voice or corpus."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from eele.config.models import SplitConfig
from eele.errors import DataError

#: No more of the emotional sentences than this are held out, however many the config asks for.
MAX_TEST_SHARE = 0.25
MAX_VALIDATION_SHARE = 0.15
#: From this many sentences on there is one for validation, whatever the share.
_VALIDATION_FROM = 5


@dataclass(frozen=True)
class Spoken:
    """One utterance as the draw sees it."""

    sentence: str
    speaker: str
    emotion: str


@dataclass
class Splits:
    """Sentences held out, and what had to give way."""

    test: list[str] = field(default_factory=list)
    validation: list[str] = field(default_factory=list)
    n_emotional_sentences: int = 0
    notes: list[str] = field(default_factory=list)

    def of(self, sentence: str) -> str:
        """Split of a sentence: train, validation or test."""
        if sentence in self._held_out:
            return self._held_out[sentence]
        return "train"

    @property
    def _held_out(self) -> Mapping[str, str]:
        return {s: "test" for s in self.test} | {s: "validation" for s in self.validation}


def draw_splits(
    utterances: Iterable[Spoken],
    emotions: Collection[str],
    config: SplitConfig,
    speakers: Collection[str] | None = None,
) -> Splits:
    """Draw the held-out sentences among those spoken in any of `emotions` (by `speakers`).

    Greedy: each draw takes the sentence that adds most to the (speaker, emotion) pairs held out
    least so far, neutral among them, so that sentences spoken in all emotions by all speakers come
    first; equals are ordered by a hash of `config.seed`. A sentence that is the last one left for an
    emotion is never taken. Raises DataError when fewer than two sentences are spoken emotionally.
    """
    pairs: dict[str, set[tuple[str, str]]] = defaultdict(set)
    emotional: set[str] = set()
    for spoken in utterances:
        if speakers is not None and spoken.speaker not in speakers:
            continue
        if spoken.emotion in emotions:
            emotional.add(spoken.sentence)
        if spoken.emotion in emotions or spoken.emotion == "neutral":
            pairs[spoken.sentence].add((spoken.speaker, spoken.emotion))
    candidates = sorted(emotional, key=lambda s: _rank(config.seed, s))
    n = len(candidates)
    if n < 2:
        raise DataError(
            f"splits: {n} sentence{'s' * (n != 1)} spoken in {', '.join(sorted(emotions))}; at least "
            "two are needed, one to train on and one to test on"
        )
    splits = Splits(n_emotional_sentences=n)
    n_test = _scaled("test_sentences", config.test_sentences, n, MAX_TEST_SHARE, 1, splits)
    n_validation = _scaled(
        "validation_sentences",
        config.validation_sentences,
        n,
        MAX_VALIDATION_SHARE,
        int(n >= _VALIDATION_FROM),
        splits,
    )
    left = dict.fromkeys(candidates)
    for wanted, drawn, name in (
        (n_test, splits.test, "test"),
        (n_validation, splits.validation, "validation"),
    ):
        _draw(wanted, left, pairs, emotions, drawn)
        if len(drawn) < wanted:
            splits.notes.append(
                f"{name}: {len(drawn)} of {wanted} sentences drawn; any other would leave an emotion "
                "without training sentences"
            )
    _note_gaps(splits, pairs, emotions)
    return splits


def _rank(seed: int, sentence: str) -> str:
    return hashlib.sha256(f"{seed}\t{sentence}".encode()).hexdigest()


def _scaled(key: str, wanted: int, n: int, share: float, least: int, splits: Splits) -> int:
    """`wanted`, or what `share` of `n` sentences allows; at least `least`."""
    allowed = max(least, int(n * share))
    if wanted <= allowed:
        return wanted
    splits.notes.append(
        f"splits.{key} {wanted} is too much for {n} sentences spoken emotionally (limit "
        f"{share:.0%}): {allowed} held out"
    )
    return allowed


def _draw(
    wanted: int,
    left: dict[str, None],
    pairs: Mapping[str, set[tuple[str, str]]],
    emotions: Collection[str],
    drawn: list[str],
) -> None:
    """Move up to `wanted` sentences from `left` to `drawn`."""
    held: dict[tuple[str, str], int] = defaultdict(int)
    remaining: dict[str, int] = defaultdict(int)
    for sentence in left:
        for emotion in {emotion for _, emotion in pairs[sentence]}:
            remaining[emotion] += 1
    while len(drawn) < wanted:
        best, most = None, 0.0
        for sentence in left:
            spoken = {emotion for _, emotion in pairs[sentence]}
            if any(remaining[emotion] == 1 for emotion in spoken if emotion in emotions):
                continue
            gain = sum(1 / (1 + held[pair]) for pair in pairs[sentence])
            if gain > most + 1e-9:
                best, most = sentence, gain
        if best is None:
            return
        del left[best]
        drawn.append(best)
        for pair in pairs[best]:
            held[pair] += 1
        for emotion in {emotion for _, emotion in pairs[best]}:
            remaining[emotion] -= 1


def _note_gaps(
    splits: Splits, pairs: Mapping[str, set[tuple[str, str]]], emotions: Collection[str]
) -> None:
    tested = {emotion for sentence in splits.test for _, emotion in pairs[sentence]}
    for emotion in sorted(set(emotions) - tested):
        splits.notes.append(f"{emotion}: no test sentence is spoken in it; it cannot be scored")
    if not splits.validation:
        splits.notes.append("no validation sentence: early stopping has nothing to listen to")


def number_sentences(keys: Sequence[str]) -> dict[str, int]:
    """Sentence key -> number: 0, 1, ... in the order of the sorted keys."""
    return {key: number for number, key in enumerate(sorted(set(keys)))}
