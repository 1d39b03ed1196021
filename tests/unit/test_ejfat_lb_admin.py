"""What `rayfan ejfat lb` prints: within 80 columns, with dates that cannot be mistaken."""

from argparse import Namespace
from typing import Any

import pytest

from ioc import ejfat_lb_admin
from ioc.channels.ejfat_control_model import Endpoint, LbStatus, LbView, Reservation

SECOND = 1_000_000_000
IN_A_YEAR_NS = 1_826_933_529 * SECOND
"""2027-11-23 01:32:09 UTC."""


class Control:
    """A control plane with two load balancers, and no figures of workers."""

    def overview(self) -> list[LbView]:
        data = Endpoint("192.168.100.200", 19522, 19522)
        return [
            LbView(name, Reservation("12345", data_v4=data), LbStatus(0, 123456, 0, 512, (), (), ends))
            for name, ends in (("a name that is far too long for its column", IN_A_YEAR_NS), ("short", None))
        ]

    def timeseries(self, _paths: list[str], _since_ns: int) -> list[Any]:
        return []


def test_the_overview_says_the_year_and_what_never_ends(capsys: pytest.CaptureFixture[str]) -> None:
    control: Any = Control()
    uri: Any = None
    ejfat_lb_admin._overview(Namespace(json=False), control, uri)
    head, first, second = capsys.readouterr().out.splitlines()
    assert max(map(len, (head, first, second))) <= 80
    assert first.endswith("2027-11-23 01:32") and second.endswith("never") and head.endswith("ends (UTC)")
    assert "192.168.100.200:19522" in first


def test_that_nothing_was_reported_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    control: Any = Control()
    uri: Any = None
    ejfat_lb_admin._timeseries(Namespace(json=False, seconds=60.0, path="*", lb="1"), control, uri)
    assert capsys.readouterr().out.splitlines()[-1] == "nothing was reported in the last 60 s"
