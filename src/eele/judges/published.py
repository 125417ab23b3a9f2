"""Judges of the kind `published`: audio classifiers of the library transformers, used as others trained them.

A copy is kept with the study, so that scoring needs no hub. Probabilities are those of the labels that mean
neutral or one of the study's emotions, summed per emotion and scaled to one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eele import io
from eele.config import StudyConfig
from eele.config.evaluation import PublishedJudgeConfig
from eele.errors import ConfigError, DataError, MissingToolError
from eele.judges import rules
from eele.judges.listening import by_length, device_of, heard_samples
from eele.judges.material import judge_material
from eele.judges.recordings import score_on_recordings
from eele.paths import StudyPaths
from eele.ser.encoders import SAMPLE_RATE_HZ
from eele.ser.recordings import Recordings

log = logging.getLogger(__name__)

MODEL, FACTS = "model", "model.json"


class PublishedJudge:
    """A judge others trained; see `eele.judges.Judge`."""

    def __init__(
        self,
        model: Any,
        extractor: Any,
        config: PublishedJudgeConfig,
        classes: Sequence[str],
        device: str = "cpu",
    ) -> None:
        """`model`, `extractor`: of transformers. Raises ConfigError for labels the model does not have."""
        self.classes = tuple(classes)
        self._model = model.to(device).eval()
        self._extractor, self._config, self._device = extractor, config, device
        labels = [str(model.config.id2label[i]) for i in range(model.config.num_labels)]
        strange = [label for label in config.labels if label not in labels]
        if strange:
            raise ConfigError(
                f"labels: {config.model} has no label '{strange[0]}'; it has: {', '.join(labels)}"
            )
        #: (labels, classes) 1 where a label means a class.
        self._meaning = np.array(
            [[config.labels.get(label) == name for name in self.classes] for label in labels], float
        )

    def probabilities(
        self,
        samples: Sequence[np.ndarray],
        sample_rate_hz: int,
        phone_counts: Sequence[int],
        speakers: Sequence[str],
    ) -> np.ndarray:
        """Emotion probabilities (n, classes) of any speakers; phone counts are not looked at."""
        rate_hz = int(self._extractor.sampling_rate)
        heard = heard_samples(samples, sample_rate_hz, rate_hz, self._config.crop_s)
        out = np.zeros((len(heard), len(self.classes)))
        size = self._config.batch_size if self._batches else 1
        for positions in by_length([len(signal) for signal in heard], size):
            given = self._extractor(
                [heard[position] for position in positions],
                sampling_rate=rate_hz,
                return_tensors="pt",
                **({"padding": True} if self._of_samples else {}),
            ).to(self._device)
            with torch.no_grad():
                found = self._model(**given).logits.double().softmax(-1).cpu().numpy()
            out[positions] = np.maximum(found @ self._meaning, 1e-12)
        return out / out.sum(axis=1, keepdims=True)

    def save(self, folder: Path) -> None:
        """Write the model as it can be loaded without a hub."""
        self._model.save_pretrained(folder)
        self._extractor.save_pretrained(folder)

    @property
    def _of_samples(self) -> bool:
        from transformers import Wav2Vec2FeatureExtractor

        return isinstance(self._extractor, Wav2Vec2FeatureExtractor)

    @property
    def _batches(self) -> bool:
        """Whether an utterance's result stays the same in company: models of samples need a mask for it."""
        return not self._of_samples or bool(self._extractor.return_attention_mask)


def train(study: StudyConfig, paths: StudyPaths, name: str) -> None:
    """Fetch the model and write judges/<name>/: the model, report.json, heard.json.

    Raises ConfigError for a label the model does not have, MissingToolError when it cannot be had or is no
    audio classifier.
    """
    config = study.evaluation.published_judges[name]
    heard = rules.Heard(tuple(config.trained_on), declared=True)
    judge = _judge(study, name, config.model, config.revision)
    test = judge_material(study, paths).test
    recordings = Recordings.of(paths.root, test, cache_mb=0)
    result = judge.probabilities(
        [recordings[utterance] for utterance in test["utterance_id"]],
        SAMPLE_RATE_HZ,
        test["phone_count"].tolist(),
        test["speaker"].tolist(),
    )
    warnings = rules.overlap(study, paths, name)
    for warning in warnings:
        log.warning("judge %s: %s", name, warning)
    with io.atomic_folder(paths.judge(name)) as folder:
        judge.save(folder / MODEL)
        rules.declare(folder, name, heard)
        io.write_json(folder / FACTS, config.model_dump(mode="json"))
        io.write_json(
            folder / "report.json",
            {
                "judge": name,
                "kind": "published",
                "model": config.model,
                "revision": config.revision,
                "classes": list(judge.classes),
                "labels": config.labels,
                **score_on_recordings(study, judge.classes, test, result),
                "trained_on": list(config.trained_on),
                "warnings": warnings,
            },
        )


def load(study: StudyConfig, paths: StudyPaths, name: str) -> PublishedJudge:
    """The stored judge. Raises DataError when it is absent or of another config."""
    folder = paths.judge(name)
    config = study.evaluation.published_judges[name]
    if not (folder / FACTS).is_file():
        raise DataError(f"{folder / FACTS} is missing; run the rule train_judge first")
    if io.read_json(folder / FACTS) != config.model_dump(mode="json"):
        raise DataError(f"{folder} holds another judge; run the rule train_judge again")
    return _judge(study, name, str(folder / MODEL), None)


def _judge(study: StudyConfig, name: str, model: str, revision: str | None) -> PublishedJudge:
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    local = Path(model).is_dir()
    where: dict[str, Any] = {"local_files_only": local}
    if revision and not local:
        where["revision"] = revision
    try:
        extractor = AutoFeatureExtractor.from_pretrained(model, **where)
        network = AutoModelForAudioClassification.from_pretrained(
            model, dtype=torch.float32, **where
        )
    except (OSError, ValueError) as error:
        raise MissingToolError(
            f"judge {name}: the audio classifier '{model}' cannot be loaded ({error}); name one of the "
            "library transformers on the hub, or download it where there is a network and give its folder "
            "(docs/judges.md)"
        ) from error
    config = study.evaluation.published_judges[name]
    classes = ("neutral", *study.emotions)
    return PublishedJudge(network, extractor, config, classes, str(device_of(study.runtime)))
