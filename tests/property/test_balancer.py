"""The load balancer's calendars and epochs hold what they promise, whatever workers do."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from ioc.balancer.calendar import AVERAGE_WEIGHT, SLOTS, Share, adjusted, counts, deal, ranges
from ioc.balancer.epochs import LIVE, Epochs, TickForecast
from ioc.balancer.reservation import FORGET_NS, READY_NS, LoadBalancer, Pace, Strategy
from ioc.balancer.routes import Routes, port
from ioc.channels.ejfat_control_model import Registration, WorkerState
from ioc.channels.ejfat_wire import LbHeader, SyncMessage
from ioc.core.clock import VirtualClock

weights = st.floats(0.0, 1e6, allow_nan=False)
shares = st.builds(Share, weights, st.floats(0, 1), st.one_of(st.just(0.0), st.floats(1, 8)))
crowds = st.dictionaries(st.integers(1, 1000), shares, min_size=1, max_size=20)


@given(crowds, st.integers(1, SLOTS))
def test_all_slots_are_given_within_bounds(crowd: dict[int, Share], slots: int) -> None:
    given_slots = counts(crowd, slots)
    assert sum(given_slots.values()) == slots
    even = slots / len(crowd)
    for worker, share in crowd.items():
        assert given_slots[worker] >= int(share.min_factor * even) - 1
        if share.max_factor:
            assert given_slots[worker] <= share.max_factor * even + 1


@given(st.dictionaries(st.integers(1, 99), st.floats(1.0, 100.0), min_size=1, max_size=8))
def test_unbounded_shares_are_proportional_to_weight(given_weights: dict[int, float]) -> None:
    given_slots = counts({worker: Share(weight) for worker, weight in given_weights.items()}, SLOTS)
    total = sum(given_weights.values())
    for worker, weight in given_weights.items():
        assert abs(given_slots[worker] - SLOTS * weight / total) <= 1 + 1e-6


@given(crowds, st.integers(0, 2**32))
def test_a_deal_gives_what_was_counted(crowd: dict[int, Share], seed: int) -> None:
    calendar = deal(crowd, random.Random(seed))
    assert len(calendar) == SLOTS
    assert {worker: calendar.count(worker) for worker in crowd} == counts(crowd, SLOTS)
    for worker in crowd:
        assert sum(length for _, length in ranges(calendar, worker)) == calendar.count(worker)


def test_demands_are_met_and_the_last_one_wins() -> None:
    crowd = {1: Share(1.0, demands=((0, 100),)), 2: Share(1.0, demands=((50, 10), (-1, 5))), 3: Share(1.0)}
    calendar = deal(crowd, random.Random(1))
    assert calendar[0] == 1 and calendar[99] == 1 and calendar[50:60] == (2,) * 10 and calendar[100:105] == (2,) * 5
    assert None not in calendar
    explicit = deal(crowd, random.Random(1), explicit=True)
    assert explicit.count(None) == SLOTS - 105 and explicit.count(3) == 0


@given(st.dictionaries(st.integers(1, 99), st.floats(1, 1e5), min_size=1, max_size=9), st.floats(-1e6, 1e6))
def test_weights_average_a_thousand(given_weights: dict[int, float], signal: float) -> None:
    changed = adjusted(given_weights, {next(iter(given_weights)): signal})
    assert abs(sum(changed.values()) / len(changed) - AVERAGE_WEIGHT) < 1e-3
    assert all(weight > 0 for weight in changed.values())


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=12), st.integers(0, 12_000))
def test_epochs_against_a_plain_model(ticks: list[int], tick: int) -> None:
    epochs = Epochs()
    model: list[tuple[int, int]] = []
    for number, first in enumerate(ticks):
        calendar = (number,) * SLOTS
        while model and first <= model[-1][0]:
            first = model.pop()[0]
        model.append((first, number))
        epochs.begin(ticks[number], calendar)
    live = model[-LIVE:]
    expected = max((one for one in live if one[0] <= tick), default=live[0])[1]
    assert epochs.worker(tick, tick) == expected


def worker_of(balancer: LoadBalancer, tick: int) -> int | None:
    return Routes.of(balancer).worker(LbHeader.of(2, tick, 0))


actions = st.lists(
    st.one_of(
        st.just(("join", 0)),
        st.tuples(st.just("leave"), st.integers(0, 5)),
        st.tuples(st.just("silent"), st.integers(0, 5)),
        st.tuples(st.just("pass"), st.integers(1, 30)),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(actions)
def test_an_event_is_never_torn(history: list[tuple[str, int]]) -> None:
    """A tick that has come belongs to one worker while its epoch is kept, whoever joins, leaves or is silent."""
    clock = VirtualClock()
    balancer = LoadBalancer(Strategy.DYNAMIC, Pace(1.0, 0.3), clock, random.Random(7))
    silent: set[int] = set()
    dealt: dict[int, int | None] = {}

    def step() -> None:
        clock.advance(0.1)
        for number in balancer.workers:
            if number not in silent:
                balancer.heard(number, WorkerState(0.0, 0.0, True), clock.wall_ns())
        balancer.advance()
        now = balancer.tick()
        oldest = balancer.epochs.live[0].first_tick if balancer.epochs.live else None
        for tick, worker in dealt.items():
            if oldest is not None and tick >= oldest:
                assert worker_of(balancer, tick) == worker
        if balancer.epochs.live:
            dealt[now] = worker_of(balancer, now)

    for action, value in history:
        if action == "join":
            balancer.register(Registration("w", "127.0.0.1", 10000))
        elif action == "leave" and balancer.workers:
            balancer.deregister(list(balancer.workers)[value % len(balancer.workers)])
        elif action == "silent" and balancer.workers:
            silent.add(list(balancer.workers)[value % len(balancer.workers)])
        for _ in range(value if action == "pass" else 1):
            step()


def test_a_worker_that_is_silent_or_not_ready_gets_no_slots_and_is_forgotten() -> None:
    clock = VirtualClock()
    balancer = LoadBalancer(Strategy.DYNAMIC, Pace(1.0, 0.5), clock, random.Random(1))
    first, second = (balancer.register(Registration(f"w{n}", "127.0.0.1", 10000 + n)) for n in (1, 2))
    assert balancer.advance()
    assert {worker_of(balancer, balancer.tick() + n) for n in range(SLOTS)} == {first, second}
    ahead = round(0.6 * 1e6)
    while clock.monotonic_ns() < READY_NS + 2e9:
        clock.advance(0.1)
        balancer.heard(first, WorkerState(0.0, 0.0, True), clock.wall_ns())
        balancer.advance()
    assert {worker_of(balancer, balancer.tick() + n) for n in range(SLOTS)} == {first}
    balancer.heard(first, WorkerState(1.0, 0.0, False), clock.wall_ns())
    clock.advance(1.0)
    balancer.advance()
    assert worker_of(balancer, balancer.tick() + ahead) is None
    clock.advance(FORGET_NS / 1e9)
    balancer.heard(first, WorkerState(1.0, 0.0, True), clock.wall_ns() - READY_NS - 1)  # its clock is behind
    balancer.advance()
    assert list(balancer.workers) == [first] and worker_of(balancer, balancer.tick() + ahead) is None


def test_control_signals_move_slots() -> None:
    clock = VirtualClock()
    balancer = LoadBalancer(Strategy.DYNAMIC, Pace(1.0, 0.5), clock, random.Random(1))
    eager, tired = (balancer.register(Registration(f"w{n}", "127.0.0.1", 10000 + n, max_factor=0.0)) for n in (1, 2))
    for _ in range(10):
        clock.advance(1.0)
        balancer.heard(eager, WorkerState(0.1, 100.0, True), clock.wall_ns())
        balancer.heard(tired, WorkerState(0.9, -100.0, True), clock.wall_ns())
        balancer.advance()
    given_slots = [sum(length for _, length in balancer.slots(number)) for number in (eager, tired)]
    assert sum(given_slots) == SLOTS and given_slots[1] == SLOTS // 4  # as low as its min_factor of 0.5 allows


def test_static_deals_only_when_workers_change() -> None:
    clock = VirtualClock()
    balancer = LoadBalancer(Strategy.STATIC, Pace(1.0, 0.5), clock, random.Random(1))
    worker = balancer.register(Registration("w", "127.0.0.1", 10000))
    begun = []
    for _ in range(5):
        clock.advance(1.0)
        balancer.heard(worker, WorkerState(0.0, 50.0, True), clock.wall_ns())
        begun.append(balancer.advance())
    assert begun == [True, False, False, False, False]


def test_ticks_that_go_back_begin_anew() -> None:
    clock = VirtualClock()
    balancer = LoadBalancer(Strategy.DYNAMIC, Pace(1.0, 0.5), clock, random.Random(1))
    worker = balancer.register(Registration("w", "127.0.0.1", 10000))
    balancer.advance()
    balancer.synced(SyncMessage(1, 5_000, clock.wall_ns(), 1000))
    clock.advance(1.0)
    balancer.heard(worker, WorkerState(0.0, 0.0, True), clock.wall_ns())
    assert balancer.advance()
    assert [epoch.first_tick for epoch in balancer.epochs.live] == [5_000 + 1_500]


@given(st.integers(0, 2**40), st.integers(1, 10**7), st.integers(2, 20))
def test_a_rate_of_zero_means_a_straight_line(start: int, rate: int, samples: int) -> None:
    forecast = TickForecast()
    for n in range(samples):
        forecast.heard(SyncMessage(1, start + n * rate, 0, 0), n * 1_000_000_000)
    later = (samples - 1) * 1_000_000_000 + 500_000_000
    assert abs(forecast.tick(later, 0) - (start + rate * (samples - 1) + rate // 2)) <= 2 + rate * 1e-6


def test_version_3_chooses_the_slot_by_its_selector_and_the_port_by_its_port_select() -> None:
    clock = VirtualClock()
    balancer = LoadBalancer(Strategy.EXPLICIT, Pace(), clock)
    worker = balancer.register(Registration("w", "127.0.0.1", 10000, port_range=3), [(5, 1)])
    balancer.advance()
    routes = Routes.of(balancer)
    assert routes.worker(LbHeader(3, 512 + 5, 0, 77)) == worker and routes.worker(LbHeader(3, 6, 0, 5)) is None
    assert routes.worker(LbHeader(2, 0, 0, 5)) == worker and routes.worker(LbHeader(2, 5, 0, 6)) is None
    assert [port(routes.targets[worker], entropy) for entropy in (0, 7, 8, 0xFFFF)] == [10000, 10007, 10000, 10007]
