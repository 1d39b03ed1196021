"""The folder of frames that killed a process twice: reports are added, and the oldest go when there are too many.

Who gave such a frame has written it (distributor/spool.py). Here the report is added, without reading a pixel: to which
processor, with which settings, and how the processes ended. A frame may come from a life whose supervisor was killed,
too; then the report says less.
"""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ioc.core.config_supervision import QuarantineConfig
from ioc.core.quarantine import Death, Report, closing
from ioc.distributor.spool import SPOOLED
from ioc.supervisor.worker import Worker

log = logging.getLogger(__name__)

ENDING = ".quarantine"
SPOILT = ".bad"
"""Of a frame that no report could be added to."""
SETTLED_NS = 1_000_000_000
MOST_DEATHS = 6
"""Ends of processes that a report tells of, the newest of the group."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is in the folder; `names` are those of the files, the oldest first."""

    names: tuple[str, ...] = ()
    size_bytes: int = 0
    last: str = ""


class Quarantine:
    """Looks after the folder; used by the supervisor's thread."""

    def __init__(self, folder: Path, config: QuarantineConfig) -> None:
        self.most_frames = config.most_frames
        self.most_bytes = config.most_bytes
        self.kept = Kept()
        self._folder = folder
        self._seen_ns: int | None = None

    def look(self, workers: Iterable[Worker], now_ns: int) -> None:
        """Add reports to frames that are new; the state of a worker that one is of shows it for a moment."""
        try:
            changed = self._folder.stat().st_mtime_ns
        except OSError:
            return
        if changed == self._seen_ns:
            return
        # the clock of a file system is coarse: what changes in the same moment must not be missed
        self._seen_ns = changed if time.time_ns() - changed > SETTLED_NS else None
        named = {worker.name: worker for worker in workers}
        for path in sorted(self._folder.glob(f"*{SPOOLED}")):
            worker = named.get(path.stem.partition("_")[0])
            try:
                complete(path, report_of(path, worker, named.values()))
            except (OSError, ValueError) as error:
                log.error("%s: no report could be added: %s", path, error)
                path.rename(path.with_suffix(SPOILT))
                continue
            log.error("%s is set aside: rayfan replay %s", path.stem, path.with_suffix(ENDING))
            if worker is not None:
                worker.put_aside(now_ns)
        self.tidy()

    def tidy(self) -> None:
        """Remove the oldest files until the rest keeps to the limits, and take stock."""
        files = []
        for path in (*self._folder.glob(f"*{ENDING}"), *self._folder.glob(f"*{SPOILT}")):
            facts = path.stat()
            files.append((facts.st_mtime_ns, path, facts.st_size))
        files.sort()
        while files and (len(files) > self.most_frames or sum(size for _, _, size in files) > self.most_bytes):
            path = files.pop(0)[1]
            log.warning("%s is removed, to keep to %d frames, %d bytes", path, self.most_frames, self.most_bytes)
            path.unlink(missing_ok=True)
        last = str(files[-1][1]) if files else ""
        self.kept = Kept(tuple(path.stem for _, path, _ in files), sum(size for _, _, size in files), last)


def report_of(path: Path, worker: Worker | None, workers: Iterable[Worker]) -> Report:
    """Return what is known of a frame that was set aside.

    Raises:
        ValueError: the file is not named like one.
    """
    name, series, unique_id = path.stem.split("_")
    report = Report(name=name, series=int(series), unique_id=int(unique_id))
    if worker is None or worker.spec.table is None:
        return report
    report.group = worker.spec.table
    group = worker.spec.config.groups.get(worker.spec.table)
    if group is not None:
        report.processor, report.time_limit = findable(group.processor), group.time_limit
        report.settings = dict(worker.settings or group.settings)
    mates = [one for one in workers if one.spec.role is worker.spec.role and one.spec.table == worker.spec.table]
    deaths: list[Death] = [death for one in mates for death in one.deaths]
    report.deaths = sorted(deaths, key=lambda death: death.wall_ns)[-MOST_DEATHS:]
    return report


def findable(processor: str) -> str:
    """Return the name of a processor, with the whole path of its file: it may be looked for from another folder."""
    kind, colon, rest = processor.partition(":") if processor.startswith("pvapy:") else ("", "", processor)
    path, _, name = rest.partition(":")
    if not path.endswith(".py"):
        return processor
    return f"{kind}{colon}{Path(path).expanduser().resolve()}" + (f":{name}" if name else "")


def complete(path: Path, report: Report) -> Path:
    """Add the report to a frame that was written, and give the file its final name."""
    with path.open("ab") as file:
        file.write(closing(file.tell(), report))
    return path.replace(path.with_suffix(ENDING))
