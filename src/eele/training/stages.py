"""The two training stages: the neutral model, and one cell."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import torch

from eele.backbones import weight_norm
from eele.cells import Cell
from eele.config import StudyConfig
from eele.errors import ConfigError, DataError
from eele.features import FeatureStore
from eele.io import hash_json, read_json, write_json
from eele.neutral import (
    CRITIC,
    FACTS,
    NeutralModel,
    load_exactly,
    save_neutral,
    save_tensors,
)
from eele.paths import StudyPaths
from eele.peft import method
from eele.peft.base import AdapterSpec
from eele.peft.stored import ADAPTER_FACTS, ADAPTER_WEIGHTS
from eele.sites import backbone_sites
from eele.training import finished, select
from eele.training.curves import write_curves
from eele.training.data import Normaliser, SpeechSet
from eele.training.devices import make_fabric
from eele.training.loop import Run, fit
from eele.workflow import STAGES, neutral_files, stage_parameters

if TYPE_CHECKING:
    from eele.backbones.base import Backbone, Critic

log = logging.getLogger(__name__)


def pretrain(study: StudyConfig, paths: StudyPaths) -> None:
    """Train the neutral model on the neutral training utterances of every corpus; write `neutral/`.

    Stops early on the neutral utterances of the validation sentences; without any, runs all steps. A
    critic is saved beside the model: cells go on from it.
    """
    started = time.monotonic()
    torch.set_num_threads(study.runtime.pretrain_threads)
    fabric = make_fabric(study.runtime, study.runtime.devices)
    store = FeatureStore(paths)
    new = select.new_voices(study, store.index)
    neutral = NeutralModel(
        study.backbone,
        tuple(read_json(paths.phones)),
        (*select.neutral_speakers(study, store.index), *new),
        dict(store.statistics),
        study.audio,
        new,
    )
    torch.manual_seed(study.pretraining.seed)
    model = neutral.fresh()
    critic = model.critic()
    critic_parameters = _count(critic)
    ids = [select.neutral_ids(study, store.index, s) for s in ("train", "validation")]
    sets = _sets(store, neutral, model, ids)
    run = Run(
        study.pretraining,
        study.pretraining.learning_rate,
        study.pretraining.seed,
        identity=_identity(
            "pretrain", neutral.facts(), stage_parameters(study, "pretrain")["pretraining"], *sets
        ),
        checkpoint=paths.checkpoints / "neutral.pt",
        tensorboard=paths.neutral / "tensorboard",
        label="neutral",
        pretraining=True,
    )
    names = (*neutral_files(study), "training.json", "curves.csv")
    outputs = [paths.neutral / name for name in names]
    if finished.take_back(run, outputs, fabric.is_global_zero):
        return
    for player in (model, critic):
        if player is not None:
            player.normalise_weights()
    progress = fit(
        fabric,
        model,
        *sets,
        run,
        study.runtime,
        model.state_dict,
        model.load_state_dict,
        critic,
    )
    if not fabric.is_global_zero:
        return
    # The weights first: they are what a full disk has no room for, and nothing is left then.
    if critic is not None:
        weight_norm.fold(critic)
        save_tensors(paths.neutral / CRITIC, critic.state_dict())
    model.fold_weights()
    save_neutral(paths.neutral, neutral, model.state_dict())
    write_curves(paths.neutral / "curves.csv", progress.curves)
    write_json(
        paths.neutral / "training.json",
        {
            **progress.facts(study.pretraining.steps),
            "trainable_parameters": sum(p.numel() for p in model.parameters()),
            "critic_parameters": critic_parameters,
            "utterances": len(sets[0]),
            "minutes": sets[0].minutes(study.audio.hop_s),
            "stage_seconds": time.monotonic() - started,
        },
    )
    finished.keep(run, outputs)


def train_cell(study: StudyConfig, paths: StudyPaths, cell: Cell) -> None:
    """Freeze the neutral model, insert the cell's adapter, fine-tune it on the cell's emotion, or on the
    neutral speech of voices that pre-training left out; write `adapter/`.

    Raises ConfigError for a baseline cell, DataError when the emotion has no training utterance.
    """
    if not cell.trained:
        raise ConfigError(f"method {cell.method} has nothing to train")
    started = time.monotonic()
    torch.set_num_threads(study.runtime.threads)
    store = FeatureStore(paths)
    neutral = NeutralModel.open(paths.neutral)
    model = neutral.load(paths.neutral)
    ids = [select.cell_ids(study, store.index, cell.emotion, s) for s in ("train", "validation")]
    if not ids[0]:
        raise DataError(
            f"no training utterance of emotion '{cell.emotion}'; the corpora hold: "
            + ", ".join(sorted(set(store.index["emotion"])))
        )
    sets = _sets(store, neutral, model, ids)
    full = cell.method == "full"
    learns_rows = cell.learns_voices and not full
    spec = AdapterSpec(
        cell.method,
        cell.sites(study),
        cell.rank,
        alpha=study.adaptation.lora_alpha_per_rank * cell.rank,
        dropout=study.adaptation.lora_dropout,
        voices=neutral.rows(select.adaptation_speakers(study, store.index)) if learns_rows else (),
    )
    how = method(cell.method, learns_rows)
    torch.manual_seed(int(cell.seed))
    attached = how.attach(model, backbone_sites(neutral.backbone), spec)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    folder = paths.cell(cell) / "adapter"
    base = read_json(paths.neutral / FACTS)["sha256"]
    # A voice is heard in all that the model says: no loss is out of reach of its row.
    whole = full or learns_rows
    # Told where it is set: what was trained without stays what it is.
    own = study.adaptation.method_learning_rates.get(cell.method)
    own_rate = {} if own is None else {"learning_rate": own}
    terms = _terms(model, tuple(model.site_losses) if whole else spec.sites)
    run = Run(
        study.adaptation,
        study.adaptation.own_rates.get(cell.method, study.adaptation.learning_rate),
        int(cell.seed),
        identity=_identity(
            "train_cell",
            {"base": base, "cell": cell.as_dict(), **spec.as_dict(), **own_rate},
            stage_parameters(study, "train_cell")["adaptation"],
            *sets,
        ),
        checkpoint=paths.checkpoints / "cells" / cell.path / "state.pt",
        tensorboard=folder / "tensorboard",
        label=f"{cell.method} {cell.scheme} r{cell.rank} {cell.emotion}",
        terms=None if whole else terms,
    )
    names = (ADAPTER_WEIGHTS, ADAPTER_FACTS, "training.json", "curves.csv")
    outputs = [folder / name for name in names]
    if finished.take_back(run, outputs):
        return
    critic = model.critic(run.terms)
    critic_parameters = _count(critic)
    if critic is not None:
        # The opponent goes on where pre-training left it; it is no part of the adapter.
        load_exactly(critic, paths.neutral / CRITIC, partly=True)
        critic.normalise_weights()
    if not whole:
        model.adapt(spec.sites, study.runtime.cache_mb)
    progress = fit(
        make_fabric(study.runtime),
        model,
        *sets,
        run,
        study.runtime,
        lambda: how.state(model),
        model.load_state_dict if full else lambda state: how.load(model, state),
        critic,
    )
    save_tensors(folder / ADAPTER_WEIGHTS, how.state(model))
    write_curves(folder / "curves.csv", progress.curves)
    write_json(
        folder / ADAPTER_FACTS,
        {
            **spec.as_dict(),
            "cell": cell.as_dict(),
            "base_sha256": base,
            "wrapped": attached.wrapped,
        },
    )
    write_json(
        folder / "training.json",
        {
            **progress.facts(study.adaptation.steps),
            "trainable_parameters": trainable,
            "adapter_bytes": (folder / ADAPTER_WEIGHTS).stat().st_size,
            "learning_rate": run.learning_rate,
            "unwrappable": attached.unwrappable,
            "critic_parameters": critic_parameters,
            "utterances": len(sets[0]),
            "minutes": sets[0].minutes(study.audio.hop_s),
            "loss_terms": list(terms),
            "stage_seconds": time.monotonic() - started,
        },
    )
    finished.keep(run, outputs)


def _sets(
    store: FeatureStore, neutral: NeutralModel, model: Backbone, ids: list[list[str]]
) -> tuple[SpeechSet, SpeechSet | None]:
    normaliser = Normaliser.from_statistics(neutral.statistics)
    waveform = (model.segment_frames, neutral.audio.hop_size)
    train, validation = (_long_enough(store, names) for names in ids)
    train_set = SpeechSet(store, train, neutral.speakers, normaliser, *waveform)
    if not validation:
        log.warning("no validation utterance: training runs all its steps without early stopping")
        return train_set, None
    return train_set, SpeechSet(store, validation, neutral.speakers, normaliser, *waveform)


def _long_enough(store: FeatureStore, ids: list[str]) -> list[str]:
    """Utterances with a frame or more per phone: an alignment gives each phone one at least."""
    rows = store.index.loc[ids]
    short = rows.index[rows["frame_count"] < rows["phone_count"]]
    if len(short):
        log.warning("%d utterances have more phones than frames: %s", len(short), list(short)[:5])
    return [name for name in ids if name not in set(short)]


def _terms(model: Backbone, sites: tuple[str, ...]) -> tuple[str, ...]:
    """Loss terms that weights in `sites` can lower: the others have no gradient there."""
    reached = {term for site in sites for term in model.site_losses[site]}
    return tuple(sorted(reached))


def _count(critic: Critic | None) -> int:
    return sum(p.numel() for p in critic.parameters()) if critic is not None else 0


def _identity(
    stage: str, facts: dict[str, Any], config: dict[str, Any], *sets: SpeechSet | None
) -> str:
    data = [s.identity if s is not None else None for s in sets]
    return hash_json([STAGES[stage].version, facts, config, data])
