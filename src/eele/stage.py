"""From a job's command line to one call of the package: arguments, log, exit code, one clear message.

The scripts in scripts/ are thin: they name a stage function and the items it takes. Everything a job
has to get right around it stands here once.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from eele.errors import EeleError

#: Process id of the workflow that started this job; a job does not outlive it.
PARENT_VARIABLE = "EELE_PARENT"

_ITEMS: dict[str, tuple[Callable[[str], Any], str]] = {
    "corpus": (str, "name of a corpus of the study"),
    "shard": (int, "number of a feature shard, from 0"),
    "alignment_shard": (int, "number of an alignment shard, from 0"),
    "judge": (str, "name of a judge"),
    "encoder": (str, "name of a speech encoder of the study"),
    "testbed": (str, "name of a testbed of the study of recognition"),
    "recognition": (
        str,
        "path of a recogniser: encoder~E/method~M/sites~S/size~N/testbed~T/fold~F/seed~K",
    ),
    "mixture": (str, "name of an entry of `combining`"),
    "cell": (str, "path of a cell: backbone~B/method~M/scheme~S/rank~R/emotion~E/seed~N"),
}


#: What the file system may refuse although the stage is right -> what to do.
_FILE_SYSTEM = {
    errno.EFBIG: "raise the limit on the size of one file (`ulimit -f`) or use another file system",
    errno.ENOTDIR: "a part of this path is a file: remove it or give another folder",
    errno.EACCES: "allow this user to read and write it or give another folder",
    errno.EPERM: "allow this user to read and write it or give another folder",
    errno.EROFS: "the file system is mounted read-only: give another folder",
    errno.EMFILE: "raise the limit on open files (`ulimit -n`)",
}


#: Seconds between signs of life in a job's log.
_LIFE_S = 20.0


class Interrupted(BaseException):
    """The job was told to stop; unwinds so that temporary files go away."""


def run(stage: Callable[..., None], *items: str, arguments: list[str] | None = None) -> None:
    """Parse the command line, call `stage(study, paths, *items)` and exit with the job's code.

    `items` are the options whose values the stage takes after study and paths, in that order: corpus,
    shard, alignment_shard, judge, encoder, testbed, mixture, cell, recognition (checked against the study) or threads.

    Exit codes: 0 done; 1 failed; 2 wrong config or usage; 130 interrupted. A failure prints one
    message on stderr; with `--log` everything else, tracebacks too, goes to that file.
    """
    options = _parser(stage, items).parse_args(arguments)
    _limit_threads(options.threads)
    name = Path(sys.argv[0]).stem
    with _logged(options.log) as terminal:
        _watch_parent()
        _show_life(options.log)
        signal.signal(signal.SIGTERM, _interrupt)
        started = time.monotonic()
        code, message = _attempt(stage, options, items)
        log = logging.getLogger("eele")
        if message:
            log.error("%s", message)
            where = f"\n(log: {options.log})" if options.log else ""
            if options.log:
                print(f"{name}: {message}{where}", file=terminal, flush=True)
        else:
            log.info("%s done in %.1f s", name, time.monotonic() - started)
    sys.exit(code)


def _attempt(
    stage: Callable[..., None], options: argparse.Namespace, items: tuple[str, ...]
) -> tuple[int, str]:
    """Exit code and message (empty on success) of one call of the stage."""
    try:
        from eele.config import load_study
        from eele.paths import StudyPaths

        study = load_study(options.config)
        paths = StudyPaths.of(study.study, options.results)
        values = [_item(study, name, getattr(options, name)) for name in items]
        with _noted(paths, values):
            stage(study, paths, *values)
    except EeleError as error:
        logging.getLogger("eele").debug("raised here", exc_info=True)
        return error.exit_code, str(error)
    except (KeyboardInterrupt, Interrupted):
        return 130, "interrupted; start the same command again to continue"
    except MemoryError:
        return 1, _out_of_memory()
    except Exception as error:
        if _disk_full(error):
            return 1, (
                f"no space left on the disk while writing {getattr(error, 'filename', None) or 'a file'}"
                "; free some and start the same command again"
            )
        if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):
            logging.getLogger("eele").error("raised here", exc_info=True)
            return 1, _out_of_memory()
        if isinstance(error, OSError) and error.errno in _FILE_SYSTEM:
            logging.getLogger("eele").error("raised here", exc_info=True)
            return 1, _file_system(error)
        return 1, _unexpected(error, options.log)
    return 0, ""


def _noted(paths: Any, values: list[Any]) -> contextlib.AbstractContextManager[None]:
    """Notes whether a cell fails, where the stage is a cell's (of synthesis or of recognition)."""
    from eele import failed
    from eele.cells import Cell
    from eele.ser.cells import RecognitionCell

    cells = [value for value in values if isinstance(value, Cell | RecognitionCell)]
    return failed.noted(paths.root, cells[0]) if cells else contextlib.nullcontext()


def _unexpected(error: Exception, log: Path | None) -> str:
    logging.getLogger("eele").error("unexpected error", exc_info=True)
    where = "the traceback is in the log" if log else "the traceback is above"
    return f"failed unexpectedly ({type(error).__name__}: {error}); {where}"


