"""The embedded aligner: a monophone GMM-HMM per language, trained on the very speech it aligns."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eele.align import frontend
from eele.align.hmm import STATES, MonophoneModel, Path, Segment
from eele.align.mixtures import Matrix
from eele.align.outcome import NO_PATH, UNREADABLE, WRONG_TEXT, Item, Lexicons, Outcome, check_words
from eele.align.textgrid import SILENCE, Interval, TextGrid
from eele.align.verify import Evidence, deviations
from eele.config.models import AlignmentConfig, GmmConfig
from eele.errors import DataError

log = logging.getLogger(__name__)

#: Beam of the first pass: equal alignments are poor, and narrow beams soon find better ones.
_FIRST_BEAM = 6.0
#: EM passes over all utterances after training on a share of them.
_REFITS = 4


@dataclass
class _Speech:
    """An utterance with its frames (frames, DIMENSION)."""

    item: Item
    duration_s: float
    frames: Matrix


def align_gmm(
    items: Sequence[Item], lexicons: Lexicons, config: AlignmentConfig
) -> tuple[list[Outcome], list[str]]:
    """Outcomes in the order of `items`, and warnings for the summary.

    Raises DataError where a language has less speech than a flat start needs.
    """
    outcomes: dict[str, Outcome] = {}
    warnings: list[str] = []
    for language in sorted({item.language for item in items}):
        speech: list[_Speech] = []
        by_speaker: dict[str, list[Item]] = defaultdict(list)
        for item in items:
            if item.language == language:
                failure = check_words(item, lexicons)
                if failure:
                    outcomes[item.utterance_id] = failure
                else:
                    by_speaker[item.speaker].append(item)
        for speaker in sorted(by_speaker):
            for part in _load_speaker(by_speaker[speaker]):
                if isinstance(part, Outcome):
                    outcomes[part.item.utterance_id] = part
                else:
                    speech.append(part)
        if speech:
            warnings += _check_amount(language, speech, config.gmm)
            vocabulary = {word for part in speech for word in part.item.words}
            lexicon = {word: lexicons[language][word] for word in sorted(vocabulary)}
            for outcome in _align_language(language, speech, lexicon, config):
                outcomes[outcome.item.utterance_id] = outcome
    return [outcomes[item.utterance_id] for item in items], warnings


def _load_speaker(items: Sequence[Item]) -> list[_Speech | Outcome]:
    """The frames of one speaker's utterances, normalised together."""
    import soundfile

    found: list[_Speech | Outcome] = []
    cepstra = []
    for item in items:
        try:
            samples, rate = soundfile.read(item.path, dtype="float32", always_2d=True)
        except (OSError, soundfile.SoundFileError) as error:
            found.append(Outcome(item, reason=UNREADABLE, detail=f"{item.path}: {error}"))
            continue
        frames = frontend.mfcc(samples.mean(1), rate)
        if not len(frames):
            found.append(Outcome(item, reason=UNREADABLE, detail=f"{item.path}: no samples"))
            continue
        cepstra.append(frames)
        found.append(_Speech(item, len(samples) / rate, frames))
    whole = iter(frontend.normalised(cepstra) if cepstra else [])
    return [
        replace(part, frames=next(whole)) if isinstance(part, _Speech) else part for part in found
    ]


def _check_amount(language: str, speech: Sequence[_Speech], config: GmmConfig) -> list[str]:
    seconds = sum(part.duration_s for part in speech)
    remedy = "add recordings of this language, or use aligner: mfa with mode: pretrained, which needs none"
    if seconds < config.min_speech_s:
        raise DataError(
            f"alignment: {seconds:.0f} s of speech in language '{language}' are too few to train the "
            f"embedded aligner (alignment.gmm.min_speech_s: {config.min_speech_s:g}); {remedy}"
        )
    if seconds < config.scarce_speech_s:
        warning = (
            f"only {seconds:.0f} s of speech in language '{language}': phone times of the embedded "
            f"aligner are rough below {config.scarce_speech_s:g} s; {remedy}"
        )
        log.warning(warning)
        return [warning]
    return []


def training_share(speech: Sequence[_Speech], seconds: float) -> list[_Speech]:
    """Utterances to train on: all, or about `seconds` spread evenly over the speakers' utterances."""
    total = sum(part.duration_s for part in speech)
    if total <= seconds:
        return list(speech)
    # Every utterance has a place on 0 .. total; those nearest to even marks are taken, speaker
    # after speaker, so every speaker and every part of its list keeps its share.
    chosen, mark, spent = [], 0.0, 0.0
    for part in speech:
        mark += part.duration_s * seconds / total
        if spent + part.duration_s / 2 <= mark:
            chosen.append(part)
            spent += part.duration_s
    return chosen


