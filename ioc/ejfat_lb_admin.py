"""`rayfan ejfat lb`: the calls of an EJFAT control plane for people, in 80 columns; tokens only when asked for.

The URI comes from --uri, from a file (--uri-file) or from the environment (EJFAT_URI), in this order.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ioc.channels.ejfat_control import ControlPlane
    from ioc.channels.ejfat_control_model import LbStatus, LbView, Reservation, TokenView
    from ioc.channels.ejfat_uri import EjfatUri

ABOUT = """\
Talks to the control plane of EJFAT load balancers: of a facility, or of rayfan ejfat-lb.
"""
LB = """\
Reserves, shows and frees load balancers. The URI comes from --uri, from a file (--uri-file) or from
the environment (EJFAT_URI), in this order. Tokens are printed only with --show-token.
"""
Subparsers = argparse._SubParsersAction
HOUR = 3600.0
PARTS = ("sync", "epochs", "senders", "workers")
RESOURCES = ("all", "load_balancer", "reservation", "session")
PERMISSIONS = ("read_only", "register", "reserve", "update")


def add(commands: Subparsers) -> None:
    """Add `ejfat lb` with its sub-commands; what they need is imported when they run."""
    ejfat = commands.add_parser("ejfat", help="talk to an EJFAT control plane", description=ABOUT)
    kinds = ejfat.add_subparsers(title="commands", metavar="COMMAND", required=True)
    lb = kinds.add_parser("lb", help="reserve, look at and free load balancers", description=LB)
    calls = lb.add_subparsers(title="calls", metavar="CALL", required=True)
    reserve = _call(calls, "reserve", _reserve, "reserve a load balancer")
    reserve.add_argument("name")
    reserve.add_argument("--hours", type=float, default=24.0, help="how long; 0: without an end (default 24)")
    reserve.add_argument("--sender", action="append", default=[], metavar="IP", help="let this address send")
    reserve.add_argument("--strategy", choices=("dynamic", "static", "explicit"), default="dynamic")
    reserve.add_argument("--save", type=Path, metavar="FILE", help="write the URI with its token there, mode 600")
    _one(calls, "get", _get, "show a reservation")
    _one(calls, "status", _status, "show epoch, workers and senders")
    _one(calls, "free", _free, "end a reservation")
    extend = _one(calls, "extend", _extend, "move the end of a reservation")
    extend.add_argument("--hours", type=float, default=24.0, help="from now (default 24)")
    reset = _one(calls, "reset", _reset, "clear parts of a load balancer; events under way are lost")
    reset.add_argument("parts", nargs="+", choices=PARTS)
    for name, run, text in (("add-senders", _add, "let addresses send"), ("remove-senders", _remove, "shut them out")):
        senders = _one(calls, name, run, text)
        senders.add_argument("address", nargs="+")
    _call(calls, "overview", _overview, "show all load balancers")
    _call(calls, "version", _version, "show what the control plane is")
    series = _one(calls, "timeseries", _timeseries, "show what workers reported")
    series.add_argument("--path", default="*", help="for example session/2/fillPercent; * fits any part")
    series.add_argument("--seconds", type=float, default=60.0, help="how far back (default 60)")
    _call(calls, "token", _token, "show what the token of the URI may, and its children")
    create = _call(calls, "create-token", _create_token, "make a token that may less than that of the URI")
    create.add_argument("name")
    create.add_argument("--resource", choices=RESOURCES, default="reservation")
    create.add_argument("--id", default="", help="of the resource; left out: all of its kind")
    create.add_argument("--permission", choices=PERMISSIONS, default="register")
    revoke = _call(calls, "revoke-token", _revoke_token, "make a token and its children invalid")
    revoke.add_argument("id", type=int)


def _call(calls: Subparsers, name: str, run: Callable[..., Any], text: str) -> argparse.ArgumentParser:
    parser = calls.add_parser(name, help=text)
    parser.add_argument("--uri", help="EJFAT URI (default: the environment's EJFAT_URI)")
    parser.add_argument("--uri-file", type=Path, metavar="FILE", help="read the URI from the first line of a file")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="root certificate, PEM (default: the system's)")
    parser.add_argument("--no-verify", action="store_true", help="trust any certificate: test set-ups only")
    parser.add_argument("--timeout", type=float, default=5.0, metavar="S")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--show-token", action="store_true", help="print tokens")
    parser.set_defaults(run=lambda options: _run(options, run))
    return parser


def _one(calls: Subparsers, name: str, run: Callable[..., Any], text: str) -> argparse.ArgumentParser:
    parser = _call(calls, name, run, text)
    parser.add_argument("--lb", metavar="ID", help="id of the load balancer (default: that of the URI)")
    return parser


def uri_of(options: argparse.Namespace) -> "EjfatUri":
    """Return the URI that the options name.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    from ioc.channels import ejfat_uri
    from ioc.core.errors import ConfigError, mismatch

    if options.uri:
        return ejfat_uri.parse(options.uri, "--uri")
    if options.uri_file:
        try:
            lines = options.uri_file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(mismatch("--uri-file", "a file with a URI", str(error))) from None
        return ejfat_uri.parse(lines[0] if lines else "", str(options.uri_file))
    if "EJFAT_URI" in os.environ:
        return ejfat_uri.parse(os.environ["EJFAT_URI"], "EJFAT_URI")
    raise ConfigError(mismatch("EJFAT URI", "--uri, --uri-file or EJFAT_URI in the environment", "none"))


