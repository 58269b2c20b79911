"""The guard of the web UI: what a foreign page, a rebound name and a client without a token may do, which is nothing.

Most of it against the real web UI; a page in a real Chromium tries what the issue's page did. Tokens, and what reaches
an application at all, against a small one behind the same guard.
"""

import base64
import http.client
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

import pytest
import uvicorn
from dagster_webserver.webserver import DagsterWebserver
from playwright.sync_api import Page
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from vqa_assets.errors import SettingsError
from vqa_assets.guard import Admission, Guard
from vqa_assets_tests.shared.web_ui import WebUi, browser_page, free_port

TOKEN = "a-token-nobody-guesses"
LAUNCH = """mutation { launchPipelineExecution(executionParams: {selector: {repositoryLocationName: "vqa_assets",
    repositoryName: "__repository__", jobName: "whole_workflow"}, runConfigData: {}}) { __typename } }"""
RUNS = "{ runsOrError { ... on Runs { results { runId } } } }"
PATHS = (
    "/",
    "/graphql",
    "/server_info",
    "/dagit_info",
    "/favicon.png",
    "/logs/x/y.out",
    "/notebook?path=x.ipynb",
    "/download_debug/x",
    "/report_asset_materialization/unified_corpus",
    "/report_asset_check/unified_corpus",
    "/report_asset_observation/unified_corpus",
    "/assets/corpus_jsonl",
)


