"""Expressions of EPICS's calc records, by the calculator of the EPICS libraries themselves (libCom, postfix.h)."""

import ctypes
from collections.abc import Sequence

from epicscorelibs.ioc import Com

from ioc.core.errors import RefusedError, mismatch

MOST_ARGUMENTS = 21
"""Arguments A to U (EPICS base 7, CALCPERFORM_NARGS)."""
LONGEST = 256
"""Bytes of an expression."""
_POSTFIX_PART, _INFIX_PART = 21, 6
"""Bytes of byte code for so many bytes of expression (EPICS base, INFIX_TO_POSTFIX_SIZE)."""

Com.postfix.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_short))
Com.postfix.restype = ctypes.c_long
Com.calcPerform.argtypes = (ctypes.POINTER(ctypes.c_double), ctypes.POINTER(ctypes.c_double), ctypes.c_char_p)
Com.calcPerform.restype = ctypes.c_long
Com.calcErrorStr.argtypes = (ctypes.c_short,)
Com.calcErrorStr.restype = ctypes.c_char_p


class Calc:
    """One expression, compiled."""

    def __init__(self, expression: str) -> None:
        """Compile an expression of EPICS's calc records.

        Raises:
            RefusedError: it is none; the message is that of EPICS.
        """
        infix = expression.encode()
        if len(infix) >= LONGEST or b"\0" in infix:
            raise RefusedError(mismatch("expression", f"a text of at most {LONGEST - 1} bytes", expression))
        self.expression = expression
        self._code = ctypes.create_string_buffer(1 + (len(infix) + 1) * _POSTFIX_PART // _INFIX_PART)
        error = ctypes.c_short()
        if Com.postfix(infix, self._code, ctypes.byref(error)):
            raise RefusedError(mismatch("expression", "one as in calc records", expression, _words(error)))

    def of(self, arguments: Sequence[float]) -> float | None:
        """Return the value for arguments A, B, ...; None if it has none."""
        given = (ctypes.c_double * MOST_ARGUMENTS)(*arguments[:MOST_ARGUMENTS])
        result = ctypes.c_double()
        return None if Com.calcPerform(given, ctypes.byref(result), self._code) else result.value


def _words(error: ctypes.c_short) -> str:
    return Com.calcErrorStr(error).decode(errors="replace")
