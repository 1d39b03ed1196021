"""The PVs of the demonstration that users were promised, with units and digits, and puts that are refused."""

import math
from itertools import product

DETECTOR_PAIRS = (
    *("Acquire", "AcquireTime", "AcquirePeriod", "FrameRate", "ImageMode", "NumImages"),
    *("SizeX", "SizeY", "DataType", "ColorMode", "ArrayCounter", "ArrayCallbacks"),
)
DETECTOR_READS = (
    *("DetectorState", "StatusMessage", "NumImagesCounter", "ArrayRate", "UniqueId", "QueueSize", "DroppedArrays"),
    *("ArraySizeX", "ArraySizeY", "ArraySize", "MaxSizeX", "MaxSizeY", "Manufacturer", "Model"),
)
GROUP_PAIRS = ("Name", "Count", "Sets", "Updates", "QueueSize", "QueueBytes", "Policy")
GROUP_READS = ("Members", "Queued", "HighWater", "Dropped", "Lag", "LagTime", "Member1:Queued", "Member1:Dropped")
CONSUMER_READS = (
    *("State", "Received", "Processed", "Missed", "Dropped", "Rate", "LatencyP50", "LatencyP99", "LatencyMax"),
    *("LastError", "Stat:MeanValue"),
)
COMMANDS = ("Start", "Stop", "Reset", "Configure")
EGRESS_READS = ("State", "Frames", "Bytes", "Packets", "Errors", "Rate", "Destination")
INGRESS_READS = ("State", "Frames", "Bytes", "Incomplete", "Lost", "Rate")
UNITS = {
    "cam1:AcquireTime": "s",
    "cam1:AcquirePeriod_RBV": "s",
    "cam1:FrameRate": "Hz",
    "cam1:FrameRate_RBV": "Hz",
    "cam1:SizeX": "pixel",
    "cam1:ArrayRate_RBV": "Hz",
    "Dist1:Updates": "frame",
    "Dist1:QueueSize": "frame",
    "Dist1:QueueBytes_RBV": "byte",
    "Dist1:LagTime_RBV": "s",
    "Cons1:Received_RBV": "frame",
    "Cons1:Rate_RBV": "Hz",
    "Cons1:LatencyP99_RBV": "s",
    "Ejfat1:Bytes_RBV": "byte",
    "Ejfat1:Packets_RBV": "packet",
    "EjfatIn1:Rate_RBV": "Hz",
    "Ledger:Published_RBV": "frame",
    "Ledger:Residue_RBV": "frame",
}
PRECISIONS = {"cam1:AcquireTime": 6, "cam1:FrameRate_RBV": 3, "Cons1:LatencyP50_RBV": 6, "Ejfat1:Rate_RBV": 2}
REFUSED = [
    ("cam1:FrameRate", -5.0, "-5"),
    ("cam1:FrameRate", 0.0, "0"),
    ("cam1:FrameRate", math.nan, "nan"),
    ("cam1:AcquirePeriod", -1.0, "-1"),
    ("cam1:AcquireTime", math.inf, "inf"),
    ("cam1:SizeX", 0, "0"),
    ("cam1:NumImages", -1, "-1"),
    ("Dist1:Count", -1, "-1"),
    ("Dist1:Updates", 0, "0"),
    ("Dist1:Sets", 3, "3"),
    ("Dist7:Count", 2, "'none'"),
    ("cam1:DataType", 99, "99"),
    ("cam1:TriggerMode", "External", "'External'"),
    ("cam1:BinX", 0, "0"),
    ("Dist1:Policy", 9, "9"),
]


def every_name() -> list[str]:
    """Return every PV that users were promised."""
    names = [f"cam1:{name}{end}" for name, end in product(DETECTOR_PAIRS, ("", "_RBV"))]
    names += [f"cam1:{name}_RBV" for name in DETECTOR_READS]
    for slot in range(1, 9):
        names += [f"Dist{slot}:{name}{end}" for name, end in product(GROUP_PAIRS, ("", "_RBV"))]
        names += [f"Dist{slot}:{name}_RBV" for name in GROUP_READS]
    for consumer in ("Cons1", "Cons2"):
        names += [f"{consumer}:{name}_RBV" for name in CONSUMER_READS]
        names += [f"{consumer}:{name}" for name in COMMANDS]
    names += [f"Ejfat1:{name}_RBV" for name in EGRESS_READS]
    names += [f"EjfatIn1:{name}_RBV" for name in INGRESS_READS]
    return [*names, "Ledger:Published_RBV", "Ledger:Residue_RBV", "Ledger:Dropped_RBV", "Pva1:PvName_RBV"]
