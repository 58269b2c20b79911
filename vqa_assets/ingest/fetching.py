"""What a run fetches: how many bytes are to come and whether they fit, and a corpus's own archives, on request.

Clips one by one are fetched in ``clip_task``; how a transfer goes is in ``clips``.
"""

import shutil
import threading
import zipfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa_assets.clips.archives import LargeFile, fetch_resuming, unpack_zip
from vqa_assets.clips.containers import HEAD_BYTES, kind_of_text
from vqa_assets.clips.downloading import DownloadLimits
from vqa_assets.clips.folders import ClipFolders, ClipStore
from vqa_assets.clips.hashing import hash_file
from vqa_assets.clips.work import clock, stopping
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.corpus import Archive
from vqa_assets.errors import DownloadError, IngestError, SchemaError, SettingsError
from vqa_assets.ingest.layout import ARCHIVES
from vqa_assets.ingest.settings import IngestSettings
from vqa_assets.printing import logger, size_in_words
from vqa_assets.provenance import clean_url, utc_text
from vqa_assets.tables.files import read_json_object
from vqa_assets.tables.publication import publishing

LINE_BYTES_PER_S = 12_500_000
"""A line of 100 Mbit/s: the time that a log line gives is an example, nobody knows the server's pace beforehand."""
SCHEMA = "fetch-manifest-v1"
FETCH_MANIFEST = "fetch_manifest.json"
_MOST_ARCHIVE_BYTES = 1 << 42
"""A clip's bound would refuse archives of 100 GB."""
_ANSWERS = ("HTML", "XML", "JSON")
"""What a server says in words where it does not give a table."""
_LEFT_OUT_SHOWN = 10
_log = logger("vqa_assets.ingest")


@dataclass(frozen=True)
class FetchPlan:
    """Clips to fetch: how many have a size known from an earlier run and how many bytes, and how many are estimated."""

    sized: int
    sized_bytes: int
    estimated: int
    estimated_bytes: int

    @classmethod
    def of(cls, names: Iterable[str], sizes: Mapping[str, int], bytes_per_clip: int) -> "FetchPlan":
        """The plan for clips of these names; ``sizes`` are those that an earlier run saw, by clip name."""
        every = [sizes.get(name) for name in names]
        sized = [size for size in every if size is not None]
        estimated = len(every) - len(sized)
        return cls(len(sized), sum(sized), estimated, estimated * bytes_per_clip)

    @property
    def clips(self) -> int:
        """All clips to fetch."""
        return self.sized + self.estimated

    @property
    def total_bytes(self) -> int:
        """All bytes to fetch, estimates among them."""
        return self.sized_bytes + self.estimated_bytes

    def in_words(self) -> str:
        """Bytes, what they rest on, and time, in words."""
        return f"{self.bytes_in_words()}, {clock(self.total_bytes / LINE_BYTES_PER_S)} at 100 Mbit/s"

    def bytes_in_words(self) -> str:
        """Bytes in words; where some are estimated, by what."""
        total = size_in_words(self.total_bytes)
        if not self.estimated:
            return total
        which = f", {self.estimated} clips of them" if self.sized else ""
        return f"about {total}{which} at the declared {size_in_words(self.estimated_bytes // self.estimated)} a clip"


