"""The ledger's arithmetic: every frame in one place, faults seen, time between two readings no fault."""

from collections import Counter
from typing import Any

from ioc.channels.book import Counts
from ioc.channels.journal import ELSEWHERE, Figures
from ioc.core.ledger import Hop, Stage
from ioc.supervisor.chain import reasons
from ioc.supervisor.report import (
    Chain,
    Given,
    IngressAccount,
    MemberBook,
    Moment,
    Seat,
    Sources,
    as_json,
    build,
    chained,
    excess,
)


def detector(published: int) -> Seat:
    """Return the detector's own account."""
    return Seat(figures("", "detector", published))


def figures(group: str, name: str, came: int, moved: int = 0, before: int = 0, **counts: int) -> Figures:
    """Return one account of a journal; drops by reason among `counts`."""
    known = {key: counts.pop(key, 0) for key in ("done", "completed", "turns")}
    left = moved + sum(counts.values())
    return Figures(group, name, came, left, **known, came_before=before, left_before=0, dropped=counts)


def group(
    name: str, *members: Figures, turns: int, nobody: int = 0, lost: int = 0, pending: bool = False
) -> list[Seat]:
    """Return the accounts of a group; `lost` and `pending` are those of its members."""
    drops = {"no_member": nobody} if nobody else {}
    own = Seat(figures(name, "nobody", 0, turns=turns, **drops))
    return [own, *(Seat(member, lost, pending) for member in members)]


def book(name: str, earlier: int | None = None, alive: bool = True, **counts: int) -> MemberBook:
    """Return a book; `earlier` frames were received and processed at the first reading."""
    now = Counts(**counts)
    before = now if earlier is None else Counts(received=earlier, processed=earlier)
    return MemberBook(name, "a", now, before, alive)


def test_all_is_done() -> None:
    members = figures("a", "Cons1", 50, completed=50), figures("a", "Cons2", 50, completed=50)
    books = [book("Cons1", received=50, processed=49, failed=1), book("Cons2", received=50, processed=50)]
    ledger = build(Sources([detector(100), *group("a", *members, turns=100)], books))
    assert (ledger.residue(), ledger.complete(), ledger.published) == (0, True, 100)
    assert [stage.name for stage in ledger.stages] == ["detector", "Cons1", "Cons2"]


def test_frames_on_their_way_are_a_term() -> None:
    seats = [detector(100), *group("a", figures("a", "Cons1", 100, completed=80), turns=100)]
    ledger = build(Sources(seats, [book("Cons1", received=85, processed=80)]))
    (stage,) = ledger.stages[1:]
    assert (stage.queued, stage.in_flight) == (5, 15)
    assert ledger.residue() == 0
    assert not ledger.complete()


def test_a_member_that_went_on_since_the_detector_committed_is_no_fault() -> None:
    seats = [detector(100), *group("a", figures("a", "Cons1", 100, completed=80), turns=100)]
    ledger = build(Sources(seats, [book("Cons1", earlier=70, received=115, processed=115)]))
    assert ledger.residue() == 0


def test_a_frame_that_the_distributor_thinks_done_and_the_member_never_saw_is_residue() -> None:
    seats = [detector(100), *group("a", figures("a", "Cons1", 100, completed=100), turns=100)]
    assert build(Sources(seats, [book("Cons1", received=97, processed=97)])).residue() == 3


def test_a_frame_done_twice_is_residue() -> None:
    seats = [detector(100), *group("a", figures("a", "Cons1", 100, completed=100), turns=100)]
    assert build(Sources(seats, [book("Cons1", received=102, processed=102)])).residue() == 2


def test_a_turn_that_no_member_got_is_residue() -> None:
    seats = [detector(100), *group("a", figures("a", "Cons1", 99, completed=99), turns=100)]
    assert build(Sources(seats, [book("Cons1", received=99, processed=99)])).residue() == 1


def test_faults_of_two_groups_do_not_hide_each_other() -> None:
    seats = [
        detector(10),
        *group("a", figures("a", "Cons1", 10, completed=10), turns=10),
        *group("b", figures("b", "Cons2", 10, completed=10), turns=10),
    ]
    books = [book("Cons1", received=9, processed=9), book("Cons2", received=11, processed=11)]
    assert build(Sources(seats, books)).residue() == 2


def test_what_is_left_when_all_is_over_is_residue() -> None:
    seats = [detector(100), *group("a", figures("a", "Cons1", 100, completed=90), turns=100)]
    books = [book("Cons1", received=90, processed=90)]
    assert build(Sources(seats, books)).residue() == 0
    assert build(Sources(seats, books, moment=Moment(over=True))).residue() == 10


