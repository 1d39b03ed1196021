"""The ledger's arithmetic: every frame in one place, faults seen, time between two readings no fault."""

from dataclasses import replace
from typing import Any

from ioc.channels.book import Counts
from ioc.core.status import (
    GroupStatus,
    MemberStatus,
    RangeStatus,
    Role,
    SeriesStatus,
    StageStatus,
    State,
    Status,
)
from ioc.supervisor.report import Giver, IngressAccount, MemberBook, Sources, as_json, build, excess


def detector(published: int, *groups: GroupStatus) -> Status:
    """Return the status of a detector."""
    return Status(
        role=Role.DETECTOR,
        name="detector",
        pid=1,
        state=State.RUNNING,
        heartbeat_ns=1,
        series=[SeriesStatus(id=11, published=published, ended=False)],
        stage=StageStatus(received=published, processed=published),
        groups=list(groups),
    )


def group(name: str, *members: MemberStatus, nobody: int = 0, turns: int | None = None) -> GroupStatus:
    """Return a group that dealt out all that its members were assigned."""
    assigned = sum(member.assigned for member in members)
    return GroupStatus(
        slot=1,
        name=name,
        count=len(members),
        sets=1,
        updates=1,
        policy="lossless",
        queue_size=64,
        queue_bytes=0,
        turns=assigned + nobody if turns is None else turns,
        nobody=nobody,
        members=list(members),
    )


def member(name: str, completed: int, queued: int = 0, in_flight: int = 0, **dropped: int) -> MemberStatus:
    """Return a member's account that closes."""
    assigned = completed + queued + in_flight + sum(dropped.values())
    return MemberStatus(
        name=name,
        present=True,
        assigned=assigned,
        completed=completed,
        queued=queued,
        in_flight=in_flight,
        dropped=dropped,
    )


def book(name: str, earlier: int | None = None, alive: bool = True, **counts: int) -> MemberBook:
    """Return a book; `earlier` frames were processed at the first reading."""
    now = Counts(**{"published": counts.get("processed", 0)} | counts)
    before = now if earlier is None else Counts(received=earlier, processed=earlier)
    return MemberBook(name, "a", now, before, alive)


def test_all_is_done() -> None:
    told = detector(100, group("a", member("Cons1", 50), member("Cons2", 50)))
    books = [book("Cons1", received=50, processed=49, failed=1), book("Cons2", received=50, processed=50)]
    ledger = build(Sources(told, books))
    assert (ledger.residue(), ledger.complete(), ledger.published) == (0, True, 100)
    assert [stage.name for stage in ledger.stages] == ["detector", "Cons1", "Cons2"]


def test_frames_on_their_way_are_a_term() -> None:
    told = detector(100, group("a", member("Cons1", 80, queued=12, in_flight=8)))
    ledger = build(Sources(told, [book("Cons1", received=85, processed=80)]))
    (stage,) = ledger.stages[1:]
    assert (stage.queued, stage.in_flight) == (5, 15)
    assert ledger.residue() == 0
    assert not ledger.complete()


def test_a_member_that_went_on_since_the_detector_spoke_is_no_fault() -> None:
    told = detector(100, group("a", member("Cons1", 80, in_flight=20)))
    ledger = build(Sources(told, [book("Cons1", earlier=70, received=95, processed=95)]))
    assert ledger.residue() == 0


def test_a_frame_that_the_distributor_thinks_done_and_the_member_never_saw_is_residue() -> None:
    told = detector(100, group("a", member("Cons1", 100)))
    ledger = build(Sources(told, [book("Cons1", received=97, processed=97)]))
    assert ledger.residue() == 3


def test_a_frame_done_twice_is_residue() -> None:
    told = detector(100, group("a", member("Cons1", 100)))
    ledger = build(Sources(told, [book("Cons1", received=102, processed=102)]))
    assert ledger.residue() == 2


def test_a_turn_that_no_member_got_is_residue() -> None:
    told = detector(100, group("a", member("Cons1", 99), turns=100))
    assert build(Sources(told, [book("Cons1", received=99, processed=99)])).residue() == 1


def test_faults_of_two_groups_do_not_hide_each_other() -> None:
    told = detector(10, group("a", member("Cons1", 10)), group("b", member("Cons2", 10)))
    books = [book("Cons1", received=9, processed=9), book("Cons2", received=11, processed=11)]
    assert build(Sources(told, books)).residue() == 2


def test_what_a_dead_member_had_in_hand_went_back() -> None:
    told = detector(100, group("a", member("Cons1", 90, member_gone=4, queued=6)))
    ledger = build(Sources(told, [book("Cons1", alive=False, received=94, processed=90)]))
    stage = ledger.stages[1]
    assert (stage.received, stage.queued, stage.in_flight) == (90, 0, 6)
    assert (stage.dropped["member_gone"], ledger.residue()) == (4, 0)


def test_the_next_life_counts_what_the_dead_one_returned() -> None:
    told = detector(100, group("a", member("Cons1", 96, member_gone=4)))
    counts = book("Cons1", received=100, processed=96, returned=4)
    ledger = build(Sources(told, [counts]))
    assert (ledger.stages[1].received, ledger.residue(), ledger.complete()) == (96, 0, True)


def test_frames_that_nobody_was_there_for_are_accounted_for() -> None:
    told = detector(100, group("a", member("Cons1", 60), nobody=40))
    assert build(Sources(told, [book("Cons1", received=60, processed=60)])).residue() == 0


