"""A folder as one publication: all of it takes the place of what stood there, or nothing does.

It is written beside its target, with a record of every file in it. By that record a folder of ours is known again: one
that nobody changed may be replaced, any other may not. Single files are replaced in ``tables.files``.
"""

import ctypes
import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vqa_assets import __version__
from vqa_assets.errors import SchemaError, SharingError
from vqa_assets.tables.files import (
    draft_path,
    fault_of,
    is_abandoned,
    json_bytes,
    named_by_process,
    named_for,
    place_to_read,
    read_json_object,
    refusal_of,
    sync_file,
    sync_folder,
    this_process,
)
from vqa_assets.tables.makers import Sealed
from vqa_assets.tables.paths import sibling

RECORD = "vqa-shared.json"
"""The file of a shared folder that says what is in it."""
RECORD_SCHEMA = "vqa-shared-v1"
_OLD = ".old"
_AT_WORKING_FOLDER, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of renameat2(2)
_NOT_EXCHANGED = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)
_NAMES_SHOWN = 3
_STANDS = "what stood there stands"
_Stamps = Mapping[str, tuple[int, int]]
"""Name below a folder → size and time of change of the file."""


@dataclass(frozen=True)
class FolderDraft:
    """A folder in the making at ``path``: ``facts`` go into its record."""

    path: Path
    facts: dict[str, Any] = field(default_factory=dict)

    def write(self, name: str, content: bytes) -> None:
        """Write a file by its name inside the folder, folders of it with slashes."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def copy(self, name: str, source: Path) -> str:
        """Copy a file to a name inside the folder; the SHA-256 of the copy."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place_to_read(source), target)
        return Sealed.of(target).sha256


@contextmanager
def publishing_folder(target: Path, what: str) -> Iterator[FolderDraft]:
    """A draft of the folder ``target`` that takes its place when the block ends well; after an error nothing changes.

    SharingError where something stands there that is no folder of ours, or one that somebody changed, and where the
    disk refuses it. A folder of ours is replaced, whatever it held.
    """
    place = Path(os.path.realpath(target))
    draft = draft_path(place)
    try:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            _tidy(place)
            standing = _replaceable(place)
            shutil.rmtree(draft, ignore_errors=True)  # of an earlier folder of this process
            draft.mkdir()
        except OSError as error:
            raise _not_written(target, error) from error
        made = FolderDraft(draft)
        yield made
        _finish(made, what)
        if _stamps(place) != standing:
            raise _refused(place, "it changed meanwhile", "the folder as it was when this began")
        _put_in_place(draft, place)
    except OSError as error:
        if fault_of(error) is None:
            raise
        raise _not_written(target, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _not_written(target: Path, error: OSError) -> SharingError:
    refusal = refusal_of(error.errno, Path(error.filename) if error.filename else None)
    if refusal.what.startswith("cannot read"):  # a file of the data root
        return SharingError(
            refusal.what,
            found=error.strerror or str(error),
            expected=refusal.expected,
            next_step=f"{refusal.remedy}; {_STANDS}",
        )
    return SharingError(
        f"{target} cannot be written",
        found=error.strerror or str(error),
        expected="a place on a disk with room where this user may write",
        next_step=f"free space, mend the permissions, or name another folder with --to; {_STANDS}",
    )


def held_by(target: Path) -> str:
    """What the folder of ours at ``target`` holds, by its record; empty where there is none."""
    with suppress(SchemaError, OSError):
        return str(read_json_object(target / RECORD).get("what", ""))
    return ""


def _finish(draft: FolderDraft, what: str) -> None:
    """Write the record, and have all of the draft on the disk."""
    files = {name: vars(Sealed.of(draft.path / name)) for name in sorted(_stamps(draft.path))}
    record = {"schema": RECORD_SCHEMA, "what": what, "made_by": f"vqa_assets {__version__}", "files": files}
    draft.write(RECORD, json_bytes({**record, **draft.facts}))
    for name in (*files, RECORD):
        sync_file(draft.path / name)
    for folder, _, _ in os.walk(draft.path):
        sync_folder(Path(folder))


def _stamps(folder: Path) -> _Stamps:
    """Every file below a folder, links as what they are; empty where nothing is there."""
    found = {}
    for inside, folders, names in os.walk(folder):
        # A link to a folder is no folder of ours, and is not followed.
        for name in (*names, *(one for one in folders if Path(inside, one).is_symlink())):
            path = Path(inside, name)
            status = path.lstat()
            found[path.relative_to(folder).as_posix()] = (status.st_size, status.st_mtime_ns)
    return found


def _replaceable(place: Path) -> _Stamps:
    """What stands at a place that may be replaced; SharingError where it is not ours, or not as it was written."""
    if not os.path.lexists(place):
        return {}
    if not place.is_dir():
        raise _refused(place, "something that is no folder", "a folder of ours, an empty one, or nothing there yet")
    with os.scandir(place) as entries:
        names = sorted(entry.name for entry in entries)
    if not names:
        return {}
    ours = "a folder that vqa-assets made, an empty one, or nothing there yet"
    if RECORD not in names:
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        raise _refused(place, f"a folder of something else ({', '.join(names[:_NAMES_SHOWN])}{more})", ours)
    record = read_json_object(place / RECORD)
    files = record.get("files")
    if record.get("schema") != RECORD_SCHEMA or not isinstance(files, dict):
        raise _refused(place, f"a folder whose {RECORD} is none of ours", ours)
    stamps = _stamps(place)
    added = sorted(set(stamps) - {*files, RECORD})
    changed = [name for name, said in files.items() if name in stamps and vars(Sealed.of(place / name)) != said]
    if added or changed:
        found = [f"{names[0]} {word}" for names, word in ((added, "added"), (changed, "changed")) if names]
        raise _refused(place, f"our folder with {' and '.join(found)} since", "the files as they were written")
    return stamps


def _refused(place: Path, found: str, expected: str) -> SharingError:
    return SharingError(
        f"{place}",
        found=found,
        expected=expected,
        next_step="name another folder with --to, or move this one away; nothing was written",
    )


def _put_in_place(draft: Path, place: Path) -> None:
    """Have the draft at its place; what stood there is where the draft was, or gone."""
    if not place.is_dir() or not any(place.iterdir()):
        draft.replace(place)
    elif not _exchanged(draft, place):
        # Two steps: a kill between them leaves the earlier folder under its other name, and the next command puts it
        # back.
        old = sibling(place, f".{this_process()}{_OLD}")
        place.replace(old)
        try:
            draft.replace(place)
        except BaseException:
            old.replace(place)
            raise
        shutil.rmtree(old, ignore_errors=True)
    sync_folder(place.parent)


def _exchanged(one: Path, other: Path) -> bool:
    """Whether two folders changed places in one act, which not every system and file system can."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if not rename(_AT_WORKING_FOLDER, os.fsencode(one), _AT_WORKING_FOLDER, os.fsencode(other), _EXCHANGE):
        return True
    code = ctypes.get_errno()
    if code in _NOT_EXCHANGED:
        return False
    raise OSError(code, os.strerror(code), str(other))


def _tidy(place: Path) -> None:
    """Put back, or remove, what killed processes left beside a place."""
    for path, process in named_by_process(place.parent, _OLD, ".tmp"):
        if path.name != named_for(place, process, path.suffix) or not is_abandoned(path, process):
            continue
        if path.suffix == _OLD and not os.path.lexists(place):
            path.replace(place)
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
