"""The links of a chain in one process: frames, ends of series and accounts when those before and behind come and go."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from consumers.inputs import Givers, open_books
from consumers.local_output import LocalOutput
from ioc.channels.journal import Journal
from ioc.channels.local_givers import Member
from ioc.channels.local_inputs import LocalInputs
from ioc.channels.local_separate import SeparateInputs
from ioc.channels.local_store import FrameStore
from ioc.channels.local_wire import Hello
from ioc.core.errors import RefusedError, UserError
from ioc.core.frame import EndOfSeries, Frame, Item
from ioc.supervisor.counts import Counts
from tests.support.chains import DEADLINE, TEXT, Chain, frame


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    made = Chain(tmp_path)
    yield made
    made.close()


def ids(items: list) -> list[int]:
    """Return the ids of the frames among items."""
    return [item.unique_id for item in items if isinstance(item, Frame)]


def test_frames_of_all_givers_come_and_the_series_ends_once(chain: Chain) -> None:
    first, second = chain.outputs.values()
    first.publish([frame(1), frame(3), EndOfSeries(1, 4, ((3, 3),))])
    got = chain.receive(2)
    assert ids(got) == [1, 3]
    assert isinstance(got[0], Frame)
    assert (got[0].data == 1).all()
    assert got[0].attributes == {"Id": 1}
    assert chain.inputs.receive(4, 0.05) == [], "the second giver has not ended the series"
    second.publish([frame(2), frame(4), EndOfSeries(1, 4, ((4, 4),))])
    assert ids(chain.receive(2)) == [2, 4]
    assert chain.receive(1) == [EndOfSeries(1, 4, ((3, 4),))]
    chain.settled()
    assert chain.books.counts.processed == 4


def test_a_giver_that_is_ahead_waits_for_the_end(chain: Chain) -> None:
    first, second = chain.outputs.values()
    first.publish([frame(1), EndOfSeries(1, 2), frame(1, series=2)])
    second.publish([frame(2)])
    got = chain.receive(2)
    assert sorted(ids(got)) == [1, 2]
    assert chain.inputs.receive(4, 0.05) == []
    second.publish([EndOfSeries(1, 2)])
    assert chain.receive(1) == [EndOfSeries(1, 2)]
    assert [(item.series, *ids([item])) for item in chain.receive(1)] == [(2, 1)]
    chain.settled()


def test_a_giver_without_end_marker_has_ended_when_it_goes_on(chain: Chain) -> None:
    first, second = chain.outputs.values()
    first.publish([frame(1), EndOfSeries(1, 2)])
    second.publish([frame(2), frame(1, series=2)])
    assert sorted(ids(chain.receive(2))) == [1, 2]
    assert chain.receive(1) == [EndOfSeries(1, 2)]
    assert [(item.series, *ids([item])) for item in chain.receive(1)] == [(2, 1)]


def test_a_giver_that_is_over_is_not_waited_for(chain: Chain) -> None:
    first, second = chain.outputs.values()
    first.publish([frame(1), EndOfSeries(1, 1)])
    second.publish([frame(2)])
    assert sorted(ids(chain.receive(2))) == [1, 2]
    del chain.outputs["Cons2"]
    assert second.drain(DEADLINE)
    chain.forget("Cons2")
    assert chain.receive(1) == [EndOfSeries(1, 1)]


def test_a_series_does_not_end_before_a_giver_that_starts_anew_has_ended_it(chain: Chain) -> None:
    first, second = chain.outputs.values()
    first.publish([frame(1), EndOfSeries(1, 2)])
    second.publish([frame(2)])
    assert sorted(ids(chain.receive(2))) == [1, 2]
    del chain.outputs["Cons2"]
    assert second.drain(DEADLINE)
    chain.inputs.look_now()
    assert chain.received_now() == []
    chain.outputs["Cons2"] = chain.output("Cons2")
    chain.outputs["Cons2"].publish([frame(3), EndOfSeries(1, 3)])
    assert ids(chain.receive(1)) == [3]
    assert chain.receive(1) == [EndOfSeries(1, 3)]
    chain.settled()


def test_a_restarted_giver_tells_the_end_that_may_have_been_lost(chain: Chain) -> None:
    first, second = chain.outputs.values()
    first.publish([frame(1), EndOfSeries(1, 2)])
    assert ids(chain.receive(1)) == [1]
    for seat in second.distributor.seats():
        seat.vacate()
    second.publish([frame(2), EndOfSeries(1, 2)])  # it is killed with these in its queue
    second.close(drain=False)
    chain.outputs["Cons2"] = chain.output("Cons2")
    assert chain.receive(1) == [EndOfSeries(1, 2)]
    chain.settled()


def test_a_killed_members_frames_go_to_its_next_life_once(chain: Chain) -> None:
    first, _ = chain.outputs.values()
    first.publish([frame(unique_id) for unique_id in range(1, 7)])
    assert ids(chain.receive(2)) == [1, 2]
    held = chain.receive(2, release=False)
    assert ids(held) == [3, 4]
    chain.inputs.close(drain=False)
    chain.books.close()
    chain.second()
    assert ids(chain.receive(4)) == [3, 4, 5, 6]
    chain.settled()
    counts = chain.books.counts
    assert (counts.received - counts.returned, counts.processed, counts.in_hand) == (6, 6, 0)
    assert chain.account("Cons1").assigned == 6


def test_a_lossless_output_waits_for_room_and_lets_commands_run(chain: Chain) -> None:
    first = chain.outputs["Cons1"]
    asked: list[int] = []
    got: list[int] = []

    def while_waiting() -> None:
        asked.append(len(got))
        assert first.waiting
        got.extend(ids(chain.received_now()))

    first.idle = while_waiting
    first.publish([frame(unique_id) for unique_id in range(1, 30)])
    assert asked, "8 frames have room, 29 were published"
    got += ids(chain.receive(29 - len(got)))
    assert got == list(range(1, 30))
    chain.settled()


def test_a_bounded_output_drops_by_id(tmp_path: Path) -> None:
    chain = Chain(tmp_path, TEXT + 'policy = "bounded"\n')
    first = chain.outputs["Cons1"]
    first.publish([frame(unique_id) for unique_id in range(1, 30)])
    assert ids(chain.receive(8)) == list(range(22, 30))
    chain.settled()
    assert chain.account("Cons1").dropped == {"queue_full": 21}
    chain.close()


def test_a_member_that_leaves_comes_back_to_what_waits(chain: Chain) -> None:
    first = chain.outputs["Cons1"]
    first.publish([frame(1)])
    assert ids(chain.receive(1)) == [1]
    chain.settled()
    assert isinstance(chain.inputs, LocalInputs)
    chain.inputs.leave()
    while not chain.inputs.finished:
        chain.tend()
        chain.inputs.receive(1, 0.01)
    first.publish([frame(2)])
    assert chain.inputs.receive(1, 0.01) == []
    chain.inputs.rejoin()
    assert ids(chain.receive(1)) == [2]
    chain.settled()


def test_separate_inputs_tell_each_giver_in_its_own_order(tmp_path: Path) -> None:
    chain = Chain(tmp_path, separate=True)
    first, second = chain.outputs.values()
    first.publish([frame(1), frame(3)])
    second.publish([frame(2), EndOfSeries(1, 3)])
    assert isinstance(chain.inputs, SeparateInputs)
    held = []
    for _ in range(200):
        chain.tend()
        held += chain.inputs.receive(4, 0.01)
        if len(held) == 4:
            break
    assert sorted((one.giver, one.item.series) for one in held) == [("Cons1", 1)] * 2 + [("Cons2", 1)] * 2
    mine = [one for one in held if one.giver == "Cons1"]
    chain.inputs.finish(mine[1], failed=True)
    assert chain.books.counts.processed == 0, "the one before it is not finished"
    chain.inputs.finish(mine[0])
    for one in held:
        if one.giver == "Cons2":
            chain.inputs.finish(one)
    chain.settled()
    counts = chain.books.counts
    assert (counts.processed, counts.failed, counts.in_hand) == (2, 1, 0)
    chain.close()


def test_an_output_that_nobody_takes_is_none(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    assert type(chain.outputs["Cons1"]).of(chain.specs["Cons3"], Journal()) is None
    chain.close()


def test_a_store_grows_with_its_frames_within_its_budget() -> None:
    store = FrameStore(10_000, useful=100)
    small = [store.place(frame(unique_id, size=10)) for unique_id in range(1, 4)]
    assert all(one is not None and (one.data == one.unique_id).all() for one in small)
    assert store.place(frame(9, size=40)) is None, "the small slots are held, and fill the budget"
    for one in small:
        assert one is not None and one.slot is not None
        one.slot.drop()
    (old,) = store.unused()
    old.close()
    large = store.place(frame(9, size=40))
    assert large is not None
    assert large.data.shape == (40, 40)
    assert store.size_bytes <= 10_000 + 4096
    with pytest.raises(UserError, match="memory_budget: expected 2 frames of 10000 bytes"):
        store.place(Frame(1, 1, 0, np.zeros((100, 100), np.uint8)))
    store.close()


def test_a_frame_without_a_pixel_goes_through_a_chain(chain: Chain) -> None:
    chain.outputs["Cons1"].publish([Frame(1, 1, 0, np.zeros((0, 5), np.uint16)), frame(2)])
    empty, full = chain.receive(2)
    assert isinstance(empty, Frame) and isinstance(full, Frame)
    assert (empty.data.shape, empty.data.dtype) == ((0, 5), np.uint16)
    assert (full.data == 2).all()
    chain.settled()


def test_members_of_a_later_group_come_and_go_and_nothing_is_lost(chain: Chain) -> None:
    first = chain.outputs["Cons1"]
    counts = Counts(chain.config, chain.folder)
    assert (counts.groups, counts.of("second")) == (["second"], 1)
    counts.set("second", 3)
    spec = chain.specs["Cons3"].model_copy(update={"name": "Cons5", "member": 2})
    books, _ = open_books(spec)
    other = LocalInputs(Member(Givers(spec, "groups.first"), Hello("Cons5", "second", 2), books))
    limit = time.monotonic() + DEADLINE
    while sum(seat.present for seat in first.distributor.seats()) < 2:
        chain.tend()
        assert (chain.received_now(), other.receive(1, 0.01)) == ([], [])
        assert time.monotonic() < limit, "the third member has not joined"
    assert {seat.name: seat.expected for seat in first.distributor.seats()} == {"Cons3": True, "Cons5": True}
    first.publish([frame(unique_id) for unique_id in range(1, 9)])
    counts.set("second", 2)  # member 2 is to go, although it was the second to come
    until(chain, lambda: not {seat.name: seat.expected for seat in first.distributor.seats()}["Cons5"], "it is known")
    first.publish([frame(unique_id) for unique_id in range(9, 13)])
    other.leave()
    theirs: list[Item] = []
    while not other.finished:
        chain.tend()
        items = other.receive(4, 0.01)
        theirs += items
        books.counts.processed += len(items)
        books.counts.published += len(items)
        other.release(len(items))
        assert time.monotonic() < limit, "what waited for it is not delivered"
    mine = ids(chain.receive(12 - len(theirs)))
    assert sorted([*mine, *(item.unique_id for item in theirs if isinstance(item, Frame))]) == list(range(1, 13))
    assert mine[-4:] == [9, 10, 11, 12], "whoever is to go is given nothing more"
    chain.settled()
    other.close(drain=False)
    books.close()
    again = LocalOutput.of(chain.specs["Cons2"], Journal())
    assert again is not None
    assert [group.shape.count for group in again.distributor.groups.values()] == [2], "a new life knows it, too"
    again.close(drain=False)


def until(chain: Chain, true: Callable[[], bool], what: str) -> None:
    """Tend the outputs until something is true."""
    limit = time.monotonic() + DEADLINE
    while not true():
        chain.tend()
        assert time.monotonic() < limit, what


def test_a_count_that_cannot_be_is_refused_and_a_file_that_is_none_ignored(chain: Chain) -> None:
    counts = Counts(chain.config, chain.folder)
    with pytest.raises(RefusedError, match="0 to 64"):
        counts.set("second", 65)
    counts.set("second", 0)
    assert Counts(chain.config, chain.folder).of("second") == 0
    for nonsense in ("[]", "{", '{"second": "many"}', '{"another": 3}'):
        (chain.folder / "counts.json").write_text(nonsense)
        assert Counts(chain.config, chain.folder).of("second") == 1