def _disk_full(error: Exception) -> bool:
    """Whether the disk is full; libraries that write by themselves say so in words only."""
    number = getattr(error, "errno", None)
    return number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error)


def _file_system(error: OSError) -> str:
    what = f"{error.strerror}: {error.filename or 'while writing a file'}"
    return f"{what}; {_FILE_SYSTEM[error.errno or 0]}, then start the same command again"


def _out_of_memory() -> str:
    return (
        "out of memory; run fewer jobs at once (snakemake --cores 1) or lower batch_size in the "
        "config's pretraining, adaptation or evaluation.recogniser section"
    )


def _item(study: Any, name: str, value: Any) -> Any:
    """The checked value of one item argument."""
    from eele.cells import Cell, check_cell
    from eele.errors import ConfigError

    if name == "cell":
        return check_cell(Cell.parse(value), study)
    if name == "recognition":
        from eele.ser.cells import RecognitionCell, check_recognition_cell

        return check_recognition_cell(RecognitionCell.parse(value), study)
    if name == "mixture":
        from eele.combining import mixtures

        mixed = mixtures(study)
        if value not in mixed:
            names = ", ".join(mixed) or "none"
            raise ConfigError(f"--mixture: unknown mixture '{value}'; allowed: {names}")
        return mixed[value]
    if name == "encoder" and value not in study.encoders:
        raise ConfigError(
            f"--encoder: unknown encoder '{value}'; allowed: {', '.join(study.encoders)}"
        )
    if name == "corpus":
        known = [corpus.id for corpus in study.corpora]
        if value not in known:
            raise ConfigError(f"--corpus: unknown corpus '{value}'; allowed: {', '.join(known)}")
    shards = {"shard": study.features.shards, "alignment_shard": study.alignment.shards}
    if name in shards and not 0 <= value < shards[name]:
        raise ConfigError(f"--{name}: got {value}; allowed: 0 to {shards[name] - 1}")
    if name == "judge" and value not in study.evaluation.judges:
        known = list(study.evaluation.judges)
        raise ConfigError(f"--judge: unknown judge '{value}'; allowed: {', '.join(known)}")
    return value


def _parser(stage: Callable[..., None], items: tuple[str, ...]) -> argparse.ArgumentParser:
    module = sys.modules.get(stage.__module__)
    parser = argparse.ArgumentParser(description=stage.__doc__ or getattr(module, "__doc__", None))
    parser.add_argument("--config", type=Path, required=True, help="the study's config (YAML)")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of all studies' results"
    )
    parser.add_argument("--log", type=Path, help="log file; stderr when not given")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of numerical code")
    for name in items:
        if name == "threads":
            continue
        kind, text = _ITEMS[name]
        parser.add_argument(f"--{name}", type=kind, required=True, help=text)
    return parser


def _limit_threads(threads: int) -> None:
    """Set what numerical libraries read when they are first imported."""
    for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "NUMBA"):
        os.environ[f"{library}_NUM_THREADS"] = str(max(1, threads))
    # Waiting OpenMP threads otherwise spin, and steal the cores of the jobs beside them. Some
    # microseconds are spun still: torch's parallel parts are short, and asleep two threads train
    # hardly faster than one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")


@contextlib.contextmanager
def _logged(log: Path | None) -> Iterator[TextIO]:
    """Send stdout, stderr and logging to `log`; yield the stderr of before.

    The file descriptors themselves are moved, so that what C libraries print lands in the log too.
    """
    terminal: TextIO = sys.stderr
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        sys.stdout.flush()
        sys.stderr.flush()
        terminal = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace")
        # Processes that a training starts for further devices run the same command into the same log.
        fresh = 0 if int(os.environ.get("LOCAL_RANK", "0")) else os.O_TRUNC
        target = os.open(log, os.O_WRONLY | os.O_CREAT | fresh | os.O_APPEND, 0o666)
        os.dup2(target, 1)
        os.dup2(target, 2)
        os.close(target)
    faulthandler.enable(file=sys.__stderr__ or sys.stderr)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
        stream=sys.stderr,
        force=True,
    )
    yield terminal


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted


def _show_life(log: Path | None) -> None:
    """Touch the log now and then: a job that is silent for minutes is told from one whose node is lost."""

    def touch() -> None:
        while log is not None:
            time.sleep(_LIFE_S)
            with contextlib.suppress(OSError):  # a full or lost disk is told by the job itself
                os.utime(log)

    if log is not None:
        threading.Thread(target=touch, name="log-touch", daemon=True).start()


def _watch_parent() -> None:
    """Stop when the workflow that started this job is gone (killed): two would write one result."""
    parent = os.environ.get(PARENT_VARIABLE, "")
    if not parent.isdigit():
        return

    def watch() -> None:
        while alive(int(parent)):
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(20.0)  # the main thread may sit in a C call that no signal handler can end
        os._exit(130)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def alive(process: int) -> bool:
    """Whether a process of this host runs: a killed one that nobody has collected yet does not."""
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2]
    except ProcessLookupError:
        return False
    except OSError:  # another user's process, or a system without /proc
        return True
    return not state.strip().startswith("Z")  # killed, but not yet collected by its own parent
