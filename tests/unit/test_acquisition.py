"""The acquisition state machine, in virtual time."""

import pytest

from detector_sim.acquisition import Acquisition, DetectorState, ImageMode
from ioc.core.clock import VirtualClock
from ioc.core.config_detector import DetectorConfig
from ioc.core.errors import RefusedError
from ioc.core.frame import EndOfSeries


def acquisition(**detector: object) -> tuple[Acquisition, VirtualClock]:
    clock = VirtualClock()
    return Acquisition(DetectorConfig.model_validate(detector), clock), clock


def frames_in(one: Acquisition, clock: VirtualClock, seconds: float, step: float = 0.001) -> int:
    frames = 0
    for _ in range(round(seconds / step)):
        while one.due():
            one.taken(True)
            frames += 1
        clock.advance(step)
    return frames


def test_frames_come_at_the_rate() -> None:
    one, clock = acquisition(frame_rate=100.0)
    one.start()
    assert frames_in(one, clock, 2.0) == 200


def test_the_rate_changes_while_frames_flow() -> None:
    one, clock = acquisition(frame_rate=100.0)
    one.start()
    frames_in(one, clock, 1.0)
    one.set_frame_rate(500.0)
    assert frames_in(one, clock, 1.0) in (499, 500, 501)
    assert one.acquire_period == pytest.approx(0.002)
    one.set_period(0.1)
    assert one.frame_rate == pytest.approx(10.0)
    assert frames_in(one, clock, 1.0) in (10, 11)


def test_a_rate_shortens_an_exposure_that_does_not_fit() -> None:
    one, _ = acquisition(frame_rate=1.0, acquire_time=0.5)
    one.set_frame_rate(100.0)
    assert one.acquire_time == pytest.approx(0.01)


def test_frames_never_come_faster_than_the_exposure() -> None:
    one, clock = acquisition(frame_rate=1000.0, acquire_time=0.1)
    one.start()
    assert frames_in(one, clock, 1.001) == 10


def test_the_first_frame_comes_when_it_has_been_exposed() -> None:
    one, clock = acquisition(frame_rate=10.0, acquire_time=0.05)
    one.set_exposures(2)
    one.start()
    assert frames_in(one, clock, 0.1) == 0
    assert frames_in(one, clock, 0.001) == 1
    assert frames_in(one, clock, 0.999) == 9
    assert frames_in(one, clock, 0.002) == 1


def test_a_stall_is_not_caught_up_with_an_endless_burst() -> None:
    one, clock = acquisition(frame_rate=1000.0)
    one.start()
    clock.advance(60.0)
    assert frames_in(one, clock, 0.1) < 250


def test_a_thread_that_waits_a_little_for_its_turn_keeps_a_high_rate() -> None:
    one, clock = acquisition(frame_rate=100_000.0, acquire_time=0.0)
    one.start()
    frames = frames_in(one, clock, 0.5, step=0.02)
    assert frames == pytest.approx(50_000, abs=2001)


def test_as_fast_as_possible_leaves_nothing_to_catch_up_with() -> None:
    one, clock = acquisition(acquire_time=0.0)
    one.set_period(0.0)
    one.start()
    for _ in range(50):
        one.taken(True)
        clock.advance(0.001)
    one.set_frame_rate(1000.0)
    assert frames_in(one, clock, 0.1) in (100, 101)


@pytest.mark.parametrize(("mode", "expected"), [("Single", 1), ("Multiple", 7)])
def test_an_acquisition_ends_by_itself(mode: str, expected: int) -> None:
    one, clock = acquisition(image_mode=mode, num_images=7)
    one.start()
    assert frames_in(one, clock, 1.0) == expected
    assert (one.state, one.acquiring) == (DetectorState.IDLE, False)


def test_the_marker_says_what_was_published() -> None:
    one, _ = acquisition(image_mode="Multiple", num_images=3)
    one.start()
    assert one.taken(True) is None
    assert one.taken(False) is None, "ArrayCallbacks off: an image that is not published"
    assert one.identity().unique_id == 2, "ids count what is published"
    assert one.taken(True) == EndOfSeries(one.series, 2)


@pytest.mark.parametrize(("mode", "state"), [("Continuous", DetectorState.IDLE), ("Multiple", DetectorState.ABORTED)])
def test_a_stop_leaves_the_state_of_areadetector(mode: str, state: DetectorState) -> None:
    one, _ = acquisition(image_mode=mode)
    one.start()
    one.taken(True)
    assert one.stop() == EndOfSeries(one.series, 1)
    assert one.state is state
    assert one.stop() is None


def test_every_start_is_a_new_series_from_1_and_the_array_counter_goes_on() -> None:
    one, _ = acquisition(image_mode="Multiple", num_images=2)
    seen = []
    for _ in range(3):
        assert one.start()
        assert not one.start(), "a start while acquiring is ignored"
        seen.append((one.identity().series, one.identity().unique_id))
        one.taken(True)
        one.taken(True)
    assert len({series for series, _ in seen}) == 3
    assert [unique_id for _, unique_id in seen] == [1, 1, 1]
    assert one.array_counter == 6


def test_bad_parameters_are_refused_and_change_nothing() -> None:
    one, _ = acquisition(frame_rate=10.0)
    for change in (one.set_frame_rate, one.set_period, one.set_time):
        with pytest.raises(RefusedError, match=r"expected .* found -1"):
            change(-1.0)
        with pytest.raises(RefusedError):
            change(float("nan"))
    with pytest.raises(RefusedError):
        one.set_frame_rate(0.0)
    assert (one.acquire_period, one.acquire_time) == (0.1, 0.0001)
    assert one.image_mode is ImageMode.CONTINUOUS


def test_several_frames_that_are_due_are_taken_at_once() -> None:
    one, clock = acquisition(frame_rate=100.0, acquire_time=0.0, image_mode="Multiple", num_images=12)
    assert one.due_count(32) == 0
    one.start()
    assert one.due_count(32) == 1
    clock.advance(0.055)
    assert (one.due_count(32), one.due_count(4)) == (6, 4)
    assert one.taken(True, 6) is None
    assert one.due_count(32) == 0
    clock.advance(1.0)
    assert one.due_count(32) == 6, "no more than are wanted"
    one.num_images = 3
    assert one.due_count(32) == 1, "fewer are wanted than were taken: the next one is the last"
    assert one.taken(True) == EndOfSeries(one.series, 7)


def test_without_a_period_as_many_are_due_as_can_be_taken() -> None:
    one, _ = acquisition(acquire_time=0.0)
    one.set_period(0.0)
    one.start()
    assert one.due_count(32) == 32
