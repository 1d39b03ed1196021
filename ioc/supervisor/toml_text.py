"""A configuration as TOML text that loads again to the same configuration (https://toml.io/en/v1.0.0)."""

import json
from collections.abc import Mapping
from datetime import date, datetime, time
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel

BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


def toml_text(model: BaseModel) -> str:
    """Return the TOML of a model; what is None is left out."""
    return "\n".join(_table(model.model_dump(), ())).strip() + "\n"


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    present = {key: value for key, value in table.items() if value is not None}
    values = [f"{_key(key)} = {_value(value)}" for key, value in present.items() if not isinstance(value, Mapping)]
    below = {key: value for key, value in present.items() if isinstance(value, Mapping)}
    lines = ["", f"[{'.'.join(_key(part) for part in path)}]"] if path and (values or not below) else []
    lines += values
    for key, value in below.items():
        lines += _table(value, (*path, key))
    return lines


def _key(key: str) -> str:
    return key if key and BARE.issuperset(key) else _string(key)


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _string(value)
        case Enum():
            return _value(value.value)
        case Path():
            return _string(str(value))
        case datetime() | date() | time():
            return value.isoformat()
        case Mapping():
            pairs = (f"{_key(str(key))} = {_value(item)}" for key, item in value.items() if item is not None)
            return f"{{ {', '.join(pairs)} }}"
        case list() | tuple():
            return f"[{', '.join(_value(item) for item in value)}]"
    raise TypeError(f"TOML has no type for {type(value).__name__}")


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
