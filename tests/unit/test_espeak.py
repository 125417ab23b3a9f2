"""Phones of known words, and phone times held against the waveform."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from eele.errors import ConfigError, DataError
from eele.text import espeak


@pytest.mark.parametrize(
    ("word", "language", "phones"),
    [
        ("church", "en", "tʃ ɜː tʃ"),
        ("boat", "en-us", "b oʊ t"),
        ("boat", "en_GB", "b əʊ t"),
        ("thing", "en", "θ ɪ ŋ"),
        ("chrząszcz", "pl", "x ʃ ɔ̃ ʃ tʃ"),
        ("źdźbło", "pl", "ʑ dʑ b w ɔ"),
        ("dzień", "pl", "dʑ ɛ ɲ"),
        ("Zeit", "de", "ts aɪ t"),
        ("Straße", "de", "ʃ t ɾ ɑː s ə"),
        ("42", "de", "ts v aɪ ʊ n t f ɪ ɾ ts ɪ ç"),
    ],
)
def test_known_words(word: str, language: str, phones: str) -> None:
    assert espeak.phonemize_word(word, language) == phones.split()


def test_batch_equals_single_words() -> None:
    some = ["garden", "yesterday", "five"]
    assert espeak.phonemize_words(some, "en") == [espeak.phonemize_word(w, "en") for w in some]


def test_switches_of_language_leave_phones_only() -> None:
    phones = [p for group in espeak.phonemize("Das Team hat ein Meeting.", "de") for p in group]
    assert phones[:3] == ["d", "a", "s"]
    assert not any(c in phone for phone in phones for c in "()ˈˌ_ ")


def test_function_words_depend_on_their_sentence() -> None:
    assert espeak.phonemize("the old", "en")[0] == ["ð", "ɪ"]
    assert espeak.phonemize("the new", "en")[0] == ["ð", "ə"]


@pytest.mark.parametrize(("code", "expected"), [("en", "en-us"), ("zh", "cmn"), ("PL", "pl")])
def test_language_codes(code: str, expected: str) -> None:
    assert espeak.resolve_language(code) == expected


def test_unknown_language_names_close_codes() -> None:
    with pytest.raises(ConfigError, match=r"'pll'.*close codes: .*\bpl\b"):
        espeak.phonemize_word("dom", "pll")
    with pytest.raises(ConfigError, match="language ''"):
        espeak.resolve_language("")


def test_every_listed_language_speaks() -> None:
    codes = espeak.languages()
    assert len(codes) > 100
    assert {"en-us", "en-gb", "pl", "de", "cmn"} <= set(codes)
    # Faroese comes without its dictionary: espeak-ng would read letter by letter.
    assert "fo" not in codes


def test_unknown_variant_is_refused() -> None:
    with pytest.raises(ConfigError, match="no variant 'm33'"):
        espeak.synthesise("hello", "en-us+m33")


def test_parameters_outside_are_refused() -> None:
    with pytest.raises(ConfigError, match="rate_wpm 60"):
        espeak.synthesise("hello", rate_wpm=60)


def test_nothing_spoken_is_an_error() -> None:
    with pytest.raises(DataError, match="spoke nothing"):
        espeak.synthesise("", "en-us")


def test_importing_starts_nothing() -> None:
    code = "import eele.text.espeak, eele.text.espeak_library as e, sys; sys.exit(e._load.cache_info().currsize)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


SENTENCES = (
    "She saw the sun set over a silver sea.",
    "Kate took a pack of cards to the park.",
    "The shop sells fish, salt and sugar.",
    "The tired boy feels cold and tells a story.",
)


@pytest.mark.parametrize("text", SENTENCES)
@pytest.mark.parametrize("voice", ["en-us+m3", "en-us+steph"])
def test_times_cover_the_audio_with_the_phones_of_the_text(text: str, voice: str) -> None:
    speech = espeak.synthesise(text, voice)
    phones = speech.phones
    assert phones[0].start_s == 0
    assert phones[-1].end_s == pytest.approx(len(speech.samples) / speech.rate_hz)
    assert all(a.end_s == b.start_s for a, b in pairwise(phones))
    assert all(p.end_s > p.start_s for p in phones)
    spoken = [p.symbol for p in phones if p.symbol != "sil"]
    assert spoken == [p for group in espeak.phonemize(text, "en") for p in group]


def _level_db(
    samples: np.ndarray, rate_hz: int, start_s: float, end_s: float, above: float
) -> float:
    part = samples[round(start_s * rate_hz) : round(end_s * rate_hz)].astype(float)
    power = np.abs(np.fft.rfft(part * np.hanning(len(part)), 1024)) ** 2
    return float(
        10 * np.log10(power[np.fft.rfftfreq(1024, 1 / rate_hz) > above].sum() / len(part) + 1)
    )


def test_sibilants_start_where_the_hiss_starts() -> None:
    """The step of the energy above 4 kHz lies within 10 ms of the start of s and ʃ after a vowel."""
    errors = []
    for text in SENTENCES:
        speech = espeak.synthesise(text, "en-us+m3")
        for before, phone in pairwise(speech.phones):
            if phone.symbol not in ("s", "ʃ") or before.symbol[0] not in "aeiouæɐɑɔəɛɜɪʊʌ":
                continue
            offsets = np.arange(-0.03, 0.0301, 0.0025)
            steps = [
                _level_db(speech.samples, speech.rate_hz, t, t + 0.012, 4000)
                - _level_db(speech.samples, speech.rate_hz, t - 0.012, t, 4000)
                for t in phone.start_s + offsets
            ]
            errors.append(offsets[int(np.argmax(steps))])
    assert len(errors) >= 4
    assert np.max(np.abs(errors)) <= 0.01


def test_voiceless_plosives_start_with_a_silent_closure_and_end_with_a_burst() -> None:
    found = 0
    for text in SENTENCES:
        speech = espeak.synthesise(text, "en-us+m3")
        for before, phone in pairwise(speech.phones):
            # The first phone after a pause has no closure to hear.
            if phone.symbol not in ("p", "t", "k") or before.symbol == "sil":
                continue
            start, end = (round(t * speech.rate_hz) for t in (phone.start_s, phone.end_s))
            part = np.abs(speech.samples[start:end].astype(int))
            assert not part[: round(0.003 * speech.rate_hz)].any(), (text, phone)
            assert part.max() > 300, (text, phone)
            found += 1
    assert found >= 8


def test_coda_l_is_marked_as_inexact() -> None:
    speech = espeak.synthesise("She feels well.", "en-us+m3")
    marked = {p.symbol for p in speech.phones if not p.exact}
    assert marked == {"l"}


def test_parameters_act() -> None:
    def seconds(rate: int) -> float:
        return len(espeak.synthesise(SENTENCES[0], rate_wpm=rate).samples)

    assert seconds(120) / seconds(180) == pytest.approx(1.5, rel=0.12)
    quiet, loud = (
        np.std(espeak.synthesise(SENTENCES[0], volume=v).samples.astype(float)) for v in (50, 100)
    )
    assert loud > 1.5 * quiet
