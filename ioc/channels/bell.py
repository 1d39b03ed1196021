"""A descriptor that rings: how a channel tells its caller's loop that something may have changed."""

import os


class Bell:
    """A descriptor that becomes readable on `ring` and stays so until `refresh`; a ring while it rings is free.

    Not safe by itself: the caller holds one lock around every call.
    """

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._ringing = False
        self._open = True

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._descriptor

    def ring(self) -> None:
        """Make the descriptor readable."""
        if self._open and not self._ringing:
            self._ringing = True
            os.eventfd_write(self._descriptor, 1)

    def refresh(self) -> None:
        """Make the descriptor wait for the next ring."""
        if self._open and self._ringing:
            os.eventfd_read(self._descriptor)
            self._ringing = False

    def close(self) -> None:
        """Give the descriptor back."""
        if self._open:
            self._open = False
            os.close(self._descriptor)
