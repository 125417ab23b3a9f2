"""The documentation made from the models: config/config.yaml (every key) and config/schema.json.

python -m eele.config.document          # writes both, as `make config` does
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import annotated_types
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from eele.config.models import StudyConfig
from eele.io import write_text

_HEAD = """\
# yaml-language-server: $schema=schema.json
# The demo study, and every key there is with its default. Made by `make config` from
# src/eele/config/models.py: do not edit it, write the keys you change into a file of their own and
# run `snakemake --configfile that.yaml`. Files may follow one another: later ones override earlier
# ones, lists are replaced whole.

"""

_WIDTH = 99


def default_yaml() -> str:
    """config/config.yaml: the default study, each key with description and limits."""
    return _HEAD + "\n".join(_mapping(StudyConfig(), level=0)) + "\n"


def schema_json() -> str:
    """config/schema.json: JSON Schema of a study config."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **StudyConfig.model_json_schema(),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _mapping(section: BaseModel, level: int) -> list[str]:
    lines: list[str] = []
    spaced = False
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        indent = "  " * level
        note = _note(field)
        block = isinstance(value, BaseModel) or _holds_sections(value) or _names_sections(value)
        if level == 0 and lines and (block or spaced):
            lines.append("")
        spaced = block
        if isinstance(value, BaseModel):
            lines += [f"{indent}{name}:  # {note}", *_mapping(value, level + 1)]
        elif _holds_sections(value):
            lines += [f"{indent}{name}:  # {note}", *_sequence(value, level + 1)]
        elif _names_sections(value):
            lines.append(f"{indent}{name}:  # {note}")
            for key, inner in value.items():
                lines += [f"{indent}  {key}:", *_mapping(inner, level + 2)]
        else:
            lines += _entry(f"{indent}{name}: {_inline(value)}", note, indent)
    return lines


def _sequence(sections: tuple[BaseModel, ...], level: int) -> list[str]:
    """List of sections; the keys are described once, on the first."""
    lines: list[str] = []
    for index, section in enumerate(sections):
        if index == 0:
            block = _mapping(section, level + 1)
        else:
            plain = section.model_dump(mode="json", exclude_defaults=True)
            plain = {"method": getattr(section, "method", None), **plain}
            block = [f"{'  ' * (level + 1)}{key}: {_inline(value)}" for key, value in plain.items()]
        first = next(i for i, line in enumerate(block) if not line.lstrip().startswith("#"))
        dash = "  " * level + "- "
        block[first] = dash + block[first].lstrip()
        lines += block
    return lines


def _entry(text: str, note: str, indent: str) -> list[str]:
    """The key with its note behind it, or above it where the line would be too long."""
    if len(text) + 4 + len(note) <= _WIDTH:
        return [f"{text}  # {note}"]
    lines, line = [], f"{indent}#"
    for word in note.split():
        if len(line) + 1 + len(word) > _WIDTH:
            lines.append(line)
            line = f"{indent}#"
        line += f" {word}"
    return [*lines, line, text]


def _note(field: FieldInfo) -> str:
    return " ".join(filter(None, (field.description or "", _limits(field))))


def _limits(field: FieldInfo) -> str:
    choices = _choices(field.annotation)
    if choices:
        return f"[{' | '.join(choices)}]"
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    limits = [
        f"{sign} {getattr(limit, key):g}"
        for limit in field.metadata
        for key, sign in signs.items()
        if isinstance(limit, annotated_types.BaseMetadata) and hasattr(limit, key)
    ]
    return f"[{', '.join(limits)}]" if limits else ""


def _choices(annotation: Any) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return tuple(str(choice) for choice in get_args(annotation))
    for inner in get_args(annotation):
        found = _choices(inner)
        if found:
            return found
    return ()


def _holds_sections(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], BaseModel)


def _names_sections(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(v, BaseModel) for v in value.values())


def _inline(value: Any) -> str:
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, tuple):
        value = list(value)
    text = yaml.safe_dump(
        value, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False
    )
    return text.removesuffix("...\n").strip()


def main(folder: str | Path = "config") -> None:
    """Write both files into `folder`."""
    write_text(Path(folder) / "config.yaml", default_yaml())
    write_text(Path(folder) / "schema.json", schema_json())


if __name__ == "__main__":
    main(*sys.argv[1:2])
