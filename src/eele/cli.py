"""The `eele` command. Exit 0 on success, 2 on bad usage or config, 1 on failure; errors in one message."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eele import __version__
from eele.cells import left_out, sweep
from eele.combining import weighted_cells
from eele.config import StudyConfig, load_study
from eele.errors import ConfigError, EeleError
from eele.paths import StudyPaths
from eele.vocabulary import SCHEMES, scheme_sites

if TYPE_CHECKING:
    from eele.text.lexicon import Lexicon

LISTS = ("corpora", "backbones", "schemes", "methods", "metrics")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except EeleError as error:
        if arguments.debug:
            raise
        print(f"eele: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output is gone (`| head`): nothing is wrong here.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if arguments.debug:
            raise
        print(f"eele: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("eele: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser = argparse.ArgumentParser("eele", description=__doc__.split("\n")[0], parents=[common])
    parser.add_argument("--version", action="version", version=f"eele {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    say = commands.add_parser("say", help="speak a text with any adapters", parents=[common])
    say.add_argument("text")
    say.add_argument("--study", required=True, help="name of a finished study below --results")
    say.add_argument(
        "--cell",
        action="append",
        default=[],
        metavar="CELL[:WEIGHT]",
        help="a cell's folder, or METHOD/SCHEME/RANK/EMOTION[/SEED]; repeat to mix; without it, the neutral voice",
    )
    say.add_argument(
        "--intensity", type=float, default=1.0, help="scales every adapter (default 1)"
    )
    say.add_argument(
        "--speaker",
        help="voice; when not given the study's first, with a cell the first it learned",
    )
    say.add_argument("--language", help="language of the text; the voice's own when not given")
    say.add_argument("-o", "--output", type=Path, required=True, help="WAV file to write")
    say.add_argument("--results", type=Path, default=Path("results"), help="default: results")
    say.set_defaults(run=_say)

    validate = commands.add_parser("validate", help="check a study config", parents=[common])
    validate.add_argument("config", nargs="+", type=Path, help="later files override earlier ones")
    validate.set_defaults(run=_validate)

    listing = commands.add_parser("list", help="list what can be named", parents=[common])
    listing.add_argument("what", choices=LISTS)
    listing.set_defaults(run=_list)

    inspect = commands.add_parser("inspect", help="sites of a backbone", parents=[common])
    inspect.add_argument("backbone")
    inspect.add_argument("--study", help="take sizes and phones from this study")
    inspect.add_argument("--results", type=Path, default=Path("results"), help="default: results")
    inspect.add_argument("--json", action="store_true", help="print JSON")
    inspect.set_defaults(run=_inspect)

    status = commands.add_parser(
        "status", help="how far a study is: done, running, failed", parents=[common]
    )
    status.add_argument("study")
    status.add_argument("--results", type=Path, default=Path("results"), help="default: results")
    status.add_argument(
        "--watch", type=_seconds, metavar="SECONDS", help="again and again until it is finished"
    )
    form = status.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON, one line each time")
    form.add_argument(
        "--targets",
        action="store_true",
        help="print what to ask Snakemake for again after failures",
    )
    status.set_defaults(run=_status)

    provenance = commands.add_parser(
        "provenance", help="where a result comes from", parents=[common]
    )
    provenance.add_argument("file", type=Path)
    provenance.set_defaults(run=_provenance)
    return parser


def _study(name: str, results: Path) -> tuple[StudyConfig, StudyPaths]:
    paths = StudyPaths.of(name, results)
    if not paths.config.exists():
        there = sorted(p.parent.name for p in results.glob("*/config.resolved.yaml"))
        raise ConfigError(
            f"no study '{name}' in {results}/; there: {', '.join(there) or 'none yet'}"
        )
    return load_study(paths.config), paths


def _say(arguments: argparse.Namespace) -> None:
    if arguments.output.exists() and not arguments.output.is_file():
        # The file is replaced whole: a device such as /dev/null would be, too.
        raise ConfigError(f"-o {arguments.output}: not a regular file; give the name of a WAV file")
    study, paths = _study(arguments.study, arguments.results)
    cells = weighted_cells(arguments.cell, study, "--cell")

    from eele.combining.plugging import plug_cells, set_weights
    from eele.neutral import NeutralModel
    from eele.synthesis import Synthesiser, write_wav
    from eele.text.lexicon import Lexicon

    for cell, _ in cells:
        if not (paths.cell(cell) / "adapter" / "adapter.json").exists():
            metrics = paths.cell(cell) / "metrics.json"
            raise ConfigError(f"cell {cell.path} is not trained yet; run: snakemake {metrics}")
    neutral = NeutralModel.open(paths.neutral)
    first = (neutral.new_voices if cells else ()) or neutral.speakers
    speaker = _voice(arguments.speaker or first[0], neutral.speakers, study)
    model = neutral.load(paths.neutral)
    plugged = [cell for cell, _ in cells]
    plug_cells(model, neutral, paths, plugged)
    set_weights(model, plugged, [weight * arguments.intensity for _, weight in cells])
    lexicon: Lexicon = Lexicon.load(paths, study)
    language = arguments.language or _language(paths, speaker)
    phones = lexicon.phones_of(arguments.text, language)
    said = Synthesiser(study, paths, neutral, model).say([phones], [speaker])[0]

    from eele.io import atomic_path

    with atomic_path(arguments.output) as temporary:
        write_wav(temporary, said.samples, study.audio.sample_rate_hz)
    seconds = len(said.samples) / study.audio.sample_rate_hz
    print(f"{arguments.output}: {seconds:.2f} s, voice {speaker}")


def _voice(wanted: str, speakers: tuple[str, ...], study: StudyConfig) -> str:
    for speaker in speakers:
        if wanted in (speaker, *(speaker.removeprefix(f"{c.id}_") for c in study.corpora)):
            return speaker
    raise ConfigError(f"--speaker {wanted}: unknown; known: {', '.join(speakers)}")


def _language(paths: StudyPaths, speaker: str) -> str:
    import csv

    with open(paths.manifest, newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            if row["speaker"] == speaker:
                return row["language"]
    raise ConfigError(f"no language known for speaker {speaker}; give --language")


def _validate(arguments: argparse.Namespace) -> None:
    study = load_study(*arguments.config)
    if study.recognition is not None:
        print(f"{study.study}: valid; {_recognition(study)}")
        return
    cells = sweep(study)
    trained = sum(cell.trained for cell in cells)
    to = f"emotions {', '.join(study.adapted)}"
    if study.adapts_voices:
        to = f"voices {', '.join(study.adaptation.speakers or study.pretraining.leave_out)}"
    print(
        f"{study.study}: valid; {len(cells)} cells, {trained} of them trained, {to}, "
        f"corpora {', '.join(c.id for c in study.corpora)}"
    )
    for method, scheme, reason in left_out(study):
        print(f"left out: {method} at scheme {scheme}: {reason}")


def _recognition(study: StudyConfig) -> str:
    """What a study of recognition compares; how many folds there are, the recordings say."""
    from eele.ser.cells import recognition_of

    config = recognition_of(study)
    ways = len(config.encoders) * len(config.methods) * len(config.seeds)
    return (
        f"recognition: {ways} recognisers a fold (encoders {', '.join(config.encoders)}; "
        f"{len(config.methods)} methods; {len(config.seeds)} seeds), testbeds "
        f"{', '.join(config.testbeds)}, corpora {', '.join(c.id for c in study.corpora)}"
    )


def _list(arguments: argparse.Namespace) -> None:
    for name, text in _LISTERS[arguments.what]():
        print(f"{name:22s} {text}")


def _corpora() -> list[tuple[str, str]]:
    from eele.corpora import CORPORA

    return [
        (n, f"{CORPORA[n].title}; {CORPORA[n].licence}; {CORPORA[n].how_to_get}") for n in CORPORA
    ]


def _backbones() -> list[tuple[str, str]]:
    from eele.sites import SITES

    return [(n, "sites: " + ", ".join(s.name for s in sites)) for n, sites in SITES.items()]


def _schemes() -> list[tuple[str, str]]:
    from eele.sites import SITES

    return [
        (f"{scheme} ({backbone})", f"{caption}: {', '.join(scheme_sites(scheme, backbone))}")
        for backbone in SITES
        for scheme, (caption, _) in SCHEMES.items()
    ]


def _methods() -> list[tuple[str, str]]:
    from eele.peft import METHODS, method

    return [(name, (type(method(name)).__doc__ or "").split("\n")[0]) for name in METHODS]


def _metrics() -> list[tuple[str, str]]:
    from eele.metrics import METRICS

    return [(n, f"{METRICS[n].label} [{METRICS[n].unit}], {METRICS[n].direction}") for n in METRICS]


_LISTERS = {
    "corpora": _corpora,
    "backbones": _backbones,
    "schemes": _schemes,
    "methods": _methods,
    "metrics": _metrics,
}


def inspect_backbone(
    name: str, study: StudyConfig, phones: int, speakers: int
) -> dict[str, object]:
    """Sites of a backbone: module names, layer types, wrappable or why not, parameters, LoRA parameters
    per unit of rank."""
    from eele.backbones import build
    from eele.peft.lora import Lora, parameters_per_rank
    from eele.sites import SITES, backbone_sites

    if name not in SITES:
        raise ConfigError(f"unknown backbone '{name}'; allowed: {', '.join(SITES)}")
    config = study.backbone.model_copy(update={"name": name})
    model = build(config, phones, speakers, study.audio)
    sites: dict[str, object] = {}
    where, refusal = backbone_sites(config), Lora().refusal
    for site in where.names:
        modules = where.modules(model, site)
        rows = [
            {
                "module": key,
                "type": type(module).__name__,
                "parameters": sum(p.numel() for p in module.parameters(recurse=False)),
                "wrappable": refusal(module) is None,
                "reason": refusal(module),
                "lora_parameters_per_rank": 0 if refusal(module) else parameters_per_rank(module),
            }
            for key, module in modules.items()
        ]
        sites[site] = {
            "modules": rows,
            "parameters": sum(int(str(row["parameters"])) for row in rows),
            "lora_parameters_per_rank": sum(int(str(r["lora_parameters_per_rank"])) for r in rows),
        }
    return {
        "backbone": name,
        "phones": phones,
        "speakers": speakers,
        "parameters": sum(p.numel() for p in model.parameters()),
        "sites": sites,
    }


def _inspect(arguments: argparse.Namespace) -> None:
    # Sizes without a study: the package's defaults, a phone inventory of 64 and two speakers.
    study, phones, speakers = StudyConfig(), 64, 2
    if arguments.study:
        from eele.neutral import NeutralModel

        study, paths = _study(arguments.study, arguments.results)
        neutral = NeutralModel.open(paths.neutral)
        phones, speakers = len(neutral.phones), len(neutral.speakers)
    found = inspect_backbone(arguments.backbone, study, phones, speakers)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    print(
        f"{found['backbone']}: {found['parameters']:,} parameters ({phones} phones, {speakers} speakers)"
    )
    for name, site in found["sites"].items():  # type: ignore[attr-defined]
        print(
            f"\n{name}: {site['parameters']:,} parameters, "
            f"{site['lora_parameters_per_rank']:,} LoRA parameters per unit of rank"
        )
        for row in site["modules"]:
            note = "" if row["wrappable"] else f"  not wrapped: {row['reason']}"
            print(f"  {row['module']:44s} {row['type']:10s} {row['parameters']:9,}{note}")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of seconds above 0")
    return seconds


def _status(arguments: argparse.Namespace) -> None:
    study, paths = _study(arguments.study, arguments.results)

    from eele.status.command import Form, report

    form: Form = "json" if arguments.json else "targets" if arguments.targets else "text"
    report(study, paths, form, arguments.watch)


def _provenance(arguments: argparse.Namespace) -> None:
    from eele.io import read_json

    path: Path = arguments.file.resolve()
    if not path.exists():
        raise ConfigError(f"no such file: {arguments.file}")
    for folder in (path, *path.parents):
        record = folder / "provenance.json"
        if record.is_file():
            print(
                json.dumps(
                    {"record": str(record), **read_json(record)}, indent=2, ensure_ascii=False
                )
            )
            return
    raise ConfigError(f"no provenance.json beside or above {arguments.file}")


if __name__ == "__main__":
    sys.exit(main())
