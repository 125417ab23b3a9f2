"""The lexicon of a study: every word it holds, with its pronunciations, and the phone inventory."""

from __future__ import annotations

import csv
import io
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from eele.config.models import StudyConfig
from eele.errors import ConfigError, DataError
from eele.io import read_json, write_json, write_text
from eele.paths import StudyPaths
from eele.text.dictionary import read_dictionary
from eele.text.normalise import PAUSE, tokens, words
from eele.text.reading import plain_phone, read

log = logging.getLogger(__name__)

PADDING, SILENCE, UNKNOWN = "_", "sil", "spn"
_RESERVED = (PADDING, SILENCE, UNKNOWN)
#: Readings rarer than this share of a word's occurrences are slips of cutting sentences into words.
_RARE_READING = 0.05
_MOST_READINGS = 4
_MOST_MISSING = 0.05
#: A letter is read with up to eight phones ("w"); whole words stay far below, spelt-out signs do not.
_MOST_PHONES_A_LETTER, _MOST_SPELT = 5, 0.2

Ways = dict[tuple[str, str], list[tuple[str, ...]]]


@dataclass(frozen=True)
class Sentence:
    """A text to be read: where it comes from (for messages), its language, how often it occurs."""

    source: str
    language: str
    text: str
    count: int = 1


def build_lexicon(study: StudyConfig, paths: StudyPaths) -> None:
    """Write lexicon/lexicon.tsv, phones.json and missing.csv for all words of manifest and free texts.

    espeak: the readings of a word in its sentences, the most frequent first, then the word spoken
    alone. dictionary: as the file has them; words it lacks become `spn` and are listed in missing.csv.
    Raises DataError for an utterance without a pronounceable word, and where a dictionary lacks more
    than 5 % of the running words; ConfigError for a language espeak-ng does not speak.
    """
    sentences = _sentences(study, paths)
    missing: Counter[tuple[str, str]] = Counter()
    if study.lexicon.source == "espeak":
        ways = _by_espeak(sentences)
    else:
        ways, missing = _by_dictionary(study, sentences)
    phones = sorted({phone for forms in ways.values() for form in forms for phone in form})
    inventory = [*_RESERVED, *(phone for phone in phones if phone not in _RESERVED)]
    rows = [
        (language, word, " ".join(form))
        for (language, word) in sorted(ways)
        for form in ways[language, word]
    ]
    write_text(paths.lexicon, _table(("language", "word", "phones"), rows, "\t"))
    listed = [(language, word, n) for (language, word), n in missing.most_common()]
    write_text(
        paths.lexicon.with_name("missing.csv"), _table(("language", "word", "count"), listed, ",")
    )
    write_json(paths.phones, inventory)


def _table(header: tuple[str, ...], rows: Iterable[tuple[object, ...]], delimiter: str) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()


def _sentences(study: StudyConfig, paths: StudyPaths) -> list[Sentence]:
    """Distinct texts of the manifest with their counts, and the free texts in every language of it."""
    counts: Counter[tuple[str, str]] = Counter()
    sources: dict[tuple[str, str], str] = {}
    try:
        with open(paths.manifest, newline="", encoding="utf-8") as handle:
            for row in csv.DictReader(handle):
                key = (row["language"], row["text"])
                counts[key] += 1
                sources.setdefault(key, f"{paths.manifest}: utterance {row['utterance_id']}")
    except (FileNotFoundError, KeyError) as error:
        raise DataError(
            f"{paths.manifest} is missing or lacks the column {error}; run the stage "
            "assemble_manifest first"
        ) from error
    if not counts:
        raise DataError(f"{paths.manifest} holds no utterance; see {paths.rejected}")
    found = [Sentence(sources[key], *key, count) for key, count in counts.items()]
    spoken_in = sorted({sentence.language for sentence in found})
    for number, text in enumerate(study.synthesis.texts):
        found += [Sentence(f"synthesis.texts.{number}", language, text) for language in spoken_in]
    for sentence in found:
        if not words(sentence.text):
            raise DataError(
                f"{sentence.source}: no word in the text '{sentence.text}'; "
                "correct the transcript or remove it"
            )
    return found


