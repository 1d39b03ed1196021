"""What every plug-in is: queue, drops, throttles, the graph, memory, attributes, read-backs."""

import gc
import threading

import numpy as np
import pytest

from consumers.plugins.plugin import Plugin
from consumers.plugins.throttle import Throttle
from ioc.core.attribute_types import types_of, without_types
from ioc.core.clock import SystemClock
from ioc.core.compressed import packed
from ioc.core.frame import Frame
from tests.support.plugin_rig import SECONDS, Rig, image, images

XML = """<Attributes>
<Attribute name="Sum" type="PARAM" source="TOTAL" datatype="DOUBLE"/>
<Attribute name="Who" type="CONST" source="me"/>
<Attribute name="Nothing" type="PARAM" source="NO_SUCH_THING"/>
</Attributes>"""


def account(plugin: Plugin) -> tuple[int, int]:
    """Return arrays and dropped arrays."""
    return plugin.account.arrays, plugin.account.dropped


def test_the_records_say_what_came_in() -> None:
    rig = Rig()
    rig.add("Stats1")
    rig.feed(image(np.zeros((3, 4), np.uint16), 5), image(np.zeros((3, 4), np.uint16), 6))
    seen = rig.see("Stats1")
    assert (seen["ArrayCounter_RBV"], seen["UniqueId_RBV"], seen["DataType_RBV"]) == (2, 6, "UInt16")
    assert [seen[f"ArraySize{axis}_RBV"] for axis in "012XYZ"] == [4, 3, 0, 4, 3, 0]
    assert (seen["NDimensions_RBV"], seen["ArraySize_RBV"], seen["ColorMode_RBV"]) == (2, 24, "Mono")
    assert seen["TimeStamp_RBV"] == 1_700_000_000.25 - 631_152_000
    assert seen["Dimensions_RBV"].tolist() == [4, 3] + [0] * 8
    rig.feed(image(np.zeros((3, 4, 3)), 7))
    seen = rig.see("Stats1")
    assert (seen["ColorMode_RBV"], seen["ArraySizeX_RBV"], seen["ArraySize0_RBV"]) == ("RGB1", 4, 3)


def test_a_plugin_that_is_disabled_takes_nothing() -> None:
    rig = Rig()
    plugin = rig.add("Stats1", EnableCallbacks=False)
    rig.feed(*images(3))
    assert account(plugin) == (0, 0) and rig.held.used == 0
    rig.put("Stats1", "EnableCallbacks", True)
    rig.feed(*images(2))
    assert account(plugin) == (2, 0)


def test_a_full_queue_drops_and_counts() -> None:
    rig = Rig()
    plugin = rig.add("Stats1", BlockingCallbacks=False, QueueSize=3)
    rig.feed(*images(8))  # its thread does not run: all wait
    seen = rig.see("Stats1")
    assert [seen[name] for name in ("QueueUse", "QueueFree", "DroppedArrays_RBV")] == [3, 0, 5]
    plugin.lane.start()
    assert plugin.lane.settle(SECONDS)
    seen = rig.see("Stats1")
    assert [seen[name] for name in ("QueueUse", "QueueFree", "ArrayCounter_RBV")] == [0, 3, 3]
    notes = rig.notes["Stats1"]
    assert (notes.given, notes.done) == (list(range(1, 9)), [1, 2, 3])
    assert notes.dropped == [(number, "queue_full") for number in range(4, 9)]
    rig.put("Stats1", "DroppedArrays", 0)
    assert rig.see("Stats1")["DroppedArrays_RBV"] == 0
    plugin.close()


def test_a_queue_has_its_own_copies_of_the_detectors_pixels() -> None:
    rig = Rig()
    plugin = rig.add("Trans1", BlockingCallbacks=False)
    pixels = np.full((2, 2), 5, np.uint8)
    rig.feed(image(pixels))
    pixels[:] = 9  # the detector uses its memory again
    plugin.lane.start()
    assert plugin.lane.settle(SECONDS)
    assert rig.out("Trans1")[0].tolist() == [[5, 5], [5, 5]]
    plugin.close()


def test_what_the_detector_dropped_for_the_process_counts_as_dropped() -> None:
    rig = Rig()
    enabled, disabled = rig.add("Stats1"), rig.add("ROI1", EnableCallbacks=False)
    behind = rig.add("Stats2", NDArrayPort="ROI1")
    rig.missed = 4
    rig.feed(*images(2))
    assert (account(enabled), account(disabled), account(behind)) == ((2, 4), (0, 0), (0, 0))


def test_min_callback_time_passes_frames_over_uncounted() -> None:
    rig = Rig()
    plugin = rig.add("Stats1", MinCallbackTime=0.5)
    assert rig.shown["Stats1:MaxArrayRate_RBV"] == 2.0
    for frame in images(10):
        rig.feed(frame)
        rig.clock.advance(0.2)
    assert rig.notes["Stats1"].given == rig.notes["Stats1"].done == [1, 4, 7, 10]
    assert account(plugin) == (4, 0)  # at 0, 0.6, 1.2 and 1.8 s
    rig.put("Stats1", "MaxArrayRate", 0.0)
    assert rig.shown["Stats1:MinCallbackTime_RBV"] == 0.0


