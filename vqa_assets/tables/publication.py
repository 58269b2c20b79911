"""What a stage publishes, as one act: all of its files take the place of what stood, or none does.

Everything is written, validated and on the disk before the first file is replaced. Then a journal beside the data,
``.<name>.publishing.json``, says which draft goes where and which SHA-256 it has: a run that fails puts the earlier
files back, and what a killed process left the next command finishes, or undoes where a draft is not whole
(``settle``). What was published stays named, with its SHA-256, in ``.<name>.published.json``.

How a single file is replaced is in ``files``; what a replay manifest says is in ``provenance``.
"""

import errno
import fcntl
import filecmp
import os
import shutil
import stat
import time
from collections.abc import Container, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa_assets.errors import LockedError, PublicationError, SchemaError
from vqa_assets.printing import logger
from vqa_assets.tables.files import (
    draft_path,
    fault_of,
    found_place,
    is_alive,
    json_bytes,
    kind_of_node,
    named_by_process,
    named_for,
    process_named,
    read_earlier_of,
    read_json_object,
    refusal_of,
    remove_abandoned,
    sync_file,
    sync_folder,
    this_process,
)
from vqa_assets.tables.makers import Sealed, published_path, refuse_newer, seal
from vqa_assets.tables.paths import DataRoot, sibling

JOURNAL_SCHEMA = "vqa-publishing-v1"
PUBLISHED_SCHEMA = "vqa-published-v1"
PATIENCE_S = 5.0
"""How long another process's publication is waited for: its drafts are written, it only replaces files."""
_JOURNAL_SUFFIX = ".publishing.json"
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)
_NO_SYNC = (errno.EINVAL, errno.EOPNOTSUPP)
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_NO_RECORD = (OSError, SchemaError, KeyError, TypeError, AttributeError)
_log = logger("vqa_assets.tables")
_published: list[Path] = []
"""What this process published, in order."""


def published_count() -> int:
    """How many publications this process completed so far."""
    return len(_published)


def what_stands(since: int) -> str:
    """What stands after a failure, where ``since`` is the ``published_count`` from before the work that failed."""
    new = [target.name for target in _published[since:]]
    return f"{', '.join(new)} was published before that, and is kept" if new else "the earlier output is kept"


def journal_path(target: Path) -> Path:
    """The journal of a publication whose first file is ``target``: there only while files are replaced."""
    return sibling(target, _JOURNAL_SUFFIX)