def train(speech: Sequence[_Speech], lexicon: Any, config: GmmConfig) -> MonophoneModel:
    """Flat start, then `config.iterations` EM passes; the search is renewed in the first ten passes
    and every second one after; components grow over the first three quarters of the passes."""
    texts = [part.item.words for part in speech]
    frames = [part.frames for part in speech]
    stacked = np.concatenate(frames)
    model = MonophoneModel(
        lexicon, stacked.mean(0, dtype=np.float64), stacked.var(0, dtype=np.float64)
    )
    del stacked
    model.compile_graphs(texts)
    paths: list[Path | None] = [
        model.equal_path(text, len(f), seed)
        for seed, (text, f) in enumerate(zip(texts, frames, strict=True))
    ]
    _update(model, frames, paths)
    least = len(model.mixtures)
    growing = max(1, config.iterations * 3 // 4)
    for iteration in range(1, config.iterations + 1):
        if iteration <= 10 or iteration % 2 == 0:
            model.compile_graphs(texts)
            beam = _FIRST_BEAM if iteration == 1 else config.beam
            paths = model.best_paths(texts, frames, beam, config.retry_beam)
        if iteration <= growing:
            model.grow(least + max(0, config.gaussians - least) * iteration // growing)
        _update(model, frames, paths)
    return model


def refit(model: MonophoneModel, speech: Sequence[_Speech], config: GmmConfig) -> list[Path | None]:
    """Paths of all utterances by a model fitted to all of them.

    Without this the utterances trained on would fit better than the others, and the score would tell
    them apart instead of right from wrong text.
    """
    texts = [part.item.words for part in speech]
    frames = [part.frames for part in speech]
    model.compile_graphs(texts)
    paths = model.best_paths(texts, frames, config.beam, config.retry_beam)
    for _ in range(_REFITS):
        _update(model, frames, paths)
    model.compile_graphs(texts)
    return model.best_paths(texts, frames, config.beam, config.retry_beam)


def _update(model: MonophoneModel, frames: Sequence[Matrix], paths: Sequence[Path | None]) -> None:
    found = [(f, path) for f, path in zip(frames, paths, strict=True) if path is not None]
    if not found:
        raise DataError(
            "alignment: no utterance could be aligned with its text; check that texts and recordings "
            "belong together and that `language` is right"
        )
    model.update([f for f, _ in found], [path for _, path in found])


def _align_language(
    language: str, speech: Sequence[_Speech], lexicon: Any, config: AlignmentConfig
) -> list[Outcome]:
    chosen = training_share(speech, config.gmm.max_training_minutes * 60)
    model = train(chosen, lexicon, config.gmm)
    paths = refit(model, speech, config.gmm)
    evidence = Evidence(model.mixtures)
    outcomes = []
    for part, path in zip(speech, paths, strict=True):
        if path is None:
            outcomes.append(_no_path(part, lexicon))
            continue
        segments = model.segments(path)
        speech_frames = np.zeros(len(path), dtype=bool)
        for segment in segments:
            speech_frames[segment.first : segment.end] = segment.phone != SILENCE
        score = evidence.ratio(part.frames, model.states(path), speech_frames)
        outcomes.append(Outcome(part.item, _grid(part, segments, lexicon), score))
    log.info(
        "%s: %d utterances, trained on %d, %d Gaussians, %d without path",
        language,
        len(speech),
        len(chosen),
        sum(len(mixture.weights) for mixture in model.mixtures),
        sum(path is None for path in paths),
    )
    return set_aside(outcomes, config.max_score_deviation)


def set_aside(outcomes: Sequence[Outcome], max_deviation: float) -> list[Outcome]:
    """`outcomes` with those of too low a score failed as wrong text."""
    scores: NDArray[np.float64] = np.array(
        [np.nan if outcome.score is None else outcome.score for outcome in outcomes], dtype=float
    )
    distance = deviations(scores, [outcome.item.speaker for outcome in outcomes])
    return [
        outcome.failed(
            WRONG_TEXT,
            f"the score lies {-far:.1f} robust standard deviations below the speaker's median "
            f"(allowed: {max_deviation:g})",
        )
        if outcome.aligned and far < -max_deviation
        else outcome
        for outcome, far in zip(outcomes, distance.tolist(), strict=True)
    ]


def _no_path(part: _Speech, lexicon: Any) -> Outcome:
    shortest = sum(STATES * min(len(way) for way in lexicon[word]) for word in part.item.words)
    if shortest > len(part.frames):
        least = shortest * frontend.SHIFT_S
        detail = f"the text needs {least:.2f} s at least, the recording has {part.duration_s:.2f} s"
    else:
        detail = "text and sound do not fit (no path survives alignment.gmm.retry_beam)"
    return Outcome(part.item, reason=NO_PATH, detail=detail)


def _grid(part: _Speech, segments: Sequence[Segment], lexicon: Any) -> TextGrid:
    """Segments of frames as a TextGrid; the last one ends with the recording."""
    last = len(segments) - 1

    def time(index: int) -> tuple[float, float]:
        end = part.duration_s if index == last else round(segments[index].end * frontend.SHIFT_S, 4)
        return round(segments[index].first * frontend.SHIFT_S, 4), end

    phones = [
        Interval(*time(index), "" if segment.phone == SILENCE else segment.phone)
        for index, segment in enumerate(segments)
    ]
    words = [
        Interval(time(first)[0], time(end - 1)[1], word)
        for word, first, end in spans(
            [segment.phone for segment in segments], part.item.words, lexicon
        )
    ]
    return TextGrid.of(part.duration_s, words, phones)


def spans(phones: Sequence[str], words: Sequence[str], lexicon: Any) -> list[tuple[str, int, int]]:
    """Where each word lies in `phones`: (word, first, end), silence between words skipped.

    Finds a division of the phones into one pronunciation per word; one exists for every path of the graph.
    """
    # (phones used, words placed) -> the way there, breadth first by words.
    fronts: list[dict[int, tuple[int, int]]] = [{0: (0, 0)}]
    for word in words:
        reached: dict[int, tuple[int, int]] = {}
        for used in fronts[-1]:
            first = used + (used < len(phones) and phones[used] == SILENCE)
            for way in lexicon[word]:
                end = first + len(way)
                if tuple(phones[first:end]) == tuple(way):
                    reached.setdefault(end, (first, used))
        fronts.append(reached)
    ends = [end for end in fronts[-1] if all(phone == SILENCE for phone in phones[end:])]
    if not ends:
        raise ValueError(f"phones {phones} do not divide into the words {words}")
    end, found = ends[0], []
    for word, front in zip(reversed(words), reversed(fronts), strict=False):
        first, used = front[end]
        found.append((word, first, end))
        end = used
    return found[::-1]
