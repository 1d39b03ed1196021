"""`Stats1:TS:`: the figures of frame after frame as rows, of fixed length or going round."""

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from consumers.plugins.stats import Stats
from consumers.plugins.time_series import POINTS
from tests.support.plugin_rig import Rig, image, images

SECONDS = 20.0


def stats(**chosen: Any) -> tuple[Rig, Stats]:
    rig = Rig()
    plugin = rig.add("Stats1", **chosen)
    assert isinstance(plugin, Stats)
    return rig, plugin


def acquire(plugin: Stats) -> "Future[None]":
    """Put 1 to TSAcquire; return what is done when it is over."""
    ended: Future[None] = Future()
    plugin._begin_series(ended)
    return ended


def rows(rig: Rig) -> Mapping[str, list[float]]:
    """Return the rows that a look shows, those only that are shown with it."""
    rig.rows.clear()
    rig.see("Stats1")
    return {name.removeprefix("Stats1:"): row.tolist() for name, row in rig.rows.items() if ":TS" in name}


def test_a_series_of_fixed_length_ends_by_itself() -> None:
    rig, plugin = stats(**{"TS:TSNumPoints": 3, "ComputeCentroid": True})
    assert rows(rig)["TSTotal"] == [], "a change of the length shows that nothing is there"
    rig.feed(*images(2))
    assert rows(rig) == {}, "nothing was asked for"
    ended = acquire(plugin)
    assert rig.shown["Stats1:TS:TSAcquiring"] is True
    rig.feed(image(np.array([[1, 2], [3, 6]]), 3), image(np.array([[0, 0], [0, 8]]), 4))
    assert not ended.done()
    rig.feed(image(np.array([[5, 5], [5, 5]]), 5))
    ended.result(0)
    found = {name.removeprefix("Stats1:"): row.tolist() for name, row in rig.rows.items()}  # shown when it was over
    rig.feed(*images(3))
    assert (found["TSTotal"], found["TSMaxValue"], found["TSMeanValue"]) == ([12, 8, 20], [6, 8, 5], [3, 2, 5])
    assert (found["TSMaxX"], found["TSMaxY"], found["TSMinValue"]) == ([1, 1, 0], [1, 1, 0], [1, 0, 5])
    assert found["TSCentroidX"][1] == pytest.approx(1.0)
    assert found["TSTimestamp"] == found["TS:TSTimestamp"] == [1_700_000_000.25 - 631_152_000] * 3
    assert found["TS:TSTimeAxis"] == pytest.approx([0, 0.1, 0.2])
    rig.see("Stats1")
    assert rig.shown["Stats1:TS:TSAcquiring"] is False and rig.shown["Stats1:TS:TSCurrentPoint"] == 3
    assert rows(rig) == {}, "rows that nothing was added to are not shown again"


def test_points_are_means_of_so_many_frames() -> None:
    rig, plugin = stats(**{"TS:TSNumPoints": 2, "TS:TSTimePerPoint": 0.01, "TS:TSAveragingTime": 0.03})
    assert rig.see("Stats1")["TS:TSNumAverage"] == 3
    ended = acquire(plugin)
    rig.feed(*images(5, (1, 1)))
    assert rig.see("Stats1")["TS:TSCurrentPoint"] == 1 and not ended.done()
    rig.feed(image(np.full((1, 1), 9, np.uint8), 6))
    ended.result(0)
    found = {name.removeprefix("Stats1:"): row.tolist() for name, row in rig.rows.items()}
    assert found["TSTotal"] == [2.0, 6.0] and found["TS:TSTimeAxis"] == pytest.approx([0, 0.03])


def test_a_circular_buffer_holds_the_newest_oldest_first_until_it_is_stopped() -> None:
    rig, plugin = stats(**{"TS:TSNumPoints": 4, "TS:TSAcquireMode": "Circ. buffer"})
    ended = acquire(plugin)
    rig.feed(*images(3, (1, 1)))
    assert rows(rig)["TSTotal"] == [0, 1, 2, 3]
    rig.feed(*images(9, (1, 1)))
    assert rows(rig) == {}, "rows are shown once a second"
    rig.clock.advance(1.5)
    assert rows(rig)["TSTotal"] == [6, 7, 8, 9]
    assert rig.shown["Stats1:TS:TSElapsedTime"] == 0.0, "of the newest frame"
    assert not ended.done()
    for name, value in (("TS:TSRead", True), ("TS:TSAcquire", False)):
        rig.rows.clear()
        assert not ended.done()
        rig.put("Stats1", name, value)
        assert rig.rows["Stats1:TSTotal"].tolist() == [6, 7, 8, 9]
    ended.result(0)
    rig.feed(*images(2))
    assert rows(rig) == {}


def test_a_new_start_ends_the_one_before_and_begins_empty() -> None:
    rig, plugin = stats(**{"TS:TSNumPoints": 4})
    first = acquire(plugin)
    rig.feed(*images(3, (1, 1)))
    second = acquire(plugin)
    first.result(0)
    rig.feed(*images(2, (1, 1)))
    rig.put("Stats1", "TS:TSRead", True)
    assert rig.rows["Stats1:TSTotal"].tolist() == [1, 2] and not second.done()
    plugin.close()
    second.result(0)


def test_a_put_of_tsacquire_completes_with_the_series() -> None:
    rig, plugin = stats(**{"TS:TSNumPoints": 2})
    plugin.lane.start()
    ended = plugin.put("TS:TSAcquire", True)
    assert ended is not None
    rig.wait_shown("Stats1:TS:TSAcquiring", True)
    rig.feed(*images(2))
    ended.result(SECONDS)
    rig.wait_shown("Stats1:TS:TSAcquiring", False)
    plugin.close()


def test_the_points_are_bounded() -> None:
    rig, _ = stats()
    assert str(POINTS) in rig.refused("Stats1", "TS:TSNumPoints", POINTS + 1)
    assert "1 to" in rig.refused("Stats1", "TS:TSNumPoints", 0)
