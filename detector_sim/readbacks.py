"""What the detector's read-backs show: a mapping from the flow's state to record values, sampled, never per frame."""

import math
from collections.abc import Mapping

from detector_sim.acquisition import Acquisition
from detector_sim.distributor_records import SHOWN_MEMBERS
from detector_sim.flow import Flow
from detector_sim.image_readbacks import image
from detector_sim.records import DETECTOR_STATES
from detector_sim.snapshot import Snapshot
from ioc.core.config import DISTRIBUTOR_SLOTS
from ioc.core.config_detector import DetectorConfig
from ioc.core.forecast import NEVER
from ioc.core.frame import DataType
from ioc.core.status import GroupStatus, MemberStatus
from ioc.records.table import Value

EPICS_EPOCH = 631152000
"""Seconds from 1970 to 1990, where EPICS time stamps begin."""
LARGEST_INT = (1 << 31) - 1

Values = dict[str, Value]


def camera(flow: Flow, config: DetectorConfig, rate: float) -> Values:
    """Return the values of `cam1:`."""
    acquisition, snapshot = flow.acquisition, flow.snapshot
    members = [member for group in snapshot.groups for member in group.members if group.slot]
    queued = _int(sum(member.queued for member in members))
    stamp = max(0, flow.newest_ns - EPICS_EPOCH * 10**9)
    return {
        **parameters(acquisition),
        **state(acquisition, snapshot),
        **image(flow, config),
        **counters(acquisition),
        "cam1:ArrayCallbacks_RBV": flow.callbacks,
        "cam1:ArrayRate_RBV": rate,
        "cam1:TimeStamp_RBV": stamp / 1e9,
        "cam1:EpicsTSSec_RBV": _int(stamp // 10**9),
        "cam1:EpicsTSNsec_RBV": stamp % 10**9,
        "cam1:TimeRemaining_RBV": acquisition.time_remaining(),
        "cam1:QueueSize_RBV": queued,
        "cam1:NumQueuedArrays": queued,
        "cam1:DroppedArrays_RBV": sum(sum(member.dropped.values()) for member in members),
        **pool(flow),
    }


def described(flow: Flow) -> dict[str, float | int | str]:
    """Return shape and type of what is served, for processes that must know before the first frame comes."""
    return {"Shape": ",".join(map(str, flow.store.shape)), "DataType": DataType.of(flow.store.dtype).value}


def pool(flow: Flow) -> Values:
    """Return how much of the shared memory is in use; a buffer is the memory of one frame."""
    image_bytes = max(1, math.prod(flow.store.shape) * flow.store.dtype.itemsize)
    buffers = max(1, flow.store.size_bytes // image_bytes)
    used = min(buffers, flow.store.held)
    return {
        "cam1:PoolUsedMem_RBV": flow.reserved_bytes / 1e6,
        "cam1:MemoryUsed_RBV": flow.reserved_bytes,
        "cam1:PoolAllocBuffers": buffers,
        "cam1:PoolUsedBuffers": used,
        "cam1:PoolFreeBuffers": buffers - used,
    }


def parameters(acquisition: Acquisition) -> Values:
    """Return the acquisition parameters; demands too, because one may change another."""
    return {
        "cam1:AcquireTime": acquisition.acquire_time,
        "cam1:AcquireTime_RBV": acquisition.acquire_time,
        "cam1:AcquirePeriod": acquisition.acquire_period,
        "cam1:AcquirePeriod_RBV": acquisition.acquire_period,
        "cam1:FrameRate": acquisition.frame_rate,
        "cam1:FrameRate_RBV": acquisition.frame_rate,
        "cam1:ImageMode_RBV": acquisition.image_mode.value,
        "cam1:NumImages_RBV": acquisition.num_images,
        "cam1:NumExposures": acquisition.num_exposures,
        "cam1:NumExposures_RBV": acquisition.num_exposures,
    }


def state(acquisition: Acquisition, snapshot: Snapshot) -> Values:
    """Return state and message."""
    waiting = acquisition.acquiring and snapshot.waiting_for
    return {
        "cam1:DetectorState_RBV": DETECTOR_STATES[acquisition.state],
        "cam1:StatusMessage_RBV": f"Waiting for {snapshot.waiting_for}" if waiting else acquisition.message,
    }


def counters(acquisition: Acquisition) -> Values:
    """Return what counts frames."""
    return {
        "cam1:ArrayCounter": _int(acquisition.array_counter),
        "cam1:ArrayCounter_RBV": _int(acquisition.array_counter),
        "cam1:NumImagesCounter_RBV": _int(acquisition.images_counter),
        "cam1:UniqueId_RBV": _int(acquisition.published),
        "cam1:NumExposuresCounter_RBV": acquisition.num_exposures if acquisition.images_counter else 0,
    }


def distributor(snapshot: Snapshot, overflows: Mapping[int, float]) -> Values:
    """Return the values of all slots `Dist1:` ...; `overflows` are the times to overflow by slot, s."""
    values: Values = {}
    groups = {group.slot: group for group in snapshot.groups}
    for slot in range(1, DISTRIBUTOR_SLOTS + 1):
        group = groups.get(slot)
        if group is not None:
            values.update(_group(f"Dist{slot}:", group))
        else:
            values.update({f"Dist{slot}:Name_RBV": "", f"Dist{slot}:Members_RBV": 0})
        values[f"Dist{slot}:TimeToOverflow_RBV"] = overflows.get(slot, NEVER)
    return values


def demands(snapshot: Snapshot) -> Values:
    """Return the settings of the groups as demands, for the start: what is configured is what is asked for."""
    values: Values = {}
    for group in snapshot.groups:
        if group.slot:
            place = f"Dist{group.slot}:"
            values |= {name.removesuffix("_RBV"): value for name, value in _settings(place, group).items()}
            values[f"{place}Sets"] = 0 if group.sets == max(group.count, 1) else group.sets
    return values


def _settings(place: str, group: GroupStatus) -> Values:
    return {
        f"{place}Name_RBV": group.name[:39],
        f"{place}Count_RBV": group.count,
        f"{place}Sets_RBV": group.sets,
        f"{place}Updates_RBV": group.updates,
        f"{place}QueueSize_RBV": group.queue_size,
        f"{place}QueueBytes_RBV": group.queue_bytes,
        f"{place}Policy_RBV": group.policy.capitalize(),
        f"{place}Drop_RBV": group.drop.capitalize(),
        f"{place}AckTimeout_RBV": group.ack_timeout,
    }


def _group(place: str, group: GroupStatus) -> Values:
    members = group.members
    values = _settings(place, group)
    values |= {
        f"{place}Members_RBV": sum(member.present for member in members),
        f"{place}Silent_RBV": sum(member.silent for member in members),
        f"{place}Turns_RBV": group.turns,
        f"{place}Nobody_RBV": group.nobody,
        f"{place}Queued_RBV": sum(member.queued for member in members),
        f"{place}InFlight_RBV": sum(member.in_flight for member in members),
        f"{place}HighWater_RBV": max((member.high_water for member in members), default=0),
        f"{place}Dropped_RBV": sum(sum(member.dropped.values()) for member in members),
        f"{place}Lag_RBV": max((member.queued + member.in_flight for member in members), default=0),
        f"{place}LagTime_RBV": max((member.lag_seconds for member in members), default=0.0),
    }
    for number, member in enumerate(members[:SHOWN_MEMBERS], 1):
        values |= _member(f"{place}Member{number}:", member)
    return values


def _member(place: str, member: MemberStatus) -> Values:
    return {
        f"{place}Name_RBV": member.name,
        f"{place}Present_RBV": member.present,
        f"{place}Queued_RBV": member.queued,
        f"{place}Dropped_RBV": sum(member.dropped.values()),
        f"{place}Lag_RBV": member.queued + member.in_flight,
    }


def _int(value: int) -> int:
    """Return a count as an EPICS long holds it: 32 bits, saturated."""
    return min(value, LARGEST_INT)