def free_bytes(folder: Path) -> int:
    """The free space for a folder, whether it is there yet or not."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(there).free


def check_space(corpus: Corpus, fetch: FetchPlan, folders: ClipFolders) -> None:
    """IngestError where clips of known size do not fit on the disk; a warning where an estimate does not.

    Nobody knows how much an object store takes.
    """
    folder = folders.target
    if isinstance(folder, ClipStore):
        return
    free = free_bytes(folder)
    remedy = f"free some space in {folder}, move the corpus to a larger disk, or set max_rows"
    if fetch.sized_bytes > free:
        raise IngestError(
            f"{corpus.name}: the clips to fetch do not fit on the disk",
            found=f"{size_in_words(free)} free",
            expected=f"{size_in_words(fetch.sized_bytes)} for {fetch.sized} clips whose sizes an earlier run saw",
            next_step=remedy,
        )
    if fetch.total_bytes > free:
        _log.warning(
            "%s: %d clips to fetch need %s, and %s are free; %s",
            corpus.name,
            fetch.clips,
            fetch.bytes_in_words(),
            size_in_words(free),
            remedy,
        )


def archives_to_come(corpus: Corpus, settings: IngestSettings, folder: Path) -> dict[Archive, str]:
    """The archives that ``fetch_archives`` would fetch or unpack → their addresses, empty where a file is there.

    SettingsError for a corpus without archives, or without an address for them.
    """
    _refuse_without_archives(corpus, settings)
    records = _read_fetch_manifest(folder)
    fetch = _ArchiveFetch(corpus, settings.archive_base, folder, threading.Event())
    return {
        archive: "" if fetch.path_of(archive).is_file() else fetch.url_of(archive)
        for archive in corpus.archives
        if not fetch.is_done(archive, records.get(archive.file, {}))
    }


def fetch_archives(corpus: Corpus, settings: IngestSettings, folder: Path) -> None:
    """Fetch and unpack what is not there yet; an interrupted fetch goes on where it stopped.

    SettingsError for a corpus without archives, IngestError where one cannot be fetched, is too small or is not safe.
    """
    _refuse_without_archives(corpus, settings)
    fetch = _ArchiveFetch(corpus, settings.archive_base, folder, threading.Event())
    records = _read_fetch_manifest(folder)
    # On a thread of its own, so that an interrupt is seen at once and can stop it.
    with ThreadPoolExecutor(1) as executor, stopping(fetch.stop, executor):
        for archive in corpus.archives:
            record = records.get(archive.file, {})
            if record := executor.submit(fetch.fetch, archive, record).result():
                records[archive.file] = record
            with publishing("fetch", folder / FETCH_MANIFEST, SCHEMA) as publication:
                publication.write_json(
                    folder / FETCH_MANIFEST, {"schema": SCHEMA, "corpus": corpus.name, "archives": records}
                )


def _refuse_without_archives(corpus: Corpus, settings: IngestSettings) -> None:
    if not corpus.archives:
        raise SettingsError(
            f"{corpus.name}: fetch",
            found="true",
            expected="false: this corpus has no archives that can be fetched",
            next_step=corpus.acquisition.steps,
        )
    if not settings.archive_base:
        raise SettingsError(
            f"{corpus.name}: archive_base",
            found="nothing",
            expected="the address of the folder that its archives are in",
            next_step="set it for this run, in ingest.toml or in the declaration",
        )


def _read_fetch_manifest(folder: Path) -> dict[str, Any]:
    """What the fetch manifest says of each archive; nothing, with a warning, where it is damaged."""
    path = folder / FETCH_MANIFEST
    if not path.is_file():
        return {}
    archives: Any = None
    damage = "archives of another shape"
    try:
        archives = read_json_object(path).get("archives")
    except SchemaError as error:
        damage = error.found
    if _are_archives(archives):
        return dict(archives)
    _log.warning("%s is damaged (%s) and is made again: what is unpacked is not written twice", path, damage)
    return {}


def _are_archives(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(record, dict) and isinstance(record.get("files", 1), int) for record in value.values()
    )


def _why_another(archive: Archive, path: Path) -> str:
    """What a file that came is instead of an archive or a table; empty where it may be what it is called."""
    if archive.folder is not None:
        return "" if zipfile.is_zipfile(path) else " that are no zip archive"
    with path.open("rb") as file:
        kind = kind_of_text(file.read(HEAD_BYTES))
    return f" of {kind}" if kind in _ANSWERS else ""


def _files_in(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*")) if folder.is_dir() else 0


@dataclass(frozen=True)
class _ArchiveFetch:
    """One fetch of a corpus's archives from ``base`` into its folder."""

    corpus: Corpus
    base: str
    folder: Path
    stop: threading.Event

    def path_of(self, archive: Archive) -> Path:
        """Where an archive is fetched to."""
        return self.folder / (archive.file if archive.folder is None else f"{ARCHIVES}/{archive.file}")

    def url_of(self, archive: Archive) -> str:
        """Where an archive is fetched from."""
        return f"{self.base.rstrip('/')}/{archive.file}"

    def is_done(self, archive: Archive, record: dict[str, Any]) -> bool:
        """Whether an archive is unpacked, as ``record``, its line of the fetch manifest, says; any other is there."""
        if archive.folder is None:
            return self.path_of(archive).is_file()
        unpacked = bool(record) and _files_in(self.folder / archive.folder) >= record.get("files", 1)
        path = self.path_of(archive)
        # A person may delete an archive once it is unpacked, to have the space back.
        return unpacked and (not path.is_file() or path.stat().st_size == record.get("size_bytes"))

    def fetch(self, archive: Archive, record: dict[str, Any]) -> dict[str, Any]:
        """Fetch and unpack one archive; what the fetch manifest says of it, where ``record`` is what it said before."""
        if archive.folder is None:
            return self._fetch_as_it_is(archive, record)
        path, folder = self.path_of(archive), self.folder / archive.folder
        if not path.is_file() and self.is_done(archive, record):
            _log.info("%s: %s is unpacked already", self.corpus.name, archive.file)
            return record
        if not (path.is_file() and path.stat().st_size == record.get("size_bytes")):
            record = self._fetched(archive, path)
        unpacked = unpack_zip(path, folder)
        _log.info("%s: %s: %d files, %d unpacked now", self.corpus.name, archive.file, unpacked.files, unpacked.written)
        if unpacked.left_out:
            _log.warning(
                "%s: %s: settings are not unpacked: %s",
                self.corpus.name,
                archive.file,
                ", ".join(unpacked.left_out[:_LEFT_OUT_SHOWN]),
            )
        return {**record, "folder": archive.folder, "files": unpacked.files}

    def _fetch_as_it_is(self, archive: Archive, record: dict[str, Any]) -> dict[str, Any]:
        """As ``fetch``, for a file that is no archive: one that is there stays, whoever put it there."""
        if self.is_done(archive, record):
            return record
        try:
            return self._fetched(archive, self.path_of(archive))
        except IngestError as error:
            gone = isinstance(error.__cause__, DownloadError) and error.__cause__.permanent
            if archive.needed or not gone:
                raise
            _log.warning("%s: %s is gone (%s), and done without", self.corpus.name, archive.file, error.found)
            return {}

    def _fetched(self, archive: Archive, path: Path) -> dict[str, Any]:
        """Fetch a file, and say what the fetch manifest says of it."""
        url = self.url_of(archive)
        self._download(archive, url, path)
        content = hash_file(path, self.stop)
        record = {"url": clean_url(url), "sha256": content.sha256, "size_bytes": content.size_bytes}
        return {**record, "fetched_at_utc": utc_text()}

    def _download(self, archive: Archive, url: str, path: Path) -> None:
        """Fetch one archive unless a person put it there; IngestError where it is none, which goes if we fetched it."""
        what = f"{self.corpus.name}: {archive.file}"
        by_hand = path.is_file()
        if not by_hand:
            try:
                limits = DownloadLimits(max_bytes=_MOST_ARCHIVE_BYTES)
                fetch_resuming(LargeFile(url, path, self.stop, _log.info, limits))
            except DownloadError as error:
                raise IngestError(
                    what,
                    found=error.reason,
                    expected=f"the file at {clean_url(self.base)}",
                    next_step="run again, what has arrived is kept; or unpack it by hand: "
                    + self.corpus.acquisition.steps,
                ) from error
        size = path.stat().st_size
        why = "" if by_hand else _why_another(archive, path)
        if size < archive.min_bytes or why:
            next_step = "is archive_base the right address? The file was removed"
            if by_hand:
                # What a person put there is theirs, however little it is.
                next_step = f"replace {path} by the whole file, or remove it to have it fetched; it was left as it is"
            else:
                path.unlink()
            raise IngestError(
                what, found=f"{size} bytes{why}", expected=f"at least {archive.min_bytes}", next_step=next_step
            )
