"""Requests that the guard let in, passed on to a Dagster web server in another process or on another machine.

Passing on is asgiproxy's; here stands what must not travel. Who is let in is in ``guard``, how it is started in ``ui``.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from vqa_assets.errors import SettingsError
from vqa_assets.printing import logger

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ADDRESS = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?/?", re.IGNORECASE)
_OF_ONE_CONNECTION = frozenset(
    ("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection")
)
"""RFC 9110, section 7.6.1: they say something of a connection, and must not travel to the next one."""
_NOT_UPSTREAM = _OF_ONE_CONNECTION | {"host", "authorization"}
"""The token is the guard's: the web server behind it learns nothing of it."""
_MOST_AT_ONCE = 100
_log = logger("vqa_assets.proxy")


def checked_address(text: str) -> str:
    """An ``http`` or ``https`` address of a host, without the last slash; SettingsError for anything else."""
    if find_spec("asgiproxy") is None:
        raise SettingsError(
            f"--of {text}",
            found="asgiproxy is not installed",
            expected="the extra kubernetes",
            next_step='run pip install "vqa-assets[kubernetes]"',
        )
    if not _ADDRESS.fullmatch(text):
        raise SettingsError(
            f"--of {text}",
            found="no address of a host",
            expected="the web server's, such as http://vqa-dagster-webserver:3000, without a path",
            next_step="correct it",
        )
    return text.rstrip("/")


@asynccontextmanager
async def passed_on(address: str) -> AsyncIterator["ASGIApp"]:
    """An ASGI application that hands HTTP and WebSockets to the server at ``address`` while the block runs.

    A server that does not answer is a 502 with a sentence.
    """
    from aiohttp import ClientError
    from asgiproxy.config import ProxyConfig
    from asgiproxy.context import ProxyContext
    from asgiproxy.simple_proxy import make_simple_proxy_app
    from yarl import URL

    class ToDagster(ProxyConfig):
        """What travels to the web server and back."""

        def get_upstream_url_with_query(self, *, scope: Any) -> Any:
            """The same path as it was asked for: joined as URLs, ``//elsewhere/`` would name another host."""
            path = scope["raw_path"].decode("ascii")
            query = scope["query_string"].decode("ascii")
            return URL(f"{address}{path}" + (f"?{query}" if query else ""), encoded=True)

        def process_client_headers(self, *, scope: Any, headers: Any) -> Any:  # noqa: ARG002
            """Without what belongs to the connection to the guard: of a WebSocket, its whole handshake."""
            return {
                name: value
                for name, value in headers.items()
                if name not in _NOT_UPSTREAM and not name.startswith("sec-websocket-")
            }

        def process_upstream_headers(self, *, scope: Any, proxy_response: Any) -> Any:  # noqa: ARG002
            """Without what belongs to the connection to the web server."""
            return {
                name: value for name, value in proxy_response.headers.items() if name.lower() not in _OF_ONE_CONNECTION
            }

        def get_upstream_websocket_options(self, *, scope: Any, client_ws: Any) -> dict[str, Any]:
            """Messages of any size: the events of a long run come in one."""
            options: dict[str, Any] = super().get_upstream_websocket_options(scope=scope, client_ws=client_ws)
            return {**options, "max_msg_size": 0}

    async with ProxyContext(ToDagster(), max_concurrency=_MOST_AT_ONCE) as context:
        proxy = make_simple_proxy_app(context)

        async def app(scope: "Scope", receive: "Receive", send: "Send") -> None:
            begun = False

            async def sent(message: "Message") -> None:
                nonlocal begun
                begun = True
                await send(message)

            if not scope["raw_path"].startswith(b"/"):  # "GET http://elsewhere/ HTTP/1.1", as to a proxy for the world
                await _answer(scope, receive, send, 400, "a path is expected, not an address")
                return
            try:
                await proxy(scope, receive, sent)
            except (ClientError, TimeoutError) as error:
                _log.warning("%s does not answer: %s", address, str(error) or type(error).__name__)
                if not begun:  # else the answer is cut short, which the browser sees
                    await _answer(scope, receive, send, 502, f"the web server at {address} does not answer")

        yield app


async def _answer(scope: "Scope", receive: "Receive", send: "Send", status: int, sentence: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1013})  # try again later
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{sentence}\n".encode()})
