"""Encoders of transformers: what they put out is the model's own, padding does not leak, nothing is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from recognition_study import make_study
from torch import Tensor

from eele.config.recognition import EncoderConfig
from eele.errors import CheckpointError, ConfigError, DataError, MissingToolError
from eele.io import read_json, write_json
from eele.paths import StudyPaths
from eele.ser.encoders import Encoder, encoder_sites, heard_utterances, load_encoder
from eele.ser.preparing import prepare_encoder
from eele.ser.pretrained import ItemNorm

transformers = pytest.importorskip("transformers")

_WAVE = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "layerdrop": 0.9,
}
_STABLE = {**_WAVE, "do_stable_layer_norm": True, "feat_extract_norm": "layer"}
_WHISPER = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "vocab_size": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
#: Name -> class, sizes, whether its utterances are normalised.
WAVEFORM = {
    "wav2vec2": ("Wav2Vec2", _WAVE, True),
    "wav2vec2-large": ("Wav2Vec2", _STABLE, True),
    "hubert": ("Hubert", _WAVE, False),
    "wavlm": ("WavLM", _WAVE, False),
    "wavlm-large": ("WavLM", _STABLE, True),
}
LENGTHS = torch.tensor([16000, 7000])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for name, (kind, sizes, normalised) in WAVEFORM.items():
        torch.manual_seed(1)
        config = getattr(transformers, f"{kind}Config")(**sizes)
        getattr(transformers, f"{kind}Model")(config).save_pretrained(root / name)
        extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalised)
        extractor.save_pretrained(root / name)
    torch.manual_seed(1)
    whisper = transformers.WhisperModel(transformers.WhisperConfig(**_WHISPER))
    whisper.save_pretrained(root / "whisper")
    transformers.WhisperFeatureExtractor().save_pretrained(root / "whisper")
    return root


def config(folder: Path) -> EncoderConfig:
    return EncoderConfig(kind="transformers", model=str(folder))


def samples(count: int = 16000, items: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(items, count, generator=generator) + 0.02


def furthest(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", [*WAVEFORM, "whisper"])
@torch.no_grad()
def test_a_padded_item_has_the_states_of_the_item_alone(folders: Path, name: str) -> None:
    encoder = load_encoder(config(folders / name))
    sound = samples()
    sound[1, 7000:] = 0.7  # what stands in the padding is nothing to the item
    states, mask = encoder(sound, LENGTHS)
    alone, own = encoder(sound[1:, :7000], LENGTHS[1:])
    frames = encoder.frames(7000)
    assert len(states) == encoder.layer_count + 1
    assert states[0].shape == (2, encoder.frames(16000), encoder.hidden_size)
    assert mask.sum(1).tolist() == [encoder.frames(16000), frames]
    assert own.all() and own.shape == (1, frames)
    assert furthest(tuple(s[1:, :frames] for s in states), alone) < 2e-5


@pytest.mark.parametrize("name", WAVEFORM)
@torch.no_grad()
def test_states_are_those_of_the_model_with_its_own_feature_extraction(
    folders: Path, name: str
) -> None:
    encoder = load_encoder(config(folders / name))
    states, _ = encoder(samples(9000, 1), torch.tensor([9000]))
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folders / name)
    model = transformers.AutoModel.from_pretrained(folders / name).eval()
    heard = extractor(samples(9000, 1)[0].numpy(), sampling_rate=16000, return_tensors="pt")
    theirs = model(heard.input_values, output_hidden_states=True)
    assert furthest(states[:-1], theirs.hidden_states[:-1]) < 2e-5
    assert furthest(states[-1:], (theirs.last_hidden_state,)) < 2e-5


@torch.no_grad()
def test_whisper_hears_what_its_own_extractor_makes_of_the_window(folders: Path) -> None:
    encoder = load_encoder(config(folders / "whisper"))
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(folders / "whisper")
    model = transformers.WhisperModel.from_pretrained(folders / "whisper").encoder.eval()
    full = samples(480000, 1)
    full[:, -800:] = 0
    mel = extractor(full[0].numpy(), sampling_rate=16000, return_tensors="pt").input_features
    states, _ = encoder(full, torch.tensor([480000]))
    theirs = model(mel, output_hidden_states=True)
    assert furthest(states[:-1], theirs.hidden_states[:-1]) < 2e-4
    # Of 3 s, what enters the first layer is what enters it with 27 s of silence behind.
    short = full[:, :48000]
    mel = extractor(short[0].numpy(), sampling_rate=16000, return_tensors="pt").input_features
    states, mask = encoder(short, torch.tensor([48000]))
    assert mask.shape == (1, 150)
    theirs = model(mel, output_hidden_states=True)
    assert furthest(states[:1], (theirs.hidden_states[0][:, :150],)) < 2e-4


def test_whisper_refuses_what_is_longer_than_its_window(folders: Path) -> None:
    encoder = load_encoder(config(folders / "whisper"))
    with pytest.raises(DataError, match=r"31\.0 s is longer than Whisper's window of 30 s"):
        encoder(samples(496000, 1), torch.tensor([496000]))


@pytest.mark.parametrize("name", [*WAVEFORM, "whisper"])
def test_no_layer_is_dropped_and_nothing_is_masked_in_training(folders: Path, name: str) -> None:
    encoder = load_encoder(config(folders / name)).train()
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    assert len(encoder(samples(), LENGTHS)[0]) == encoder.layer_count + 1


@torch.no_grad()
def test_a_very_short_utterance_has_one_state(folders: Path) -> None:
    for name in ("wav2vec2", "whisper"):
        encoder = load_encoder(config(folders / name))
        states, mask = encoder(samples(100, 1), torch.tensor([100]))
        assert states[-1].shape[1] == encoder.frames(100) == 1 and mask.all()
        assert torch.isfinite(states[-1]).all()


@pytest.mark.parametrize("name", ["wavlm", "whisper"])
@torch.no_grad()
def test_a_prepared_encoder_needs_its_folder_alone(
    folders: Path, tmp_path: Path, name: str
) -> None:
    study = make_study(tmp_path, {"big": config(folders / name)})
    paths = StudyPaths.of("study", tmp_path)
    prepare_encoder(study, paths, "big")
    ours = load_encoder(study.encoders["big"], paths.encoder("big"))
    theirs = load_encoder(config(folders / name))
    assert furthest(ours(samples(), LENGTHS)[0], theirs(samples(), LENGTHS)[0]) == 0
    assert heard_utterances(paths.encoder("big")) == []
    facts = read_json(paths.encoder("big") / "model.json")
    assert facts["layer_count"] == 2 and facts["source"]["model"] == str(folders / name)
    assert len(encoder_sites(ours).modules(ours, "attention")) == 8


def test_a_folder_without_preprocessor_is_normalised_with_a_warning(
    folders: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    transformers.WavLMModel.from_pretrained(folders / "wavlm").save_pretrained(tmp_path)
    encoder = load_encoder(config(tmp_path))
    assert encoder.normalise is True
    assert "no preprocessor_config.json" in caplog.text


def test_what_cannot_be_had_is_told_in_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(MissingToolError, match="hf download nobody/no-such-encoder"):
        load_encoder(EncoderConfig(kind="transformers", model="nobody/no-such-encoder"))
    with pytest.raises(ConfigError, match="there is no such folder"):
        load_encoder(config(tmp_path / "absent"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingToolError, match=r"config\.json, model\.safetensors"):
        load_encoder(config(tmp_path / "empty"))
    bert = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    bert.save_pretrained(tmp_path / "bert")
    with pytest.raises(ConfigError, match="type bert; allowed: wav2vec2, wavlm, hubert, whisper"):
        load_encoder(config(tmp_path / "bert"))


def test_a_prepared_folder_of_another_config_is_refused(folders: Path, tmp_path: Path) -> None:
    study = make_study(tmp_path, {"big": config(folders / "hubert")})
    paths = StudyPaths.of("study", tmp_path)
    with pytest.raises(CheckpointError, match="run the rule prepare_encoder first"):
        load_encoder(study.encoders["big"], paths.encoder("big"))
    prepare_encoder(study, paths, "big")
    with pytest.raises(CheckpointError, match="another config"):
        load_encoder(config(folders / "wavlm"), paths.encoder("big"))
    # What an earlier version prepared may mean another computation.
    facts = read_json(paths.encoder("big") / "model.json")
    write_json(paths.encoder("big") / "model.json", {**facts, "version": facts["version"] - 1})
    with pytest.raises(CheckpointError, match="version"):
        load_encoder(study.encoders["big"], paths.encoder("big"))


def test_a_group_norm_of_larger_groups_is_refused() -> None:
    with pytest.raises(ConfigError, match="2 groups of 8 channels"):
        ItemNorm(torch.nn.GroupNorm(2, 8))


def test_encoders_are_encoders(folders: Path) -> None:
    encoder = load_encoder(config(folders / "wav2vec2"))
    assert isinstance(encoder, Encoder) and encoder.sample_rate_hz == 16000
    assert not encoder.training
