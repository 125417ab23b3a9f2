"""Mel spectrogram and pitch of synthetic speech over the recording, one sentence per emotion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eele.cells import AXES
from eele.errors import DataError
from eele.reporting import style
from eele.reporting.collect import Results, System, read_table


@dataclass(frozen=True)
class Clip:
    """One spoken test utterance of one system."""

    system: System
    emotion: str
    utterance_id: str
    speaker: str
    text: str
    file: Path
    predicted: str
    probability: float
    score: float  # what counts of it


def clips(results: Results, system: System, emotion: str) -> list[Clip]:
    """Test clips of `system` for `emotion` (first seed), ordered by sentence then speaker."""
    rows = results.of(system, emotion)
    if rows.empty:
        return []
    first = rows.iloc[0]
    folder = results.paths.root / "cells" / Path(*(f"{axis}~{first[axis]}" for axis in AXES))
    speech = read_table(folder / "speech" / "speech.csv", ("file", "kind", "utterance_id", "text"))
    spoken = speech[speech["kind"] == "test"].set_index("utterance_id")
    scored = results.utterances
    scored = scored[
        (scored["method"] == system.method)
        & (scored["scheme"] == system.scheme)
        & (scored["rank"] == system.rank)
        & (scored["emotion"] == emotion)
        & (scored["seed"] == first["seed"])
    ]
    scored = scored.assign(_order=scored["sentence"].astype(str).str.zfill(9))
    found = []
    for row in scored.sort_values(["_order", "speaker"]).itertuples():
        if row.utterance_id not in spoken.index:
            continue
        entry = spoken.loc[row.utterance_id]
        predicted = row.predicted_emotion if isinstance(row.predicted_emotion, str) else ""
        found.append(
            Clip(
                system,
                emotion,
                str(row.utterance_id),
                str(row.speaker),
                str(entry["text"]),
                folder / "speech" / str(entry["file"]),
                predicted,
                float(getattr(row, "probability_target", float("nan"))),
                float(row.score),
            )
        )
    return found


def example_name(emotion: str) -> str:
    """File name (without suffix) of an emotion's example figure."""
    return f"mel_pitch_{emotion}"


def example_clips(results: Results, emotion: str) -> list[Clip]:
    """Recording, neutral model and best scheme of the emotion's first test sentence they all spoke."""
    best = results.best_scheme()
    plain = [s for s in results.systems if s.method in ("recording", "none")]
    systems = sorted(plain, key=lambda s: s.method != "recording") + ([best] if best else [])
    spoken = [{clip.utterance_id: clip for clip in clips(results, s, emotion)} for s in systems]
    if not spoken:
        return []
    for utterance in spoken[0]:
        if all(utterance in known for known in spoken):
            return [known[utterance] for known in spoken]
    return []


def write_examples(plt: Any, results: Results) -> None:
    """Write `figures/mel_pitch_<emotion>` for every emotion with speech to show."""
    for emotion in results.study.adapted:
        chosen = example_clips(results, emotion)
        if chosen:
            _draw(plt, results, emotion, chosen)


def read_clip(clip: Clip) -> tuple[np.ndarray, int]:
    """Samples (samples,) and their rate in Hz; DataError when the file is missing or damaged."""
    import soundfile

    if not clip.file.is_file():
        raise DataError(f"{clip.file} is missing although speech.csv lists it; synthesise again")
    try:
        samples, rate = soundfile.read(clip.file, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise DataError(
            f"{clip.file}: not readable ({error}); synthesise the cell again"
        ) from error
    return samples.mean(axis=1), int(rate)


def _draw(plt: Any, results: Results, emotion: str, chosen: list[Clip]) -> None:
    from eele.features.f0 import f0_hz
    from eele.features.mel import log_mel

    audio, features = results.study.audio, results.study.features
    colours = {"recording": style.RECORDING, "none": style.NEUTRAL}
    figure, grid = plt.subplots(
        len(chosen) + 1,
        1,
        figsize=(style.PAGE_WIDTH, 1.5 + 1.25 * len(chosen)),
        sharex=True,
        layout="constrained",
        gridspec_kw={"height_ratios": [1.25, *[1] * len(chosen)]},
    )
    longest = 0.0
    for clip, axes in zip(chosen, grid[1:], strict=True):
        samples, _ = read_clip(clip)
        mel, pitch = log_mel(samples, audio), f0_hz(samples, audio, features)
        length = len(mel) * audio.hop_s
        longest = max(longest, length)
        top = float(np.quantile(mel, 0.999))
        axes.imshow(
            mel.T,
            origin="lower",
            aspect="auto",
            cmap=style.MEL,
            vmin=top - 9,
            vmax=top,
            extent=(0, length, 0, mel.shape[1]),
        )
        axes.set_yticks([])
        axes.set_ylabel("mel")
        axes.set_title(clip.system.label, fontsize=8.5, fontweight="normal")
        times = np.arange(len(pitch)) * audio.hop_s
        colour = colours.get(clip.system.method, style.BEST)
        grid[0].plot(
            times,
            np.where(pitch > 0, pitch, np.nan),
            color=colour,
            label=clip.system.label,
            linewidth=2.0 if clip.system.method != "none" else 1.4,
        )
    grid[0].set_yscale("log", base=2)
    grid[0].yaxis.set_major_formatter(plt.FuncFormatter(lambda value, _: f"{value:.0f}"))
    grid[0].yaxis.set_major_locator(
        plt.matplotlib.ticker.LogLocator(base=2, subs=(1.0, 1.25, 1.5, 1.75))
    )
    grid[0].minorticks_off()
    grid[0].set_ylabel("F0 in Hz")
    grid[0].grid(axis="y", color=style.RULE, linewidth=0.6)
    grid[0].legend(ncols=len(chosen), loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2)
    grid[-1].set_xlim(0, longest)
    grid[-1].set_xlabel("time in s")
    style.save(figure, results.paths.figures, example_name(emotion))
