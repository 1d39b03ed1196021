"""The thread of a collector: takes what several processes give, puts it in order, passes it on, keeps the books.

How it works: one loop. Items stay in the givers' shared memory until they have gone out. Where a collector is killed,
its next life goes on behind the last position that it passed on, which a small mapped file remembers.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from consumers.tiles import Numbering, Stitcher
from ioc.channels.base import Publisher
from ioc.channels.book import Book
from ioc.channels.local_separate import Held, SeparateInputs
from ioc.core.clock import Clock
from ioc.core.commands import Commands
from ioc.core.errors import UserError
from ioc.core.frame import EndOfSeries, Frame, Item
from ioc.core.ledger import Reason
from ioc.core.reorder import Fate, Place, Reorder

log = logging.getLogger(__name__)

IDLE_SECONDS = 0.1
SNAPSHOT_SECONDS = 0.1
MOST_A_ROUND = 64
LONGEST_TEXT = 200
STITCHED = "stitched"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GatheringSnapshot:
    """What the collector looked like a moment ago; counts of this life, in frames (missing and late: or tiles)."""

    inputs: int = 0
    waiting: int = 0
    oldest_wait: float = 0.0
    missing: int = 0
    late: int = 0
    duplicates: int = 0
    filtered: int = 0
    incomplete: int = 0
    missing_ranges: str = ""
    complete: bool = False
    series: int = 0
    unique_id: int = 0
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a collector is made of; `stitcher` None: frames are passed on as they are."""

    inputs: SeparateInputs
    reorder: Reorder[Held]
    numbering: Numbering
    stitcher: Stitcher | None
    outputs: Sequence[Publisher]
    place: Book
    clock: Clock