def test_what_a_dead_member_had_in_hand_went_back() -> None:
    seats = [detector(100), *group("a", figures("a", "Cons1", 100, completed=90, member_gone=4), turns=100)]
    ledger = build(Sources(seats, [book("Cons1", alive=False, received=94, processed=90)]))
    stage = ledger.stages[1]
    assert (stage.received, stage.queued, stage.in_flight) == (90, 0, 6)
    assert (stage.dropped["member_gone"], ledger.residue()) == (4, 0)


def test_the_next_life_counts_what_the_dead_one_returned() -> None:
    seats = [detector(100), *group("a", figures("a", "Cons1", 100, completed=96, member_gone=4), turns=100)]
    ledger = build(Sources(seats, [book("Cons1", received=100, processed=96, returned=4)]))
    assert (ledger.stages[1].received, ledger.residue(), ledger.complete()) == (96, 0, True)


def test_what_was_lost_with_a_dead_detector_belongs_to_the_lives_before() -> None:
    told = figures("a", "Cons1", 140, completed=40, before=100)
    ledger = build(
        Sources([detector(140), *group("a", told, turns=140, lost=3)], [book("Cons1", received=137, processed=137)])
    )
    assert (ledger.residue(), ledger.stages[1].dropped["lost"], ledger.complete()) == (0, 3, True)


def test_frames_that_moved_to_another_member_are_meant_for_that_one_only() -> None:
    members = figures("a", "Cons1", 60, moved=10, completed=50), figures("a", "Cons2", 50, completed=50)
    books = [book("Cons1", received=50, processed=50), book("Cons2", received=50, processed=50)]
    ledger = build(Sources([detector(100), *group("a", *members, turns=100)], books))
    assert (ledger.residue(), ledger.complete()) == (0, True)


def test_frames_that_nobody_was_there_for_are_accounted_for() -> None:
    seats = [detector(100), *group("a", figures("a", "Cons1", 60, completed=60), turns=100, nobody=40)]
    ledger = build(Sources(seats, [book("Cons1", received=60, processed=60)]))
    assert ledger.residue() == 0
    assert [stage.name for stage in ledger.stages] == ["detector", "a.nobody", "Cons1"]


def test_a_client_of_a_member_channel_has_a_stage_without_a_book() -> None:
    ledger = build(Sources([detector(10), *group("r", figures("r", "Set1Member1", 10, done=7, completed=7), turns=10)]))
    assert [(stage.name, stage.processed, stage.in_flight) for stage in ledger.stages[1:]] == [("Set1Member1", 7, 3)]
    assert ledger.residue() == 0


def wire(received: int, overdue: int = 100, away: bool = False, hand: int = 0, **dropped: int) -> Sources:
    """Return an egress that has sent 100 frames, and its ingress."""
    seats = [detector(100), *group("e", figures("e", "Ejfat1", 100, completed=100 - hand), turns=100)]
    sent = book("Ejfat1", received=100, processed=100 - hand)
    there = book("EjfatIn1", received=received, processed=received)
    return Sources(seats, [sent], [IngressAccount(there, dropped, ("Ejfat1",), away, overdue)])


def test_a_wire_explains_its_losses() -> None:
    ledger = build(wire(95, incomplete=2, lost=3))
    assert (ledger.residue(), ledger.complete()) == (0, True)
    assert ledger.stages[-1].dropped == {"incomplete": 2, "lost": 3}


def test_a_wire_that_loses_in_silence_is_residue() -> None:
    assert build(wire(95)).residue() == 5


def test_what_was_sent_a_moment_ago_may_be_on_the_wire() -> None:
    ledger = build(wire(85, overdue=80))
    assert (ledger.residue(), ledger.stages[-1].in_flight) == (0, 15)


def test_what_is_sent_while_an_ingress_is_away_waits_for_its_account() -> None:
    ledger = build(wire(60, away=True))
    assert (ledger.residue(), ledger.stages[-1].in_flight, ledger.complete()) == (0, 40, False)


def test_a_frame_may_arrive_before_its_sender_says_so() -> None:
    assert build(wire(100, overdue=90, hand=2)).residue() == 0
    assert build(wire(100, overdue=90, hand=0)).residue() == 0


def test_an_ingress_without_an_egress_of_ours_has_nothing_to_answer_for() -> None:
    account = IngressAccount(book("EjfatIn1", received=85, processed=85), {})
    assert build(Sources([detector(0)], [], [account])).residue() == 0


def test_what_a_series_finished_and_was_never_given_is_residue() -> None:
    assert build(Sources([detector(0)], moment=Moment(excess=2))).residue() == 2


