"""espeak-ng, from the library that the pip package `espeakng_loader` carries: phones and speech.

Phones are a pure function of the arguments; samples are not quite: the phase of the flutter runs on from
call to call, so equal bytes need an equal sequence of calls in a new process.

Phones are IPA as espeak-ng writes them, without stress marks: diphthongs and affricates are one
phone (`aɪ`, `tʃ`), the length mark and diacritics stay on their phone (`ɑː`, `n̩`).
"""

from __future__ import annotations

import ctypes
import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from eele.errors import ConfigError, DataError
from eele.text.espeak_library import (
    CHARS_UTF8,
    IPA_MODE,
    PITCH,
    RANGE,
    RATE,
    SEPARATOR,
    VOLUME,
    WORD_GAP,
    Library,
    load_library,
    lock,
)

#: Codes that corpora use and espeak-ng calls otherwise.
ALIASES = {
    "en": "en-us",
    "en-uk": "en-gb",
    "eng": "en-us",
    "zh": "cmn",
    "zh-cn": "cmn",
    "zh-tw": "cmn",
    "zh-hk": "yue",
    "no": "nb",
    "iw": "he",
    "fr": "fr-fr",
    "deu": "de",
    "ger": "de",
    "pol": "pl",
}

_FLAG = re.compile(r"\([a-z]{2,3}(?:-[a-z0-9-]+)?\)")
# Stress marks, zero-width joiners, and espeak's word-link and hyphen marks carry no phone.
_MARKS = str.maketrans("", "", "ˈˌ\u200d\u200c\u0361-‿|")


def version() -> str:
    """Version of the loaded espeak-ng, for provenance."""
    return str(load_library().lib.espeak_Info(None).decode())


@lru_cache(maxsize=1)
def _voices() -> dict[str, str]:
    """Language code -> identifier of its voice file; `en-gb`, for one, is no name but lies in gmw/en."""
    library = load_library()
    found: dict[str, str] = {}
    with lock:
        voices = library.lib.espeak_ListVoices(None)
        index = 0
        while voices[index]:
            voice = voices[index].contents
            identifier = voice.identifier.decode()
            # `languages`: a priority byte, then the code; the first code is the voice's own.
            code = voice.languages[1:].decode().lower()
            # MBROLA voices need a program that the library does not carry; "!v" are variants.
            if not identifier.startswith(("mb/", "!v/")) and _has_dictionary(
                library.data / "lang" / identifier, code
            ):
                found.setdefault(code, identifier)
            index += 1
    return {code: found[code] for code in sorted(found)}


def _has_dictionary(voice: Path, code: str) -> bool:
    """A few voices come without their dictionary: espeak-ng would spell every word of theirs."""
    named = re.search(r"^\s*dictionary\s+(\S+)", voice.read_text("utf-8"), re.MULTILINE)
    name = named[1] if named else code.split("-")[0]
    return (voice.parents[2] / f"{name}_dict").is_file()


@lru_cache(maxsize=1)
def variants() -> tuple[str, ...]:
    """Names of the voice variants, for `language+variant`, sorted."""
    folder = load_library().data / "voices" / "!v"
    return tuple(sorted(file.name for file in folder.iterdir()))


def languages() -> tuple[str, ...]:
    """Codes of every language espeak-ng speaks, sorted."""
    return tuple(_voices())


@lru_cache(maxsize=256)
def resolve_language(language: str) -> str:
    """espeak-ng's code for a corpus's language code (`en` -> `en-us`, `zh` -> `cmn`, `en_GB` -> `en-gb`).

    Raises ConfigError naming close codes where espeak-ng does not speak the language.
    """
    code = str(language).strip().lower().replace("_", "-")
    known = languages()
    for candidate in (code, ALIASES.get(code, "")):
        if candidate in known:
            return candidate
    regional = [other for other in known if other.startswith(f"{code}-")]
    if code and regional:
        return regional[0]
    near = difflib.get_close_matches(code, known, n=4, cutoff=0.5)
    near += [other for other in known if code[:2] and other.startswith(code[:2])]
    hint = ", ".join(dict.fromkeys(near)) or ", ".join(known)
    raise ConfigError(
        f"language '{language}' is not spoken by espeak-ng {version()}; close codes: {hint}; "
        "set `language` of the corpus to one of them, or use lexicon.source: dictionary"
    )


