"""The messages of the EJFAT control plane, made from `loadbalancer.proto` when this module is imported.

No generated code is kept: what protoc generates runs only with its own major version of the protobuf library, while
the descriptors made here run with all of them (docs/decisions/0007-control-plane-messages.md). A test compares them
with what protoc makes of the same file. The classes live in a pool of their own, so that a user's code may load another
package `loadbalancer` beside them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

from ioc.core.errors import RayfanBug

PROTO = "loadbalancer.proto"
SERVICE = "loadbalancer.LoadBalancer"

_MESSAGE = re.compile(r"^message (\w+) \{$(.*?)^\}$", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^(repeated )?([\w.]+) (\w+) = (\d+);$")
_CALL = re.compile(r"^ *rpc (\w+) \((\w+)\) returns \((\w+)\);$", re.MULTILINE)
_SCALARS = {
    name: getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{name.upper()}")
    for name in ("string", "bool", "float", "int32", "int64", "uint32", "uint64")
}


@dataclass(frozen=True, slots=True)
class Call:
    """One method of the service: its path, and the classes of what is asked and answered."""

    name: str
    path: str
    request: Any
    reply: Any


def file_descriptor(text: str) -> descriptor_pb2.FileDescriptorProto:
    """Return what a .proto file of the subset used here says: messages of scalar, message and repeated fields."""
    package = re.search(r"^package (\w+);$", text, re.MULTILINE)
    if package is None:
        raise RayfanBug(f"{PROTO}: no package")
    found = descriptor_pb2.FileDescriptorProto(name=PROTO, package=package[1], syntax="proto3")
    found.dependency.append(timestamp_pb2.DESCRIPTOR.name)
    for name, body in _MESSAGE.findall(text):
        message = found.message_type.add(name=name)
        for line in filter(None, map(str.strip, body.splitlines())):
            _add_field(message, line, package[1])
    for name, request, reply in _CALL.findall(text):
        _method(found, name, f".{package[1]}.{request}", f".{package[1]}.{reply}")
    return found


def _add_field(message: descriptor_pb2.DescriptorProto, line: str, package: str) -> None:
    match = _FIELD.match(line)
    if match is None:
        raise RayfanBug(f"{PROTO}, message {message.name}: expected a field, found {line!r}")
    repeated, kind, name, number = match.groups()
    field = message.field.add(name=name, number=int(number), json_name=_json_name(name))
    field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = field.TYPE_MESSAGE
        field.type_name = f".{kind}" if "." in kind else f".{package}.{kind}"


def _json_name(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _method(found: descriptor_pb2.FileDescriptorProto, name: str, request: str, reply: str) -> None:
    if not found.service:
        found.service.add(name=SERVICE.rpartition(".")[2])
    found.service[0].method.add(name=name, input_type=request, output_type=reply)


def _load() -> tuple[dict[str, Any], dict[str, Call]]:
    described = file_descriptor(resources.files(__package__ or "").joinpath(PROTO).read_text(encoding="utf-8"))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(described.SerializeToString())
    classes = dict(_classes(pool, described))
    short = {f".{described.package}.{name}": made for name, made in classes.items()}
    calls = {
        method.name: Call(method.name, f"/{SERVICE}/{method.name}", short[method.input_type], short[method.output_type])
        for method in described.service[0].method
    }
    return classes, calls


def _classes(pool: Any, described: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[str, Any]]:
    for message in described.message_type:
        found = pool.FindMessageTypeByName(f"{described.package}.{message.name}")
        yield message.name, message_factory.GetMessageClass(found)


MESSAGES, CALLS = _load()
"""Message classes by name, and the methods of the service by name."""
