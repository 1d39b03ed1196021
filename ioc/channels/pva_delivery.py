"""Frames put into channels, or handed to services, of others over pvAccess with p4p: one at a time, each answered.

A put or call is complete when the far end says so: PvaPy's receivers answer when the frame is in their queue, Rayfan's
when it was dealt out. Sources: pvAccess Protocol Specification; pvapy/hpc (pvasDataReceiver, rpcDataReceiver).
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from p4p import Value
from p4p.client.raw import Context

from ioc.channels.ntndarray import fields_of, to_value
from ioc.core.errors import PeerError, mismatch
from ioc.core.frame import Frame

SLICE_SECONDS = 0.05
"""s between two looks at whether to go on waiting."""
GoOn = Callable[[], bool]


class Delivery:
    """Hands frames to one channel (`put`) or service (`rpc`) of somebody else; used by one thread."""

    def __init__(self, scheme: str, name: str) -> None:
        """Prepare; EPICS_PVA_* of the environment say where to search."""
        self.url = f"{scheme}://{name}"
        self._name = name
        self._calls = scheme == "rpc"
        self._context = Context("pva", nt=False, useenv=True)

    def deliver(self, frame: Frame, go_on: GoOn) -> bool:
        """Hand a frame over and wait until it is taken; `go_on` is asked often, return False when it says no.

        A frame that was given up may have been taken all the same, if the answer was lost or late.

        Raises:
            PeerError: the far end refused the frame, or is something else than it should be.
        """
        answers: list[object] = []
        answered = threading.Event()

        def answer(result: object) -> None:
            answers.append(result)
            answered.set()

        operation = self._begin(frame, answer)
        try:
            while not answered.wait(SLICE_SECONDS):
                if not go_on():
                    return False
        finally:
            operation.close()
        self._check(frame, answers[0])
        return True

    def close(self) -> None:
        """Let go of the connection."""
        self._context.close()

    def _begin(self, frame: Frame, answer: Callable[[object], None]) -> Any:
        if self._calls:
            return self._context.rpc(self._name, answer, to_value(frame))
        fields = fields_of(frame)
        return self._context.put(self._name, answer, lambda target: fill(target, fields), get=False)

    def _check(self, frame: Frame, result: object) -> None:
        where = f"{self.url}, frame {frame.unique_id}"
        if isinstance(result, Exception):
            raise PeerError(f"{where}: not taken: {result}")
        if not self._calls or not isinstance(result, Value):
            return
        status = result.get("status", 0)
        if isinstance(status, int) and status != 0:
            raise PeerError(mismatch(where, "status 0", status, str(result.get("errorMessage", ""))))


def fill(target: Value, fields: Mapping[str, Any]) -> None:
    """Write the fields of an image that the far end's structure has."""
    for name, content in fields.items():
        if name in target:
            target[name] = content
