"""A corpus's large archives: fetched over as many connections as it takes, and unpacked safely.

What has arrived is never asked for again, no entry of a zip file leaves its folder, and no finished file is written
twice. Clips, which are small, are not fetched this way (``libcurl``).
"""

import errno
import json
import shutil
import stat
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from vqa_assets.clips.containers import HEAD_BYTES, HTML, kind_of_text
from vqa_assets.clips.downloading import (
    HTTP_ERROR,
    Address,
    Answer,
    DownloadLimits,
    TryAgainError,
    address_of,
    judge,
    size_of,
    unwritable,
)
from vqa_assets.clips.libcurl import new_handle
from vqa_assets.clips.work import ProgressLine, StoppedError
from vqa_assets.errors import DownloadError, IngestError
from vqa_assets.tables.files import replacing

_MIB = 1 << 20
_ALL_OF_IT, _PARTIAL, _NO_SUCH_RANGE = 200, 206, 416
_HTML_TYPES = ("text/html", "application/xhtml+xml")


@dataclass(frozen=True)
class LargeFile:
    """What to fetch, into which file, who stops it, who hears of its progress, the limits (without ``timeout_s``).

    Beside ``path`` lie ``<name>.part`` and what the server calls this version of the file, until it is whole.
    """

    url: str
    path: Path
    stop: threading.Event
    say: Callable[[str], None]
    limits: DownloadLimits = field(default_factory=DownloadLimits)
    ca_bundle: Path | None = None

    @property
    def part(self) -> Path:
        """What has arrived."""
        return self.path.with_name(f"{self.path.name}.part")

    @property
    def version(self) -> Path:
        """What the server called the version that ``part`` is of."""
        return self.path.with_name(f"{self.path.name}.part.json")


def fetch_resuming(file: LargeFile) -> None:
    """Fetch the file, going on where an earlier attempt or run stopped; it appears under its name when it is whole.

    A server that has another version by now, or cannot resume, sends it all again. DownloadError where it cannot be
    downloaded (what has arrived is kept), IngestError where the disk is full, StoppedError soon after ``stop`` is set.
    """
    address, failures = address_of(file.url), 0
    file.path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        before = size_of(file.part)
        try:
            _attempt(file, address)
        except TryAgainError as failure:
            # Counted anew where anything came: a server that cuts every connection short is slow, not broken.
            failures = 1 if size_of(file.part) > before else failures + 1
            if failures > file.limits.retries:
                raise DownloadError(failure.reason, permanent=False, unreachable=failure.unreachable) from None
            if file.stop.wait(max(failure.retry_after_s, file.limits.backoff_s * 2 ** (failures - 1))):
                raise StoppedError from None
        else:
            file.part.replace(file.path)
            file.version.unlink(missing_ok=True)
            return


def _attempt(file: LargeFile, address: Address) -> None:
    """One connection; returns when the part is whole."""
    version = _version_of_part(file)
    # Without the version nothing says that the rest would fit what is here.
    start = size_of(file.part) if version else 0
    try:
        with file.part.open("r+b" if start else "wb") as out:
            out.seek(start)
            transfer = _ArchiveTransfer(file, out, start)
            answer = transfer.run(new_handle(file.ca_bundle), address, version)
    except OSError as error:
        raise unwritable(file.part, error) from error
    finally:
        if file.part.exists() and not size_of(file.part):
            file.part.unlink()
    if answer.rc == HTTP_ERROR and answer.status == _NO_SUCH_RANGE and start:
        # Nothing lies beyond what is here: it is whole, or of another version and begun anew.
        if transfer.total != start:
            file.part.unlink()
            raise TryAgainError("the file is another one by now")
        answer = replace(answer, rc=0, status=_PARTIAL, size_bytes=start)
    _judge_whole(file, answer)
    if transfer.total and size_of(file.part) != transfer.total:
        raise TryAgainError(f"{size_of(file.part)} of {transfer.total} bytes arrived")


