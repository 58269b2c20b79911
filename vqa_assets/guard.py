"""The guard in front of the web UI: which requests get through, by their Host, Origin, Sec-Fetch-Site and token.

Dagster's web server asks nobody who they are, and whoever may start runs may read and write what its user may. Any page
that is open in a browser on the same machine can send it requests, and a name that its owner points at 127.0.0.1 can
read the answers (DNS rebinding). So every request, WebSockets too, must name this server as its host and, where a
browser sent it, come from a page of this server. How the server is started is in ``ui``.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from vqa_assets.errors import SettingsError
from vqa_assets.printing import logger

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS_NAME, TOKEN_NAME = "VQA_UI_HOSTS", "VQA_UI_TOKEN"
LEAST_TOKEN = 16
_THIS_MACHINE = ("127.0.0.1", "localhost", "[::1]")
_PORTS = {"http": "80", "https": "443"}
_AUTHORITY = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
_ORIGIN = re.compile(rf"(?P<scheme>https?)://{_AUTHORITY.pattern}")
_MOST_LOGGED = 100
_HEADERS = (
    (b"x-frame-options", b"SAMEORIGIN"),  # no page elsewhere shows it inside itself, and lets a person click blindly
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_log = logger("vqa_assets.guard")


@dataclass(frozen=True)
class Refusal:
    """Why a request does not get through, and the HTTP status that says so."""

    status: int
    reason: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Admission:
    """Whom the guard lets in: requests to one of ``hosts``, and where there is a ``token``, only with it."""

    hosts: frozenset[str] = frozenset(_THIS_MACHINE)
    token: str = field(default="", repr=False)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Admission":
        """This machine's own names and those in ``$VQA_UI_HOSTS``, and the token of ``$VQA_UI_TOKEN``.

        SettingsError for a name that no host can have, and for a token that could be guessed.
        """
        named = environment.get(HOSTS_NAME, "").replace(",", " ").lower().split()
        for name in named:
            if not (match := _AUTHORITY.fullmatch(name)) or match["port"]:
                raise SettingsError(
                    HOSTS_NAME,
                    found=repr(name),
                    expected="names of this server without scheme and port, such as vqa.example.org, and commas",
                    next_step="correct the environment variable, or unset it",
                )
        token = environment.get(TOKEN_NAME, "")
        if token and (len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token):
            raise SettingsError(
                TOKEN_NAME,
                found=f"{len(token)} characters" if len(token) < LEAST_TOKEN else "characters that no header may hold",
                expected=f"at least {LEAST_TOKEN} letters, digits and signs",
                next_step="make one by: python -c 'import secrets; print(secrets.token_urlsafe())'",
            )
        return cls(frozenset((*_THIS_MACHINE, *named)), token)

    def at(self, name: str) -> "Admission":
        """The same, also by the name or address that the operator has it listen at."""
        return replace(self, hosts=self.hosts | {name.lower()})

    def refusal(self, scope: "Scope") -> Refusal | None:
        """Why a request (an ASGI scope of type http or websocket) is refused; None for one that gets through."""
        headers = _Headers(scope)
        return (
            self._refused_host(headers)
            or _refused_page(headers)
            or self._refused_token(headers)
            or _refused_change(scope)
        )

    def _refused_host(self, headers: "_Headers") -> Refusal | None:
        host = headers.only("host")
        match = _AUTHORITY.fullmatch(host or "")
        # By name alone: a tunnel (ssh -L 8080:localhost:3000) has another port, and no foreign page can have the name.
        if match and match["name"] in self.hosts:
            return None
        return Refusal(
            403,
            f"Host {headers.told('host')}, expected {', '.join(sorted(self.hosts))}; "
            f"name it in {HOSTS_NAME} where this server is known by it",
        )

    def _refused_token(self, headers: "_Headers") -> Refusal | None:
        if not self.token:
            return None
        given = _token_in(headers.only("authorization") or "")
        if hmac.compare_digest(given.encode(), self.token.encode()):
            return None
        return Refusal(
            401,
            f"no token or another one, expected that of {TOKEN_NAME}; in a browser give it as the password, "
            "elsewhere in the header Authorization: Bearer …",
            {"www-authenticate": 'Basic realm="vqa_assets: any name, the token as password", charset="UTF-8"'},
        )


def _refused_page(headers: "_Headers") -> Refusal | None:
    """Refuses what a page of another origin asks for. A client that is no browser sends neither header."""
    if headers.has("origin"):
        origin = _ORIGIN.fullmatch(headers.only("origin") or "")
        host = _AUTHORITY.fullmatch(headers.only("host") or "")
        usual = _PORTS[origin["scheme"]] if origin else ""
        same = origin and host and (origin["name"], origin["port"] or usual) == (host["name"], host["port"] or usual)
        if not same:
            return Refusal(403, f"Origin {headers.told('origin')}, expected this server's own; {_TYPE_IT}")
    if headers.has("sec-fetch-site") and headers.only("sec-fetch-site") not in ("same-origin", "none"):
        site = headers.told("sec-fetch-site")
        return Refusal(403, f"Sec-Fetch-Site {site}, expected same-origin or none; {_TYPE_IT}")
    return None


_TYPE_IT = "a page elsewhere asked for this: to open the web UI, type its address"


def _refused_change(scope: "Scope") -> Refusal | None:
    """Refuses GraphQL by GET that is more than a question: a link or a picture's address must not change anything."""
    if scope["type"] != "http" or scope["method"] == "POST" or scope["path"].strip("/") != "graphql":
        return None
    fields = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    # Of a field that is given twice a server takes the first or the last: none of them may be a change.
    if all(_only_asks(value) for name, value in fields if name == "query"):
        return None
    return Refusal(405, f"a change by {scope['method']}, expected POST", {"allow": "POST"})


