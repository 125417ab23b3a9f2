"""The embedded aligner on signals whose phone times are known because the test makes them."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from eele.align.frontend import mfcc
from eele.align.gmm import align_gmm, set_aside, spans, training_share
from eele.align.mixtures import Mixture, em_step, shares
from eele.align.outcome import Item, Outcome
from eele.align.rescore import scored
from eele.align.textgrid import Interval, read_textgrid
from eele.align.verify import deviations
from eele.config.models import AlignmentConfig, GmmConfig, StudyConfig
from eele.errors import DataError
from eele.paths import StudyPaths

RATE_HZ = 16000
#: Phones of an invented language: vowels are harmonic complexes with two resonances, `s` and `f` noise bands.
VOWELS = {"a": (750, 1300), "i": (300, 2300), "u": (320, 800)}
LEXICON = {
    "sa": [("s", "a")],
    "fi": [("f", "i"), ("f", "u", "i")],
    "us": [("u", "s")],
    "af": [("a", "f")],
    "i": [("i",)],
}
SPOKEN = {"sa": "sa", "fi": "fi", "us": "us", "af": "af", "i": "i"}


def sound(phone: str, n: int, f0_hz: float, rng: np.random.Generator) -> np.ndarray:
    time_s = np.arange(n) / RATE_HZ
    if phone in VOWELS:
        wave = np.zeros(n)
        for k in range(1, int(5000 / f0_hz)):
            gain = sum(1 / (1 + ((k * f0_hz - f) / 120) ** 2) for f in VOWELS[phone]) + 0.003
            wave += gain * np.sin(2 * np.pi * k * f0_hz * time_s + k)
        return 0.1 * wave
    if phone == "sil":
        return rng.normal(0, 1e-4, n)
    spectrum = np.fft.rfft(rng.normal(0, 1, n))
    hz = np.fft.rfftfreq(n, 1 / RATE_HZ)
    low, high = {"s": (4500, 7500), "f": (1500, 4000)}[phone]
    return 0.1 * np.fft.irfft(spectrum * ((hz > low) & (hz < high)), n)


def utterance(words: Sequence[str], f0_hz: float, seed: int) -> tuple[np.ndarray, list[Interval]]:
    """Samples and true phones of `words`, durations drawn between 60 and 160 ms."""
    rng = np.random.default_rng(seed)
    phones = ["sil", *(p for word in words for p in SPOKEN[word]), "sil"]
    parts, truth, now = [], [], 0
    for phone in phones:
        n = int(rng.uniform(0.06, 0.16) * RATE_HZ)
        parts.append(sound(phone, n, f0_hz, rng))
        truth.append(Interval(now / RATE_HZ, (now + n) / RATE_HZ, "" if phone == "sil" else phone))
        now += n
    return np.concatenate(parts).astype(np.float32), truth


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Item], dict]:
    """Two speakers, 40 utterances each of six words, with their true phones."""
    folder = tmp_path_factory.mktemp("speech")
    rng = np.random.default_rng(1)
    items, truth = [], {}
    for speaker, f0_hz in (("low", 110.0), ("high", 190.0)):
        for number in range(40):
            words = tuple(rng.choice(sorted(LEXICON), 6).tolist())
            name = f"{speaker}_{number}"
            samples, truth[name] = utterance(words, f0_hz, len(items))
            soundfile.write(folder / f"{name}.flac", samples, RATE_HZ)
            items.append(Item(name, speaker, "xx", folder / f"{name}.flac", words))
    return items, truth


CONFIG = AlignmentConfig(gmm=GmmConfig(iterations=16, gaussians=120, min_speech_s=30))
#: Few passes, and nothing set aside for its score.
FORCED = AlignmentConfig(
    max_score_deviation=1e9, gmm=GmmConfig(iterations=8, gaussians=60, min_speech_s=30)
)


@pytest.fixture(scope="module")
def aligned(corpus: tuple[list[Item], dict]) -> list[Outcome]:
    return align_gmm(corpus[0], {"xx": LEXICON}, CONFIG)[0]


def test_boundaries_are_found(corpus: tuple[list[Item], dict], aligned: list[Outcome]) -> None:
    errors = []
    for outcome in aligned:
        assert outcome.grid is not None, outcome.detail
        truth = [p for p in corpus[1][outcome.item.utterance_id] if p.label]
        found = [p for p in outcome.grid.phones if p.label]
        if [p.label for p in found] == [p.label for p in truth]:
            errors += [a.start_s - b.start_s for a, b in zip(found, truth, strict=True)]
    size_ms = np.abs(errors) * 1000
    assert len(errors) > 0.9 * sum(len([p for p in t if p.label]) for t in corpus[1].values())
    assert np.median(size_ms) <= 12
    assert (size_ms <= 50).mean() >= 0.95
    assert abs(np.median(errors)) * 1000 < 10


@pytest.mark.parametrize("rate_hz", [16000, 22050])
def test_frames_are_centred_on_the_time_they_stand_for(rate_hz: int) -> None:
    # A click at 0.5 s lies on the boundary of frames 99 and 100: both sides must see it alike.
    samples = np.zeros(rate_hz, np.float32)
    samples[rate_hz // 2] = 0.5
    energy = mfcc(samples, rate_hz)[:, 0]
    heard = np.flatnonzero(energy > (energy.min() + energy.max()) / 2)
    assert len(energy) == 200
    assert (heard[0] + heard[-1]) / 2 == 99.5


def test_tiers_cover_the_recording_and_agree(aligned: list[Outcome]) -> None:
    for outcome in aligned:
        assert outcome.grid is not None
        info = soundfile.info(outcome.item.path)
        for tier in (outcome.grid.words, outcome.grid.phones):
            assert tier[0].start_s == 0
            assert tier[-1].end_s == pytest.approx(info.frames / info.samplerate)
            assert all(a.end_s == b.start_s for a, b in pairwise(tier))
        words = [w for w in outcome.grid.words if w.label]
        assert tuple(w.label for w in words) == outcome.item.words
        for word in words:
            inside = tuple(
                p.label
                for p in outcome.grid.phones
                if p.label and word.start_s - 1e-9 <= p.start_s and p.end_s <= word.end_s + 1e-9
            )
            assert inside in LEXICON[word.label]


def test_equal_input_gives_equal_output(corpus: tuple[list[Item], dict]) -> None:
    once, again = (align_gmm(corpus[0], {"xx": LEXICON}, FORCED)[0] for _ in range(2))
    assert once == again


def test_wrong_text_is_set_aside_whatever_the_aligner(corpus: tuple[list[Item], dict]) -> None:
    items = list(corpus[0])
    wrong = {3, 17, 44, 61}
    for index in wrong:
        items[index] = replace(items[index], words=("us", "i", "af", "us", "i", "us"))
    forced = align_gmm(items, {"xx": LEXICON}, FORCED)[0]
    outcomes = set_aside(forced, 6.5)
    assert {i for i, o in enumerate(outcomes) if not o.aligned} == wrong
    assert {outcomes[i].reason for i in wrong} <= {"wrong text", "no path"}
    # The same from the times alone, as for MFA.
    again = scored([replace(o, score=None) for o in forced], 6.5)
    assert {i for i, o in enumerate(again) if not o.aligned} == wrong


def test_every_utterance_comes_back_with_a_reason(
    corpus: tuple[list[Item], dict], tmp_path: Path
) -> None:
    items = list(corpus[0])
    (tmp_path / "broken.flac").write_bytes(b"no audio")
    soundfile.write(tmp_path / "short.flac", np.zeros(800), RATE_HZ)
    items[0] = replace(items[0], words=())
    items[1] = replace(items[1], words=("nowhere", "sa"))
    items[2] = replace(items[2], path=tmp_path / "broken.flac")
    items[5] = replace(items[5], path=tmp_path / "short.flac")
    outcomes = align_gmm(items, {"xx": LEXICON}, FORCED)[0]
    assert [o.item for o in outcomes] == items
    failed = {i: (o.reason, o.detail) for i, o in enumerate(outcomes) if not o.aligned}
    assert {i: reason for i, (reason, _) in failed.items()} == {
        0: "no words",
        1: "unknown word",
        2: "unreadable",
        5: "no path",
    }
    assert "nowhere" in failed[1][1]
    assert "the recording has 0.05 s" in failed[5][1]


def test_too_little_speech_is_refused_or_marked(corpus: tuple[list[Item], dict]) -> None:
    few = AlignmentConfig(gmm=GmmConfig(min_speech_s=600, iterations=2))
    with pytest.raises(DataError, match=r"too few.*min_speech_s: 600.*aligner: mfa"):
        align_gmm(corpus[0], {"xx": LEXICON}, few)
    warnings = align_gmm(corpus[0], {"xx": LEXICON}, FORCED)[1]
    assert len(warnings) == 1
    assert "rough below 180 s" in warnings[0]


def test_stage_writes_the_contract(corpus: tuple[list[Item], dict], tmp_path: Path) -> None:
    from eele.align import align

    study = StudyConfig(alignment=CONFIG.model_copy(update={"max_failed_share": 0.1}))
    paths = StudyPaths(tmp_path)
    items, truth = corpus
    folder = paths.corpus("demo")
    (folder / "truth").mkdir(parents=True)
    paths.phones.parent.mkdir(parents=True)
    paths.phones.write_text(json.dumps(["_", "sil", "spn", "a", "f", "i", "s", "u"]))
    rows = [f"xx\t{w}\t{' '.join(p)}" for w, ways in LEXICON.items() for p in ways]
    paths.lexicon.write_text("\n".join(["language\tword\tphones", *rows]) + "\n")
    with open(paths.manifest, "w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["utterance_id", "path", "speaker", "language", "text", "duration_s"])
        for index, item in enumerate(items):
            text = "..." if index == 7 else " ".join(item.words)
            table.writerow([f"demo_{item.utterance_id}", item.path, item.speaker, "xx", text, 1.2])
    # The truth is told in the time of recordings of which 0.25 s were cut.
    with open(folder / "clean.csv", "w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["utterance_id", "leading_cut_s"])
        table.writerows([f"demo_{item.utterance_id}", 0.25] for item in items)
    with open(folder / "truth" / "phones.csv", "w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["utterance_id", "phone", "start_s", "end_s", "exact"])
        for name, phones in truth.items():
            for p in phones:
                table.writerow([name, p.label or "sil", p.start_s + 0.25, p.end_s + 0.25, 1])
    align(study, paths)
    text = (paths.alignment / "alignment.csv").read_text("utf-8")
    listed = list(csv.DictReader(text.splitlines()))
    assert [row["utterance_id"] for row in listed] == [f"demo_{i.utterance_id}" for i in items]
    failed = [row for row in listed if row["status"] == "failed"]
    assert [row["utterance_id"] for row in failed] == ["demo_low_7"]
    assert failed[0]["reason"].startswith("no words")
    grids = sorted(p.stem for p in (paths.alignment / "textgrids").glob("*/*.TextGrid"))
    assert grids == sorted(r["utterance_id"] for r in listed if r["status"] == "aligned")
    read_textgrid(paths.alignment / "textgrids" / "low" / "demo_low_0.TextGrid")
    summary = json.loads((paths.alignment / "summary.json").read_text())
    assert (summary["aligner"], summary["n_aligned"], summary["n_failed"]) == ("gmm", 79, 1)
    assert summary["by_reason"] == {"no words": 1}
    assert summary["truth"]["median_ms"] <= 12
    assert summary["truth"]["n"] > 800
    assert summary["x_real_time"] > 1


def test_words_are_found_in_phones() -> None:
    ways = {"a": [("x",), ("x", "y")], "b": [("y", "z"), ("z",)]}
    assert spans(["sil", "x", "sil", "y", "z", "sil"], ["a", "b"], ways) == [
        ("a", 1, 2),
        ("b", 3, 5),
    ]
    assert spans(["x", "y", "sil", "z"], ["a", "b"], ways) == [("a", 0, 2), ("b", 3, 4)]
    with pytest.raises(ValueError, match="do not divide"):
        spans(["x", "q"], ["a", "b"], ways)


def test_em_finds_two_known_gaussians() -> None:
    rng = np.random.default_rng(0)
    frames = np.concatenate([rng.normal(-3, 1, (3000, 2)), rng.normal(4, 0.5, (1000, 2))])
    frames = frames.astype(np.float32)
    mixture = Mixture(np.ones(1), frames.mean(0)[None] * 1.0, frames.var(0)[None] * 1.0)
    mixture.split(2)
    for _ in range(30):
        em_step(
            [mixture],
            [frames[:999], frames[999:]],
            [np.zeros(999, int), np.zeros(3001, int)],
            np.full(2, 1e-3),
        )
    order = np.argsort(mixture.weights)
    assert mixture.weights[order] == pytest.approx([0.25, 0.75], abs=0.01)
    assert mixture.means[order] == pytest.approx(np.array([[4, 4], [-3, -3]]), abs=0.1)
    assert np.sqrt(mixture.variances[order]) == pytest.approx(
        np.array([[0.5, 0.5], [1, 1]]), abs=0.05
    )


def test_components_follow_the_frames() -> None:
    counts = shares(np.array([10_000.0, 10_000.0, 50.0, 0.0]), 40)
    assert counts[0] == counts[1] > 10
    assert counts[2:].tolist() == [1, 1]


def test_deviations_are_within_speakers_and_robust() -> None:
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(-1, 0.5, 60), rng.normal(-9, 0.5, 60)])
    scores[5], scores[100], scores[7] = -9.0, -1.0, np.nan
    found = deviations(scores, ["a"] * 60 + ["b"] * 60)
    assert found[5] < -10
    assert found[100] > 10
    assert np.isnan(found[7])
    assert np.nanmax(np.abs(np.delete(found, [5, 100]))) < 4.5


def test_training_share_is_even(corpus: tuple[list[Item], dict]) -> None:
    from eele.align.gmm import _Speech

    speech = [_Speech(item, 1.0, np.zeros((1, 39), np.float32)) for item in corpus[0]]
    chosen = training_share(speech, 20)
    assert len(chosen) == pytest.approx(20, abs=1)
    assert sum(part.item.speaker == "low" for part in chosen) == pytest.approx(10, abs=1)
    assert training_share(speech, 1000) == speech