def _by_espeak(sentences: list[Sentence]) -> Ways:
    from eele.text.espeak import phonemize_word

    readings: dict[tuple[str, str], Counter[tuple[str, ...]]] = defaultdict(Counter)
    for sentence in sentences:
        for word, phones in read(sentence.text, sentence.language):
            if not phones:
                raise DataError(
                    f"{sentence.source}: espeak-ng ({sentence.language}) has no pronunciation for "
                    f"'{word}' in '{sentence.text}'; write the word out as it is spoken"
                )
            readings[sentence.language, word][phones] += sentence.count
    _refuse_spelling(readings)
    ways: Ways = {}
    for (language, word), counter in readings.items():
        total = sum(counter.values())
        # Equal counts fall back on the phones themselves, so that the order is always the same.
        ranked = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
        kept = [form for form, count in ranked if count >= _RARE_READING * total][:_MOST_READINGS]
        alone = tuple(phonemize_word(word, language))
        ways[language, word] = list(dict.fromkeys([*kept, *([alone] if alone else [])]))
    return ways


def _refuse_spelling(readings: Mapping[tuple[str, str], Counter[tuple[str, ...]]]) -> None:
    """Signs that a voice cannot read it spells out ("Chinese letter ..."): far too many phones a letter."""
    total: Counter[str] = Counter()
    spelt: dict[str, Counter[str]] = defaultdict(Counter)
    for (language, word), counter in readings.items():
        count = sum(counter.values())
        total[language] += count
        shortest = min(len(phones) for phones in counter)
        if not any(c.isdigit() for c in word) and shortest > _MOST_PHONES_A_LETTER * len(word):
            spelt[language][word] += count
    for language, words_spelt in spelt.items():
        share = sum(words_spelt.values()) / total[language]
        if share > _MOST_SPELT:
            shown = ", ".join(f"'{word}'" for word, _ in words_spelt.most_common(5))
            raise DataError(
                f"language '{language}': espeak-ng spells out {share:.0%} of the running words, such "
                f"as {shown}; the transcripts are in another language or script: correct `language`"
            )


def _by_dictionary(
    study: StudyConfig, sentences: list[Sentence]
) -> tuple[Ways, Counter[tuple[str, str]]]:
    path = study.lexicon.dictionary
    if path is None:
        raise ConfigError("lexicon.source: dictionary needs the key lexicon.dictionary (a file)")
    entries = read_dictionary(path)
    ways: Ways = {}
    missing: Counter[tuple[str, str]] = Counter()
    total = 0
    for sentence in sentences:
        for word in words(sentence.text):
            key = (sentence.language, word)
            total += sentence.count
            if word not in entries:
                missing[key] += sentence.count
            ways[key] = entries.get(word, [(UNKNOWN,)])
    lacking = sum(missing.values())
    if lacking:
        shown = ", ".join(f"{word} ({n})" for (_, word), n in missing.most_common(20))
        message = (
            f"lexicon.dictionary: {path} lacks {len(missing)} words, {lacking} of {total} running "
            f"words ({lacking / total:.1%}): {shown}"
        )
        if lacking > _MOST_MISSING * total:
            raise DataError(
                f"{message}; at most {_MOST_MISSING:.0%} may be missing: add them to the dictionary, "
                "or set lexicon.source: espeak"
            )
        log.warning("%s; they are read as %s", message, UNKNOWN)
    return ways, missing