class Publication:
    """The files that one run of a stage publishes together; ``publishing`` opens one.

    A file is written to its ``draft``. Where the earlier file holds just what this run made, ``keep`` leaves it alone.
    A run of several artefacts publishes each as a ``part``.
    """

    def __init__(self, stage: str, target: Path, schema: str) -> None:
        self._stage, self._target, self._schema = stage, target, schema
        self._drafts: dict[Path, Path] = {}
        self._kept: dict[Path, tuple[int, int] | None] = {}
        self._contents: dict[Path, Sealed] = {}
        self._left: dict[Path, list[tuple[Path, str]]] = {}
        self._parts: list[Publication] = []

    @contextmanager
    def part(self, stage: str, target: Path, schema: str) -> Iterator["Publication"]:
        """Files that have a record of their own, named after ``target``, and are published in one act with these.

        After an error in the block they are left out, and what stood there stays.
        """
        part = Publication(stage, target, schema)
        with _abandoned_after_errors(part):
            yield part
        self._parts.append(part)

    def _part_of(self, target: Path) -> "Publication":
        """The part that decided about ``target``; this publication itself where none did."""
        return next((part for part in self._parts if target in part._drafts or target in part._kept), self)

    def draft(self, target: Path) -> Path:
        """Where to write what is to replace ``target``: beside it. A draft that is never written replaces nothing.

        NewerFormatError where a later version of ours wrote what stands there.
        """
        if target not in self._drafts:
            refuse_newer(target)
            # Beside the target, not in a temporary folder: a file replaces another at once on one file system only.
            target.parent.mkdir(parents=True, exist_ok=True)
            remove_abandoned(target, self._left_in(target.parent))
            self._drafts[target] = draft_path(target)
            # Refused now where the folder may not be written, not when the work is done.
            self._drafts[target].touch()
            self._drafts[target].unlink()
        return self._drafts[target]

    def _left_in(self, folder: Path) -> list[tuple[Path, str]]:
        """What killed processes left without a journal: drafts, and backups of publications that never began."""
        if folder not in self._left:
            settle(folder)
            self._left[folder] = [] if _journals(folder) else named_by_process(folder, ".tmp", ".old")
        return self._left[folder]

    def write(self, target: Path, content: bytes) -> None:
        """The bytes that are to replace ``target``."""
        self.draft(target).write_bytes(content)

    def write_json(self, target: Path, value: Any) -> None:
        """Readable JSON with sorted keys that is to replace ``target``; NaN is refused (ValueError)."""
        self.write(target, json_bytes(value))

    def keep(self, target: Path) -> None:
        """Leave the file that stands: it holds what this run made, and its time of change stays, too."""
        if target in self._drafts:
            self._drafts[target].unlink(missing_ok=True)
        self._contents.pop(target, None)
        self._kept[target] = _state(target)

    def replaces(self, target: Path) -> bool:
        """Whether there is a draft to replace ``target``."""
        part = self._part_of(target)
        return target not in part._kept and target in part._drafts and part._drafts[target].exists()

    def lies_at(self, target: Path) -> Path:
        """Where the content that will stand at ``target`` can be read now."""
        return self._part_of(target)._drafts[target] if self.replaces(target) else target

    def content(self, target: Path) -> Sealed:
        """SHA-256 and size of what will stand at ``target``; hashed once, so it must be whole."""
        contents = self._part_of(target)._contents
        if target not in contents:
            # A draft's mark says from here on which bytes it stands for.
            contents[target] = seal(self.lies_at(target)) if self.replaces(target) else Sealed.of(target)
        return contents[target]

    def contents(self, targets: Iterable[Path]) -> dict[Path, Sealed]:
        """The same of several, hashed side by side; those that there will not be are left out."""
        there = [target for target in targets if self.lies_at(target).is_file()]
        # hashing lets go of the interpreter, so threads share the processor's cores
        with ThreadPoolExecutor(thread_name_prefix="hash") as pool:
            return dict(zip(there, pool.map(self.content, there), strict=True))

    def commit(self) -> None:
        """Put every draft in its place, those of its parts too, as one act."""
        all_parts = (*self._parts, self)
        written = [one for part in all_parts for one in part._finish_drafts()]
        kept = {target: state for part in all_parts for target, state in part._kept.items()}
        is_done = False
        while not is_done:  # again where another run published in between: what it published is what stood before
            for part in all_parts:
                part._refuse_other_kept()
            replacements = tuple(_Replacement.of(one, self.lies_at(one), self.content(one)) for one in written)
            is_done = _replace_all(_Journal(journal_path(self._target), self._stage, replacements), kept)
        _published.extend(part._target for part in all_parts)

    def _finish_drafts(self) -> list[Path]:
        """Write the record of this publication; what is to be replaced, the record last, on the disk by now."""
        written = [target for target in self._drafts if self.replaces(target)]
        mark = published_path(self._target)
        _tell_changed(written, mark)
        contents = self.contents([*written, *self._kept])
        files = {os.path.relpath(target, mark.parent): vars(content) for target, content in contents.items()}
        self.write_json(
            mark, {"schema": PUBLISHED_SCHEMA, "stage": self._stage, "format": self._schema, "files": files}
        )
        for target in (*written, mark):
            # A folder would be met only by the replacement, when others are new already.
            if target.is_dir() and not target.is_symlink():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
            sync_file(self._drafts[target])
        return [*written, mark]

    def _refuse_other_kept(self) -> None:
        """LockedError where another file stands by now in the place of one that was left alone: nothing replaces it."""
        for target, state in self._kept.items():
            if _state(target) != state:
                raise LockedError(
                    f"{target}",
                    found="another file than when this run read it: another run published meanwhile, or it was edited",
                    expected="one run at a time",
                    next_step="run again when that is done; what stands there stays",
                )

    def abandon(self) -> None:
        """Remove the drafts that are left, those of its parts too."""
        for draft in self._all_drafts().values():
            # What cannot be removed is removed by the next run: it takes nothing from what stands.
            with suppress(OSError):
                draft.unlink(missing_ok=True)

    def named(self, error: Exception) -> Exception:
        """The error that names a target where the disk refused its draft, in whatever class a library says it."""
        fault = fault_of(error)
        if fault is None:
            return error
        names = [name for name in (getattr(error, "filename", None), getattr(error, "filename2", None)) if name]
        for target, draft in self._all_drafts().items():
            if {str(target), str(draft)} & {str(name) for name in names} or str(draft) in str(error):
                return OSError(fault, os.strerror(fault), str(target))
        if names:
            return error  # another file: one that was read
        return OSError(fault, os.strerror(fault), str(next(reversed(self._drafts), self._target)))

    def _all_drafts(self) -> dict[Path, Path]:
        return {target: draft for part in (*self._parts, self) for target, draft in part._drafts.items()}


