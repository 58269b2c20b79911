"""The replay manifest beside every artefact: what it was made from, how, and by which code.

Git state and Dagster ids are handed in; nothing here reads the environment or starts a process. Comparing a manifest
with what is on disk now is in ``verify``.
"""

import hashlib
import math
import os
import platform
import re
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from io import BufferedReader
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from vqa_assets.tables.files import file_identity, place_to_read
from vqa_assets.tables.makers import Sealed
from vqa_assets.tables.paths import CODE, DataRoot
from vqa_assets.tables.publication import Publication

SCHEMA = "ai-run-provenance-v1"
PACKAGES = (
    "av",
    "dagster",
    "numpy",
    "onnx",
    "onnxruntime",
    "pandas",
    "pandera",
    "polars",
    "pyarrow",
    "pycurl",
    "scikit-learn",
    "scipy",
    "torch",
    "vqa-assets",
)
CLOCKS_DIFFER_DAYS = 0.05
"""A file server's clock may be an hour ahead of ours: no reason to doubt it. What is later than that is no age."""
_URL = re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]*://\S+")


@dataclass(frozen=True)
class RunContext:
    """What a run knows of itself: its Dagster ids, its code, its start. ``git`` is {commit, dirty} or empty."""

    root: DataRoot
    dagster: Mapping[str, Any]
    entrypoint: Path
    argv: tuple[str, ...] = ()
    git: Mapping[str, Any] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    started: float = field(default_factory=time.time)


@dataclass(frozen=True)
class ReadInput:
    """An input as it was when it was read: its ``file_record``, and which file it was, in which state.

    ``identity`` is None where there was no file.
    """

    path: Path
    record: Mapping[str, Any]
    identity: tuple[int, int, int, int] | None = None

    @classmethod
    def of(cls, path: Path) -> "ReadInput":
        """The file as it is now; of one that may not be read only that it is there: whoever reads it says why.

        OSError where the disk fails: it may not fail whoever reads next, and a record without a hash proves nothing.
        """
        there = place_to_read(path)
        if not there.is_file():
            return cls(path, file_record(path))
        try:
            with there.open("rb") as content:
                return cls.of_opened(path, content)
        except PermissionError:
            return cls(path, {"path": path, "kind": "file", "exists": True})

    @classmethod
    def of_opened(cls, path: Path, content: BufferedReader) -> "ReadInput":
        """The file that is open, from where it stands to its end."""
        status = os.fstat(content.fileno())
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
        return cls.of_hashed(path, sha256, status.st_size, file_identity(status))

    @classmethod
    def of_hashed(
        cls, path: Path, sha256: str, size_bytes: int, identity: tuple[int, int, int, int] | None = None
    ) -> "ReadInput":
        """A file whose bytes were hashed by whoever read them."""
        return cls(
            path, {"path": path, "kind": "file", "exists": True, "sha256": sha256, "size_bytes": size_bytes}, identity
        )

    @property
    def sha256(self) -> str:
        """The hash of its bytes; KeyError where there was no file, or none that could be read."""
        return str(self.record["sha256"])

    def as_changed(self) -> "ReadInput":
        """The same, not being what was published under its name."""
        return replace(self, record={**self.record, "as_published": False})

    def stands(self) -> bool:
        """Whether the file that was read lies there still, in the same state."""
        if self.identity is None:
            return True
        try:
            return file_identity(place_to_read(self.path).stat()) == self.identity
        except OSError:
            return False


@dataclass(frozen=True)
class Manifest:
    """A replay manifest before it is written: its schema, its body, and what the run read and wrote.

    An input that was hashed when it was read is a ``ReadInput``; any other is hashed when the manifest is written.
    """

    schema: str
    body: Mapping[str, Any]
    args: Mapping[str, Any]
    inputs: Mapping[str, Path | ReadInput]
    outputs: Mapping[str, Path]


def write_manifest(publication: Publication, path: Path, manifest: Manifest, context: RunContext) -> dict[str, Any]:
    """Write a replay manifest as part of a publication, and return it. Hashes outputs, and inputs that nobody did yet.

    What it says of outputs is what will stand when all is published: they must be whole.
    """
    document = manifest_document(publication, manifest, context)
    publication.write_json(path, document)
    return document


