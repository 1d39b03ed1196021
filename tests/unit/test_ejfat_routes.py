"""Where an egress sends, how an ingress registers, and what the kernel's figures make us advise."""

from pathlib import Path

import pytest

from consumers.egress import AWAY_SECONDS, Reach, first_event
from consumers.route import registration, route_of, worker_uri
from ioc.channels import ejfat_uri
from ioc.channels.ejfat_kernel import advice, input_errors
from ioc.channels.ejfat_streams import NEW_START
from ioc.core.config import load
from ioc.core.errors import ConfigError
from ioc.core.status import ProcessSpec, Role

WHOLE = "ejfats://secret@10.0.0.1:18347/lb/7?sync=10.0.0.1:19010&data=10.0.0.2:19522"


def spec(text: str, role: Role = Role.EGRESS, folder: Path = Path("/nowhere")) -> ProcessSpec:
    config = load(text, "test")
    name, table = (
        ("Ejfat1", next(iter(config.egress))) if role is Role.EGRESS else ("EjfatIn1", next(iter(config.ingress)))
    )
    return ProcessSpec(role=role, name=name, config=config, run_dir=folder, table=table)


def route(uri: str, more: str = "") -> tuple[tuple[tuple[str, int], ...], bool]:
    made = spec(f'[egress.out]\nuri = "{uri}"\n{more}')
    found = route_of(made, made.config.egress["out"])
    return found.destinations, found.uri is not None


def test_a_whole_uri_brings_the_control_plane_in() -> None:
    assert route(WHOLE) == ((("10.0.0.2", 19522),), True)
    assert route(WHOLE, "control_plane = false") == ((("10.0.0.2", 19522),), False)


def test_a_direct_link_has_none() -> None:
    assert route("ejfat://10.0.0.2?data=10.0.0.2:19522") == ((("10.0.0.2", 19522),), False)
    assert route("ejfat://t@10.0.0.1:18347/lb/1?data=10.0.0.2:19522") == ((("10.0.0.2", 19522),), False)
    with pytest.raises(ConfigError, match="token, control plane and load balancer"):
        route("ejfat://10.0.0.2?data=10.0.0.2:19522", "control_plane = true")


def test_several_addresses_and_a_range_of_ports_are_used_in_turn() -> None:
    two = "ejfat://h?data=10.0.0.2:20000-20001&data=10.0.0.3:20000"
    assert route(two)[0] == (("10.0.0.2", 20000), ("10.0.0.3", 20000))
    assert route(two, "sockets = 4")[0] == (
        ("10.0.0.2", 20000), ("10.0.0.3", 20000), ("10.0.0.2", 20001), ("10.0.0.3", 20000),
    )  # fmt: skip


def test_the_ip_version_can_be_chosen() -> None:
    both = "ejfat://h?data=10.0.0.2:20000&data=%5Bfd00::2%5D:20000"
    assert route(both)[0] == (("10.0.0.2", 20000),)
    assert route(both, "ip = 6")[0] == (("fd00::2", 20000),)
    with pytest.raises(ConfigError, match="data address of IP version 6") as refused:
        route("ejfat://secret@h?data=10.0.0.2:20000", "ip = 6")
    assert "secret" not in str(refused.value)


def test_a_worker_says_who_it_is_and_where() -> None:
    text = f'prefix = "BL8:"\n[ingress.w]\nuri = "{WHOLE}"\naddress = "10.0.0.9"\nport_range = 2\nweight = 3.0'
    made = spec(text, Role.INGRESS)
    config = made.config.ingress["w"]
    uri = worker_uri(made, config)
    assert uri is not None
    found = registration(made, config, uri, 10000)
    assert (found.address, found.port, found.port_range, found.weight) == ("10.0.0.9", 10000, 2, 3.0)
    assert "BL8:EjfatIn1" in found.name
    short = spec('[ingress.w]\nuri = "ejfat://10.0.0.1:18347"', Role.INGRESS)
    with pytest.raises(ConfigError, match="token, control plane"):
        worker_uri(short, short.config.ingress["w"])
    none = spec("[ingress.w]\n", Role.INGRESS)
    assert worker_uri(none, none.config.ingress["w"]) is None


def test_through_a_balancer_of_the_appliance(tmp_path: Path) -> None:
    text = '[balancers.lab]\n[egress.out]\nbalancer = "lab"\n[ingress.w]\nbalancer = "lab"'
    made = spec(text, folder=tmp_path)
    with pytest.raises(ConfigError, match=r"lab\.uri"):
        route_of(made, made.config.egress["out"])
    made.uri_file("lab").write_text(WHOLE)
    assert route_of(made, made.config.egress["out"]).uri == ejfat_uri.parse(WHOLE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[egress.out]", "needs the key 'uri'"),
        ('[egress.out]\nbalancer = "lab"', "expected one of the .balancers... tables"),
        ('[ingress.w]\nbalancer = "lab"', "expected one of the .balancers... tables"),
        (
            '[balancers.lab]\n[egress.out]\nbalancer = "lab"\nuri = "ejfat://h?data=1.2.3.4"',
            "expected one of 'uri', 'bal",
        ),
        (f'[balancers.lab]\n[ingress.w]\nbalancer = "lab"\nuri = "{WHOLE}"', "expected one of 'uri' and 'balancer'"),
        ("[balancers.lab]\nloss = 2.0", "loss"),
        ("[balancers.lab]\nluck = 2.0", "unknown key"),
    ],
)
def test_tables_that_do_not_fit_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(text, "test")


def test_advice_says_what_to_set() -> None:
    assert advice("receive", 1000, 2000) == ""
    assert "net.core.rmem_max=4000000" in advice("receive", 4_000_000, 425_984)
    assert "net.core.wmem_max" in advice("send", 4_000_000, 425_984)
    assert "7 packets dropped" in advice("receive", 1000, 2000, 7)
    assert len(advice("receive", 2**31, 425_984, 2**40)) < 256


def test_input_errors_of_the_host(tmp_path: Path) -> None:
    snmp = tmp_path / "snmp"
    snmp.write_text("Udp: InDatagrams NoPorts InErrors\nUdp: 5 6 7\nUdpLite: InErrors\nUdpLite: 9\n")
    assert input_errors(snmp) == 7
    snmp.write_text("nonsense")
    assert input_errors(snmp) == 0 and input_errors(tmp_path / "none") == 0
    assert input_errors() >= 0


def test_a_destination_is_away_while_packets_find_no_way() -> None:
    reach = Reach()
    assert not reach.update(0, 0.0)
    assert reach.update(1, 1.0) and reach.update(1, 1.0 + AWAY_SECONDS / 2)
    assert not reach.update(1, 1.0 + AWAY_SECONDS)


def test_no_event_number_comes_twice_in_two_lives_of_an_egress() -> None:
    def first(more: str, wall_s: float) -> int:
        config = spec(f'[egress.out]\nuri = "ejfat://10.0.0.2?data=10.0.0.2"\n{more}').config.egress["out"]
        return first_event(config, round(wall_s * 1e9))

    assert first("", 1.8e9 + 1) - first("", 1.8e9) > NEW_START  # a receiver knows that it is a new life
    assert 0 < first("", 1.8e9) < 1 << 63
    assert first("first_event = 0", 1.8e9) == 0 and first("first_event = 4711", 1.8e9) == 4711
    assert first('payload = "pvapy"', 1.8e9) == 1
