"""The generated corpus: enough speech, emotions that differ as their rules say, true phone times."""

import csv
from collections import defaultdict
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import soundfile

from eele.config.models import CorpusConfig, DemoCorpusConfig
from eele.corpora.demo import TRUTH_COLUMNS, Demo, sentences
from eele.corpora.demo_rules import RULES, VOICES, Rule, generator
from eele.corpora.demo_voice import colour, high_shelf, speak
from eele.errors import DataError
from eele.text import espeak
from eele.text.normalise import words
from eele.vocabulary import DemoEmotion

RATE_HZ = 22050


def corpus(**demo: object) -> CorpusConfig:
    return CorpusConfig(demo=DemoCorpusConfig.model_validate(demo))


SMALL = corpus(parallel_sentences=2, neutral_sentences=1, emotions=("happy", "sad"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo")
    Demo().prepare(root, SMALL, RATE_HZ)
    return root


def truth(root: Path) -> dict[str, list[tuple[str, float, float, int]]]:
    phones = defaultdict(list)
    with open(root / "truth" / "phones.csv", newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        assert tuple(reader.fieldnames or ()) == TRUTH_COLUMNS
        for row in reader:
            phones[row["utterance_id"]].append(
                (row["phone"], float(row["start_s"]), float(row["end_s"]), int(row["exact"]))
            )
    return phones


def test_sentences_are_enough_and_distinct() -> None:
    parallel, neutral = sentences()
    assert (len(parallel), len(neutral)) == (60, 140)
    spoken = [" ".join(words(text)) for text in parallel + neutral]
    assert len(set(spoken)) == 200
    assert all(4 <= len(text.split()) <= 9 for text in spoken)


def test_listing_holds_every_sentence_of_every_voice_and_emotion(small: Path) -> None:
    listing = Demo().list_utterances(small, SMALL)
    assert not listing.rejected
    # Two voices: two sentences in three emotions, one more in neutral.
    assert len(listing.rows) == 2 * (2 * 3 + 1)
    assert len({row.utterance_id for row in listing.rows}) == len(listing.rows)
    assert {row.emotion for row in listing.rows} == {"neutral", "happy", "sad"}
    assert {row.speaker for row in listing.rows} == {"mark", "steph"}
    texts = {e: {r.text for r in listing.rows if r.emotion == e} for e in ("neutral", "happy")}
    assert texts["happy"] < texts["neutral"]


def test_truth_covers_every_recording(small: Path) -> None:
    phones = truth(small)
    rows = Demo().list_utterances(small, SMALL).rows
    assert set(phones) == {row.utterance_id for row in rows}
    for row in rows:
        info = soundfile.info(row.path)
        assert (info.samplerate, info.channels, info.subtype) == (RATE_HZ, 1, "PCM_16")
        spans = phones[row.utterance_id]
        assert spans[0][:2] == ("sil", 0.0)
        assert spans[-1][0] == "sil"
        assert spans[-1][2] == pytest.approx(info.duration, abs=1e-4)
        assert all(a[2] == b[1] for a, b in pairwise(spans))
        # Edge silence for the cleaning to cut.
        assert spans[0][2] >= 0.25
        assert spans[-1][2] - spans[-1][1] >= 0.25
        spoken = [phone for phone, *_ in spans if phone != "sil"]
        assert spoken == [p for group in espeak.phonemize(row.text, "en") for p in group]


def test_speech_lies_where_the_truth_says(small: Path) -> None:
    """The level of the true speech stretch is far above that of the silence around it."""
    for row in Demo().list_utterances(small, SMALL).rows:
        samples, rate_hz = soundfile.read(row.path)
        spans = truth(small)[row.utterance_id]
        start, end = round(spans[0][2] * rate_hz), round(spans[-1][1] * rate_hz)
        outside = np.concatenate([samples[: start - 50], samples[end + 50 :]])
        assert 20 * np.log10(samples[start:end].std() / outside.std()) > 30
        assert np.abs(samples).max() < 0.99


def test_equal_configs_give_equal_bytes(small: Path, tmp_path: Path) -> None:
    # What this process spoke before must not show.
    espeak.synthesise("Something else was said before.")
    Demo().prepare(tmp_path, SMALL, RATE_HZ)
    files = sorted(p.relative_to(small) for p in small.rglob("*") if p.is_file())
    assert len(files) == 2 * 7 + 1
    assert all((small / f).read_bytes() == (tmp_path / f).read_bytes() for f in files)


def test_other_sample_rates_keep_the_times(small: Path, tmp_path: Path) -> None:
    Demo().prepare(tmp_path, SMALL, 16000)
    assert truth(tmp_path) == truth(small)
    row = Demo().list_utterances(tmp_path, SMALL).rows[0]
    info = soundfile.info(row.path)
    assert info.samplerate == 16000
    assert info.duration == pytest.approx(truth(small)[row.utterance_id][-1][2], abs=1e-3)


def test_a_missing_file_is_named(small: Path) -> None:
    with pytest.raises(DataError, match=r"mark_neutral_003\.flac is missing"):
        Demo().list_utterances(small, corpus(parallel_sentences=3, neutral_sentences=0))


def test_every_emotion_has_a_rule() -> None:
    assert set(RULES) == set(get_args(DemoEmotion))


@cache
def _measures(voice_index: int, emotion: str) -> np.ndarray:
    """Mean over sentences of: F0 mean (st), F0 range (st), phones per s, level (dB), tilt (dB), seconds."""
    import parselmouth

    found = []
    for number, text in enumerate(sentences()[0][:4]):
        voice = VOICES[voice_index]
        samples, rate_hz, phones = speak(voice, f"test{number}{emotion}", text, emotion)
        start, end = phones[0][2], phones[-1][1]
        speech = samples[round(start * rate_hz) : round(end * rate_hz)]
        pitch = parselmouth.Sound(speech, rate_hz).to_pitch(0.01, 65, 500)
        f0 = pitch.selected_array["frequency"]
        semitones = 12 * np.log2(f0[f0 > 0] / 100)
        power = np.abs(np.fft.rfft(speech)) ** 2
        high = np.fft.rfftfreq(len(speech), 1 / rate_hz) > 1500
        found.append(
            (
                semitones.mean(),
                np.percentile(semitones, 90) - np.percentile(semitones, 10),
                sum(phone != "sil" for phone, *_ in phones) / (end - start),
                20 * np.log10(speech.std()),
                10 * np.log10(power[high].sum() / power[~high].sum()),
                end - start,
            )
        )
    return np.mean(found, axis=0)


#: Least shift of F0 mean (st), ratio of F0 range, ratio of rate, level (dB), tilt (dB): low and high.
EXPECTED = {
    "happy": [(3, 6), (1.15, 2.5), (1.05, 1.2), (1, 5), (0.5, 5)],
    "sad": [(-4, -1.3), (0.2, 0.85), (0.7, 0.9), (-8, -3.5), (-9, -4)],
    "angry": [(0.7, 3.5), (1.1, 2.2), (1.1, 1.3), (4.5, 9), (5, 9)],
    "fearful": [(5, 9), (0.8, 1.9), (1.2, 1.4), (-1, 4), (-4, 0)],
    "surprised": [(3.5, 6.5), (0.9, 2.2), (0.93, 1.05), (1, 5.5), (-1.5, 3)],
    "disgusted": [(-8, -1.3), (0.8, 2.6), (0.65, 0.8), (-5, -1), (0.5, 4)],
    "bored": [(-5, -2), (0.1, 0.8), (0.7, 0.85), (-6, -2), (-4, -1)],
    "calm": [(-2.5, -0.5), (0.5, 0.95), (0.85, 0.95), (-6, -2.5), (-5, -2)],
}


# All emotions by the default voices, the default emotions by the others.
@pytest.mark.parametrize(
    ("voice", "emotion"),
    [(v, e) for v in range(4) for e in EXPECTED if v < 2 or e in DemoCorpusConfig().emotions],
)
def test_emotions_shift_as_their_rules_say(voice: int, emotion: str) -> None:
    neutral, other = _measures(voice, "neutral"), _measures(voice, emotion)
    shifts = other - neutral
    shifts[1:3] = (other / neutral)[1:3]
    for shift, (low, high) in zip(shifts, EXPECTED[emotion], strict=False):
        assert low <= shift <= high, (VOICES[voice].speaker, emotion, shifts.round(2))


def test_default_size_holds_ten_minutes_of_neutral_speech() -> None:
    demo = DemoCorpusConfig()
    each = np.mean([_measures(v, "neutral")[-1] for v in range(demo.voices)])
    count = demo.voices * (demo.parallel_sentences + demo.neutral_sentences)
    assert count * each / 60 >= 10.5


def test_voices_are_clearly_different() -> None:
    f0 = [_measures(v, "neutral")[0] for v in range(2)]
    assert abs(f0[0] - f0[1]) > 6


def test_utterances_vary_a_little() -> None:
    text = sentences()[0][0]
    lengths = {len(speak(VOICES[0], f"u{n}", text, "neutral")[0]) for n in range(4)}
    assert len(lengths) == 4


@pytest.mark.parametrize("gain_db", [-8.0, 9.0])
def test_high_shelf_reaches_its_gain(gain_db: float) -> None:
    from scipy.signal import freqz

    _, response = freqz(*high_shelf(gain_db, 1500, RATE_HZ), worN=[50, 9000], fs=RATE_HZ)
    low, high = 20 * np.log10(np.abs(response))
    assert low == pytest.approx(0, abs=0.1)
    assert high == pytest.approx(gain_db, abs=0.3)


def test_tremor_moves_the_pitch_and_not_the_times() -> None:
    time = np.arange(RATE_HZ) / RATE_HZ
    tone = np.sin(2 * np.pi * 200 * time)
    shaken = colour(tone, RATE_HZ, Rule(tremor_st=1.0), generator("test"))
    crossings = np.flatnonzero((shaken[:-1] < 0) & (shaken[1:] >= 0)) / RATE_HZ
    f0 = 1 / np.diff(crossings)
    assert 12 * np.log2(f0.max() / f0.min()) == pytest.approx(2.0, abs=0.6)
    # The n-th period of the steady tone ends at n / 200 s.
    drift = crossings - np.round(crossings * 200) / 200
    assert np.abs(drift - np.median(drift)).max() < 0.003
