"""Says who put what: one line for each put of a client that the access rules let through, in one file an appliance.

    2026-11-21T16:04:04.123Z operator ws1.beamline RF:cam1:FrameRate new=500.0 old=1000.0

EPICS calls a listener before and after each put to which a rule with TRAPWRITE applies (asTrapWrite.h), in the thread
of the server, which must not wait. So the listener reads the value, and a thread writes the lines. What is put over
Channel Access is known beforehand; over pvAccess it is read after the put. A put-callback has its line at its start
where that is known: an acquisition may last for hours. A put that is refused has a second line that says so.
"""

import ctypes
import fcntl
import logging
import os
import queue
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from epicscorelibs.ioc import Com, dbCore

from ioc.records.table import SHORT_STRING, Kind, Record

log = logging.getLogger(__name__)

MOST_BYTES = 10_000_000
"""Size at which a file of puts is set aside as `.1`; the one set aside before it is dropped."""
MOST_WAITING = 10_000
"""Lines that may wait to be written; more are counted, and the count is written."""
LONGEST_TEXT = 256
"""Characters of a value that are written."""
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
        self._lines: queue.Queue[str | None] = queue.Queue(MOST_WAITING)
        self._unwritten = 0
        self._pending: dict[int, tuple[str, str, str]] = {}
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
        self._add(f"{_now()} - - {self._prefix}{name} refused: {_one_line(why)}")

    def refused_to(self, who: tuple[str, str], name: str, why: str) -> None:
        """Write that a put of user and host `who` to `name`, with prefix, was refused."""
        user, host = (_word(one.encode()) for one in who)
        self._add(f"{_now()} {user} {host} {_one_line(name)} refused: {_one_line(why)}")

    def close(self) -> None:
        """Write what waits, and end."""
        if self._registration is not None:
            _unregister(self._registration)
            self._registration = None
        if self._thread.is_alive():
            self._lines.put(None)
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
        name = message.channel.contents.name.decode(errors="replace")
        who = f"{_now()} {_word(message.userid)} {_word(message.hostid)} {name}"
        old = self._read(message, name)
        new = self._decode(message, name)
        if new is not None:
            self._add(f"{who} new={new} old={old}")
            return
        self._last_key += 1
        message.private = self._last_key
        self._pending[self._last_key] = (who, name, old)

    def _after(self, message: _Message) -> None:
        told = self._pending.pop(message.private or 0, None)
        if told is not None:
            who, name, old = told
            self._add(f"{who} new={self._read(message, name)} old={old}")

    def _read(self, message: _Message, name: str) -> str:
        """Return the value that the field has now."""
        kind, size = self._type_of(name)
        buffer = ctypes.create_string_buffer(size)
        count = ctypes.c_long(1 if kind != _DBF_CHAR else size)
        if _get_field(message.channel, kind, buffer, None, ctypes.byref(count), None):
            return "?"
        if kind == _DBF_DOUBLE:
            return repr(ctypes.c_double.from_buffer(buffer).value)
        return _quoted(buffer.raw)

    def _decode(self, message: _Message, name: str) -> str | None:
        """Return what is put as far as the message has it; None if that has to be read afterwards."""
        if not message.data or message.elements < 1:
            return None
        if message.dbr_type == _CA_STRING:
            return _quoted(ctypes.string_at(message.data, SHORT_STRING))
        if message.dbr_type == _CA_CHAR and self._type_of(name)[0] != _DBF_DOUBLE:
            return _quoted(ctypes.string_at(message.data, min(message.elements, LONGEST_TEXT)))
        c_type = _CA_NUMBERS.get(message.dbr_type)
        if c_type is None:
            return None
        number = c_type.from_address(message.data).value
        record = self._kinds.get(name.removesuffix(".VAL"))
        if record is None or number != int(number):
            return repr(number)
        choices = record.choices or (("No", "Yes") if record.kind is Kind.BOOL else ())
        if 0 <= number < len(choices):
            return _quoted(choices[int(number)].encode())
        return repr(float(number) if record.kind is Kind.FLOAT else int(number))

    def _type_of(self, name: str) -> tuple[int, int]:
        if name.endswith("$"):
            return _DBF_CHAR, LONGEST_TEXT
        record = self._kinds.get(name.removesuffix(".VAL"))
        if record is not None and record.kind is Kind.FLOAT:
            return _DBF_DOUBLE, 8
        if record is not None and record.kind is Kind.STRING and record.size > SHORT_STRING:
            return _DBF_CHAR, LONGEST_TEXT
        return _DBF_STRING, SHORT_STRING

    def _add(self, line: str) -> None:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._unwritten += 1

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            lines = [line]
            while len(lines) < MOST_WAITING and not self._lines.empty():
                more = self._lines.get()
                if more is None:
                    self._lines.put(None)
                    break
                lines.append(more)
            if self._unwritten:
                lines.append(f"{_now()} - - {self._prefix} {self._unwritten} puts were not written: too many at a time")
                self._unwritten = 0
            try:
                append(self._path, "".join(f"{one}\n" for one in lines))
            except OSError as error:
                log.error("%s: %d puts were not written: %s", self._path, len(lines), error)


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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _word(text: bytes | None) -> str:
    return _one_line((text or b"").decode(errors="replace")).replace(" ", "_") or "-"


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:LONGEST_TEXT]


def _quoted(text: bytes) -> str:
    """Return a text as one line; in quotation marks if it would be mistaken for more than one word."""
    plain = _one_line(text.split(b"\0", 1)[0].decode(errors="replace"))
    return plain if plain and " " not in plain and '"' not in plain else f'"{plain}"'
