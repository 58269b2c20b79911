"""A list of clips to score, a table of any format: which rows it has, under which keys, and where each clip lies.

It is gone through batch by batch and never held. What is measured of the clips, and what is written, is in
``list_scores``.
"""

import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from vqa_assets.clips.caps import ClipCaps
from vqa_assets.clips.folders import (
    SCHEMES,
    ClipFolders,
    ClipPlace,
    ClipRoot,
    ClipStore,
    StoredClip,
    is_object_address,
    why_no_key,
)
from vqa_assets.clips.geometry import is_raw
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.corpus import GENERAL_SPELLINGS
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import SettingsError, TableError
from vqa_assets.settings import LONGEST_NAME_BYTES, LONGEST_PATH_BYTES, fits_a_disk, typed_path
from vqa_assets.tables.foreign_tables import ForeignTable, check_present, table_at
from vqa_assets.tables.paths import DataRoot

CLIP_COLUMNS = (
    *("path", "clip", "clip_path", "file", "file_path", "video_path", "src"),
    *GENERAL_SPELLINGS.clip,
    *GENERAL_SPELLINGS.url,
)
"""Columns, in any case, that say where a row's clip lies: names and addresses as score files spell them, too."""
KEY_COLUMNS = ("key", "clip_key", "clip_id", "video_id", "id")
"""Columns, in any case, that name a row, first present wins; a row of a list without one is named as its clip is."""
_OF_CORPUS = ("src", "src_sha256")
"""What the rows of a corpus JSONL have: there ``src`` is the clip, whatever else is in them."""
_PART = "score_drop"
_ROWS_AT_ONCE = 4_096
_NO_HASH = hash("")


@dataclass(frozen=True, slots=True)
class ListedClip:
    """One row: its clip and its key as the list has them, and where the clip lies, None with the reason ``why``.

    ``raw`` is what the clip is where it has no container.
    """

    source: str
    key: str
    place: ClipPlace | None
    why: str = ""
    raw: RawVideo | None = None


@dataclass(frozen=True)
class ListFacts:
    """What is known of a list before its first clip is opened: its rows, and how many repeat the key of another.

    ``repeated`` is the first key that is repeated, and ``rows_of_it`` two of its rows, from 1.
    """

    rows: int
    repeats: int = 0
    repeated: str = ""
    rows_of_it: tuple[int, ...] = ()


@dataclass(frozen=True)
class ClipList:
    """The clips that one table lists, in its order, read anew each time they are gone through.

    Names are names in ``root``, or where a corpus's own clips lie: ``corpus`` is the one whose JSONL it is, and
    ``caps`` are its ``ingest.toml``'s.
    """

    table: ForeignTable
    clip_column: str
    key_column: str
    root: ClipRoot
    scratch_bytes: int
    corpus: Corpus | None = None
    folders: ClipFolders | None = None
    raw: RawVideo | None = None
    caps: ClipCaps = field(default_factory=ClipCaps)

    @property
    def path(self) -> Path:
        """The table's path."""
        return self.table.path

    def __iter__(self) -> Iterator[ListedClip]:
        has_parts = self.folders is not None and _PART in self.table.names
        for source, key, part in self._texts(*([_PART] if has_parts else [])):
            yield self._listed(source, key, part)

    def facts(self) -> ListFacts:
        """Count the rows and the keys that are repeated, by hashes of them: a few numbers a row are held meanwhile."""
        import numpy as np

        hashes = np.frombuffer(array("q", (hash(key or source) for source, key, _ in self._texts())), np.int64)
        values, first = np.unique(hashes, return_index=True)
        repeats = np.ones(len(hashes), bool)
        repeats[first] = False
        repeats[hashes == _NO_HASH] = False  # a row that names no clip has no key either, and says so itself
        again = np.flatnonzero(repeats)
        if not len(again):
            return ListFacts(len(hashes))
        row = int(again[0])
        before = int(first[np.searchsorted(values, hashes[row])])
        source, key, _ = next(islice(self._texts(), row, None))
        return ListFacts(len(hashes), len(again), key or source, (before + 1, row + 1))

    def _texts(self, *further: str) -> Iterator[tuple[str, str, str]]:
        """Clip, key and one further column of each row; empty where the cell is."""
        columns = dict.fromkeys(name for name in (self.clip_column, self.key_column, *further) if name)
        for batch in self.table.texts(list(columns), _ROWS_AT_ONCE):
            values = {name: [text or "" for text in batch[name]] for name in columns}
            nothing = [""] * len(batch)
            keys = values[self.key_column] if self.key_column else nothing
            parts = values[further[0]] if further else nothing
            yield from zip(values[self.clip_column], keys, parts, strict=True)

    def _listed(self, source: str, key: str, part: str) -> ListedClip:
        if not source:
            return ListedClip("", key, None, f"no clip is named in column {self.clip_column}")
        place = self._place(source, part)
        if isinstance(place, str):
            return ListedClip(source, key or source, None, place)
        return ListedClip(source, key or source, place, raw=self.raw if is_raw(source) else None)

    def _place(self, source: str, part: str) -> ClipPlace | str:
        """Where a clip of that name or address lies, or why it lies nowhere; no store is asked."""
        if "://" in source:
            return self._object(source)
        why = "a NUL is in it" if "\0" in source else ""
        if not isinstance(self.root, ClipStore) and not fits_a_disk(self.root / source):
            why = why or f"no disk takes more than {LONGEST_NAME_BYTES} bytes of a name, or {LONGEST_PATH_BYTES} in all"
        if isinstance(self.root, ClipStore) and not Path(source).is_absolute():
            why = why or why_no_key(source)
        if why:
            return f"nothing can have this name: {why}"
        # A path from the root stands for itself, wherever names lie.
        if self.folders is not None and not Path(source).is_absolute():
            return self.folders.path_of(source, part)
        return Path(source) if Path(source).is_absolute() else self.root / source

    def _object(self, address: str) -> StoredClip | str:
        scheme, _, rest = address.partition("://")
        if scheme.lower() in ("http", "https"):
            return "an address of a web server: ingest such clips as a corpus, or put them into a folder or a store"
        bucket, _, name = rest.partition("/")
        store = f"{scheme}://{bucket}"
        if scheme not in SCHEMES or not is_object_address(store):
            return f"no address of an object: expected {', '.join(f'{one}://bucket/key' for one in SCHEMES)}"
        if why := why_no_key(name):
            return f"no object can have this address: {why}"
        return StoredClip(ClipStore(store, self.scratch_bytes), name)


