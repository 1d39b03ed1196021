"""The reference page of the Python API: what the author of a processor imports, from its docstrings."""

import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import Any

from consumers.batch import Batch
from consumers.processor import Context, Processor, Setting, Statistic
from ioc.core.frame import Frame
from ioc.core.metadata import Metadata, Quality

HEAD = """\
# Python API

Made from the docstrings by `{command}`; do not edit.

What the author of a processor imports. Everything else may change without notice. How to use it:
[write a processor](../how-to/write-a-processor.md).
"""
PUBLIC: tuple[tuple[str, type], ...] = (
    ("consumers.processor", Processor),
    ("consumers.processor", Setting),
    ("consumers.processor", Statistic),
    ("consumers.processor", Context),
    ("ioc.core.frame", Frame),
    ("consumers.batch", Batch),
    ("ioc.core.metadata", Metadata),
    ("ioc.core.metadata", Quality),
)


def api_page(command: str) -> str:
    """Return docs/reference/python-api.md."""
    return "\n".join([HEAD.format(command=command), *("".join(_class(*one)) for one in PUBLIC)])


def _class(module: str, what: type) -> Iterator[str]:
    yield f"## `{what.__name__}`\n\n`from {module} import {what.__name__}`\n\n{_text(what)}\n"
    rows = [*_attributes(what), *_methods(what)]
    if rows:
        yield "\n| | |\n| --- | --- |\n"
        yield from (f"| `{_cell(name)}` | {_cell(text)} |\n" for name, text in rows)


def _attributes(what: type) -> Iterator[tuple[str, str]]:
    texts = _documented(what)
    if dataclasses.is_dataclass(what):
        for field in dataclasses.fields(what):
            if not field.name.startswith("_"):
                yield f"{field.name}: {_words(field.type)}", texts.get(field.name, "")
        return
    for name, annotation in inspect.get_annotations(what).items():
        if not name.startswith("_"):
            yield f"{name}: {_words(annotation)}", texts.get(name, "")


def _methods(what: type) -> Iterator[tuple[str, str]]:
    for name, member in what.__dict__.items():
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            yield name, _text(member)
        elif isinstance(member, classmethod | staticmethod):
            yield f"{what.__name__}.{name}{_arguments(member.__func__)}", _text(member)
        elif inspect.isfunction(member):
            yield f"{name}{_arguments(member)}", _text(member)


def _arguments(function: Any) -> str:
    """Return the names of the arguments: their types read as Python versions please, the docstring says more."""
    names = []
    for one in inspect.signature(function).parameters.values():
        mark = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
        if one.name not in ("self", "cls"):
            names.append(f"{mark}{one.name}")
    return f"({', '.join(names)})"


def _documented(what: type) -> dict[str, str]:
    """Return the texts that stand below the attributes in the source."""
    found = re.findall(r'^    (\w+)(?:: [^\n]*)?\n    """(.*?)"""', inspect.getsource(what), re.MULTILINE | re.DOTALL)
    return {name: " ".join(text.split()) for name, text in found}


def _words(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"[\w.]*\.(?=\w)", "", text).replace("'", "")


def _text(what: Any) -> str:
    return inspect.getdoc(what) or ""


def _cell(text: str) -> str:
    """Return a docstring as one cell of a table."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|")
