"""The small encoder and its masked prediction: pure, resumable, deaf to test sentences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from recognition_study import SMALL, make_study
from safetensors.torch import load_file

from eele.config.recognition import EncoderConfig
from eele.errors import DataError
from eele.io import read_json
from eele.paths import StudyPaths
from eele.ser.encoders import encoder_facts, heard_utterances, load_encoder
from eele.ser.masked_prediction import MaskedPrediction, MelSet, set_statistics
from eele.ser.preparing import OUTPUTS, prepare_encoder, unlabelled
from eele.ser.recordings import Recordings, read
from eele.ser.small import LogMel, SmallEncoder
from eele.stage import Interrupted
from eele.training import loop
from eele.training.devices import deferred_termination


def encoder(seed: int = 0) -> SmallEncoder:
    torch.manual_seed(seed)
    return SmallEncoder(SMALL).eval()


@torch.no_grad()
def test_a_padded_item_has_the_states_of_the_item_alone() -> None:
    model = encoder()
    generator = torch.Generator().manual_seed(1)
    for short in (1, 639, 640, 641, 7000):
        sound = 0.1 * torch.randn(2, 9000, generator=generator)
        states, mask = model(sound, torch.tensor([9000, short]))
        alone, _ = model(sound[1:, :short], torch.tensor([short]))
        frames = model.frames(short)
        assert mask.sum(1).tolist() == [model.frames(9000), frames]
        assert alone[0].shape == (1, frames, SMALL.hidden_size)
        for padded, own in zip(states, alone, strict=True):
            assert torch.allclose(padded[1:, :frames], own, atol=2e-5)


def test_the_mel_of_a_tone_is_in_its_band() -> None:
    t = torch.arange(16000) / 16000
    mel, frames = LogMel()(torch.sin(2 * torch.pi * 1000 * t)[None], torch.tensor([16000]))
    import librosa

    centres = librosa.mel_frequencies(82, fmax=8000.0)[1:-1]
    assert mel.shape == (1, 101, 80) and frames.tolist() == [101]
    assert abs(centres[mel[0, 50].argmax()] - 1000) < 60


def test_soft_noise_is_nothing_beside_speech() -> None:
    mel = LogMel()
    t = torch.arange(16000) / 16000
    tone = torch.sin(2 * torch.pi * 500 * t) * (t > 0.5)
    noise = torch.randn(16000, generator=torch.Generator().manual_seed(0))
    plain, soft, loud = (
        mel((tone + level * noise)[None], torch.tensor([16000]))[0] for level in (0, 1e-4, 1e-1)
    )
    # The pause is 45 dB below the tone, with and without noise 77 dB below it.
    assert plain.max() - plain.min() == pytest.approx(45 / 20 * 2.302585, abs=1e-4)
    assert (plain - soft).abs().max() < 1e-2
    assert (plain - loud)[:, :40].abs().mean() > 0.5


def test_masks_cover_their_share_in_whole_states() -> None:
    config = SMALL.model_copy(update={"mask_frames": 40, "mask_share": 0.4})
    torch.manual_seed(0)
    model = MaskedPrediction(SmallEncoder(config))
    inside = torch.ones(64, 800, dtype=torch.bool)
    inside[0, 100:] = False
    hidden = model._masks(inside)
    assert not hidden[0, 100:].any()
    assert hidden[1:].float().mean() == pytest.approx(0.4, abs=0.03)
    states = hidden[1:].view(63, 200, 4)
    assert (states.all(-1) == states.any(-1)).all()


def test_codes_are_fixed_and_tell_sounds_apart() -> None:
    torch.manual_seed(0)
    model = MaskedPrediction(encoder())
    frames = torch.randn(200, 320)
    codes = model.codes(frames)
    assert codes.shape == (200, SMALL.codebooks)
    assert torch.equal(codes, model.codes(2.0 * frames))
    assert all(len(codes[:, book].unique()) > 16 for book in range(SMALL.codebooks))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert not trained & {"projection", "codebook"}


def test_batches_are_a_function_of_seed_and_step(tmp_path: Path) -> None:
    make_study(tmp_path)
    rows = unlabelled(StudyPaths.of("study", tmp_path))
    recordings = Recordings.of(tmp_path / "study", rows)
    ids = list(rows["utterance_id"])
    sets = [MelSet(recordings, ids, encoder(seed)) for seed in (0, 1)]
    first, second = (s.batch(s.positions(3, 5, 8), 3, 5, size=8) for s in sets)
    assert torch.equal(first.mel, second.mel) and first.items == second.items
    # Cut at 0.6 s, frames of 10 ms; what is longer is cut at another place in another step.
    long = ids.index("s_anna_sad_2")
    steps = [sets[0].batch([long], 3, step, size=8).mel for step in (1, 1, 2)]
    assert steps[0].shape[1] == 61
    assert torch.equal(steps[0], steps[1]) and not torch.equal(steps[0], steps[2])
    with pytest.raises(DataError, match="no utterance to train an encoder on"):
        MelSet(recordings, [], encoder())


def test_statistics_bring_the_speech_to_zero_mean(tmp_path: Path) -> None:
    make_study(tmp_path)
    rows = unlabelled(StudyPaths.of("study", tmp_path))
    recordings = Recordings.of(tmp_path / "study", rows)
    model, ids = encoder(), list(rows["utterance_id"])
    set_statistics(model, recordings, ids)
    mels = []
    for name in ids:
        samples = torch.from_numpy(recordings[name])[None]
        mels.append(model.normalise(model.log_mel(samples, torch.tensor([samples.shape[1]]))[0][0]))
    joined = torch.cat(mels)
    assert joined.mean(0).abs().max() < 1e-3
    assert (joined.std(0) - 1).abs().max() < 0.35


def test_an_encoder_hears_the_corpora_it_names(tmp_path: Path) -> None:
    make_study(tmp_path)
    paths = StudyPaths.of("study", tmp_path)
    manifest = pd.read_csv(paths.manifest)
    theirs = manifest["speaker"] == "s_bert"
    manifest.assign(corpus=theirs.map({True: "d", False: "c"})).to_csv(paths.manifest, index=False)
    assert set(unlabelled(paths, ["d"])["speaker"]) == {"s_bert"}
    assert set(unlabelled(paths)["speaker"]) == set(manifest["speaker"])
    with pytest.raises(DataError, match="no recording of e in the split train"):
        unlabelled(paths, ["e"])


def test_what_is_heard_does_not_depend_on_the_memory(tmp_path: Path) -> None:
    make_study(tmp_path)
    rows = unlabelled(StudyPaths.of("study", tmp_path))
    kept = Recordings.of(tmp_path / "study", rows, cache_mb=100)
    read_anew = Recordings(kept._files, cache_mb=0)
    name = rows["utterance_id"][0]
    assert np.array_equal(kept[name], read_anew[name]) and np.array_equal(kept[name], kept[name])
    assert kept.lengths([name])[0] == pytest.approx(len(kept[name]), abs=1)
    assert kept[name].dtype == np.float32 and read(kept._files[name]).dtype == np.int16
    with pytest.raises(DataError, match="not in the table"):
        kept["nobody"]
    broken = tmp_path / "broken.flac"
    broken.write_bytes(b"no audio")
    with pytest.raises(DataError, match=r"broken\.flac: cannot be read as audio"):
        Recordings({"x": broken})["x"]


def test_preparation_trains_and_says_what_was_heard(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    paths = StudyPaths.of("study", tmp_path)
    prepare_encoder(study, paths, "small")
    folder = paths.encoder("small")
    assert all((folder / name).is_file() for name in OUTPUTS)
    manifest = pd.read_csv(paths.manifest)
    test = set(manifest.loc[manifest["split"] == "test", "utterance_id"])
    heard = heard_utterances(folder)
    assert heard == sorted(set(manifest["utterance_id"]) - test)
    training = read_json(folder / "training.json")
    assert training["steps"] == SMALL.steps and training["utterances"] == 36
    curves = pd.read_csv(folder / "curves.csv")
    losses = curves.loc[curves["split"] == "validation", "loss"]
    assert losses.min() < 0.97 * losses.iloc[0]
    loaded = load_encoder(study.encoders["small"], folder)
    assert not torch.equal(
        loaded.layers[0].attention.query.weight,
        encoder(1).state_dict()["layers.0.attention.query.weight"],
    )
    assert encoder_facts(folder)["heard_utterances"] == len(heard)


def test_an_encoder_without_steps_has_heard_nothing(tmp_path: Path) -> None:
    random = EncoderConfig(small=SMALL.model_copy(update={"steps": 0}))
    study = make_study(tmp_path, {"random": random})
    paths = StudyPaths.of("study", tmp_path)
    prepare_encoder(study, paths, "random")
    assert heard_utterances(paths.encoder("random")) == []
    assert load_encoder(random, paths.encoder("random")).mel_mean.abs().max() > 1


def test_a_test_sentence_among_the_training_sentences_is_refused(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    paths = StudyPaths.of("study", tmp_path)
    manifest = pd.read_csv(paths.manifest)
    manifest.loc[manifest["utterance_id"] == "s_anna_sad_0", "split"] = "test"
    manifest.to_csv(paths.manifest, index=False)
    with pytest.raises(DataError, match="sentence 0 is in the test and in the training split"):
        prepare_encoder(study, paths, "small")
    assert not (paths.encoder("small") / "model.safetensors").exists()


def test_a_killed_preparation_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(tmp_path / "a")
    paths = StudyPaths.of("study", tmp_path / "a")
    prepare_encoder(study, paths, "small")
    whole = load_file(paths.encoder("small") / "model.safetensors")

    make_study(tmp_path / "b")
    paths = StudyPaths.of("study", tmp_path / "b")
    asked = []

    def stops_after_two() -> bool:
        asked.append(None)
        return len(asked) == 2

    class Stopped:
        def __enter__(self) -> object:
            return stops_after_two

        def __exit__(self, *error: object) -> None:
            return None

    with monkeypatch.context() as patch:
        patch.setattr(loop, "deferred_termination", Stopped)
        with pytest.raises(Interrupted):
            prepare_encoder(study, paths, "small")
    assert loop.deferred_termination is deferred_termination
    assert not (paths.encoder("small") / "model.json").exists()
    prepare_encoder(study, paths, "small")
    again = load_file(paths.encoder("small") / "model.safetensors")
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[key], again[key]) for key in whole)
