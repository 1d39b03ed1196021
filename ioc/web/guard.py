"""Stands before the whole site: turns away what is not meant for it, and tells browsers what pages of it may do.

Source of the headers: Content Security Policy Level 3; Fetch standard, Cross-Origin-Resource-Policy.
"""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ioc.core.errors import ProtocolError
from ioc.web.access import Access

FORBIDDEN = 403
POLICY_VIOLATION = 1008
"""Close code of a WebSocket (RFC 6455, 7.4.1)."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class Guard:
    """ASGI middleware around the site."""

    def __init__(self, site: ASGIApp, access: Access) -> None:
        self._site = site
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request if it is meant for this site."""
        if scope["type"] == "lifespan":
            await self._site(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._access.check_host(headers.get("host"))
            self._access.check_origin(headers.get("origin"), headers.get("host"))
        except ProtocolError as error:
            await _turn_away(str(error), scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    told[name] = value
            await send(message)

        await self._site(scope, receive, send_with_headers)


async def _turn_away(why: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": why[:120]})
        return
    await PlainTextResponse(why, FORBIDDEN)(scope, receive, send)
