"""The embedded aligner: a monophone GMM-HMM per language, trained on the very speech it aligns."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import islice
from pathlib import Path as FilePath

import numpy as np

from eele.align import frontend
from eele.align.hmm import STATES, MonophoneModel, Path, Segment, phones_of
from eele.align.mixtures import Matrix
from eele.align.outcome import NO_PATH, Item, Lexicon, Lexicons, Outcome, check_words
from eele.align.speech import Speech, by_speaker, even_share, load, load_speaker
from eele.align.textgrid import SILENCE, Interval, TextGrid
from eele.align.verify import Evidence
from eele.config.models import GmmConfig
from eele.errors import DataError

log = logging.getLogger(__name__)

#: Beam of the first pass: equal alignments are poor, and narrow beams soon find better ones.
_FIRST_BEAM = 6.0
#: EM passes over the wider share after training.
_REFITS = 4
#: Speech the trained model is fitted to at last, evenly drawn: it bounds time and memory of the one job
#: that all others wait for.
REFIT_S = 2 * 3600.0
#: Utterances searched at a time: their graphs and frames are held together.
_BLOCK = 200


def train_gmm(
    language: str, items: Sequence[Item], lexicons: Lexicons, config: GmmConfig, path: FilePath
) -> list[str]:
    """Train on `items`, all of one language, write the model to `path` and return warnings.

    Writes nothing where none of them can be used: `align_gmm` says why for each. Raises DataError
    where there is less speech than a flat start needs.
    """
    usable = [item for item in items if check_words(item, lexicons) is None]
    ordered = [item for _, mine in by_speaker(usable) for item in mine]
    most_s = config.max_training_minutes * 60
    speech = load(even_share(ordered, max(REFIT_S, most_s)))
    if not speech:
        return []
    warnings = _check_amount(language, speech, config)
    chosen = even_share(speech, most_s)
    model = train(chosen, _lexicon(language, usable, lexicons), config)
    refit(model, speech, config)
    model.save(path)
    log.info(
        "%s: trained on %d of %d utterances, fitted to %d, %d Gaussians",
        language,
        len(chosen),
        len(items),
        len(speech),
        sum(len(mixture.weights) for mixture in model.mixtures),
    )
    return warnings


def align_gmm(
    language: str, items: Sequence[Item], lexicons: Lexicons, config: GmmConfig, path: FilePath
) -> list[Outcome]:
    """Outcomes with scores of `items`, all of one language, in their order, by the model at `path`.

    The items of a speaker have to be together: frames are normalised over all of them.
    """
    outcomes = {}
    for item in items:
        failure = check_words(item, lexicons)
        if failure:
            outcomes[item.utterance_id] = failure
    usable = [item for item in items if item.utterance_id not in outcomes]
    search: _Search | None = None
    for _, mine in by_speaker(usable):
        parts = load_speaker(mine)
        while block := list(islice(parts, _BLOCK)):
            found = [part for part in block if isinstance(part, Outcome)]
            speech = [part for part in block if isinstance(part, Speech)]
            if speech:
                search = search or _Search(path, _lexicon(language, usable, lexicons), config)
                found += search.align(speech)
            outcomes.update((outcome.item.utterance_id, outcome) for outcome in found)
    return [outcomes[item.utterance_id] for item in items]


def _lexicon(language: str, items: Sequence[Item], lexicons: Lexicons) -> Lexicon:
    """The pronunciations of the words of `items`."""
    words = {word for item in items for word in item.words}
    return {word: lexicons[language][word] for word in sorted(words)}


def _check_amount(language: str, speech: Sequence[Speech], config: GmmConfig) -> list[str]:
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


def train(speech: Sequence[Speech], lexicon: Lexicon, config: GmmConfig) -> MonophoneModel:
    """Flat start, then `config.iterations` EM passes; the search is renewed in the first ten passes
    and every second one after; components grow over the first three quarters of the passes."""
    texts = [part.item.words for part in speech]
    frames = [part.frames for part in speech]
    stacked = np.concatenate(frames)
    mean, variance = stacked.mean(0, dtype=np.float64), stacked.var(0, dtype=np.float64)
    model = MonophoneModel(phones_of(lexicon), lexicon, mean, variance)
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


def refit(model: MonophoneModel, speech: Sequence[Speech], config: GmmConfig) -> None:
    """Fit the trained model to a wider share of the speech.

    Without this the utterances trained on would fit better than the others, and the score would tell
    them apart instead of right from wrong text.
    """
    texts = [part.item.words for part in speech]
    frames = [part.frames for part in speech]
    model.compile_graphs(texts)
    paths = model.best_paths(texts, frames, config.beam, config.retry_beam)
    for _ in range(_REFITS):
        _update(model, frames, paths)


def _update(model: MonophoneModel, frames: Sequence[Matrix], paths: Sequence[Path | None]) -> None:
    found = [(f, path) for f, path in zip(frames, paths, strict=True) if path is not None]
    if not found:
        raise DataError(
            "alignment: no utterance could be aligned with its text; check that texts and recordings "
            "belong together and that `language` is right"
        )
    model.update([f for f, _ in found], [path for _, path in found])


class _Search:
    """A trained model at work on its language."""

    def __init__(self, path: FilePath, lexicon: Lexicon, config: GmmConfig) -> None:
        self._model = MonophoneModel.load(path, lexicon)
        self._evidence = Evidence(self._model.mixtures)
        self._lexicon = lexicon
        self._config = config

    def align(self, speech: Sequence[Speech]) -> list[Outcome]:
        """Phone times and score of each utterance, or why there are none."""
        texts = [part.item.words for part in speech]
        frames = [part.frames for part in speech]
        self._model.compile_graphs(texts)
        paths = self._model.best_paths(texts, frames, self._config.beam, self._config.retry_beam)
        return [
            _no_path(part, self._lexicon) if path is None else self._outcome(part, path)
            for part, path in zip(speech, paths, strict=True)
        ]

    def _outcome(self, part: Speech, path: Path) -> Outcome:
        segments = self._model.segments(path)
        spoken = np.zeros(len(path), dtype=bool)
        for segment in segments:
            spoken[segment.first : segment.end] = segment.phone != SILENCE
        score = self._evidence.ratio(part.frames, self._model.states(path), spoken)
        return Outcome(part.item, _grid(part, segments, self._lexicon), score)


def _no_path(part: Speech, lexicon: Lexicon) -> Outcome:
    shortest = sum(STATES * min(len(way) for way in lexicon[word]) for word in part.item.words)
    if shortest > len(part.frames):
        least = shortest * frontend.SHIFT_S
        detail = f"the text needs {least:.2f} s at least, the recording has {part.duration_s:.2f} s"
    else:
        detail = "text and sound do not fit (no path survives alignment.gmm.retry_beam)"
    return Outcome(part.item, reason=NO_PATH, detail=detail)


def _grid(part: Speech, segments: Sequence[Segment], lexicon: Lexicon) -> TextGrid:
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


def spans(
    phones: Sequence[str], words: Sequence[str], lexicon: Lexicon
) -> list[tuple[str, int, int]]:
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
