"""What was sent while an ingress was away is booked once, by id, and only that."""

from pathlib import Path

from ioc.channels.book import Book
from ioc.channels.journal import REASONS, Journal, JournalReader, open_member
from ioc.channels.trail import Run
from ioc.core.ledger import Reason
from ioc.supervisor.series import Place, Series, SeriesBook
from ioc.supervisor.wires import LOST, Wire


class Shelf:
    """A shelf with nothing on it."""

    def load(self, number: int) -> Series | None:
        return None


class Bench:
    """One wire, its ingress and a book."""

    def __init__(self, folder: Path) -> None:
        self.book = SeriesBook(Shelf())
        self.wire = Wire(Place("in", "EjfatIn1"), 10)
        self.counts = Book(folder / "a.book")
        self.journal = Journal(folder / "a.journal", booked=True)
        self.account = open_member(self.journal, self.counts, "EjfatIn1")
        self.trails = JournalReader(folder / "a.journal").trails(0)

    def arrive(self, *ids: int) -> None:
        for unique_id in ids:
            self.account.came.add(1, unique_id)
        self.counts.counts.received += len(ids)
        self.counts.counts.processed += len(ids)
        self.follow()

    def miss(self, first: int, last: int) -> None:
        self.account.left.add_range(1, first, last, REASONS.index(Reason.LOST))
        self.counts.counts.missed += last - first + 1
        self.follow()

    def follow(self) -> None:
        self.counts.commit()
        self.wire.follow(self.trails, self.counts.counts, self.book)

    def sent(self, first: int, last: int, now_ns: int) -> None:
        run = Run(1, first, 1, last - first + 1)
        self.book.give(self.wire.place, [run])
        self.wire.sent([run], now_ns, self.book)

    @property
    def lost(self) -> int:
        row = self.book.row(1, self.wire.place)
        assert row.dropped[LOST] == self.wire.missed + self.wire.away
        return row.dropped[LOST]


def test_the_window_is_the_time_in_which_it_was_away(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.sent(1, 10, 100)
    bench.arrive(*range(1, 9))
    assert not bench.wire.watch(False, False, 101)
    bench.sent(11, 20, 102)
    assert not bench.wire.watch(True, True, 103)
    bench.sent(21, 30, 104)
    assert bench.wire.watch(True, True, 113)
    bench.wire.close(bench.trails, bench.counts.counts, bench.book)
    assert (bench.lost, bench.wire.open) == (12, False)  # 9 to 20; what was sent later is not judged here
    bench.miss(9, 25)  # the ingress comes to miss it, too, and more
    assert bench.lost == 17
    bench.arrive(*range(26, 31))
    assert bench.book.row(1, bench.wire.place).waiting == 0


def test_what_comes_after_all_is_taken_back(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.wire.watch(False, False, 1)
    bench.sent(1, 10, 2)
    bench.wire.watch(True, True, 3)
    bench.wire.close(bench.trails, bench.counts.counts, bench.book)
    assert bench.lost == 10
    bench.arrive(4, 5)
    assert bench.lost == 8
    assert bench.book.row(1, bench.wire.place).waiting == 0


def test_a_shortfall_without_a_restart_stays_unexplained(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.sent(1, 10, 1)
    bench.arrive(1, 2, 3)
    assert not bench.wire.watch(True, True, 1000)
    assert bench.lost == 0
    assert bench.book.row(1, bench.wire.place).waiting == 7


def test_ids_that_two_members_sent_in_turn_stay_those_that_were_sent(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for first in range(1, 200, 2):  # as two members, each dealt every second frame, send: runs of one id, two apart
        for run in (Run(1, first, 2, 1), Run(1, first + 1, 2, 1)):
            bench.book.give(bench.wire.place, [run])
            bench.wire.sent([run], first, bench.book)
    bench.arrive(*range(1, 201))
    bench.wire.watch(alive=False, running=False, now_ns=200)
    bench.wire.close(bench.trails, bench.counts.counts, bench.book)
    assert bench.lost == 0 and not bench.book.missed
