"""The site: which address answers with what. All of it is read with GET; writing goes through PVWS alone."""

import asyncio
import json
import struct
import time
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from ioc.channels.pva_snapshots import Identity
from ioc.core.errors import PeerError, ProtocolError, mismatch
from ioc.web.access import Access
from ioc.web.chain import Chain
from ioc.web.clients import Clients
from ioc.web.guard import Guard
from ioc.web.history import History
from ioc.web.ledger import ledger
from ioc.web.log_lines import LEVELS, Filter, newest
from ioc.web.picture import LARGEST, Picture, Wish
from ioc.web.viewer import Viewer

STATIC = Path(__file__).parent / "static"
NO_CONTENT, BAD_REQUEST, NOT_FOUND, UNAVAILABLE = 204, 400, 404, 503
FASTEST = 1
"""Level of zlib: pictures are packed on the fly."""
WORTH_PACKING = 2048
"""Bytes of an answer from which on it is packed."""
SAMPLE_SECONDS = 1.0
LONGEST_TEXT = 200
"""Characters of a parameter."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the site is made of; `facts` are told to the page as they are."""

    folder: Path
    put_log: Path
    prefix: str
    facts: Mapping[str, Any]
    access: Access
    chain: Chain
    history: History
    viewer: Viewer
    clients: Clients
    watchers: Callable[[], Mapping[str, int]]


def site(parts: Parts) -> ASGIApp:
    """Return the ASGI application of a site."""
    pages = _Pages(parts)
    routes: list[BaseRoute] = [
        Route("/", pages.index),
        Mount("/static", StaticFiles(directory=STATIC)),
        Route("/api/appliance", pages.appliance),
        Route("/api/overview", pages.overview),
        Route("/api/history", pages.history),
        Route("/api/ledger", pages.ledger),
        Route("/api/log", pages.log),
        Route("/api/image", pages.image),
        Route("/pvws/info", pages.info),
        Route("/pvws/pool", pages.pool),
        Route("/pvws/summary", pages.summary),
        Route("/pvws/socket", pages.socket),
        WebSocketRoute("/pvws/pv", parts.clients.serve),
    ]

    async def refused(_request: Request, error: Exception) -> Response:
        code = BAD_REQUEST if isinstance(error, ProtocolError) else UNAVAILABLE
        return PlainTextResponse(str(error), code)

    @asynccontextmanager
    async def life(_app: Starlette) -> AsyncIterator[None]:
        sampling = asyncio.create_task(_sample(parts), name="history")
        yield
        sampling.cancel()

    return Guard(Starlette(routes=routes, exception_handlers={PeerError: refused}, lifespan=life), parts.access)


async def _sample(parts: Parts) -> None:
    """Keep the history, and let go of what nobody looks at."""
    due = time.monotonic()
    while True:
        parts.history.sample(time.time())
        parts.viewer.tidy()
        due = max(due + SAMPLE_SECONDS, time.monotonic())
        await asyncio.sleep(due - time.monotonic())