def test_a_client_of_a_member_channel_has_a_stage_without_a_book() -> None:
    told = detector(10, group("r", member("Set1Member1", 7, in_flight=3)))
    ledger = build(Sources(told))
    assert [(stage.name, stage.processed, stage.in_flight) for stage in ledger.stages[1:]] == [("Set1Member1", 7, 3)]
    assert ledger.residue() == 0


def test_a_wire_explains_its_losses() -> None:
    told = detector(100, group("e", member("Ejfat1", 100)))
    sent = book("Ejfat1", received=100, processed=100)
    stage = StageStatus(received=95, processed=95, dropped={"incomplete": 2, "lost": 3, "duplicate": 9})
    ledger = build(Sources(told, [sent], [IngressAccount("EjfatIn1", "i", stage, ("Ejfat1",))]))
    assert (ledger.residue(), ledger.complete()) == (0, True)
    assert ledger.stages[-1].dropped == {"incomplete": 2, "lost": 3}


def test_a_wire_that_loses_in_silence_is_residue() -> None:
    told = detector(100, group("e", member("Ejfat1", 100)))
    sent = book("Ejfat1", received=100, processed=100)
    account = IngressAccount("EjfatIn1", "i", StageStatus(received=95, processed=95), ("Ejfat1",))
    assert build(Sources(told, [sent], [account])).residue() == 5


def test_what_was_sent_a_moment_ago_may_be_on_the_wire() -> None:
    told = detector(100, group("e", member("Ejfat1", 90, in_flight=10)))
    sent = book("Ejfat1", earlier=80, received=100, processed=100)
    account = IngressAccount("EjfatIn1", "i", StageStatus(received=85, processed=85), ("Ejfat1",))
    ledger = build(Sources(told, [sent], [account]))
    assert (ledger.residue(), ledger.stages[-1].in_flight) == (0, 15)


def test_an_ingress_without_an_egress_of_ours_has_nothing_to_answer_for() -> None:
    account = IngressAccount("EjfatIn1", "i", StageStatus(received=85, processed=85))
    assert build(Sources(detector(0), [], [account])).residue() == 0


def test_nothing_ever_started() -> None:
    ledger = build(Sources(None, [book("Cons1")]))
    assert (ledger.residue(), ledger.published, ledger.series) == (0, 0, [])


def test_the_report_has_the_keys_that_scripts_rely_on() -> None:
    told = member("Cons1", 8, queue_full=2)
    told.missed = [RangeStatus(series=11, first=4, last=5)]
    ledger = build(Sources(detector(10, group("a", told)), [book("Cons1", received=8, processed=8)]))
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
        "missed_ranges": [[4, 5]],
        "missed": [[11, 4, 5]],
        "published": 8,
        "withheld": {},
        "restarts": 1,
    }


def test_excess_is_the_distance_from_the_interval() -> None:
    assert [excess(value, 2, 5) for value in (0, 2, 4, 5, 7)] == [-2, 0, 0, 0, 2]


def test_every_hop_of_a_chain_closes_by_itself() -> None:
    told = detector(100, group("a", member("Cons1", 60), member("Cons2", 40)))
    givers = [Giver("Cons1", [group("b", member("Cons3", 50))]), Giver("Cons2", [group("b", member("Cons3", 40))])]
    books = [
        book("Cons1", received=60, processed=60, published=50, withheld=10),
        book("Cons2", received=40, processed=40),
        replace(book("Cons3", received=50, processed=50), giver="Cons1"),
        replace(book("Cons3", received=40, processed=40), giver="Cons2"),
    ]
    ledger = build(Sources(told, books, givers=givers))
    assert ledger.residue() == 0
    assert [hop.name for hop in ledger.hops] == ["detector -> a", "Cons1 -> b", "Cons2 -> b"]
    last = next(stage for stage in ledger.stages if stage.name == "Cons3")
    assert (last.received, last.published) == (90, 90)
    first = next(stage for stage in ledger.stages if stage.name == "Cons1")
    assert first.withheld == {"filtered": 10}


def test_faults_of_two_givers_do_not_hide_each_other() -> None:
    givers = [Giver("Cons1", [group("b", member("Cons3", 50))]), Giver("Cons2", [group("b", member("Cons3", 40))])]
    books = [
        replace(book("Cons3", received=49, processed=49), giver="Cons1"),
        replace(book("Cons3", received=41, processed=41), giver="Cons2"),
    ]
    assert build(Sources(detector(0), books, givers=givers)).residue() == 2


def test_a_frame_that_is_neither_put_out_nor_withheld_is_residue() -> None:
    told = detector(10, group("a", member("Cons1", 10)))
    assert build(Sources(told, [book("Cons1", received=10, processed=10, published=9)])).residue() == 1
    assert build(Sources(told, [book("Cons1", received=10, processed=10, published=12, made=2)])).residue() == 0


def test_reasons_that_a_process_has_told_of_what_it_withheld() -> None:
    told = detector(10, group("a", member("Coll1", 10)))
    books = [book("Coll1", received=10, processed=10, published=5, withheld=5)]
    (stage,) = build(Sources(told, books, withheld={"Coll1": {"late": 2, "duplicate": 1}})).stages[1:]
    assert stage.withheld == {"late": 2, "duplicate": 1, "filtered": 2}
    (stage,) = build(Sources(told, books, withheld={"Coll1": {"late": 7}})).stages[1:]
    assert stage.withheld == {"filtered": 5}, "told after the book was read: the book counts"
