"""The process of the web page: serves it from a thread of its own, and tells how it is on records as all others do."""

import logging
import socket
import threading
from importlib.metadata import version

import uvicorn
from pydantic import ValidationError
from starlette.types import ASGIApp

from ioc.channels.pva_snapshots import Snapshots
from ioc.channels.pva_values import SharedMonitors
from ioc.core.config_web import WebConfig
from ioc.core.errors import ConfigError
from ioc.core.status import ExitCode, ProcessSpec, Status
from ioc.records.face import Face
from ioc.records.server import RecordServer, ServerOptions
from ioc.records.table import Value
from ioc.supervisor.child import Child, live, run
from ioc.web.access import Access
from ioc.web.chain import Chain
from ioc.web.clients import Clients, House
from ioc.web.history import History
from ioc.web.pvws_messages import LONGEST_MESSAGE
from ioc.web.records import web_records
from ioc.web.site import Parts, site
from ioc.web.viewer import Viewer

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0
"""s that the server has to end its connections."""
GRACE_SECONDS = 1
"""s that requests have to finish."""
REQUESTS_A_CLIENT = 8
"""Connections that one browser may have, its WebSocket included."""
PING_SECONDS = 20.0
"""s between two signs of life of a connection, and until it is cut off without one."""
BACKLOG = 64


class WebServer:
    """uvicorn in a thread; `failure` is what ended it before its time."""

    def __init__(self, application: ASGIApp, listening: socket.socket, clients: int) -> None:
        self.failure: BaseException | None = None
        self._listening = listening
        self._server = uvicorn.Server(
            uvicorn.Config(
                application,
                http="h11",
                ws="websockets-sansio",
                ws_max_size=LONGEST_MESSAGE * 4,  # bytes: a character has up to 4
                ws_ping_interval=PING_SECONDS,
                ws_ping_timeout=PING_SECONDS,
                limit_concurrency=clients * REQUESTS_A_CLIENT,
                timeout_graceful_shutdown=GRACE_SECONDS,
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
            )
        )
        for name in ("uvicorn.error", "uvicorn.access"):  # each connection has a line otherwise
            logging.getLogger(name).setLevel(logging.WARNING)
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> bool:
        """End all connections; return whether that was possible in time."""
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS)
        if self._thread.is_alive():
            self._server.force_exit = True
            self._thread.join(STOP_SECONDS)
        self._listening.close()
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listening])
        except BaseException as error:  # noqa: BLE001 - boundary of the thread: its owner raises it
            self.failure = error


class Web:
    """Everything of the web page; made, started and drained by `main`."""

    def __init__(self, child: Child) -> None:
        spec = child.spec
        config = self.config = spec.config.web
        self.child = child
        self.name = spec.name
        self._listening = listen(config, earlier_port(spec))
        self.port: int = self._listening.getsockname()[1]
        self.url = url_of(config.address, self.port)
        prefix = spec.config.prefix
        self.values = SharedMonitors(config.most_pvs)
        self.snapshots = Snapshots()
        self.viewer = Viewer(self.snapshots, config.picture_rate)
        put_log = spec.config.put_log or spec.run_dir / "puts"
        access = Access.of(config)
        house = House(prefix, access, self.values, put_log, socket.gethostname(), config.clients)
        self.clients = Clients(house)
        facts = {"prefix": prefix, "version": version("rayfan"), "writable": config.token is not None}
        parts = Parts(
            folder=spec.run_dir,
            put_log=put_log,
            prefix=prefix,
            facts=facts,
            access=access,
            chain=Chain(spec.config, spec.run_dir),
            history=History(spec.run_dir),
            viewer=self.viewer,
            clients=self.clients,
            watchers=self.values.watchers,
        )
        self.server = WebServer(site(parts), self._listening, config.clients)
        self.records = RecordServer(prefix, web_records(self.name), lambda _name, _value: None, ServerOptions.of(spec))
        self.face = Face(spec, self.records)

    def start(self) -> None:
        """Serve records and page."""
        self.records.start()
        self.face.serve()
        self.server.start()
        log.info("the web page is at %s", self.url)
        self.child.report_with(self.sample)
        self.child.running()

    def sample(self) -> Status:
        """Return the status, and show it on the records."""
        status = self.child.status()
        status.port = self.port
        counts = self.clients.counts
        values: dict[str, Value] = {
            "Address": self.url,
            "Clients": len(self.clients),
            "PVs": len(self.values.watchers()),
            "Pictures": self.viewer.drawn,
            "Puts": counts.puts,
            "Refused": counts.refused,
        }
        status.figures = dict(values)
        self.face.tell(status, values | {"StatusMessage": status.message})
        return status

    def wait(self) -> None:
        """Return when the supervisor asks to stop, or raise what ended the server."""
        self.child.wait(lambda: self.server.failure)

    def close(self) -> bool:
        """End all connections and shut down."""
        ended = self.server.stop()
        self.records.finish()
        self.clients.close()
        self.viewer.close()
        self.values.close()
        self.snapshots.close()
        self.face.close()
        return ended


def listen(config: WebConfig, earlier: int | None) -> socket.socket:
    """Return a socket that listens where the configuration says, or on any free port if that one is taken.

    `earlier` is the port of the life before, where browsers look for it.

    Raises:
        ConfigError: this host does not have the address.
    """
    family = socket.AF_INET6 if ":" in config.address else socket.AF_INET
    refused = OSError()
    for port in dict.fromkeys(filter(None, (earlier, config.port))):
        try:
            return _bound(family, config.address, port)
        except OSError as error:
            refused = error
            log.warning("%s: %s; any free port is taken in its place", url_of(config.address, port), error.strerror)
    try:
        return _bound(family, config.address, 0)
    except OSError as error:
        why = refused.strerror or error.strerror
        raise ConfigError(
            f"key 'web.address': expected an address of this host, found {config.address}: {why}"
        ) from None


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def earlier_port(spec: ProcessSpec) -> int | None:
    """Return the port that the life before of this process had; None if there was none."""
    try:
        return Status.model_validate_json(spec.status_file.read_bytes()).port
    except (OSError, ValidationError):
        return None


def url_of(address: str, port: int) -> str:
    """Return where a browser of this host finds the page."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    return f"http://[{reachable}]:{port}/" if ":" in reachable else f"http://{reachable}:{port}/"


def main(child: Child) -> ExitCode:
    """Serve the page until the supervisor asks to stop."""
    return live(child, Web)


if __name__ == "__main__":
    run(main)
