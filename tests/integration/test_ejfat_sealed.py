"""An appliance whose events are sealed, on a way that loses packets and alters one: all come but that one, by id."""

from pathlib import Path

from ioc.channels.ejfat_wire import HEAD_BYTES, parse_segment
from tests.support.appliance import appliance
from tests.support.clients import user_of
from tests.support.lossy_relay import by_chance, lossy
from tests.unit.test_sealing import FIRST, SECOND, ring

CONFIG = """
[detector]
acquire_at_start = false
frame_rate = 100
size = [128, 96]
[egress.out]
uri = "ejfat://here?data=127.0.0.1:{relay}"
mtu = 1500
sealed = true
key_file = "{keys}"
resend = true
first_event = 1
[ingress.in]
sealed = true
key_file = "{keys}"
resend = true
event_timeout = 5.0
"""
ALTERED = 20
"""The event of which a byte changes on the way."""


def altered(packet: bytes) -> bytes:
    """Return a packet as it leaves the relay."""
    found = parse_segment(packet[:HEAD_BYTES], len(packet))
    if found.event == ALTERED and found.offset:
        return packet[:-1] + bytes([packet[-1] ^ 1])
    return packet


def test_sealed_events_on_a_bad_way_are_recovered_and_an_altered_one_is_refused(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    ring(keys, FIRST)
    with lossy(0, by_chance(0.01, 3), altered) as relay:
        (tmp_path / "rayfan.toml").write_text(CONFIG.format(relay=relay.port, keys=keys))
        with appliance(tmp_path, "rayfan.toml") as run, user_of(run) as user:
            run.wait_running("Ejfat1", "EjfatIn1")
            relay.target = run.status("EjfatIn1")["port"]
            user.put_plain("cam1:Acquire", 1)
            user.wait("Ejfat1:Key_RBV", "first")
            user.wait("EjfatIn1:Refused_RBV", 1)
            ring(keys, SECOND, FIRST)
            user.wait("Ejfat1:Key_RBV", "second")
            before = user.get("EjfatIn1:Frames_RBV")
            user.wait_until("EjfatIn1:Frames_RBV", lambda frames: frames > before + 50, "50 frames under the new key")
            user.wait_until("EjfatIn1:ResendRecovered_RBV", lambda frames: frames > 2, "frames were recovered")
            assert user.get("EjfatIn1:RefusedEvents_RBV") == f"1: {ALTERED}"
            assert user.get("EjfatIn1:Payload_RBV") == user.get("Ejfat1:Payload_RBV") == "sealed"
            assert user.get("EjfatIn1:KeyFault_RBV") == user.get("Ejfat1:KeyFault_RBV") == ""
            report = run.stop()
    stages = {stage["name"]: stage for stage in report["stages"]}
    there = stages["EjfatIn1"]
    assert relay.lost > 5
    assert stages["Ejfat1"]["processed"] == report["published"] == there["processed"] + 1
    assert [(first, last) for _, first, last in there["missed"]] == [(ALTERED, ALTERED)]