class _Pages:
    """The answers."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._begun = time.strftime("%Y-%m-%d %H:%M:%S")

    async def index(self, _request: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def appliance(self, _request: Request) -> Response:
        return JSONResponse(dict(self._parts.facts))

    async def overview(self, _request: Request) -> Response:
        return _packed(await asyncio.to_thread(self._parts.chain.overview))

    async def history(self, request: Request) -> Response:
        return _packed(self._parts.history.since(_number(request, "after", 0.0) or 0.0))

    async def ledger(self, request: Request) -> Response:
        only = _number(request, "series", None)
        series = None if only is None else int(only)
        return _packed(await asyncio.to_thread(ledger, self._parts.folder, series))

    async def log(self, request: Request) -> Response:
        level = _word(request, "level") or LEVELS[1]
        if level not in LEVELS:
            raise ProtocolError(mismatch("level", f"one of {', '.join(LEVELS)}", level))
        wanted = Filter(_word(request, "process"), level, _word(request, "text"))
        return _packed(await asyncio.to_thread(newest, self._parts.folder, wanted, self._parts.put_log))

    async def image(self, request: Request) -> Response:
        """Answer with a picture: length of its facts as 4 bytes, big-endian, the facts as JSON, the pixels."""
        channel = _word(request, "channel")
        if channel not in await asyncio.to_thread(self._parts.chain.image_names):
            return PlainTextResponse(f"no such image: {channel}", NOT_FOUND)
        picture = await self._parts.viewer.picture(self._parts.prefix + channel, _wish(request), _after(request))
        if picture is None:
            return Response(status_code=NO_CONTENT)
        content = await asyncio.to_thread(_wire, picture)
        return Response(content, media_type="application/octet-stream", headers={"Content-Encoding": "deflate"})

    async def info(self, _request: Request) -> Response:
        """As PVWS tells of itself."""
        return JSONResponse({"start_time": self._begun, "server": f"rayfan {self._parts.facts['version']}"})

    async def pool(self, _request: Request) -> Response:
        """Tell which PVs are watched, as PVWS does."""
        return JSONResponse([{"refs": count, "pv": name} for name, count in self._parts.watchers().items()])

    async def summary(self, _request: Request) -> Response:
        """Tell of the connections, as PVWS does."""
        return JSONResponse({"sockets": [_about(one) | {"pvs": len(one.session.names)} for one in self._parts.clients]})

    async def socket(self, _request: Request) -> Response:
        """Tell of the connections and what they watch, as PVWS does."""
        named = [_about(one) | {"pvs": [{"name": name} for name in one.session.names]} for one in self._parts.clients]
        return JSONResponse({"sockets": named})


def _about(client: Any) -> dict[str, Any]:
    times = {
        "created": client.created,
        "last_client_message": client.last_message,
        "last_message_sent": client.last_sent,
    }
    return {"id": str(client.number), "queued": 0} | {name: round(at * 1000) for name, at in times.items()}


def _wire(picture: Picture) -> bytes:
    facts = json.dumps(picture.facts, allow_nan=False).encode()
    return zlib.compress(struct.pack(">I", len(facts)) + facts + picture.pixels, FASTEST)


def _packed(content: Any) -> Response:
    body = json.dumps(content, allow_nan=False, separators=(",", ":")).encode()
    if len(body) < WORTH_PACKING:
        return Response(body, media_type="application/json")
    packed = zlib.compress(body, FASTEST)
    return Response(packed, media_type="application/json", headers={"Content-Encoding": "deflate"})


def _wish(request: Request) -> Wish:
    most = _number(request, "most", 800.0) or 800.0
    x, y = _number(request, "x", None), _number(request, "y", None)
    return Wish(
        most=int(min(max(most, 16.0), LARGEST)),
        low=_number(request, "low", None),
        high=_number(request, "high", None),
        log=_word(request, "log") == "1",
        cursor=None if x is None or y is None else (int(x), int(y)),
    )


def _after(request: Request) -> Identity | None:
    """Return the frame that the browser shows already: `ID.NANOSECONDS`, both of which JavaScript keeps as text."""
    text = _word(request, "after")
    if not text:
        return None
    unique_id, _, stamp = text.partition(".")
    try:
        return Identity(int(unique_id), int(stamp))
    except ValueError:
        raise ProtocolError(mismatch("after", "ID.NANOSECONDS", text)) from None


def _word(request: Request, name: str) -> str:
    text = request.query_params.get(name, "")
    if len(text) > LONGEST_TEXT:
        raise ProtocolError(mismatch(name, f"at most {LONGEST_TEXT} characters", len(text)))
    return text


def _number(request: Request, name: str, default: float | None) -> float | None:
    text = _word(request, name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e300:
        raise ProtocolError(mismatch(name, "a number", text))
    return value
