"""The records of the detector: areaDetector's face, `cam1:` and `Pva1:`, names and choices as in ADCore R3-15."""

from dataclasses import replace

from detector_sim.distributor_records import distributor_records
from detector_sim.simulation_records import SIMULATION
from ioc.core.status import ProcessSpec
from ioc.records.areadetector import ARRAY, CAMERA_PORT, CHOSEN_TYPES, MINOR_WHEN_ON, PATH_SIZE
from ioc.records.plugin_base import BASE, SIZES
from ioc.records.table import Access, Alarms, Kind, Limits, Record, Severity, under

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
SIM_COLOR_MODES = ("Mono", "RGB1", "RGB2", "RGB3")
"""simDetector's, fewer than ADCore's; the last two are refused."""
IMAGE_MODES = ("Single", "Multiple", "Continuous")

PAIR, BUSY, SHOWN = Access.PAIR, Access.BUSY, Access.SHOWN
INT, COUNT, FLOAT, BOOL, ENUM, STRING = Kind.INT, Kind.COUNT, Kind.FLOAT, Kind.BOOL, Kind.ENUM, Kind.STRING
SECONDS = Limits(0.0, LONGEST_PERIOD)
SIDE = Limits(1, LARGEST_SIDE)
PLACE = Limits(0, LARGEST_SIDE - 1)
FRAME_TYPES = ("Normal", "Background", "FlatField", "DblCorrelation")
SHUTTER_MODES = ("None", "EPICS PV", "Detector output")
SEVERITY_OF = {
    "Aborting": Severity.MINOR,
    "Error": Severity.MAJOR,
    "Disconnected": Severity.INVALID,
    "Aborted": Severity.MINOR,
}
STATE_SEVERITIES = tuple(SEVERITY_OF.get(state, Severity.NO_ALARM) for state in DETECTOR_STATES)

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
    Record("NumImages", INT, "Frames in image mode Multiple", PAIR, accepted=Limits(0), initial=100),
    Record("NumImagesCounter", INT, "Frames of this acquisition"),
    Record("NumExposures", INT, "Exposures per frame", PAIR, accepted=Limits(1), initial=1),
    Record("NumExposuresCounter", INT, "Exposures of this frame"),
    Record("TimeRemaining", FLOAT, "Time to the end of the acquisition", unit="s"),
    Record("WaitForPlugins", BOOL, "Acquire is busy until plug-ins are done", Access.WRITE),
    Record("TriggerMode", ENUM, "What starts a frame", PAIR, choices=("Internal", "External")),
    Record("DetectorState", ENUM, "What the detector is doing", choices=DETECTOR_STATES, severities=STATE_SEVERITIES),
    Record("StatusMessage", STRING, "What happened last", size=PATH_SIZE),
    Record("ReadStatus", BOOL, "Show the read-backs as they are now", Access.COMMAND),
    Record("StringToServer", STRING, "Text to hardware, none is there", size=PATH_SIZE),
    Record("StringFromServer", STRING, "Text from hardware, none is there", size=PATH_SIZE),
)

IMAGE = (
    Record("MaxSizeX", INT, "Columns of the sensor", unit="pixel"),
    Record("MaxSizeY", INT, "Rows of the sensor", unit="pixel"),
    Record("MinX", INT, "First column read out", PAIR, "pixel", accepted=PLACE),
    Record("MinY", INT, "First row read out", PAIR, "pixel", accepted=PLACE),
    Record("SizeX", INT, "Columns read out, unbinned", PAIR, "pixel", accepted=SIDE, initial=512),
    Record("SizeY", INT, "Rows read out, unbinned", PAIR, "pixel", accepted=SIDE, initial=512),
    Record("BinX", INT, "Columns summed up into one", PAIR, "pixel", accepted=SIDE, initial=1),
    Record("BinY", INT, "Rows summed up into one", PAIR, "pixel", accepted=SIDE, initial=1),
    Record("ReverseX", BOOL, "Whether columns are reversed", PAIR),
    Record("ReverseY", BOOL, "Whether rows are reversed", PAIR),
    *SIZES,
    *(replace(one, choices=SIM_COLOR_MODES) if one.name == "ColorMode" else one for one in CHOSEN_TYPES),
)