def is_as_published(target: Path, first: Path) -> bool:
    """Whether a file holds what was published, in a publication named after ``first``; True where no record says so."""
    try:
        return not _changed([target], published_path(first))
    except _NO_RECORD:
        return True


def _changed(targets: Iterable[Path], mark: Path) -> list[Path]:
    """The files that are not what the record at ``mark`` says: damaged since, or edited.

    Those are looked into that have another size, or changed after the record was written. Raises one of ``_NO_RECORD``.
    """
    recorded, written_ns = read_json_object(mark)["files"], mark.stat().st_mtime_ns
    changed = []
    for target in targets:
        content = recorded.get(os.path.relpath(target, mark.parent))
        if content is None or not target.is_file():
            continue
        there, expected = target.stat(), Sealed(content["sha256"], content["size_bytes"])
        touched = there.st_size != expected.size_bytes or there.st_mtime_ns > written_ns
        if touched and Sealed.of(target) != expected:
            changed.append(target)
    return changed


def _tell_changed(targets: Iterable[Path], mark: Path) -> None:
    """Warn of files that are not what was published under this name, and are made again now."""
    try:
        for target in _changed(targets, mark):
            _log.warning("%s is not what was published (damaged, or edited since) and is made again", target)
    except FileNotFoundError:
        return  # the first publication of this name
    except _NO_RECORD as error:
        _log.warning("%s is damaged and is made again: %s", mark, error)


@contextmanager
def publishing(stage: str, target: Path, schema: str) -> Iterator[Publication]:
    """A publication of ``stage`` that is named after its file ``target``; published when the block ends well.

    ``schema`` names the format of what is published, with its version. After an error nothing is replaced, and what
    the disk refuses, in whatever class a library says it, is an OSError that names the target. PublicationError where
    the earlier files could not be put back.
    """
    publication = Publication(stage, target, schema)
    with _abandoned_after_errors(publication):
        yield publication
        publication.commit()
    publication.abandon()


@contextmanager
def _abandoned_after_errors(publication: Publication) -> Iterator[None]:
    """Remove the drafts after an error of the block, which is raised as the error that names a target."""
    try:
        yield
    except PublicationError:
        raise  # its drafts are needed by whoever settles it
    except Exception as error:
        named = publication.named(error)
        publication.abandon()
        if named is error:
            raise
        raise named from error
    except BaseException:
        publication.abandon()
        raise