def sent(port: int, method: str, path: str, body: str = "", **headers: str) -> tuple[int, str]:
    """The status and the text of an answer; ``sec_fetch_site`` stands for ``Sec-Fetch-Site``."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body or None, headers=named)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    finally:
        connection.close()


def runs(web_ui: WebUi) -> set[str]:
    return {run["runId"] for run in web_ui.ask(RUNS)["runsOrError"]["results"]}


FOREIGN = (
    ({"Host": "rebound.example:{port}"}, "Host 'rebound.example:{port}', expected 127.0.0.1, [::1], localhost"),
    ({"Host": "localhost.attacker.example"}, "Host 'localhost.attacker.example'"),
    ({"Host": "127.0.0.1@attacker.example"}, "Host '127.0.0.1@attacker.example'"),
    ({"Origin": "http://attacker.example"}, "Origin 'http://attacker.example', expected this server's own"),
    ({"Origin": "http://127.0.0.1:1"}, "Origin 'http://127.0.0.1:1'"),
    ({"Origin": "null"}, "Origin 'null'"),
    ({"Sec-Fetch-Site": "cross-site"}, "Sec-Fetch-Site 'cross-site', expected same-origin or none"),
    ({"Sec-Fetch-Site": "same-site"}, "Sec-Fetch-Site 'same-site'"),
)


@pytest.mark.parametrize(("headers", "reason"), FOREIGN, ids=lambda value: str(value)[:40])
def test_what_comes_from_elsewhere_is_refused_on_every_path_by_every_method(web_ui, headers, reason):
    own = {name: value.format(port=web_ui.port) for name, value in headers.items()}
    for path in PATHS:
        for method in ("GET", "POST", "HEAD", "OPTIONS"):
            status, text = sent(web_ui.port, method, path, **own)
            assert status == 403, (method, path)
            assert method == "HEAD" or reason.format(port=web_ui.port) in text


def test_the_paths_above_are_those_of_the_web_server():
    class Routes(DagsterWebserver[Any, Any]):
        def build_graphql_schema(self) -> Any:
            return None

    found = {re.sub(r"\{.*", "", route.path).rstrip("/") for route in Routes(None).build_routes()}
    static = {path for path in found if path.count("/") == 1 and path not in {re.sub(r"[?].*", "", p) for p in PATHS}}
    known = {"/" + path.split("/")[1].partition("?")[0] for path in PATHS}
    assert {"/" + path.split("/")[1] for path in found if path} - known - static == {"/dagit"}


def test_a_simple_post_of_a_foreign_page_starts_no_run(web_ui):
    before, foreign = runs(web_ui), {"Origin": "http://attacker.example"}
    body = json.dumps({"query": LAUNCH})
    for kind in ("text/plain", "text/plain; application/json", "application/json"):
        assert sent(web_ui.port, "POST", "/graphql", body, Content_Type=kind, **foreign)[0] == 403
    for method in ("POST", "GET"):
        assert sent(web_ui.port, method, f"/graphql?query={quote(LAUNCH)}", **foreign)[0] == 403
    assert runs(web_ui) == before


def test_a_change_by_get_is_refused_even_from_this_machine_and_a_question_is_answered(web_ui):
    before = runs(web_ui)
    for path in ("/graphql", "/graphql/", "/%67raphql"):
        for query in (
            f"query={quote(LAUNCH)}",
            f"query={quote(RUNS)}&query={quote(LAUNCH)}",
            f"query={quote(LAUNCH)}&query={quote(RUNS)}",
            f"query={quote('query a { __typename } ' + LAUNCH.replace('mutation', 'mutation b'))}&operationName=b",
            "query=subscription+%7B+x+%7D",
            f"query={'%7B' * 3000}",
        ):
            status, text = sent(web_ui.port, "GET", f"{path}?{query}")
            assert (status, text) == (405, "the web UI refuses this request: a change by GET, expected POST\n")
    assert runs(web_ui) == before
    status, text = sent(web_ui.port, "GET", f"/graphql?query={quote('{ version }')}")
    assert (status, list(json.loads(text)["data"])) == (200, ["version"])


def test_a_client_without_an_origin_is_let_in_where_its_host_is_right(web_ui):
    body = json.dumps({"query": "{ version }"})
    for host in (f"127.0.0.1:{web_ui.port}", f"localhost:{web_ui.port}", "LOCALHOST", "[::1]:8080"):
        status, text = sent(web_ui.port, "POST", "/graphql", body, Host=host, Content_Type="application/json")
        assert (status, list(json.loads(text)["data"])) == (200, ["version"])
    own = {"Host": f"localhost:{web_ui.port}", "Origin": f"http://localhost:{web_ui.port}"}
    assert sent(web_ui.port, "POST", "/graphql", body, Content_Type="application/json", **own)[0] == 200


def test_a_report_of_an_asset_needs_this_servers_host_and_origin(web_ui):
    def reports() -> list[str]:
        query = '{ assetOrError(assetKey: {path: ["a_report"]}) { ... on Asset { assetMaterializations { runId } } } }'
        return list(web_ui.ask(query)["assetOrError"].get("assetMaterializations", []))

    path = "/report_asset_materialization/a_report"
    assert sent(web_ui.port, "POST", path, Origin="http://attacker.example")[0] == 403
    assert reports() == []
    assert sent(web_ui.port, "POST", path)[0] == 200
    assert len(reports()) == 1


def test_a_web_socket_of_a_foreign_page_is_refused_and_one_of_ours_answers(web_ui):
    address = f"ws://127.0.0.1:{web_ui.port}/graphql"
    for foreign in ("http://attacker.example", "null", f"http://127.0.0.1:{web_ui.port + 1}"):
        with pytest.raises(InvalidStatus, match="HTTP 403"):
            connect(address, origin=foreign, subprotocols=["graphql-ws"], proxy=None)  # type: ignore[arg-type]
    with pytest.raises(InvalidStatus, match="HTTP 403"):
        connect(address, additional_headers={"Sec-Fetch-Site": "cross-site"}, proxy=None)
    for own in (None, f"http://127.0.0.1:{web_ui.port}"):
        with connect(address, origin=own, subprotocols=["graphql-ws"], proxy=None) as socket:  # type: ignore[arg-type]
            socket.send(json.dumps({"type": "connection_init"}))
            assert json.loads(socket.recv(30)) == {"type": "connection_ack"}


def test_a_page_cannot_be_shown_inside_another(web_ui):
    connection = http.client.HTTPConnection("127.0.0.1", web_ui.port, timeout=60)
    for path in ("/", "/server_info", "/graphql"):
        connection.request("GET", path, headers={"Accept": "text/html"})
        answer = connection.getresponse()
        answer.read()
        assert answer.getheader("X-Frame-Options") == "SAMEORIGIN"
        assert answer.getheader("Cross-Origin-Resource-Policy") == "same-origin"
    connection.close()


@contextmanager
def page_at(html: str) -> Iterator[int]:
    """A foreign page: any path of a server on this machine; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = html.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


