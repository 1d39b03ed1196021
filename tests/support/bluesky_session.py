"""ophyd-async's SimDetector with its HDF writer, unmodified, under a RunEngine: count, fly, and what came of it.

A round is a count and a flight. Everything that a reader of the documents relies on is looked at when it is said: how
many frames the file has at each stream_datum, and what is in it when the run is over.
"""

import asyncio
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filters that reading needs

TIMEOUT = 20
FRAMES = "/entry/data/data"
IDS = "/entry/instrument/NDAttributes/NDArrayUniqueId"


class Session:
    """A RunEngine and a connected detector; `documents` of all runs so far, `read` the frames found at each datum."""

    def __init__(self, scheme: str, prefix: str, folder: Path) -> None:
        """Connect to the appliance `prefix` by `scheme`, ca or pva; files go into `folder`."""
        from bluesky.run_engine import RunEngine
        from ophyd_async.core import StaticPathProvider, UUIDFilenameProvider, init_devices
        from ophyd_async.epics.adcore import NDROIIO, ADWriterFactory, NDCircularBuffIO, NDPluginBaseIO, NDStatsIO
        from ophyd_async.epics.adsimdetector import SimDetector

        self.engine = RunEngine({}, call_returns_result=True)
        provider = StaticPathProvider(UUIDFilenameProvider(), folder)
        with init_devices(timeout=TIMEOUT):
            start = f"{scheme}://{prefix}"
            stats = NDStatsIO(f"{start}Stats2:")
            plugins: dict[str, NDPluginBaseIO] = {"stats": stats, "roi": NDROIIO(f"{start}ROI1:")}
            plugins["buffer"] = NDCircularBuffIO(f"{start}CB1:")
            detector = SimDetector(start, ADWriterFactory.hdf(provider), plugins=plugins, name="det")
        self.stats, self.detector = stats, detector  # the context connects what it finds among local names
        self.documents: list[tuple[str, dict]] = []
        self.read: list[int] = []
        self.engine.subscribe(self._note)

    def run(self, coroutine: Any) -> Any:
        """Return what a coroutine of the devices returns."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.engine.loop).result(TIMEOUT)

    def count(self, number: int) -> None:
        """Count a number of times."""
        import bluesky.plans as bp

        self.engine(bp.count([self.detector], num=number))

    def fly(self, frames: int) -> None:
        """Take frames in one acquisition, collecting meanwhile."""
        import bluesky.plan_stubs as bps
        from ophyd_async.core import TriggerInfo

        detector = self.detector

        def plan() -> Any:
            yield from bps.open_run()
            yield from bps.stage(detector, wait=True)
            yield from bps.prepare(detector, TriggerInfo(number_of_events=frames), wait=True)
            yield from bps.declare_stream(detector, name="flown", collect=True)
            yield from bps.kickoff(detector, wait=True)
            yield from bps.collect_while_completing([detector], [detector], flush_period=0.2, stream_name="flown")
            yield from bps.unstage(detector, wait=True)
            yield from bps.close_run()

        self.engine(plan())

    async def idle(self) -> list[Any]:
        """Return what Acquire, DetectorState and Capture show."""
        detector: Any = self.detector
        acquire, capture = await detector.driver.acquire.get_value(), await detector.hdf.capture.get_value()
        return [bool(acquire), str(await detector.driver.detector_state.get_value()), bool(capture)]

    def forget(self) -> None:
        """Forget the documents of earlier runs."""
        self.documents.clear()
        self.read.clear()

    def columns(self) -> list[tuple[str, dict, Any]]:
        """Return name, parameters and what lies in the data set of each stream_resource of an NDAttribute."""
        found: list[tuple[str, dict, Any]] = []
        for name, document in self.documents:
            if name == "stream_resource" and document["parameters"]["dataset"] != FRAMES:
                with h5py.File(path_of(document)) as file:
                    data: Any = file.get(document["parameters"]["dataset"])
                    seen = None if data is None else (data.shape, data.dtype.str, data.chunks)
                    found.append((document["data_key"], document["parameters"], seen))
        return found

    def files(self) -> dict[str, Any]:
        """Return what lies in the data set of each stream_resource of frames."""
        found: dict[str, Any] = {}
        for name, document in self.documents:
            if name == "stream_resource" and document["parameters"]["dataset"] == FRAMES:
                with h5py.File(path_of(document)) as file:
                    data: Any = file[FRAMES]
                    ids: Any = file[IDS]
                    complete: Any = file.attrs["complete"]
                    found[document["uid"]] = {
                        "shape": data.shape,
                        "dtype": data.dtype.str,
                        "chunks": data.chunks,
                        "distinct": len({frame.tobytes() for frame in data[:]}),
                        "ids": ids[:].tolist(),
                        "complete": int(complete),
                    }
        return found

    def _note(self, name: str, document: dict) -> None:
        self.documents.append((name, document))
        if name == "stream_datum":
            resources = [one for kind, one in self.documents if kind == "stream_resource"]
            self.read.append(_readable(next(one for one in resources if one["uid"] == document["stream_resource"])))


def path_of(resource: dict) -> str:
    """Return the file of a stream_resource."""
    return resource["uri"].removeprefix("file://localhost")


def _readable(resource: dict) -> int:
    """Return how many frames a reader finds at once in the file of a resource."""
    with h5py.File(path_of(resource), "r", swmr=True, libver="latest") as file:
        data: Any = file[resource["parameters"]["dataset"]]
        return data.shape[0]
