"""The pickles that PvaPy sends over EJFAT, read as plain data; no unpickler: nothing is imported, called or built.

How it works: a small stack machine knows the opcodes of pickle protocols 3 to 5 that PvaPy's objects are written with,
and the few names in `Name`. What a pickle would call becomes a `Made`: a name and its arguments, which `pvapy_frames`
looks at. Bytes stay views of what was received.

Rules
- Any other opcode or name, a step beyond `MOST_STEPS`, a text beyond `LONGEST_TEXT` and bytes that end early are one
  ProtocolError.
- Keys are text. Integers have 64 bits.
- A list may hold itself, so nothing here or in `pvapy_frames` follows containers to any depth.

Source: Lib/pickletools.py of Python, which describes every opcode.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ioc.core.errors import ProtocolError, mismatch

MOST_STEPS = 200_000
"""Opcodes of a pickle; an image with 1000 attributes takes about 60 000."""
LONGEST_TEXT = 65_536
LEAST_PROTOCOL, MOST_PROTOCOL = 3, 5
MAGIC = 0x80
"""The first byte: opcode PROTO."""

_WHERE = "PvaPy payload"


class Name(Enum):
    """What a pickle of PvaPy may name; the value is module and name."""

    PV_OBJECT = ("pvaccess.pvaccess", "PvObject")
    NT_ND_ARRAY = ("pvaccess.pvaccess", "NtNdArray")
    SCALAR_TYPE = ("pvaccess.pvaccess", "ScalarType")
    ARRAY = ("numpy", "ndarray")
    DTYPE = ("numpy", "dtype")
    RECONSTRUCT = ("numpy._core.multiarray", "_reconstruct")
    FROM_BUFFER = ("numpy._core.numeric", "_frombuffer")


_NAMES = {name.value: name for name in Name} | {
    ("numpy.core.multiarray", "_reconstruct"): Name.RECONSTRUCT,  # NumPy 1
    ("numpy.core.numeric", "_frombuffer"): Name.FROM_BUFFER,
}


@dataclass(slots=True, eq=False)
class Made:
    """What a pickle would have made by calling `name` with `arguments`, and what it would have set it to."""

    name: Name
    arguments: tuple[Any, ...]
    state: Any = None


Value = Any
"""None, bool, int, float, str, memoryview, list, dict of str, tuple, Name or Made."""


def read(payload: memoryview) -> Value:
    """Return what a pickle holds; its bytes are views of `payload`.

    Raises:
        ProtocolError: it holds something that PvaPy's objects do not, or is broken.
    """
    return _Machine(payload).run()


class _Machine:
    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._at = 0
        self._stack: list[Value] = []
        self._marks: list[int] = []
        self._memo: dict[int, Value] = {}

    def run(self) -> Value:
        for _ in range(MOST_STEPS):
            code = self._byte()
            if code == _STOP:
                return self._pop()
            step = _STEPS.get(code)
            if step is None:
                raise ProtocolError(mismatch(_WHERE, "an opcode of PvaPy's objects", f"{code:#04x}"))
            step(self)
        raise ProtocolError(mismatch(_WHERE, f"at most {MOST_STEPS} opcodes", "more"))

    # bytes

    def _take(self, size: int) -> memoryview:
        start, self._at = self._at, self._at + size
        if self._at > len(self._view):
            raise ProtocolError(mismatch(_WHERE, f"{size} bytes at byte {start}", len(self._view) - start))
        return self._view[start : self._at]

    def _byte(self) -> int:
        return self._take(1)[0]

    def _number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "little")

    def _line(self) -> str:
        """Return text up to a line end, as opcode GLOBAL has it."""
        found = bytes(self._view[self._at : self._at + 256])
        end = found.find(b"\n")
        if end < 0:
            raise ProtocolError(mismatch(_WHERE, "a name of at most 255 bytes", "a longer one"))
        return _text(self._take(end + 1)[:-1])

    # stack

    def _pop(self) -> Value:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise ProtocolError(mismatch(_WHERE, "a value on the stack", "none"))
        return self._stack.pop()

    def _pop_last(self, count: int) -> list[Value]:
        found = [self._pop() for _ in range(count)]
        return found[::-1]

    def _pop_marked(self) -> list[Value]:
        if not self._marks:
            raise ProtocolError(mismatch(_WHERE, "a mark on the stack", "none"))
        mark = self._marks.pop()
        found = self._stack[mark:]
        del self._stack[mark:]
        return found

    def _top(self, kind: type) -> Value:
        """Return the value on top, which an opcode adds to."""
        found = self._pop()
        self._stack.append(found)
        if type(found) is not kind:
            raise ProtocolError(mismatch(_WHERE, f"a {kind.__name__} to add to", type(found).__name__))
        return found

    # opcodes

    def protocol(self) -> None:
        found = self._byte()
        if not LEAST_PROTOCOL <= found <= MOST_PROTOCOL:
            raise ProtocolError(mismatch(_WHERE, f"pickle protocol {LEAST_PROTOCOL} to {MOST_PROTOCOL}", found))

    def frame(self) -> None:
        size = self._number(8)
        if size > len(self._view) - self._at:
            raise ProtocolError(mismatch(_WHERE, f"a frame of {len(self._view) - self._at} bytes at most", size))

    def mark(self) -> None:
        self._marks.append(len(self._stack))

    def push(self, value: Value) -> None:
        self._stack.append(value)

    def unsigned(self, size: int) -> None:
        self._stack.append(self._number(size))

    def signed(self, size: int) -> None:
        if size > 8:
            raise ProtocolError(mismatch(_WHERE, "an integer of 64 bits", f"one of {size} bytes"))
        self._stack.append(int.from_bytes(self._take(size), "little", signed=True))

    def long(self) -> None:
        """Opcode LONG1; 2**63 and more take nine bytes."""
        size = self._byte()
        if size == 9 and self._view[self._at + 8 : self._at + 9] == b"\0":
            self.unsigned(8)
            self._take(1)
        else:
            self.signed(size)

    def real(self) -> None:
        self._stack.append(struct.unpack(">d", self._take(8))[0])

    def text(self, width: int) -> None:
        size = self._number(width)
        if size > LONGEST_TEXT:
            raise ProtocolError(mismatch(_WHERE, f"a text of at most {LONGEST_TEXT} bytes", size))
        self._stack.append(_text(self._take(size)))

    def content(self, width: int) -> None:
        self._stack.append(self._take(self._number(width)))

    def tuple_of(self, count: int) -> None:
        self._stack.append(tuple(self._pop_last(count)))

    def tuple_marked(self) -> None:
        found = self._pop_marked()
        self._stack.append(tuple(found))

    def append(self) -> None:
        value = self._pop()
        self._top(list).append(value)

    def extend(self) -> None:
        values = self._pop_marked()
        self._top(list).extend(values)

    def set_item(self) -> None:
        values = self._pop_last(2)
        self._update(values)

    def set_items(self) -> None:
        self._update(self._pop_marked())

    def _update(self, values: list[Value]) -> None:
        target = self._top(dict)
        if len(values) % 2 or any(type(key) is not str for key in values[::2]):
            raise ProtocolError(mismatch(_WHERE, "keys that are text, and their values", "others"))
        target.update(zip(values[::2], values[1::2], strict=True))

    def memoize(self) -> None:
        self._put(len(self._memo))

    def put(self, width: int) -> None:
        self._put(self._number(width))

    def _put(self, key: int) -> None:
        value = self._pop()
        self._stack.append(value)
        self._memo[key] = value

    def get(self, width: int) -> None:
        key = self._number(width)
        if key not in self._memo:
            raise ProtocolError(mismatch(_WHERE, "a value that was met before", key))
        self._stack.append(self._memo[key])

    def global_line(self) -> None:
        module = self._line()
        self._global(module, self._line())

    def global_stack(self) -> None:
        module, name = self._pop_last(2)
        self._global(module, name)

    def _global(self, module: Value, name: Value) -> None:
        if type(module) is not str or type(name) is not str:
            raise ProtocolError(mismatch(_WHERE, "a name that is text", type(name).__name__))
        known = _NAMES.get((module, name))
        if known is None:
            raise ProtocolError(mismatch(_WHERE, "a name of PvaPy or NumPy that holds data", f"{module}.{name}"[:80]))
        self._stack.append(known)

    def reduce(self) -> None:
        name, arguments = self._pop_last(2)
        if not isinstance(name, Name) or type(arguments) is not tuple:
            raise ProtocolError(mismatch(_WHERE, "a name and its arguments", type(name).__name__))
        self._stack.append(Made(name, arguments))

    def build(self) -> None:
        state = self._pop()
        self._top(Made).state = state


def _text(found: memoryview) -> str:
    try:
        return str(found, "utf-8")
    except UnicodeDecodeError:
        raise ProtocolError(mismatch(_WHERE, "UTF-8", bytes(found[:20]).hex())) from None


_STOP = ord(".")
_STEPS: dict[int, Callable[[_Machine], None]] = {
    MAGIC: _Machine.protocol,
    0x95: _Machine.frame,
    ord("("): _Machine.mark,
    ord("}"): lambda machine: machine.push({}),
    ord("]"): lambda machine: machine.push([]),
    ord(")"): lambda machine: machine.push(()),
    ord("N"): lambda machine: machine.push(None),
    0x88: lambda machine: machine.push(True),
    0x89: lambda machine: machine.push(False),
    ord("K"): lambda machine: machine.unsigned(1),
    ord("M"): lambda machine: machine.unsigned(2),
    ord("J"): lambda machine: machine.signed(4),
    0x8A: _Machine.long,
    ord("G"): _Machine.real,
    0x8C: lambda machine: machine.text(1),
    ord("X"): lambda machine: machine.text(4),
    0x8D: lambda machine: machine.text(8),
    ord("C"): lambda machine: machine.content(1),
    ord("B"): lambda machine: machine.content(4),
    0x8E: lambda machine: machine.content(8),
    0x96: lambda machine: machine.content(8),
    ord("t"): _Machine.tuple_marked,
    0x85: lambda machine: machine.tuple_of(1),
    0x86: lambda machine: machine.tuple_of(2),
    0x87: lambda machine: machine.tuple_of(3),
    ord("a"): _Machine.append,
    ord("e"): _Machine.extend,
    ord("s"): _Machine.set_item,
    ord("u"): _Machine.set_items,
    0x94: _Machine.memoize,
    ord("q"): lambda machine: machine.put(1),
    ord("r"): lambda machine: machine.put(4),
    ord("h"): lambda machine: machine.get(1),
    ord("j"): lambda machine: machine.get(4),
    0x93: _Machine.global_stack,
    ord("c"): _Machine.global_line,
    ord("R"): _Machine.reduce,
    0x81: _Machine.reduce,  # NEWOBJ, as enumerations are written: a class and its arguments
    ord("b"): _Machine.build,
}
"""What each opcode does, by its byte."""
