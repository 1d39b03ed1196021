"""Where frames go outside the appliance one by one: a channel that they are put into, a service called with each.

Rules: a frame is *taken* when the far end has answered. One that it refuses, or does not answer within the time-out, is
lost there, counted and named by id; with policy Lossless or Acknowledged it is offered again until it is taken, or
the process drains. After a time-out the next frames wait `IMPATIENT_SECONDS` only, until one is taken again. The end of
a series is not told: NTNDArray has no word for it.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence

from ioc.channels.base import Accepted, Counters
from ioc.channels.journal import ELSEWHERE, Journal
from ioc.channels.pva_delivery import Delivery
from ioc.core.config_collector import CollectorConfig
from ioc.core.config_group import GroupConfig
from ioc.core.config_modes import scheme_of
from ioc.core.errors import PeerError
from ioc.core.frame import Frame, Item
from ioc.core.ledger import MissedRange, Reason
from ioc.core.status import GroupStatus, MemberStatus, ProcessSpec

log = logging.getLogger(__name__)

FIRST_SLOT = 100
"""Slot of the first remote output in a process's account; those of its groups are below."""
GIVING_UP_SECONDS = 5.0
"""s before the end of a drain at which frames that nobody takes are given up."""
IMPATIENT_SECONDS = 0.1
RETRY_SECONDS = 0.2
"""s before a frame that was refused is offered again."""
RANGES_KEPT = 256
SHOWN_IDS = 16


class RemoteOutput:
    """Delivers frames to one far end; implements base.Publisher. Used by one thread."""

    def __init__(self, slot: int, delivery: Delivery, journal: Journal, patient: bool, timeout: float) -> None:
        """Prepare; `patient`: a frame is offered until it is taken. What became of it is noted in `journal`."""
        self.url = delivery.url
        self.waiting = False
        self.idle: Callable[[], None] = lambda: None
        self.last_error = ""
        self.lost: deque[MissedRange] = deque(maxlen=RANGES_KEPT)
        self._slot = slot
        self._delivery = delivery
        self._journal = journal
        self._account = journal.account(delivery.url, ELSEWHERE)
        self._patient = patient
        self._timeout = timeout
        self._away = False
        self._giving_up: float | None = None
        self._taken = 0
        self._bytes = 0
        self._dropped = 0
        self._given = 0

    def publish(self, items: Sequence[Item]) -> Accepted:
        """Deliver frames in order; waits for each."""
        for item in items:
            if isinstance(item, Frame):
                self._deliver(item)
        return Accepted(len(items))

    def counters(self) -> Counters:
        return Counters(self._taken, self._bytes, self._dropped)

    def close(self, drain: bool) -> None:
        self._delivery.close()

    def give_up_at(self, deadline: float) -> None:
        """Offer nothing again after `deadline` s of the monotonic clock; any thread may call."""
        self._giving_up = deadline

    def status(self) -> GroupStatus:
        """Return its account, as that of a group with one member that is elsewhere."""
        taken, dropped = self._taken, self._dropped
        given = max(self._given, taken + dropped)  # read last: a frame may be finished with meanwhile
        member = MemberStatus(
            name=self.url,
            present=not self._away,
            assigned=given,
            completed=taken,
            in_flight=given - taken - dropped,
            dropped={Reason.LOST.value: dropped} if dropped else {},
        )
        return GroupStatus(
            slot=self._slot,
            name=self.url,
            count=1,
            sets=1,
            updates=1,
            policy="lossless" if self._patient else "bounded",
            queue_size=1,
            queue_bytes=0,
            turns=given,
            members=[member],
        )

    def _deliver(self, frame: Frame) -> None:
        self._given += 1
        self._account.touch()
        self._account.turns += 1
        self._account.came.add(frame.series, frame.unique_id)
        self._journal.commit()  # before anybody may have it
        self.waiting = True
        try:
            taken = self._offer(frame)
            while not taken and self._patient and not self._over():
                self._pause()
                taken = self._offer(frame)
        finally:
            self.waiting = False
        if taken:
            self._taken += 1
            self._bytes += frame.data.nbytes
            self._account.touch()
            self._account.done.add(frame.series, frame.unique_id)
            self._journal.commit()
            return
        self._dropped += 1
        self._account.drop(frame.series, frame.unique_id, Reason.LOST)
        self._journal.commit()
        self.lost.append(MissedRange(frame.series, frame.unique_id, frame.unique_id))
        log.warning("%s: frame %d of series %d is lost: %s", self.url, frame.unique_id, frame.series, self.last_error)

    def _offer(self, frame: Frame) -> bool:
        limit = time.monotonic() + (IMPATIENT_SECONDS if self._away and not self._patient else self._timeout)

        def go_on() -> bool:
            self.idle()
            return time.monotonic() < limit and not self._over()

        try:
            taken = self._delivery.deliver(frame, go_on)
        except PeerError as error:
            self.last_error = str(error)
            return False
        self._away = not taken
        if not taken:
            self.last_error = f"{self.url}: expected an answer within {self._timeout:g} s, found none"
        return taken

    def _pause(self) -> None:
        limit = time.monotonic() + RETRY_SECONDS
        while not self._over() and time.monotonic() < limit:
            self.idle()
            time.sleep(RETRY_SECONDS / 10)  # nobody says when there is room again

    def _over(self) -> bool:
        return self._giving_up is not None and time.monotonic() >= self._giving_up


def undelivered_ids(outputs: Sequence[RemoteOutput]) -> str:
    """Return the newest frames that were lost at the far ends, as `series:id`."""
    lost = [one for output in outputs for one in list(output.lost)[-SHOWN_IDS:]]
    return ", ".join(f"{one.series}:{one.first}" for one in lost)


def remote_outputs(
    config: GroupConfig | CollectorConfig, spec: ProcessSpec, journal: Journal | None
) -> list[RemoteOutput]:
    """Return the outputs of a process that are elsewhere; a `*` in their names is the process's number.

    `journal` is where they keep their accounts; there is one if a process puts anything out.
    """
    if journal is None:
        return []
    number = "".join(char for char in spec.name if char.isdigit())
    outputs = []
    for slot, url in enumerate((one for one in config.outputs if one != "pva"), FIRST_SLOT):
        scheme, name = scheme_of(url)
        delivery = Delivery(scheme, name.replace("*", number))
        outputs.append(RemoteOutput(slot, delivery, journal, not config.policy.may_drop, config.output_timeout))
    return outputs