def _run(options: argparse.Namespace, run: Callable[[argparse.Namespace, "ControlPlane", "EjfatUri"], Any]) -> int:
    from ioc.channels.ejfat_control import ControlPlane, ControlSettings

    uri = uri_of(options)
    settings = replace(
        ControlSettings.of(uri), verify=not options.no_verify, root_certificate=options.ca, timeout=options.timeout
    )
    control = ControlPlane(settings)
    try:
        return run(options, control, uri) or 0
    finally:
        control.close()


def _id(options: argparse.Namespace, uri: "EjfatUri") -> str:
    from ioc.core.errors import ConfigError, mismatch

    found = options.lb or uri.lb_id
    if not found:
        raise ConfigError(mismatch("load balancer", "--lb ID, or an id in the URI (.../lb/ID)", "none"))
    return found


def _reserve(options: argparse.Namespace, control: "ControlPlane", uri: "EjfatUri") -> None:
    from ioc.channels import ejfat_uri
    from ioc.core.errors import ConfigError

    if not (options.save or options.show_token):
        raise ConfigError("reserve: its token is told only once; say --save FILE or --show-token")
    seconds = options.hours * HOUR or None
    made = control.reserve(options.name, seconds, options.sender, options.strategy)
    theirs = replace(
        uri,
        token=made.token,
        lb_id=made.lb_id,
        sync=made.sync_v4 or made.sync_v6,
        data_v4=made.data_v4,
        data_v6=made.data_v6,
    )
    text = ejfat_uri.to_text(theirs)
    if options.save:
        save_uri(options.save, text)
    if options.json:
        _print_json(_reservation_json(made, options) | ({"uri": text} if options.show_token else {}))
        return
    _print_reservation(made)
    print(f"URI         {text if options.show_token else ejfat_uri.to_text(theirs, with_token=False)}")
    if options.save:
        print(f"saved       {options.save}, with its token; use it with --uri-file")


