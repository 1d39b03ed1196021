"""The records of the detector: areaDetector's face, `cam1:` and `Pva1:`, names and choices as in ADCore R3-15.

Only what is served truthfully is here: no binning, no region of interest, no external trigger.
"""

from detector_sim.distributor_records import distributor_records
from ioc.core.frame import ColorMode, DataType
from ioc.records.table import Access, Alarms, Kind, Limits, Record, Severity, under

PATH_SIZE = 256
"""Bytes of ADCore's long strings."""
AD_CORE_VERSION = "3.15.0"
"""The ADCore release whose records these are."""
LARGEST_SIDE = 65536
"""Pixels."""
LONGEST_PERIOD = 3600.0
"""s."""
HIGHEST_RATE = 1e6
"""Hz; the upper end of the configuration's frame_rate."""

DETECTOR_STATES = (
    "Idle",
    "Acquire",
    "Readout",
    "Correct",
    "Saving",
    "Aborting",
    "Error",
    "Waiting",
    "Initializing",
    "Disconnected",
    "Aborted",
)
"""ADCore's states, all of them: clients check the texts when they connect."""
IMAGE_MODES = ("Single", "Multiple", "Continuous")
DATA_TYPES = tuple(member.value for member in DataType)
COLOR_MODES = tuple({ColorMode.MONO: "Mono", ColorMode.RGB1: "RGB1"}[member] for member in ColorMode)

PAIR, READ, BUSY = Access.PAIR, Access.READ, Access.BUSY
INT, COUNT, FLOAT, BOOL, ENUM, STRING = Kind.INT, Kind.COUNT, Kind.FLOAT, Kind.BOOL, Kind.ENUM, Kind.STRING
MINOR_WHEN_ON = (Severity.NO_ALARM, Severity.MINOR)
SECONDS = Limits(0.0, LONGEST_PERIOD)
SIDE = Limits(1, LARGEST_SIDE)
SWITCH = ("Disable", "Enable")
STATE_SEVERITIES = tuple(
    {"Error": Severity.MAJOR, "Disconnected": Severity.INVALID}.get(state, Severity.NO_ALARM)
    for state in DETECTOR_STATES
)

ACQUISITION = (
    Record(
        "Acquire",
        BOOL,
        "Start and stop the acquisition",
        BUSY,
        choices=("Done", "Acquire"),
        shown=("Done", "Acquiring"),
        severities=MINOR_WHEN_ON,
    ),
    Record("AcquireTime", FLOAT, "Exposure of one frame", PAIR, "s", 6, accepted=SECONDS, initial=0.0001),
    Record("AcquirePeriod", FLOAT, "Time from frame to frame", PAIR, "s", 6, accepted=SECONDS, initial=0.001),
    Record("FrameRate", FLOAT, "Frames asked for, 1/AcquirePeriod", PAIR, "Hz", 3, accepted=Limits(0.0, HIGHEST_RATE)),
    Record("ImageMode", ENUM, "How many frames an acquisition has", PAIR, choices=IMAGE_MODES, initial="Continuous"),
    Record("NumImages", INT, "Frames in image mode Multiple", PAIR, accepted=Limits(1), initial=100),
    Record("NumImagesCounter", INT, "Frames of this acquisition"),
    Record("NumExposures", INT, "Exposures per frame", PAIR, accepted=Limits(1, 1), initial=1),
    Record("TriggerMode", ENUM, "What starts a frame", PAIR, choices=("Internal",)),
    Record("DetectorState", ENUM, "What the detector is doing", choices=DETECTOR_STATES, severities=STATE_SEVERITIES),
    Record("StatusMessage", STRING, "What happened last", size=PATH_SIZE),
)

