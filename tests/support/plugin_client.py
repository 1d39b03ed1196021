"""Unmodified classic ophyd and pyepics at the plug-ins of a running appliance.

`python -m tests.support.plugin_client PREFIX` does with each plug-in what beamlines do with it, and prints what it saw
as JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

TIMEOUT = 30.0
FRAMES = 12
REGION = {"x": [4, 16], "y": [8, 24]}


def wait_for(true: Callable[[], Any], what: str) -> None:
    """Wait until something is true."""
    limit = time.monotonic() + TIMEOUT
    while not true():
        assert time.monotonic() < limit, f"{what}: not within {TIMEOUT} s"
        time.sleep(0.02)  # polled: another process changes a PV


def make_detector(prefix: str) -> Any:
    """Return ophyd's SimDetector with the plug-ins as beamlines put them together, connected."""
    from ophyd import Component, SimDetector, SingleTrigger
    from ophyd.areadetector import plugins

    class Plugged(SingleTrigger, SimDetector):  # pyright: ignore[reportIncompatibleMethodOverride]
        """A detector with one plug-in of each kind, in the version of ADCore 3.5 and, for two, the first one."""

        image = Component(plugins.ImagePlugin, "image1:")
        stats = Component(plugins.StatsPlugin_V35, "Stats1:")
        first_stats = Component(plugins.StatsPlugin, "Stats2:")
        roi = Component(plugins.ROIPlugin_V35, "ROI1:")
        proc = Component(plugins.ProcessPlugin_V35, "Proc1:")
        trans = Component(plugins.TransformPlugin_V35, "Trans1:")
        codec = Component(plugins.CodecPlugin_V35, "Codec1:")
        cb = Component(plugins.CircularBuffPlugin_V35, "CB1:")

    detector: Any = Plugged(prefix, name="det")
    detector.wait_for_connection(timeout=TIMEOUT)
    return detector


def acquire(detector: Any) -> list[str]:
    """Stage, take FRAMES frames, wait until every plug-in has seen the last of them, unstage.

    Return BlockingCallbacks of Stats1 and Proc1 while they were staged.
    """
    detector.stage()
    blocking = [detector.stats.blocking_callbacks.get(), detector.proc.blocking_callbacks.get()]
    looked_at = (detector.image, detector.stats, detector.first_stats, detector.trans, detector.codec)
    for plugin in looked_at:
        plugin.array_counter.set(0).wait(TIMEOUT)
    status = detector.trigger()
    wait_for(lambda: status.done, "the acquisition is over")
    for plugin in looked_at:
        wait_for(lambda plugin=plugin: plugin.array_counter.get() == FRAMES, f"{plugin.name} has had all frames")
    detector.unstage()
    return blocking


def look(detector: Any) -> dict[str, Any]:
    """Rewire the plug-ins, acquire, and return what they show."""
    roi, stats, cam = detector.roi, detector.stats, detector.cam
    cam.stage_sigs.update({"num_images": FRAMES, "image_mode": 1})
    for plugin in (stats, detector.trans):
        plugin.nd_array_port.set(roi.port_name.get()).wait(TIMEOUT)
    detector.cb.stage_sigs["nd_array_port"] = "ROI1"
    roi.set(REGION).wait(TIMEOUT)
    stats.compute_centroid.set("Yes").wait(TIMEOUT)
    stats.compute_histogram.set("Yes").wait(TIMEOUT)
    stats.compute_profiles.set("Yes").wait(TIMEOUT)
    detector.trans.type_.put("Rot90", wait=True)
    detector.codec.compressor.set("LZ4").wait(TIMEOUT)
    detector.proc.ensure_nonblocking()
    blocking = acquire(detector)
    # not `.image`: for Mono frames it asks for as many pixels as there are colours, 0
    height, width = detector.image.height.get(), detector.image.width.get()
    image = np.asarray(detector.image.array_data.get(count=height * width)).reshape(height, width)
    stats.total.kind = "hinted"
    stats.centroid.kind = stats.centroid.x.kind = "normal"
    region = image[8:32, 4:20].astype(float)
    return {
        "image": {"shape": image.shape, "total": float(image.sum())},
        "first_total": detector.first_stats.total.get(),
        "region": {"total": region.sum(), "max": region.max(), "sigma": region.std()},
        "read": {name: value["value"] for name, value in stats.read().items()},
        "figures": [stats.max_value.get(), stats.sigma_readout.get(), stats.array_counter.get()],
        "histogram": int(np.sum(stats.histogram.get())),
        "profile": np.asarray(stats.profile_average.x.get()).tolist(),
        "profile_expected": region.mean(axis=0).tolist(),
        "configuration": sorted(stats.read_configuration()),
        "roi": [roi.size.x.get(), roi.size.y.get(), roi.max_size.x.get(), roi.array_size_xyz.get()],
        "trans": [detector.trans.array_size.get(), stats.array_size.get()],
        "codec": [detector.codec.comp_factor.get(), detector.codec.codec_status.get()],
        "queue": [stats.queue_size.get(), stats.queue_use.get(), stats.queue_free.get(), stats.dropped_arrays.get()],
        "blocking": blocking,
    }


