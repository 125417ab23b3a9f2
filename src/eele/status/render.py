"""The status as text: a table with bars in a terminal, plain columns elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from eele.status.collecting import Count, Status

if TYPE_CHECKING:
    from rich.console import Console

#: Failures and stopped jobs shown; the rest is counted. All of them are in the JSON.
_SHOWN = 10


def duration(seconds: float) -> str:
    """1.5 s, 2:03 min, 5:07 h, 3.2 d."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)}:{int(seconds % 60):02d} min"
    if seconds < 48 * 3600:
        return f"{int(seconds // 3600)}:{int(seconds % 3600 // 60):02d} h"
    return f"{seconds / 86400:.1f} d"


def headline(status: Status) -> str:
    """Whether a workflow is running, since when and where."""
    flow = status.workflow
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(flow.since)) if flow.since else "?"
    if flow.running:
        return f"{status.study}: a workflow is running since {since} (process {flow.process} on {flow.host})"
    if flow.running is None:
        return (
            f"{status.study}: a workflow was started on {flow.host or 'another host'} at {since}; "
            "from here it cannot be told whether it still runs"
        )
    if status.finished:
        return f"{status.study}: finished"
    return f"{status.study}: no workflow is running"


def rows(status: Status) -> list[tuple[str, Count]]:
    """Name and count of each line of the table: stages, then the cells as a whole."""
    wholes = [("baselines", status.baselines), ("cells", status.cells)]
    # A study of recognition has none.
    return [*status.stages.items(), *((name, count) for name, count in wholes if count.total)]


def plain(status: Status) -> str:
    """Everything as plain text."""
    lines = [headline(status), ""]
    lines.append(
        f"{'':24s}{'done':>7s}{'running':>9s}{'failed':>8s}{'waiting':>9s}{'of':>7s}  mean"
    )
    for name, count in rows(status):
        mean = duration(count.mean_wall_s) if count.mean_wall_s is not None else "-"
        lines.append(
            f"{name:24s}{count.done:7d}{count.running:9d}{count.failed:8d}"
            f"{count.waiting:9d}{count.total:7d}  {mean}"
        )
    return "\n".join([*lines, "", *below(status)])


def below(status: Status) -> list[str]:
    """What stands below the table: time left, running jobs, stopped and failed ones, the command."""
    lines = []
    if not status.finished:
        if status.eta_s is not None:
            lines.append(f"about {duration(status.eta_s)} left ({status.eta_note})")
        elif status.eta_note:
            lines.append(f"time left: {status.eta_note}")
    for job in status.running[:_SHOWN]:
        steps = f": step {job.step} of {job.steps}" if job.steps else ""
        left = f", {duration(job.left_s)} left" if job.left_s is not None else ""
        lines.append(f"running: {job.stage} {job.item}".rstrip() + steps + left)
    lines += _more(len(status.running), "running")
    lines += [f"stopped: {text}" for text in status.stopped[:_SHOWN]]
    lines += _more(len(status.stopped), "stopped; the same command goes on with them")
    for failure in status.failed[:_SHOWN]:
        note = f" ({failure.note})" if failure.note else ""
        lines += ["", f"failed: {failure.stage} {failure.item}".rstrip() + note]
        lines += [f"  {failure.log}"] + [f"  | {line}" for line in failure.lines]
    lines += _more(len(status.failed), "failed")
    if status.rerun:
        lines += ["", "to run just these again (add your --profile):", f"  {status.rerun}"]
    return lines


def _more(number: int, what: str) -> list[str]:
    return [f"... and {number - _SHOWN} more {what}"] if number > _SHOWN else []


def show(status: Status, console: Console) -> None:
    """Print the status into a terminal."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("", "", "done", "running", "failed", "waiting", "of", "mean"):
        table.add_column(column, justify="right" if column else "left")
    for name, count in rows(status):
        full = int(20 * count.share)
        bar = f"[green]{'━' * full}[/][dim]{'━' * (20 - full)}[/]"
        table.add_row(
            f"[bold]{name}[/]" if name == "cells" else name,
            bar,
            str(count.done),
            f"[cyan]{count.running}[/]" if count.running else "0",
            f"[red]{count.failed}[/]" if count.failed else "0",
            str(count.waiting),
            str(count.total),
            duration(count.mean_wall_s) if count.mean_wall_s is not None else "-",
        )
    console.print(f"[bold]{escape(headline(status))}[/]\n")
    console.print(table)
    console.print()
    for line in below(status):
        # Commands are copied from the screen: they are not wrapped.
        console.print(
            escape(line), style="red" if line.startswith("failed:") else "", soft_wrap=True
        )
