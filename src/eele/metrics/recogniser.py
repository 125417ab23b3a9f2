"""Phone recogniser behind the phone error rate: convolutional network and phone-loop decoding.

Trained per study on its training recordings, in neutral and every emotion, with the frame labels of the
alignment; synthetic speech and test sentences never reach it. Knows the phones of the study's
lexicon, whatever the language; needs no download.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eele import io
from eele.config import StudyConfig
from eele.errors import ConfigError, DataError
from eele.features import FeatureStore
from eele.metrics.recogniser_decoder import PhoneLoop, estimate_phone_loop, viterbi
from eele.paths import StudyPaths

if TYPE_CHECKING:
    from eele.metrics.recogniser_model import PhoneNetwork
    from eele.metrics.recogniser_training import Aligned

VERSION = 1
SILENCE = "sil"
#: Symbols of lexicon/phones.json that are never recognised.
NOT_RECOGNISED = ("_", "spn")
#: How much of the phone's frequency is divided out of the network's posteriors.
PRIOR_SCALE = 0.2
GRAMMAR_SCALES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
INSERTIONS = (-1.0, 0.0, 1.0)
#: Validation utterances the decoder's two settings are tuned on.
TUNING_UTTERANCES = 48
#: Utterances decoded together; neighbours in length, so that little is padding.
DECODE_BATCH = 16


@dataclass
class Recogniser:
    """A trained recogniser. `phones`: its classes, `sil` among them."""

    network: PhoneNetwork
    phones: tuple[str, ...]
    loop: PhoneLoop
    log_prior: np.ndarray
    grammar_scale: float
    insertion: float

    def transcribe(self, log_mels: Sequence[np.ndarray]) -> list[list[str]]:
        """Phones heard in each (frames, mel) natural-log mel of the study's audio settings, without silence.

        Raises DataError, naming the position, for a mel of another shape or with values not finite.
        """
        return _decode(
            self._scores(log_mels), self.phones, self.loop, self.grammar_scale, self.insertion
        )

    def _scores(self, log_mels: Sequence[np.ndarray]) -> _Scores:
        from eele.metrics.recogniser_model import log_posteriors, normalise

        channels = self.network.entry.in_channels
        for index, mel in enumerate(log_mels):
            if (
                mel.ndim != 2
                or mel.shape[1] != channels
                or len(mel) == 0
                or not np.isfinite(mel).all()
            ):
                raise DataError(
                    f"mel {index} of shape {mel.shape} cannot be transcribed; expected finite "
                    f"(frames >= 1, {channels})"
                )
        order = sorted(range(len(log_mels)), key=lambda i: len(log_mels[i]))
        batches: _Scores = []
        for start in range(0, len(order), DECODE_BATCH):
            chosen = order[start : start + DECODE_BATCH]
            posterior, lengths = log_posteriors(
                self.network, [normalise(np.asarray(log_mels[i])) for i in chosen]
            )
            batches.append((chosen, posterior - PRIOR_SCALE * self.log_prior, lengths))
        return batches


#: Per batch: positions of its utterances, scaled log likelihoods (batch, frames, phones), frames of each.
_Scores = list[tuple[list[int], np.ndarray, np.ndarray]]


def _decode(
    batches: _Scores,
    phones: tuple[str, ...],
    loop: PhoneLoop,
    grammar_scale: float,
    insertion: float,
) -> list[list[str]]:
    result: dict[int, list[str]] = {}
    for chosen, scores, lengths in batches:
        for position, path in zip(
            chosen, viterbi(scores, lengths, loop, grammar_scale, insertion), strict=True
        ):
            result[position] = [phones[p] for p in path if phones[p] != SILENCE]
    return [result[position] for position in range(len(result))]


def train(study: StudyConfig, paths: StudyPaths) -> None:
    """Train and write recogniser/{model.safetensors, model.json, report.json}.

    Raises DataError when there are no aligned training recordings.
    """
    from safetensors.numpy import save_file

    store = FeatureStore(paths)
    symbols = list(io.read_json(paths.phones))
    started = time.monotonic()
    training, _ = _utterances(store, symbols, "train")
    if not training:
        raise DataError(
            f"{paths.features}: no aligned utterance in the split train; check alignment/alignment.csv"
        )
    validation, _ = _utterances(store, symbols, "validation")
    recogniser = train_on(study, training, validation, symbols)
    train_seconds = time.monotonic() - started

    test, names = _utterances(store, symbols, "test")
    report = {
        "phones": len(recogniser.phones),
        "n_train": len(training),
        "train_seconds_audio": _seconds(training, study),
        "n_validation": len(validation),
        "grammar_scale": recogniser.grammar_scale,
        "insertion": recogniser.insertion,
        **_score(recogniser, test, names, store),
        "trained_on": "recordings of the split train, all emotions",
    }
    with io.atomic_folder(paths.recogniser) as folder:
        save_file(_tensors(recogniser), str(folder / "model.safetensors"))
        io.write_json(folder / "model.json", _facts(study, recogniser))
        io.write_json(folder / "report.json", report | {"train_seconds": round(train_seconds, 1)})


def train_on(
    study: StudyConfig, training: list[Aligned], validation: list[Aligned], symbols: Sequence[str]
) -> Recogniser:
    """The recogniser of aligned recordings, whose classes index `recognised(symbols)`."""
    from eele.metrics.recogniser_training import train_network

    phones = recognised(symbols)
    settings = study.evaluation.recogniser
    network = train_network(
        training, study.audio.mel_channels, len(phones), settings, _device(study)
    ).cpu()
    loop = estimate_phone_loop(
        [item.classes for item in training], [item.durations for item in training], len(phones)
    )
    frames = np.zeros(len(phones))
    for item in training:
        known = item.classes >= 0
        np.add.at(frames, item.classes[known], item.durations[known])
    log_prior = np.log((frames + 10) / (frames + 10).sum()).astype(np.float32)
    recogniser = Recogniser(network, phones, loop, log_prior, 1.0, 0.0)
    _tune(recogniser, validation)
    return recogniser


def load(study: StudyConfig, paths: StudyPaths) -> Recogniser:
    """The trained recogniser. Raises DataError when it is absent, damaged or of other settings."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file
    from torch import from_numpy

    from eele.metrics.recogniser_model import PhoneNetwork

    folder = paths.recogniser
    if not (folder / "model.json").exists():
        raise DataError(f"{folder}/model.json is missing; run the rule train_recogniser first")
    facts = io.read_json(folder / "model.json")
    settings = study.evaluation.recogniser
    expected = {
        "version": VERSION,
        "audio": study.audio.model_dump(mode="json"),
        "settings": settings.model_dump(mode="json"),
    }
    for key, value in expected.items():
        if facts.get(key) != value:
            raise DataError(
                f"{folder}/model.json: {key} is {facts.get(key)}, this study has {value}; "
                "run the rule train_recogniser again"
            )
    phones = tuple(facts["phones"])
    network = PhoneNetwork(
        study.audio.mel_channels, len(phones), settings.hidden_size, settings.layers
    )
    try:
        arrays = load_file(str(folder / "model.safetensors"))
        loop = PhoneLoop(**{key: arrays.pop(f"loop.{key}") for key in PhoneLoop.__annotations__})
        log_prior = arrays.pop("log_prior")
        network.load_state_dict({key: from_numpy(value) for key, value in arrays.items()})
    except (OSError, KeyError, RuntimeError, SafetensorError) as error:
        raise DataError(
            f"{folder}/model.safetensors cannot be read ({error}); delete {folder} and run the rule "
            "train_recogniser again"
        ) from error
    return Recogniser(
        network.eval(),
        phones,
        loop,
        log_prior,
        float(facts["grammar_scale"]),
        float(facts["insertion"]),
    )


