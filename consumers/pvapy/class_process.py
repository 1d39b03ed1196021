"""The child process of a PvaPy class, seen from the consumer: started, asked, stopped, its death told."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from consumers.pvapy.frame_pipe import FramePipe, PeerGone
from ioc.channels.local_wire import LARGEST_MESSAGE
from ioc.core.errors import PeerError, RefusedError, UserError, mismatch
from ioc.core.frame import Frame
from ioc.core.metadata import MetadataValue

log = logging.getLogger(__name__)

BEGIN_SECONDS = 60.0
"""Longest time that a class may take to be imported."""
LONGEST_VALUES = LARGEST_MESSAGE // 2
"""Bytes of JSON that the metadata of one frame may take."""
STOP_SECONDS = 10.0
"""Longest time that it may take to stop."""


class ClassError(UserError):
    """The class raised an error; the message is its own, with file and line."""


class ClassProcess:
    """One life of the child; `types` are its statistics, by name."""

    def __init__(self, reference: str) -> None:
        """Start the child and let it import the class.

        Raises:
            ClassError: it does not import.
            PeerError: it died of it, or takes too long.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        life, self._life = os.pipe()
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "consumers.pvapy.host", str(theirs.fileno()), str(life)],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno() if _has_number(sys.stderr) else None,
                pass_fds=(theirs.fileno(), life),
            )
        finally:
            theirs.close()
            os.close(life)
        self._pipe = FramePipe(ours)
        self._asking = False
        try:
            self.types: Mapping[str, str] = self.ask(BEGIN_SECONDS, do="types", reference=reference)["types"]
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """The id of the child."""
        return self._child.pid

    def alive(self) -> bool:
        """Return whether the child can be asked."""
        return self._life >= 0 and self._child.poll() is None

    def ask(self, seconds: float | None = None, **what: object) -> Mapping[str, Any]:
        """Return the answer to a command.

        Raises:
            ClassError: the class raised an error.
            PeerError: the child died, or did not answer within `seconds`.
        """
        return self._exchange(what, seconds)[1]

    def process(self, frame: Frame, values: Mapping[str, MetadataValue] | None = None) -> list[Frame]:
        """Return what the class publishes for a frame; it lies in the child's memory until the next call.

        `values` are those of the metadata channels, by PV.

        Raises:
            ClassError: the class raised an error.
            PeerError: the child died.
            RefusedError: the values are too long.
        """
        told = {pv: value.tolist() if isinstance(value, np.ndarray) else value for pv, value in (values or {}).items()}
        size = len(json.dumps(told))
        if size > LONGEST_VALUES:
            raise RefusedError(mismatch(f"metadata of frame {frame.unique_id}", f"{LONGEST_VALUES} bytes", size))
        return self._exchange(frame, None, told)[0]

    def flush(self) -> list[Frame]:
        """Return what the class has published since the last frame.

        Raises:
            ClassError: it is nothing that travels.
            PeerError: the child died.
        """
        return self._exchange({"do": "flush"}, None)[0]

    def stop(self) -> None:
        """Let the class stop, within its time; then the child is over."""
        if self.alive() and not self._asking:
            try:
                self.ask(STOP_SECONDS, do="stop")
                self._child.wait(STOP_SECONDS)
            except (UserError, PeerError, subprocess.TimeoutExpired) as error:
                log.warning("the class did not stop as it should: %s", error)
        self.kill()

    def kill(self) -> None:
        """End the child at once."""
        if self._life < 0:
            return
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait()
        os.close(self._life)
        self._life = -1
        self._pipe.close()

    def _exchange(
        self, asked: Frame | Mapping[str, object], seconds: float | None, values: Mapping[str, object] | None = None
    ) -> tuple[list[Frame], Any]:
        self._asking = True
        frames: list[Frame] = []
        try:
            self._pipe.free()
            if isinstance(asked, Frame):
                if values:
                    self._pipe.send(do="metadata", values=values)
                self._pipe.send_frame(asked)
            else:
                self._pipe.send(**asked)
            while isinstance(answer := self._pipe.receive(seconds), Frame):
                frames.append(answer)
        except PeerGone:
            raise PeerError(f"the process of the class ended: {self._end()}") from None
        except TimeoutError as error:
            self._child.kill()
            raise PeerError(f"the process of the class: {error}; it was killed: look where the class waits") from None
        finally:
            self._asking = False
        if "error" in answer:
            raise ClassError(str(answer["error"]))
        return frames, answer

    def _end(self) -> str:
        """Return how the child ended; it has hung up, so it is about to if it has not."""
        try:
            code = self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            return "it hung up and was killed"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _has_number(stream: Any) -> bool:
    try:
        return stream.fileno() >= 0
    except (AttributeError, OSError, ValueError):
        return False
