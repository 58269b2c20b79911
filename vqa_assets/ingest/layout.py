"""Where one corpus's files are: its paths, the clips on its disk, and the name that a row's clip goes by there.

One walk finds a stamp for each clip of the run, leftovers, and clips that no row names; a corpus's files may be named
otherwise than its annotation says. No file is opened but what may be a Git-LFS pointer. What becomes of a clip is not
here (``gather``, ``clip_task``).
"""

import logging
import os
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

from vqa_assets.annotations import (
    VIDEO_SUFFIXES,
    AnnotationRow,
    find_annotation_files,
    present_annotation_files,
)
from vqa_assets.clips.folders import ClipFolders, FileStamp, is_there, may_be_lfs_pointer
from vqa_assets.corpora import Corpus
from vqa_assets.errors import SettingsError
from vqa_assets.ingest.settings import IngestSettings, resolve
from vqa_assets.tables.paths import DataRoot, manifest_path

ARCHIVES = "archives"
"""The folder that a corpus's archives are fetched into."""
PART = ".part"
"""What a clip's file ends in while it is fetched."""
_JUNK = (PART, ".tmp")
_SURROGATE = re.compile("[\ud800-\udfff]")
"""In a file name, Python's stand-in for a byte that is no UTF-8."""
_log = logging.getLogger("vqa_assets.ingest")


def losses_path(output: Path) -> Path:
    """Every lost row of the last run, one JSON object a line, beside the corpus JSONL: ``<c_>.losses.jsonl``."""
    return output.with_name(f"{output.stem}.losses.jsonl")


@dataclass(frozen=True)
class CorpusLayout:
    """The paths one ingest reads and writes."""

    folder: Path
    annotation_files: tuple[Path, ...]
    clips: ClipFolders
    output: Path
    manifest: Path
    losses: Path
    progress: Path
    cache: Path

    @classmethod
    def of(cls, corpus: Corpus, settings: IngestSettings, root: DataRoot) -> "CorpusLayout":
        """The layout of one corpus; AnnotationError where its annotation file is not there.

        SettingsError where two of its files would be one.
        """
        folder = corpus_folder(corpus, settings, root)
        output = settings.output or root.corpus_jsonl(corpus)
        layout = cls(
            folder=folder,
            annotation_files=find_annotation_files(corpus, folder, settings.manifest_csv),
            clips=ClipFolders.of(corpus, settings.clips_subdir, folder),
            output=output,
            manifest=settings.manifest_out or manifest_path(output),
            losses=losses_path(output),
            progress=settings.progress_path or folder / ".download-progress.json",
            cache=folder / ".ingest-cache.sqlite",
        )
        _refuse_one_path_for_two(layout, corpus)
        return layout


def waiting_annotation_files(corpus: Corpus, root: DataRoot) -> tuple[Path, ...]:
    """The annotation files that an ordinary run would read, as ``ingest.toml`` and the layout say; empty without any.

    SettingsError where the ``ingest.toml`` cannot be used.
    """
    settings = resolve(corpus, {}, root.ingest_toml(corpus)).values
    if settings.manifest_csv is not None:
        return (settings.manifest_csv,) if settings.manifest_csv.is_file() else ()
    return present_annotation_files(corpus, corpus_folder(corpus, settings, root))


def corpus_folder(corpus: Corpus, settings: IngestSettings, root: DataRoot) -> Path:
    """The folder of one corpus: the setting, else its place under the data root."""
    return settings.corpus_dir or root.corpus_dir(corpus)


def _refuse_one_path_for_two(layout: CorpusLayout, corpus: Corpus) -> None:
    """SettingsError where one file would overwrite another, whatever links and spellings hide it."""
    uses = [(path, "the annotation file") for path in dict.fromkeys(layout.annotation_files)]
    uses += [
        (layout.output, "output"),
        (layout.manifest, "manifest_out"),
        (layout.losses, "the file of losses beside output"),
        (layout.progress, "progress_path"),
        (layout.cache, "the ingest cache"),
    ]
    first: dict[str, str] = {}
    for path, use in uses:
        other = first.setdefault(os.path.realpath(path), use)
        if other != use:
            raise SettingsError(
                f"{corpus.name}: {other} and {use}",
                found=f"one path for both: {path}",
                expected="a path of its own for each file",
                next_step="set another output, manifest_out, progress_path or manifest_csv",
            )