def _set_voice(library: Library, voice: str) -> None:
    language, _, variant = voice.partition("+")
    name = _voices()[resolve_language(language)] + (f"+{variant}" if variant else "")
    if variant and variant not in variants():
        # espeak-ng itself would silently speak with the plain voice.
        raise ConfigError(
            f"voice '{voice}': espeak-ng has no variant '{variant}'; it has: {', '.join(variants())}"
        )
    if library.lib.espeak_SetVoiceByName(name.encode()) != 0:
        raise ConfigError(f"voice '{voice}': espeak-ng has no voice of that name")


def clean_phone(symbol: str) -> str:
    """An espeak-ng IPA symbol without stress marks and joiners; empty where nothing is left."""
    return symbol.translate(_MARKS)


def phonemize(text: str, language: str) -> list[list[str]]:
    """Phones of running text, one list per spoken word as espeak-ng groups them.

    espeak-ng reads function words in their reduced form and may join words ("of the"), so the groups
    need not equal the written words. Marks of a switch to another language, `(en)`, are removed; the
    phones of the foreign word stay.
    """
    library = load_library()
    buffer = ctypes.create_string_buffer(text.encode("utf-8"))
    pointer = ctypes.c_void_p(ctypes.addressof(buffer))
    mode = IPA_MODE | (ord(SEPARATOR) << 8)
    clauses = []
    with lock:
        _set_voice(library, resolve_language(language))
        while pointer.value:
            clause = library.lib.espeak_TextToPhonemes(ctypes.byref(pointer), CHARS_UTF8, mode)
            clauses.append((clause or b"").decode("utf-8"))
    groups = []
    for word in _FLAG.sub("", " ".join(clauses)).split():
        phones = [clean_phone(symbol) for symbol in word.split(SEPARATOR)]
        if phones := [phone for phone in phones if phone]:
            groups.append(phones)
    return groups


@lru_cache(maxsize=100_000)
def _word(word: str, language: str) -> tuple[str, ...]:
    return tuple(phone for group in phonemize(word, language) for phone in group)


def phonemize_word(word: str, language: str) -> list[str]:
    """Phones of one word spoken alone (its full form); empty where espeak-ng says nothing."""
    return list(_word(word, resolve_language(language)))


def phonemize_words(words: Iterable[str], language: str) -> list[list[str]]:
    """`phonemize_word` of every word, in order."""
    code = resolve_language(language)
    return [list(_word(word, code)) for word in words]


class TimedPhone(NamedTuple):
    """One phone of synthesised speech; `exact` is False where espeak-ng has no start of its own for it."""

    symbol: str
    start_s: float
    end_s: float
    exact: bool


@dataclass(frozen=True)
class Speech:
    """Synthesised speech.

    samples: int16 array (samples,); rate_hz: its sample rate; phones: cover the whole audio in order,
    `sil` for pauses.
    """

    samples: Any
    rate_hz: int
    phones: Sequence[TimedPhone]


