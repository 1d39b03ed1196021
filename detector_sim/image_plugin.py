"""`Pva1:`, the image channel as areaDetector's NDPluginPva: what its records take, and what they show."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace

from detector_sim.flow import Flow
from detector_sim.image_switch import ImageSwitch
from detector_sim.records import IMAGE_CHANNEL
from detector_sim.remote import IMAGE_SLOT
from ioc.channels.base import ImageLink
from ioc.core.clock import Clock
from ioc.core.compressed import NAME
from ioc.core.config_table import Policy
from ioc.core.errors import RefusedError, mismatch
from ioc.core.rate import RateMeter
from ioc.core.status import MemberStatus
from ioc.records.areadetector import CAMERA_PORT
from ioc.records.table import Access, Value

EPICS_EPOCH_NS = 631_152_000 * 10**9
ONLY: Mapping[str, tuple[Value, str]] = {
    "NDArrayPort": (CAMERA_PORT, f"{CAMERA_PORT}: the frames of plug-ins have channels of their own"),
    "NDAttributesFile": ("", "none: put attributes to cam1:NDAttributesFile"),
    "NDAttributesMacros": ("", "none: put attributes to cam1:NDAttributesFile"),
}
"""Demands of which one value alone is taken, and the words for it."""

SHOWN_BY_FRAMES = ("DataType", "ColorMode", "NDimensions")
"""Demands whose read-backs tell of the frames (image_readbacks)."""


class ImagePlugin:
    """The records of `Pva1:` by their names without it; `link` is to be given the frames of the image group."""

    def __init__(self, flow: Flow, channel: ImageLink, clock: Clock) -> None:
        self.link = ImageSwitch(channel, clock)
        self._flow = flow
        self._clock = clock
        self._chosen = {one.name: one.start_value for one in IMAGE_CHANNEL if one.access is Access.PAIR}
        self._before = {"ArrayCounter": 0, "DroppedArrays": 0}
        self._followed: dict[str, Value] = {}
        """Demands that follow from a put of another one, and are not shown yet."""
        self._rate = RateMeter()
        acts: dict[str, Callable[[Value], None]] = {
            "EnableCallbacks": lambda on: setattr(self.link, "enabled", bool(on)),
            "MinCallbackTime": lambda seconds: self._least(float(seconds)),
            "MaxArrayRate": lambda rate: self._least(1.0 / float(rate) if rate else 0.0),
            "QueueSize": lambda _: self._reshape(),
            "BlockingCallbacks": lambda _: self._reshape(),
            "ArrayCounter": lambda value: self._begin_at("ArrayCounter", self.link.frames, int(value)),
            "DroppedArrays": lambda value: self._begin_at("DroppedArrays", self._dropped, int(value)),
        }
        self._acts = acts

    def put(self, field: str, value: Value) -> "Future[None]":
        """Carry out a put between two frames; the Future is done when it has taken effect.

        Raises:
            RefusedError: the record takes another value only.
        """
        only = ONLY.get(field)
        if only is not None and value != only[0]:
            raise RefusedError(mismatch(f"Pva1:{field}", only[1], value))
        return self._flow.submit(lambda: self._choose(field, value))

    def values(self) -> dict[str, Value]:
        """Return what the records show, but for what is told of the frames on cam1: too."""
        newest, size = self.link.newest, int(self._chosen["QueueSize"])
        waiting = min(size, self._member.queued) if self._member is not None else 0
        stamp = max(0, newest.timestamp_ns - EPICS_EPOCH_NS) if newest is not None else 0
        return {
            **{f"{name}_RBV": value for name, value in self._chosen.items() if name not in SHOWN_BY_FRAMES},
            "ArrayCounter_RBV": self.link.frames - self._before["ArrayCounter"],
            "DroppedArrays_RBV": self._dropped - self._before["DroppedArrays"],
            "ArrayRate_RBV": self._rate.rate,
            "QueueUse": waiting,
            "QueueFree": size - waiting,
            "UniqueId_RBV": newest.unique_id if newest is not None else 0,
            "TimeStamp_RBV": stamp / 1e9,
            "EpicsTSSec_RBV": stamp // 10**9,
            "EpicsTSNsec_RBV": stamp % 10**9,
            "Codec_RBV": str(newest.attributes.get(NAME, "")) if newest is not None else "",
            "CompressedSize_RBV": newest.nbytes if newest is not None else 0,
        }

    def sample(self) -> dict[str, Value]:
        """Return what the records show, with a rate that is up to date; to be called now and then."""
        self._rate.update(self.link.frames, self._clock.monotonic_ns())
        followed = dict(self._followed.popitem() for _ in range(len(self._followed)))  # the flow may add to it
        return self.values() | followed

    @property
    def _member(self) -> MemberStatus | None:
        groups = self._flow.snapshot.groups
        return next((group.members[0] for group in groups if group.slot == IMAGE_SLOT and group.members), None)

    @property
    def _dropped(self) -> int:
        return sum(self._member.dropped.values()) if self._member is not None else 0

    def _choose(self, field: str, value: Value) -> None:
        self._chosen[field] = value
        act = self._acts.get(field)
        if act is not None:
            act(value)

    def _begin_at(self, field: str, count: int, value: int) -> None:
        self._before[field] = count - value

    def _least(self, seconds: float) -> None:
        self.link.least_ns = round(seconds * 1e9)
        both = {"MinCallbackTime": seconds, "MaxArrayRate": 1.0 / seconds if seconds else 0.0}
        self._chosen |= both
        self._followed |= both

    def _reshape(self) -> None:
        """Have as many frames wait as may; with BlockingCallbacks the detector waits instead of dropping one."""
        group = self._flow.distributor.groups[IMAGE_SLOT]
        policy = Policy.LOSSLESS if self._chosen["BlockingCallbacks"] else Policy.BOUNDED
        limits = replace(group.shape.limits, frames=int(self._chosen["QueueSize"]), policy=policy)
        self._flow.distributor.reshape(IMAGE_SLOT, replace(group.shape, limits=limits))
