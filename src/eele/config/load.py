"""Read, merge and check study configs; explain each mistake by key, value and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from eele.config.models import StudyConfig
from eele.errors import ConfigError


def read_yaml(path: str | Path) -> dict[str, Any]:
    """One YAML mapping; a missing, damaged or non-mapping file raises ConfigError."""
    path = Path(path)
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"config file not found: {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: must hold `key: value` lines, found {type(value).__name__}")
    return value


def merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """`override` over `base`: mappings merge, everything else (lists too) is replaced."""
    merged = dict(base)
    for key, value in override.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def load_study(*paths: str | Path) -> StudyConfig:
    """The study of one config file, or of several: later files override earlier ones."""
    values: dict[str, Any] = {}
    for path in paths:
        values = merge(values, read_yaml(path))
    return check_study(values, source=", ".join(str(path) for path in paths))


def check_study(values: Mapping[str, Any], source: str = "config") -> StudyConfig:
    """Typed study of plain values; raises ConfigError that lists every mistake."""
    try:
        return StudyConfig.model_validate(dict(values))
    except ValidationError as error:
        mistakes = error.errors()
        # A list with a wrong item is also reported as too short: the item says it all.
        inner = [mistake["loc"] for mistake in mistakes]
        lines = [
            _explain(mistake)
            for mistake in mistakes
            if not any(
                len(loc) > len(at := mistake["loc"]) and loc[: len(at)] == at for loc in inner
            )
        ]
        raise ConfigError(f"{source}: " + "\n".join(lines)) from None


def dump_study(study: StudyConfig) -> str:
    """The resolved config as YAML: every key, no comments."""
    return yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _explain(mistake: Any) -> str:
    location = [part for part in mistake["loc"]]
    key = ".".join(str(part) for part in location) or "(top level)"
    if mistake["type"] == "extra_forbidden":
        allowed = _keys_at(location[:-1])
        close = difflib.get_close_matches(str(location[-1]), allowed, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        return f"unknown key '{key}'{hint} allowed here: {', '.join(allowed)}"
    message = mistake["msg"].removeprefix("Value error, ")
    value = mistake.get("input")
    if mistake["type"] == "value_error":
        return f"{key}: {message}" if location else message
    return f"{key}: got {value!r}; {message}"


def _keys_at(location: list[Any]) -> list[str]:
    model: type[BaseModel] = StudyConfig
    for part in location:
        # Neither a place in a list nor a name in a mapping of sections is a key of the section.
        if isinstance(part, int) or part not in model.model_fields:
            continue
        annotation = model.model_fields[str(part)].annotation
        model = _section_in(annotation) or model
    return list(model.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _section_in(inner)
        if found is not None:
            return found
    return None