def graph(detector: Any) -> dict[str, Any]:
    """Walk the ports, and draw them."""
    import matplotlib as mpl

    mpl.use("Agg")
    detector.validate_asyn_ports()
    edges, ports = detector.get_asyn_digraph()
    detector.visualize_asyn_digraph()
    pipeline = [type(one).__name__ for one in detector.stats._asyn_pipeline]
    return {"edges": sorted(edges.edges), "ports": sorted(ports), "pipeline": pipeline}


def buffer(detector: Any) -> dict[str, Any]:
    """Keep frames before a trigger by hand, and let it be over."""
    cb = detector.cb
    for signal, value in ((cb.enable, "Enable"), (cb.pre_count, 5), (cb.post_count, 1)):
        signal.set(value).wait(TIMEOUT)
    cb.flush_on_soft_trigger.set("Immediately").wait(TIMEOUT)
    cb.nd_array_port.set("SIM1").wait(TIMEOUT)
    cb.capture.put(1)
    wait_for(lambda: cb.capture.get() == 1, "CB1 captures")
    detector.stage()
    status = detector.trigger()
    wait_for(lambda: status.done and cb.current_qty.get() == 5, "CB1 keeps frames")
    wrapping = cb.status_message.get()
    cb.trigger_.put(1)
    detector._status = None
    detector.cam.acquire.put(1)
    wait_for(lambda: cb.capture.get() == 0, "CB1 has come to an end")
    wait_for(lambda: detector.cam.acquire.get() == 0, "the second acquisition is over")
    wait_for(lambda: cb.actual_trigger_count.get() == 1, "CB1 says so")
    detector.unstage()
    return {"wrapping": wrapping, "completed": cb.status_message.get(), "after": cb.post_trigger_qty.get()}


def background(detector: Any) -> dict[str, Any]:
    """Take the newest frame off the next ones."""
    proc = detector.proc
    proc.data_type_out.set("Float64").wait(TIMEOUT)
    proc.save_background.put(1, wait=True)
    proc.enable_background.set("Enable").wait(TIMEOUT)
    proc.filter_type.put("Average", wait=True)
    wait_for(lambda: proc.valid_background.get() == "Valid", "the background is valid")
    return {"oc3": proc.oc.oc3.get(), "background": proc.valid_background.get()}


def pyepics(prefix: str) -> dict[str, Any]:
    """Read the image with pyepics' class for it."""
    from epics.devices.ad_image import AD_ImagePlugin

    image = AD_ImagePlugin(f"{prefix}image1:")
    missing = [name for name, pv in image._pvs.items() if not pv.wait_for_connection(2.0)]
    return {"missing": missing, "elements": len(image.get("ArrayData")), "width": image.get("ArraySize0_RBV")}


def at_the_end(prefix: str) -> dict[str, Any]:
    """Acquire with WaitForPlugins, and look at once: no plug-in has anything left to do."""
    import epics
    from p4p.client.thread import Context

    epics.caput(f"{prefix}Stats1:EnableCallbacks", 1, wait=True, timeout=TIMEOUT)
    epics.caput(f"{prefix}ROI1:EnableCallbacks", 1, wait=True, timeout=TIMEOUT)
    epics.caput(f"{prefix}Stats1:ArrayCounter", 0, wait=True, timeout=TIMEOUT)
    epics.caput(f"{prefix}cam1:WaitForPlugins", 1, wait=True, timeout=TIMEOUT)
    epics.caput(f"{prefix}cam1:ImageMode", "Multiple", wait=True, timeout=TIMEOUT)
    epics.caput(f"{prefix}cam1:NumImages", FRAMES, wait=True, timeout=TIMEOUT)
    epics.caput(f"{prefix}Stats1:TS:TSNumPoints", FRAMES, wait=True, timeout=TIMEOUT)
    epics.caput(f"{prefix}Stats1:TS:TSAcquire", 1)
    acquiring = f"{prefix}Stats1:TS:TSAcquiring"
    wait_for(lambda: epics.caget(acquiring, use_monitor=False) == 1, "points are taken")
    epics.caput(f"{prefix}cam1:Acquire", 1, wait=True, timeout=TIMEOUT)
    totals = np.asarray(epics.caget(f"{prefix}Stats1:TSTotal", use_monitor=False))
    series = [len(totals), totals[-1] == epics.caget(f"{prefix}Stats1:Total_RBV", use_monitor=False)]
    series.append(epics.caget(acquiring, use_monitor=False))
    names = [f"{prefix}Stats1:{name}_RBV" for name in ("ArrayCounter", "UniqueId", "DroppedArrays")]
    found: list[Any] = [epics.caget(name, use_monitor=False) for name in names]
    with Context("pva") as context:
        region: Any = context.get(f"{prefix}ROI1:Image", timeout=TIMEOUT)
    epics.caput(f"{prefix}cam1:WaitForPlugins", 0, wait=True, timeout=TIMEOUT)
    return {"counter": found[0], "id": found[1], "dropped": found[2], "region": region.shape, "series": series}


def main() -> None:
    """Do all of it."""
    detector = make_detector(sys.argv[1])
    seen = {"look": look(detector), "background": background(detector), "buffer": buffer(detector)}
    seen |= {"graph": graph(detector), "pyepics": pyepics(sys.argv[1])}
    seen["end"] = at_the_end(sys.argv[1])
    print(json.dumps(seen, default=_plain))


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


if __name__ == "__main__":
    main()
