"""Atomic files and JSON Lines: no reader ever sees half a file."""

import glob
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from vqa_assets.errors import SchemaError
from vqa_assets.tables.disk import fault_of

LFS_POINTER = b"version https://git-lfs"
"""How a Git-LFS pointer begins: a file that stands where the content was never fetched."""
HTML_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html)\b", re.IGNORECASE)
"""How a web page begins, such as a server sends for what it does not give."""
_LONGEST_NAME_BYTES = 255
_SORTED_LINE = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE


@dataclass(frozen=True)
class Draft:
    """A temporary file beside ``target``; ``publish`` puts it in its place, else it is removed."""

    path: Path
    target: Path

    def publish(self) -> None:
        """Flush to disk and replace the target."""
        _flush_to_disk(self.path)
        self.path.replace(self.target)


@contextmanager
def drafting(target: Path) -> Iterator[Draft]:
    """A draft of ``target`` that the block may publish; gone at the block's end if it did not.

    What the disk refuses, in whatever class a library says it, is an OSError that names the target.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(target)
    draft = Draft(_temporary(target), target)
    try:
        yield draft
    except Exception as error:
        fault = fault_of(error)
        if fault is None:
            raise
        raise OSError(fault, os.strerror(fault), str(target)) from error
    finally:
        draft.path.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it when the block ends well, and is removed when it does not."""
    with drafting(path) as draft:
        yield draft.path
        draft.publish()


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` atomically by readable JSON with sorted keys; NaN is refused (ValueError)."""
    write_bytes(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; SchemaError where it is no JSON or no object."""
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _no_object(path, f"not JSON ({error})") from error
    if not isinstance(value, dict):
        raise _no_object(path, f"a JSON {type(value).__name__}")
    return value


def _no_object(path: Path, found: str) -> SchemaError:
    return SchemaError(
        f"{path}",
        found=found,
        expected="a JSON object",
        next_step="correct the file, or materialize the asset that writes it again",
    )


def json_line(row: Any) -> bytes:
    """One row as JSON Lines writes it: sorted keys, UTF-8, a final newline."""
    return orjson.dumps(row, option=_SORTED_LINE)


@dataclass(frozen=True, slots=True)
class JsonLine:
    """One line of a JSON Lines file: its number from 1, its bytes with the newline, its object."""

    number: int
    raw: bytes
    row: dict[str, Any]


def read_json_lines(path: Path) -> Iterator[JsonLine]:
    """Every non-empty line of a file as an object; SchemaError names file and line of anything else."""
    with path.open("rb") as lines:
        for number, raw in enumerate(lines, 1):
            if raw.strip():
                yield JsonLine(number, raw if raw.endswith(b"\n") else raw + b"\n", parse_json_line(raw, path, number))


def write_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Write lines that already end in a newline to a (temporary) path."""
    with path.open("wb") as out:
        out.writelines(lines)


def parse_json_line(raw: bytes, path: Path, number: int) -> dict[str, Any]:
    """The object in one line; SchemaError names file and line of anything else."""
    try:
        row = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        row = _second_opinion(raw, path, number, error)
    if not isinstance(row, dict):
        raise SchemaError(
            f"{path}:{number}",
            found=f"a JSON {type(row).__name__}",
            expected="one object a line",
            next_step="is this JSON Lines? Materialize the asset that writes it again",
        )
    return row


def _second_opinion(raw: bytes, path: Path, number: int, refused: Exception) -> Any:
    """The standard library accepts NaN, 1e400 and lone surrogates, which orjson refuses."""
    if raw.startswith(LFS_POINTER):
        raise SchemaError(
            f"{path}:{number}",
            found="a Git-LFS pointer",
            expected="one object a line",
            next_step="run git lfs pull where it came from",
        )
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise SchemaError(
            f"{path}:{number}",
            found=f"not JSON ({refused})",
            expected="one object a line",
            next_step="the file was cut short or edited; materialize the asset that writes it again",
        ) from refused


def _flush_to_disk(path: Path) -> None:
    with path.open("rb") as written:
        os.fsync(written.fileno())


def _temporary(target: Path) -> Path:
    """Beside the target, hidden, of this process; of a name that leaves no room for that, by its hash."""
    name = f".{target.name}.{os.getpid()}.tmp"
    if len(os.fsencode(name)) > _LONGEST_NAME_BYTES:
        name = f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()}.{os.getpid()}.tmp"
    return target.with_name(name)


def _remove_abandoned(path: Path) -> None:
    """Drop temporary files of ``path`` whose process is gone (a kill leaves them)."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        pid = left.name.split(".")[-2]
        if pid.isdigit() and not _alive(int(pid)):
            left.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True
