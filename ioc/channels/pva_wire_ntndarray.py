"""NTNDArray as pvAccess describes it, what of it a client selected, and which bits stand for its fields.

The fields are those of `ntndarray.TYPE`, in its order. A client that selects fields is answered with a structure of
those only; `value`, `dimension` and `attribute` can be selected as a whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ioc.channels import pva_wire_mask
from ioc.channels.pva_wire_types import (
    ANY,
    ARRAY,
    BOOLEAN,
    DOUBLE,
    INT,
    LONG,
    SCALARS,
    STRING,
    STRUCTURE,
    UNION,
    Type,
    array_of,
    structure,
)
from ioc.core.errors import RefusedError, mismatch
from ioc.core.frame import DataType

_MEMBERS = ("boolean", "byte", "short", "int", "long", "ubyte", "ushort", "uint", "ulong", "float", "double")
_INTEGERS = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
SELECTORS = {DataType[name]: at for at, name in enumerate((*_INTEGERS, "FLOAT32", "FLOAT64"), 1)}
"""Which member of the union holds pixels of each data type."""
UNION_TYPE = structure(
    "", *((f"{name}Value", Type(code | ARRAY)) for name, code in zip(_MEMBERS, SCALARS, strict=True)), code=UNION
)
_TIME = structure("time_t", ("secondsPastEpoch", Type(LONG)), ("nanoseconds", Type(INT)), ("userTag", Type(INT)))
_ALARM = structure("alarm_t", ("severity", Type(INT)), ("status", Type(INT)), ("message", Type(STRING)))
_CODEC = structure("codec_t", ("name", Type(STRING)), ("parameters", Type(ANY)))
_DIMENSION = structure(
    "dimension_t",
    *((name, Type(INT)) for name in ("size", "offset", "fullSize", "binning")),
    ("reverse", Type(BOOLEAN)),
)
_ATTRIBUTE = structure(
    "epics:nt/NTAttribute:1.0",
    *(("name", Type(STRING)), ("value", Type(ANY)), ("descriptor", Type(STRING))),
    *(("sourceType", Type(INT)), ("source", Type(STRING))),
)
_DISPLAY = structure(
    "display_t",
    *(("limitLow", Type(DOUBLE)), ("limitHigh", Type(DOUBLE))),
    *((name, Type(STRING)) for name in ("description", "format", "units")),
)
TYPE = structure(
    "epics:nt/NTNDArray:1.0",
    ("value", UNION_TYPE),
    ("codec", _CODEC),
    ("compressedSize", Type(LONG)),
    ("uncompressedSize", Type(LONG)),
    ("dimension", array_of(_DIMENSION)),
    ("uniqueId", Type(INT)),
    ("dataTimeStamp", _TIME),
    ("attribute", array_of(_ATTRIBUTE)),
    ("descriptor", Type(STRING)),
    ("alarm", _ALARM),
    ("timeStamp", _TIME),
    ("display", _DISPLAY),
)
CONSTANT = ("descriptor", "alarm", "display")
"""Fields that no frame changes."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a client sees of an image: the type, its leaves by dotted name, and among them those that change.

    `mask` is the encoded bit set of those. `pixels`: whether the pixels are among the leaves; they come first then.
    """

    type: Type
    leaves: tuple[str, ...]
    changing: tuple[str, ...]
    mask: bytes
    pixels: bool


def select(fields: Sequence[str] = ()) -> Selection:
    """Return the selection of dotted field names; none of them: everything.

    Raises:
        RefusedError: there are names, and none of them is a field.
    """
    kind = _reduced(TYPE, tuple(fields)) if fields else TYPE
    if kind is None:
        known = ", ".join(name for name, _ in TYPE.members)
        raise RefusedError(mismatch("request, field", f"one of {known}", ", ".join(fields)[:80]))
    leaves = tuple(_leaves(kind))
    changing = [(bit, name) for bit, name in leaves if name.partition(".")[0] not in CONSTANT]
    return Selection(
        kind,
        tuple(name for _, name in leaves),
        tuple(name for _, name in changing),
        pva_wire_mask.encode(sum(1 << bit for bit, _ in changing)),
        leaves[0][1] == "value",
    )


def type_of(field: str) -> Type | None:
    """Return the type of a field by its dotted name (empty: of the image), None if there is none."""
    kind = TYPE
    for name in filter(None, field.split(".")):
        inner = dict(kind.members).get(name) if kind.code in (STRUCTURE, UNION) else None
        if inner is None:
            return None
        kind = inner
    return kind


def _reduced(kind: Type, fields: tuple[str, ...]) -> Type | None:
    """Return a structure with only the selected members; None if none of them is there."""
    members = []
    for name, member in kind.members:
        deeper = tuple(field.removeprefix(f"{name}.") for field in fields if field.startswith(f"{name}."))
        whole = name in fields or (bool(deeper) and member.code != STRUCTURE)
        inner = member if whole else _reduced(member, deeper) if deeper else None
        if inner is not None:
            members.append((name, inner))
    return structure(kind.id, *members) if members else None


def _leaves(kind: Type, prefix: str = "", bit: int = 1) -> Iterator[tuple[int, str]]:
    """Yield bit and dotted name of every field that is no structure."""
    for name, member in kind.members:
        if member.code == STRUCTURE:
            yield from _leaves(member, f"{prefix}{name}.", bit + 1)
            bit += member.nodes
        else:
            yield bit, f"{prefix}{name}"
            bit += 1
