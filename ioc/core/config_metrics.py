"""Where the figures of an appliance are served for Prometheus."""

from pydantic import Field

from ioc.core.config_table import Table


class MetricsConfig(Table):
    """The figures of the records, in Prometheus' text format, at `http://ADDRESS:PORT/metrics`; left out: none."""

    address: str = "127.0.0.1"
    """Address of this host that is listened on. Whoever reaches it reads the figures: there is no password."""
    port: int = Field(default=9815, ge=1, le=65535)
    """TCP port."""
