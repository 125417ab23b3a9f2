"""Judges of transformers: a tiny classifier saved by the test, its labels, its company, its refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from judged_study import FULL, RATE, voice, write_study

from eele import judges
from eele.config import StudyConfig
from eele.config.load import check_study
from eele.errors import ConfigError, DataError, MissingToolError
from eele.io import read_json
from eele.paths import StudyPaths

#: Labels of the saved classifier: two of them mean happy, one means nothing to the study.
LABELS = ("neu", "hap", "exc", "sad", "dis")
MEANING = {"neu": "neutral", "hap": "happy", "exc": "happy", "sad": "sad"}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> StudyPaths:
    return write_study(tmp_path_factory.mktemp("published") / "study", FULL)


def save_wav2vec2(folder: Path, mask: bool) -> Path:
    import torch
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForSequenceClassification,
    )

    torch.manual_seed(3)
    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        conv_dim=(16, 16, 16), conv_kernel=(10, 8, 4), conv_stride=(10, 8, 4), num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2, num_labels=len(LABELS), classifier_proj_size=16,
        feat_extract_norm="layer" if mask else "group", do_stable_layer_norm=mask,
        id2label=dict(enumerate(LABELS)), label2id={name: i for i, name in enumerate(LABELS)},
    )  # fmt: skip
    Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=mask).save_pretrained(folder)
    return folder


def save_whisper(folder: Path) -> Path:
    import torch
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForAudioClassification

    torch.manual_seed(4)
    config = WhisperConfig(
        vocab_size=40, num_mel_bins=80, d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        max_source_positions=1500, num_labels=len(LABELS), pad_token_id=0, bos_token_id=1,
        eos_token_id=2, decoder_start_token_id=1,
        id2label=dict(enumerate(LABELS)), label2id={name: i for i, name in enumerate(LABELS)},
    )  # fmt: skip
    WhisperForAudioClassification(config).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return folder


def study(model: object, corpus: str = "folder", **changes: object) -> StudyConfig:
    judge = {"model": str(model), "labels": MEANING, "trained_on": ["ESD"], **changes}
    return check_study(
        {
            "emotions": ["happy", "sad"],
            "corpora": [{"adapter": corpus}],
            "evaluation": {
                "judges": ["statistics", "wide"],
                "published_judges": {"wide": judge},
                "bootstrap_samples": 50,
            },
            "runtime": {"device": "cpu"},
        }
    )


@pytest.mark.parametrize("kind", ["masked", "unmasked", "whisper"])
def test_it_hears_offline_what_the_model_says(paths: StudyPaths, tmp_path: Path, kind: str) -> None:
    import shutil

    folder = tmp_path / "model"
    if kind == "whisper":
        save_whisper(folder)
    else:
        save_wav2vec2(folder, mask=kind == "masked")
    config = study(folder)
    judges.train(config, paths, "wide")
    shutil.rmtree(folder)
    judge = judges.load(config, paths, "wide")
    assert judge.classes == ("neutral", "happy", "sad")
    signals = [voice(110, emotion, 50 + i) for i, emotion in enumerate(("happy", "sad", "neutral"))]
    together = judge.probabilities(signals, RATE, [6] * 3, ["anyone"] * 3)
    np.testing.assert_allclose(together.sum(axis=1), 1)
    alone = [judge.probabilities([s], RATE, [6], ["anyone"])[0] for s in signals]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    report = read_json(paths.judge("wide") / "report.json")
    assert report["n_test"] == 12 and report["test_accuracy"] is not None
    assert report["warnings"] == []
    heard = read_json(paths.judge("wide") / "heard.json")
    assert heard["declared"] and heard["corpora"] == ["ESD"] and heard["utterances"] == []


def test_labels_of_one_emotion_add_up_and_others_are_left_out(
    paths: StudyPaths, tmp_path: Path
) -> None:
    import torch
    from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

    folder = save_wav2vec2(tmp_path / "model", mask=True)
    config = study(folder)
    judges.train(config, paths, "wide")
    signal = np.round(voice(110, "sad", 5)[:16000] * 32767).astype(np.float32) / np.float32(32767)
    found = judges.load(config, paths, "wide").probabilities([signal], 16000, [6], ["x"])[0]
    model = Wav2Vec2ForSequenceClassification.from_pretrained(folder)
    given = Wav2Vec2FeatureExtractor.from_pretrained(folder)(
        signal, sampling_rate=16000, return_tensors="pt"
    )
    with torch.no_grad():
        neu, hap, exc, sad, _ = model(**given).logits[0].softmax(-1).tolist()
    whole = neu + hap + exc + sad
    np.testing.assert_allclose(found, [neu / whole, (hap + exc) / whole, sad / whole], rtol=1e-4)


def test_one_that_knows_the_corpus_is_used_with_a_warning(
    paths: StudyPaths, tmp_path: Path
) -> None:
    judges.train(study(save_wav2vec2(tmp_path / "m", mask=True), corpus="esd"), paths, "wide")
    (warning,) = read_json(paths.judge("wide") / "report.json")["warnings"]
    assert "trained on ESD" in warning


def test_what_cannot_be_used_is_refused(paths: StudyPaths, tmp_path: Path) -> None:
    folder = save_wav2vec2(tmp_path / "model", mask=True)
    with pytest.raises(ConfigError, match=r"no label 'angry'; it has: neu, hap, exc, sad, dis"):
        judges.train(study(folder, labels={**MEANING, "angry": "angry"}), paths, "wide")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingToolError, match=r"cannot be loaded .*docs/judges\.md"):
        judges.train(study(tmp_path / "empty"), paths, "wide")
    config = study(folder)
    judges.train(config, paths, "wide")
    with pytest.raises(DataError, match="holds another judge; run the rule train_judge again"):
        judges.load(study(folder, crop_s=3.0), paths, "wide")
