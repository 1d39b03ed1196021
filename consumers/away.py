"""A worker elsewhere: a consumer on any host, which joins an appliance with a token and needs no supervisor there.

find      the appliance, by pvAccess (EPICS_PVA_ADDR_LIST and the like say where)
join      prove the token both ways, get the group's definition and a seat
work      a consumer as any other: an IOC of its own, with `$(P)ConsN:` and so on
leave     on SIGTERM (a scheduler's signal before its time is up), Ctrl-C, or when the appliance asks: finish, say so
end       when the appliance is not heard of for too long, or a frame takes longer than its limit
"""

import argparse
import faulthandler
import json
import logging
import os
import shutil
import signal
import socket
import stat
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from consumers.consumer import Consumer
from consumers.inputs import Inputs
from ioc.channels.book import Book
from ioc.channels.pva_joined import JoinedReceiver
from ioc.channels.pva_session import Wish
from ioc.core.config import Config
from ioc.core.config_group import GroupConfig
from ioc.core.errors import ConfigError, PeerError, ProtocolError, mismatch
from ioc.core.joining import is_token, word
from ioc.core.status import ExitCode, ProcessSpec, Role, Status
from ioc.supervisor.child import Child, guarded, leave, live, log_to_stderr
from ioc.work_options import add

log = logging.getLogger(__name__)

JOIN_SECONDS = 60.0
OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Away(Consumer):
    """A consumer whose frames come from an appliance that it has joined."""

    def __init__(self, child: Child, receiver: JoinedReceiver) -> None:
        book = Book(child.spec.book_file)
        receiver.keep(book)
        super().__init__(child, Inputs(receiver, book, None))
        self.joined = receiver

    def sample(self) -> Status:
        """Return the status; nobody on this host would end a worker that hangs, so it ends itself."""
        since, limit = self.worker.busy_since_ns, self.group.time_limit
        if since is not None and time.monotonic_ns() - since > limit * 1e9:
            log.critical("the processor takes more than time_limit = %g s for one frame: this worker ends", limit)
            leave(ExitCode.FAILED)
        return super().sample()


def run(options: argparse.Namespace) -> NoReturn:
    """Join, work, leave, and exit with the truth."""
    faulthandler.enable()
    log_to_stderr(options.debug)
    receiver = JoinedReceiver(_wish(options), options.patience)
    own = Path(tempfile.mkdtemp(prefix="rayfan-work-"))
    try:
        receiver.join(JOIN_SECONDS)
        code = _work(receiver, spec_of(receiver.terms, options, own))
    except PeerError as error:
        log.error("%s", error)
        code = ExitCode.FAILED
    receiver.close()
    log.info("ended with exit code %d", code)
    if options.folder is not None or not any((own / "files").glob("*/*")):
        shutil.rmtree(own, ignore_errors=True)
    leave(code)


def _work(receiver: JoinedReceiver, spec: ProcessSpec) -> ExitCode:
    log.info("joined %s as %s, on host %s", spec.config.prefix, spec.name, socket.gethostname())
    child = Child(spec)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: child.stopping.set())
    receiver.dismissed = child.stopping.set
    receiver.status = lambda: _told(spec.status_file)
    code = guarded(child, partial(live, make=partial(Away, receiver=receiver)))
    return ExitCode.FAILED if receiver.gone else code


def _told(status_file: Path) -> dict[str, Any] | None:
    """Return what this process last said of itself."""
    try:
        return json.loads(status_file.read_bytes())
    except FileNotFoundError:
        return None


def spec_of(terms: dict[str, Any], options: argparse.Namespace, own: Path) -> ProcessSpec:
    """Return the spec of this worker, from the terms of the appliance.

    Raises:
        ProtocolError: the terms are not what this version understands.
    """
    name = word(terms, "name")
    try:
        group = GroupConfig.model_validate(terms.get("group"))
        group = group.model_copy(update={"count": max(group.count, 1), "input": "detector"})
        given = {name: terms.get(name) for name in ("image_server", "access_security", "ioc_stats")}
        config = Config.model_validate(
            {"prefix": options.join, "groups": {options.group: group}, "autosave": options.folder, **given}
        )
    except ValidationError as error:
        text = str(error).splitlines()[0]
        raise ProtocolError(f"terms of {options.join}: {text}; do both sides run the same version?") from None
    return ProcessSpec(
        role=Role.CONSUMER,
        name=name,
        config=config,
        run_dir=own,
        folder=options.folder,
        table=options.group,
        member=options.member or 0,
        debug=options.debug,
    )


def read_token(path: Path) -> str:
    """Return the token of a file.

    Raises:
        ConfigError: the file is not there, open to others, or has no token.
    """
    try:
        facts, text = path.stat(), path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--token-file {path}: cannot be read: {error}") from None
    if stat.S_IMODE(facts.st_mode) & OPEN_TO_OTHERS:
        mode = f"{stat.S_IMODE(facts.st_mode):04o}"
        raise ConfigError(mismatch(f"--token-file {path}", "mode 0600", mode, f"chmod 600 {path}"))
    if not is_token(text):
        raise ConfigError(mismatch(f"--token-file {path}", "64 hexadecimal digits", f"{len(text)} characters"))
    return text


def _wish(options: argparse.Namespace) -> Wish:
    return Wish(
        options.join, options.group, read_token(options.token_file), options.name, options.member, options.set,
        options.life,
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a worker that a batch job was made for."""
    parser = argparse.ArgumentParser(prog="rayfan work")
    add(parser)
    options = parser.parse_args(arguments)
    try:
        run(options)
    except ConfigError as error:
        log.error("%s", error)
        os._exit(ExitCode.BAD_CONFIGURATION)


if __name__ == "__main__":
    main()
