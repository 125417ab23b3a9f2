"""The embedded aligner on signals whose phone times are known because the test makes them."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from eele.align import align_shard, gmm, index, train_aligner
from eele.align.frontend import mfcc
from eele.align.gmm import align_gmm, spans, train_gmm
from eele.align.hmm import MonophoneModel
from eele.align.inputs import shard_of
from eele.align.mixtures import Mixture, em_step, shares
from eele.align.outcome import Item, Outcome
from eele.align.rescore import scored
from eele.align.speech import Speech, even_share
from eele.align.textgrid import Interval, read_textgrid
from eele.align.verify import deviations, set_aside
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
            path = folder / f"{name}.flac"
            items.append(Item(name, speaker, "xx", path, words, len(samples) / RATE_HZ))
    return items, truth


CONFIG = GmmConfig(iterations=16, gaussians=120, min_speech_s=30)
QUICK = GmmConfig(iterations=8, gaussians=60, min_speech_s=30)


def forced(
    items: list[Item], folder: Path, config: GmmConfig = QUICK
) -> tuple[list[Outcome], list[str]]:
    """Outcomes by a model trained on `items` themselves, and the warnings of its training."""
    model = folder / "xx.safetensors"
    warnings = train_gmm("xx", items, {"xx": LEXICON}, config, model)
    return align_gmm("xx", items, {"xx": LEXICON}, config, model), warnings


@pytest.fixture(scope="module")
def aligned(
    corpus: tuple[list[Item], dict], tmp_path_factory: pytest.TempPathFactory
) -> list[Outcome]:
    return forced(corpus[0], tmp_path_factory.mktemp("model"), CONFIG)[0]


def start_errors_ms(outcomes: list[Outcome], truth: dict) -> np.ndarray:
    """Signed errors of phone starts where the pronunciation is the one spoken."""
    errors = []
    for outcome in outcomes:
        assert outcome.grid is not None, outcome.detail
        true = [p for p in truth[outcome.item.utterance_id] if p.label]
        found = [p for p in outcome.grid.phones if p.label]
        if [p.label for p in found] == [p.label for p in true]:
            errors += [a.start_s - b.start_s for a, b in zip(found, true, strict=True)]
    return np.array(errors) * 1000


def test_boundaries_are_found(corpus: tuple[list[Item], dict], aligned: list[Outcome]) -> None:
    errors = start_errors_ms(aligned, corpus[1])
    assert len(errors) > 0.9 * sum(len([p for p in t if p.label]) for t in corpus[1].values())
    assert np.median(abs(errors)) <= 12
    assert (abs(errors) <= 50).mean() >= 0.95
    assert abs(np.median(errors)) < 10


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


def test_equal_input_gives_equal_output(corpus: tuple[list[Item], dict], tmp_path: Path) -> None:
    once, again = (forced(corpus[0], tmp_path)[0] for _ in range(2))
    assert once == again


def test_wrong_text_is_set_aside_whatever_the_aligner(
    corpus: tuple[list[Item], dict], tmp_path: Path
) -> None:
    items = list(corpus[0])
    wrong = {3, 17, 44, 61}
    for number in wrong:
        items[number] = replace(items[number], words=("us", "i", "af", "us", "i", "us"))
    found = forced(items, tmp_path)[0]
    outcomes = set_aside(found, 6.5)
    assert {i for i, o in enumerate(outcomes) if not o.aligned} == wrong
    assert {outcomes[i].reason for i in wrong} <= {"wrong text", "no path"}
    # The same from the times alone, as for MFA.
    again = set_aside(scored([replace(o, score=None) for o in found]), 6.5)
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
    outcomes = forced(items, tmp_path)[0]
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


def test_what_cannot_be_used_at_all_needs_no_model(
    corpus: tuple[list[Item], dict], tmp_path: Path
) -> None:
    items = [replace(item, words=("nowhere",)) for item in corpus[0]]
    outcomes, warnings = forced(items, tmp_path)
    assert {o.reason for o in outcomes} == {"unknown word"}
    assert warnings == []
    assert list(tmp_path.iterdir()) == []


def test_too_little_speech_is_refused_or_marked(
    corpus: tuple[list[Item], dict], tmp_path: Path
) -> None:
    few = GmmConfig(min_speech_s=600, iterations=2)
    with pytest.raises(DataError, match=r"too few.*min_speech_s: 600.*aligner: mfa"):
        forced(corpus[0], tmp_path, few)
    warnings = forced(corpus[0], tmp_path, CONFIG.model_copy(update={"iterations": 1}))[1]
    assert len(warnings) == 1
    assert "rough below 180 s" in warnings[0]


def test_a_bounded_share_fits_all(
    corpus: tuple[list[Item], dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Utterances outside of what the model saw score as those inside, and their phones are found."""
    monkeypatch.setattr(gmm, "REFIT_S", 40.0)
    few = CONFIG.model_copy(update={"max_training_minutes": 0.6})
    outcomes = forced(corpus[0], tmp_path, few)[0]
    inside = {item.utterance_id for item in even_share(corpus[0][40:] + corpus[0][:40], 40.0)}
    assert 20 < len(inside) < 60
    sides = {
        side: [o for o in outcomes if (o.item.utterance_id in inside) == side]
        for side in (True, False)
    }
    means = {side: np.mean([o.score for o in mine]) for side, mine in sides.items()}
    # Wrong text lies some nats below.
    assert abs(means[True] - means[False]) < 0.5
    assert np.median(abs(start_errors_ms(sides[False], corpus[1]))) <= 20