# What a hostile page can do without anybody's leave; each attempt is marked by its path or its query.
ATTACK = """<body><img id=picture><iframe id=frame></iframe>
<form id=form method=post enctype=text/plain action="TARGET/graphql?attempt=form" target=frame>
<input name='{"query": QUERY, "a": "' value='"}'></form>
<script>
const tried = {};
const body = JSON.stringify({query: QUERY});
const send = (name, options) => fetch("TARGET/graphql?attempt=" + name, {method: "POST", body, ...options}).then(
  answer => { tried[name] = answer.type + " " + answer.status; }, () => { tried[name] = "nothing was seen"; });
async function attack() {
  await send("plain", {mode: "no-cors"});
  await send("credentials", {mode: "no-cors", credentials: "include"});
  await send("disguised", {mode: "no-cors", headers: {"Content-Type": "text/plain; application/json"}});
  await send("cors", {headers: {"Content-Type": "application/json"}});
  await fetch("TARGET/report_asset_materialization/stolen", {method: "POST", mode: "no-cors"}).catch(() => 0);
  document.getElementById("picture").src = "TARGET/graphql?attempt=picture&query=" + encodeURIComponent(QUERY);
  document.getElementById("form").submit();
  await new Promise(done => {
    const socket = new WebSocket("TARGET/graphql".replace("http", "ws"), "graphql-ws");
    socket.onopen = () => { tried.socket = "open"; done(); };
    socket.onerror = () => { tried.socket = "refused"; done(); };
  });
  return tried;
}
</script>"""


def attack_on(target: str) -> str:
    return ATTACK.replace("TARGET", target).replace("QUERY", json.dumps(LAUNCH))


@pytest.fixture
def foreign_browser() -> Iterator[Page]:
    """A browser in which two names of somebody else lead to this machine."""
    with browser_page("--host-resolver-rules=MAP attacker.example 127.0.0.1, MAP rebound.example 127.0.0.1") as page:
        yield page


@pytest.mark.needs_tool("chromium")
def test_without_a_guard_all_that_the_foreign_page_sends_arrives(foreign_browser):
    with running(app := Noted()) as target, page_at(attack_on(f"http://127.0.0.1:{target}")) as port:
        foreign_browser.goto(f"http://attacker.example:{port}/")
        assert foreign_browser.evaluate("attack()")["socket"] == "open"
        foreign_browser.wait_for_timeout(500)  # the form's and the picture's requests are under way
    assert {"WS /graphql", "POST /report_asset_materialization/stolen"} <= set(app.seen)
    arrived = {"plain", "credentials", "disguised", "form", "picture"}
    assert arrived <= {one.partition("attempt=")[2].partition("&")[0] for one in app.seen}


@pytest.mark.needs_tool("chromium")
def test_a_foreign_page_in_a_browser_starts_and_reads_nothing(web_ui, foreign_browser):
    before, page, target = runs(web_ui), foreign_browser, f"http://127.0.0.1:{web_ui.port}"
    with page_at(attack_on(target)) as port:
        page.goto(f"http://attacker.example:{port}/")
        tried = page.evaluate("attack()")
        page.wait_for_timeout(500)
        # A link, and a name that now leads here: what is shown is the guard's refusal, no page of the web UI.
        page.goto(f"http://attacker.example:{port}/")
        page.evaluate(f"location.href = '{target}/runs'")
        page.get_by_text("Sec-Fetch-Site 'cross-site'").wait_for()
        page.goto(f"http://rebound.example:{web_ui.port}/")
        rebound = page.locator("body").inner_text()
        answered = page.evaluate("fetch('/graphql', {method: 'POST', body: '{}'}).then(answer => answer.status)")
    ways = ("plain", "credentials", "disguised", "cors")
    assert tried == {**dict.fromkeys(ways, "nothing was seen"), "socket": "refused"}
    assert f"Host 'rebound.example:{web_ui.port}', expected 127.0.0.1" in rebound
    assert answered == 403
    assert f"refused: Origin 'http://attacker.example:{port}'" in web_ui.log()
    assert runs(web_ui) == before
    stolen = '{ assetOrError(assetKey: {path: ["stolen"]}) { ... on Asset { assetMaterializations { runId } } } }'
    assert not web_ui.ask(stolen)["assetOrError"].get("assetMaterializations")


# Behind the same guard: a small application that notes what reaches it


@dataclass
class Noted:
    """An ASGI application that answers ``ok`` and notes what came."""

    seen: list[str] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "websocket":
            self.seen.append(f"WS {scope['path']}")
            await receive()
            await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
            await send({"type": "websocket.send", "text": "ok"})
            await send({"type": "websocket.close", "code": 1000})
        else:
            query = scope["query_string"].decode()
            self.seen.append(f"{scope['method']} {scope['path']}" + (f"?{query}" if query else ""))
            headers = [(b"content-type", b"text/html")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"<p>ok"})


@contextmanager
def guarded(**environment: str) -> Iterator[tuple[int, Noted]]:
    """The application behind a guard of that environment; its port."""
    app = Noted()
    with running(Guard(app, Admission.of(environment))) as port:
        yield port, app


