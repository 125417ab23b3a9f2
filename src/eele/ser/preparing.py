"""The stage that makes an encoder ready: trains the small one, or fetches a published one once for all jobs."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from typing import Any

import pandas as pd
import torch

from eele.config import StudyConfig
from eele.config.models import TrainingConfig
from eele.config.recognition import EncoderConfig
from eele.errors import ConfigError, DataError
from eele.io import hash_json, write_json
from eele.paths import StudyPaths
from eele.ser.encoders import FACTS, HEARD, VERSION, WEIGHTS, load_encoder, save_encoder
from eele.ser.masked_prediction import MaskedPrediction, MelSet, set_statistics
from eele.ser.recordings import Recordings
from eele.ser.small import SmallEncoder
from eele.training import finished
from eele.training.curves import write_curves
from eele.training.devices import make_fabric
from eele.training.loop import Progress, Run, fit

log = logging.getLogger(__name__)

OUTPUTS = (WEIGHTS, FACTS, HEARD, "training.json", "curves.csv")


def prepare_encoder(study: StudyConfig, paths: StudyPaths, name: str) -> None:
    """Write `encoders/<name>/`, from which every recogniser and judge loads the encoder.

    `small` is trained without labels on the recordings of training sentences, of all speakers and emotions;
    validation sentences choose its best step, test sentences are never heard. `transformers` is read
    from its folder or the hub. Raises ConfigError for an unknown name, DataError when there is nothing
    to train on or a test sentence would be heard.
    """
    if name not in study.encoders:
        raise ConfigError(f"unknown encoder '{name}'; the study has: {', '.join(study.encoders)}")
    config = study.encoders[name]
    if config.kind == "small":
        _train(study, paths, name, config)
        return
    started = time.monotonic()
    encoder = load_encoder(config)
    folder = paths.encoder(name)
    source = {"model": config.model, "revision": config.revision}
    save_encoder(folder, encoder, config, [], source)
    write_curves(folder / "curves.csv", [])
    write_json(folder / "training.json", {"steps": 0, "stage_seconds": time.monotonic() - started})


def _train(study: StudyConfig, paths: StudyPaths, name: str, config: EncoderConfig) -> None:
    started = time.monotonic()
    torch.set_num_threads(study.runtime.pretrain_threads)
    fabric = make_fabric(study.runtime, study.runtime.devices)
    rows = unlabelled(paths, config.small.corpora)
    recordings = Recordings.of(paths.root, rows, study.runtime.cache_mb)
    train, validation = (
        list(rows.loc[rows["split"] == split, "utterance_id"]) for split in ("train", "validation")
    )
    torch.manual_seed(config.seed)
    encoder = SmallEncoder(config.small)
    set_statistics(encoder, recordings, train)
    model = MaskedPrediction(encoder)
    train_set = MelSet(recordings, train, encoder)
    validation_set = MelSet(recordings, validation, encoder) if validation else None
    settings = _training_config(config)
    run = Run(
        settings,
        settings.learning_rate,
        config.seed,
        identity=hash_json(
            [
                VERSION,
                config.model_dump(mode="json"),
                [s.identity if s is not None else None for s in (train_set, validation_set)],
            ]
        ),
        checkpoint=paths.checkpoints / f"encoder-{name}.pt",
        tensorboard=paths.encoder(name) / "tensorboard",
        label=f"encoder {name}",
        pretraining=True,
    )
    outputs = [paths.encoder(name) / file for file in OUTPUTS]
    if finished.take_back(run, outputs, fabric.is_global_zero):
        return
    progress = Progress()
    if config.small.steps:
        progress = fit(
            fabric,
            model,
            train_set,
            validation_set,
            run,
            study.runtime,
            model.state_dict,
            model.load_state_dict,
        )
    if fabric.is_global_zero:
        heard = sorted([*train, *validation])
        _write(paths, name, config, encoder, progress, heard, train_set, started)
        finished.keep(run, outputs)


def _write(
    paths: StudyPaths,
    name: str,
    config: EncoderConfig,
    encoder: SmallEncoder,
    progress: Progress,
    heard: list[str],
    train_set: MelSet,
    started: float,
) -> None:
    folder = paths.encoder(name)
    source = {"trained_on": "recordings of training sentences, without labels"}
    save_encoder(folder, encoder, config, heard if config.small.steps else [], source)
    write_curves(folder / "curves.csv", progress.curves)
    facts: dict[str, Any] = {
        **progress.facts(config.small.steps),
        "utterances": len(train_set),
        "minutes": train_set.minutes(0.01),
        "stage_seconds": time.monotonic() - started,
    }
    if config.small.steps:
        facts["validation_loss"] = progress.best_loss
    write_json(folder / "training.json", facts)


def unlabelled(paths: StudyPaths, corpora: Collection[str] = ()) -> pd.DataFrame:
    """Rows of the manifest an encoder may hear: training and validation sentences of `corpora` (all when
    empty), sorted by utterance_id.

    Raises DataError without a manifest or training recordings, or where a sentence held out for test
    is among them.
    """
    if not paths.manifest.is_file():
        raise DataError(f"{paths.manifest} is missing; run the rule assemble_manifest first")
    manifest = pd.read_csv(paths.manifest, dtype=str, keep_default_na=False)
    rows = manifest[manifest["split"].isin(["train", "validation"])]
    if corpora:
        rows = rows[rows["corpus"].isin(corpora)]
    held = set(manifest.loc[manifest["split"] == "test", "sentence"]) & set(rows["sentence"])
    if held:
        raise DataError(
            f"{paths.manifest}: sentence {', '.join(sorted(held)[:3])} is in the test and in the training "
            "split; an encoder may not hear what is tested on: run the rule assemble_manifest again"
        )
    if not (rows["split"] == "train").any():
        of = f" of {', '.join(corpora)}" if corpora else ""
        raise DataError(f"{paths.manifest}: no recording{of} in the split train")
    return rows.sort_values("utterance_id", ignore_index=True)


def _training_config(config: EncoderConfig) -> TrainingConfig:
    small = config.small
    return TrainingConfig(
        steps=max(1, small.steps),
        batch_size=small.batch_size,
        learning_rate=small.learning_rate,
        warmup_steps=small.warmup_steps,
        weight_decay=small.weight_decay,
        validate_every=small.validate_every,
        # All steps are run; the best weights are kept.
        patience=small.steps + 1,
    )
