"""What processors there are and what each declares, for people and, as JSON, for programs."""

import ast
import importlib.util
import json
from pathlib import Path
from typing import Any

from consumers.loading import EXTRAS, bundled, load_processor
from consumers.processor import Processor, Setting, Statistic
from ioc.columns import fit

NEEDS = {"compress": "lz4", "crypto": "cryptography", "pyfai": "pyFAI", "ml": "onnxruntime"}
"""A package of each extra, by which it is seen whether the extra is installed."""
WORDS = 34
"""Columns that type, default and limits have in a table; what needs more moves its description."""


def listing() -> list[dict[str, str]]:
    """Return name and first line of every processor that comes with Rayfan, and the extra that is missing, if any."""
    return [{"name": name, "about": _about(name), "missing": _missing(name)} for name in bundled()]


def listing_text(columns: int | None = None) -> str:
    """Return the listing as lines for a terminal of so many columns; None: as long as they are."""
    entries = listing()
    width = max(len(entry["name"]) for entry in entries)
    lines = [
        fit(
            f"{entry['name']:{width}}  ",
            entry["about"] + (f"  [needs: pip install 'rayfan[{entry['missing']}]']" if entry["missing"] else ""),
            columns,
        )
        for entry in entries
    ]
    return "\n".join(lines)


def description(reference: str) -> dict[str, Any]:
    """Return what a processor declares.

    Raises:
        ConfigError: there is no such processor, or it does not import.
    """
    kind = load_processor(reference)
    return {
        "processor": reference,
        "class": kind.__name__,
        "about": _first_sentence(kind),
        "batch_size": kind.batch_size,
        "settings": [_setting(one) for one in kind.declared_settings],
        "statistics": [_statistic(one) for one in kind.declared_statistics],
    }


def description_text(reference: str, columns: int | None = None) -> str:
    """Return the description as lines for a terminal of so many columns; None: as long as they are.

    The records are named as those of the first consumer.
    """
    found = description(reference)
    lines = [fit(f"{found['processor']}: ", found["about"], columns)]
    if found["settings"]:
        lines += ["", "Settings (RF:Cons1:Set:NAME, or RF:Cons1:Configure with JSON)"]
        lines += _table([(one["name"], _value_words(one), one["description"]) for one in found["settings"]], columns)
    if found["statistics"]:
        lines += ["", "Statistics (RF:Cons1:Stat:NAME_RBV)"]
        words = [" ".join(filter(None, (one["type"], one["unit"]))) for one in found["statistics"]]
        rows = zip(found["statistics"], words, strict=True)
        lines += _table([(one["name"], word, one["description"]) for one, word in rows], columns)
    defaults = {one["name"]: one["default"] for one in found["settings"]}
    if defaults:
        lines += ["", fit("All settings at their defaults: ", json.dumps(defaults), columns)]
    return "\n".join(lines)


def _table(rows: list[tuple[str, str, str]], columns: int | None) -> list[str]:
    names = max(len(name) for name, _, _ in rows)
    words = min(WORDS, max(len(word) for _, word, _ in rows))
    return [fit(f"  {name:<{names}}  {word:<{words}}  ", about, columns) for name, word, about in rows]


def _value_words(setting: dict[str, Any]) -> str:
    words = [setting["type"], f"= {setting['default']!r}", setting["unit"]]
    if setting["choices"]:
        words.append("|".join(setting["choices"]))
    if setting["low"] is not None or setting["high"] is not None:
        low, high = ("" if limit is None else f"{limit:g}" for limit in (setting["low"], setting["high"]))
        words.append(f"[{low}..{high}]")
    return " ".join(filter(None, words))


def _setting(one: Setting) -> dict[str, Any]:
    return {
        "name": one.name,
        "type": one.type.__name__,
        "default": one.default,
        "unit": one.unit,
        "low": one.low,
        "high": one.high,
        "choices": list(one.choices),
        "description": one.description,
    }


def _statistic(one: Statistic) -> dict[str, Any]:
    return {
        "name": one.name,
        "type": one.type.__name__,
        "unit": one.unit,
        "low": one.low,
        "high": one.high,
        "description": one.description,
    }


def _about(name: str) -> str:
    """Return the first line of a processor's file, without importing it and all that it needs."""
    spec = importlib.util.find_spec(f"consumers.processors.{name}")
    assert spec is not None and spec.origin is not None
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].removeprefix(f"Processor `{name}`: ").rstrip(".")


def _missing(name: str) -> str:
    extra = EXTRAS.get(name, "")
    return extra if extra and importlib.util.find_spec(NEEDS[extra]) is None else ""


def _first_sentence(kind: type[Processor]) -> str:
    own = kind.__doc__ if kind.__doc__ != Processor.__doc__ else ""
    return " ".join((own or kind.__name__).strip().partition("\n\n")[0].split())
