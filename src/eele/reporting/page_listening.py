"""The listening section of the page."""

from __future__ import annotations

from typing import Any

from eele.reporting.collect import Results, method_words
from eele.reporting.examples import Clip
from eele.reporting.markup import is_empty, shown
from eele.reporting.players import Grid
from eele.reporting.tables import caption


def listening(results: Results, grid: Grid) -> dict[str, Any]:
    columns: list[dict[str, Any]] = []
    previous, several = "", len(results.methods) > 1
    for system in grid.columns:
        kind = (
            "baseline"
            if system not in results.placed
            else ("scheme" if system in results.compared else "rank")
        )
        named = f"{method_words(system.method)} " * (several and kind != "baseline")
        head, sub = {
            "baseline": (system.label, ""),
            "scheme": (named + system.scheme, caption(system.scheme, results.study)),
            "rank": (f"{named}{system.scheme}, r{system.rank}", f"rank {system.rank}"),
        }[kind]
        group = f"{kind} {named}"
        columns.append({"system": system, "head": head, "sub": sub, "group": group != previous})
        previous = group
    rows = []
    for row in grid.rows:
        cells = []
        for column in columns:
            system = column["system"]
            clip = row.clips.get(system.key)
            if clip is None:
                cells.append({"key": "", "group": column["group"]})
                continue
            cells.append(
                {
                    "key": grid.key(row, system),
                    "group": column["group"],
                    "label": f"{system.label}: {row.text} ({row.speaker}, {row.emotion})",
                    **_under(results, clip),
                }
            )
        rows.append(
            {"emotion": row.emotion, "speaker": row.speaker, "text": row.text, "clips": cells}
        )
    shown, seeds = len(grid.rows), results.study.seeds
    what = (
        f"All {shown} test utterances of the study"
        if shown == grid.available
        else (
            f"{shown} of the study’s {grid.available} test utterances, taken in turn over emotions and "
            "speakers, none picked by ear (the others lie in cells/…/speech/)"
        )
    )
    seed = f", spoken with seed {seeds[0]}" if len(seeds) > 1 else ""
    rank = f" Schemes at {results.sizes_text}." if results.compared else ""
    return {
        "listen_columns": columns,
        "listen_rows": rows,
        "listen_speakers": sorted({row.speaker for row in grid.rows}),
        "listening_note": f"{what}{seed}.{rank} Under each player: {results.goal.listening_note}.",
    }


def _under(results: Results, clip: Clip) -> dict[str, Any]:
    """What stands under a player: what the judge heard, or how near the voice is."""
    if results.study.adapts_voices:
        return {"hit": False, "heard": shown(clip.score), "probability": ""}
    hit = clip.predicted == clip.emotion
    return {
        "hit": hit,
        "heard": f"{'✓' if hit else '✗'} {clip.predicted}" if clip.predicted else "not scored",
        "probability": "" if is_empty(clip.probability) else f"{clip.probability:.2f}",
    }
