"""What clients of PVWS send: one JSON object a text frame; parsed here, taken or refused with one error.

Source: ornl-epics/pvws, its README and pvws.js. `token` is ours: it opens a connection for writing.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from ioc.core.errors import ProtocolError, RefusedError, mismatch

LONGEST_MESSAGE = 65_536
"""Characters of a message."""
MOST_NAMES = 2000
"""PVs that one connection may watch."""
LONGEST_NAME = 100
LONGEST_VALUE = 8192
"""Characters of a value that is written."""
IMAGES = ":Image"
"""What the names of channels end with that carry images."""
SCHEMES = ("pva://", "ca://")
"""What may stand before a name; the records of an appliance are the same over both."""
_NAME = re.compile(r"[A-Za-z0-9_\-:\[\]<>;{}.$+]+")


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Watch these PVs, named as the client names them."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Clear:
    """Watch these PVs no more."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """Put a value to a PV that is watched."""

    name: str
    value: float | str


@dataclass(frozen=True, slots=True)
class ListNames:
    """Tell which PVs are watched."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Show that the connection lives."""


@dataclass(frozen=True, slots=True)
class Echo:
    """Send this very text back."""

    text: str


@dataclass(frozen=True, slots=True)
class Token:
    """Open the connection for writing."""

    token: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something of another protocol; it is passed over."""

    kind: str


Message = Subscribe | Clear | Write | ListNames | Ping | Echo | Token | Unknown


def parse(text: str) -> Message:
    """Return the message that a text frame holds.

    Raises:
        ProtocolError: it is none, or too long.
    """
    if len(text) > LONGEST_MESSAGE:
        raise ProtocolError(mismatch("message", f"at most {LONGEST_MESSAGE} characters", len(text)))
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        raise ProtocolError(mismatch("message", "a JSON object", text[:80])) from None
    if not isinstance(told, dict) or not isinstance(told.get("type"), str):
        raise ProtocolError(mismatch("message", "a JSON object with a type", text[:80]))
    kind = told["type"]
    if kind in ("subscribe", "monitor"):
        return Subscribe(_names(told))
    if kind == "clear":
        return Clear(_names(told))
    if kind == "write":
        return Write(_text(told, "pv", LONGEST_NAME), _value(told.get("value")))
    if kind == "token":
        return Token(_text(told, "token", LONGEST_NAME * 4))
    if kind == "echo":
        return Echo(text)
    return {"list": ListNames(), "ping": Ping()}.get(kind) or Unknown(kind[:40])


def pv_of(name: str, prefix: str) -> str:
    """Return the PV that a client means, without what stands before its name.

    Raises:
        RefusedError: it is not the appliance's, no name of a PV, or a channel of images.
    """
    plain = next((name.removeprefix(scheme) for scheme in SCHEMES if name.startswith(scheme)), name)
    if not plain.startswith(prefix) or not _NAME.fullmatch(plain) or len(plain) > LONGEST_NAME:
        raise RefusedError(mismatch(name[:LONGEST_NAME], f"a PV whose name begins with {prefix}", plain[:40]))
    if plain.endswith(IMAGES):
        raise RefusedError(f"{plain}: images are not sent as values; ask for /api/image")
    return plain


def _names(told: dict[str, Any]) -> tuple[str, ...]:
    names = told.get("pvs")
    if not isinstance(names, list) or len(names) > MOST_NAMES:
        raise ProtocolError(mismatch("pvs", f"a list of at most {MOST_NAMES} names", str(names)[:80]))
    if not all(isinstance(name, str) and 0 < len(name) <= LONGEST_NAME for name in names):
        raise ProtocolError(mismatch("pvs", f"names of 1 to {LONGEST_NAME} characters", str(names)[:80]))
    return tuple(names)


def _text(told: dict[str, Any], key: str, longest: int) -> str:
    text = told.get(key)
    if not isinstance(text, str) or not 0 < len(text) <= longest:
        raise ProtocolError(mismatch(key, f"a text of 1 to {longest} characters", str(text)[:20]))
    return text


def _value(value: Any) -> float | str:
    """Return what is to be put: a number as it is, anything else as its text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise ProtocolError(mismatch("value", "a number that a double can hold", str(value)[:20])) from None
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) > LONGEST_VALUE:
        raise ProtocolError(mismatch("value", f"at most {LONGEST_VALUE} characters", len(text)))
    return text