def test_a_compressed_frame_is_dropped_by_who_cannot_take_it() -> None:
    rig = Rig()
    stats, codec = rig.add("Stats1"), rig.add("Codec1")
    rig.feed(packed(images(1)[0], "lz4", np.zeros(5, np.uint8)))
    assert (account(stats), account(codec)) == ((0, 1), (1, 0))
    assert rig.notes["Stats1"].dropped == [(1, "refused")] and rig.notes["Codec1"].done == [1]
    seen = rig.see("Codec1")
    assert (seen["Codec_RBV"], seen["CompressedSize_RBV"], seen["ArraySize_RBV"]) == ("lz4", 5, 12)
    assert [seen[f"ArraySize{axis}_RBV"] for axis in "XY"] == [4, 3]


def test_array_callbacks_off_stops_the_output_not_the_work() -> None:
    rig = Rig()
    plugin = rig.add("ROI1", ArrayCallbacks=False)
    rig.feed(*images(3))
    assert account(plugin) == (3, 0) and rig.out("ROI1") == []


def test_more_bytes_than_may_be_put_out_are_dropped_there() -> None:
    rig = Rig()
    rig.add("ROI1", MaxByteRate=30.0)  # frames of 12 bytes
    rig.feed(*images(4))
    assert rig.see("ROI1")["DroppedOutputArrays_RBV"] == 2
    rig.clock.advance(1.0)
    rig.feed(*images(1))
    assert len(rig.out("ROI1")) == 3


def test_a_throttle_fills_up_to_a_second() -> None:
    throttle = Throttle(100.0, 0)
    assert throttle.take(100, 0) and not throttle.take(1, 0)
    assert throttle.take(50, 500_000_000) and not throttle.take(1, 500_000_000)
    assert throttle.take(100, 10_000_000_000) and not throttle.take(1, 10_000_000_000)


def test_frames_that_are_not_next_in_order_are_counted() -> None:
    rig = Rig()
    rig.add("ROI1")
    first, second, third, fourth = images(4)
    rig.feed(first, second, second, fourth, third)
    assert rig.see("ROI1")["DisorderedArrays_RBV"] == 2
    rig.feed(image(np.zeros((3, 4)), 1, series=8))
    assert rig.see("ROI1")["DisorderedArrays_RBV"] == 2, "another series begins anew"


def test_a_frame_that_fails_is_counted_and_the_stream_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    plugin = rig.add("ROI1")
    work = plugin.work

    def breaks(frame: Frame) -> object:
        if frame.unique_id == 2:
            raise ValueError("no good")
        return work(frame)

    monkeypatch.setattr(plugin, "work", breaks)
    rig.feed(*images(3))
    assert (account(plugin), plugin.account.failed) == ((3, 0), 1)
    assert [frame.unique_id for frame in rig.published["ROI1"]] == [1, 3]


def test_frames_go_from_port_to_port_by_reference() -> None:
    rig = Rig()
    rig.add("ROI1", SizeX=2)
    rig.add("Trans1", NDArrayPort="ROI1", Type="Mirror")
    rig.add("Stats1", NDArrayPort="TRANS1")
    rig.feed(image([[1, 2, 3]]))
    assert rig.out("Trans1")[0].tolist() == [[2, 1]]
    stats = rig.plugins["Stats1"]
    assert stats.newest is not None and stats.newest.data is rig.published["Trans1"][0].data
    rig.put("Stats1", "NDArrayPort", "SIM1")
    rig.feed(image([[1, 2, 3]]))
    assert rig.see("Stats1")["ArraySizeX_RBV"] == 3
    assert rig.shown["Stats1:NDArrayPort_RBV"] == "SIM1"


def test_ports_that_are_not_there_and_circles_are_refused() -> None:
    rig = Rig()
    rig.add("ROI1")
    rig.add("Proc1", NDArrayPort="ROI1")
    rig.add("Trans1", NDArrayPort="PROC1")
    assert "NDArrayPort: expected one of SIM1, PROC1, TRANS1, found 'CAM2'" in rig.refused(
        "ROI1", "NDArrayPort", "CAM2"
    )
    for port in ("ROI1", "PROC1", "TRANS1"):
        assert f"found {port!r}" in rig.refused("ROI1", "NDArrayPort", port)
    assert rig.plugins["ROI1"].source == "SIM1" and "ROI1:NDArrayPort_RBV" not in rig.shown
    rig.feed(*images(2))
    assert len(rig.out("Trans1")) == 2


