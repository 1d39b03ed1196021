"""Processor `save`: writes every frame to a file, several to one file if asked, and passes it on."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from consumers.batch import Batch
from consumers.file_pattern import FilePattern
from consumers.frame_files import ENDINGS, check_format, content_of, write_whole
from consumers.processor import Context, Metadata, Processor, Setting, Statistic, Value
from ioc.core.frame import Frame


class Save(Processor):
    """Returns the frames when their file is there, under its name and whole; if it cannot be written, they failed.

    A frame in an HDF5 or TIFF file, or an .npy array, as the ending of the pattern says. With `FramesPerFile` above 1,
    frames are written in batches; the last file of a series has the rest.
    """

    declared_settings = (
        Setting("Folder", "", description="Where to write, empty: the run folder"),
        Setting("Pattern", "{series}_{id:06}.h5", description="Name; the ending says the format"),
        Setting("FramesPerFile", 1, unit="frame", low=1, high=64, description="More than 1: in batches"),
    )
    declared_statistics = (
        Statistic("FilesSaved", int, unit="file", description="Files written"),
        Statistic("FramesSaved", int, unit="frame", description="Frames written"),
        Statistic("BytesSaved", int, unit="byte", description="Bytes written"),
        Statistic("LastFile", str, description="File that was written last"),
    )

    def __init__(self) -> None:
        self._context = Context("", "", 0, 1, Path())
        self._saved = [0, 0, 0]

    def configure(self, settings: Mapping[str, Value]) -> None:
        name = FilePattern(str(settings["Pattern"]), ENDINGS)
        check_format(name.ending)
        self._name = name
        self.batch_size = int(settings["FramesPerFile"])
        self.settings = settings

    def start(self, context: Context) -> None:
        self._context = context

    def process_batch(self, frames: Batch, metadata: Sequence[Metadata]) -> list[Frame]:
        content = content_of(frames, self._name.ending)
        path = self._path(frames)
        write_whole(path, content)
        for at, more in enumerate((1, len(frames), len(content))):
            self._saved[at] += more
        self._tell()
        self.report(LastFile=str(path))
        return list(frames)

    def _path(self, frames: Batch) -> Path:
        first, last, context = frames[0], frames[-1], self._context
        folder = str(self.settings["Folder"])
        name = self._name.filled(
            name=context.name, group=context.group, series=first.series, id=first.unique_id, last=last.unique_id
        )
        return (Path(folder).expanduser() if folder else context.folder) / name

    def _tell(self) -> None:
        files, frames, size = self._saved
        self.report(FilesSaved=files, FramesSaved=frames, BytesSaved=size)

    def reset(self) -> None:
        self._saved = [0, 0, 0]
        self._tell()
