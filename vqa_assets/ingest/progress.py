"""Download progress that survives a kill: an append-only log folded into a JSON file.

The JSON (``{"0001.mp4": {"state": "done"}}``) is what people read and edit; rewriting it for each clip is quadratic, so
the truth while a run lasts is the log, which holds what the JSON does not have yet. Its first line names the JSON that
it continues, by SHA-256: what is later is a matter of that, and of no clock.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any, Literal

from vqa_assets.errors import IngestError
from vqa_assets.printing import logger
from vqa_assets.tables.files import no_file_at, write_bytes

State = Literal["done", "failed", "retry"]
LEAST_CLIPS_BETWEEN_WRITES = 50
LEAST_SECONDS_BETWEEN_WRITES = 10.0
_SHARE_OF_TIME = 100
_CONTINUES = "continues"
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one clip's download: ``done``, ``failed`` for good, or ``retry``: no whole video came.

    ``address`` is where it failed (empty in files of older versions: wherever). ``sha256`` is of the bytes that came
    and were not kept, ``runs`` the number of runs in a row to which the same came.
    """

    state: State
    reason: str = ""
    address: str = ""
    sha256: str = ""
    runs: int = 0

    def as_json(self) -> dict[str, str | int]:
        """The entry as the progress file holds it: what it does not know is left out."""
        return {name: value for name in _KEYS if (value := getattr(self, name))}

    def forbids(self, address: str) -> bool:
        """Whether the clip is not to be asked for there."""
        return self.state == "failed" and self.address in ("", address)


_KEYS = tuple(field.name for field in fields(Entry))
DONE = Entry("done")
_DONE_JSON = DONE.as_json()
_text = json.JSONEncoder(ensure_ascii=False).encode
_ascii = json.JSONEncoder().encode


class Progress:
    """The progress of one corpus folder; use it as a context manager, so that an interrupt folds the log too.

    One thread writes. IngestError where the file is not what it should be: it is never overwritten then.
    """

    def __init__(self, path: Path, now: Callable[[], float] | None = None) -> None:
        self.path, self._now = path, now or time.monotonic
        self.log_path = log_of(path)
        self._entries, self._json_sha256 = _read_json(path)
        self._since_write = 0
        self._written_at = self._now()
        self._write_took_s = 0.0
        self._dirty = self._fold()
        self._log: IO[bytes] | None = None

    def __enter__(self) -> "Progress":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._dirty:
            self.write()
        # What the log still holds is in the JSON now, or lost to a later edit of it: it must not come back.
        self._log = self.log_path.open("ab")
        self._empty_log(self._log)
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            if self._dirty:
                self.write()
            self.log_path.unlink(missing_ok=True)
        finally:
            if self._log is not None:
                self._log.close()

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Clip name → entry."""
        return self._entries

    def set(self, name: str, entry: Entry) -> None:
        """Note one entry."""
        self.set_all({name: entry})

    def set_all(self, entries: Mapping[str, Entry]) -> None:
        """Note entries by clip name: into the log at once, into the JSON when a write is due."""
        new = {name: entry for name, entry in entries.items() if self._entries.get(name) != entry}
        if not new:
            return
        self._entries.update(new)
        self._dirty = True
        if self._log is not None:
            lines = [json.dumps({"name": name, **entry.as_json()}) for name, entry in new.items()]
            if not self._log.tell():
                lines.insert(0, json.dumps({_CONTINUES: self._json_sha256}))
            self._log.write("".join(f"{line}\n" for line in lines).encode())
            self._log.flush()
        self._since_write += len(new)
        if self._write_due():
            self.write()

    def write(self) -> None:
        """Replace the JSON by all entries, then empty the log."""
        begun = self._now()
        content = _json_of(self._entries)
        write_bytes(self.path, content)
        self._json_sha256 = hashlib.sha256(content).hexdigest()
        if self._log is not None:
            self._empty_log(self._log)
        self._dirty, self._since_write = False, 0
        self._written_at = self._now()
        self._write_took_s = self._written_at - begun

    def _write_due(self) -> bool:
        # A large file takes long to write: the pause grows with it, so that writing takes a hundredth of the time.
        pause = max(LEAST_SECONDS_BETWEEN_WRITES, self._write_took_s * _SHARE_OF_TIME)
        return self._since_write >= LEAST_CLIPS_BETWEEN_WRITES and self._now() - self._written_at >= pause

    def _empty_log(self, log: IO[bytes]) -> None:
        log.truncate(0)
        log.seek(0)

    def _fold(self) -> bool:
        """Take in the log a killed run left; a JSON that was edited since wins over it."""
        if not self.log_path.exists():
            return False
        if what := no_file_at(self.log_path):
            raise _broken(self.log_path, what)
        continued, lines = _log_lines(self.log_path)
        if continued is None:  # a log of an older version: which is later only the clock can say
            if self.path.exists() and self.path.stat().st_mtime_ns > self.log_path.stat().st_mtime_ns:
                return False
        # Another JSON than the log continues was edited since, or has what is in the log already.
        elif continued != self._json_sha256:
            return False
        entries = dict(_log_entries(self.log_path, lines))
        self._entries.update(entries)
        return bool(entries)


def is_progress(path: Path) -> bool:
    """Whether a file is the progress of some corpus's downloads."""
    try:
        _read_json(path)
    except (IngestError, OSError):
        return False
    return True


