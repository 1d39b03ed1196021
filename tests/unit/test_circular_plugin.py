"""`CB1:`: which frames come out around which trigger, its states, its expression, what completes when."""

from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.plugins.plugin import Plugin
from ioc.core.errors import RefusedError
from ioc.records.calc import Calc
from tests.support.plugin_rig import SECONDS, Rig, image, images


def capturing(**chosen: Any) -> Rig:
    """Return a rig with `CB1` that captures."""
    rig = Rig()
    rig.add("CB1", **chosen)
    rig.put("CB1", "Capture", True)
    return rig


def ids(rig: Rig) -> list[int]:
    """Return the ids of the frames put out."""
    return [frame.unique_id for frame in rig.published["CB1"]]


def shown(rig: Rig, *names: str) -> list[Any]:
    """Return what records of `CB1` show."""
    seen = rig.see("CB1")
    return [seen[name] for name in names]


def test_frames_before_and_behind_a_trigger_by_hand_come_out() -> None:
    rig = capturing(PreCount=3, PostCount=2)
    first, *rest = images(10)
    assert shown(rig, "Capture_RBV", "StatusMessage") == [True, "Buffer filling"]
    rig.feed(first)
    assert shown(rig, "CurrentQty_RBV", "StatusMessage") == [1, "Buffer filling"]
    rig.feed(*rest[:4])
    assert shown(rig, "CurrentQty_RBV", "StatusMessage", "Trigger_RBV") == [3, "Buffer Wrapping", False]
    rig.put("CB1", "Trigger", True)
    assert ids(rig) == [] and shown(rig, "Trigger_RBV") == [True]
    rig.feed(rest[4])
    assert ids(rig) == [3, 4, 5, 6]
    assert shown(rig, "StatusMessage", "PostTriggerQty_RBV", "CurrentQty_RBV") == ["Flushing", 1, 0]
    rig.feed(*rest[5:])
    assert ids(rig) == [3, 4, 5, 6, 7]
    states = shown(rig, "StatusMessage", "Capture_RBV", "ActualTriggerCount_RBV", "Trigger_RBV", "PostTriggerQty_RBV")
    assert states == ["Acquisition Completed", False, 1, False, 2]


def test_flush_immediately_does_not_wait_for_a_frame() -> None:
    rig = capturing(PreCount=5, PostCount=1, FlushOnSoftTrg=True)
    rig.feed(*images(3))
    rig.put("CB1", "Trigger", True)
    assert ids(rig) == [1, 2, 3]
    rig.feed(*images(5)[3:])
    assert ids(rig) == [1, 2, 3, 4]


def test_an_attribute_triggers_by_an_expression() -> None:
    rig = capturing(
        PreCount=1, PostCount=1, PresetTriggerCount=0, TriggerA="Level", TriggerB="Gate", TriggerCalc="A>5 && B=1"
    )
    levels = [1, 9, 2, "7", 8, 3]
    gates = [1, 0, 1, 1.0, 1, 1]
    frames = [
        image([[0]], number, Level=level, Gate=gate)
        for number, (level, gate) in enumerate(zip(levels, gates, strict=True), 1)
    ]
    rig.feed(*frames)
    assert ids(rig) == [3, 4, 5], "4 and 5 trigger; 4 brings 3 with it, nothing is kept for 5"
    assert shown(rig, "TriggerAVal", "TriggerBVal", "TriggerCalcVal", "ActualTriggerCount_RBV") == [3.0, 1.0, 0.0, 2]
    rig.feed(image([[0]], 7))
    seen = rig.see("CB1")
    assert seen["TriggerAVal"] != seen["TriggerAVal"], "without the attribute it is not a number"
    assert shown(rig, "Capture_RBV") == [True]


def test_the_expression_knows_the_counts() -> None:
    rig = capturing(PreCount=4, PostCount=2, TriggerCalc="E=3 && C=4 && D=2")
    rig.feed(*images(9))
    assert ids(rig) == [1, 2, 3, 4, 5]


def test_with_nothing_to_keep_frames_are_dropped_until_the_trigger() -> None:
    rig = capturing(PreCount=0, PostCount=2)
    rig.feed(*images(2))
    assert shown(rig, "StatusMessage", "CurrentQty_RBV") == ["Dropping frames", 0]
    rig.put("CB1", "Trigger", True)
    rig.feed(*images(4)[2:])
    assert ids(rig) == [3, 4]


def test_stopping_puts_nothing_out_and_beginning_again_forgets() -> None:
    rig = capturing(PreCount=3, PostCount=1)
    rig.feed(*images(3))
    rig.put("CB1", "Capture", False)
    assert shown(rig, "StatusMessage", "Capture_RBV", "CurrentQty_RBV") == ["Acquisition Stopped", False, 0]
    rig.feed(*images(2))
    rig.put("CB1", "Capture", True)
    rig.put("CB1", "Trigger", True)
    rig.feed(image([[0]], 9))
    assert ids(rig) == [9]


