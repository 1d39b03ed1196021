"""The server of `/metrics`: the last figures that the supervisor has put together, in Prometheus' text format."""

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ioc.core.config_metrics import MetricsConfig
from ioc.core.errors import ConfigError, mismatch
from ioc.core.status import Status
from ioc.supervisor.appliance import Appliance
from ioc.supervisor.metrics import samples

STOP_SECONDS = 5.0


class Exposition(Collector):
    """What Prometheus is given: what the supervisor saw last, put together when it is asked for."""

    def __init__(self) -> None:
        self._seen: tuple[Appliance, Sequence[Status]] | None = None

    def show(self, view: Appliance, statuses: Sequence[Status]) -> None:
        """Remember what there is to see now; nothing of it may be changed any more."""
        self._seen = view, statuses

    def collect(self) -> Iterable[Metric]:
        """Return the families of the present samples; called by the threads of the server."""
        seen = self._seen
        families: dict[tuple[str, tuple[str, ...]], CounterMetricFamily | GaugeMetricFamily] = {}
        for sample in samples(*seen) if seen is not None else ():
            metric, labels = sample.metric, tuple(sample.labels)
            kind = CounterMetricFamily if metric.is_counter else GaugeMetricFamily
            key = metric.full_name, labels
            if key not in families:
                families[key] = kind(metric.full_name, metric.about, labels=labels)
            families[key].add_metric(list(sample.labels.values()), sample.value)
        return families.values()


class MetricsServer:
    """Serves an exposition from the moment it is made; `close` ends its thread."""

    def __init__(self, config: MetricsConfig, exposition: Exposition) -> None:
        """Listen.

        Raises:
            ConfigError: address and port cannot be listened on.
        """
        registry = CollectorRegistry()
        registry.register(exposition)
        try:
            self._server, self._thread = start_http_server(config.port, config.address, registry)
        except OSError as error:
            where = f"{config.address}:{config.port}"
            raise ConfigError(mismatch("[metrics]", "an address and port that are free", f"{where}: {error}")) from None

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(STOP_SECONDS)