def recognised(symbols: Sequence[str]) -> tuple[str, ...]:
    """The classes of the recogniser, in order: the phones of lexicon/phones.json that can be heard."""
    return tuple(symbol for symbol in symbols if symbol not in NOT_RECOGNISED)


def _utterances(
    store: FeatureStore, symbols: list[str], split: str
) -> tuple[list[Aligned], list[str]]:
    from eele.metrics.recogniser_training import IGNORED, Aligned

    index_of = {symbol: index for index, symbol in enumerate(recognised(symbols))}
    class_of = np.array([index_of.get(symbol, IGNORED) for symbol in symbols])
    names = [str(name) for name in store.index.index[store.index["split"] == split]]
    items = []
    for name in names:
        utterance = store.get(name)
        items.append(
            Aligned(
                utterance.mel, class_of[utterance.phones], np.asarray(utterance.durations, np.int64)
            )
        )
    return items, names


def _spoken(item: Aligned, phones: tuple[str, ...]) -> list[str] | None:
    """Phones of an utterance without silence; None where some are unknown."""
    if (item.classes < 0).any():
        return None
    return [phones[p] for p in item.classes if phones[p] != SILENCE]


def _errors(references: list[list[str]], hypotheses: list[list[str]]) -> tuple[int, int]:
    """Insertions, deletions and substitutions in all; phones in the references."""
    from eele.metrics.phone_errors import phone_errors

    return (
        sum(phone_errors(r, h) for r, h in zip(references, hypotheses, strict=True)),
        sum(len(reference) for reference in references),
    )