def test_nothing_ever_started() -> None:
    ledger = build(Sources([], [book("Cons1")]))
    assert (ledger.residue(), ledger.published, ledger.series) == (0, 0, [])


def test_the_report_has_the_keys_that_scripts_rely_on() -> None:
    seats = [detector(10), *group("a", figures("a", "Cons1", 10, completed=8, queue_full=2), turns=10)]
    ledger = build(Sources(seats, [book("Cons1", received=8, processed=8)], moment=Moment(series=[(11, 10)])))
    report: dict[str, Any] = as_json("RF:", ledger, {"Cons1": {"restarts": 1}, "": {"duration": 2.5}})
    assert {key: report[key] for key in ("prefix", "residue", "published", "series", "duration")} == {
        "prefix": "RF:",
        "residue": 0,
        "published": 10,
        "series": [{"id": 11, "published": 10}],
        "duration": 2.5,
    }
    assert report["stages"][1] == {
        "name": "Cons1",
        "group": "a",
        "received": 8,
        "processed": 8,
        "failed": 0,
        "queued": 0,
        "in_flight": 0,
        "dropped": {"queue_full": 2},
        "missed_ranges": [],
        "missed": [],
        "missed_left_out": 0,
        "published": 8,
        "withheld": {},
        "restarts": 1,
    }


def test_excess_is_the_distance_from_the_interval() -> None:
    assert [excess(value, 2, 5) for value in (0, 2, 4, 5, 7)] == [-2, 0, 0, 0, 2]


def test_stages_behind_a_chain_are_part_of_the_ledger() -> None:
    part = Stage("Cons3", "b", received=50, processed=50, dropped=Counter({"lost": 2}), published=50)
    other = Stage("Cons3", "b", received=40, processed=39, failed=1, published=39)
    hops = [Hop("Cons1 -> b", 52, (part,)), Hop("Cons2 -> b", 40, (other,))]
    whole = Stage("Cons3", "b")
    whole.add(part)
    whole.add(other)
    ledger = build(Sources(chain=Chain(hops, [whole])))
    assert ledger.residue() == 0
    assert (whole.received, whole.published, whole.dropped) == (90, 89, {"lost": 2})
    wrong = [Hop("Cons1 -> b", 51, (part,)), Hop("Cons2 -> b", 41, (other,))]
    assert build(Sources(chain=Chain(wrong, [whole]))).residue() == 2, "they do not hide each other"


def test_a_frame_that_is_neither_put_out_nor_withheld_is_residue() -> None:
    assert build(Sources(chain=Chain((), [Stage("Cons3", "b", 10, 10, published=9)]))).residue() == 1
    assert build(Sources(chain=Chain((), [Stage("Cons3", "b", 10, 10, published=12, made=2)]))).residue() == 0


def test_reasons_that_a_process_has_told_of_what_it_withheld() -> None:
    counted = Counter({"filtered": 5})
    assert reasons(counted, {"late": 2, "duplicate": 1}) == {"late": 2, "duplicate": 1, "filtered": 2}
    assert reasons(counted, {"late": 7}) == {"filtered": 5}, "told after the book was read: the book counts"


def test_several_givers_of_a_stage_are_hops_of_their_own() -> None:
    first = group("b", figures("b", "Cons3", 52, completed=50), turns=52, lost=2)
    second = group("b", figures("b", "Cons3", 40, completed=40), turns=41, nobody=1)
    books = [book("Cons3", received=50, processed=50), book("Cons3", received=40, processed=39, failed=1)]
    givers = [Given("Cons1", first, books[:1]), Given("Cons2", second, books[1:])]
    chain = chained(givers, [Stage("Cons3", "b"), Stage("Cons4", "c")], over=True)
    assert [(hop.name, hop.given, hop.residue()) for hop in chain.hops] == [
        ("Cons1 -> b", 52, 0),
        ("Cons2 -> b", 41, 0),
    ]
    stages = {stage.name: stage for stage in chain.stages}
    assert (stages["Cons3"].received, stages["Cons3"].dropped, stages["Cons3"].failed) == (90, {"lost": 2}, 1)
    assert (stages["b.nobody"].dropped, stages["Cons4"].received) == ({"no_member": 1}, 0)
    assert build(Sources(chain=chain)).residue() == 0


def test_a_far_end_is_a_stage_with_the_name_of_its_group() -> None:
    told = Figures("put://X", ELSEWHERE, 5, 1, 3, 0, 5, 0, 0, {"lost": 1})
    (hop,) = chained([Given("Cons1", [Seat(told)])], (), over=False).hops
    assert (hop.given, hop.residue()) == (5, 0)
    assert (hop.behind[0].name, hop.behind[0].received, hop.behind[0].in_flight) == ("put://X", 3, 1)
