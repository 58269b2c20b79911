"""Who made a file, as stands inside it or beside it, and whether it still is what was written.

A Parquet table or an ONNX file carries a mark in its metadata: stage, format, and a digest of the file's bytes. A JSON
document says its ``schema``. Of any other file, and of ours of earlier versions, the record of its publication beside
it says so, ``.<name>.published.json``, else its replay manifest. Which formats are known is in ``formats``.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from vqa_assets.tables.formats import FORMATS, newer_format, schema_of, version_of
from vqa_assets.tables.paths import manifest_paths, sibling

MARK_KEY = "vqa_assets"
"""The key of the mark in a file's metadata."""

_OPEN = "0" * 64
_MARK = re.compile(
    rb'\{"digest":"([0-9a-f]{64})",(?:"footer":"([0-9a-f]{64})",)?"format":(\d+),"schema":"vqa-made-v1",'
    rb'"stage":"([a-z0-9_]+)"\}'
)
_ANY_MARK = re.compile(rb'"schema":"vqa-made-v(\d+)"')
_PARQUET_END = b"PAR1"
_TABLES = (".parquet", ".pq")
_TAIL_BYTES = 1 << 20
_READ_BYTES = 1 << 20


class Wrote(StrEnum):
    """How a file of ours compares with what was written."""

    SAME = "as it was written"
    CHANGED = "changed since it was written"
    DAMAGED = "damaged since it was written"
    UNKNOWN = "not compared"


@dataclass(frozen=True)
class Made:
    """The stage that made a file, in which format, and whether the file still is what was written.

    ``newest`` is the newest such format that this version knows. ``said_by`` is the file that says so: itself, or the
    one beside it. ``sha256`` is the file's, where it was compared.
    """

    stage: str
    format: int
    newest: int
    content: Wrote
    said_by: Path
    sha256: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether it holds what the stage wrote; another file is an operator's edit, or damaged."""
        return self.content is Wrote.SAME

    @property
    def is_newer(self) -> bool:
        """Whether a later version of ours wrote it, in a format that this one does not know."""
        return self.format > self.newest


@dataclass(frozen=True)
class Sealed:
    """SHA-256 and size of a file as it is now."""

    sha256: str
    size_bytes: int

    @classmethod
    def of(cls, path: Path) -> "Sealed":
        """Of the file at a path, which is left as it is; OSError where none can be read."""
        with path.open("rb") as file:
            return cls(hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size)


def mark(stage: str, *, footer: bool = True) -> dict[str, str]:
    """The mark as file metadata, its digests still open: ``seal`` or ``sealed`` fills them in.

    ``footer`` where the file has one that holds the metadata (Parquet).
    """
    digests = {"digest": _OPEN, **({"footer": _OPEN} if footer else {})}
    content = {**digests, "format": FORMATS[stage], "schema": "vqa-made-v1", "stage": stage}
    return {MARK_KEY: json.dumps(content, separators=(",", ":"))}


def seal(path: Path) -> Sealed:
    """Fill in the digest where a file's mark is open; the file's SHA-256 and size, by one pass over it in any case.

    The digest is the SHA-256 of the file's bytes, those of the digests themselves as zeros.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        before, tail = _body(file, size)
    found = _mark_in(tail)
    if found is not None and found[1].decode() == _OPEN:
        closed = _closed(before, tail, found)
        with path.open("r+b") as file:
            file.seek(size - len(tail))
            file.write(closed)
        tail = closed
    before.update(tail)
    return Sealed(before.hexdigest(), size)


def sealed(content: bytes) -> bytes:
    """The same of a file that is in memory."""
    found = _mark_in(content)
    return content if found is None else _closed(hashlib.sha256(), content, found)


def published_path(path: Path) -> Path:
    """The record of what a stage published last under this name."""
    return sibling(path, ".published.json")


def made_by(path: Path, *, compare: bool = True) -> Made | None:
    """Who made a file; None where nothing says that it is ours, or nothing is there.

    Without ``compare`` its content is not read, only what says who made it.
    """
    if not path.is_file():
        return None
    inside = _marked(path, compare=compare)
    if inside is not None:
        return inside
    document = schema_of(_object(path)) if path.suffix.lower() == ".json" else None
    said = None if document is None else Made(*document, Wrote.UNKNOWN, path)
    records = (one for one in (*_published(path), *_recorded(path)) if said is None or one.made.stage == said.stage)
    if not compare:
        return said or next((one.made for one in records), None)
    sha256, other = "", said
    for record in records:
        sha256 = sha256 or Sealed.of(path).sha256
        if sha256 == record.sha256:
            return replace(record.made, content=Wrote.SAME, sha256=sha256)
        if other is said:
            other = replace(record.made, content=_difference(path), sha256=sha256)
    return other


def recorded_otherwise(path: Path, sha256: str) -> Path | None:
    """The file beside it that names other bytes than these for it; None where one names these, or none names any."""
    records = [*_published(path), *_recorded(path)]
    return None if not records or any(one.sha256 == sha256 for one in records) else records[0].made.said_by


def refuse_newer(path: Path) -> None:
    """NewerFormatError where a file is of ours in a format that a later version wrote; looks at no content.

    Of a file that cannot be read nothing is known: whoever goes on to read it is told.
    """
    made = None
    with suppress(OSError):
        made = made_by(path, compare=False)
    if made is not None and made.is_newer:
        raise newer_format(made.said_by, made.stage, made.format, made.newest)


def refuse_newer_mark(metadata: Mapping[bytes, bytes], path: Path) -> None:
    """The same by the metadata of a file that is open anyway."""
    made = _said_by(metadata.get(MARK_KEY.encode(), b""), path)
    if made is not None and made.is_newer:
        raise newer_format(path, made.stage, made.format, made.newest)


def _marked(path: Path, *, compare: bool) -> Made | None:
    """What the mark in a file says."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        tail = _tail(file, size)
        found, made = _mark_in(tail), _said_by(tail, path)
        if found is None or made is None or not compare:
            return made
        before, tail = _body(file, size)
    open_tail = _opened(tail, found)
    # Whatever writes a table again writes its footer again: under the old one other data are no edit.
    footer_fits = found[2] is not None and hashlib.sha256(open_tail).hexdigest() == found[2].decode()
    content = Wrote.DAMAGED if footer_fits else Wrote.CHANGED
    whole = before.copy()
    whole.update(open_tail)
    before.update(tail)
    if whole.hexdigest() == found[1].decode():
        content = Wrote.SAME
    return replace(made, content=content, sha256=before.hexdigest())