@contextmanager
def running(app: Any) -> Iterator[int]:
    """An ASGI application as uvicorn serves it; its port."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield port
    finally:
        server.should_exit = True
        thread.join()


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_with_a_token_only_who_shows_it_gets_in():
    with guarded(VQA_UI_TOKEN=TOKEN) as (port, app):
        for wrong in (
            "",
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN.upper()}",
            basic("me", "x"),
            "Basic ?",
            f"Digest {TOKEN}",
        ):
            status, text = sent(port, "POST", "/graphql", **({"Authorization": wrong} if wrong else {}))
            assert status == 401
            assert TOKEN not in text
        with pytest.raises(InvalidStatus):
            connect(f"ws://127.0.0.1:{port}/graphql", proxy=None)
        assert app.seen == []
        for right in (f"Bearer {TOKEN}", f"bearer {TOKEN}", basic("me", TOKEN), basic("", TOKEN)):
            assert sent(port, "GET", "/", Authorization=right)[0] == 200
        with connect(
            f"ws://127.0.0.1:{port}/x", additional_headers={"Authorization": f"Bearer {TOKEN}"}, proxy=None
        ) as socket:
            assert socket.recv(10) == "ok"
        assert sent(port, "GET", "/", Authorization=f"Bearer {TOKEN}", Origin="http://attacker.example")[0] == 403
        assert app.seen == ["GET /"] * 4 + ["WS /x"]


@pytest.mark.needs_tool("chromium")
def test_a_browser_that_was_given_the_token_shows_it_to_pages_and_web_sockets():
    with guarded(VQA_UI_TOKEN=TOKEN) as (port, app):
        address = f"http://127.0.0.1:{port}"
        with browser_page(http_credentials={"username": "me", "password": TOKEN}) as page:
            assert page.goto(f"{address}/").status == 200
            said = page.evaluate(
                """port => new Promise(done => {
                    const socket = new WebSocket("ws://127.0.0.1:" + port + "/graphql");
                    socket.onmessage = message => done(message.data);
                    socket.onerror = () => done("refused"); })""",
                port,
            )
        assert said == "ok"
        assert "WS /graphql" in app.seen


def test_a_name_of_a_proxy_is_a_host_and_its_pages_are_this_servers():
    with guarded(VQA_UI_HOSTS="vqa.example.org, ui.lan") as (port, app):
        for host, origin in (("vqa.example.org", "https://vqa.example.org"), ("ui.lan:8080", "http://ui.lan:8080")):
            assert sent(port, "POST", "/graphql", Host=host, Origin=origin)[0] == 200
        assert sent(port, "POST", "/graphql", Host="vqa.example.org", Origin="https://ui.lan")[0] == 403
        assert sent(port, "POST", "/graphql", Host="vqa.example.org.attacker.example")[0] == 403
        assert len(app.seen) == 2


def test_a_header_that_says_two_things_is_refused():
    with guarded() as (port, app):
        for name, values in (("Origin", [f"http://127.0.0.1:{port}", "http://attacker.example"]), ("Host", ["a", "b"])):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.putrequest("POST", "/graphql", skip_host=name == "Host")
            for value in values:
                connection.putheader(name, value)
            connection.putheader("Content-Length", "0")
            connection.endheaders()
            assert connection.getresponse().status in (400, 403)
            connection.close()
        assert app.seen == []


def test_refusals_are_logged_once_each_without_the_characters_that_change_a_terminal(caplog):
    with guarded() as (port, _):
        for origin in ("http://a\x1b[31m\u202e.example".encode().decode("latin-1"), "http://b.example"):
            for _ in range(3):
                sent(port, "POST", "/x", Origin=origin)
    said = [record.getMessage() for record in caplog.records if record.name == "vqa_assets.guard"]
    assert len([line for line in said if "http://b.example" in line]) == 1
    assert all(line.isprintable() for line in said)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"VQA_UI_HOSTS": "https://vqa.example.org"},
            "VQA_UI_HOSTS: 'https://vqa.example.org', expected names of this",
        ),
        ({"VQA_UI_HOSTS": "*"}, r"VQA_UI_HOSTS: '\*'"),
        ({"VQA_UI_HOSTS": "vqa.example.org:443"}, "VQA_UI_HOSTS: 'vqa.example.org:443'"),
        ({"VQA_UI_TOKEN": "short"}, "VQA_UI_TOKEN: 5 characters, expected at least 16"),
        ({"VQA_UI_TOKEN": "sixteen characters"}, "VQA_UI_TOKEN: characters that no header may hold"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_variable_of_the_guard_that_cannot_be_is_named(environment, message):
    with pytest.raises(SettingsError, match=message):
        Admission.of(environment)
