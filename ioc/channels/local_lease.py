"""Images that lie in memory lent by somebody else: an array that says when nobody looks at it any more."""

import os
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioc.core.errors import ProtocolError, mismatch


class Returns:
    """The numbers of leases that are over; `descriptor` becomes readable when `ring_at` of them have gathered."""

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.ring_at = 1
        self._numbers: deque[int] = deque()

    def add(self, number: int) -> None:
        """Note that a lease is over; any thread may call it, the collector of garbage too."""
        self._numbers.append(number)
        if len(self._numbers) >= self.ring_at:
            os.eventfd_write(self.descriptor, 1)

    def take(self, most: int) -> list[int]:
        """Return the next numbers; used by one thread."""
        numbers = self._numbers
        return [numbers.popleft() for _ in range(min(most, len(numbers)))]

    def refresh(self) -> None:
        """Make the descriptor wait for the next ring."""
        try:
            os.eventfd_read(self.descriptor)
        except BlockingIOError:
            return

    def __del__(self) -> None:
        os.close(self.descriptor)  # not before: leases may be over long after their connection is


class Lease:
    """What an array made of it refers to; with the last array it goes, and its number is returned."""

    __slots__ = ("__array_interface__", "_memory", "_number", "_returns")

    def __init__(self, memory: "Mapped", place: tuple[int, tuple[int, ...], np.dtype], number: int) -> None:
        """Lend `shape` of `dtype` at `offset`, the `place` in memory.

        Raises:
            ProtocolError: it is not all within the memory.
        """
        offset, shape, dtype = place
        self.__array_interface__: dict[str, Any] = memory.described(offset, shape, dtype)
        self._memory = memory
        self._number = number
        self._returns = memory.returns

    def __del__(self) -> None:
        if hasattr(self, "_returns"):  # else it was refused
            self._returns.add(self._number)


class Mapped:
    """A segment of somebody else, mapped for reading."""

    def __init__(self, buffer: Any, returns: Returns) -> None:
        self.returns = returns
        self._bytes: NDArray[np.uint8] = np.frombuffer(buffer, np.uint8)
        self._address = self._bytes.__array_interface__["data"][0]

    def described(self, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> dict[str, Any]:
        """Return numpy's array interface of a place (numpy reference, "The array interface protocol").

        Raises:
            ProtocolError: it is not all within the memory.
        """
        size = dtype.itemsize
        for length in shape:
            size *= length
        if offset + size > self._bytes.nbytes or offset % dtype.itemsize:
            raise ProtocolError(mismatch("place of a frame", f"within {self._bytes.nbytes} bytes", f"{offset}+{size}"))
        return {"shape": shape, "typestr": dtype.str, "data": (self._address + offset, True), "version": 3}


def leased(memory: Mapped, place: tuple[int, tuple[int, ...], np.dtype], number: int) -> NDArray:
    """Return the image at a place, read-only; `number` is returned when it and all views of it are gone.

    Raises:
        ProtocolError: it is not all within the memory.
    """
    return np.asarray(Lease(memory, place, number))
