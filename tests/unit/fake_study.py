"""A small finished study made of nothing: files as the stages write them, with known scores.

For tests of the reporting only. Speech is a buzz with a moving pitch; scores follow `accuracy`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from eele.cells import Cell, sweep
from eele.config import StudyConfig
from eele.config.load import check_study, dump_study
from eele.io import write_json, write_text
from eele.paths import StudyPaths
from eele.workflow import trains_vocoder

SPEAKERS = ("demo_anna", "demo_bert")
SENTENCES = (
    "The kettle is on the stove.",
    "Nobody told me about the party.",
    "We should leave before it rains.",
    "Where did you put the keys?",
    "The train was late again.",
    "She closed the door behind her.",
)
SCORES = (
    "phone_error_rate",
    "mcd_db",
    "log_f0_rmse",
    "log_f0_correlation",
    "f0_mean_shift_st",
    "f0_range_shift_st",
    "rate_ratio",
    "energy_shift_db",
    "speaker_similarity",
)
F0_SHIFT = {
    "happy": 3.0,
    "angry": 4.0,
    "sad": -2.0,
    "surprised": 5.0,
    "fearful": 2.0,
    "neutral": 0.0,
}

#: Loss terms by site, as the backbones have them.
SITE_TERMS = {
    "fastspeech2": {
        "text_encoder": ("duration", "energy", "mel", "pitch", "postnet"),
        "duration": ("duration",),
        "variance": ("energy", "mel", "pitch", "postnet"),
        "decoder": ("mel", "postnet"),
    },
    "vits2": {
        "text_encoder": ("kl",),
        "duration": ("duration", "duration_adversarial"),
        "flow": ("kl",),
        "decoder": ("adversarial", "features", "mel"),
    },
}
#: Losses at the end of training, and what the critic gives: in training only.
LEVELS = {"mel": 0.4, "postnet": 0.35, "kl": 1.3, "duration": 0.6, "pitch": 0.8, "energy": 0.7}
CRITIC_LEVELS = {
    "waveform": {"adversarial": 2.2, "features": 4.0, "critic": 2.6},
    "duration": {"duration_adversarial": 0.5, "duration_critic": 0.5},
}
CRITIC_PARAMETERS = {"waveform": 46_747_132, "duration": 395_777}
#: Seconds of a step: this much for each site of a cell, and of a step of `full`.
SITE_SECONDS, FULL_SECONDS = 0.02, 0.1


def small_study(**changes: object) -> StudyConfig:
    """Two emotions, three schemes at rank 8, two ranks of g, full; override by key."""
    values: dict[str, object] = {
        "study": "fake",
        "title": "A study & its <title>",
        "emotions": ["angry", "happy"],
        "sweep": [
            {"method": "lora", "schemes": ["a", "c", "g"], "ranks": [8]},
            {"method": "lora", "schemes": ["g"], "ranks": [2, 8]},
            {"method": "full"},
        ],
        "evaluation": {"bootstrap_samples": 200},
        "audio": {"sample_rate_hz": 16000},
    }
    return check_study(values | changes)


def even_accuracy(cell: Cell) -> float:
    """Share of utterances recognised: recordings best, g best of the schemes, none at nothing."""
    base = {"recording": 1.0, "copy_synthesis": 0.9, "none": 0.0, "full": 0.75}
    schemes = {"a": 0.2, "b": 0.5, "c": 0.45, "d": 0.6, "e": 0.3, "f": 0.4, "g": 0.8, "h": 0.7}
    value = base.get(cell.method, schemes.get(cell.scheme, 0.5))
    if cell.emotion == "neutral":
        return 1.0
    return value


def build(
    root: Path,
    study: StudyConfig | None = None,
    accuracy: Callable[[Cell], float] = even_accuracy,
    *,
    audio: bool = True,
    seconds: float = 0.5,
) -> tuple[StudyConfig, StudyPaths]:
    """Write the whole study below `root`; returns its config and paths."""
    study = study or small_study()
    paths = StudyPaths(root / study.study)
    write_text(paths.config, dump_study(study))
    _corpus(study, paths)
    for cell in sweep(study):
        write_cell(study, paths, cell, accuracy(cell), audio=audio, seconds=seconds)
    _models(study, paths)
    return study, paths


def write_cell(
    study: StudyConfig,
    paths: StudyPaths,
    cell: Cell,
    accuracy: float,
    *,
    audio: bool = True,
    seconds: float = 0.5,
    n_scored: int | None = None,
) -> None:
    """One cell's metrics, utterances, training facts and speech."""
    rng = np.random.default_rng(zlib.crc32(str(cell.path).encode()))
    folder = paths.cell(cell)
    n = len(SPEAKERS) * len(SENTENCES)
    other = next(e for e in ("neutral", *study.emotions) if e != cell.emotion)
    hits = set(range(round(accuracy * n)))
    further = {judge: _hits(judge, len(hits), n) for judge in study.evaluation.judges[1:]}
    rows, speech = [], []
    for index in range(n):
        sentence, speaker = divmod(index, len(SPEAKERS))
        utterance = f"{SPEAKERS[speaker]}_{cell.emotion}_{sentence:02d}"
        predicted = cell.emotion if index in hits else other
        f0 = 120.0 * (1 + 0.7 * speaker) * 2 ** (F0_SHIFT.get(cell.emotion, 1.0) / 12)
        rows.append(
            {
                "utterance_id": utterance,
                "speaker": SPEAKERS[speaker],
                "sentence": sentence,
                "predicted_emotion": predicted,
                "probability_target": round(0.9 if index in hits else 0.1, 3),
                "phone_error_rate": 0.1,
                "mcd_db": 6.0,
                "log_f0_rmse": 0.2,
                "log_f0_correlation": 0.6,
                "f0_mean_hz": f0,
                "f0_range_st": 4.0,
                "rate_phones_per_s": 12.0,
                "energy_db": -24.0,
                "speaker_similarity": 0.9,
                "hypothesis": "k ɛ t əl",
                "reason": "",
            }
            | {
                f"predicted_{judge}": cell.emotion if index in own else other
                for judge, own in further.items()
            }
        )
        speech.append(
            {
                "file": f"{utterance}.wav",
                "kind": "test",
                "utterance_id": utterance,
                "speaker": SPEAKERS[speaker],
                "text": SENTENCES[sentence],
                "phones": "sil k ɛ t əl sil",
                "durations": "3 5 8 6 9 4",
            }
        )
        if audio:
            _buzz(folder / "speech" / f"{utterance}.wav", study, f0, seconds, rng)
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / "utterances.csv", index=False)
    (folder / "speech").mkdir(exist_ok=True)
    pd.DataFrame(speech).to_csv(folder / "speech" / "speech.csv", index=False)
    share = len(hits) / n
    scores: dict[str, float | None] = {
        "emotion_accuracy": share,
        "emotion_accuracy_low": max(0.0, share - 0.1),
        "emotion_accuracy_high": min(1.0, share + 0.1),
    }
    scores |= {key: 0.1 * (1 + i) for i, key in enumerate(SCORES)}
    shift = F0_SHIFT.get(cell.emotion, 1.0)
    scores |= {
        "phone_error_rate_low": 0.05,
        "phone_error_rate_high": 0.15,
        "f0_mean_shift_st": shift * (0.8 if cell.trained else 1.0),
        "recording_f0_mean_shift_st": shift,
        "recording_f0_range_shift_st": 1.2,
        "recording_rate_ratio": 1.1,
        "recording_energy_shift_db": 2.0,
    }
    if cell.method == "recording":
        scores |= {"mcd_db": None, "log_f0_rmse": None, "log_f0_correlation": None}
    write_json(
        folder / "metrics.json",
        {
            "cell": cell.as_dict(),
            "scores": scores,
            "n_scored": n if n_scored is None else n_scored,
            "n_total": n,
            "failures": [],
            "judges": {
                judge: {
                    "accuracy": share,
                    "low": max(0.0, share - 0.1),
                    "high": min(1.0, share + 0.1),
                    "n": n,
                    "predictions": {
                        e: len(hits) if e == cell.emotion else (n - len(hits)) * (e == other)
                        for e in ("neutral", *study.emotions)
                    },
                    "mean_probability": {
                        e: round(0.9 * share + 0.1 * (1 - share), 3) if e == cell.emotion else 0.1
                        for e in ("neutral", *study.emotions)
                    },
                }
                for judge in study.evaluation.judges
            },
        },
    )
    if cell.trained:
        parameters = (
            1_000_000 if cell.method == "full" else 2_000 * cell.rank * len(cell.sites(study))
        )
        write_json(
            folder / "adapter" / "training.json",
            {
                "trainable_parameters": parameters,
                "adapter_bytes": parameters * 4,
                "train_seconds": 300 * step_seconds(study, cell),
                "steps": 300,
                "best_step": 250,
                "stopped_early": False,
                "unwrappable": unwrappable(study, cell),
                "loss_terms": loss_terms(study, cell),
                "critic_parameters": sum(
                    CRITIC_PARAMETERS[judge] for judge in critics(loss_terms(study, cell))
                ),
            },
        )
        _curves(folder / "adapter" / "curves.csv", rng, loss_terms(study, cell))


