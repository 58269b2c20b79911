"""A corpus's own archives, fetched and unpacked on request. Clips one by one are not fetched here (``clip_task``)."""

import logging
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa_assets.clips.archives import LargeFile, fetch_resuming, unpack_zip
from vqa_assets.clips.hashing import hash_file
from vqa_assets.clips.work import stopping
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.corpus import Archive
from vqa_assets.errors import DownloadError, IngestError, SchemaError, SettingsError
from vqa_assets.ingest.layout import ARCHIVES
from vqa_assets.ingest.settings import IngestSettings
from vqa_assets.provenance import clean_url, utc_text
from vqa_assets.tables.files import read_json_object, write_json

SCHEMA = "fetch-manifest-v1"
FETCH_MANIFEST = "fetch_manifest.json"
_log = logging.getLogger("vqa_assets.ingest")


@dataclass(frozen=True)
class _Fetch:
    """One fetch of a corpus's archives into its folder."""

    corpus: Corpus
    settings: IngestSettings
    folder: Path
    stop: threading.Event

    def path_of(self, archive: Archive) -> Path:
        return self.folder / ARCHIVES / archive.file

    def url_of(self, archive: Archive) -> str:
        return f"{self.settings.archive_base.rstrip('/')}/{archive.file}"


def fetch_archives(corpus: Corpus, settings: IngestSettings, folder: Path) -> None:
    """Fetch and unpack what is not there yet; an interrupted fetch goes on where it stopped.

    SettingsError for a corpus without archives, IngestError where one cannot be had, is too small or is not safe.
    """
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
            next_step="set it in the run config, ingest.toml or the declaration",
        )
    fetch = _Fetch(corpus, settings, folder, threading.Event())
    known = _known(folder)
    with ThreadPoolExecutor(1) as executor, stopping(fetch.stop, executor):
        for archive in corpus.archives:
            known[archive.file] = executor.submit(_one, archive, fetch, known.get(archive.file, {})).result()
            write_json(folder / FETCH_MANIFEST, {"schema": SCHEMA, "corpus": corpus.name, "archives": known})


def _known(folder: Path) -> dict[str, Any]:
    """What the fetch manifest says of each archive; IngestError where it is none."""
    path = folder / FETCH_MANIFEST
    if not path.is_file():
        return {}
    try:
        found = read_json_object(path).get("archives")
    except SchemaError as error:
        raise _no_fetch_manifest(path, error.found) from error
    if not isinstance(found, dict) or not all(_is_record(record) for record in found.values()):
        raise _no_fetch_manifest(path, "archives of another shape")
    return found


def _is_record(record: object) -> bool:
    return isinstance(record, dict) and isinstance(record.get("files", 1), int)


def _no_fetch_manifest(path: Path, found: str) -> IngestError:
    return IngestError(
        f"{path}",
        found=found,
        expected=f"a manifest of schema {SCHEMA}",
        next_step="delete it, then run again: what is unpacked already is not written twice",
    )


def _one(archive: Archive, fetch: _Fetch, record: dict[str, Any]) -> dict[str, Any]:
    """Fetch and unpack one archive; what the fetch manifest says of it."""
    path, folder = fetch.path_of(archive), fetch.folder / archive.folder
    if not path.is_file() and record and _files_in(folder) >= record.get("files", 1):
        _log.info("%s: %s is unpacked already", fetch.corpus.name, archive.file)
        return record
    whole = path.is_file() and path.stat().st_size == record.get("size_bytes")
    if not whole:
        _download(archive, fetch)
        found = hash_file(path, fetch.stop)
        record = {"url": clean_url(fetch.url_of(archive)), "sha256": found.sha256, "size_bytes": found.size_bytes}
        record["fetched_at_utc"] = utc_text()
    unpacked = unpack_zip(path, folder)
    _log.info("%s: %s: %d files, %d unpacked now", fetch.corpus.name, archive.file, unpacked.files, unpacked.written)
    return {**record, "folder": archive.folder, "files": unpacked.files}


def _download(archive: Archive, fetch: _Fetch) -> None:
    path, what = fetch.path_of(archive), f"{fetch.corpus.name}: {archive.file}"
    by_hand = path.is_file()
    if not by_hand:
        try:
            fetch_resuming(LargeFile(fetch.url_of(archive), path, fetch.stop, _log.info))
        except DownloadError as error:
            raise IngestError(
                what,
                found=error.reason,
                expected=f"the archive at {clean_url(fetch.settings.archive_base)}",
                next_step="run again, what has arrived is kept; or unpack it by hand: "
                + fetch.corpus.acquisition.steps,
            ) from error
    size = path.stat().st_size
    no_zip = not by_hand and not zipfile.is_zipfile(path)
    if size < archive.min_bytes or no_zip:
        path.unlink()
        raise IngestError(
            what,
            found=f"{size} bytes" + (" that are no zip archive" if no_zip else ""),
            expected=f"at least {archive.min_bytes}",
            next_step="is archive_base the right address? The file was removed",
        )


def _files_in(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*")) if folder.is_dir() else 0
