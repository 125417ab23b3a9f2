"""Trained recognisers on disk: head and adapter, and what they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eele.config.recognition import EncoderConfig, MethodConfig, RecogniserTrainingConfig
from eele.errors import CheckpointError
from eele.io import hash_json, read_json, write_json, write_text
from eele.neutral import read_tensors, save_tensors
from eele.ser.adaptation import Adaptation
from eele.ser.encoders import encoder_facts, load_encoder
from eele.ser.model import Recogniser

WEIGHTS = "adapter.safetensors"
FACTS = "adapter.json"
#: One utterance id a line: all that the recogniser was trained and chosen on.
HEARD = "utterances.txt"


def save_recogniser(
    folder: Path,
    recogniser: Recogniser,
    adaptation: Adaptation,
    method: MethodConfig,
    training: RecogniserTrainingConfig,
    encoder: Path,
    heard: Sequence[str],
    **facts: Any,
) -> None:
    """Write the trained weights, the ids of training and validation utterances, and facts; the facts last.

    `encoder`: folder of the prepared encoder; `facts`: further plain values to store.
    """
    save_tensors(folder / WEIGHTS, adaptation.state())
    write_text(folder / HEARD, "".join(f"{name}\n" for name in sorted(heard)))
    write_json(
        folder / FACTS,
        {
            **facts,
            "method": method.model_dump(mode="json"),
            "training": training.model_dump(mode="json"),
            "adaptation": adaptation.facts(),
            "classes": list(recogniser.classes),
            "encoder_sha256": encoder_facts(encoder)["sha256"],
            "heard_sha256": hash_json(sorted(heard)),
            "heard_utterances": len(heard),
        },
    )


def load_recogniser(folder: Path, encoder: Path) -> Recogniser:
    """The recogniser of a folder on the prepared encoder in `encoder`, in evaluation mode.

    Raises CheckpointError when either is missing or damaged, or the recogniser was trained on another
    encoder.
    """
    facts = recogniser_facts(folder)
    base = encoder_facts(encoder)
    if facts["encoder_sha256"] != base["sha256"]:
        raise CheckpointError(
            f"{folder} was trained on another encoder ({facts['encoder_sha256'][:12]}, this one is "
            f"{base['sha256'][:12]}); train the recogniser again"
        )
    training = RecogniserTrainingConfig.model_validate(facts["training"])
    recogniser = Recogniser(
        load_encoder(EncoderConfig.model_validate(base["config"]), encoder),
        facts["classes"],
        training.head_size,
        training.dropout,
        # Emotion recognisers and judges of before there were other targets name none.
        transcribes=facts.get("target") == "phones",
    )
    adaptation = Adaptation(recogniser, MethodConfig.model_validate(facts["method"]), training)
    adaptation.load(read_tensors(folder / WEIGHTS))
    return recogniser.eval()


def recogniser_facts(folder: Path) -> dict[str, Any]:
    """adapter.json of a trained recogniser; CheckpointError where there is none."""
    if not (folder / FACTS).is_file():
        raise CheckpointError(f"{folder / FACTS} is missing; train the recogniser first")
    facts: dict[str, Any] = read_json(folder / FACTS)
    return facts


def heard_utterances(folder: Path) -> list[str]:
    """Ids of the utterances a recogniser was trained and chosen on; CheckpointError where they are not those
    of its training."""
    heard = (folder / HEARD).read_text(encoding="utf-8").split()
    if hash_json(heard) != recogniser_facts(folder)["heard_sha256"]:
        raise CheckpointError(
            f"{folder / HEARD} is not the list of what this recogniser was trained on; train it again"
        )
    return heard