def _hits(judge: str, hits: int, n: int) -> range:
    """What a judge after the first recognises: `half` of what the first does, `contrary` as many as that one
    misses."""
    return range(n - hits if judge == "contrary" else hits // 2)


def loss_terms(study: StudyConfig, cell: Cell | None = None) -> list[str]:
    """Terms that a cell can lower; all for `full` and for pre-training."""
    by_site = SITE_TERMS[study.backbone.name]
    sites = cell.sites(study) if cell and cell.method != "full" else tuple(by_site)
    return sorted({term for site in sites for term in by_site[site]})


def critics(terms: list[str]) -> list[str]:
    """Which discriminators train beside these terms."""
    return [judge for judge, levels in CRITIC_LEVELS.items() if set(levels) & set(terms)]


def step_seconds(study: StudyConfig, cell: Cell) -> float:
    """Time of one step."""
    return FULL_SECONDS if cell.method == "full" else SITE_SECONDS * len(cell.sites(study))


def unwrappable(study: StudyConfig, cell: Cell) -> list[dict[str, str]]:
    """Two norms in each site, and three depthwise convolutions in VITS2's duration predictor."""
    if cell.method == "full":
        return []
    left = [
        {"module": f"{site}.norms.{index}", "type": "LayerNorm", "reason": "LayerNorm holds no map"}
        for site in cell.sites(study)
        for index in range(2)
    ]
    grouped = "grouped convolution (groups=192): cannot be merged"
    if study.backbone.name == "vits2" and "duration" in cell.sites(study):
        left += [
            {"module": f"duration.conv.{index}", "type": "Conv1d", "reason": grouped}
            for index in range(3)
        ]
    return left


def _buzz(
    path: Path, study: StudyConfig, f0: float, seconds: float, rng: np.random.Generator
) -> None:
    rate = study.audio.sample_rate_hz
    t = np.arange(int(rate * seconds)) / rate
    pitch = f0 * (1 + 0.15 * np.sin(2 * np.pi * 1.5 * t + rng.uniform(0, 6)))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    wave = sum(np.sin(k * phase) / k for k in range(1, 20))
    wave = wave * np.clip(np.sin(np.pi * t / seconds) * 2, 0, 1) * 0.15
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave + rng.normal(0, 1e-3, len(t)), rate, subtype="PCM_16")


