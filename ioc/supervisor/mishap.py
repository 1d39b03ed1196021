"""A command that failed by no fault of who gave it: logged with its traceback, in alarm until it is acknowledged."""

import logging

from ioc.core.errors import UserError

log = logging.getLogger(__name__)


class Mishap:
    """The last one; `words` say what happened, empty: nothing that nobody acknowledged."""

    def __init__(self) -> None:
        self.words = ""

    def told(self, error: BaseException) -> BaseException:
        """Return what is told to the one who asked: the error itself; take note of it unless it refuses the wish."""
        if not isinstance(error, UserError):
            log.error("a command failed; the supervision goes on", exc_info=error)
            self.words = f"a command failed: {type(error).__name__}: {error}"
        return error

    def acknowledge(self) -> None:
        """Take it as seen."""
        self.words = ""