@dataclass(frozen=True)
class _Replacement:
    """One file of a journal. ``before`` are size and time of change of what stood, None where nothing did.

    ``inode`` is the draft's; ``is_own`` where this process wrote it.
    """

    target: Path
    draft: Path
    backup: Path
    content: Sealed
    before: tuple[int, int] | None
    inode: int
    is_own: bool = False

    @classmethod
    def of(cls, target: Path, draft: Path, content: Sealed) -> "_Replacement":
        backup = sibling(target, f".{this_process()}.old")
        return cls(target, draft, backup, content, _state(target), draft.lstat().st_ino, is_own=True)

    @classmethod
    def read(cls, value: Mapping[str, Any], folder: Path) -> "_Replacement":
        """From a journal in ``folder``; ValueError where it says what no journal of ours says."""
        target, draft, backup = (
            Path(os.path.normpath(folder / str(value[name]))) for name in ("target", "draft", "backup")
        )
        if b"\0" in os.fsencode(target):  # which also is where it is a name that no file can have
            raise ValueError("a name with a zero byte")
        # A journal that came from elsewhere must not move files about: drafts and backups are ours, beside the target.
        if draft.parent != target.parent or backup.parent != target.parent:
            raise ValueError("a draft that is not beside its target")
        process = process_named(draft.name)
        if (draft.name, backup.name) != tuple(named_for(target, process, suffix) for suffix in (".tmp", ".old")):
            raise ValueError(f"a draft called {draft.name} and a backup called {backup.name}")
        before = value["before"]
        content = Sealed(str(value["sha256"]), int(value["size_bytes"]))
        state = None if before is None else (int(before[0]), int(before[1]))
        return cls(target, draft, backup, content, state, int(value["inode"]))

    def as_json(self, folder: Path) -> dict[str, Any]:
        paths = {"target": self.target, "draft": self.draft, "backup": self.backup}
        # From where the journal is found: a link on the way to it leads others past where ".." leads in words.
        shown = {name: os.path.relpath(found_place(path), folder) for name, path in paths.items()}
        return {**shown, **vars(self.content), "before": self.before, "inode": self.inode}

    def back_up(self) -> None:
        """Have what stands under a second name."""
        if self.before is None:
            return
        self.backup.unlink(missing_ok=True)
        try:
            # A link costs nothing and keeps owner and times; a link in the target's place is kept as a link.
            os.link(self.target, self.backup, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            shutil.copy2(self.target, self.backup, follow_symlinks=False)
            sync_file(self.backup)

    @property
    def is_done(self) -> bool:
        """Whether the new file stands."""
        # Of this process's own drafts the file itself is known: no disk that fails to be read can hide it.
        return self._is_draft if self.is_own else _holds(self.target, self.content)

    @property
    def _is_draft(self) -> bool:
        """Whether the file at the target is the one that was the draft."""
        return os.path.lexists(self.target) and self.target.lstat().st_ino == self.inode

    @property
    def can_be_done(self) -> bool:
        """Whether the draft is whole, and what it is to replace is still what it was."""
        return (_state(self.target) == self.before or self._is_backed_up) and _holds(self.draft, self.content)

    @property
    def _is_backed_up(self) -> bool:
        """Whether a backup of its own holds just what stands there: in a copy of the folder times are others."""
        with suppress(OSError):
            # What is written into a file is in the backup, too, where that is a second name of it.
            is_copy = not self.target.samefile(self.backup)
            return is_copy and filecmp.cmp(self.target, self.backup, shallow=False)
        return False

    def undo(self) -> None:
        """Have the earlier file stand again where the new one does; what somebody else put there since is left."""
        if self.is_done:
            if self.before is None and self._is_draft:  # never a file of those bytes that somebody else put there
                self.target.unlink()
            elif self.before is not None and self.backup.exists():
                self.backup.replace(self.target)
        elif self.before is not None and not os.path.lexists(self.target) and self.backup.exists():
            self.backup.replace(self.target)

    def tidy(self) -> None:
        """Remove what is left beside the target."""
        self.draft.unlink(missing_ok=True)
        self.backup.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Journal:
    """Which drafts replace which files, as it stands in ``path`` while they do."""

    path: Path
    stage: str
    replacements: tuple[_Replacement, ...]

    @classmethod
    def read(cls, path: Path) -> "_Journal":
        """SchemaError where the file is damaged, or not ours."""
        document = read_json_object(path)
        if document.get("schema") != JOURNAL_SCHEMA:
            raise SchemaError(f"{path}", found=f"schema {document.get('schema')!r}", expected=JOURNAL_SCHEMA)
        try:
            folder = Path(os.path.realpath(path.parent))
            replacements = tuple(_Replacement.read(one, folder) for one in document["files"])
            return cls(path, str(document["stage"]), replacements)
        except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
            raise SchemaError(f"{path}", found=f"no journal ({error})", expected=JOURNAL_SCHEMA) from error

    def as_bytes(self) -> bytes:
        folder = Path(os.path.realpath(self.path.parent))
        files = [one.as_json(folder) for one in self.replacements]
        return json_bytes({"schema": JOURNAL_SCHEMA, "stage": self.stage, "files": files})

    @property
    def folders(self) -> set[Path]:
        """Those whose entries change."""
        return {self.path.parent, *(one.target.parent for one in self.replacements)}

    def finish(self) -> None:
        """Put every draft in its place that is not there yet."""
        for one in self.replacements:
            if not one.is_done:
                one.draft.replace(one.target)
        _sync_folders(self.folders)

    def undo(self) -> None:
        """Put every earlier file back."""
        for one in reversed(self.replacements):
            one.undo()
        _sync_folders(self.folders)

    def withdraw(self) -> None:
        """Remove the journal and the backups before anything was replaced."""
        self.path.unlink()
        for one in self.replacements:
            one.backup.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove backups, what is left of drafts, and last the journal itself."""
        # In this order: while the journal is there, whoever meets it knows what the others are.
        for one in self.replacements:
            one.tidy()
        self.path.unlink(missing_ok=True)


def _replace_all(journal: _Journal, kept: Mapping[Path, tuple[int, int] | None]) -> bool:
    """Replace the files of a journal as one act: where one cannot be replaced, all are put back.

    False, and nothing is replaced, where another file stands by now than the journal says, or one in the place of what
    is ``kept``.
    """
    draft = draft_path(journal.path)
    remove_abandoned(journal.path, named_by_process(draft.parent, draft.suffix))
    with draft.open("wb") as file:
        # Held until all is done, by the system: a killed process's journal is free, and a living one's is not.
        with _let_pass(_NO_LOCKS):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            for one in journal.replacements:
                one.back_up()
            file.write(journal.as_bytes())
            file.flush()
            os.fsync(file.fileno())
            _sync_folders(journal.folders)  # the names of drafts and backups, before a journal speaks of them
            _put_in_place(draft, journal)
        except BaseException:
            with suppress(OSError):
                for one in journal.replacements:
                    one.backup.unlink(missing_ok=True)
            raise
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
        stood = {**kept, **{one.target: one.before for one in journal.replacements}}
        if any(_state(target) != state for target, state in stood.items()):
            journal.withdraw()
            return False
        try:
            _sync_folders([journal.path.parent])
            for one in journal.replacements:
                one.draft.replace(one.target)
            _sync_folders(journal.folders)
        except BaseException as error:
            _put_back(journal, error)
            raise
        # All new files stand; what is left beside them the next command tidies up.
        with suppress(OSError):
            journal.close()
    return True


@contextmanager
def _let_pass(codes: Container[int | None]) -> Iterator[None]:
    """Let OSErrors of these numbers pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in codes:
            raise


def _put_in_place(draft: Path, journal: _Journal) -> None:
    """Have the journal at its path, where another run's may be: that one's is waited for, or settled first."""
    until = time.monotonic() + PATIENCE_S
    while True:
        settle(journal.path.parent)
        try:
            os.link(draft, journal.path)  # unlike a replacement it is refused where another is there
        except FileExistsError as error:
            _refuse_no_file(journal.path)
            if time.monotonic() < until:
                continue  # one run after the other may be before this one
            raise LockedError(
                f"{journal.path.parent}",
                found=f"another run is publishing ({journal.path.name})",
                expected="one run at a time",
                next_step="run again when it is done; the earlier output is kept",
            ) from error
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            draft.replace(journal.path)
        return


def _refuse_no_file(path: Path) -> None:
    """SchemaError where something stands in a journal's place that is no file."""
    with suppress(FileNotFoundError):  # gone since
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode):
            what = "a link" if stat.S_ISLNK(mode) else kind_of_node(mode)
            raise SchemaError(
                f"{path}",
                found=f"{what} where a publication has its journal",
                expected="nothing there",
                next_step="move it away, then run again; the earlier output is kept",
            )


