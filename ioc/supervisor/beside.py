"""The accounts that lie beside those of the detector's groups: of intakes, and of the plug-ins of areaDetector."""

from collections.abc import Iterable, Mapping
from typing import Any

from ioc.core.ledger import Stage
from ioc.supervisor.intakes import Intakes
from ioc.supervisor.plugin_accounts import PluginAccounts
from ioc.supervisor.readers import Readers
from ioc.supervisor.series import SeriesBook
from ioc.supervisor.worker import Worker


class Beside:
    """Both, as one; used by the supervisor's thread."""

    def __init__(self) -> None:
        self._intakes = Intakes()
        self._plugins = PluginAccounts()

    def follow(self, workers: Iterable[Worker], readers: Readers, book: SeriesBook) -> None:
        """Book what is new in their journals."""
        workers = list(workers)
        self._intakes.follow(workers, readers, book)
        self._plugins.follow(workers, book)

    def finish(self, book: SeriesBook) -> None:
        """Close what nobody is left to finish."""
        self._plugins.finish(book)

    def stages(self) -> list[Stage]:
        """Return their accounts."""
        return [*self._intakes.stages(), *self._plugins.stages()]

    def state(self) -> dict[str, Any]:
        """Return what `recall` needs."""
        return {"intakes": self._intakes.state(), "plugins": self._plugins.state()}

    def recall(self, state: Mapping[str, Any]) -> None:
        """Go on with what an earlier supervisor stored."""
        self._intakes.recall(state.get("intakes", {}))
        self._plugins.recall(state.get("plugins", {}))

    def close(self) -> None:
        """Let go of journals."""
        self._plugins.close()
