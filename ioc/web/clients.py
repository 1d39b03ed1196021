"""The browsers that are connected: a WebSocket each, at `/pvws/pv`, which speaks PVWS.

How it works: one task reads what the client sends and does it, in order; another one tells it what is new, some times
a second. A put runs in a thread; the client's further messages wait for it, its updates do not.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect

from ioc.core.errors import ProtocolError, RefusedError, UserError
from ioc.records.put_log import Put, append, line_of
from ioc.web.access import Access, bearer
from ioc.web.pvws_messages import Clear, Echo, ListNames, Message, Subscribe, Token, Unknown, Write, parse
from ioc.web.pvws_session import Session, Values

log = logging.getLogger(__name__)

PERIOD = 0.2
"""s between two looks at what is new for a client."""
PUT_SECONDS = 5.0
"""s that a record has to take a put."""
PUT_THREADS = 4
WRONG_SECONDS = 1.0
"""s that the answer to a wrong token takes, so that nobody tries many."""
MOST_FAULTS = 50
"""Messages that break the protocol after which a client is cut off."""
TRY_AGAIN_LATER, BROKE_PROTOCOL, NO_TEXT = 1013, 1002, 1003
"""Close codes (RFC 6455, 7.4.1, and its registry)."""


class PutValues(Values, Protocol):
    """Values that can be put, too."""

    def put(self, name: str, value: float | str, timeout: float) -> None:
        """Put a value; RefusedError if it is not taken."""
        ...


@dataclass(slots=True)
class Counts:
    """What happened since the start."""

    puts: int = 0
    refused: int = 0


@dataclass(slots=True, eq=False)
class Client:
    """One connection."""

    number: int
    peer: str
    socket: WebSocket
    session: Session
    created: float = field(default_factory=time.time)
    last_message: float = 0.0
    last_sent: float = 0.0
    faults: int = 0


@dataclass(frozen=True, slots=True)
class House:
    """What the clients of one appliance have in common; `host` is how puts name this computer."""

    prefix: str
    access: Access
    values: PutValues
    put_log: Path
    host: str
    most: int


class Clients:
    """All of them; used in one event loop."""

    def __init__(self, house: House) -> None:
        self.counts = Counts()
        self._house = house
        self._clients: dict[int, Client] = {}
        self._number = 0
        self._threads = ThreadPoolExecutor(PUT_THREADS, thread_name_prefix="puts")

    def __iter__(self) -> Iterator[Client]:
        return iter(list(self._clients.values()))

    def __len__(self) -> int:
        return len(self._clients)

    async def serve(self, socket: WebSocket) -> None:
        """Serve one connection to its end."""
        await socket.accept()
        if len(self._clients) >= self._house.most:
            await socket.close(TRY_AGAIN_LATER, f"{self._house.most} browsers are connected: close one of them")
            return
        self._number += 1
        peer = socket.client.host if socket.client is not None else "-"
        client = Client(self._number, peer, socket, Session(self._house.values, self._house.prefix))
        self._clients[client.number] = client
        telling = asyncio.create_task(self._tell(client), name=f"tell-{client.number}")
        try:
            await self._greet(client)
            while True:
                await self._take(client, await socket.receive_text())
        except KeyError:  # Starlette's receive_text was given bytes
            await socket.close(NO_TEXT, "text frames are expected")
        except (WebSocketDisconnect, RuntimeError):
            pass  # gone, maybe in the middle of something
        finally:
            telling.cancel()
            del self._clients[client.number]
            client.session.close()

    def close(self) -> None:
        """End the threads; a put that is on its way is finished first."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def _greet(self, client: Client) -> None:
        token = bearer(client.socket.headers.get("authorization"))
        if token is not None:
            await self._do(client, Token(token))

    async def _take(self, client: Client, text: str) -> None:
        client.last_message = time.time()
        try:
            await self._do(client, parse(text))
        except ProtocolError as error:
            client.faults += 1
            await self._send(client, {"type": "error", "message": str(error)})
            if client.faults >= MOST_FAULTS:
                await client.socket.close(BROKE_PROTOCOL, "too many messages that nobody understands")

    async def _do(self, client: Client, message: Message) -> None:
        session = client.session
        try:
            match message:
                case Subscribe(names):
                    await self._subscribe(client, names)
                case Clear(names):
                    for name in names:
                        session.clear(name)
                case ListNames():
                    await self._send(client, {"type": "list", "pvs": session.names})
                case Echo(text):
                    await client.socket.send_text(text)
                case Token(token):
                    await self._open(client, token)
                case Write(name, value):
                    await self._write(client, name, value)
                case Unknown(kind):
                    log.info("client %d at %s: a message of type %r is passed over", client.number, client.peer, kind)
        except UserError as error:
            await self._send(client, {"type": "error", "message": str(error)})

    async def _subscribe(self, client: Client, names: tuple[str, ...]) -> None:
        """Watch each name that can be watched, and say why the others cannot."""
        for name in names:
            try:
                client.session.subscribe(name)
            except RefusedError as error:
                await self._send(client, {"type": "error", "message": str(error), "pv": name})

    async def _open(self, client: Client, token: str) -> None:
        try:
            self._house.access.check_token(token)
        except RefusedError as error:
            self.counts.refused += 1
            log.warning("client %d at %s: %s", client.number, client.peer, error)
            await asyncio.sleep(WRONG_SECONDS)
            await self._send(client, {"type": "token", "write": False, "message": str(error)})
            return
        client.session.may_write = True
        log.info("client %d at %s may write", client.number, client.peer)
        await self._send(client, {"type": "token", "write": True, "message": ""})

    async def _write(self, client: Client, name: str, value: float | str) -> None:
        put = Put(name, str(value), "?")
        try:
            pv, old = client.session.target(name)
            put = Put(pv, str(value), old)
            await self._run(partial(self._house.values.put, pv, value, PUT_SECONDS))
        except RefusedError as error:
            self.counts.refused += 1
            await self._run(partial(self._log, client, put, str(error)))
            raise
        self.counts.puts += 1
        await self._run(partial(self._log, client, put))

    def _log(self, client: Client, put: Put, refusal: str = "") -> None:
        try:
            append(self._house.put_log, line_of(f"web:{client.peer}", self._house.host, put, refusal))
        except OSError as error:
            log.error("%s: a put was not written down: %s", self._house.put_log, error)

    async def _tell(self, client: Client) -> None:
        """Tell a client what is new, until it is gone."""
        try:
            while True:
                for message in client.session.updates():
                    await self._send(client, message)
                await asyncio.sleep(PERIOD)
        except (WebSocketDisconnect, RuntimeError):
            pass  # the reader sees that, too, and ends the connection
        except Exception:  # stage boundary: this client hears no more, so its page shows that and connects again
            log.exception("client %d at %s is cut off", client.number, client.peer)
            await client.socket.close(TRY_AGAIN_LATER, "internal error, see the log")

    async def _send(self, client: Client, message: dict[str, Any]) -> None:
        await client.socket.send_text(json.dumps(message, allow_nan=False))
        client.last_sent = time.time()

    async def _run(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, work)
