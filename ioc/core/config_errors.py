"""Faults of a configuration as sentences: which key, where it was set, what was expected and what was found."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel


def sentence(fault: Any, where: str, sources: Mapping[str, str], whole: type[BaseModel]) -> str:
    """Return what is wrong with a key; `sources` maps keys to where they were set, `whole` is the configuration."""
    key = ".".join(str(part) for part in fault["loc"])
    place = next((origin for name, origin in sources.items() if name == key or key.startswith(name + ".")), where)
    label = f"{place}: key {key!r}" if key else place
    if fault["type"] == "extra_forbidden":
        return f"{label}: unknown key; expected one of {', '.join(_known(fault['loc'], whole))}"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] in ("value_error", "missing") or fault["input"] is None:
        return f"{label}: {message}"
    expected = message.removeprefix("Input should be ")
    return f"{label}: expected {expected}, found {fault['input']!r}"


def _known(location: tuple[int | str, ...], whole: type[BaseModel]) -> list[str]:
    model: Any = whole
    for part in location[:-1]:
        field = model.model_fields.get(str(part)) if isinstance(model, type) and issubclass(model, BaseModel) else None
        if field is not None:
            model = field.annotation
            args = getattr(model, "__args__", ())
            if args:
                model = args[-1]
    return sorted(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else ["none"]
