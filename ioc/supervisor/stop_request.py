"""The wish that a process stop, as a signal handler may say it and any thread may wait for it.

A `threading.Event` will not do: a handler runs between any two steps of the main thread, also while that thread holds
the lock of the event it waits on, and `set` would wait for this lock for ever. A descriptor has no lock.
"""

import os
import select


class StopRequest:
    """Not said at first; once said, it stays so."""

    def __init__(self) -> None:
        self._said = False
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def set(self) -> None:
        """Say it; safe in signal handlers and in every thread."""
        self._said = True
        os.eventfd_write(self._descriptor, 1)

    def is_set(self) -> bool:
        """Return whether it was said."""
        return self._said

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it is said, `seconds` at most (None: for ever); return whether it was."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        poll.poll(None if seconds is None else seconds * 1e3)
        return self._said

    def close(self) -> None:
        """Let go of the descriptor; nobody may wait or say it any more."""
        os.close(self._descriptor)
