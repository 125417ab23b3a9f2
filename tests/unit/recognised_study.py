"""A finished study of recognition made of nothing: files as the stages write them, with known predictions.

Every recogniser names the class right for the first `HITS` of ten recordings of a class and speaker, and the
next class for the others.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from eele.config import StudyConfig
from eele.config.load import check_study, dump_study
from eele.io import write_json, write_text
from eele.paths import StudyPaths
from eele.ser.scores import score
from eele.ser.sweep import recognisers

CLASSES = ("neutral", "happy", "sad")
SPEAKERS = {"c_ada": "female", "c_bea": "female", "c_carl": "male", "c_dan": "male"}
TEN = 10
#: Method -> right ones of ten, and for men this many more or fewer.
HITS = {
    "head": (6, 0),
    "full": (7, 1),
    "lora": (8, -2),
    "bottleneck": (6, 0),
    "parallel_bottleneck": (7, 0),
    "prompt": (4, 0),
    "combined": (8, 1),
}
TRAINED = {"head": 0, "full": 50_000}
HEAD_PARAMETERS, ENCODER_PARAMETERS = 2_000, 60_000
METHODS = [
    {"method": "head"},
    {"method": "full"},
    {"method": "lora", "sites": ["feed_forward"], "size": 8},
    {"method": "lora", "sites": ["feed_forward", "attention"], "size": 8},
    {"method": "bottleneck", "sites": ["feed_forward"], "size": 16},
    {"method": "parallel_bottleneck", "sites": ["feed_forward"], "size": 16},
    {"method": "prompt", "sites": ["layers"], "size": 5},
    {"method": "combined", "sites": ["layers"], "size": 8},
]


def make_study(
    encoders: dict[str, object] | None = None, adapter: str = "folder", **changes: object
) -> StudyConfig:
    """The study's config with changed encoders, corpus and keys of `recognition`."""
    encoders = encoders or {"small": {}}
    recognition = {
        "encoders": list(encoders),
        "methods": METHODS,
        "testbeds": {"speakers": {"folds": "leave_one_speaker_out"}},
        "seeds": [1, 2],
    }
    return check_study(
        {
            "study": "recognised",
            "title": "A study of recognition made of nothing",
            "corpora": [{"adapter": adapter, "name": "c", "language": "en"}],
            "encoders": encoders,
            "recognition": {**recognition, **changes},
            "evaluation": {"bootstrap_samples": 200},
        }
    )


def write_study(study: StudyConfig, paths: StudyPaths) -> None:
    """All that tables, figures and page read."""
    write_text(paths.config, dump_study(study))
    manifest = _manifest()
    manifest.to_csv(paths.manifest, index=False)
    write_text(paths.rejected, "utterance_id,corpus,speaker,stage,reason,detail\n")
    for corpus in study.corpora:
        write_json(paths.corpus(corpus.id) / "source.json", {"name": "C", "licence": "CC0"})
    assert study.recognition is not None
    for name in study.recognition.encoders:
        _encoder(study, paths.encoder(name), name)
    folds = {}
    for testbed in study.recognition.testbeds:
        _folds(paths.testbed(testbed))
        folds[testbed] = list(SPEAKERS)
    for cell in recognisers(study, folds):
        folder = paths.recognition(cell.path)
        predictions = predicted(manifest[manifest["speaker"] == cell.fold], cell.method)
        folder.mkdir(parents=True)
        predictions.to_csv(folder / "predictions.csv", index=False)
        write_json(
            folder / "scores.json", {"cell": cell.as_dict(), **score(predictions, CLASSES, 50)}
        )
        moved = TRAINED.get(cell.method, 100 * cell.size)
        write_json(
            folder / "training.json",
            {
                "epochs": 3,
                "best_epoch": 2,
                "validation_uar": 0.5,
                "steps": 9,
                "train_seconds": 1.5,
                "encoder_parameters": moved,
                "head_parameters": HEAD_PARAMETERS,
                "trainable_parameters": moved + HEAD_PARAMETERS,
                "adapter_bytes": 4 * moved,
                "utterances": 60,
                "validation_utterances": 30,
                "test_utterances": len(predictions),
                "test_heard_by_encoder": 5,
            },
        )
        curves = [
            {"step": 3 * e, "epoch": e, "split": split, "loss": 1 / e, "uar": uar}
            for e in (1, 2, 3)
            for split, uar in (("train", None), ("validation", 0.2 * e))
        ]
        pd.DataFrame(curves).to_csv(folder / "curves.csv", index=False)


def _manifest() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "utterance_id": f"{speaker}_{label}_{n}",
                "speaker": speaker,
                "gender": gender,
                "emotion": label,
                "label": label,
                "duration_s": 1.0,
                "split": "train",
                "corpus": "c",
                "sentence": n,
                "n": n,
            }
            for speaker, gender in SPEAKERS.items()
            for label in CLASSES
            for n in range(TEN)
        ]
    )


def predicted(rows: pd.DataFrame, method: str) -> pd.DataFrame:
    """Predictions of one recogniser for rows of the manifest."""
    right, for_men = HITS[method]
    hits = rows["n"] < right + for_men * (rows["gender"] == "male")
    wrong = rows["label"].map(
        {name: CLASSES[(i + 1) % len(CLASSES)] for i, name in enumerate(CLASSES)}
    )
    columns = ["utterance_id", "label", "speaker", "gender", "sentence"]
    return rows[columns].assign(predicted=rows["label"].where(hits, wrong))


def _encoder(study: StudyConfig, folder: Path, name: str) -> None:
    write_json(
        folder / "model.json",
        {
            "config": study.encoders[name].model_dump(mode="json"),
            "parameters": ENCODER_PARAMETERS,
            "layer_count": 2,
            "hidden_size": 16,
            "heard_utterances": 7,
            "source": {"trained_on": "nothing"},
        },
    )
    write_json(folder / "training.json", {"steps": 4, "best_step": 2})
    write_text(folder / "curves.csv", "step,split,loss\n2,train,3.0\n2,validation,3.1\n")


def _folds(folder: Path) -> None:
    rows = [
        {
            "fold": speaker,
            "part": part,
            "speakers": 1,
            "utterances": 30,
            **dict.fromkeys(CLASSES, 10),
        }
        for speaker in SPEAKERS
        for part in ("train", "validation", "test")
    ]
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(folder / "folds.csv", index=False)