def _said_by(text: bytes, path: Path) -> Made | None:
    """What the last mark in a text says, its content not compared; also one of a form that a later version gave it."""
    if (found := _mark_in(text)) is not None:
        stage = found[4].decode()
        return Made(stage, int(found[3]), FORMATS.get(stage, 0), Wrote.UNKNOWN, path)
    later = max((int(one[1]) for one in _ANY_MARK.finditer(text)), default=0)
    return Made("vqa-made", later, 1, Wrote.UNKNOWN, path) if later > 1 else None


def _tail(file: IO[bytes], size: int) -> bytes:
    """The end of a file that holds its metadata: a Parquet table's footer, else what is last."""
    file.seek(max(0, size - 8))
    end = file.read(8)
    length = _TAIL_BYTES
    if end.endswith(_PARQUET_END):
        length = int.from_bytes(end[:4], "little") + 8
    file.seek(max(0, size - length))
    return file.read()


def _body(file: IO[bytes], size: int) -> tuple[Any, bytes]:
    """The hash of a file up to its tail, and the tail."""
    tail = _tail(file, size)
    file.seek(0)
    digest, left = hashlib.sha256(), size - len(tail)
    while left and (part := file.read(min(_READ_BYTES, left))):
        digest.update(part)
        left -= len(part)
    return digest, tail


def _mark_in(tail: bytes) -> re.Match[bytes] | None:
    """The last mark in a file's end."""
    return next(reversed(list(_MARK.finditer(tail))), None)


def _opened(tail: bytes, found: re.Match[bytes]) -> bytes:
    """The same end with open digests."""
    return _with_digests(tail, found, _OPEN, _OPEN)


def _closed(before: Any, tail: bytes, found: re.Match[bytes]) -> bytes:
    """The same end with its digests filled in; ``before`` is the hash of what comes first."""
    opened, whole = _opened(tail, found), before.copy()
    whole.update(opened)
    return _with_digests(tail, found, whole.hexdigest(), hashlib.sha256(opened).hexdigest())


def _with_digests(tail: bytes, found: re.Match[bytes], whole: str, footer: str) -> bytes:
    changed = bytearray(tail)
    for group, digest in ((1, whole), (2, footer)):
        if found[group] is not None:
            changed[slice(*found.span(group))] = digest.encode()
    return bytes(changed)


@dataclass(frozen=True)
class _Record:
    """What a file beside it says of a file of ours: who made it, and the SHA-256 it had."""

    made: Made
    sha256: str


def _published(path: Path) -> Iterator[_Record]:
    """By records of publications beside a file; the one of its own name comes first."""
    own = published_path(path)
    with suppress(OSError):
        others = sorted(path.parent.glob(".*.published.json"))
        for place in (own, *(one for one in others if one != own)):
            document = _object(place)
            with suppress(KeyError, TypeError, AttributeError, ValueError):
                stage, sha256 = str(document["stage"]), str(document["files"][path.name]["sha256"])
                version = version_of(document["format"], stage)
                # A head's publication has the head's name; the format says which stage writes such files.
                by_format = schema_of({"schema": document["format"]})
                stage = by_format[0] if by_format is not None and by_format[0] else stage
                yield _Record(Made(stage, *version, Wrote.UNKNOWN, place), sha256)


def _recorded(path: Path) -> Iterator[_Record]:
    """By the replay manifests that may stand beside a file."""
    for place in manifest_paths(path):
        document = _object(place) if place != path else {}
        said = schema_of(document)
        if said is None:
            continue
        with suppress(KeyError, TypeError, AttributeError):
            for record in document["run_provenance"]["outputs"].values():
                if Path(str(record["path"])).name == path.name and "sha256" in record:
                    yield _Record(Made(*said, Wrote.UNKNOWN, place), str(record["sha256"]))


def _object(path: Path) -> Mapping[str, Any]:
    """A JSON object, empty where none can be read: then nothing is said."""
    with suppress(OSError, ValueError, RecursionError):
        content = path.read_bytes() if path.is_file() else b""  # a pipe would be waited for
        # A progress file may hold a hundred thousand clips, and says no schema.
        document = json.loads(content) if b'"schema"' in content else None
        if isinstance(document, dict):
            return document
    return {}


def _difference(path: Path) -> Wrote:
    """How a file differs from what a record beside it says: a Parquet table without its end was cut, not edited."""
    if path.suffix.lower() in _TABLES:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - len(_PARQUET_END)))
            if file.read() != _PARQUET_END:
                return Wrote.DAMAGED
    return Wrote.CHANGED