def save_uri(path: Path, text: str) -> None:
    """Write a URI with its token to a file that only its owner can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o600)  # also where the file was there already
        file.write(text + "\n")


def _get(options: argparse.Namespace, control: "ControlPlane", uri: "EjfatUri") -> None:
    found = control.get(_id(options, uri))
    _print_json(_reservation_json(found, options)) if options.json else _print_reservation(found)


def _status(options: argparse.Namespace, control: "ControlPlane", uri: "EjfatUri") -> None:
    found = control.status(_id(options, uri))
    _print_json(asdict(found)) if options.json else _print_status(found)


def _free(options: argparse.Namespace, control: "ControlPlane", uri: "EjfatUri") -> None:
    lb_id = _id(options, uri)
    control.free(lb_id)
    print(f"load balancer {lb_id} is free")


def _extend(options: argparse.Namespace, control: "ControlPlane", uri: "EjfatUri") -> None:
    print(f"ends        {_time(control.extend(_id(options, uri), options.hours * HOUR))}")


def _reset(options: argparse.Namespace, control: "ControlPlane", uri: "EjfatUri") -> None:
    control.reset(_id(options, uri), options.parts)
    print(f"cleared     {', '.join(options.parts)}")


def _add(options: argparse.Namespace, control: "ControlPlane", uri: "EjfatUri") -> None:
    control.add_senders(_id(options, uri), options.address)
    print(f"may send    {', '.join(options.address)}")


def _remove(options: argparse.Namespace, control: "ControlPlane", uri: "EjfatUri") -> None:
    control.remove_senders(_id(options, uri), options.address)
    print(f"may not send any more   {', '.join(options.address)}")


def _overview(options: argparse.Namespace, control: "ControlPlane", _uri: "EjfatUri") -> None:
    found = control.overview()
    if options.json:
        _print_json([{**asdict(one), "reservation": _reservation_json(one.reservation, options)} for one in found])
        return
    print(f"{'id':<5} {'name':<18} {'data':<21} {'workers':>7} {'epoch':>6}  ends (UTC)")
    for one in found:
        _print_overview_line(one)
    if not found:
        print("no load balancer is reserved")


def _version(options: argparse.Namespace, control: "ControlPlane", _uri: "EjfatUri") -> None:
    found = control.version()
    _print_json(asdict(found)) if options.json else print(
        f"build       {found.build}\ncommit      {found.commit}\ncompatible  {found.compatible}"
    )


def _timeseries(options: argparse.Namespace, control: "ControlPlane", uri: "EjfatUri") -> None:
    since = time.time_ns() - round(options.seconds * 1e9)
    found = control.timeseries([f"/lb/{_id(options, uri)}/{options.path}"], since)
    if options.json:
        _print_json([asdict(one) for one in found])
        return
    print(f"{'series':<52} {'samples':>7} {'last':>18}")
    for one in found:
        last = f"{one.samples[-1][1]:g} {one.unit}".rstrip() if one.samples else "-"
        print(f"{one.name[:52]:<52} {len(one.samples):>7} {last[:18]:>18}")
    if not found:
        print(f"nothing was reported in the last {options.seconds:g} s")


def _token(options: argparse.Namespace, control: "ControlPlane", _uri: "EjfatUri") -> None:
    own, children = control.token(), control.child_tokens()
    if options.json:
        _print_json({"own": _token_json(own), "children": [_token_json(one) for one in children]})
        return
    print(f"{'id':<6} {'name':<24} {'made':<20} may")
    for one in (own, *children):
        may = ", ".join(f"{grant.permission.name} {grant.resource.name} {grant.resource_id}" for grant in one.grants)
        print(f"{one.id:<6} {one.name[:24]:<24} {one.created_at[:19]:<20} {may[:27].lower()}")


def _create_token(options: argparse.Namespace, control: "ControlPlane", uri: "EjfatUri") -> None:
    from ioc.channels import ejfat_uri
    from ioc.channels.ejfat_control_model import Grant, Permission, Resource
    from ioc.core.errors import ConfigError

    if not options.show_token:
        raise ConfigError("create-token: the token is told only once; say --show-token")
    grant = Grant(Resource[options.resource.upper()], Permission[options.permission.upper()], options.id)
    print(ejfat_uri.to_text(replace(uri, token=control.create_token(options.name, [grant]))))


def _revoke_token(options: argparse.Namespace, control: "ControlPlane", _uri: "EjfatUri") -> None:
    control.revoke_token(options.id)
    print(f"token {options.id} and its children are invalid")


def _print_reservation(found: "Reservation") -> None:
    print(f"id          {found.lb_id}")
    for name, endpoint in (
        ("data", found.data_v4),
        ("data", found.data_v6),
        ("sync", found.sync_v4),
        ("sync", found.sync_v6),
    ):
        if endpoint is not None:
            ports = f"{endpoint.port}" + (f"-{endpoint.last_port}" if endpoint.last_port > endpoint.port else "")
            print(f"{name:<11} {endpoint.address} port {ports}")
    if found.strategy:
        print(f"strategy    {found.strategy}")


def _print_status(found: "LbStatus") -> None:
    print(f"epoch       {found.epoch}, tick {found.predicted_tick}, {found.slots} slots")
    print(f"ends        {_time(found.expires_ns)}")
    for at in range(0, max(1, len(found.senders)), 4):
        print(f"{'senders' if not at else '':<11} {', '.join(found.senders[at : at + 4]) or 'none'}")
    print(f"{'worker':<20} {'address':<22} {'slots':>5} {'fill':>5} {'signal':>7} {'events':>9} {'age/s':>6}")
    for one in found.workers:
        where = f"{one.address}:{one.port}" + (f"+{(1 << one.port_range) - 1}" if one.port_range else "")
        age = (found.time_ns - one.updated_ns) / 1e9
        state = one.state
        print(
            f"{one.name[:20]:<20} {where[:22]:<22} {one.slots:>5} {state.fill:>5.2f} {state.control_signal:>7.1f}"
            f" {state.totals.reassembled:>9} {min(age, 9999):>6.1f}"
        )
    if not found.workers:
        print("no worker is registered")


def _print_overview_line(one: "LbView") -> None:
    data = one.reservation.data_v4 or one.reservation.data_v6
    where = f"{data.address}:{data.port}" if data else "-"
    ends = _time(one.status.expires_ns)[:16]  # without seconds
    name, workers, epoch = one.name[:18], len(one.status.workers), one.status.epoch
    print(f"{one.reservation.lb_id[:5]:<5} {name:<18} {where[:21]:<21} {workers:>7} {epoch:>6}  {ends}")


def _reservation_json(found: "Reservation", options: argparse.Namespace) -> dict[str, Any]:
    fields = asdict(found)
    return fields if options.show_token else {key: value for key, value in fields.items() if key != "token"}


def _token_json(one: "TokenView") -> dict[str, Any]:
    grants = [
        {"resource": grant.resource.name, "permission": grant.permission.name, "id": grant.resource_id}
        for grant in one.grants
    ]
    return {"id": one.id, "name": one.name, "created_at": one.created_at, "grants": grants}


def _time(ns: int | None) -> str:
    return "never" if ns is None else datetime.fromtimestamp(ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _print_json(value: dict[str, Any] | Sequence[Any]) -> None:
    print(json.dumps(value, indent=2))
