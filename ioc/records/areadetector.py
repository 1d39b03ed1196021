"""The records that every areaDetector driver and plug-in has: NDArrayBase and NDPluginBase of ADCore R3-15.

What is left out, and why, stands in docs/explanation/areadetector.md.
"""

from ioc.core.frame import DataType
from ioc.records.table import Access, Alarms, Kind, Limits, Record, Severity

AD_CORE_VERSION = "3.15.0"
"""The ADCore release whose records these are."""
PATH_SIZE = 256
"""Bytes of ADCore's long strings."""
XML_SIZE = 4096
"""Bytes of a record that takes XML text."""
CAMERA_PORT = "SIM1"
"""Name of the detector among the plug-ins."""
QUEUE = 64
"""Frames that may wait for a plug-in at start; the limits of alarms follow its queue (db/plugin.template)."""
DIMENSIONS = 3
"""Array dimensions that are shown."""
DATA_TYPES = tuple(member.value for member in DataType)
COLOR_MODES = ("Mono", "Bayer", "RGB1", "RGB2", "RGB3", "YUV444", "YUV422", "YUV421")
"""ADCore's, all of them: clients compare the texts, and take the place in this list for the number of the mode."""
ATTRIBUTE_STATES = ("Attributes file OK", "File not found", "XML syntax error", "Macro substitution error")
SWITCH = ("Disable", "Enable")
MINOR_WHEN_ON = (Severity.NO_ALARM, Severity.MINOR)
ANY_LOSS = Alarms(high=1)

PAIR, SHOWN, COMMAND = Access.PAIR, Access.SHOWN, Access.COMMAND
INT, COUNT, FLOAT, BOOL, ENUM, STRING = Kind.INT, Kind.COUNT, Kind.FLOAT, Kind.BOOL, Kind.ENUM, Kind.STRING

ARRAY = (
    Record("PortName", STRING, "Name among the plug-ins"),
    Record("ADCoreVersion", STRING, "ADCore release of these records", initial=AD_CORE_VERSION),
    Record("DriverVersion", STRING, "Version of Rayfan"),
    Record("ArrayCounter", INT, "Frames since the last reset", PAIR, accepted=Limits(0), kept=False),
    Record("ArrayRate", FLOAT, "Frames per second", unit="Hz", precision=2),
    Record(
        "ArrayCallbacks",
        BOOL,
        "Whether frames are passed on",
        PAIR,
        choices=SWITCH,
        severities=MINOR_WHEN_ON,
        initial=True,
    ),
    Record("UniqueId", INT, "Id of the newest frame"),
    Record("TimeStamp", FLOAT, "Time of the newest frame, since 1990", unit="s", precision=3),
    Record("EpicsTSSec", INT, "Seconds of the newest frame, since 1990", unit="s"),
    Record("EpicsTSNsec", INT, "Nanoseconds of the newest frame", unit="ns"),
    Record("NDimensions", INT, "Dimensions of the frames"),
    *(Record(f"ArraySize{axis}", INT, f"Length of dimension {axis}, 0 is fastest") for axis in range(DIMENSIONS)),
    Record("ArraySizeX", INT, "Columns of the frames", unit="pixel"),
    Record("ArraySizeY", INT, "Rows of the frames", unit="pixel"),
    Record("ArraySizeZ", INT, "Colours of the frames, 0 for Mono"),
    Record("ArraySize", INT, "Bytes of one frame", unit="byte"),
    Record("Codec", STRING, "Compression of the frames, empty: none"),
    Record("CompressedSize", INT, "Bytes of the newest frame as it is sent", unit="byte"),
    Record("BayerPattern", ENUM, "Colour filter", choices=("RGGB", "GBRG", "GRBG", "BGGR")),
    Record("NDAttributesFile", STRING, "XML file, or XML text, of attributes", PAIR, size=XML_SIZE),
    Record("NDAttributesMacros", STRING, "Macros of that file, A=1,B=2", PAIR, size=PATH_SIZE),
    Record(
        "NDAttributesStatus",
        ENUM,
        "What became of the attributes",
        SHOWN,
        choices=ATTRIBUTE_STATES,
        severities=(Severity.NO_ALARM, Severity.MINOR, Severity.MAJOR, Severity.MAJOR),
    ),
)
"""NDArrayBase, less the data type and colour mode, which a driver lets clients choose."""

CHOSEN_TYPES = (
    Record("DataType", ENUM, "Type of a pixel", PAIR, choices=DATA_TYPES, initial="UInt8"),
    Record("ColorMode", ENUM, "Colours of a frame", PAIR, choices=COLOR_MODES),
)

PLUGIN = (
    Record("PluginType", STRING, "ADCore class"),
    Record("NDArrayPort", STRING, "Where the frames come from", PAIR),
    Record("NDArrayAddress", INT, "Which of that port's frames", PAIR, accepted=Limits(0, 0), initial=0),
    Record("EnableCallbacks", BOOL, "Whether frames are taken", PAIR, choices=SWITCH, severities=MINOR_WHEN_ON),
    Record("BlockingCallbacks", BOOL, "Whether the source waits for it", PAIR),
    Record("MinCallbackTime", FLOAT, "Least time between frames taken", PAIR, "s", 3, accepted=Limits(0.0, 1e6)),
    Record("QueueSize", INT, "Frames that may wait", PAIR, "frame", accepted=Limits(1, 65536), initial=QUEUE),
    Record("QueueFree", INT, "Frames more that may wait", SHOWN, "frame", alarms=Alarms(0, QUEUE // 4), initial=QUEUE),
    Record("QueueUse", INT, "Frames that wait", SHOWN, "frame", alarms=Alarms(high=QUEUE * 3 // 4, hihi=QUEUE)),
    Record(
        "DroppedArrays",
        INT,
        "Frames there was no room for",
        PAIR,
        "frame",
        accepted=Limits(0),
        alarms=ANY_LOSS,
        kept=False,
    ),
    Record("ExecutionTime", FLOAT, "Time that the newest frame took", unit="ms"),
)
"""NDPluginBase, without NDArrayBase."""