def _put_back(journal: _Journal, error: BaseException) -> None:
    """Undo what was replaced; PublicationError where that is refused, too: then the journal stays."""
    try:
        journal.undo()
        journal.close()
    except OSError as second:
        raise PublicationError(
            f"{journal.path.parent}: the files of {journal.stage} are of two runs",
            found=f"{error} while they were replaced, {second} while they were put back",
            expected="all of one run",
            next_step=f"{refusal_of(fault_of(second), None).remedy}; the next command makes them whole by "
            f"{journal.path.name}",
        ) from error


def settle(*folders: Path, may_write: bool = True) -> None:
    """Finish or undo what killed processes left half published in these folders; look before anything is read.

    What a living process publishes is waited for a moment, then left alone. Where this process cannot write, or may
    not, it says so, and ``place_to_read`` (``files``) names the earlier files.
    """
    for folder in dict.fromkeys(folders):
        for path in _journals(folder):
            _settle(path, may_write)


def settle_root(root: DataRoot, *, may_write: bool = True) -> None:
    """``settle`` of every folder of a data root that stages publish into."""
    try:
        folders = [Path(one.path) for one in os.scandir(root.path) if one.is_dir() and not one.name.startswith(".")]
    except OSError:
        return  # whoever reads it is told
    settle(root.path, *folders, root.experiments(), may_write=may_write)


