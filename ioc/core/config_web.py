"""How the web page is served, as the configuration says."""

import ipaddress
import re

from pydantic import Field, field_validator

from ioc.core.config_table import Table

SHORTEST_TOKEN = 12
"""Characters of a token, which nobody is to guess."""
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\[\]:-]{1,255}")


class WebConfig(Table):
    """The web page, and PV values for other web clients."""

    enabled: bool = True
    """Whether there is one."""
    address: str = "127.0.0.1"
    """IP address to listen on; `0.0.0.0` are all of this host, which then anybody who reaches it can look at."""
    port: int = Field(default=8090, ge=0, le=65535)
    """TCP port; 0, or one that is taken: any that is free. `rayfan up` prints the address."""
    token: str | None = Field(default=None, min_length=SHORTEST_TOKEN, max_length=256)
    """What a browser has to show before it may write; left out: the page is for looking only."""
    hosts: list[str] = []
    """Names by which browsers call this host, besides its own name and its IP addresses."""
    origins: list[str] = []
    """Other pages that may ask for PV values, for example `https://displays.beamline:8443`."""
    clients: int = Field(default=16, ge=1, le=1000)
    """Browsers that may be connected at a time."""
    most_pvs: int = Field(default=4000, ge=1, le=100_000)
    """PVs that all browsers together may watch."""
    picture_rate: float = Field(default=20.0, gt=0, le=100)
    """Hz; pictures of one image channel are drawn no faster, however many browsers look."""

    @field_validator("address")
    @classmethod
    def _is_address(cls, value: str) -> str:
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            raise ValueError(f"expected an IP address, for example 127.0.0.1, found {value!r}") from None

    @field_validator("hosts")
    @classmethod
    def _are_hosts(cls, values: list[str]) -> list[str]:
        for value in values:
            if not _HOST.fullmatch(value):
                raise ValueError(f"expected host names, for example beamline1.lab.org, found {value!r}")
        return [value.lower() for value in values]

    @field_validator("origins")
    @classmethod
    def _are_origins(cls, values: list[str]) -> list[str]:
        for value in values:
            if not _ORIGIN.fullmatch(value):
                raise ValueError(f"expected http(s)://HOST[:PORT], found {value!r}")
        return [value.lower() for value in values]