def test_a_model_comes_back_as_it_was(finished: StudyPaths, tmp_path: Path) -> None:
    path = tmp_path / "xx.safetensors"
    path.write_bytes((finished.alignment / "models" / path.name).read_bytes())
    model = MonophoneModel.load(path, LEXICON)
    model.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    # Trained, not as a flat start has them.
    assert len(set(np.round(model.transitions.log_probs, 4))) > 4
    with pytest.raises(DataError, match="does not know the phones q of the lexicon"):
        MonophoneModel.load(path, {**LEXICON, "q": [("q",)]})
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"xx\.safetensors: no usable model.*train_aligner"):
        MonophoneModel.load(path, LEXICON)
    with pytest.raises(DataError, match="no usable model"):
        MonophoneModel.load(tmp_path / "nowhere", LEXICON)


def study_of(shards: int = 1) -> StudyConfig:
    return StudyConfig(alignment=AlignmentConfig(gmm=CONFIG, max_failed_share=0.1, shards=shards))


def run_shards(paths: StudyPaths, shards: int = 1) -> None:
    study = study_of(shards)
    for shard in range(shards):
        align_shard(study, paths, shard)
    index(study, paths)


@pytest.fixture(scope="module")
def finished(
    corpus: tuple[list[Item], dict], tmp_path_factory: pytest.TempPathFactory
) -> StudyPaths:
    """An aligned study; utterance 7 has no word, 50 another's text."""
    paths = StudyPaths(tmp_path_factory.mktemp("study"))
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
        for number, item in enumerate(items):
            text = {7: "...", 50: "us i af us i us"}.get(number, " ".join(item.words))
            name = f"demo_{item.utterance_id}"
            table.writerow([name, item.path, item.speaker, "xx", text, item.duration_s])
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
    train_aligner(study_of(), paths)
    run_shards(paths)
    return paths


@pytest.fixture
def paths(finished: StudyPaths, tmp_path: Path) -> StudyPaths:
    """A copy of the finished study."""
    shutil.copytree(finished.root, tmp_path, dirs_exist_ok=True)
    return StudyPaths(tmp_path)


def test_stages_write_the_contract(corpus: tuple[list[Item], dict], finished: StudyPaths) -> None:
    paths = finished
    text = (paths.alignment / "alignment.csv").read_text("utf-8")
    listed = list(csv.DictReader(text.splitlines()))
    assert [row["utterance_id"] for row in listed] == [f"demo_{i.utterance_id}" for i in corpus[0]]
    failed = {row["utterance_id"]: row["reason"] for row in listed if row["status"] == "failed"}
    assert failed.keys() == {"demo_low_7", "demo_high_10"}
    assert failed["demo_low_7"].startswith("no words")
    assert failed["demo_high_10"].startswith("wrong text: the score lies")
    grids = sorted(p.stem for p in (paths.alignment / "textgrids").glob("*/*.TextGrid"))
    assert grids == sorted(r["utterance_id"] for r in listed if r["status"] == "aligned")
    read_textgrid(paths.alignment / "textgrids" / "low" / "demo_low_0.TextGrid")
    summary = json.loads((paths.alignment / "summary.json").read_text())
    assert (summary["aligner"], summary["n_aligned"], summary["n_failed"]) == ("gmm", 78, 2)
    assert summary["by_reason"] == {"no words": 1, "wrong text": 1}
    assert summary["truth"]["median_ms"] <= 12
    assert summary["truth"]["n"] > 800
    assert summary["x_real_time"] > 1
    assert "rough below 180 s" in summary["warnings"][0]