def _curves(path: Path, rng: np.random.Generator, terms: list[str]) -> None:
    """Terms fall to their level; the mel counts 45 times beside a critic, as in VITS2."""
    judged = {k: v for judge in critics(terms) for k, v in CRITIC_LEVELS[judge].items()}
    own = {term: LEVELS[term] for term in terms if term in LEVELS}
    weights = {"mel": 45.0, "features": 2.0} if judged else {}
    rows = []
    for step in range(25, 301, 25):
        for split in ("train", "validation")[: 1 + (step % 50 == 0)]:
            levels = own | (judged if split == "train" else {})
            above = 0.05 * (split == "validation") + 2.4 * np.exp(-step / 60)
            losses = {t: v * (1 + above + rng.normal(0, 0.02)) for t, v in levels.items()}
            for term in ("critic", "duration_critic"):
                if term in losses:
                    losses[term] = levels[term] + rng.normal(0, 0.1)
            summed = sum(weights.get(t, 1.0) * v for t, v in losses.items() if "critic" not in t)
            rows.append({"step": step, "split": split, "loss": summed} | losses)
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False)


def _corpus(study: StudyConfig, paths: StudyPaths) -> None:
    rows = []
    for emotion in ("neutral", *study.emotions):
        for speaker in SPEAKERS:
            for index in range(30):
                split = "test" if index < len(SENTENCES) else "validation" if index < 9 else "train"
                rows.append(
                    {
                        "utterance_id": f"{speaker}_{emotion}_{index:02d}",
                        "path": f"corpora/demo/clean/{speaker}/{index}.flac",
                        "speaker": speaker,
                        "language": "en",
                        "emotion": emotion,
                        "text": SENTENCES[index % len(SENTENCES)],
                        "duration_s": 2.5,
                        "split": split,
                        "corpus": "demo",
                        "sentence": index,
                    }
                )
    manifest = pd.DataFrame(rows)
    paths.root.mkdir(parents=True, exist_ok=True)
    manifest.to_csv(paths.manifest, index=False)
    pd.DataFrame(
        [
            ("demo_x1", "demo", "demo_anna", "clean", "too short", "0.2 s"),
            ("demo_x2", "demo", "demo_anna", "clean", "too short", "0.1 s"),
            ("demo_x3", "demo", "demo_bert", "listing", "no transcript", ""),
        ],
        columns=["utterance_id", "corpus", "speaker", "stage", "reason", "detail"],
    ).to_csv(paths.rejected, index=False)
    paths.alignment.mkdir(parents=True, exist_ok=True)
    alignment = pd.DataFrame(
        {
            "utterance_id": manifest["utterance_id"],
            "status": "aligned",
            "score": -60.0,
            "reason": "",
        }
    )
    alignment.loc[0, ["status", "reason"]] = ["failed", "score too low for its text"]
    alignment.to_csv(paths.alignment / "alignment.csv", index=False)
    write_json(
        paths.alignment / "summary.json",
        {
            "aligner": "gmm",
            "n_aligned": len(rows) - 1,
            "n_failed": 1,
            "truth": {"median_ms": 9.1, "within_50_ms": 0.95},
        },
    )
    write_json(
        paths.corpus("demo") / "source.json",
        {
            "adapter": "demo",
            "name": "Generated corpus",
            "version": "1",
            "licence": "CC0-1.0",
            "url": "https://example.org/corpus?a=1&b=2",
            "citation": "Nobody, 2025",
            "sha256": "00ff" * 16,
            "energy_comparable": False,
            "notes": "made by rules",
        },
    )
    write_json(paths.features / "statistics.json", {"extraction_x_real_time": 41.5, "speakers": {}})


def _models(study: StudyConfig, paths: StudyPaths) -> None:
    rng = np.random.default_rng(0)
    runs = {paths.neutral: loss_terms(study)}
    if trains_vocoder(study):
        runs[paths.vocoder] = ["adversarial", "features", "mel"]
    for folder, terms in runs.items():
        _curves(folder / "curves.csv", rng, terms)
        write_json(
            folder / "training.json",
            {
                "trainable_parameters": 1_000_000,
                "critic_parameters": sum(CRITIC_PARAMETERS[judge] for judge in critics(terms)),
                "train_seconds": 170.0,
                "steps": 1500,
            },
        )
