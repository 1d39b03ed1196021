"""The records of a file writer, `HDF1:`: areaDetector's NDFileHDF5, names, choices and defaults as in ADCore R3-15.

What is left out, and why, stands in docs/explanation/areadetector.md.
"""

from consumers.records import LAST_ERROR, PID, STATE, UPTIME
from ioc.channels.hdf5_filters import BLOSC_COMPRESSORS, BLOSC_SHUFFLES, COMPRESSIONS
from ioc.records.areadetector import CAMERA_PORT, MINOR_WHEN_ON, PATH_SIZE, XML_SIZE
from ioc.records.plugin_base import BASE
from ioc.records.table import Access, Alarms, Kind, Limits, Record, Severity, under

PAIR, SHOWN, BUSY, COMMAND = Access.PAIR, Access.SHOWN, Access.BUSY, Access.COMMAND
INT, COUNT, FLOAT, BOOL, ENUM, STRING = Kind.INT, Kind.COUNT, Kind.FLOAT, Kind.BOOL, Kind.ENUM, Kind.STRING
MODES = ("Single", "Capture", "Stream")
WRITE_STATES = ("Write OK", "Write error")
FULL_NAME_SIZE = 512
OFF_ON = ("Off", "On")
AT_LEAST_0 = Limits(0)

ARRAYS = tuple(one for one in BASE if one.name != "ProcessPlugin")
"""Those of every plug-in, but for what needs a frame that is kept."""

NAMES = (
    Record("FilePath", STRING, "Folder of the files", PAIR, size=PATH_SIZE),
    Record("FilePathExists", BOOL, "Whether the folder is there", severities=(Severity.MAJOR, Severity.NO_ALARM)),
    Record("CreateDirectory", INT, "How many folders may be made", PAIR),
    Record("FileName", STRING, "Name of the file", PAIR, size=PATH_SIZE),
    Record("FileNumber", INT, "Number of the next file", PAIR, accepted=AT_LEAST_0, initial=1),
    Record("AutoIncrement", BOOL, "Whether numbers count on with each file", PAIR, initial=True),
    Record("FileTemplate", STRING, "Format of path, name, number", PAIR, size=PATH_SIZE, initial="%s%s_%3.3d.h5"),
    Record("FullFileName", STRING, "The file", size=FULL_NAME_SIZE),
    Record("TempSuffix", STRING, "Behind the name until the file is closed", PAIR),
)

CAPTURE = (
    Record("FileWriteMode", ENUM, "How frames get into files", PAIR, choices=MODES),
    Record(
        "Capture",
        BOOL,
        "Start and stop to take frames",
        BUSY,
        choices=("Done", "Capture"),
        shown=("Done", "Capturing"),
        severities=MINOR_WHEN_ON,
    ),
    Record("NumCapture", INT, "Frames to take, 0: until it is stopped", PAIR, accepted=AT_LEAST_0, initial=1),
    Record("NumCaptured", INT, "Frames in the file, or in memory"),
    Record("MissedFrames", INT, "Frames missing between those", unit="frame", alarms=Alarms(high=1)),
    Record(
        "WriteFile",
        BOOL,
        "Write what is in memory",
        BUSY,
        choices=("Done", "Write"),
        shown=("Done", "Writing"),
        severities=MINOR_WHEN_ON,
    ),
    Record("AutoSave", BOOL, "Whether that is done by itself", PAIR),
    Record("FreeCapture", BOOL, "Forget what is in memory", COMMAND),
    Record("LazyOpen", BOOL, "Whether the first frame makes the file", PAIR),
    Record(
        "WriteStatus",
        BOOL,
        "Whether all went well",
        SHOWN,
        choices=WRITE_STATES,
        severities=(Severity.NO_ALARM, Severity.MAJOR),
    ),
    Record("WriteMessage", STRING, "What happened last", SHOWN, size=PATH_SIZE),
    Record("FileFormat", ENUM, "Kind of the files", PAIR, choices=("HDF5", "Invalid"), shown=("HDF5", "Undefined")),
    Record(
        "SWMRSupported",
        BOOL,
        "Whether files can be read meanwhile",
        choices=("Not Supported", "Supported"),
        initial=True,
    ),
    Record("SWMRMode", BOOL, "Whether files can be read meanwhile", PAIR, choices=OFF_ON, initial=True),
    Record("SWMRActive", BOOL, "Whether the file can be read now", choices=("Off", "Active")),
    Record("SWMRCbCounter", INT, "Flushes of the file"),
    Record("FlushNow", BOOL, "Show readers all that is written", COMMAND, choices=("Done", "Flush")),
    Record("RunTime", FLOAT, "Time that the last file was open", SHOWN, "s"),
    Record("IOSpeed", FLOAT, "How fast the last file was written", SHOWN, "Mbit/s"),
)