def _tune(recogniser: Recogniser, validation: list[Aligned]) -> None:
    """Choose grammar scale and insertion by the phone error rate of validation recordings, if any."""
    spoken = [(item, _spoken(item, recogniser.phones)) for item in validation]
    usable = [(item, reference) for item, reference in spoken if reference]
    # Every n-th, so that all speakers and emotions are among them.
    usable = usable[:: max(1, -(-len(usable) // TUNING_UTTERANCES))]
    if not usable:
        return
    scores = recogniser._scores([item.mel for item, _ in usable])
    best = None
    for grammar_scale in GRAMMAR_SCALES:
        for insertion in INSERTIONS:
            heard = _decode(scores, recogniser.phones, recogniser.loop, grammar_scale, insertion)
            errors, _ = _errors([reference for _, reference in usable], heard)
            if best is None or errors < best:
                best = errors
                recogniser.grammar_scale, recogniser.insertion = grammar_scale, insertion


def _score(
    recogniser: Recogniser, test: list[Aligned], names: list[str], store: FeatureStore
) -> dict[str, Any]:
    """Phone error rate on test recordings, in all and by emotion; utterances of unknown phones are counted."""
    spoken = [_spoken(item, recogniser.phones) for item in test]
    usable = [i for i, reference in enumerate(spoken) if reference]
    heard = recogniser.transcribe([test[i].mel for i in usable])
    references = [spoken[i] or [] for i in usable]
    emotions = [str(store.index.loc[names[i], "emotion"]) for i in usable]
    by_emotion = {}
    for emotion in sorted(set(emotions)):
        chosen = [k for k, other in enumerate(emotions) if other == emotion]
        errors, phones = _errors([references[k] for k in chosen], [heard[k] for k in chosen])
        by_emotion[emotion] = errors / phones
    errors, phones = _errors(references, heard)
    return {
        "test_phone_error_rate": errors / phones if phones else None,
        "test_phone_error_rate_by_emotion": by_emotion,
        "n_test": len(usable),
        "n_test_unknown_phones": len(test) - len(usable),
        "n_test_phones": phones,
    }


def _seconds(items: list[Aligned], study: StudyConfig) -> float:
    return round(sum(len(item.mel) for item in items) * study.audio.hop_s, 1)


def _tensors(recogniser: Recogniser) -> dict[str, np.ndarray]:
    tensors = {k: v.detach().cpu().numpy() for k, v in recogniser.network.state_dict().items()}
    tensors["log_prior"] = recogniser.log_prior
    for key in PhoneLoop.__annotations__:
        tensors[f"loop.{key}"] = np.ascontiguousarray(getattr(recogniser.loop, key))
    return tensors


def _facts(study: StudyConfig, recogniser: Recogniser) -> dict[str, Any]:
    return {
        "version": VERSION,
        "audio": study.audio.model_dump(mode="json"),
        "settings": study.evaluation.recogniser.model_dump(mode="json"),
        "phones": list(recogniser.phones),
        "grammar_scale": recogniser.grammar_scale,
        "insertion": recogniser.insertion,
    }


def _device(study: StudyConfig) -> Any:
    """The torch device of the config; ConfigError where this machine lacks it."""
    import torch

    name = study.runtime.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # a torch without CUDA asserts
        raise ConfigError(
            f"runtime.device '{name}' is not possible on this machine, which has "
            f"{torch.cuda.device_count()} CUDA devices ({error}); allowed: auto, cpu, or what is "
            "there: cuda, cuda:<number>, mps"
        ) from error