def manifest_document(publication: Publication, manifest: Manifest, context: RunContext) -> dict[str, Any]:
    """A replay manifest as it is written, hashed as ``write_manifest`` does."""
    provenance = run_provenance(publication, manifest, context)
    content = {"schema": manifest.schema, **manifest.body, "run_provenance": provenance}
    public: dict[str, Any] = presentable(content, context.root)
    return public


def run_provenance(publication: Publication, manifest: Manifest, context: RunContext) -> dict[str, Any]:
    """The ``run_provenance`` of one run."""
    return {
        "schema": SCHEMA,
        "entrypoint": file_record(context.entrypoint),
        "argv": list(context.argv),
        "args": dict(manifest.args),
        "inputs": _file_records(manifest.inputs),
        "outputs": _output_records(publication, manifest.outputs),
        "dagster": dict(context.dagster),
        "packages": packages(),
        "git": dict(context.git),
        "started_at_utc": utc_text(context.started),
        "duration_s": round(max(0.0, time.time() - context.started), 3),  # a clock may be set back meanwhile
        "host": {"processor": _processor(), "cores": os.cpu_count(), "devices": list(context.devices)},
    }


def _file_records(files: Mapping[str, Path | ReadInput]) -> dict[str, dict[str, Any]]:
    """The records by name; hashing lets go of the interpreter, so threads share the processor's cores."""
    names = sorted(files)
    with ThreadPoolExecutor(thread_name_prefix="hash") as pool:
        return dict(zip(names, pool.map(_record_of, (files[name] for name in names)), strict=True))


def _record_of(file: Path | ReadInput) -> dict[str, Any]:
    return dict(file.record) if isinstance(file, ReadInput) else file_record(file)


def _output_records(publication: Publication, files: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """The records by name of what will stand: what is published is hashed once, here and for the journal."""
    contents = publication.contents(files.values())
    return {
        name: {"path": path, "kind": "file", "exists": True, **vars(contents[path])}
        if path in contents
        else file_record(path)
        for name, path in sorted(files.items())
    }


def file_record(path: Path) -> dict[str, Any]:
    """{path, kind, exists, sha256, size_bytes} of a file or folder; a folder has neither hash nor size."""
    there = place_to_read(path)
    record: dict[str, Any] = {"path": path, "kind": "dir" if there.is_dir() else "file", "exists": there.exists()}
    if there.is_file():
        record |= vars(Sealed.of(there))
    return record


def presentable(value: Any, root: DataRoot) -> Any:
    """A value as a manifest may show it.

    Paths are relative to the root; inside a text the root reads ``<root>``, the code ``<code>``, the home folder ``~``.
    URL queries and credentials are cut; a number that is not finite is null.
    """
    if isinstance(value, Mapping):
        return {_presentable_text(str(key), root): presentable(item, root) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [presentable(item, root) for item in value]
    if isinstance(value, Path):
        return root.shown(value)
    if isinstance(value, str):
        return _presentable_text(value, root)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def clean_url(url: str) -> str:
    """A URL without user name, password, query and fragment; only the scheme of one that cannot be read."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{url.partition('://')[0]}://…"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def utc_text(seconds: float | None = None) -> str:
    """A time in UTC, whole seconds: ``2026-05-08T12:00:00+00:00``."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.replace(microsecond=0).isoformat()


def age_days(text: str) -> float:
    """How long ago a time in UTC was, in days; negative of one in the future. ValueError where it is no time."""
    moment = datetime.fromisoformat(text)
    return (datetime.now(UTC) - (moment if moment.tzinfo else moment.replace(tzinfo=UTC))).total_seconds() / 86_400


def content_version(parts: Iterable[bytes]) -> str:
    """A data version: a hash of content from which the caller left out the timestamps."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:32]


@lru_cache(maxsize=1)
def packages() -> Mapping[str, str]:
    """Installed versions of the libraries that decide results, and of Python."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _presentable_text(text: str, root: DataRoot) -> str:
    if os.sep not in text:  # most texts: neither a path nor a URL is in it
        return text
    text = _URL.sub(lambda match: clean_url(match.group()), text)
    for folder, name in ((str(root.path), "<root>"), (str(CODE), "<code>"), (str(Path.home()), "~")):
        if len(folder) > 1:  # the home folder of a service may be /, which would be replaced everywhere
            text = re.sub(rf"(?<![\w.~-]){re.escape(folder)}(?![\w-]|\.\w)", name, text)
    return text


@lru_cache(maxsize=1)
def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if sys.platform.startswith("linux") and cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
