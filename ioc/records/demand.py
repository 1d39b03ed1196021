"""What happens to a put: it is checked, handed to the owner, and completed or taken back.

States of one demand:  idle --put accepted--> pending --the owner's future is done--> idle

A put is checked in the thread of the EPICS server, under the record's lock. It is handed over by the one thread of
`PutQueue`, in order. While it is pending, EPICS keeps the record active: monitors see the new value only at
completion, so a put that the owner refuses is never seen by them. A plain put to a pending demand is kept by EPICS and
follows at completion; of several, the last. What the owner itself sets passes by all of this.
"""

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from softioc.device_core import LookupRecord

from ioc.core.errors import RefusedError
from ioc.records.softioc_build import from_raw, in_put_callback, make_demand, make_wait, to_raw
from ioc.records.table import Access, Record, Value

log = logging.getLogger(__name__)

OnPut = Callable[[str, Value], "Future[Any] | None"]
OnRefused = Callable[[str, str], None]
OnAccepted = Callable[[str, Value], None]

_own = threading.local()


class PutQueue:
    """softioc's dispatcher: runs the hand-over of puts in a thread of its own, in order."""

    def __init__(self) -> None:
        """Make the queue; `start` starts its thread."""
        self._items: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._holds: list[Callable[..., object]] = []
        self._thread = threading.Thread(target=self._run, name="record-puts", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Hand over what waits and end the thread; return whether it ended within `timeout` seconds."""
        self._items.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def hold(self, function: Callable[..., object]) -> None:
        """Say that `function` is of a record that holds put-callbacks: whatever else processes it holds nothing.

        EPICS processes such a record for plain puts too, and again after each completion during which one came; were
        it active for them, it would be no part of the next put-callback, which would then return at once.
        """
        self._holds.append(function)

    def later(self, function: Callable[[], object]) -> None:
        """Run a function in the thread."""
        self._items.put(function)

    def __call__(
        self,
        func: Callable[..., "Future[None] | None"],
        func_args: tuple[Any, ...] = (),
        completion: Callable[..., None] | None = None,
        completion_args: tuple[Any, ...] = (),
    ) -> None:
        """Take a processed record from softioc; called under the record's lock.

        A value that the owner set makes no command: the record goes on at once, as a synchronous one.
        """
        record = completion_args[0]
        if getattr(_own, "setting", False) or (func in self._holds and not in_put_callback(record)):
            record.PACT = False
            return
        self.later(partial(_hand_over, func, func_args, partial(_complete, completion, completion_args)))

    def _run(self) -> None:
        while (function := self._items.get()) is not None:
            try:
                function()
            except Exception:
                log.exception("a put was not handed over; the next ones are")


def _complete(completion: Callable[..., None] | None, args: tuple[Any, ...]) -> None:
    if completion is not None:
        completion(*args)


def _hand_over(func: Callable[..., "Future[None] | None"], args: tuple[Any, ...], complete: Callable[[], None]) -> None:
    waiting = None
    try:
        waiting = func(*args)
    finally:
        if waiting is None:
            complete()
    if waiting is not None:
        waiting.add_done_callback(lambda _: complete())


class Demand:
    """One record that clients put to."""

    def __init__(self, full_name: str, record: Record, owner: "Owner") -> None:
        """Add the record to the database that is being built."""
        self.full_name = full_name
        self.record = record
        self.value = record.start_value
        self._owner = owner
        self._echo: Value | None = None
        make_demand(full_name, record, self._validate, self._put)

    @property
    def kept(self) -> bool:
        """Whether autosave keeps what is put to it."""
        return self.record.kept and self.record.access in (Access.PAIR, Access.WRITE)

    def put_again(self, value: Value) -> "Future[None]":
        """Hand a value to the owner as a client's put would; done when the record shows it, or failed as refused."""
        done: Future[None] = Future()
        self._owner.later(partial(self._begin_again, value, done))
        return done

    def _begin_again(self, value: Value, done: "Future[None]") -> None:
        try:
            future = self._owner.hand_over(self.record.name, self.record.check(value))
        except RefusedError as error:
            done.set_exception(error)
            return
        if future is None:
            future = Future()
            future.set_result(None)
        before = self.value
        future.add_done_callback(partial(self._settle_again, (before, value), done))

    def _settle_again(self, values: tuple[Value, Value], done: "Future[None]", future: "Future[Any]") -> None:
        before, value = values
        error = None if future.cancelled() else future.exception()
        if error is not None or future.cancelled():
            refusal = error if isinstance(error, RefusedError) else RefusedError(f"{self.record.name}: failed: {error}")
            done.set_exception(refusal)
            return
        if self.value == before:  # else the owner has set what it made of it
            self.set(value)
        done.set_result(None)

    def set(self, value: Value) -> None:
        """Show the value that the owner has set; it is not handed back to the owner."""
        device: Any = LookupRecord(self.full_name)
        raw = to_raw(self.record, value)
        self.value = from_raw(self.record, raw)
        self._echo = self.value if device._record.PACT else None  # else EPICS processes it later, in its own thread
        _own.setting = True
        try:
            device.set(raw)
        finally:
            _own.setting = False

    def _validate(self, device: Any, raw: object) -> bool:
        if getattr(_own, "setting", False):
            return True
        value = from_raw(self.record, raw)
        try:
            self.record.check(value)
        except RefusedError as error:
            self._owner.later(partial(self._owner.refused, self.record.name, str(error)))
            record = device._record  # an `ao` that was put NaN to is in alarm before its device support is asked
            record.UDF = record.NSEV = record.NSTA = 0
            return False
        return True

    def _put(self, raw: object) -> "Future[None] | None":
        value = from_raw(self.record, raw)
        if self._echo is not None and value == self._echo:
            self._echo = None
            return None
        if self.record.access is Access.COMMAND and not value:
            return None
        log.debug("put %s %r", self.full_name, value)
        future = self._owner.hand_over(self.record.name, value)
        if future is None:
            self._accepted(value)
            return None
        settled: Future[None] = Future()
        future.add_done_callback(partial(self._settle, value, settled))
        return settled

    def _settle(self, value: Value, settled: "Future[None]", future: "Future[Any]") -> None:
        if self._owner.outcome(self.record.name, future):
            self._accepted(value)
        else:
            self._take_back(value)
        settled.set_result(None)

    def _accepted(self, value: Value) -> None:
        if self.record.access is Access.COMMAND:
            self._take_back(value)
            return
        if self._echo is None:
            self.value = value
        if self.kept:
            self._owner.on_accepted(self.record.name, self.value)

    def _take_back(self, value: Value) -> None:
        """Write the value before the put of `value` into the active record, so that monitors never see the put's.

        A newer put that EPICS keeps until this one is completed stays in the record.
        """
        device: Any = LookupRecord(self.full_name)
        before = device._value_to_epics(to_raw(self.record, self.value))
        device._value = (before, *device._value[1:])
        held = device._epics_to_value(device._read_value(device._record))
        if from_raw(self.record, held) == value:
            device._write_value(device._record, before)


class BusyDemand(Demand):
    """A demand that starts and stops an activity: areaDetector's Acquire.

    The put of 1 is over when the future that the owner returned for it is done. Then the record goes back to 0,
    `show` is told, and waiting put-callbacks are completed, in this order.
    """

    def __init__(self, full_name: str, record: Record, owner: "Owner", show: Callable[[bool], None]) -> None:
        """Add both records to the database that is being built; `show` writes the record `XBusy`."""
        super().__init__(full_name, record, owner)
        self._show = show
        self._guard = threading.Lock()
        self._running: set[Future[Any]] = set()
        self._waiting: list[Future[None]] = []
        make_wait(full_name, self._wait)
        owner.hold(self._wait)

    def _put(self, raw: object) -> None:
        value = bool(raw)
        log.debug("put %s %r", self.full_name, value)
        future = self._owner.hand_over(self.record.name, value)
        if future is None:
            future = Future()
            future.set_result(None)
        self._begun(future, active=value)

    def follow(self, future: "Future[Any]") -> None:
        """Show an activity that the owner began by itself; it is over when `future` is done."""
        self._begun(future, active=True)

    def _begun(self, future: "Future[Any]", active: bool) -> None:
        with self._guard:
            self._running.add(future)
            if active and not future.done():
                self.set(True)
                self._show(True)
        future.add_done_callback(self._ended)

    def _ended(self, future: "Future[Any]") -> None:
        done = self._owner.outcome(self.record.name, future)
        with self._guard:
            self._running.discard(future)
            if self._running:
                if not done:
                    self.set(True)  # a refused put of 0: the activity goes on
                return
            released, self._waiting = self._waiting, []
            self.set(False)
            self._show(False)
        for waiting in released:
            waiting.set_result(None)

    def _wait(self, _raw: object) -> "Future[None] | None":
        with self._guard:
            if not self._running:
                return None
            waiting: Future[None] = Future()
            self._waiting.append(waiting)
            return waiting


class Owner:
    """The owner of the records as demands see it: takes puts, hears of refusals."""

    def __init__(self, on_put: OnPut, on_refused: OnRefused, puts: PutQueue, on_accepted: OnAccepted) -> None:
        """Keep the owner's functions and the thread that runs them; `on_accepted` hears of what autosave keeps."""
        self._on_put = on_put
        self._on_refused = on_refused
        self.on_accepted = on_accepted
        self.later = puts.later
        self.hold = puts.hold

    def hand_over(self, name: str, value: Value) -> "Future[Any] | None":
        """Give a put to the owner; a refusal at once comes back as a future that has failed."""
        try:
            return self._on_put(name, value)
        except Exception as error:  # noqa: BLE001 - the boundary to the owner; `outcome` logs and reports it
            future: Future[Any] = Future()
            future.set_exception(error)
            return future

    def outcome(self, name: str, future: "Future[Any]") -> bool:
        """Return whether the owner did what the put asked for; report it if not."""
        error = None if future.cancelled() else future.exception()
        if error is None:
            return not future.cancelled() or self.refused(name, f"{name}: the put was given up")
        if isinstance(error, RefusedError):
            return self.refused(name, str(error))
        log.error("put to %s failed", name, exc_info=error)
        return self.refused(name, f"{name}: failed: {error}")

    def refused(self, name: str, message: str) -> bool:
        """Log a refusal and tell the owner; always False."""
        log.warning("refused: %s", message)
        self._on_refused(name, message)
        return False
