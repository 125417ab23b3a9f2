"""Printing the status once, or again and again."""

from __future__ import annotations

import json
import sys
import time
from typing import Literal

from eele.config import StudyConfig
from eele.paths import StudyPaths
from eele.status.collecting import Status, collect
from eele.status.render import plain, show

Form = Literal["text", "json", "targets"]


def report(study: StudyConfig, paths: StudyPaths, form: Form, every_s: float | None = None) -> None:
    """Print the study's status to stdout; with `every_s`, again that often until the study is finished."""
    while True:
        status = collect(study, paths)
        _print(status, form, clear=every_s is not None)
        if every_s is None or status.finished:
            return
        time.sleep(every_s)


def _print(status: Status, form: Form, clear: bool) -> None:
    if form == "json":
        print(json.dumps(status.as_dict(), ensure_ascii=False), flush=True)
    elif form == "targets":
        print("\n".join(status.targets), end="\n" if status.targets else "", flush=True)
    elif sys.stdout.isatty():
        from rich.console import Console

        console = Console(highlight=False)
        if clear:
            console.clear()
        show(status, console)
    else:
        print(plain(status), end="\n\n" if clear else "\n", flush=True)
