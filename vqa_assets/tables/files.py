"""Atomic files and JSON Lines: no reader ever sees half a file. And what a disk refuses, in words.

What is done about a refusal is the caller's. Several files at once are in ``publication``, Parquet is in ``parquet``,
paths of the data root are in ``paths``.
"""

import errno
import hashlib
import json
import os
import platform
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from vqa_assets.errors import SchemaError
from vqa_assets.printing import plain_lines
from vqa_assets.tables.formats import refuse_newer_document
from vqa_assets.tables.makers import refuse_newer
from vqa_assets.tables.paths import sibling

LFS_POINTER = b"version https://git-lfs"
"""How a Git-LFS pointer begins: a file that stands where the content was never fetched."""
HTML_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html)\b", re.IGNORECASE)
"""How a web page begins, such as a server sends for what it does not give."""
DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)
"""The errors by which a disk refuses a file: it is full, has a limit, is read-only, without permission, broken."""
_MAY_BE_READING = (errno.EACCES, errno.EPERM, errno.EIO)
_OS_ERROR_IN_TEXT = re.compile(r"\(os error (\d+)\)")
_SORTED_LINE = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
_REMEDY = "make it again"
PROCESS = re.compile(r"[0-9]{1,9}(-[0-9a-f]{8})?")
"""How ``this_process`` names a process."""
_LEFT_BEHIND_S = 86_400
"""A draft of a process that cannot be seen, in another container, is taken for abandoned when it is that old."""
_instead: dict[Path, tuple[Path, Path]] = {}
"""Target → (where to read it, while what is there), of publications that this process may not settle."""


@dataclass(frozen=True)
class Draft:
    """A temporary file beside ``target``; ``publish`` puts it in its place, else it is removed."""

    path: Path
    target: Path

    def publish(self) -> None:
        """Flush to disk and replace the target."""
        sync_file(self.path)
        self.path.replace(self.target)


def file_identity(status: os.stat_result) -> tuple[int, int, int, int]:
    """Which file lies somewhere, and its state: writing to it or putting another in its place changes one of these."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def kind_of_node(mode: int) -> str:
    """What stands where a file should, by its mode: ``a folder``, ``a named pipe``, ``a device``, ``a socket``."""
    kinds = {
        stat.S_IFREG: "a file",
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something that is no file")


def no_file_at(path: Path) -> str:
    """What stands there that has no end one could wait for: ``a named pipe``, ``a device``; empty for all else."""
    mode = path.stat().st_mode if path.exists() else stat.S_IFREG
    return "" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else kind_of_node(mode)


def sync_file(path: Path) -> None:
    """Have a file's bytes on the disk; OSError where the disk refuses them."""
    # Without it a crash of the machine may leave the new name with none of its bytes.
    with path.open("rb") as written:
        os.fsync(written.fileno())


def sync_folder(path: Path) -> None:
    """Have the names in a folder on the disk; OSError where the disk refuses them."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def drafting(target: Path) -> Iterator[Draft]:
    """A draft of ``target`` that the block may publish; gone at the block's end if it did not.

    What the disk refuses, in whatever class a library says it, is an OSError that names the target. NewerFormatError
    where a later version of ours wrote what stands there.
    """
    refuse_newer(target)
    # Beside the target, not in a temporary folder: a file can replace another at once on one file system only.
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(target, named_by_process(target.parent, ".tmp"))
    draft = Draft(draft_path(target), target)
    try:
        yield draft
    except Exception as error:
        fault = fault_of(error)
        if fault is None:
            raise
        raise OSError(fault, os.strerror(fault), str(target)) from error
    finally:
        # What cannot be removed is removed by the next draft: it takes nothing from what stands.
        with suppress(OSError):
            draft.path.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it when the block ends well, and is removed when it does not."""
    with drafting(path) as draft:
        yield draft.path
        draft.publish()