def open_list(
    path: Path,
    root: DataRoot,
    *,
    clip_column: str = "",
    key_column: str = "",
    clips_url: str = "",
    scratch_bytes: int | None = None,
) -> ClipList:
    """The list at a path; its columns are those named, else those that mean a clip and a key by their names.

    Names of clips are names below ``clips_url``, a folder or an object store; without it below the list's own folder,
    of a corpus JSONL where that corpus's clips lie. TableError where there is no list, or not one column that says
    where clips lie; SettingsError for a ``clips_url`` that is neither.
    """
    from vqa_assets.ingest.settings import SCRATCH_BYTES

    check_present(path, "list of clips", "name a table with a column of paths, or of addresses in an object store")
    table = table_at(path)
    clip = _column_of_clips(table, clip_column)
    # Of a corpus's rows the clip's name is the key, as in its feature table.
    keys = () if set(_OF_CORPUS) <= set(table.names) else KEY_COLUMNS
    others = {name.lower(): name for name in reversed(table.names) if name != clip}
    key = key_column or next((others[name] for name in keys if name in others), "")
    if key and key not in table.names:
        raise _no_column(table, f"the key column {key}", "--key-column")
    scratch = scratch_bytes or SCRATCH_BYTES
    if clips_url:
        return ClipList(table, clip, key, _named_root(clips_url, scratch), scratch)
    if (corpus := _corpus_of(path, root)) is not None:
        from vqa_assets.ingest.layout import CorpusLayout

        layout = CorpusLayout.standing(corpus, root)
        own, clips = layout.settings, layout.clips
        return ClipList(table, clip, key, clips.target, own.scratch_bytes, corpus, clips, own.raw_video, own.caps())
    return ClipList(table, clip, key, path.absolute().parent, scratch)


def _column_of_clips(table: ForeignTable, named: str) -> str:
    if named:
        if named not in table.names:
            raise _no_column(table, f"the column {named}", "--clip-column")
        return named
    if set(_OF_CORPUS) <= set(table.names):
        return "src"
    meant = [name for name in table.names if name.lower() in CLIP_COLUMNS]
    if not meant:
        raise _no_column(table, "a column that says where clips lie", "--clip-column", CLIP_COLUMNS)
    if len(meant) > 1:
        raise TableError(
            f"{table.path}: ambiguous columns",
            found=f"{', '.join(meant)}, each of which may say where clips lie",
            expected="one",
            next_step=f"say which, such as --clip-column {meant[0]}",
        )
    return meant[0]


def _no_column(table: ForeignTable, what: str, option: str, names: Sequence[str] = ()) -> TableError:
    some = ", ".join(table.names[:8]) + (", …" if table.names[8:] else "")
    return TableError(
        f"{table.path}",
        found=f"the columns {some}" if table.names else "no column",
        expected=what + (f": {', '.join(names)}" if names else ""),
        next_step=f"name it with {option}, or correct the list",
    )


def _named_root(named: str, scratch_bytes: int) -> ClipRoot:
    if "://" in named:
        if is_object_address(named):
            return ClipStore(named.rstrip("/"), scratch_bytes)
        found = "no address of an object store"
    else:
        folder = typed_path(named).absolute()
        if folder.is_dir():
            return folder
        found = f"{folder}, which is no folder" if folder.exists() else f"{folder}, where nothing is"
    raise SettingsError(
        "--clips-url",
        found=found,
        expected="a folder, or s3://, gs:// or az:// with a bucket and a prefix",
        next_step="correct it; credentials come from the environment",
    )


def _corpus_of(path: Path, root: DataRoot) -> Corpus | None:
    """The corpus whose JSONL stands at a path, by where those of the data root are written."""
    from vqa_assets.corpora.declarations import corpora_folder, with_declared

    if not path.absolute().is_relative_to(root.path) or path.suffix.lower() != ".jsonl":
        return None
    corpora: Mapping[str, Corpus] = with_declared(corpora_folder(root.path, os.environ))
    real = os.path.realpath(path)
    return next((one for one in corpora.values() if os.path.realpath(root.corpus_jsonl(one)) == real), None)