def is_progress_log(path: Path) -> bool:
    """Whether a file is the log of such progress: it says so, or its lines are entries but for the last one.

    The last line a kill may have torn.
    """
    continued, lines = _log_lines(path)
    try:
        for line in lines[:-1] if continued is None else ():
            value = json.loads(line)
            _entry({k: v for k, v in value.items() if k != "name"}, path, str(value["name"]))
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError, IngestError):
        return False
    return continued is not None or len(lines) > 1


def log_of(progress: Path) -> Path:
    """The log beside a progress file."""
    return progress.with_name(f"{progress.stem}.log" if progress.suffix != ".log" else f"{progress.name}.log")


def _json_of(entries: Mapping[str, Entry]) -> bytes:
    """The object with a clip on each line: Python's own indentation takes ten times as long."""

    def json_text(text: Callable[[object], str]) -> str:
        lines = (f"{text(name)}: {text(entry.as_json())}" for name, entry in sorted(entries.items()))
        return "{\n" + ",\n".join(lines) + "\n}\n"

    try:
        return json_text(_text).encode()
    except UnicodeEncodeError:  # half a surrogate pair, which a person's JSON may hold
        return json_text(_ascii).encode()


def _log_lines(path: Path) -> tuple[str | None, list[bytes]]:
    """The SHA-256 of the JSON that a log continues, None where it does not say; and the lines of its entries."""
    lines = path.read_bytes().splitlines()
    try:
        return str(json.loads(lines[0])[_CONTINUES]), lines[1:]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None, lines


def _log_entries(path: Path, lines: Iterable[bytes]) -> list[tuple[str, Entry]]:
    """The whole lines of a log; a kill may have torn the last one."""
    entries = []
    for line in lines:
        try:
            value = json.loads(line)
            entries.append((str(value.pop("name")), _entry(value, path, "a log line")))
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            _log.warning("%s: a torn line is left out: %.80r", path, line)
    return entries


def _read_json(path: Path) -> tuple[dict[str, Entry], str]:
    """The entries of the JSON, and its SHA-256; none and an empty text where there is no JSON."""
    if not path.exists():
        return {}, ""
    if what := no_file_at(path):
        raise _broken(path, what)
    content = path.read_bytes()
    try:
        value = json.loads(content or b"{}", object_hook=_shared)
    except (ValueError, RecursionError) as error:
        raise _broken(path, f"not JSON ({error})") from error
    if not isinstance(value, dict):
        raise _broken(path, f"a JSON {type(value).__name__}")
    entries = {name: _entry(entry, path, name) for name, entry in value.items()}
    return entries, hashlib.sha256(content).hexdigest()


def _shared(value: dict[str, Any]) -> dict[str, Any]:
    """What nearly all entries say is one object for them all, already while the file is parsed."""
    return _DONE_JSON if value == _DONE_JSON else value


def _entry(value: object, path: Path, name: str) -> Entry:
    if value == _DONE_JSON:  # nearly all are: one object for them all
        return DONE
    if isinstance(value, dict) and value.get("state") in ("done", "failed", "retry"):
        reason, address, sha256 = (str(value.get(key, "")) for key in ("reason", "address", "sha256"))
        runs = value.get("runs", 0)
        if isinstance(runs, int):
            return Entry(value["state"], reason, address, sha256, runs)
    raise _broken(path, f"{name!r} has {value!r:.200}")


def _broken(path: Path, content: str) -> IngestError:
    return IngestError(
        f"{path}",
        found=content,
        expected='{"<clip>": {"state": "done"}} or {"state": "failed", "reason": "…"}',
        next_step="correct the file, or delete it: present clips stay, clips that failed for good are tried again",
    )