def read_earlier_of(files: Mapping[Path, Path], *, while_there: Path) -> None:
    """Have ``place_to_read`` name another file for each of ``files``, for as long as ``while_there`` is there."""
    _instead.update({found_place(target): (earlier, while_there) for target, earlier in files.items()})


def place_to_read(path: Path) -> Path:
    """Where to read what stands at ``path``: elsewhere only where a publication was cut short and cannot be settled.

    A file that was not there before is not there then, either: nothing is at the path that is named.
    """
    if not _instead:
        return path
    earlier, while_there = _instead.get(found_place(path), (path, path))
    return earlier if while_there.exists() else path


def found_place(path: Path) -> Path:
    """A path by the folder in which it lies, however that is spelled; a link in its own place is not followed."""
    return Path(os.path.realpath(path.parent)) / path.name


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` atomically by readable JSON with sorted keys; NaN is refused (ValueError)."""
    write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """Readable JSON with sorted keys; NaN is refused (ValueError). What a person would not see in it is escaped."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return plain_lines(text).encode() + b"\n"


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; SchemaError where it is none, NewerFormatError where a later version wrote it."""
    cause: Exception | None = None
    there = place_to_read(path)
    try:
        what = no_file_at(there)
        value = None if what else json.loads(there.read_bytes())
        what = what or f"a JSON {type(value).__name__}"
    except (ValueError, RecursionError) as error:
        value, what, cause = None, f"not JSON ({error})", error
    if isinstance(value, dict):
        refuse_newer_document(value, path)
        return value
    raise SchemaError(
        f"{path}",
        found=what,
        expected="a JSON object",
        next_step="correct the file, or make it again",
    ) from cause


def json_line(row: Any) -> bytes:
    """One row as JSON Lines writes it: sorted keys, UTF-8, a final newline."""
    return orjson.dumps(row, option=_SORTED_LINE)


def report_line(row: Any) -> bytes:
    """As ``json_line``, for people too: the same row with what a person would not see escaped."""
    raw = json_line(row)
    return raw if raw.isascii() else plain_lines(raw.decode()).encode()


@dataclass(frozen=True, slots=True)
class JsonLine:
    """One line of a JSON Lines file: its number from 1, its bytes with the newline, its object."""

    number: int
    raw: bytes
    row: dict[str, Any]


def read_json_lines(path: Path, remedy: str = _REMEDY) -> Iterator[JsonLine]:
    """Every non-empty line of a file as an object; SchemaError names file and line of anything else, and ``remedy``.

    NewerFormatError where a later version of ours wrote the file.
    """
    refuse_newer(path)
    there = place_to_read(path)
    if what := no_file_at(there):
        raise SchemaError(f"{path}", found=what, expected="JSON Lines", next_step=remedy)
    with there.open("rb") as lines:
        for number, raw in enumerate(lines, 1):
            if raw.strip():
                row = parse_json_line(raw, path, number, remedy)
                yield JsonLine(number, raw if raw.endswith(b"\n") else raw + b"\n", row)


def write_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Write lines that already end in a newline to a (temporary) path."""
    with path.open("wb") as out:
        out.writelines(lines)


def parse_json_line(raw: bytes, path: Path, number: int, remedy: str = _REMEDY) -> dict[str, Any]:
    """The object in one line; SchemaError names file and line of anything else, and ``remedy`` where it is torn."""
    try:
        row = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if raw.startswith(LFS_POINTER):
            raise _no_object_in_line(path, number, "a Git-LFS pointer", "run git lfs pull where it came from") from None
        # The standard library accepts NaN, 1e400 and lone surrogates, which orjson refuses and others write.
        try:
            row = json.loads(raw)
        except (ValueError, RecursionError):
            advice = f"the file was cut short or edited; {remedy}"
            raise _no_object_in_line(path, number, f"not JSON ({error})", advice) from error
    if not isinstance(row, dict):
        advice = f"is this JSON Lines? {remedy[0].upper()}{remedy[1:]}"
        raise _no_object_in_line(path, number, f"a JSON {type(row).__name__}", advice)
    return row


def _no_object_in_line(path: Path, number: int, what: str, next_step: str) -> SchemaError:
    return SchemaError(f"{path}:{number}", found=what, expected="one object a line", next_step=next_step)


def draft_path(target: Path) -> Path:
    """Where this process writes what is to replace the target."""
    return sibling(target, f".{this_process()}.tmp")


def remove_abandoned(target: Path, left: Iterable[tuple[Path, str]]) -> None:
    """Remove those of the files ``left`` by processes that are gone (a kill leaves them) that are of ``target``."""
    for path, process in left:
        if path.name == named_for(target, process, path.suffix) and is_abandoned(path, process):
            path.unlink(missing_ok=True)


def named_for(target: Path, process: str, suffix: str) -> str:
    """The name of the hidden file beside ``target`` that is of a process."""
    return sibling(target, f".{process}{suffix}").name


def named_by_process(folder: Path, *suffixes: str) -> list[tuple[Path, str]]:
    """The hidden files of these suffixes in a folder, with the process that each says it is of."""
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.name.startswith(".") and e.name.endswith(suffixes))
    return [(folder / name, process) for name in names if PROCESS.fullmatch(process := process_named(name))]


def process_named(name: str) -> str:
    """The process that the name of a hidden file says it is of, where it says one."""
    return name.split(".")[-2]


def this_process() -> str:
    """The name of this process among all that may share a folder, those of other containers and machines too."""
    return f"{os.getpid()}-{_process_table()}"


@cache
def _process_table() -> str:
    """By what the processes that see each other's numbers are known: numbers are given again in each container."""
    parts = [platform.node()]
    with suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text(), str(Path("/proc/self/ns/pid").readlink())]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:8]


def is_abandoned(path: Path, process: str) -> bool:
    """Whether the process of a file is gone; of one that cannot be seen from here its file's age says so."""
    if _is_seen(process):
        return not is_alive(process)
    with suppress(FileNotFoundError):
        # Not the time of change of its content: a backup has that of what it is the backup of.
        return abs(time.time() - path.stat().st_ctime) > _LEFT_BEHIND_S
    return False


def _is_seen(process: str) -> bool:
    """Whether a process would be seen from here; earlier versions wrote the number alone."""
    return process.partition("-")[2] in ("", _process_table())


def is_alive(process: str) -> bool:
    """Whether a process is seen from here."""
    if not _is_seen(process):
        return False
    pid = int(process.partition("-")[0])
    with suppress(PermissionError):  # a process of somebody else is alive, too
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True


def fault_of(error: BaseException) -> int | None:
    """The errno of a disk's refusal, None for any other error.

    Libraries written in Rust (polars) raise errors of their own whose text ends in ``(os error 28)``.
    """
    code = error.errno if isinstance(error, OSError) else None
    if code is None and (number := _OS_ERROR_IN_TEXT.search(str(error))):
        code = int(number[1])
    return code if code in DISK_FAULTS else None


@dataclass(frozen=True)
class DiskRefusal:
    """What could not be done, what would have been needed, and what helps."""

    what: str
    expected: str
    remedy: str


def refusal_of(code: int | None, path: Path | None) -> DiskRefusal:
    """The words for a fault: a file that may not be read is called that, everything else is a matter of writing."""
    if path is not None and code in _MAY_BE_READING and path.is_file():
        # The rights that count are those of the user the process acts as, not of the one who started it.
        if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
            return DiskRefusal(f"cannot read {path}", "a file that this user may read", "mend its permissions")
        if code == errno.EIO:
            return DiskRefusal(
                f"cannot read or write {path}", "a disk that works", "look at the system's log of the disk"
            )
    what = "cannot write" if path is None else f"cannot write {path}"
    return DiskRefusal(what, "a folder with space that this user may write", "free space or mend the permissions")