def _judge_whole(file: LargeFile, answer: Answer) -> None:
    """What the answer means for the file; a web page in its place is not kept, on however many connections it came."""
    if answer.rc or answer.status not in (_ALL_OF_IT, _PARTIAL):
        judge(answer)
        return
    with file.part.open("rb") if file.part.exists() else BytesIO() as arrived:
        head = arrived.read(HEAD_BYTES)  # of the file, not of the body, which may be the rest of it
    kind, is_called_html = kind_of_text(head), answer.content_type.strip().lower().startswith(_HTML_TYPES)
    is_page = kind == HTML or (kind and is_called_html)  # of a network's login, or of a server at rest
    if is_page or not head:
        file.part.unlink(missing_ok=True)
        file.version.unlink(missing_ok=True)
    judge(replace(answer, status=_ALL_OF_IT))
    if is_page:
        raise DownloadError(f"curl-rc=0: the server answered {HTML}, not the file", permanent=False)


class _ArchiveTransfer:
    """One body, or the rest of one, on its way into an open file."""

    def __init__(self, file: LargeFile, out: BinaryIO, start: int) -> None:
        self._file, self._out, self._start = file, out, start
        self._headers: dict[str, str] = {}
        self._status = 0
        self._failure: Exception | None = None
        self._line: ProgressLine | None = None
        self._arrived = start
        self.total = 0

    def run(self, handle: Any, address: Address, version: str) -> Answer:
        """Transfer; StoppedError where it was stopped, OSError or IngestError where it cannot be written."""
        import pycurl

        self._configure(handle, address, version)
        code, text = 0, ""
        try:
            handle.perform()
        except pycurl.error as error:
            code, text = error.args[0], handle.errstr() or str(error.args[-1])
        try:
            # A callback cannot raise through libcurl: it aborts the transfer, and what it met is raised here.
            if self._failure is not None:
                raise self._failure
            if code and self._file.stop.is_set():
                raise StoppedError
            return self._answer(handle, code, text)
        finally:
            handle.close()

    def _configure(self, handle: Any, address: Address, version: str) -> None:
        import pycurl

        limits = self._file.limits
        handle.setopt(pycurl.URL, address.url)
        if address.credentials:
            handle.setopt(pycurl.USERPWD, ":".join(address.credentials).encode())
        # Of an encoded body neither the length nor a range would be the file's.
        headers = ["Accept-Encoding: identity"]
        if self._start:
            # If-Range: the rest where the server has that version still, else all of it, with 200 (RFC 9110, 13.1.5).
            headers += [f"Range: bytes={self._start}-", f"If-Range: {version}"]
        handle.setopt(pycurl.HTTPHEADER, headers)
        handle.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, round(limits.connect_timeout_s * 1000)))
        handle.setopt(pycurl.LOW_SPEED_LIMIT, limits.stall_bytes_per_s)
        handle.setopt(pycurl.LOW_SPEED_TIME, limits.stall_s)
        handle.setopt(pycurl.MAXFILESIZE_LARGE, limits.max_bytes)
        handle.setopt(pycurl.HEADERFUNCTION, self._header)
        handle.setopt(pycurl.WRITEFUNCTION, self._write)
        handle.setopt(pycurl.NOPROGRESS, 0)  # called about once a second even where the server stalls
        handle.setopt(pycurl.XFERINFOFUNCTION, lambda *_sizes: int(self._file.stop.is_set()))

    def _header(self, raw: bytes) -> None:
        line = raw.decode("latin-1").strip()
        if line.startswith("HTTP/"):  # another answer, after a redirect: what the one before said is void
            self._headers, self._status = {}, int(line.split(" ")[1])
        name, _, value = line.partition(":")
        self._headers[name.lower()] = value.strip()
        if not line:  # the headers are complete
            # Of a whole body Content-Length, of a part what follows the slash: bytes 200-1023/146515 (RFC 9110, 14.4).
            length = self._headers.get("content-length", "") if self._status == _ALL_OF_IT else ""
            length = length or self._headers.get("content-range", "").rpartition("/")[2]
            self.total = int(length) if length.isdigit() else 0

    def _write(self, piece: bytes) -> int | None:
        """libcurl's write callback: ``None`` for "all written", 0 to abort."""
        try:
            if self._line is None:
                self._begin()
            self._out.write(piece)
        except (OSError, IngestError, TryAgainError) as error:
            self._failure = error
            return 0
        self._arrived += len(piece)
        if self._line is not None:
            self._line.update(self._arrived // _MIB)
        return None

    def _begin(self) -> None:
        """Before the first byte: is it the rest or all of it, is it the version begun with, is there room for it."""
        if self._status != _PARTIAL and self._start:  # asked for the rest, sent all of it
            self._start = self._arrived = 0
            self._out.seek(0)
            self._out.truncate()
        elif self._status == _PARTIAL and not self._headers.get("content-range", "").startswith(
            f"bytes {self._start}-"
        ):
            raise TryAgainError("the server sent another range than it was asked for")
        needed, free = self.total - self._start, shutil.disk_usage(self._file.path.parent).free
        if needed > free:
            raise IngestError(
                f"{self._file.path.name}",
                found=f"{needed} bytes to come and {free} free in {self._file.path.parent}",
                expected="room for the whole file",
                next_step="free some space, then run again: what has arrived is kept",
            )
        if not self._start:
            _note_version(self._file, self._headers)
        name = self._file.path.name
        self._line = ProgressLine(name, max(1, self.total // _MIB), self._file.say, unit="MiB")

    def _answer(self, handle: Any, code: int, text: str) -> Answer:
        import pycurl

        return Answer(
            rc=code,
            text=text,
            status=handle.getinfo(pycurl.RESPONSE_CODE),
            content_type=handle.getinfo(pycurl.CONTENT_TYPE) or "",
            size_bytes=self._arrived,
            retry_after_s=min(float(handle.getinfo(pycurl.RETRY_AFTER)), self._file.limits.retry_after_cap_s),
            asked=handle.getinfo(pycurl.REQUEST_SIZE) > 0,
        )


def _note_version(file: LargeFile, headers: dict[str, str]) -> None:
    """Keep what the server calls this version; a weak ETag cannot be resumed by (RFC 9110, 13.1.5)."""
    etag = headers.get("etag", "")
    version = etag if etag and not etag.startswith("W/") else headers.get("last-modified", "")
    file.version.write_text(json.dumps({"url": address_of(file.url).url, "version": version}), encoding="utf-8")


def _version_of_part(file: LargeFile) -> str:
    """What the server called the version that the part is of; empty where there is none, or of another address."""
    with suppress(OSError, ValueError):
        note = json.loads(file.version.read_text(encoding="utf-8"))
        if note["url"] == address_of(file.url).url:
            return str(note["version"])
    return ""


# What macOS puts into the archives it makes, beside the files.
_JUNK = ("__MACOSX",)
_PLAIN = (0, stat.S_IFREG, stat.S_IFDIR)
_ENCRYPTED = 0x1
_NO_PLACE = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)


@dataclass(frozen=True)
class Unpacked:
    """How many files an archive holds, how many of them had to be written, and which were left out."""

    files: int
    written: int
    left_out: tuple[str, ...] = ()


def unpack_zip(archive: Path, folder: Path) -> Unpacked:
    """Unpack into ``folder``; a top folder of its or the archive's name is that folder. Files of the right size stay.

    A .toml file is left out: no archive says how the platform works.

    IngestError, before anything is written, where an entry would leave the folder, is a link or encrypted, or where
    there is no room; and where the archive's bytes are damaged.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            named = list(_checked(opened, archive, folder))
            files = [(entry, folder / name) for entry, name in named if not _steers(name)]
            todo = [(entry, path) for entry, path in files if not _is_there(path, entry)]
            _check_room(sum(entry.file_size for entry, _ in todo), archive, folder)
            for entry, path in todo:
                _write(opened, entry, path, folder.resolve())
    # NotImplementedError is what zipfile raises for a compression that it cannot undo.
    except (zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error) as error:
        raise IngestError(
            f"{archive}", found=f"a damaged archive ({error})", next_step="delete it, then run again"
        ) from error
    return Unpacked(len(files), len(todo), tuple(name for _, name in named if _steers(name)))


def _checked(opened: zipfile.ZipFile, archive: Path, folder: Path) -> Iterator[tuple[zipfile.ZipInfo, str]]:
    """Every file of the archive with its name inside the folder; IngestError where one is not safe to write."""
    seen: set[str] = set()
    top = {folder.name}
    names = (PurePosixPath(name).parts for name in opened.namelist() if not name.endswith("/"))
    if all(parts[0] == archive.stem and len(parts) > 1 for parts in names if parts and not _is_junk(parts[0])):
        top.add(archive.stem)  # a folder of the archive's own name, with all that is in it
    for entry in opened.infolist():
        parts = PurePosixPath(entry.filename).parts
        _refuse(entry, archive, _why_unsafe(entry))
        inside = parts[1:] if parts and parts[0] in top else parts
        if entry.is_dir() or not inside or any(map(_is_junk, parts)):
            continue
        name = "/".join(inside)
        _refuse(entry, archive, "is there twice" if name in seen else "")
        seen.add(name)
        yield entry, name


def _is_junk(name: str) -> bool:
    """Whether a file or folder of an archive is none of the corpus: no hidden one may pass for a file of ours."""
    return name in _JUNK or name.startswith(".")


def _steers(name: str) -> bool:
    """Whether the platform would take the file for settings."""
    return name.lower().endswith(".toml")


def _why_unsafe(entry: zipfile.ZipInfo) -> str:
    path = PurePosixPath(entry.filename)
    # A backslash or a drive (C:) leads elsewhere on other systems, and is no name that a corpus has.
    if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or ":" in entry.filename.split("/")[0]:
        return "leaves the folder"
    # The high half is a Unix mode, where the archive was made on Unix; 0 where it was not.
    if stat.S_IFMT(entry.external_attr >> 16) not in _PLAIN:
        return "is a link or no plain file"
    return "is encrypted" if entry.flag_bits & _ENCRYPTED else ""


def _refuse(entry: zipfile.ZipInfo, archive: Path, why: str) -> None:
    if why:
        raise IngestError(
            f"{archive}",
            found=f"an entry that {why}: {entry.filename!r}",
            expected="plain files inside the archive's own folder",
            next_step="nothing of it was unpacked; is this the published archive?",
        )


def _is_there(path: Path, entry: zipfile.ZipInfo) -> bool:
    try:
        return path.is_file() and not path.is_symlink() and path.stat().st_size == entry.file_size
    except OSError:  # such as a name that is too long; writing it tells
        return False


def _check_room(needed: int, archive: Path, folder: Path) -> None:
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise IngestError(
            f"{archive}",
            found=f"{needed} bytes to unpack and {free} free in {folder.parent}",
            expected="room for all of them",
            next_step="free some space, then run again",
        )


def _write(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, top: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.parent.resolve().is_relative_to(top):  # a folder that somebody linked to another disk
            raise IngestError(
                f"{path.parent}", found="a link that leads out of the folder", next_step="remove it, then run again"
            )
        with replacing(path) as temporary, opened.open(entry) as source, temporary.open("wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
    except OSError as error:
        if error.errno not in _NO_PLACE:
            raise
        raise IngestError(
            f"{opened.filename}: {entry.filename[:100]!r}",
            found=f"it cannot be put in its place ({error.strerror})",
            expected="a file name that the disk takes, where nothing else stands",
            next_step="unpack the archive by hand",
        ) from error
