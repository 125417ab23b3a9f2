"""The stage that trains the vocoder `hifigan`."""

from __future__ import annotations

import logging
import time

import torch

from eele.backbones import weight_norm
from eele.config import StudyConfig
from eele.errors import ConfigError, DataError
from eele.features import FeatureStore
from eele.io import hash_json, write_json
from eele.paths import StudyPaths
from eele.training import finished
from eele.training.curves import write_curves
from eele.training.data import Normaliser, SpeechSet
from eele.training.devices import make_fabric
from eele.training.loop import Run, fit
from eele.vocoders.hifigan import CRITIC, FACTS, WEIGHTS, VocoderModel, save
from eele.workflow import STAGES

log = logging.getLogger(__name__)


def train_vocoder(study: StudyConfig, paths: StudyPaths) -> None:
    """Train on the training recordings of every speaker and emotion; write `vocoder/`.

    Stops early on the mel loss of the validation sentences; without any, runs all steps. Raises
    ConfigError when the study's vocoder is another, DataError when nothing is there to train on.
    """
    if study.synthesis.vocoder != "hifigan":
        raise ConfigError(
            f"synthesis.vocoder is {study.synthesis.vocoder}, which has nothing to train"
        )
    started = time.monotonic()
    torch.set_num_threads(study.runtime.pretrain_threads)
    fabric = make_fabric(study.runtime, study.runtime.devices)
    store = FeatureStore(paths)
    config = study.vocoder
    torch.manual_seed(config.seed)
    model = VocoderModel(config, study.audio, Normaliser.from_statistics(store.statistics))
    critic = model.critic()
    train_set = _speech(study, store, "train")
    if train_set is None:
        raise DataError("no training utterance: see manifest.csv and alignment/alignment.csv")
    validation_set = _speech(study, store, "validation")
    if validation_set is None:
        log.warning("no validation utterance: training runs all its steps without early stopping")
    sets = (train_set, validation_set)
    run = Run(
        config,
        config.learning_rate,
        config.seed,
        identity=hash_json(
            [
                STAGES["train_vocoder"].version,
                config.model_dump(mode="json"),
                study.audio.model_dump(mode="json"),
                [store.statistics["mel_mean"], store.statistics["mel_std"]],
                [s.identity if s is not None else None for s in sets],
            ]
        ),
        checkpoint=paths.checkpoints / "vocoder.pt",
        tensorboard=paths.vocoder / "tensorboard",
        label="vocoder",
        pretraining=True,
    )
    outputs = [
        paths.vocoder / name for name in (WEIGHTS, FACTS, CRITIC, "training.json", "curves.csv")
    ]
    if finished.take_back(run, outputs, fabric.is_global_zero):
        return
    model.normalise_weights()
    critic.normalise_weights()
    progress = fit(
        fabric, model, *sets, run, study.runtime, model.state_dict, model.load_state_dict, critic
    )
    if not fabric.is_global_zero:
        return
    model.fold_weights()
    weight_norm.fold(critic)
    save(paths.vocoder, model, critic, study.audio, store.statistics)
    write_curves(paths.vocoder / "curves.csv", progress.curves)
    write_json(
        paths.vocoder / "training.json",
        {
            **progress.facts(config.steps),
            "trainable_parameters": sum(p.numel() for p in model.parameters()),
            "critic_parameters": sum(p.numel() for p in critic.parameters()),
            "utterances": len(train_set),
            "minutes": train_set.minutes(study.audio.hop_s),
            "stage_seconds": time.monotonic() - started,
        },
    )
    finished.keep(run, outputs)


def _speech(study: StudyConfig, store: FeatureStore, split: str) -> SpeechSet | None:
    """All recordings of a split, in fixed order; None where there are none."""
    index = store.index
    ids = sorted(index.index[index["split"] == split])
    if not ids:
        return None
    return SpeechSet(
        store,
        ids,
        sorted(set(index["speaker"])),
        Normaliser.from_statistics(store.statistics),
        study.vocoder.segment_frames,
        study.audio.hop_size,
    )
