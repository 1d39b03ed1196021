"""The outflow of a stage: its image channel, the groups that take its frames here, and far ends it delivers to."""

import time
from collections.abc import Callable

from consumers.image_output import ImageOutput
from consumers.inputs import open_given
from consumers.local_output import LocalOutput
from consumers.remote_output import GIVING_UP_SECONDS, remote_outputs, undelivered_ids
from ioc.channels.base import Publisher
from ioc.channels.images import open_images
from ioc.channels.local_door import Doorway
from ioc.channels.memory_book import MemoryBook
from ioc.core.clock import SystemClock
from ioc.core.config_collector import CollectorConfig
from ioc.core.config_group import GroupConfig
from ioc.core.status import GroupStatus, ProcessSpec

WINDOW = 16
"""Images of a channel that may be on their way while somebody watches."""


class Outflow:
    """Where frames go; `local` None: nobody takes them in this appliance. `given` is the journal of what is given.

    The process's face serves `images` and closes them.
    """

    def __init__(
        self,
        spec: ProcessSpec,
        config: GroupConfig | CollectorConfig | None = None,
        reserved: int = 0,
        window: int = WINDOW,
    ) -> None:
        """Open it; `config` None: its image channel and takers here, no more.

        `reserved` bytes of the process's share of the memory are for frames that wait elsewhere in it; `window` images
        of the channel may be on their way.
        """
        self.memory = MemoryBook(spec.memory_file, spec.name, spec.config.budget.channels)
        doorway = Doorway(spec.view_socket, self.memory)
        self.images = open_images(spec.config.image_server, f"{spec.name} images", window, doorway)
        self.given = open_given(spec)
        self.local = LocalOutput.of(spec, self.given, reserved)
        channel = self.images.add(f"{spec.config.prefix}{spec.name}:Image")
        self.shown = ImageOutput(channel, SystemClock(), self.memory)
        self._remote = remote_outputs(config, spec, self.given) if config is not None else []
        self.publishers: list[Publisher] = [*self._remote]
        if self.local is not None:
            self.publishers.append(self.local)
        if config is None or "pva" in config.outputs:
            self.publishers.append(self.shown)

    @property
    def waiting(self) -> bool:
        """Whether a taker makes the stage wait."""
        return (self.local is not None and self.local.waiting) or any(remote.waiting for remote in self._remote)

    @property
    def groups(self) -> list[GroupStatus]:
        """The accounts of all takers."""
        here = self.local.groups if self.local is not None else []
        return [*here, *(remote.status() for remote in self._remote)]

    @property
    def last_error(self) -> str:
        """Why a far end did not take a frame, empty: all do."""
        return next((remote.last_error for remote in self._remote if remote.last_error), "")

    @property
    def undelivered(self) -> int:
        """Frames that were lost at far ends."""
        return sum(remote.counters().errors for remote in self._remote)

    @property
    def undelivered_ids(self) -> str:
        """The newest of them, as `series:id`."""
        return undelivered_ids(self._remote)

    def meanwhile(self, run: Callable[[], None]) -> None:
        """Have `run` called again and again while a taker makes the stage wait."""

        def run_and_tend() -> None:
            run()
            if self.local is not None:
                self.local.tend()

        if self.local is not None:
            self.local.idle = run
        for remote in self._remote:
            remote.idle = run_and_tend

    def hurry(self, limit: float) -> None:
        """Give up in time what far ends do not take, for an end of all at `limit` s of the monotonic clock."""
        for remote in self._remote:
            remote.give_up_at(limit - GIVING_UP_SECONDS)

    def drain(self, limit: float) -> bool:
        """Let takers here finish until `limit` s of the monotonic clock; return whether all did."""
        return self.local is None or self.local.drain(max(0.0, limit - time.monotonic()))

    def close(self) -> None:
        """Let go of everything; the images are closed before."""
        for remote in self._remote:
            remote.close(drain=True)
        self.memory.close()
        if self.given is not None:
            self.given.close()
