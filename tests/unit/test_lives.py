"""A detector that died in mid-stream leaves an account that closes."""

from ioc.channels.book import Counts
from ioc.core.status import StageStatus
from ioc.supervisor.lives import add_lives, close_life
from ioc.supervisor.report import IngressAccount, MemberBook, Sources, build
from tests.unit.test_report import book, detector, group, member


def test_what_a_dead_detector_had_dealt_out_and_nobody_received_is_lost() -> None:
    closed = close_life(detector(100, group("a", member("Cons1", 80, queued=15, in_flight=5))), {"Cons1": 84})
    (told,) = closed.groups[0].members
    assert (told.assigned, told.completed, told.dropped) == (100, 84, {"lost": 16})
    ledger = build(Sources(closed, [book("Cons1", received=84, processed=84)]))
    assert (ledger.residue(), ledger.complete(), ledger.published) == (0, True, 100)


def test_what_it_published_after_its_last_word_is_added() -> None:
    closed = close_life(detector(100, group("a", member("Cons1", 90, in_flight=10))), {"Cons1": 130})
    assert (closed.stage.processed, closed.series[0].published, closed.groups[0].turns) == (130, 130, 130)
    assert build(Sources(closed, [book("Cons1", received=130, processed=130)])).residue() == 0


def test_every_group_answers_for_what_the_book_says_was_published() -> None:
    told = detector(100, group("a", member("Cons1", 90, in_flight=10)), group("b", member("Cons2", 100)))
    closed = close_life(told, {"Cons1": 120, "Cons2": 123}, published=130)
    assert closed.stage.processed == 130
    assert [one.turns for one in closed.groups] == [130, 130]
    assert [one.members[0].dropped for one in closed.groups] == [{"lost": 10}, {"lost": 7}]
    books = [book("Cons1", received=120, processed=120), book("Cons2", received=123, processed=123)]
    assert build(Sources(closed, books)).residue() == 0


def test_members_of_a_set_see_the_same_frames() -> None:
    told = group("a", member("Cons1", 50), member("Cons2", 50))
    closed = close_life(detector(50, told), {"Cons1": 60, "Cons2": 60})
    assert (closed.stage.processed, closed.groups[0].turns) == (60, 120)


def test_a_life_that_ended_well_is_not_changed() -> None:
    told = detector(100, group("a", member("Cons1", 98, queue_full=2)))
    closed = close_life(told, {"Cons1": 98})
    assert (closed.stage, closed.series, closed.groups[0].turns) == (told.stage, told.series, told.groups[0].turns)
    assert closed.groups[0].members[0].dropped == {"queue_full": 2}


def test_two_lives_are_one_account() -> None:
    first = close_life(detector(100, group("a", member("Cons1", 95, in_flight=5))), {"Cons1": 97})
    both = add_lives(first, detector(40, group("a", member("Cons1", 30, queued=10), member("Cons2", 0))))
    books = [book("Cons1", received=127, processed=127), MemberBook("Cons2", "a", Counts(), Counts())]
    ledger = build(Sources(both, books))
    assert (ledger.published, ledger.residue(), len(ledger.series)) == (140, 0, 2)
    stage = ledger.stages[1]
    assert (stage.dropped["lost"], stage.in_flight) == (3, 10)


def test_what_was_sent_while_an_ingress_was_away_is_lost() -> None:
    told = detector(100, group("e", member("Ejfat1", 100)))
    sent = book("Ejfat1", received=100, processed=100)
    stage = StageStatus(received=70, processed=70, dropped={"incomplete": 1})
    ledger = build(Sources(told, [sent], [IngressAccount("EjfatIn1", "i", stage, ("Ejfat1",), restarts=1)]))
    assert (ledger.residue(), ledger.stages[-1].dropped["lost"]) == (0, 29)
