"""The smaller parts of the lab load balancer: tokens, faults, and what it refuses."""

import pytest

from ioc.balancer import replies
from ioc.balancer.faults import LEAST_HOLD, Faults, FaultyPath
from ioc.balancer.requests import registration
from ioc.balancer.tokens import Subject, Tokens, allows
from ioc.channels import ejfat_control_model as model
from ioc.channels.ejfat_control_model import Endpoint, Grant, Permission, Resource
from ioc.channels.ejfat_messages import MESSAGES
from ioc.core.errors import RefusedError

UPDATE, RESERVE, REGISTER, READ = Permission.UPDATE, Permission.RESERVE, Permission.REGISTER, Permission.READ_ONLY


def test_a_child_never_exceeds_its_parent_and_dies_with_it() -> None:
    tokens = Tokens("root", 0)
    one = tokens.create(tokens.admin, "lb 1", [Grant(Resource.RESERVATION, REGISTER, "1")], 0)
    assert allows(one, REGISTER, Subject("1")) and allows(one, READ, Subject("1", "1/4"))
    assert not allows(one, UPDATE, Subject("1")) and not allows(one, REGISTER, Subject("2"))
    assert not allows(one, READ, Subject())
    for beyond in (
        Grant(Resource.RESERVATION, UPDATE, "1"),
        Grant(Resource.RESERVATION, READ, "2"),
        Grant(Resource.RESERVATION, READ),
        Grant(Resource.ALL, READ),
    ):
        with pytest.raises(RefusedError, match="permissions that its parent has"):
            tokens.create(one, "more", [beyond], 0)
    child = tokens.create(one, "less", [Grant(Resource.RESERVATION, READ, "1")], 0)
    assert tokens.find(child.secret) is child and tokens.is_below(child, one) and not tokens.is_below(one, child)
    tokens.revoke(one)
    assert tokens.find(child.secret) is None and tokens.find(one.secret) is None and tokens.find("root") is tokens.admin


def test_a_token_does_not_show_its_secret() -> None:
    assert "root" not in repr(Tokens("root", 0).admin)


def test_faults_lose_double_and_let_overtake() -> None:
    path: FaultyPath[int] = FaultyPath(Faults(loss=0.2, duplicate=0.1, reorder=0.3, delay=0.01, seed=3))
    for number in range(10_000):
        path.enter(number, number * 1000)
    assert path.due(9_999_999) == []
    out = path.rest()
    assert len(out) == 10_000 - path.lost + path.doubled
    assert 1800 < path.lost < 2200 and 700 < path.doubled < 900 and path.held_back > 2000
    assert out != sorted(out) and set(out) <= set(range(10_000))


def test_without_faults_packets_pass_in_order_and_at_once() -> None:
    path: FaultyPath[int] = FaultyPath(Faults())
    for number in range(100):
        path.enter(number, 5)
    assert path.due(5) == list(range(100)) and len(path) == 0 and path.next_ns() is None


def test_a_path_holds_no_more_than_it_may() -> None:
    path: FaultyPath[int] = FaultyPath(Faults(delay=1.0), most=10)
    for number in range(15):
        path.enter(number, 0)
    assert (len(path), path.lost, path.next_ns()) == (10, 5, 1_000_000_000)
    assert LEAST_HOLD > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "-x"}, "worker name"),
        ({"name": "a" * 300}, "worker name"),
        ({"ipAddress": "worker.example"}, "worker address"),
        ({"udpPort": 0}, "worker ports"),
        ({"udpPort": 65535, "portRange": 1}, "worker ports"),
        ({"portRange": 31}, "worker ports"),
        ({"weight": float("nan")}, "worker weight"),
        ({"maxFactor": -1.0}, "worker weight"),
    ],
)
def test_registrations_that_cannot_be_used_are_refused(changes: dict, message: str) -> None:
    good = {"name": "node-1.rack:2", "ipAddress": "10.0.0.1", "udpPort": 10000, "weight": 1.0}
    assert registration(MESSAGES["RegisterRequest"](**good)).port == 10000
    with pytest.raises(RefusedError, match=message):
        registration(MESSAGES["RegisterRequest"](**{**good, **changes}))


def test_an_overview_leaves_no_address_empty_and_says_the_same() -> None:
    """E2SAR's `lbadm` aborts at an empty one."""
    fields = {"lbId": "1", "syncUdpPort": 19010, "dataMinPort": 10, "dataMaxPort": 20}
    fields |= {"syncIpv4Address": "10.0.0.1", "dataIpv6Address": "fd00::2"}
    plain = MESSAGES["ReserveLoadBalancerReply"](**fields)
    shown = replies.shown(MESSAGES["ReserveLoadBalancerReply"](**fields))
    assert (shown.syncIpv6Address, shown.dataIpv4Address) == ("::", "0.0.0.0")
    assert model.reservation(shown) == model.reservation(plain)
    assert model.reservation(shown).data_v6 == Endpoint("fd00::2", 10, 20)
