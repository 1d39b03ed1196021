"""The control plane's messages: what is made of the .proto file is what protoc makes of it."""

from pathlib import Path

import grpc_tools
import pytest
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

from ioc.channels import ejfat_messages
from ioc.channels.ejfat_messages import CALLS, MESSAGES, PROTO, file_descriptor
from ioc.core.errors import RayfanBug

FOLDER = Path(ejfat_messages.__file__).parent
WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"


def test_descriptors_are_those_of_protoc(tmp_path: Path) -> None:
    out = tmp_path / "set.bin"
    assert protoc.main(["protoc", f"-I{FOLDER}", f"-I{WELL_KNOWN}", f"--descriptor_set_out={out}", PROTO]) == 0
    theirs = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file[0]
    assert file_descriptor((FOLDER / PROTO).read_text()) == theirs


def test_every_call_of_the_service_is_there() -> None:
    assert len(CALLS) == 19
    assert CALLS["SendState"].path == "/loadbalancer.LoadBalancer/SendState"


def test_state_on_the_wire() -> None:
    """Field numbers and types by hand: sessionId 2, lbId 3, fillPercent 5 (float), isReady 7, totalPacketsRecv 14."""
    message = MESSAGES["SendStateRequest"](sessionId="7", lbId="1", fillPercent=0.5, isReady=True, totalPacketsRecv=300)
    assert message.SerializeToString() == bytes.fromhex("1201371a01312d0000003f380170ac02")


def test_a_line_that_is_no_field_is_refused() -> None:
    with pytest.raises(RayfanBug, match="expected a field"):
        file_descriptor("package a;\nmessage M {\n  map<string, string> x = 1;\n}\n")