COUNTERS = (
    Record("NumQueuedArrays", INT, "Frames that wait for members", SHOWN, unit="frame"),
    Record("QueueSize", INT, "Frames that wait for members", unit="frame"),
    Record("DroppedArrays", COUNT, "Frames that no member took", unit="frame", alarms=Alarms(high=1)),
    Record("SourceMissed", COUNT, "Frames merged on the way from a source", unit="frame", alarms=Alarms(high=1)),
    Record("PoolMaxMem", FLOAT, "Shared memory for frames", unit="MB", precision=1),
    Record("PoolUsedMem", FLOAT, "Shared memory that frames take up", unit="MB", precision=1),
    Record("PoolAllocBuffers", INT, "Frames that the memory holds", SHOWN),
    Record("PoolFreeBuffers", INT, "Frames that there is memory for", SHOWN),
    Record("PoolUsedBuffers", INT, "Frames in memory", SHOWN),
    Record("MemoryUsed", COUNT, "Shared memory that frames take up", unit="byte"),
    Record("MemoryLimit", COUNT, "Shared memory for frames", unit="byte"),
)

IDENTITY = (
    Record("Manufacturer", STRING, "Who makes the detector", initial="Rayfan"),
    Record("Model", STRING, "Which detector it is", initial="Soft detector"),
    Record("SerialNumber", STRING, "Serial number", initial="No serial number"),
    Record("FirmwareVersion", STRING, "Firmware", initial="No firmware"),
    Record("SDKVersion", STRING, "Version of the frame sources"),
    Record("SourceKind", STRING, "Where the frames come from"),
    Record("SourcePath", STRING, "File or channel of the frames", size=PATH_SIZE),
)

METADATA = (
    Record("FrameType", ENUM, "What the frames are, a label", PAIR, choices=FRAME_TYPES),
    Record(
        "Temperature",
        FLOAT,
        "Temperature asked for, has no effect",
        PAIR,
        "C",
        1,
        accepted=Limits(-273.15, 1000.0),
        initial=25.0,
    ),
    Record("TemperatureActual", FLOAT, "Temperature of the sensor", SHOWN, "C", 1),
    Record("ShutterMode", ENUM, "What opens and closes the shutter", PAIR, choices=SHUTTER_MODES),
    Record("ShutterControl", BOOL, "Open and close the shutter by hand", PAIR, choices=("Close", "Open")),
    Record("ShutterStatus", BOOL, "Where the shutter is", choices=("Closed", "Open"), severities=MINOR_WHEN_ON),
    Record("ShutterOpenDelay", FLOAT, "Time that the shutter takes to open", PAIR, "s", accepted=SECONDS),
    Record("ShutterCloseDelay", FLOAT, "Time that the shutter takes to close", PAIR, "s", accepted=SECONDS),
)

IMAGE_START = {"PluginType": "NDPluginPva", "NDArrayPort": CAMERA_PORT, "PortName": "PVA1", "EnableCallbacks": True}
IMAGE_CHANNEL = (
    *(
        replace(one, initial=IMAGE_START.get(one.name, one.initial))
        for one in BASE
        if one.name != "ProcessPlugin"  # the newest frame is there for whoever asks
    ),
    Record("PvName", STRING, "PVA channel of the frames", size=PATH_SIZE),
    Record("Clients", INT, "Clients connected with the image server"),
    Record("SlowestClient", STRING, "Account and peer that most waits for", size=PATH_SIZE),
    Record("Denied", COUNT, "Reads that access security denied"),
)


def camera_records() -> list[Record]:
    """Return `cam1:` and `Pva1:`."""
    camera = (*ARRAY, *ACQUISITION, *IMAGE, *COUNTERS, *IDENTITY, *METADATA, *SIMULATION)
    return [*under("cam1:", camera), *under("Pva1:", IMAGE_CHANNEL)]


def detector_records() -> list[Record]:
    """Return all records of the detector process."""
    return [*camera_records(), *distributor_records()]


def records_of(spec: ProcessSpec) -> list[Record]:
    """Return the records of a detector: the same whatever is configured, but for simulated metadata over CA."""
    channels = spec.config.detector.metadata
    names = [name for name, channel in channels.items() if channel.protocol == "ca"]
    simulated = [Record(f"Meta:{name}", FLOAT, "Simulated metadata", SHOWN) for name in names]
    return [*detector_records(), *simulated]