FORMAT = (
    Record("ChunkSizeAuto", BOOL, "Whether a chunk is a whole frame", PAIR, initial=True),
    Record("NumRowChunks", INT, "Rows of a chunk", PAIR, "pixel", accepted=AT_LEAST_0),
    Record("NumColChunks", INT, "Columns of a chunk", PAIR, "pixel", accepted=AT_LEAST_0),
    Record("NumFramesChunks", INT, "Frames of a chunk", PAIR, "frame", accepted=AT_LEAST_0, initial=1),
    Record("NumFramesFlush", INT, "Frames from flush to flush, 0: a second", PAIR, "frame", accepted=AT_LEAST_0),
    Record("NDAttributeChunk", INT, "Values of an attribute in a chunk", PAIR, accepted=AT_LEAST_0),
    Record("NumExtraDims", INT, "Dimensions of a scan, none is served", PAIR, accepted=Limits(0, 0)),
    Record("FillValue", FLOAT, "Value of pixels that are missing", PAIR),
    Record("StoreAttr", BOOL, "Whether attributes are kept", PAIR, initial=True),
    Record("StorePerform", BOOL, "Whether times of writing are kept", PAIR, initial=True),
    Record("Compression", ENUM, "How pixels are compressed", PAIR, choices=COMPRESSIONS),
    Record("ZLevel", INT, "Level of zlib", PAIR, accepted=Limits(1, 9), initial=6),
    Record("BloscCompressor", ENUM, "Compressor of Blosc", PAIR, choices=BLOSC_COMPRESSORS),
    Record("BloscLevel", INT, "Level of Blosc", PAIR, accepted=Limits(0, 9), initial=5),
    Record("BloscShuffle", ENUM, "Shuffle of Blosc", PAIR, choices=BLOSC_SHUFFLES, initial="Byte"),
    Record("XMLFileName", STRING, "Layout; only the default one is served", PAIR, size=XML_SIZE),
    Record(
        "XMLValid", BOOL, "Whether the layout is good", severities=(Severity.MAJOR, Severity.NO_ALARM), initial=True
    ),
    Record("XMLErrorMsg", STRING, "What is wrong with the layout", size=PATH_SIZE),
    Record("PositionMode", BOOL, "Place by attribute; not served", PAIR, choices=OFF_ON),
)

ACCOUNT = (
    Record("Received", COUNT, "Frames received", unit="frame"),
    Record("Failed", COUNT, "Frames that could not be written", unit="frame", alarms=Alarms(high=1)),
    STATE,
    PID,
    UPTIME,
    LAST_ERROR,
)


def writer_records(name: str) -> list[Record]:
    """Return the records of the writer `name`, for example `HDF1`."""
    return under(f"{name}:", (*ARRAYS, *NAMES, *CAPTURE, *FORMAT, *ACCOUNT))


def start_values() -> dict[str, int | float | bool | str]:
    """Return what is asked for at start, by the names of the demands."""
    tables = (*ARRAYS, *NAMES, *CAPTURE, *FORMAT)
    values = {one.name: one.start_value for one in tables if one.access is PAIR}
    return values | {"NDArrayPort": CAMERA_PORT}
