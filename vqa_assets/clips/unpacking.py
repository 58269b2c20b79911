"""Zip files unpacked so that no entry leaves its folder, and no finished file is written twice."""

import errno
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vqa_assets.errors import IngestError
from vqa_assets.tables.files import replacing

_JUNK = ("__MACOSX", ".DS_Store")
_PLAIN = (0, stat.S_IFREG, stat.S_IFDIR)
_ENCRYPTED = 0x1
_NO_PLACE = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)


@dataclass(frozen=True)
class Unpacked:
    """How many files an archive holds, and how many of them had to be written."""

    files: int
    written: int


def unpack_zip(archive: Path, folder: Path) -> Unpacked:
    """Unpack into ``folder``; a top folder of that name in the archive is that folder. Files of the right size stay.

    IngestError, before anything is written, where an entry would leave the folder, is a link or encrypted, or where
    there is no room; and where the archive's bytes are damaged.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            wanted = [(entry, folder / name) for entry, name in _checked(opened, archive, folder)]
            todo = [(entry, path) for entry, path in wanted if not _is_there(path, entry)]
            _check_room(sum(entry.file_size for entry, _ in todo), archive, folder)
            for entry, path in todo:
                _write(opened, entry, path, folder.resolve())
    except (zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error) as error:
        raise IngestError(
            f"{archive}", found=f"a damaged archive ({error})", next_step="delete it, then run again"
        ) from error
    return Unpacked(len(wanted), len(todo))


def _checked(opened: zipfile.ZipFile, archive: Path, folder: Path) -> Iterator[tuple[zipfile.ZipInfo, str]]:
    """Every file of the archive with its name inside the folder."""
    seen: set[str] = set()
    for entry in opened.infolist():
        parts = PurePosixPath(entry.filename).parts
        _refuse(entry, archive, _why_unsafe(entry))
        inside = parts[1:] if parts and parts[0] == folder.name else parts
        if entry.is_dir() or not inside or any(part in _JUNK for part in parts):
            continue
        name = "/".join(inside)
        _refuse(entry, archive, "stands there twice" if name in seen else "")
        seen.add(name)
        yield entry, name


def _why_unsafe(entry: zipfile.ZipInfo) -> str:
    path = PurePosixPath(entry.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or ":" in entry.filename.split("/")[0]:
        return "leaves the folder"
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
        if not path.parent.resolve().is_relative_to(top):
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