@dataclass(frozen=True)
class Lexicon:
    """The lexicon of a study, loaded."""

    ways: Mapping[tuple[str, str], tuple[tuple[str, ...], ...]]
    phones: tuple[str, ...]
    source: str
    _warned: set[str] = field(default_factory=set, repr=False, compare=False)

    @classmethod
    def load(cls, paths: StudyPaths, study: StudyConfig) -> Lexicon:
        """Read lexicon.tsv and phones.json; DataError where they are missing or damaged."""
        ways: dict[tuple[str, str], tuple[tuple[str, ...], ...]] = {}
        try:
            with open(paths.lexicon, newline="", encoding="utf-8") as handle:
                for row in csv.DictReader(handle, delimiter="\t", strict=True):
                    key = (row["language"], row["word"])
                    ways[key] = (*ways.get(key, ()), tuple(row["phones"].split()))
            phones = tuple(read_json(paths.phones))
        except (FileNotFoundError, KeyError, AttributeError, csv.Error) as error:
            raise DataError(
                f"{paths.lexicon.parent}: no usable lexicon ({error}); delete the folder and run "
                "the stage build_lexicon again"
            ) from error
        return cls(ways, phones, study.lexicon.source)

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages that the lexicon has words of, sorted."""
        return tuple(sorted({language for language, _ in self.ways}))

    def words(self, language: str) -> tuple[str, ...]:
        """Words of one language, sorted."""
        return tuple(sorted(word for code, word in self.ways if code == language))

    def pronunciations(self, word: str, language: str) -> tuple[tuple[str, ...], ...]:
        """Pronunciations of a normalised word, the most frequent first; empty where it is unknown."""
        return self.ways.get((language, word), ())

    def phones_of(self, text: str, language: str) -> list[str]:
        """Phones to synthesise `text` with: `sil` at start, end and punctuation, all in the inventory.

        With espeak a word is read as its sentence asks where the lexicon knows that reading, else in
        its most frequent reading; words the lexicon lacks are read by espeak-ng, phones the inventory
        lacks become their nearest relative, or `spn` with a warning. With a dictionary an unknown word
        raises DataError; so does a text without words.
        """
        marks = tokens(text)
        if not marks or all(mark == PAUSE for mark in marks):
            raise DataError(f"no word to speak in the text '{text}'")
        if self.source == "espeak":
            spoken = iter(self._read(text, language))
        else:
            spoken = iter(self._look_up(text, language))
        phones = [SILENCE]
        for mark in marks:
            phones += [SILENCE] if mark == PAUSE else next(spoken)
        return [*phones, SILENCE]

    def _read(self, text: str, language: str) -> list[list[str]]:
        spoken = []
        for word, reading in read(text, language):
            known = self.pronunciations(word, language)
            if not reading and not known:
                raise DataError(f"espeak-ng ({language}) cannot read '{word}' in '{text}'")
            form = reading if reading in known or not known else known[0]
            spoken.append([phone for symbol in form for phone in self._within(symbol)])
        return spoken

    def _look_up(self, text: str, language: str) -> list[list[str]]:
        unknown = [word for word in words(text) if not self.pronunciations(word, language)]
        if unknown:
            raise DataError(
                f"not in the lexicon ({', '.join(self.languages)}): {', '.join(unknown)} in "
                f"'{text}' ({language}); add them to lexicon.dictionary and the text to "
                "synthesis.texts, or use other words"
            )
        return [list(self.pronunciations(word, language)[0]) for word in words(text)]

    def _within(self, symbol: str) -> list[str]:
        """`symbol` as phones of the inventory: itself, its plain form, its parts, else `spn`."""
        if symbol in self.phones:
            return [symbol]
        plain = {plain_phone(phone): phone for phone in reversed(self.phones[len(_RESERVED) :])}
        if plain_phone(symbol) in plain:
            found = [plain[plain_phone(symbol)]]
        else:
            found = [plain[plain_phone(c)] for c in symbol if plain_phone(c) in plain]
        if symbol not in self._warned:
            self._warned.add(symbol)
            log.warning(
                "phone '%s' is not in the study's inventory: spoken as '%s'",
                symbol,
                " ".join(found) or UNKNOWN,
            )
        return found or [UNKNOWN]
