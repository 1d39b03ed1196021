"""Two appliances on one host do not answer for the same PVs."""

import os

import pytest

from ioc.core.errors import ConfigError
from ioc.supervisor.prefix_claim import PrefixClaim
from tests.support.epics import random_prefix

PORTS = {"EPICS_CA_SERVER_PORT": "5064", "EPICS_PVA_BROADCAST_PORT": "5076"}


def test_a_prefix_is_had_by_one_at_a_time() -> None:
    prefix = random_prefix()
    claim = PrefixClaim(prefix, PORTS)
    with pytest.raises(ConfigError, match=rf"prefix '{prefix}': an appliance on this host.* process {os.getpid()};"):
        PrefixClaim(prefix, PORTS)
    claim.close()
    PrefixClaim(prefix, PORTS).close()


@pytest.mark.parametrize("other", [{"EPICS_CAS_SERVER_PORT": "6064"}, {"EPICS_PVAS_BROADCAST_PORT": "6076"}])
def test_at_other_ports_nobody_minds(other: dict[str, str]) -> None:
    prefix = random_prefix()
    claims = [PrefixClaim(prefix, PORTS), PrefixClaim(prefix, {**PORTS, **other}), PrefixClaim(f"{prefix}X:", PORTS)]
    for claim in claims:
        claim.close()
