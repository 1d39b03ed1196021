"""Puts to records of another IOC over pvAccess with p4p, each complete when the far end has carried it out."""

import threading
from typing import Any

from p4p import Value
from p4p.client.raw import Context

from ioc.core.errors import RefusedError, mismatch

BLOCKING = "field()record[process=true,block=true]"
"""QSRV answers such a put when the record, and what it set off, is done."""
SLICE_SECONDS = 0.05
ENUM_ID = "epics:nt/NTEnum:1.0"
Control = float | int | bool | str


class ControlClient:
    """Puts values to records by name; any thread may use it."""

    def __init__(self) -> None:
        """Prepare; EPICS_PVA_* of the environment say where to search."""
        self._closing = threading.Event()
        self._context = Context("pva", nt=False, useenv=True)

    def put(self, name: str, value: Control, timeout: float | None) -> None:
        """Put a value and wait until it has taken effect, at most `timeout` s; None: as long as it takes.

        Raises:
            RefusedError: the record is not there, does not answer in time, or refuses the value.
        """
        results: list[object] = []
        answered = threading.Event()

        def answer(result: object) -> None:
            results.append(result)
            answered.set()

        operation = self._context.put(name, answer, lambda target: fill(target, name, value), request=BLOCKING)
        waited = 0.0
        try:
            while not answered.wait(SLICE_SECONDS):
                waited += SLICE_SECONDS
                if self._closing.is_set():
                    raise RefusedError(f"{name}: given up, the mirror ends")
                if timeout is not None and waited >= timeout:
                    raise RefusedError(mismatch(name, f"an answer within {timeout:g} s", "none"))
        finally:
            operation.close()
        if isinstance(results[0], Exception):
            raise RefusedError(f"{name}: the detector behind refused {value!r}: {results[0]}")

    def close(self) -> None:
        """Give up what waits, and let go of the connections."""
        self._closing.set()
        self._context.close()


def fill(target: Value, name: str, value: Control) -> None:
    """Set the value of a structure that is to be put: of an enum, the choice of this text or number.

    Raises:
        ValueError: the enum has no such choice.
    """
    if target.getID() == ENUM_ID:
        target["value.index"] = _index(list(target["value.choices"]), name, value)
    else:
        target["value"] = value


def _index(choices: list[Any], name: str, value: Control) -> int:
    if not isinstance(value, str):
        return int(value)
    if value not in choices:
        raise ValueError(mismatch(name, f"one of {', '.join(map(str, choices))}", value))
    return choices.index(value)