class ClipsOnDisk:
    """One look at every folder of a corpus's clips; links to folders are not followed.

    Only clips of these ``names`` cost a ``stat``. What the look does not see may be there all the same.
    """

    def __init__(self, folders: ClipFolders, names: Collection[str]) -> None:
        self.folders = folders
        self._stamps: dict[Path, dict[str, FileStamp | None]] = {folder: {} for folder in folders.every}
        self._others: list[tuple[Path, str]] = []
        for folder in folders.every:
            for entry, name in _files(str(folder), ""):
                if name in names:
                    self._stamps[folder][name] = _stamp(entry)
                else:
                    self._others.append((folder, name))

    def stamp(self, src: str, score_drop: str = "") -> FileStamp | None:
        """The stamp of such a clip where ``ClipFolders.path_of`` finds it; None where only a look at it can say."""
        searched = self.folders.searched(score_drop)
        for folder in searched:
            if src in self._stamps[folder]:
                stamp = self._stamps[folder][src]
                may_hide_another = len(searched) > 1 and stamp is not None and may_be_lfs_pointer(stamp)
                return None if may_hide_another else stamp
        return None

    def spelled_otherwise(self, src: str) -> str:
        """The name of a file that differs from a clip's by case or Unicode's normal form only; empty without one."""
        return self._by_plain_name.get(_plain(src), "")

    @cached_property
    def _by_plain_name(self) -> dict[str, str]:
        return {_plain(name): name for _, name in self._others if _may_be_a_clip(name)}

    def remove_leftovers(self) -> int:
        """Delete the half-fetched ``.part`` files of clips that an interrupted run left; their number."""
        # Half an archive is kept: its fetch goes on where it stopped.
        parts = [folder / n for folder, n in self._others if n.endswith(PART) and not n.startswith(f"{ARCHIVES}/")]
        for path in parts:
            path.unlink()
        return len(parts)

    def count_unlabelled(self, names: Iterable[str], suffix: str) -> int:
        """Files of this suffix or of video that none of the names means (what is hidden or temporary is no clip)."""
        suffixes = (*VIDEO_SUFFIXES, suffix.lower())
        clips = [name for _, name in self._others if name.lower().endswith(suffixes) and _may_be_a_clip(name)]
        labelled = {os.path.normpath(name) for name in names} if clips else set()
        return sum(name not in labelled for name in clips)


