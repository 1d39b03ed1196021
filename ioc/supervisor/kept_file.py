"""Small files that say how things stand: replaced as a whole, and written later where there is no room for them now."""

import logging
from pathlib import Path

log = logging.getLogger(__name__)


def write_whole(path: Path, text: str) -> None:
    """Replace a file by `text`, so that readers see the old or the new one whole.

    Raises:
        OSError: it cannot be written; the old one is as it was.
    """
    fresh = path.with_name(path.name + ".new")
    try:
        fresh.write_text(text)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)  # half a file only takes up room
        raise


class KeptFiles:
    """Files of one process; those that could not be written are, newest text, when `retry` finds that they can be."""

    def __init__(self) -> None:
        self.fault = ""
        """Why a file could not be written, empty: all are."""
        self._unwritten: dict[Path, str] = {}

    def write(self, path: Path, text: str) -> None:
        """Replace a file as a whole, now or as soon as that is possible."""
        try:
            write_whole(path, text)
            self._unwritten.pop(path, None)
        except OSError as error:
            if not self._unwritten:
                log.error("%s cannot be written: %s; it will be when it can", path, error.strerror)
            self._unwritten[path] = text
            self.fault = f"{path} cannot be written: {error.strerror}"
        if not self._unwritten and self.fault:
            log.warning("files can be written again; it was: %s", self.fault)
            self.fault = ""

    def forget(self, path: Path) -> None:
        """Write a file no more that was not written yet."""
        self._unwritten.pop(path, None)

    def retry(self) -> None:
        """Write what could not be written."""
        for path, text in list(self._unwritten.items()):
            self.write(path, text)