def _only_asks(query: str) -> bool:
    from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse

    try:
        definitions = parse(query).definitions
    except (GraphQLError, RecursionError):
        return False
    operations = [one.operation for one in definitions if isinstance(one, OperationDefinitionNode)]
    return all(operation is OperationType.QUERY for operation in operations)


def _token_in(authorization: str) -> str:
    """The token of an Authorization header: a bearer's, or the password of any user; empty where there is none."""
    scheme, _, value = authorization.partition(" ")
    if scheme == "bearer":
        return value.strip()
    if scheme == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode("utf-8", "replace").partition(":")[2]
        except (binascii.Error, ValueError):
            return ""
    return ""


class _Headers:
    """The headers of one request by name. What is compared is in lower case, but for what comes after a blank."""

    def __init__(self, scope: "Scope") -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            self._values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))

    def has(self, name: str) -> bool:
        return name in self._values

    def only(self, name: str) -> str | None:
        """The value of a header that stands there once; None where it does not, or says two things."""
        values = self._values.get(name, [])
        if len(values) != 1:
            return None
        first, blank, rest = values[0].strip().partition(" ")
        return f"{first.lower()}{blank}{rest}"

    def told(self, name: str) -> str:
        """Its values as a message may hold them."""
        return " and ".join(ascii(value[:100]) for value in self._values.get(name, [])[:3]) or "that is missing"


class Guard:
    """An ASGI application that hands to ``app`` what ``admission`` lets in, and answers the rest itself."""

    def __init__(self, app: "ASGIApp", admission: Admission) -> None:
        self._app, self._admission = app, admission
        self._logged: set[str] = set()

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """See the ASGI specification (https://asgi.readthedocs.io)."""
        if scope["type"] not in ("http", "websocket"):  # the server's own start and end
            await self._app(scope, receive, send)
            return
        refusal = self._admission.refusal(scope)
        if refusal is None:
            await self._app(scope, receive, _with_headers(send))
            return
        self._log(refusal, scope)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: an HTTP status 403
            return
        body = f"the web UI refuses this request: {refusal.reason}\n".encode()
        headers = {**refusal.headers, "content-type": "text/plain; charset=utf-8", "content-length": str(len(body))}
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": refusal.status, "headers": [*encoded, *_HEADERS]})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _log(self, refusal: Refusal, scope: "Scope") -> None:
        # Each reason once, and not without end: whoever is refused must not be able to fill the disk.
        if refusal.reason not in self._logged and len(self._logged) < _MOST_LOGGED:
            self._logged.add(refusal.reason)
            _log.warning("refused: %s (path %s)", refusal.reason, ascii(scope["path"][:100]))


def _with_headers(send: "Send") -> "Send":
    async def sent(message: "Message") -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
        await send(message)

    return sent