def _files(folder: str, inside: str) -> Iterator[tuple["os.DirEntry[str]", str]]:
    """Every entry below a folder that is no folder itself, with its name relative to the folder."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path, f"{inside}{entry.name}/")
        else:
            yield entry, inside + entry.name


def _stamp(entry: "os.DirEntry[str]") -> FileStamp | None:
    try:
        if not entry.is_file():
            return None
        status = entry.stat()
    except OSError:
        return None
    return FileStamp(status.st_size, status.st_mtime_ns)


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _may_be_a_clip(name: str) -> bool:
    *folders, last = name.split("/")
    return not (
        last.startswith((".", "~$"))
        or last.endswith(_JUNK)
        or any(folder.startswith((".", "__")) for folder in folders)
    )


def named_on_disk(
    rows: Sequence[AnnotationRow], clips: ClipFolders, earlier: Mapping[str, object] | None = None
) -> tuple[AnnotationRow, ...]:
    """The rows, each under the name that its clip has on disk, else the one it had in the ``earlier`` JSONL.

    ``earlier`` is clip name → score. A clip that is in neither keeps its first name. A name that another row goes by is
    never taken, nor one that begins as another row says more exactly. A bad row goes by the name of the earlier row
    that it takes away.
    """
    if not any(row.also or row.also_starting for row in rows):
        return tuple(rows)
    scores = earlier or {}
    disk = _ClipNames(lambda name: is_there(clips.path_of(name)), lambda: _names_on_disk(clips))
    before = _ClipNames(scores.__contains__, scores.keys)
    beginnings = {start for row in rows for start in row.also_starting}
    naming = _Naming(scores, beginnings, {row.src for row in rows})
    # Usable rows choose first: a bad row must not take the name of a clip that has a score.
    usable = {i: naming.renamed(row, (disk, before)) for i, row in enumerate(rows) if not row.problem}
    naming.warn_of_other_scores(usable.values())
    return tuple(usable.get(i) or naming.renamed(row, (before, disk)) for i, row in enumerate(rows))


@dataclass
class _Naming:
    """The names that rows go by so far: ``taken`` are all, ``renames`` has the new one of a row by its first."""

    earlier: Mapping[str, object]
    beginnings: Collection[str]
    taken: set[str]
    renames: dict[str, str] = field(default_factory=dict)

    def renamed(self, row: AnnotationRow, places: Iterable["_ClipNames"]) -> AnnotationRow:
        """The row under the name that its clip has in the first of the places that holds it."""
        if row.repeats or not row.src:
            return row
        for names in places:
            if row.src not in self.renames and names.holds(row.src):
                return row
            for name in (*row.also, *self._beginning_so(row, names)):
                free = name not in self.taken or self.renames.get(row.src) == name
                if free and names.holds(name):
                    self.taken.add(name)
                    self.renames[row.src] = name
                    return replace(row, src=name)
        return row

    def warn_of_other_scores(self, rows: Iterable[AnnotationRow]) -> None:
        """Warn of clips that only a beginning ties to their rows, where the earlier row had another score."""
        rescored = [row.src for row in rows if row.also_starting and self.earlier.get(row.src, row.mos) != row.mos]
        names = [name for name in rescored if name in self.renames.values()]
        if names:
            _log.warning(
                "%d clips are known by the beginning of their names and had another score (%s); if one of them is the "
                "clip of no row any more, remove it and its row",
                len(names),
                ", ".join(names[:3]),
            )

    def _beginning_so(self, row: AnnotationRow, names: "_ClipNames") -> list[str]:
        """The one clip whose name begins as the row says; none where several do."""
        for start in row.also_starting:
            clips = [name for name in names.starting(start) if self._may_be(name, start, row)]
            if len(clips) == 1:
                return clips
            if clips:
                _log.warning("%s: %d clips could be meant (%s); rename the right one", row.src, len(clips), clips[:3])
        return []

    def _may_be(self, name: str, start: str, row: AnnotationRow) -> bool:
        """Whether no other row says the name's beginning more exactly, and no earlier row shows it to be another's.

        A clip that has an earlier row beside this row's own, with a score of neither, is another clip.
        """
        if next(name[:end] for end in range(len(name), 0, -1) if name[:end] in self.beginnings) != start:
            return False
        both = row.src in self.earlier and name in self.earlier
        return not both or self.earlier[name] in (row.mos, self.earlier[row.src])


class _ClipNames:
    """The names of clips in one place, to be asked by a whole name or by its beginning."""

    def __init__(self, holds: Callable[[str], bool], every: Callable[[], Iterable[str]]) -> None:
        self.holds, self._every = holds, every

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self._every())

    def starting(self, start: str) -> list[str]:
        """The clips whose name begins so."""
        clips = []
        for name in islice(self._sorted, bisect_left(self._sorted, start), None):
            if not name.startswith(start):
                break
            if name.lower().endswith(VIDEO_SUFFIXES):
                clips.append(name)
        return clips


def _names_on_disk(clips: ClipFolders) -> set[str]:
    """The names of all files in the folders, but those of bytes that are no UTF-8: no row, cache or log can hold one.

    Links to folders are not followed.
    """
    names = {
        os.path.relpath(os.path.join(parent, name), folder)  # noqa: PTH118
        for folder in clips.every
        for parent, _, files in os.walk(folder)
        for name in files
    }
    return {name for name in names if not _SURROGATE.search(name)}
