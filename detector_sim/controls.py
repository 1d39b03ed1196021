"""What the detector's control records do: each put becomes one command in the flow, between two frames.

Parameters of the image (size, type, colour) need other images: they are made in a thread of their own while the old
ones still flow, and take over between two frames. A put returns when it has taken effect.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from detector_sim.acquisition import ImageMode
from detector_sim.attributes import FrameAttributes
from detector_sim.flow import Flow
from detector_sim.image_controls import Change, change_of
from detector_sim.images import Images
from ioc.core.config_detector import DetectorConfig
from ioc.core.config_table import Drop, Policy
from ioc.core.errors import RefusedError, mismatch
from ioc.core.overflow import Limits
from ioc.distributor.group import Group, GroupShape
from ioc.records.table import Value


class Controls:
    """Takes puts by record name, as RecordServer hands them over."""

    def __init__(
        self,
        flow: Flow,
        config: DetectorConfig,
        make_store: Callable[[DetectorConfig], Images],
        attributes: FrameAttributes,
    ) -> None:
        self._flow = flow
        self._config = config
        self.attributes = attributes
        self.labels: dict[str, Value] = {}
        self._file, self._macros = config.attributes, ""
        self._make_store = make_store
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="images")
        self._commands: dict[str, Callable[[Value], Future | None]] = {
            "cam1:Acquire": self._acquire,
            "cam1:AcquireTime": self._parameter(lambda v: flow.acquisition.set_time(float(v))),
            "cam1:AcquirePeriod": self._parameter(lambda v: flow.acquisition.set_period(float(v))),
            "cam1:TriggerMode": _only_internal,
            "cam1:FrameRate": self._parameter(lambda v: flow.acquisition.set_frame_rate(float(v))),
            "cam1:ImageMode": self._parameter(self._set_mode),
            "cam1:NumImages": self._parameter(lambda v: setattr(flow.acquisition, "num_images", int(v))),
            "cam1:ArrayCounter": self._parameter(lambda v: setattr(flow.acquisition, "array_counter", int(v))),
            "cam1:ArrayCallbacks": self._parameter(lambda v: setattr(flow, "callbacks", bool(v))),
            "cam1:ReadStatus": self._parameter(lambda _: None),
            "cam1:NumExposures": self._parameter(lambda v: flow.acquisition.set_exposures(int(v))),
            "cam1:WaitForPlugins": self._parameter(lambda v: setattr(flow, "wait_for_plugins", bool(v))),
            "cam1:NDAttributesFile": lambda v: self._maker.submit(self._attributes, str(v), self._macros),
            "cam1:NDAttributesMacros": lambda v: self._maker.submit(self._attributes, self._file, str(v)),
        }

    @property
    def config(self) -> DetectorConfig:
        """The image parameters in effect."""
        return self._config

    def put(self, name: str, value: Value) -> Future | None:
        """Carry out a put; the Future is done when it has taken effect.

        Raises:
            RefusedError: it cannot be; nothing was changed.
        """
        command = self._commands.get(name)
        if command is not None:
            return command(value)
        change = change_of(name)
        if change is not None:
            return self._maker.submit(self._change_images, change, value)
        if name.startswith("cam1:"):  # a label: it is shown, and nothing else
            return self._flow.submit(lambda: self.labels.update({name: value}))
        device, _, field = name.partition(":")
        if device.startswith("Dist") and device[4:].isdigit():
            return self._flow.submit(lambda: self._group(int(device[4:]), field, value))
        return None

    def begin(self) -> None:
        """Put the configured attributes on the frames."""
        self._maker.submit(self._attributes, self._file, self._macros).result()

    def close(self) -> None:
        """Let go of the thread that makes images, and of the PVs that are monitored."""
        self.attributes.close()
        self._maker.shutdown(wait=True, cancel_futures=True)

    def _parameter(self, change: Callable[[Value], None]) -> Callable[[Value], Future]:
        return lambda value: self._flow.submit(lambda: change(value))

    def _acquire(self, value: Value) -> Future:
        return self._flow.acquire() if value else self._flow.abort()

    def _set_mode(self, value: Value) -> None:
        self._flow.acquisition.image_mode = ImageMode(value)

    def _attributes(self, file: str, macros: str) -> None:
        self._file, self._macros = file, macros
        self.labels.update({"cam1:NDAttributesFile": file, "cam1:NDAttributesMacros": macros})
        self.attributes.read(file, macros)
        self._flow.attributes = self.attributes.of if self.attributes.any else None

    def _change_images(self, change: Change, value: Value) -> None:
        config = change(self._config, value)
        store = self._make_store(config)
        self._flow.submit(lambda: self._flow.replace_store(store)).result()
        self._config = config

    def _group(self, slot: int, field: str, value: Value) -> None:
        group = self._flow.distributor.groups.get(slot)
        if group is None:
            if field == "Name" and value:
                self._new_group(slot, str(value))
                return
            raise RefusedError(mismatch(f"Dist{slot}:{field}", "a group in this slot", "none", "put its Name first"))
        if field == "Name":
            self._rename(group, str(value))
            return
        shape = _changed(group.shape, field, value)
        if shape.sets is not None and shape.sets > max(shape.count, 1):
            if field == "Count":
                raise RefusedError(
                    mismatch(f"Dist{slot}:Count", f"at least Sets = {shape.sets}", shape.count, "put Sets first")
                )
            raise RefusedError(mismatch(f"Dist{slot}:Sets", f"at most Count = {shape.count}", shape.sets))
        self._flow.distributor.reshape(slot, shape)

    def _new_group(self, slot: int, name: str) -> None:
        for other in self._flow.distributor.groups.values():
            if other.shape.name == name:
                raise RefusedError(mismatch(f"Dist{slot}:Name", "a name that no group has", name))
        shape = GroupShape(name, 0, None, 1, Limits(Policy.LOSSLESS, 64))
        self._flow.distributor.add_group(slot, shape, [])

    def _rename(self, group: Group, name: str) -> None:
        if name == group.shape.name:
            return
        if group.seats:
            where = f"Dist{group.slot}:Name"
            raise RefusedError(mismatch(where, f"{group.shape.name!r}, because the group has had members", name))
        if name:
            group.shape = replace(group.shape, name=name)
        else:
            self._flow.distributor.remove_group(group.slot)


def _only_internal(value: Value) -> None:
    if value != "Internal":
        raise RefusedError(mismatch("cam1:TriggerMode", "Internal: there is no trigger input", value))


def _changed(shape: GroupShape, field: str, value: Value) -> GroupShape:
    limits = shape.limits
    if field == "Policy":
        return replace(shape, limits=replace(limits, policy=Policy(str(value).lower())))
    if field == "Drop":
        return replace(shape, limits=replace(limits, drop=Drop(str(value).lower())))
    if field == "QueueSize":
        return replace(shape, limits=replace(limits, frames=int(value)))
    if field == "QueueBytes":
        return replace(shape, limits=replace(limits, size_bytes=int(value) or None))
    if field == "AckTimeout":
        return replace(shape, ack_timeout=float(value))
    if field == "Sets":
        return replace(shape, sets=int(value) or None)
    return replace(shape, **{field.lower(): int(value)})
