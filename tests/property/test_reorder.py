"""Reordering against a model that looks at the whole history each time, with a virtual clock."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from ioc.core.clock import VirtualClock
from ioc.core.frame import EndOfSeries
from ioc.core.reorder import Bounds, Fate, Place, Reorder
from ioc.core.sequence import Ranges

NAMES = ("a", "b", "c")


@dataclass
class Model:
    """The rules, by brute force over sets."""

    bounds: Bounds
    ordered: bool
    inputs: dict[str, list[tuple[int, int]]] = field(default_factory=dict)  # places and ends (series, 10**9), in order
    waiting: dict[tuple[int, int], int] = field(default_factory=dict)  # -> time of arrival
    order: list[tuple[int, int]] = field(default_factory=list)
    opened: set[int] = field(default_factory=set)
    delivered: set[tuple[int, int]] = field(default_factory=set)
    gone: set[tuple[int, int]] = field(default_factory=set)
    late: set[tuple[int, int]] = field(default_factory=set)
    closed: set[int] = field(default_factory=set)
    published: dict[int, int] = field(default_factory=dict)
    duplicates: int = 0
    late_count: int = 0
    started: int = 0
    out: list[object] = field(default_factory=list)

    def put(self, name: str, place: tuple[int, int], now: int) -> None:
        self.inputs.setdefault(name, []).append(place)
        series = place[0]
        if place in self.delivered or place in self.waiting or place in self.late:
            self.duplicates += 1
        elif self.is_over(series) or place in self.gone:
            self.late_count += 1
            if series in self.closed or series in self.opened:
                self.late.add(place)  # of a series that was never open, no ids are kept
        else:
            self.take(place, now)

    def is_over(self, series: int) -> bool:
        return series in self.closed or series < max(self.closed, default=0) or series < self.started

    def take(self, place: tuple[int, int], now: int) -> None:
        series = place[0]
        self.opened.add(series)
        self.waiting[place] = now
        self.order.append(place)

    def end(self, name: str, series: int, published: int) -> None:
        self.inputs.setdefault(name, []).append((series, 10**9))
        if self.is_over(series):
            return
        self.opened.add(series)
        self.published[series] = max(self.published.get(series, 0), published)

    def finished(self, name: str, series: int) -> bool:
        return any(seen[0] > series or seen == (series, 10**9) for seen in self.inputs[name])

    def over(self, series: int) -> bool:
        return all(self.finished(name, series) for name in self.inputs)

    def passed(self, series: int, position: int) -> bool:
        def beyond(name: str) -> bool:
            return self.finished(name, series) or any(s == series and p >= position for s, p in self.inputs[name])

        return self.ordered and all(beyond(name) for name in self.inputs)

    def pressed(self, series: int, now: int) -> bool:
        if len(self.waiting) > self.bounds.items:
            return True
        oldest = next((place for place in self.order if place in self.waiting), None)
        if oldest is None:
            return False
        return now - self.waiting[oldest] >= self.bounds.seconds * 1e9 and oldest[0] >= series

    def ready(self, now: int) -> None:
        while self.opened:
            series = min(self.opened)
            mine = sorted(place for place in self.waiting if place[0] == series)
            settled = {p for s, p in self.delivered | self.gone if s == series}
            following = max(settled, default=0) + 1
            if mine and mine[0][1] == following:
                del self.waiting[mine[0]]
                self.delivered.add(mine[0])
                self.started = max(self.started, series)
                self.out.append(mine[0])
            elif mine:
                last = mine[0][1] - 1
                if not (self.over(series) or self.passed(series, last) or self.pressed(series, now)):
                    return
                self.gone |= {(series, position) for position in range(following, last + 1)}
            else:
                if not (self.over(series) or self.pressed(series, now)):
                    return
                over = self.over(series)
                self.opened.remove(series)
                self.closed.add(series)
                published = self.published.get(series)
                if published is not None:
                    self.gone |= {(series, position) for position in range(following, published + 1)}
                if published is not None or not over:
                    self.out.append((series, "end", published if published is not None else following - 1))


actions = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(NAMES), st.integers(1, 3), st.integers(1, 8)),
        st.tuples(st.just("end"), st.sampled_from(NAMES), st.integers(1, 3), st.integers(0, 8)),
        st.tuples(st.just("wait"), st.sampled_from(NAMES), st.integers(1, 12), st.just(0)),
        st.tuples(st.just("leave"), st.sampled_from(NAMES), st.just(0), st.just(0)),
        st.tuples(st.just("join"), st.sampled_from(NAMES), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(actions, st.booleans(), st.integers(1, 6))
def test_reorder_does_as_the_model(history: list[tuple[str, str, int, int]], ordered: bool, items: int) -> None:
    bounds = Bounds(1.0, items)
    clock = VirtualClock()
    tested: Reorder[tuple[int, int]] = Reorder(bounds, ordered)
    model = Model(bounds, ordered)
    for name in NAMES:
        tested.join(name)
        model.inputs[name] = []
    out: list[object] = []
    received = 0
    for action, name, number, position in history:
        now = clock.monotonic_ns()
        if action == "put":
            received += 1
            tested.put(name, Place(number, position), (number, position), 10, now)
            model.put(name, (number, position), now)
        elif action == "end":
            tested.end(name, EndOfSeries(number, position))
            model.end(name, number, position)
        elif action == "wait":
            clock.advance(number / 10)
        elif action == "leave" and len(model.inputs) > 1:
            tested.leave(name)
            model.inputs.pop(name, None)
        elif action == "join":
            tested.join(name)
            model.inputs.setdefault(name, [])
        now = clock.monotonic_ns()
        for item in tested.ready(now):
            out.append((item.series, "end", item.published) if isinstance(item, EndOfSeries) else item)
        model.ready(now)
        assert out == model.out
        assert (tested.duplicates, tested.late, tested.waiting) == (
            model.duplicates,
            model.late_count,
            len(model.waiting),
        )
        assert received == tested.delivered + tested.duplicates + tested.late + tested.waiting
        assert tested.waiting <= items
        assert tested.size_bytes == 10 * tested.waiting
        assert tested.missing == len(model.gone - model.late)
    for number, account in tested.accounts.items():
        assert {(number, p) for first, last in account.missing for p in range(first, last + 1)} == {
            place for place in model.gone - model.late if place[0] == number
        }
    places = [place for place in out if len(place) == 2]  # type: ignore[arg-type]
    assert places == sorted(set(places)), "in order, and each once"  # type: ignore[type-var]


@given(st.sets(st.integers(1, 60)), st.sets(st.integers(1, 60)))
def test_sets_of_ranges(one: set[int], other: set[int]) -> None:
    a, b = Ranges((n, n) for n in one), Ranges((n, n) for n in other)
    assert _members(a.common(b)) == one & other
    assert _members(a.without(b)) == one - other


def _members(ranges: Ranges) -> set[int]:
    return {value for first, last in ranges for value in range(first, last + 1)}


def test_nothing_waits_for_what_no_input_can_bring() -> None:
    one: Reorder[int] = Reorder(Bounds())
    one.join("a")
    one.join("b")
    one.put("a", Place(1, 1), 1, 1, 0)
    one.put("a", Place(1, 4), 4, 1, 0)
    assert list(one.ready(0)) == [1]
    one.put("b", Place(1, 3), 3, 1, 0)
    assert list(one.ready(0)) == [3, 4], "2 can come from neither"
    assert one.missing == 1


def test_unordered_inputs_are_waited_for_by_the_clock() -> None:
    one: Reorder[int] = Reorder(Bounds(seconds=1.0), ordered=False)
    one.join("a")
    one.put("a", Place(1, 2), 2, 1, 0)
    assert list(one.ready(999_999_999)) == []
    assert one.deadline_ns() == 1_000_000_000
    assert list(one.ready(1_000_000_000)) == [2]
    assert one.put("a", Place(1, 1), 1, 1, 0) is Fate.LATE
    assert (one.late, one.missing) == (1, 0)


def test_what_was_filtered_on_purpose_is_not_missing() -> None:
    one: Reorder[int] = Reorder(Bounds())
    one.join("a")
    one.put("a", Place(1, 1), 1, 1, 0)
    one.put("a", Place(1, 5), 5, 1, 0)
    one.end("a", EndOfSeries(1, 9, ((2, 3), (7, 9), (5, 5))))
    assert list(one.ready(0)) == [1, 5, EndOfSeries(1, 9, ((2, 3), (7, 9)))]
    assert (one.missing, one.filtered) == (2, 5)
    assert list(one.accounts[1].missing) == [(4, 4), (6, 6)]
    assert not one.accounts[1].complete


def test_a_later_life_goes_on_where_the_earlier_one_was() -> None:
    one: Reorder[int] = Reorder(Bounds())
    one.resume(Place(5, 10))
    one.join("a")
    assert one.put("a", Place(4, 3), 3, 1, 0) is Fate.LATE
    assert one.put("a", Place(5, 10), 10, 1, 0) is Fate.DUPLICATE
    one.put("a", Place(5, 11), 11, 1, 0)
    assert list(one.ready(0)) == [11]
    assert one.missing == 0


def test_all_inputs_gone_ends_what_is_open() -> None:
    one: Reorder[int] = Reorder(Bounds())
    one.put("a", Place(1, 2), 2, 1, 0)
    one.end("b", EndOfSeries(1, 3))
    assert list(one.ready(0)) == [2]
    one.leave("a")
    assert list(one.ready(0)) == [EndOfSeries(1, 3)]
    assert one.missing == 2
