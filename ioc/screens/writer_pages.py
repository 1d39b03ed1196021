"""Screen of a file writer, as areaDetector arranges NDFileHDF5."""

from collections.abc import Iterable

from ioc.records.table import Record
from ioc.screens.device import device
from ioc.screens.items import Command, Commands, Shown, Wide, lines
from ioc.screens.page import OVERVIEW, Card, Link, Page

WIDE = 460
LOST_BY_STOP = "Stop to take frames? The file is closed; frames that come later are in no file."


def writer_page(records: Iterable[Record]) -> Page:
    """Return the screen of a file writer."""
    one = device(records, "HDF1:")
    name = Card(
        "File name",
        one,
        [
            Wide("FilePath", settable=True),
            *lines("FilePathExists", "CreateDirectory"),
            Wide("FileName", settable=True),
            Wide("FileTemplate", settable=True),
            *lines("FileNumber", "AutoIncrement", "AutoSave", "LazyOpen", "TempSuffix", "FileFormat"),
            Wide("FullFileName"),
        ],
        WIDE,
    )
    capture = Card(
        "Capture",
        one,
        [
            Commands(
                (
                    Command("Capture", "Capture"),
                    Command("Capture", "Stop", LOST_BY_STOP, 0),
                    Command("WriteFile", "Write file"),
                )
            ),
            *lines("FileWriteMode", "NumCapture", "NumCaptured", "MissedFrames"),
            Shown("Capture", "Capturing"),
            Shown("WriteFile", "Writing"),
            *lines("WriteStatus", "RunTime", "IOSpeed"),
            Wide("WriteMessage"),
            *lines("SWMRSupported", "SWMRMode", "SWMRActive", "SWMRCbCounter", "FlushNow"),
        ],
    )
    frames = Card(
        "Frames",
        one,
        lines("State", "Received", "Failed", "ArrayCounter", "ArrayRate", "QueueSize", "QueueUse", "QueueFree")
        + lines("DroppedArrays", "EnableCallbacks", "NDArrayPort", "ExecutionTime", "UniqueId"),
    )
    chunks = Card(
        "Chunks",
        one,
        lines("ChunkSizeAuto", "NumRowChunks", "NumColChunks", "NumFramesChunks", "NumFramesFlush", "NDAttributeChunk"),
    )
    squeeze = Card(
        "Compression",
        one,
        lines("Compression", "ZLevel", "BloscCompressor", "BloscLevel", "BloscShuffle", "FillValue")
        + lines("StoreAttr", "StorePerform"),
    )
    layout = Card("Layout", one, [Wide("XMLFileName", settable=True), *lines("XMLValid"), Wide("XMLErrorMsg")])
    links: tuple[Link, ...] = (
        OVERVIEW,
        ("Metadata", "metadata.bob", (("R", "$(R)Meta:"),)),
        ("Expert", "expert_writer.bob", (("R", "$(R)"),)),
    )
    columns = ((name,), (capture,), (frames, layout), (squeeze, chunks))
    return Page("writer.bob", "File writer $(P)$(R)", one, columns, links)
