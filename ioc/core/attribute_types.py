"""Of which type an NDAttribute is, where whoever defined it said so: readers of files are told before the first frame.

It travels with the frame as one attribute, JSON of names and types. Types are NumPy's, as areaDetector's file writer
has them; what has none is of the type of its first value.
"""

import json
from collections.abc import Mapping
from functools import lru_cache

from ioc.core.frame import Attribute

NAME = "RayfanTypes"
LONGEST_NOTE = 16_384
"""Characters."""
TEXT = "S"
DATATYPES = {"INT": "i4", "INT64": "i8", "DOUBLE": "f8", "STRING": TEXT}
"""By the `datatype` of CONST and PARAM attributes (ADCore, NDAttributes XML)."""
DBR_TYPES = {
    "DBR_CHAR": "i1",
    "DBR_SHORT": "i2",
    "DBR_INT": "i4",
    "DBR_LONG": "i4",
    "DBR_FLOAT": "f4",
    "DBR_DOUBLE": "f8",
    "DBR_STRING": TEXT,
}
"""By the `dbrtype` of EPICS_PV attributes; enums come as texts, so DBR_ENUM says nothing here."""
KNOWN = frozenset((*DATATYPES.values(), *DBR_TYPES.values()))


def note(types: Mapping[str, str]) -> dict[str, Attribute]:
    """Return the attribute that says of which type others are; none if nothing is said."""
    return {NAME: json.dumps(dict(types))} if types else {}


def types_of(attributes: Mapping[str, Attribute]) -> Mapping[str, str]:
    """Return the types by name; a note that cannot be tells nothing."""
    found = attributes.get(NAME)
    return _parsed(found) if isinstance(found, str) else {}


def joined(attributes: Mapping[str, Attribute], more: Mapping[str, Attribute]) -> dict[str, Attribute]:
    """Return attributes with others added, whose notes of types are put together."""
    types = {**types_of(attributes), **types_of(more)}
    return {**attributes, **more, **note(types)}


def without_types(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    """Return the attributes without the note."""
    return {name: value for name, value in attributes.items() if name != NAME}


@lru_cache(maxsize=64)
def _parsed(text: str) -> Mapping[str, str]:
    if len(text) > LONGEST_NOTE:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or any(kind not in KNOWN for kind in found.values() if isinstance(kind, str)):
        return {}
    return found if all(isinstance(kind, str) for kind in found.values()) else {}