def test_settling_waits_for_all_downstream() -> None:
    rig = Rig()
    for name, port in (("ROI1", "SIM1"), ("Proc1", "ROI1"), ("Trans1", "PROC1")):
        rig.add(name, BlockingCallbacks=False, NDArrayPort=port, QueueSize=200)
    for plugin in rig.plugins.values():
        plugin.lane.start()
    rig.feed(*images(100))
    assert rig.graph.settle(SECONDS)
    assert [frame.unique_id for frame in rig.published["Trans1"]] == list(range(1, 101))
    assert rig.graph.waiting("SIM1") == 0
    for plugin in rig.plugins.values():
        plugin.close()


def test_memory_is_bounded_and_given_back() -> None:
    rig = Rig(memory=40)  # frames of 12 bytes
    plugin = rig.add("Stats1", BlockingCallbacks=False)
    rig.feed(*images(5))
    assert (plugin.account.dropped, rig.held.used, rig.held.frames) == (2, 36, 3)
    assert rig.notes["Stats1"].dropped == [(4, "shed"), (5, "shed")]
    plugin.lane.start()
    assert plugin.lane.settle(SECONDS)
    plugin.close()
    plugin.newest = plugin.output = None
    rig.published["Stats1"].clear()
    gc.collect()
    assert (rig.held.used, rig.held.frames) == (0, 0)


def test_what_a_plugin_makes_is_booked_once() -> None:
    rig = Rig()
    rig.add("ROI1", SizeX=2)
    rig.add("Stats1", NDArrayPort="ROI1")
    rig.feed(image(np.zeros((3, 4), np.uint8)))
    assert rig.held.used == 12 + 6  # the frame that came in, the region; Stats passes it on


def test_process_plugin_takes_the_newest_frame_again() -> None:
    rig = Rig()
    plugin = rig.add("ROI1")
    plugin.lane.start()
    rig.feed(*images(2))
    rig.put("ROI1", "SizeX", 1)
    again = plugin.put("ProcessPlugin", True)
    assert again is not None
    again.result(SECONDS)
    assert rig.notes["ROI1"].given == [1, 2], "what is taken again is given once"
    assert plugin.account.arrays == 3 and rig.out("ROI1")[-1].tolist() == [[2], [2], [2]]
    plugin.close()


def test_blocking_callbacks_work_in_the_thread_of_who_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    plugin = rig.add("Stats1")
    threads: list[str] = []
    monkeypatch.setattr(plugin, "work", lambda frame: threads.append(threading.current_thread().name) or ())
    plugin.lane.start()
    rig.feed(*images(1))
    rig.put("Stats1", "BlockingCallbacks", False)
    rig.feed(*images(1))
    assert plugin.lane.settle(SECONDS)
    assert threads == [threading.current_thread().name, "plug-in Stats1"]
    plugin.close()


def test_attributes_are_put_on_what_goes_out() -> None:
    rig = Rig()
    rig.add("Stats1", NDAttributesFile=XML)
    rig.feed(image([[1, 2]], Energy=12.4))
    attributes = rig.published["Stats1"][0].attributes
    assert without_types(attributes) == {"Energy": 12.4, "Sum": 3.0, "Who": "me"}
    assert types_of(attributes) == {"Sum": "f8", "Who": "S"}
    assert rig.see("Stats1")["NDAttributesStatus"] == "Attributes file OK"
    rig.put("Stats1", "NDAttributesFile", XML.replace("CONST", "EPICS_PV"))
    assert rig.see("Stats1")["NDAttributesStatus"] == "XML syntax error"
    rig.put("Stats1", "NDAttributesFile", "/no/such/file.xml")
    assert rig.see("Stats1")["NDAttributesStatus"] == "File not found"
    rig.put("Stats1", "NDAttributesFile", "")
    rig.feed(image([[1, 2]]))
    assert rig.published["Stats1"][-1].attributes == {}


def test_a_figure_that_is_put_stands_until_the_next_frame() -> None:
    rig = Rig()
    rig.add("Stats1")
    rig.put("Stats1", "Total", 99.0)
    rig.put("Stats1", "ArrayCounter", 40)
    assert (rig.see("Stats1")["Total_RBV"], rig.see("Stats1")["ArrayCounter_RBV"]) == (99.0, 40)
    rig.feed(image([[1, 2]]))
    assert (rig.see("Stats1")["Total_RBV"], rig.see("Stats1")["ArrayCounter_RBV"]) == (3.0, 41)


@pytest.mark.parametrize("blocking", [False, True])
def test_a_lane_shows_what_is_new_by_itself(blocking: bool) -> None:
    rig = Rig(clock=SystemClock())
    plugin = rig.add("Stats1", BlockingCallbacks=blocking)
    plugin.start()
    assert (rig.shown["Stats1:PortName_RBV"], rig.shown["Stats1:PluginType_RBV"]) == ("STATS1", "NDPluginStats")
    for last in (2.0, 5.0, 9.0):
        rig.feed(image([[1.0, last]]))
        rig.wait_shown("Stats1:Total_RBV", 1.0 + last)
    plugin.close()
