"""Look at Montreal Forced Aligner's real command line without Kaldi.

Run by scripts/check_mfa_cli.sh in an environment that has the MFA wheel and, on PYTHONPATH, the Python half
of kalpy; its compiled half `_kalpy` exists on conda-forge only and is replaced by an empty stand-in,
which is enough to parse arguments.

    mfa_parser.py record FILE          write the table of options (names, arity, choices)
    mfa_parser.py check ARGV_JSON      parse command lines (JSON list of lists) with the real parser
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import sys
import types
from pathlib import Path
from typing import Any


class _Anything(types.ModuleType):
    """A module in which every name is a class of its own."""

    __path__ = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = type(name, (), {})
        setattr(self, name, value)
        return value


class _StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports `_kalpy` and everything below it as empty modules."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        if name.split(".")[0] == "_kalpy":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Anything(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def record() -> dict[str, Any]:
    """Options and arguments of `train` and `align`, and which undeclared parameters the aligner takes."""
    from importlib.metadata import version

    import click
    from montreal_forced_aligner.alignment import PretrainedAligner
    from montreal_forced_aligner.command_line.mfa import mfa_cli

    commands: dict[str, Any] = {}
    for name in ("train", "align"):
        options: dict[str, Any] = {}
        arguments = []
        for parameter in mfa_cli.commands[name].params:
            if isinstance(parameter, click.Argument):
                arguments.append(parameter.name)
                continue
            takes = 0 if parameter.is_flag or parameter.count else parameter.nargs
            choices = getattr(parameter.type, "choices", None)
            for option in (*parameter.opts, *parameter.secondary_opts):
                options[option] = {"values": takes}
                # The languages and the choices of other options are of no use here.
                if choices and option == "--output_format":
                    options[option]["choices"] = list(choices)
        commands[name] = {"arguments": arguments, "options": dict(sorted(options.items()))}
    undeclared = sorted(PretrainedAligner.get_configuration_parameters())
    return {
        "version": version("montreal-forced-aligner"),
        "commands": commands,
        "aligner_parameters": undeclared,
    }


def check(argument_lists: list[list[str]]) -> list[str]:
    """Parse each `mfa ...` with the real parser; returns what was wrong (empty: nothing)."""
    import click
    from montreal_forced_aligner.alignment import PretrainedAligner
    from montreal_forced_aligner.command_line.mfa import mfa_cli

    known = set(PretrainedAligner.get_configuration_parameters())
    problems = []
    for argv in argument_lists:
        name = argv[1]
        try:
            context = mfa_cli.commands[name].make_context(name, list(argv[2:]))
        except click.ClickException as error:
            problems.append(f"{name}: {error.format_message()}")
            continue
        # MFA ignores options it does not know, so a misspelt one shows here only.
        left = list(context.args)
        while left:
            option = left.pop(0)
            if option.removeprefix("--") in known and left and not left[0].startswith("--"):
                left.pop(0)
            else:
                problems.append(f"{name}: not understood: {option}")
    return problems


def main() -> int:
    sys.meta_path.insert(0, _StandIn())
    if sys.argv[1] == "record":
        table = json.dumps(record(), indent=1, sort_keys=True) + "\n"
        Path(sys.argv[2]).write_text(table, encoding="utf-8")
        return 0
    problems = check(json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
    print("\n".join(problems) or "the real parser understands every command line")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
