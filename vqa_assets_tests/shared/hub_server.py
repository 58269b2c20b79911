"""A small Hugging Face Hub on 127.0.0.1: datasets with commits and files, some gated or private, files behind a CDN.

It speaks as much of the Hub's protocol as ``huggingface_hub`` and a download of one file need.
"""

import json
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Dataset:
    """Files per commit; ``branches`` name commits. ``opened_by`` are the tokens that may read it, empty: everybody.

    A gated dataset is seen by everybody and read by those, a private one is not even seen.
    """

    commits: dict[str, Mapping[str, bytes]]
    branches: dict[str, str]
    opened_by: tuple[str, ...] = ()
    gated: bool = False


@dataclass
class HubServer:
    """Use as ``with HubServer({"owner/name": Dataset(…)}) as hub``; ``cdn`` is where files are redirected to."""

    datasets: dict[str, Dataset]
    cdn: str = ""
    requests: Counter[str] = field(default_factory=Counter)
    authorizations: list[tuple[str, str]] = field(default_factory=list)

    def __enter__(self) -> "HubServer":
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.answer(self)

            def log_message(self, *_: object) -> None:
                """No line of its own on stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one GET."""
        path = urlsplit(request.path).path
        self.requests[path] += 1
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.authorizations.append((path, token))
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[0] == "api":
            parts = parts[1:]
        name, rest = "/".join(parts[1:3]), parts[3:]
        dataset = self.datasets.get(name)
        may_read = dataset is not None and (not dataset.opened_by or token in dataset.opened_by)
        if dataset is None or not (may_read or dataset.gated):
            self._refuse(request, 401, "RepoNotFound")
        elif not may_read and rest[:1] in (["auth-check"], ["resolve"]):
            self._refuse(request, 403 if token else 401, "GatedRepo")
        elif rest[:1] == ["auth-check"]:
            self._send(request, b"{}")
        else:
            self._of_commit(request, dataset, name, rest)

    def _of_commit(self, request: BaseHTTPRequestHandler, dataset: Dataset, name: str, rest: list[str]) -> None:
        revision = rest[1] if len(rest) > 1 else "main"
        commit = dataset.branches.get(revision, revision)
        if commit not in dataset.commits:
            self._refuse(request, 404, "RevisionNotFound")
        elif rest[:1] == ["tree"]:
            tree = [
                {"type": "file", "path": path, "size": len(b), "oid": "0"}
                for path, b in dataset.commits[commit].items()
            ]
            self._json(request, [*tree, {"type": "directory", "path": "a folder", "oid": "0"}])
        elif rest[:1] == ["resolve"]:
            self._file(request, dataset.commits[commit].get("/".join(rest[2:])))
        else:
            self._json(request, {"id": name, "sha": commit, "gated": "auto" if dataset.gated else False})

    def _file(self, request: BaseHTTPRequestHandler, content: bytes | None) -> None:
        if content is None:
            self._refuse(request, 404, "EntryNotFound")
        elif self.cdn:
            request.send_response(302)
            request.send_header("Location", self.cdn)
            request.send_header("Content-Length", "0")
            request.end_headers()
        else:
            self._send(request, content, "video/mp4")

    def _json(self, request: BaseHTTPRequestHandler, value: Any) -> None:
        self._send(request, json.dumps(value).encode(), "application/json")

    @staticmethod
    def _refuse(request: BaseHTTPRequestHandler, status: int, code: str) -> None:
        request.send_response(status)
        request.send_header("X-Error-Code", code)
        request.send_header("Content-Length", "0")
        request.end_headers()

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, body: bytes, content_type: str = "application/json") -> None:
        request.send_response(200)
        request.send_header("Content-Type", content_type)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