def test_pre_count_is_not_changed_while_it_captures() -> None:
    rig = capturing(PreCount=3)
    assert rig.refused("CB1", "PreCount", 5) == "PreCount: Stop acquisition to set pre-count"
    rig.put("CB1", "Capture", False)
    rig.put("CB1", "PreCount", 5)


def test_a_trigger_is_refused_while_nothing_is_captured_and_can_be_taken_back() -> None:
    rig = Rig()
    rig.add("CB1", PreCount=2, PostCount=1)
    assert "Trigger: expected Capture_RBV Capturing" in rig.refused("CB1", "Trigger", True)
    rig.put("CB1", "Capture", True)
    rig.put("CB1", "Trigger", True)
    rig.put("CB1", "Trigger", False)
    rig.feed(*images(2))
    assert ids(rig) == []


@settings(max_examples=40)
@given(st.integers(0, 5), st.integers(1, 5), st.lists(st.integers(1, 40), unique=True, max_size=6), st.integers(0, 3))
def test_each_frame_comes_out_once_at_most_and_in_order(pre: int, post: int, hits: list[int], preset: int) -> None:
    rig = capturing(PreCount=pre, PostCount=post, PresetTriggerCount=preset, TriggerA="Hit", TriggerCalc="A")
    rig.feed(*(image([[0]], number, Hit=int(number in hits)) for number in range(1, 41)))
    expected, at, kept, done = [], 1, [], 0
    while at <= 40 and not (preset and done >= preset):
        if at in hits:
            expected += [*kept, *range(at, min(at + post, 41))]
            done += at + post <= 41
            kept, at = [], at + post
        else:
            kept = [*kept, at][-pre:] if pre else []
            at += 1
    assert ids(rig) == expected
    assert shown(rig, "ActualTriggerCount_RBV") == [done]


@pytest.fixture
def running() -> Any:
    rig = Rig()
    plugin = rig.add("CB1", PreCount=1, PostCount=1, BlockingCallbacks=False)
    plugin.start()
    yield rig, plugin
    plugin.close()


def begun(plugin: Plugin, field: str) -> "Future[Any]":
    """Begin an activity, and return what is done when it is over."""
    future = plugin.put(field, True)
    assert future is not None
    plugin.lane.submit(lambda: None).result(SECONDS)
    return future


def test_put_callbacks_complete_when_it_is_over(running: tuple[Rig, Plugin]) -> None:
    rig, plugin = running
    captured = begun(plugin, "Capture")
    assert rig.shown["CB1:Capture_RBV"] is True and not captured.done()
    triggered = begun(plugin, "Trigger")
    assert not triggered.done()
    rig.feed(*images(1))
    captured.result(SECONDS)
    triggered.result(SECONDS)
    assert rig.shown["CB1:Capture_RBV"] is False and ids(rig) == [1]
    again = begun(plugin, "Capture")
    stopped = plugin.put("Capture", False)
    assert stopped is not None
    stopped.result(SECONDS)
    again.result(SECONDS)
    with pytest.raises(RefusedError):
        begun(plugin, "Trigger").result(SECONDS)


def test_closing_completes_what_waits() -> None:
    rig = Rig()
    plugin = rig.add("CB1")
    plugin.start()
    captured = begun(plugin, "Capture")
    plugin.close()
    captured.result(SECONDS)


@pytest.mark.parametrize(
    ("expression", "value"),
    [("0", 0.0), ("A+B*2", 7.0), ("A>B ? 1 : 5", 5.0), ("ABS(-3) && 1", 1.0), ("1/0", float("inf"))],
)
def test_expressions_are_those_of_epics(expression: str, value: float) -> None:
    assert Calc(expression).of((1.0, 3.0)) == value


@pytest.mark.parametrize("expression", ["A+", "(A", "A B", "import os", "1" * 300, "A\0", ")" * 200, "A;B;C:=1;"])
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(RefusedError, match="expression: expected"):
        Calc(expression)


@settings(max_examples=40)
@given(st.text(alphabet="ABCabc019.+-*/()?:<>=!&|^%,; eEnp", max_size=255))
def test_any_text_is_an_expression_or_one_error(text: str) -> None:
    try:
        compiled = Calc(text)
    except RefusedError:
        return
    value = compiled.of((1.0, 2.0))
    assert value is None or isinstance(value, float)


def test_an_expression_that_is_none_changes_nothing() -> None:
    rig = capturing(TriggerCalc="A>1", PostCount=1, PreCount=0, TriggerA="Hit")
    assert "expected one as in calc records, found 'A>'" in rig.refused("CB1", "TriggerCalc", "A>")
    rig.feed(image([[0]], 1, Hit=2))
    assert ids(rig) == [1] and rig.plugins["CB1"].chosen["TriggerCalc"] == "A>1"
    rig.put("CB1", "TriggerCalc", "")
    assert rig.shown["CB1:TriggerCalc_RBV"] == "0"