class Gathering:
    """Make it, `start` it, `submit` commands, `drain` it."""

    def __init__(self, parts: Parts) -> None:
        self.snapshot = GatheringSnapshot()
        self.withheld: Counter[str] = Counter()
        self.failure: BaseException | None = None
        self.reorder = parts.reorder
        self._parts = parts
        self._counts = parts.inputs.books.counts
        self._names: set[str] = set()
        self._commands = Commands((Exception,), _told)
        self._stopping = False
        self._left = self._gave_back = False
        self._markers: list[Held] = []
        self._snapped_ns = 0
        self._leave_ns = 0
        self.stepped_ns = parts.clock.monotonic_ns()
        self._newest = (0, 0)
        self._complete = False
        self._last_error = ""
        self._base = Counter[str]()
        if parts.place.counts.link:
            self.reorder.resume(Place(parts.place.counts.link, parts.place.counts.taken))
        self._thread = threading.Thread(target=self._run, name="collector", daemon=True)

    def start(self) -> None:
        """Let the loop run."""
        self._thread.start()

    def submit(self, command: Callable[[], T]) -> "Future[T]":
        """Run `command` in the loop; the Future has its result or its error."""
        return self._commands.submit(command)

    def reset(self) -> None:
        """Count gaps from here on; to be called in the loop."""
        self._base = self._gaps()
        self._last_error = ""

    def drain(self, deadline: float, renewed: bool = False) -> bool:
        """Take what is on its way and pass it on within `deadline` seconds; return whether that worked.

        `renewed`: a next life will come, so what waits for earlier frames is given back to those it came from.
        """
        self._leave_ns = self._now() + round(deadline / 2 * 1e9) if renewed else self._now()
        self._stopping = True
        self._thread.join(deadline)
        over = not self._thread.is_alive() and self.failure is None
        return over and (self._gave_back or self._counts.in_hand == 0)

    def run_commands(self) -> None:
        """Run what was submitted; to be called in the loop, also by an output that makes it wait."""
        self._commands.run()

    def _run(self) -> None:
        try:
            while self._step():
                pass
        except BaseException as error:  # the thread's owner is told, and tells the supervisor
            self.failure = error
            log.exception("the collector ended with an error")
            raise
        finally:
            self._snap()

    def _step(self) -> bool:
        """Do one round; return whether there is to be another."""
        self.stepped_ns = self._now()
        self.run_commands()
        inputs = self._parts.inputs
        for held in inputs.receive(MOST_A_ROUND, self._patience()):
            self._take(held)
        over = self._left and inputs.finished
        if not self._gave_back:
            self._notice_inputs(set() if over else set(inputs.inputs))
            self._put_out(list(self.reorder.ready(self._now())))
            self._finish_markers()
        if self._stopping and not self._left:
            self._leave()
        if self._now() - self._snapped_ns >= SNAPSHOT_SECONDS * 1e9:
            self._snap()
        return not over

    def _leave(self) -> None:
        """Take no more; where a next life will come, give back what is in our hands once somebody has it but us."""
        inputs = self._parts.inputs
        if self._now() >= self._leave_ns:
            inputs.leave()
        elif not inputs.orphans:
            self._gave_back = True
            inputs.give_back()
        else:
            return
        self._left = True

    def _now(self) -> int:
        return self._parts.clock.monotonic_ns()

    def _patience(self) -> float:
        deadline = self.reorder.deadline_ns()
        return IDLE_SECONDS if deadline is None else min(IDLE_SECONDS, max(0.0, (deadline - self._now()) / 1e9))

    def _notice_inputs(self, present: set[str]) -> None:
        if present == self._names:
            return
        for name in present - self._names:
            self.reorder.join(name)
        for name in self._names - present:
            self.reorder.leave(name)
        self._names = present

    def _take(self, held: Held) -> None:
        item = held.item
        if isinstance(item, EndOfSeries):
            self.reorder.end(held.giver, self._parts.numbering.inward(item))
            self._markers.append(held)  # kept until the series is over: a next life has to hear of it, too
            return
        try:
            place = self._parts.numbering.place(item)
        except UserError as error:
            self._fail(held, error)
            return
        fate = self.reorder.put(held.giver, place, held, item.data.nbytes, self._now())
        if fate is not Fate.WAITS:
            self._withhold(held, Reason.DUPLICATE.value if fate is Fate.DUPLICATE else Reason.LATE.value)
            self._parts.inputs.finish(held)

    def _finish_markers(self) -> None:
        """Let go of the end markers of series that are over; of all where givers wait for it to let us go."""
        over = [held for held in self._markers if self._left or held.item.series <= self.reorder.closed]
        for held in over:
            self._markers.remove(held)
            self._parts.inputs.finish(held)

    def _put_out(self, ready: Sequence[Held | EndOfSeries]) -> None:
        if not ready:
            return
        items: list[Item] = []
        good: list[Held] = []
        for one in ready:
            if isinstance(one, EndOfSeries):
                items += self._ended(one)
                continue
            try:
                items += self._stitched(one)
            except UserError as error:
                self._fail(one, error)
                continue
            good.append(one)
        self._publish(items)
        self._remember(ready[-1])
        for held in good:
            self._parts.inputs.finish(held)

    def _stitched(self, held: Held) -> Sequence[Frame]:
        frame = held.item
        assert isinstance(frame, Frame)
        self._newest = (frame.series, frame.unique_id)
        if self._parts.stitcher is None:
            held.published = 1
            return [frame]
        frames = self._parts.stitcher.add(frame)
        held.published = held.made = len(frames)
        self._withhold(held, STITCHED)
        return frames

    def _ended(self, marker: EndOfSeries) -> Sequence[Item]:
        stitcher = self._parts.stitcher
        frames = stitcher.flush() if stitcher is not None else []
        self._counts.published += len(frames)
        self._counts.made += len(frames)
        account = self.reorder.accounts[marker.series]
        self._complete = account.complete
        if stitcher is not None:
            self._complete = self._complete and marker.series not in stitcher.incomplete
            stitcher.forget(marker.series + 1)
        return [*frames, self._parts.numbering.outward(marker)]

    def _publish(self, items: Sequence[Item]) -> None:
        if not items:
            return
        for output in self._parts.outputs:
            output.publish(items)
        self.stepped_ns = self._now()  # it may have waited for those behind

    def _remember(self, last: Held | EndOfSeries) -> None:
        """Leave on record how far the stream has got, before the givers are told that they may forget it."""
        counts = self._parts.place.counts
        if isinstance(last, EndOfSeries):
            counts.link, counts.taken = last.series + 1, 0
        else:
            assert isinstance(last.item, Frame)
            place = self._parts.numbering.place(last.item)
            counts.link, counts.taken = place.series, place.position
        self._parts.place.commit()

    def _withhold(self, held: Held, reason: str) -> None:
        held.withheld = 1
        self.withheld[reason] += 1

    def _fail(self, held: Held, error: UserError) -> None:
        self._last_error = str(error)
        log.error("%s: %s", held.giver, error)
        self._parts.inputs.finish(held, failed=True)

    def _gaps(self) -> Counter[str]:
        one, stitcher = self.reorder, self._parts.stitcher
        incomplete = stitcher.incomplete_count if stitcher is not None else 0
        return Counter(
            missing=one.missing, late=one.late, duplicates=one.duplicates, filtered=one.filtered, incomplete=incomplete
        )

    def _snap(self) -> None:
        now = self._snapped_ns = self._now()
        gaps = self._gaps()
        gaps.subtract(self._base)
        self.snapshot = GatheringSnapshot(
            inputs=len(self._names),
            waiting=self.reorder.waiting,
            oldest_wait=self.reorder.oldest_wait(now),
            missing_ranges=self._missing_text(),
            complete=self._complete,
            series=self._newest[0],
            unique_id=self._newest[1],
            last_error=self._last_error,
            **gaps,
        )

    def _missing_text(self) -> str:
        account = self.reorder.accounts.get(self._newest[0])
        if account is None:
            return ""
        ids = self._parts.numbering.ids(account.missing)
        text = " ".join(f"{first}-{last}" if last > first else f"{first}" for first, last in ids)
        return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 4] + " ..."


def _told(error: BaseException) -> BaseException:
    log.warning("a command was not carried out: %s", error)
    return error
