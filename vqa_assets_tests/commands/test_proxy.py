"""``vqa-assets ui --of``: the guard alone, in front of a web server that something else starts."""

import asyncio
import json
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import uvicorn
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from vqa_assets import proxy
from vqa_assets.guard import Admission, Guard
from vqa_assets.proxy import passed_on
from vqa_assets.ui import main

TOKEN = "a-token-of-some-length"
LARGE = "x" * 5_000_000  # more than one message of aiohttp's own limit


class Upstream:
    """A web server that keeps what it was asked, and answers it; its WebSocket answers twice what it was sent."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        asked = {"path": scope["raw_path"].decode(), "query": scope["query_string"].decode(), "headers": headers}
        self.asked.append(asked)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][0]})
            message = await receive()
            await send({"type": "websocket.send", "text": message["text"] * 2})
            await receive()
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        answer = json.dumps({**asked, "body": body.decode()}).encode()
        kept = [(b"content-type", b"application/json"), (b"x-own", b"kept")]
        await send({"type": "http.response.start", "status": 203, "headers": kept})  # of unknown length: in chunks
        await send({"type": "http.response.body", "body": answer})


@contextmanager
def running(make: Any) -> Iterator[str]:
    """What ``make`` gives (an application's context manager) on a port of 127.0.0.1; its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server: list[uvicorn.Server] = []

    async def serve() -> None:
        async with make() as app:
            server.append(uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None)))
            await server[0].serve(sockets=[listener])

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        while not (server and server[0].started):
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server[0].should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def upstream() -> Iterator[tuple[Upstream, str]]:
    """The web server, and its address."""
    app = Upstream()

    @asynccontextmanager
    async def made() -> Any:
        yield app

    with running(made) as address:
        yield app, address


def guarded(address: str) -> Any:
    """The guard, with a token, in front of the server at an address."""

    @asynccontextmanager
    async def made() -> Any:
        async with passed_on(address) as app:
            yield Guard(app, Admission(token=TOKEN))

    return running(made)


@pytest.fixture(scope="module")
def guard(upstream: tuple[Upstream, str]) -> Iterator[str]:
    """The guard's address."""
    with guarded(upstream[1]) as address:
        yield address


def asked(address: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, str]:
    """Status, headers and body of an answer."""
    request = urllib.request.Request(address, body, {"Authorization": f"Bearer {TOKEN}", **headers})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def test_what_is_let_in_arrives_as_it_was_asked_for_but_for_the_token(guard: str) -> None:
    status, headers, body = asked(f"{guard}//elsewhere.example/a%2Fb%20c?q=%3F&x=1", b'{"query": 1}', Own="yes")
    told = json.loads(body)
    assert (status, headers["x-own"], headers["x-frame-options"]) == (203, "kept", "SAMEORIGIN")
    assert (told["path"], told["query"]) == ("//elsewhere.example/a%2Fb%20c", "q=%3F&x=1")
    assert (told["body"], told["headers"]["own"]) == ('{"query": 1}', "yes")
    assert "authorization" not in told["headers"]
    assert TOKEN not in body


def test_what_is_refused_never_arrives(upstream: tuple[Upstream, str], guard: str) -> None:
    before = len(upstream[0].asked)
    assert asked(f"{guard}/secret", Authorization="Bearer another-token-altogether")[0] == 401
    assert asked(f"{guard}/secret", Origin="http://elsewhere.example")[0] == 403
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws{guard[4:]}/graphql", subprotocols=["graphql-ws"], proxy=None)
    assert len(upstream[0].asked) == before


def test_messages_of_any_size_pass_both_ways(upstream: tuple[Upstream, str], guard: str) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    address = f"ws{guard[4:]}/graphql"
    with connect(
        address, subprotocols=["graphql-ws"], additional_headers=headers, max_size=None, proxy=None
    ) as socket_:
        assert socket_.subprotocol == "graphql-ws"
        socket_.send(LARGE)
        assert socket_.recv(timeout=20) == LARGE * 2
    assert "authorization" not in upstream[0].asked[-1]["headers"]


def test_a_web_server_that_does_not_answer_is_told_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with guarded(nobody) as address:
        status, _, body = asked(f"{address}/")
        assert (status, body) == (502, f"the web server at {nobody} does not answer\n")
        with pytest.raises(InvalidStatus, match="403"):
            connect(f"ws{address[4:]}/graphql", additional_headers={"Authorization": f"Bearer {TOKEN}"}, proxy=None)


def test_no_address_elsewhere_is_asked() -> None:
    async def answers() -> list[Any]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "raw_path": b"http://elsewhere.example/", "query_string": b"", "headers": []}
        async with passed_on("http://127.0.0.1:9") as app:
            await app(scope, None, send)  # type: ignore[arg-type]
        return sent

    assert asyncio.run(answers())[0]["status"] == 400


@pytest.fixture
def _signals_as_they_were() -> Iterator[None]:
    """The command takes SIGTERM for Ctrl-C."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_signals_as_they_were")
@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("vqa-dagster-webserver:3000", "vqa-dagster-webserver:3000"),
        ("http://host:3000/path", "http://host:3000/path"),
        ("http://user:secret@host", "http://…@host"),
        ("file:///etc/passwd", "file:///etc/passwd"),
    ],
)
def test_what_is_no_address_of_a_web_server_is_told(
    capsys: pytest.CaptureFixture[str], address: str, told: str
) -> None:
    assert main(["--of", address]) == 1
    assert capsys.readouterr().err.startswith(f"error: --of {told}: no address of a host")


@pytest.mark.usefixtures("_signals_as_they_were")
def test_without_its_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(proxy, "find_spec", lambda _: None)
    assert main(["--of", "http://host"]) == 1
    assert 'pip install "vqa-assets[kubernetes]"' in capsys.readouterr().err


@pytest.mark.usefixtures("_signals_as_they_were")
def test_other_machines_come_in_with_a_token_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("VQA_UI_TOKEN", raising=False)
    assert main(["--of", "http://host", "--host", "0.0.0.0", "--port", "0"]) == 1
    assert "and no VQA_UI_TOKEN" in capsys.readouterr().err