def files(paths: StudyPaths) -> dict[str, bytes]:
    """What the stages after this one read, without what took how long."""
    grids = (paths.alignment / "textgrids").glob("*/*.TextGrid")
    found = {f"{p.parent.name}/{p.name}": p.read_bytes() for p in grids}
    found["alignment.csv"] = (paths.alignment / "alignment.csv").read_bytes()
    summary = json.loads((paths.alignment / "summary.json").read_text())
    del summary["seconds"], summary["x_real_time"]
    return {**found, "summary.json": json.dumps(summary).encode()}


def test_shards_change_nothing(paths: StudyPaths) -> None:
    once = files(paths)
    shutil.rmtree(paths.alignment / "textgrids")
    # One of three stays empty: there are two speakers.
    run_shards(paths, shards=3)
    assert len(once) == 80
    assert files(paths) == once


def test_shards_are_whole_speakers_of_equal_seconds() -> None:
    rng = np.random.default_rng(0)
    items = [
        Item(str(n), f"s{n % 23}", "ab"[n % 2], Path("x"), ("i",), float(rng.uniform(1, 9)))
        for n in range(500)
    ]
    shards = [shard_of(items, 4, shard) for shard in range(4)]
    speakers = [{item.speaker for item in mine} for mine in shards]
    assert sum(map(len, speakers)) == 23 == len(set.union(*speakers))
    assert sum(map(len, shards)) == 500
    loads = [sum(item.duration_s for item in mine) for mine in shards]
    longest = max(sum(i.duration_s for i in items if i.speaker == s) for s in speakers[0])
    assert max(loads) - min(loads) <= longest
    # In the order of the manifest, and by speakers and seconds alone.
    assert shards[1] == [item for item in items if item.speaker in speakers[1]]
    backwards = shard_of(items[::-1], 4, 1)
    assert {item.speaker for item in backwards} == speakers[1]
    assert shard_of(items, 1, 0) == items


def test_what_is_missing_is_named(paths: StudyPaths) -> None:
    study = study_of(2)
    with pytest.raises(DataError, match=r"shards are 0\.\.1"):
        align_shard(study, paths, 2)
    align_shard(study, paths, 0)
    with pytest.raises(DataError, match=r"shard~1 is missing.*run the stage align again"):
        index(study, paths)
    # Shards of another number of shards: somebody is in none of them.
    with pytest.raises(DataError, match=r"list 40 utterances, the manifest 80; missing: demo_"):
        index(study_of(1), paths)
    align_shard(study, paths, 1)
    table = paths.alignment / "shard~1" / "intervals.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:20]))
    with pytest.raises(DataError, match=r"shard~1 is missing, damaged"):
        index(study, paths)
    (paths.alignment / "models" / "models.json").unlink()
    with pytest.raises(DataError, match=r"models\.json is missing.*train_aligner"):
        align_shard(study, paths, 0)


def test_many_failures_stop_the_run(paths: StudyPaths) -> None:
    strict = AlignmentConfig(gmm=CONFIG, max_failed_share=0.01)
    with pytest.raises(DataError, match=r"2 of 80 utterances failed: .*no words.*demo_low_7"):
        index(StudyConfig(alignment=strict), paths)


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


def test_an_even_share_takes_from_everyone(corpus: tuple[list[Item], dict]) -> None:
    speech = [Speech(item, 1.0, np.zeros((1, 39), np.float32)) for item in corpus[0]]
    chosen = even_share(speech, 20)
    assert len(chosen) == pytest.approx(20, abs=1)
    assert sum(part.item.speaker == "low" for part in chosen) == pytest.approx(10, abs=1)
    assert even_share(speech, 1000) == speech