IMAGE = (
    Record("MaxSizeX", INT, "Columns of the sensor", unit="pixel"),
    Record("MaxSizeY", INT, "Rows of the sensor", unit="pixel"),
    Record("SizeX", INT, "Columns of a frame", PAIR, "pixel", accepted=SIDE, initial=512),
    Record("SizeY", INT, "Rows of a frame", PAIR, "pixel", accepted=SIDE, initial=512),
    Record("ArraySizeX", INT, "Columns of the frames sent out", unit="pixel"),
    Record("ArraySizeY", INT, "Rows of the frames sent out", unit="pixel"),
    Record("ArraySizeZ", INT, "Colours of the frames, 0 for Mono"),
    Record("ArraySize0", INT, "First dimension, the fastest"),
    Record("ArraySize1", INT, "Second dimension"),
    Record("ArraySize2", INT, "Third dimension, 0 for Mono"),
    Record("ArraySize", INT, "Bytes of one frame", unit="byte"),
    Record("DataType", ENUM, "Type of a pixel", PAIR, choices=DATA_TYPES, initial="UInt8"),
    Record("ColorMode", ENUM, "Colours of a frame", PAIR, choices=COLOR_MODES),
)

COUNTERS = (
    Record("ArrayCounter", INT, "Frames since the last reset", PAIR, accepted=Limits(0)),
    Record("ArrayRate", FLOAT, "Frames sent out per second", unit="Hz", precision=2),
    Record("ArrayCallbacks", BOOL, "Whether frames are sent out", PAIR, choices=SWITCH, initial=True),
    Record("UniqueId", INT, "Id of the newest frame"),
    Record("TimeStamp", FLOAT, "Time of the newest frame, since 1990", unit="s", precision=3),
    Record("QueueSize", INT, "Frames that wait for members", unit="frame"),
    Record("DroppedArrays", COUNT, "Frames that no member took", unit="frame", alarms=Alarms(high=1)),
    Record("SourceMissed", COUNT, "Frames merged on the way from a source", unit="frame", alarms=Alarms(high=1)),
    Record("PoolMaxMem", FLOAT, "Shared memory for frames", unit="MB", precision=1),
    Record("PoolUsedMem", FLOAT, "Shared memory that frames take up", unit="MB", precision=1),
    Record("MemoryUsed", COUNT, "Shared memory that frames take up", unit="byte"),
    Record("MemoryLimit", COUNT, "Shared memory for frames", unit="byte"),
)

IDENTITY = (
    Record("PortName", STRING, "Name among the plugins", initial="CAM1"),
    Record("Manufacturer", STRING, "Who makes the detector", initial="Rayfan"),
    Record("Model", STRING, "Which detector it is", initial="Soft detector"),
    Record("SerialNumber", STRING, "Serial number", initial="none"),
    Record("FirmwareVersion", STRING, "Firmware", initial="none"),
    Record("SDKVersion", STRING, "Version of the frame sources"),
    Record("DriverVersion", STRING, "Version of Rayfan"),
    Record("ADCoreVersion", STRING, "ADCore release of these records", initial=AD_CORE_VERSION),
    Record("SourceKind", STRING, "Where the frames come from"),
    Record("SourcePath", STRING, "File or channel of the frames", size=PATH_SIZE),
)

IMAGE_CHANNEL = (
    Record("PvName", STRING, "PVA channel of the frames", size=PATH_SIZE),
    Record("PortName", STRING, "Name among the plugins", initial="PVA1"),
    Record("PluginType", STRING, "ADCore class", initial="NDPluginPva"),
    Record("NDArrayPort", STRING, "Where the frames come from", initial="CAM1"),
    Record("ArrayCounter", COUNT, "Frames given to PVA clients", unit="frame"),
    Record("DroppedArrays", COUNT, "Frames that PVA clients missed", unit="frame"),
)


def camera_records() -> list[Record]:
    """Return `cam1:` and `Pva1:`."""
    return [*under("cam1:", ACQUISITION + IMAGE + COUNTERS + IDENTITY), *under("Pva1:", IMAGE_CHANNEL)]


def detector_records() -> list[Record]:
    """Return all records of the detector process."""
    return [*camera_records(), *distributor_records()]
