"""The phone recogniser: decoding against brute force, learning a toy language, what it writes and refuses."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eele.config import StudyConfig, check_study
from eele.errors import DataError
from eele.features.store import ShardWriter, Utterance
from eele.metrics import recogniser
from eele.metrics.recogniser_decoder import PhoneLoop, estimate_phone_loop, viterbi
from eele.paths import StudyPaths

SYMBOLS = ["_", "sil", "spn", "a", "i", "m", "s", "u"]
STUDY = check_study(
    {"evaluation": {"recogniser": {"hidden_size": 48, "layers": 3, "steps": 120, "batch_size": 8}}}
)
#: centre band of each phone's bump of energy
_BANDS = {"a": 25, "i": 50, "m": 8, "s": 70, "u": 15}


def spoken(rng: np.random.Generator) -> Utterance:
    """An utterance whose phones are bumps of energy at known bands, with noise."""
    names = ["sil", *rng.choice(list(_BANDS), size=rng.integers(5, 9)), "sil"]
    for k in range(2, len(names) - 1):  # neighbours differ, as nothing would mark their boundary
        while names[k] == names[k - 1]:
            names[k] = rng.choice(list(_BANDS))
    durations = rng.integers(5, 12, size=len(names))
    mel = np.full((int(durations.sum()), 80), -9.0) + rng.normal(0, 0.3, (durations.sum(), 80))
    ends = np.cumsum(durations)
    for name, start, end in zip(names, ends - durations, ends, strict=True):
        if name != "sil":
            bump = 7 * np.exp(-0.5 * ((np.arange(80) - _BANDS[name]) / 4) ** 2)
            mel[start:end] += bump + rng.normal(0, 0.5)
    n = len(names)
    return Utterance(
        mel=mel.astype(np.float32),
        f0_hz=np.zeros(len(mel), np.float32),
        energy_db=np.zeros(len(mel), np.float32),
        phones=np.array([SYMBOLS.index(str(name)) for name in names], np.int16),
        durations=durations.astype(np.int32),
        phone_log_f0=np.zeros(n, np.float32),
        phone_energy_db=np.zeros(n, np.float32),
    )


def write_study(root: Path, splits: dict[str, int]) -> StudyPaths:
    """Features of a toy language; splits: how many utterances each holds."""
    paths = StudyPaths(root)
    (root / "lexicon").mkdir(parents=True)
    paths.phones.write_text(json.dumps(SYMBOLS))
    rng = np.random.default_rng(0)
    with ShardWriter(paths, 0) as shard:
        for split, count in splits.items():
            for number in range(count):
                row = {
                    "utterance_id": f"{split}_{number}",
                    "speaker": "one",
                    "emotion": "neutral" if number % 2 else "sad",
                    "split": split,
                    "duration_s": 1.0,
                }
                utterance = spoken(rng)
                if split == "test" and number == 0:
                    utterance.phones[2] = SYMBOLS.index("spn")
                shard.add(row, utterance)
    index = pd.read_csv(paths.features / "shard~0" / "index.csv")
    index.insert(0, "shard", 0)
    index.to_csv(paths.features / "index.csv", index=False)
    return paths


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> StudyPaths:
    paths = write_study(tmp_path_factory.mktemp("toy"), {"train": 40, "validation": 6, "test": 20})
    recogniser.train(STUDY, paths)
    return paths


def test_learns_a_toy_language(trained: StudyPaths) -> None:
    report = json.loads((trained.recogniser / "report.json").read_text())
    assert report["test_phone_error_rate"] < 0.05
    assert set(report["test_phone_error_rate_by_emotion"]) == {"neutral", "sad"}
    assert (report["n_train"], report["n_test"], report["n_test_unknown_phones"]) == (40, 19, 1)


def test_loaded_recogniser_hears_new_speech_alone_or_in_a_batch(trained: StudyPaths) -> None:
    loaded = recogniser.load(STUDY, trained)
    rng = np.random.default_rng(99)
    new = [spoken(rng) for _ in range(20)]
    expected = [[SYMBOLS[p] for p in u.phones if SYMBOLS[p] != "sil"] for u in new]
    heard = loaded.transcribe([u.mel for u in new])
    wrong, total = recogniser._errors(expected, heard)
    assert wrong / total < 0.05
    assert [loaded.transcribe([u.mel])[0] for u in new] == heard
    # level does not matter
    assert loaded.transcribe([u.mel + 2.0 for u in new]) == heard
    assert loaded.transcribe([]) == []


def test_training_repeats_and_leaves_the_global_random_state(
    trained: StudyPaths, tmp_path: Path
) -> None:
    import torch

    short = check_study(
        {
            "evaluation": {
                "recogniser": {"hidden_size": 16, "layers": 2, "steps": 5, "batch_size": 4}
            }
        }
    )
    paths = write_study(tmp_path / "s", {"train": 6})
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    recogniser.train(short, paths)
    assert torch.equal(torch.random.get_rng_state(), state)
    first = (paths.recogniser / "model.safetensors").read_bytes()
    report = json.loads((paths.recogniser / "report.json").read_text())
    assert report["test_phone_error_rate"] is None and report["n_validation"] == 0
    recogniser.train(short, paths)
    assert (paths.recogniser / "model.safetensors").read_bytes() == first


def test_test_recordings_never_reach_training(tmp_path: Path) -> None:
    short = check_study(
        {
            "evaluation": {
                "recogniser": {"hidden_size": 16, "layers": 2, "steps": 3, "batch_size": 4}
            }
        }
    )
    alone = write_study(tmp_path / "a", {"train": 6})
    more = write_study(tmp_path / "b", {"train": 6, "test": 5})
    recogniser.train(short, alone)
    recogniser.train(short, more)
    models = [(p.recogniser / "model.safetensors").read_bytes() for p in (alone, more)]
    assert models[0] == models[1]


def test_bad_input_is_refused(trained: StudyPaths, tmp_path: Path) -> None:
    loaded = recogniser.load(STUDY, trained)
    good = np.zeros((10, 80), np.float32)
    with pytest.raises(DataError, match=r"mel 1 of shape \(10, 40\)"):
        loaded.transcribe([good, np.zeros((10, 40), np.float32)])
    with pytest.raises(DataError, match="finite"):
        loaded.transcribe([good * np.nan])
    assert loaded.transcribe([good[:1]]) == [[]] or len(loaded.transcribe([good[:1]])[0]) <= 1
    with pytest.raises(DataError, match=r"settings is .* train_recogniser again"):
        recogniser.load(StudyConfig(), trained)
    with pytest.raises(DataError, match="train_recogniser first"):
        recogniser.load(STUDY, StudyPaths(tmp_path))
    with pytest.raises(DataError, match="no aligned utterance in the split train"):
        recogniser.train(STUDY, write_study(tmp_path / "t", {"test": 2}))
    weights = trained.recogniser / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot be read"):
        recogniser.load(STUDY, trained)
    weights.write_bytes(whole)


def _brute_force(
    scores: np.ndarray, loop: PhoneLoop, grammar_scale: float, insertion: float
) -> tuple[float, list[int]]:
    """Best phone string by trying every way to cut the frames into phones."""
    frames, phones = scores.shape
    best = (-np.inf, [])
    for cuts in range(frames):
        for inner in itertools.combinations(range(1, frames), cuts):
            edges = [0, *inner, frames]
            lengths = np.diff(edges)
            for names in itertools.product(range(phones), repeat=len(lengths)):
                if any(n < loop.minimum[p] for n, p in zip(lengths, names, strict=True)):
                    continue
                value = grammar_scale * (loop.log_initial[names[0]] + loop.log_final[names[-1]])
                for k, (name, length) in enumerate(zip(names, lengths, strict=True)):
                    value += insertion + scores[edges[k] : edges[k + 1], name].sum()
                    value += (length - loop.minimum[name]) * loop.log_stay[name]
                    value += loop.log_leave[name]
                    if k:
                        value += grammar_scale * loop.log_bigram[names[k - 1], name]
                if value > best[0]:
                    best = (value, list(names))
    return best


@pytest.mark.parametrize("insertion", [0.0, -1.5])
def test_viterbi_equals_brute_force(insertion: float) -> None:
    rng = np.random.default_rng(4)
    phones, lengths = 3, np.array([6, 4, 1, 5])
    loop = PhoneLoop(
        log_initial=np.log(rng.dirichlet(np.ones(phones))),
        log_bigram=np.log(rng.dirichlet(np.ones(phones), size=phones)),
        log_final=np.log(rng.dirichlet(np.ones(phones))),
        minimum=np.array([1, 2, 3]),
        log_stay=np.log(np.array([0.4, 0.6, 0.5])),
        log_leave=np.log(np.array([0.6, 0.4, 0.5])),
    )
    for _ in range(5):
        scores = rng.normal(0, 2, (len(lengths), 6, phones))
        paths = viterbi(scores, lengths, loop, 0.8, insertion)
        for item, length in enumerate(lengths):
            _, expected = _brute_force(scores[item, :length], loop, 0.8, insertion)
            assert paths[item].tolist() == expected


def test_viterbi_of_speech_too_short_for_any_phone_is_empty() -> None:
    loop = estimate_phone_loop([np.array([0, 1] * 5)], [np.full(10, 6)], 2)
    assert loop.minimum.tolist() == [4, 4]
    assert [p.tolist() for p in viterbi(np.zeros((1, 3, 2)), np.array([3]), loop)] == [[]]


def test_phone_loop_estimates() -> None:
    sequences = [np.array([0, 1, 2, 0]), np.array([0, 1, -1, 0])]
    durations = [np.array([3, 5, 0, 7]), np.array([3, 5, 9, 7])]
    loop = estimate_phone_loop(sequences * 5, durations * 5, 3, backoff=0.5)
    np.testing.assert_allclose(np.exp(loop.log_bigram).sum(axis=1), 1)
    assert loop.log_bigram[0].argmax() == 1
    assert loop.log_initial.argmax() == 0
    assert loop.minimum.tolist() == [3, 4, 1]  # phone 1 never lasts less than 5, held at 4
    # mean of phone 0 is 5 frames, smallest 3: beyond the smallest it stays 2 more on average
    assert np.exp(loop.log_leave[0]) == pytest.approx(1 / 3)
