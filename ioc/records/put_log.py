"""Says who put what: one line for each put of a client that the access rules let through, in one file an appliance.

    2026-11-21T16:04:04.123Z operator ws1.beamline RF:cam1:FrameRate new=500.0 old=1000.0

EPICS calls a listener before and after each put to which a rule with TRAPWRITE applies (asTrapWrite.h), in the thread
of the server, which must not wait. So the listener only copies what it is told and the value; a thread makes lines of
it, and writes those of a moment at once. What is put over Channel Access is known beforehand; over pvAccess it is read
after the put. A put-callback has its line at its start where that is known: an acquisition may last for hours. A put
that is refused has a second line that says so.
"""

import ctypes
import fcntl
import logging
import os
import queue
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from epicscorelibs.ioc import Com, dbCore

from ioc.records.table import SHORT_STRING, Kind, Record

log = logging.getLogger(__name__)

MOST_BYTES = 10_000_000
"""Size at which a file of puts is set aside as `.1`; the one set aside before it is dropped."""
MOST_WAITING = 10_000
"""Lines that may wait to be written; more are counted, and the count is written."""
LONGEST_TEXT = 256
"""Characters of a value that are written."""
GATHER_SECONDS = 0.2
"""s that lines may wait for others, so that many puts cost few writes."""
WRITE_TIMEOUT = 5.0
"""s that `close` waits for the thread."""

_DBF_STRING, _DBF_CHAR, _DBF_DOUBLE = 0, 1, 10
"""Type codes of the database (dbFldTypes.h), in which values are read."""
_CA_STRING, _CA_CHAR = 0, 4
_CA_NUMBERS = {1: ctypes.c_int16, 2: ctypes.c_float, 3: ctypes.c_uint16, 5: ctypes.c_int32, 6: ctypes.c_double}
"""Type codes of Channel Access (db_access.h), in which what is put comes with the message."""


class _Channel(ctypes.Structure):
    """The beginning of EPICS base's dbChannel."""

    _fields_ = (("name", ctypes.c_char_p),)


class _Message(ctypes.Structure):
    """EPICS base's asTrapWriteMessage."""

    _fields_ = (
        ("userid", ctypes.c_char_p),
        ("hostid", ctypes.c_char_p),
        ("channel", ctypes.POINTER(_Channel)),
        ("private", ctypes.c_void_p),
        ("dbr_type", ctypes.c_int),
        ("elements", ctypes.c_int),
        ("data", ctypes.c_void_p),
    )


Raw = bytes | int | float
"""A value as it was copied: a number, or what EPICS has as text."""


class _Heard(NamedTuple):
    """A put as the listener copied it: user, host, `channel` as EPICS names them; `new` None: not known yet."""

    at_ns: int
    user: bytes | None
    host: bytes | None
    channel: bytes
    old: Raw | None
    new: Raw | None


_Listener = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Message), ctypes.c_int)

_register = Com.asTrapWriteRegisterListener
_register.argtypes, _register.restype = (_Listener,), ctypes.c_void_p
_unregister = Com.asTrapWriteUnregisterListener
_unregister.argtypes, _unregister.restype = (ctypes.c_void_p,), None
_get_field = dbCore.dbChannelGetField
_get_field.argtypes = (
    ctypes.POINTER(_Channel),
    ctypes.c_short,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_long),
    ctypes.c_void_p,
)


