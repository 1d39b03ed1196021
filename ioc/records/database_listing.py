"""What the files of `db/` and devIocStats add to the record tables, as rows of the listing.

Only as much of the EPICS database format is read as these files use: records with quoted fields, aliases, macros with
a value (EPICS Application Developer's Guide, "Database Definition").
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ioc.core.errors import ConfigError, mismatch
from ioc.records.table import Row

_RECORD = re.compile(r'^\s*record\(\s*(\w+)\s*,\s*"([^"]+)"\s*\)\s*\{(.*?)^\s*\}', re.DOTALL | re.MULTILINE)
_FIELD = re.compile(r'field\(\s*(\w+)\s*,\s*"([^"]*)"\s*\)')
_ALIAS = re.compile(r'alias\(\s*"([^"]+)"\s*(?:,\s*"([^"]+)"\s*)?\)')
_INCLUDE = re.compile(r'^substitute "([^"]*)"\s*\ninclude "([^"]+)"', re.MULTILINE)
_KINDS = {"stringin": "string", "waveform": "string", "mbbo": "enum", "mbbi": "enum", "bi": "bool", "bo": "bool"}


def template_rows(path: Path, macros: Mapping[str, str]) -> Iterator[Row]:
    """Yield the records of a database file, aliases behind them.

    Raises:
        ConfigError: it cannot be read, or a macro has no value.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: expected an EPICS database, found: {error.strerror}") from None
    for given, included in _INCLUDE.findall(text):
        more = dict(pair.strip().split("=", 1) for pair in given.split(","))
        yield from template_rows(path.parent / included, {**macros, **more})
    text = re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
    known: dict[str, Row] = {}
    for kind, name, body in _RECORD.findall(text):
        fields = dict(_FIELD.findall(body))
        row = Row(
            name=_expand(name, macros, path),
            kind=_KINDS.get(kind, "float"),
            unit=_expand(fields.get("EGU", ""), macros, path),
            description=_expand(fields.get("DESC", ""), macros, path),
            writable="no",
            limits="",
        )
        known[row.name] = row
        yield row
        for alias, _ in _ALIAS.findall(body):
            yield _called(row, _expand(alias, macros, path))
    for of, alias in _ALIAS.findall(_RECORD.sub("", text)):
        target = known.get(_expand(of, macros, path))
        name = _expand(alias, macros, path)
        yield _called(target, name) if target else Row(name, "", "", f"Alias of {_expand(of, macros, path)}", "no", "")


def _called(row: Row, name: str) -> Row:
    return Row(name, row.kind, row.unit, f"Alias of {row.name}", row.writable, row.limits)


def _expand(text: str, macros: Mapping[str, str], path: Path) -> str:
    def value(found: re.Match[str]) -> str:
        name, _, default = found[1].partition("=")
        if name in macros:
            return macros[name]
        if "=" in found[1]:
            return default
        raise ConfigError(mismatch(f"{path}: macro {name}", "a value", "none"))

    return re.sub(r"\$\(([^)]+)\)", value, text)