def _journals(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            # Nothing but a file: whatever opened a pipe would wait for good.
            names = [e.name for e in entries if e.name.endswith(_JOURNAL_SUFFIX) and e.is_file(follow_symlinks=False)]
    except OSError:
        return []
    return [folder / name for name in sorted(names) if name.startswith(".")]


def _settle(path: Path, may_write: bool) -> None:
    try:
        with _locked(path) as is_free:
            if is_free and may_write:
                _settle_locked(path)
            elif is_free:
                _read_earlier(path, "nothing is written here")
            elif path.exists():
                _log.warning("%s: another run is publishing; its files may be of two runs until it is done", path)
    except FileNotFoundError:
        return  # settled by another
    except OSError as error:
        _read_earlier(path, error.strerror or str(error))


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether the journal's process is gone; it is held then. FileNotFoundError where the journal is gone."""
    until = time.monotonic() + PATIENCE_S
    while True:
        file = _opened(path)
        try:
            is_free = _lock_until(file, until)
            # Another process may have settled it meanwhile, and a third one have its own there.
            if not is_free or _is_same(file, path):
                yield is_free
                return
        finally:
            os.close(file)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR)
    except PermissionError:
        return os.open(path, os.O_RDONLY)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        return os.open(path, os.O_RDONLY)


def _lock_until(file: int, until: float) -> bool:
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        else:
            return True


def _is_same(file: int, path: Path) -> bool:
    """Whether the path is still that of the open file."""
    there = path.stat()
    return (there.st_dev, there.st_ino) == (os.fstat(file).st_dev, os.fstat(file).st_ino)


def _settle_locked(path: Path) -> None:
    try:
        journal = _Journal.read(path)
    except SchemaError as error:
        _undo_without_journal(path, error)
        return
    if all(one.is_done or one.can_be_done for one in journal.replacements):
        journal.finish()
        what = "finished"
    else:
        journal.undo()
        what = "undone: the earlier files stand"
    journal.close()
    _log.warning("%s: a publication of %s was cut short; it is %s", path.parent, journal.stage, what)


def _undo_without_journal(path: Path, error: SchemaError) -> None:
    """Of a journal that cannot be read the backups are found by their names."""
    for backup, process in named_by_process(path.parent, ".old"):
        if not is_alive(process):
            backup.replace(path.with_name(backup.name.removeprefix(".").rsplit(".", 2)[0]))
    path.unlink()
    _log.warning("%s: a publication was cut short and its journal is damaged; the earlier files stand", error)


def _read_earlier(path: Path, why: str) -> None:
    """Have the earlier files of an unsettled publication read in place of those that are new already."""
    words = "%s: a publication was cut short and cannot be settled here (%s): the earlier files are read"
    _log.warning(words, path, why)
    with suppress(SchemaError, OSError):
        done = {one: one.is_done for one in _Journal.read(path).replacements}
        if not all(done.values()):
            read_earlier_of({one.target: one.backup for one, new in done.items() if new}, while_there=path)


def _holds(path: Path, content: Sealed) -> bool:
    try:
        return path.stat().st_size == content.size_bytes and Sealed.of(path) == content
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False


def _state(path: Path) -> tuple[int, int] | None:
    """Size and time of change of what stands at a path, not of what a link there leads to; None for nothing."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns


def _sync_folders(folders: Iterable[Path]) -> None:
    """Have the names in these folders on the disk, where its file system has such a thing."""
    for folder in sorted(set(folders)):
        with _let_pass(_NO_SYNC):
            sync_folder(folder)