def synthesise(
    text: str,
    voice: str = "en-us",
    rate_wpm: int = 160,
    pitch: int = 50,
    pitch_range: int = 50,
    volume: int = 100,
    word_gap: int = 0,
) -> Speech:
    """Speak `text` and keep the synthesiser's own phone times.

    `voice`: language code, with an optional espeak-ng variant (`en-us+m3`). `rate_wpm`: 80..450 words
    per minute. `pitch`, `pitch_range`: 0..100 (50 steps of pitch are an octave). `volume`: 0..200.
    `word_gap`: pause between words in units of 10 ms at the default rate. Raises ConfigError on values
    outside, DataError where nothing is spoken.

    Times are the library's sample counts, exact to the sample, after two corrections that its source
    (Generate() in synthesize.c) asks for: the phone event of a plosive comes after its closure, which
    here belongs to the plosive; and an l or r after a vowel has no sound of its own, it is
    the ending of the vowel's formants: see `_phone_times`. Voice variants with an echo fill closures
    with sound, so their plosives start at the release: prefer variants without.
    """
    import numpy as np

    limits = {
        "rate_wpm": (rate_wpm, 80, 450),
        "pitch": (pitch, 0, 100),
        "pitch_range": (pitch_range, 0, 100),
        "volume": (volume, 0, 200),
        "word_gap": (word_gap, 0, 50),
    }
    for key, (value, low, high) in limits.items():
        if not low <= value <= high:
            raise ConfigError(f"espeak-ng {key} {value} is outside {low}..{high}")
    library = load_library()
    encoded = text.encode("utf-8") + b"\0"
    with lock:
        _set_voice(library, voice)
        for parameter, setting in (
            (RATE, rate_wpm),
            (PITCH, pitch),
            (RANGE, pitch_range),
            (VOLUME, volume),
            (WORD_GAP, word_gap),
        ):
            library.lib.espeak_SetParameter(parameter, int(setting), 0)
        library.audio, library.events = [], []
        status = library.lib.espeak_Synth(encoded, len(encoded), 0, 1, 0, CHARS_UTF8, None, None)
        library.lib.espeak_Synchronize()
        samples = np.frombuffer(b"".join(library.audio), dtype=np.int16)
        events = list(library.events)
    phones = _phone_times(events, samples, library.rate_hz) if len(samples) else []
    if status != 0 or all(phone.symbol == "sil" for phone in phones):
        raise DataError(f"espeak-ng voice '{voice}' spoke nothing for the text '{text}'")
    return Speech(samples, library.rate_hz, phones)


#: First signs of plosives and affricates: their closure is silent and belongs to them.
_CLOSURES = "pbtdkɡgcɟqɢʈɖʔ"
_SHORTEST_CLOSURE_S, _SHORTEST_PAUSE_S = 0.003, 0.02


def _phone_times(events: Sequence[tuple[str, int]], samples: Any, rate_hz: int) -> list[TimedPhone]:
    """Events (symbol, sample) to intervals covering the audio; neighbouring pauses are united.

    The silence (exact zeros) before an event becomes the closure of a plosive, or a pause from 20 ms
    on. A phone without sound before the next event (a coda l is the ending of its vowel) takes the
    last third of the phone before, at most 60 ms, and is marked as not exact, to be left out where
    times are measured.
    """
    count = len(samples)
    sound = samples.nonzero()[0]
    spans: list[list[Any]] = [["sil", 0, True]]
    for index, (symbol, sample) in enumerate(events):
        phone, start = clean_phone(symbol) or "sil", min(sample, count)
        before = sound.searchsorted(start)
        # First silent sample after the last sounding one, never before the previous phone's start.
        silent_from = max(int(sound[before - 1]) + 1 if before else 0, spans[-1][1])
        pause = (start - silent_from) / rate_hz
        previous, begin, _ = spans[-1]
        if phone == "sil" and index + 1 < len(events):
            # An event without a name is a pause, or a glide that joins two vowels: then it sounds.
            stretch = samples[start : events[index + 1][1]]
            if (stretch != 0).mean() > 0.5:
                continue
        if previous == "sil":
            if phone == "sil":
                continue
        elif sound.searchsorted(begin) < before:
            if phone[0] in _CLOSURES and pause >= _SHORTEST_CLOSURE_S:
                start = silent_from
            elif phone != "sil" and pause >= _SHORTEST_PAUSE_S:
                spans.append(["sil", silent_from, True])
        elif previous[0] not in _CLOSURES and begin > spans[-2][1]:
            length = min((begin - spans[-2][1]) // 3, int(0.06 * rate_hz))
            spans[-1][1:] = [begin - length, False]
            if phone[0] in _CLOSURES:
                start = begin
        spans.append([phone, start, True])
    if len(spans) > 1 and spans[1][1] == 0:
        spans.pop(0)
    ends = [start for _, start, _ in spans[1:]] + [count]
    return [
        TimedPhone(phone, start / rate_hz, end / rate_hz, exact)
        for (phone, start, exact), end in zip(spans, ends, strict=True)
        if end > start
    ]