class PutLog:
    """Listens to the puts of one process's IOC, from `start` to `close`."""

    def __init__(self, path: Path, prefix: str, records: Iterable[Record]) -> None:
        """Write to `path`, to which other processes may write, too."""
        self._path = path
        self._prefix = prefix
        self._kinds = {prefix + record.demand: record for record in records if record.demand is not None}
        self._types: dict[bytes, tuple[int, int]] = {}
        self._waiting: queue.SimpleQueue[_Heard | str | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._unwritten = 0
        self._pending: dict[int, _Heard] = {}
        self._last_key = 0
        self._thread = threading.Thread(target=self._run, name="put-log", daemon=True)
        self._listener = _Listener(self._heard)
        self._registration: int | None = None

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()
        self._registration = _register(self._listener)

    def refused(self, name: str, why: str) -> None:
        """Write that a put to the record `name`, without prefix, was refused."""
        self._add(f"{_time(time.time_ns())} - - {self._prefix}{name} refused: {_one_line(why)}")

    def refused_to(self, who: tuple[str, str], name: str, why: str) -> None:
        """Write that a put of user and host `who` to `name`, with prefix, was refused."""
        user, host = (_word(one.encode()) for one in who)
        self._add(f"{_time(time.time_ns())} {user} {host} {_one_line(name)} refused: {_one_line(why)}")

    def close(self) -> None:
        """Write what waits, and end."""
        if self._registration is not None:
            _unregister(self._registration)
            self._registration = None
        if self._thread.is_alive():
            self._waiting.put(None)
            self._closing.set()
            self._thread.join(WRITE_TIMEOUT)

    def _heard(self, message: "ctypes._Pointer[_Message]", after: int) -> None:
        try:
            if after:
                self._after(message.contents)
            else:
                self._before(message.contents)
        except Exception:  # boundary to C: nothing may escape
            log.exception("a put was not logged")

    def _before(self, message: _Message) -> None:
        channel = message.channel.contents.name
        old, new = self._read(message, channel), self._put(message, channel)
        heard = _Heard(time.time_ns(), message.userid, message.hostid, channel, old, new)
        if new is not None:
            self._add(heard)
            return
        self._last_key += 1
        message.private = self._last_key
        self._pending[self._last_key] = heard

    def _after(self, message: _Message) -> None:
        heard = self._pending.pop(message.private or 0, None)
        if heard is not None:
            self._add(heard._replace(new=self._read(message, heard.channel)))

    def _read(self, message: _Message, channel: bytes) -> Raw | None:
        """Return the value that the field has now; None if it cannot be read."""
        kind, size = self._type_of(channel)
        buffer = ctypes.create_string_buffer(size)
        count = ctypes.c_long(1 if kind != _DBF_CHAR else size)
        if _get_field(message.channel, kind, buffer, None, ctypes.byref(count), None):
            return None
        return ctypes.c_double.from_buffer(buffer).value if kind == _DBF_DOUBLE else buffer.raw

    def _put(self, message: _Message, channel: bytes) -> Raw | None:
        """Return what is put as far as the message has it; None if that has to be read afterwards."""
        if not message.data or message.elements < 1:
            return None
        if message.dbr_type == _CA_STRING:
            return ctypes.string_at(message.data, SHORT_STRING)
        if message.dbr_type == _CA_CHAR and self._type_of(channel)[0] != _DBF_DOUBLE:
            return ctypes.string_at(message.data, min(message.elements, LONGEST_TEXT))
        c_type = _CA_NUMBERS.get(message.dbr_type)
        return None if c_type is None else c_type.from_address(message.data).value

    def _line(self, heard: _Heard) -> str:
        name = heard.channel.decode(errors="replace")
        who = f"{_time(heard.at_ns)} {_word(heard.user)} {_word(heard.host)} {name}"
        return f"{who} new={self._words(name, heard.new)} old={self._words(name, heard.old)}"

    def _words(self, name: str, value: Raw | None) -> str:
        if value is None:
            return "?"
        if isinstance(value, bytes):
            return _quoted(value)
        record = self._kinds.get(name.removesuffix(".VAL"))
        if record is None or not float(value).is_integer():
            return repr(value)
        choices = record.choices or (("No", "Yes") if record.kind is Kind.BOOL else ())
        if 0 <= value < len(choices):
            return _quoted(choices[int(value)].encode())
        return repr(float(value) if record.kind is Kind.FLOAT else int(value))

    def _type_of(self, channel: bytes) -> tuple[int, int]:
        found = self._types.get(channel)
        if found is None:
            found = self._types[channel] = self._look_up(channel.decode(errors="replace"))
        return found

    def _look_up(self, name: str) -> tuple[int, int]:
        if name.endswith("$"):
            return _DBF_CHAR, LONGEST_TEXT
        record = self._kinds.get(name.removesuffix(".VAL"))
        if record is not None and record.kind is Kind.FLOAT:
            return _DBF_DOUBLE, 8
        if record is not None and record.kind is Kind.STRING and record.size > SHORT_STRING:
            return _DBF_CHAR, LONGEST_TEXT
        return _DBF_STRING, SHORT_STRING

    def _add(self, what: _Heard | str) -> None:
        if self._waiting.qsize() < MOST_WAITING:
            self._waiting.put(what)
        else:
            self._unwritten += 1

    def _run(self) -> None:
        """Write what was heard until `close`; wait for the first put, then a moment for more of them."""
        going_on = True
        while going_on:
            heard = [self._waiting.get()]
            self._closing.wait(GATHER_SECONDS)
            heard += [self._waiting.get() for _ in range(self._waiting.qsize())]
            going_on = None not in heard
            self._write([one if isinstance(one, str) else self._line(one) for one in heard if one is not None])

    def _write(self, lines: list[str]) -> None:
        if not lines:
            return
        puts, unwritten = len(lines), self._unwritten
        if unwritten:
            now = _time(time.time_ns())
            lines.append(f"{now} - - {self._prefix} {unwritten} puts were not written: no room for them")
        try:
            append(self._path, "".join(f"{one}\n" for one in lines))
            self._unwritten -= unwritten
        except OSError as error:
            self._unwritten += puts
            log.error("%s: %d puts were not written: %s", self._path, len(lines), error)


@dataclass(frozen=True, slots=True)
class Put:
    """A put that somebody else's client asked us to do: what it was for, and the value before, as words for the log."""

    name: str
    new: str
    old: str


def line_of(user: str, host: str, put: Put, refusal: str = "") -> str:
    """Return the line of a put, or of one that was refused, for `append`."""
    who = f"{_time(time.time_ns())} {_word(user.encode())} {_word(host.encode())} {put.name}"
    if refusal:
        return f"{who} refused: {_one_line(refusal)}\n"
    return f"{who} new={_quoted(put.new.encode())} old={_quoted(put.old.encode())}\n"


def append(path: Path, text: str) -> None:
    """Append lines to a file that several processes write to, and set it aside when it is large.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
            again = path  # another process has set it aside meanwhile
        else:
            file.write(text.encode())
            if file.tell() > MOST_BYTES:
                path.replace(path.with_name(path.name + ".1"))
            return
    append(again, text)


def _time(at_ns: int) -> str:
    moment = datetime.fromtimestamp(at_ns / 1e9, UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _word(text: bytes | None) -> str:
    return _one_line((text or b"").decode(errors="replace")).replace(" ", "_") or "-"


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:LONGEST_TEXT]


def _quoted(text: bytes) -> str:
    """Return a text as one line; in quotation marks if it would be mistaken for more than one word."""
    plain = _one_line(text.split(b"\0", 1)[0].decode(errors="replace"))
    return plain if plain and " " not in plain and '"' not in plain else f'"{plain}"'
