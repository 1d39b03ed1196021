"""`rayfan ejfat-lb`: a software load balancer for EJFAT, for tests, labs and single hosts. A facility uses its own."""

import argparse
import os
import secrets
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ioc.balancer.faults import Faults
    from ioc.balancer.lab import Lab, LabSettings

ABOUT = """\
Runs a software load balancer with the control plane of EJFAT, for tests, labs and single hosts;
a facility has its own. Ctrl-C ends it.
"""
TOKEN_VARIABLE = "EJFAT_LB_TOKEN"
FAULTS = (
    ("loss", "part of the packets that is lost (0 to 1)"),
    ("duplicate", "part of the packets that comes twice (0 to 1)"),
    ("reorder", "part of the packets that others overtake (0 to 1)"),
    ("delay", "s that every packet takes"),
    ("jitter", "s more for those that others overtake"),
)


def add(commands: argparse._SubParsersAction) -> None:
    """Add `ejfat-lb`; what it needs is imported when it runs."""
    lb = commands.add_parser("ejfat-lb", help="run a load balancer for tests and labs", description=ABOUT)
    lb.add_argument("--address", default="127.0.0.1", metavar="IP", help="IP address to listen on (default 127.0.0.1)")
    lb.add_argument("--port", type=int, default=18347, help="TCP port of the control plane, 0: a free one")
    lb.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"token of the administrator (default: {TOKEN_VARIABLE}, or a random one)",
    )
    lb.add_argument("--uri-file", type=Path, metavar="FILE", help="write the administrator's URI there, mode 600")
    lb.add_argument("--reserve", metavar="NAME", help="make a reservation; --uri-file then gets its URI")
    lb.add_argument("--show-token", action="store_true", help="print the URI with its token")
    lb.add_argument("--tls-key", type=Path, metavar="FILE", help="PEM file of the key, for TLS")
    lb.add_argument("--tls-certificate", type=Path, metavar="FILE", help="PEM file of the certificate chain")
    lb.add_argument("--epoch", type=float, default=1.0, metavar="S", help="s between epochs (default 1)")
    lb.add_argument("--lead", type=float, default=0.8, metavar="S", help="s that an epoch is dealt ahead (default 0.8)")
    for name, text in FAULTS:
        lb.add_argument(f"--{name}", type=float, default=0.0, metavar="X", help=f"fault: {text}")
    lb.add_argument("--seed", type=int, metavar="N", help="fault: let chance play the same way every time")
    lb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from ioc.balancer.lab import Lab
    from ioc.balancer.registry import Wanted
    from ioc.channels import ejfat_uri
    from ioc.ejfat_lb_admin import save_uri

    lab = Lab(settings(options))
    lab.start()
    try:
        uri = lab.reserve(Wanted(options.reserve)) if options.reserve else lab.admin_uri()
        if options.uri_file:
            save_uri(options.uri_file, ejfat_uri.to_text(uri))
        print("EJFAT load balancer for tests and labs, not for a facility; Ctrl-C ends it")
        print(f"URI  {ejfat_uri.to_text(uri, with_token=options.show_token)}", flush=True)
        _wait(lab)
        _print_figures(lab)
    finally:
        lab.close()
    return 1 if lab.failure is not None else 0


def settings(options: argparse.Namespace) -> "LabSettings":
    """Return the settings that the options say.

    Raises:
        ConfigError: one of them cannot be used.
    """
    from ioc.balancer.lab import LabSettings
    from ioc.balancer.reservation import Pace
    from ioc.balancer.service import Certificate
    from ioc.core.errors import ConfigError, mismatch

    if bool(options.tls_key) != bool(options.tls_certificate):
        raise ConfigError(mismatch("ejfat-lb", "--tls-key and --tls-certificate together", "one of them"))
    if not (0.05 <= options.epoch <= 60 and 0 <= options.lead <= 60):
        raise ConfigError(mismatch("--epoch, --lead", "0.05 to 60 s, 0 to 60 s", (options.epoch, options.lead)))
    certificate = Certificate(options.tls_key, options.tls_certificate) if options.tls_key else None
    pace = Pace(options.epoch, options.lead)
    return LabSettings(options.address, options.port, _token(options.token_file), certificate, pace, _faults(options))


def _faults(options: argparse.Namespace) -> "Faults":
    from ioc.balancer.faults import Faults
    from ioc.core.errors import ConfigError, mismatch

    for name in ("loss", "duplicate", "reorder"):
        if not 0 <= getattr(options, name) <= 1:
            raise ConfigError(mismatch(f"--{name}", "a part of 0 to 1", getattr(options, name)))
    for name in ("delay", "jitter"):
        if not 0 <= getattr(options, name) <= 10:
            raise ConfigError(mismatch(f"--{name}", "0 to 10 s", getattr(options, name)))
    return Faults(**{name: getattr(options, name) for name, _ in FAULTS}, seed=options.seed)


def _token(path: Path | None) -> str:
    from ioc.core.errors import ConfigError, mismatch

    if path is None:
        return os.environ.get(TOKEN_VARIABLE) or secrets.token_urlsafe(24)
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(mismatch("--token-file", "a file with a token", str(error))) from None
    if not token:
        raise ConfigError(mismatch("--token-file", "a file with a token", "an empty one"))
    return token


def _wait(lab: "Lab") -> None:
    from ioc.supervisor.stop_request import StopRequest

    stopping = StopRequest()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    while not stopping.wait(0.2) and lab.failure is None:
        pass


def _print_figures(lab: "Lab") -> None:
    for reserved in lab.registry.all():
        figures = reserved.plane.figures()
        sent = sum(figures.forwarded.values())
        print(f"load balancer {reserved.id} ({reserved.wanted.name}): {figures.received} packets, {sent} sent on,")
        print(
            f"  for nobody {figures.nobody}, not EJFAT {figures.malformed}, strangers {figures.strangers},"
            f" kernel drops {figures.kernel_drops}"
        )
        if figures.lost or figures.doubled or figures.held_back:
            print(f"  faults: lost {figures.lost}, doubled {figures.doubled}, held back {figures.held_back}")
    sys.stdout.flush()
