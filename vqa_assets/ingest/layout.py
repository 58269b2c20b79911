"""Where one corpus's files are: its paths, and the clips on its disk, by one walk over its folders.

No file is opened but what may be a Git-LFS pointer. Which file is a row's clip is decided in ``naming``; what becomes
of a clip in ``gather`` and ``clip_task``.
"""

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from vqa_assets.annotations import VIDEO_SUFFIXES, find_annotation_files, present_annotation_files
from vqa_assets.clips.folders import ClipFolders, FileStamp, is_there, may_be_lfs_pointer, stamp_of
from vqa_assets.corpora import Corpus
from vqa_assets.errors import SettingsError
from vqa_assets.ingest.settings import IngestSettings, resolve
from vqa_assets.tables.paths import DataRoot, manifest_path

ARCHIVES = "archives"
"""The folder that a corpus's archives are fetched into."""
PART = ".part"
"""What a clip's file ends in while it is fetched."""
_JUNK = (PART, ".tmp")
FoundFile = tuple[Path, str]
"""A folder of clips, and the name that a file has below it."""


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
    """One walk over every folder of a corpus's clips, and over the corpus's own; links to folders are not followed.

    No file costs a ``stat`` before one is asked for. What the walk does not see may be there all the same.
    """

    def __init__(self, folders: ClipFolders, suffix: str = "") -> None:
        self.folders = folders
        self._suffixes = (*VIDEO_SUFFIXES, *((suffix.lower(),) if suffix else ()))
        roots = dict.fromkeys((*folders.every, *((folders.folder,) if folders.folder is not None else ())))
        # Each file is listed once, in the innermost of these folders that holds it.
        self._listings = {root: _Listing(root, roots) for root in roots}
        if folders.folder is not None and folders.folder not in folders.every:
            self._listings[folders.folder].scan(str(folders.folder), "", skip=_is_no_clip_folder)
        for root in folders.every:
            self._listings[root].scan(str(root), "")
        self._stamps: dict[str, FileStamp | None] = {}
        self._places: dict[tuple[str, bool], tuple[_SearchedFolder, ...]] = {}

    def file_of(self, src: str, score_drop: str = "") -> FoundFile | None:
        """The file that a clip of that name is, as its folder lists it; None where no folder does."""
        for root, listing, _ in self._searched(src, score_drop):
            if src in listing.names:
                return root, src
            if listing.has_others and (listed := self._listed(root, src)) is not None:
                return listed
        return None

    def holds(self, src: str, score_drop: str = "") -> bool:
        """Whether a clip of that name is there; a Git-LFS pointer is none."""
        # Loops, here and above: they are run for every row several times, and generators take three times as long.
        for root, listing, text in self._searched(src, score_drop):
            is_listed = src in listing.names or (listing.has_others and self._listed(root, src) is not None)
            if is_listed and self._is_clip(f"{text}/{src}"):
                return True
        return False

    def stamp(self, src: str, score_drop: str = "") -> FileStamp | None:
        """The stamp of such a clip where ``ClipFolders.path_of`` finds it; None where only a look at it can say."""
        places = []
        for root, listing, text in self._searched(src, score_drop):
            if src in listing.names or (listing.has_others and self._listed(root, src) is not None):
                places.append(text)
        if not places:
            return None
        path = f"{places[0]}/{src}"
        stamp = self._stamp(path)
        del self._stamps[path]  # asked for once: a million of them are not kept
        may_hide_another = len(places) > 1 and stamp is not None and may_be_lfs_pointer(stamp)
        return None if may_hide_another else stamp

    def clips(self, but: Collection[FoundFile] = ()) -> Iterator[FoundFile]:
        """All other files that may be clips by their names; what is hidden or temporary is none."""
        left_out: dict[Path, set[str]] = {root: set() for root in self._listings}
        for root, name in but:
            left_out[root].add(name)
        for root, listing in self._listings.items():
            for name in listing.names - left_out[root]:
                if name.lower().endswith(self._suffixes) and _may_be_a_clip(name):
                    yield root, name

    def remove_leftovers(self) -> int:
        """Delete the half-fetched ``.part`` files of clips that an interrupted run left; their number."""
        # Half an archive is kept: its fetch goes on where it stopped. So is what a person left beside the clips.
        parts = [
            root / name
            for root in self.folders.every
            for name in self._listings[root].names
            if name.endswith(PART) and not name.startswith(f"{ARCHIVES}/")
        ]
        for path in parts:
            path.unlink()
        return len(parts)

    def _searched(self, src: str, score_drop: str) -> "tuple[_SearchedFolder, ...]":
        """The folders that ``ClipFolders.searched`` gives, found once for all names that begin alike."""
        key = (score_drop, src.partition("/")[0] in self.folders.entries)
        places = self._places.get(key)
        if places is None:
            roots = self.folders.searched(src, score_drop)
            places = self._places[key] = tuple((root, self._listings[root], str(root)) for root in roots)
        return places

    def _listed(self, root: Path, name: str) -> FoundFile | None:
        listing = self._listings[root]
        if name in listing.names:
            return root, name
        for prefix, inner in listing.inner:
            if name.startswith(prefix) and (listed := self._listed(inner, name[len(prefix) :])) is not None:
                return listed
        if any(name.startswith(prefix) for prefix in listing.linked) and is_there(root / name):
            return root, name
        return None

    def _stamp(self, path: str) -> FileStamp | None:
        if path not in self._stamps:
            try:
                self._stamps[path] = stamp_of(path)
            except OSError:  # its rights, a disk that fails: whoever reads it is told
                self._stamps[path] = None
        return self._stamps[path]

    def _is_clip(self, path: str) -> bool:
        stamp = self._stamp(path)
        return is_there(Path(path)) if stamp is None or may_be_lfs_pointer(stamp) else True


class _Listing:
    """The files below one folder, by name; ``inner`` are folders listed on their own, ``linked`` those behind links."""

    def __init__(self, root: Path, roots: Collection[Path]) -> None:
        self.names: set[str] = set()
        self.linked: list[str] = []
        self._apart = {str(other) for other in roots if other != root}
        self.inner = [(f"{other.relative_to(root)}/", other) for other in roots if root in other.parents]

    @property
    def has_others(self) -> bool:
        """Whether files below this folder are listed elsewhere, or nowhere."""
        return bool(self.inner or self.linked)

    def scan(self, folder: str, inside: str, skip: Callable[[str], bool] | None = None) -> None:
        """List every file below a folder, itself below the root by the name ``inside``."""
        try:
            entries = list(os.scandir(folder))
        except OSError:
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.path not in self._apart and not (skip and skip(entry.name)):
                    self.scan(entry.path, f"{inside}{entry.name}/", skip)
            elif not entry.is_symlink():
                self.names.add(inside + entry.name)
            elif _leads_to_folder(entry):
                if entry.path not in self._apart:
                    self.linked.append(f"{inside}{entry.name}/")
            elif _leads_to_file(entry):
                self.names.add(inside + entry.name)


_SearchedFolder = tuple[Path, _Listing, str]
"""A folder that a clip may lie in, its listing, and the folder as text."""


def _leads_to_folder(link: "os.DirEntry[str]") -> bool:
    try:
        return link.is_dir()
    except OSError:  # a circle of links
        return False


def _leads_to_file(link: "os.DirEntry[str]") -> bool:
    try:
        return link.is_file()
    except OSError:  # a circle of links: there, and not to be read
        return True


def _is_no_clip_folder(name: str) -> bool:
    """Whether a folder beside those of the clips holds none: hidden, archives, what a system leaves behind."""
    return name == ARCHIVES or name.startswith((".", "__"))


def _may_be_a_clip(name: str) -> bool:
    *folders, last = name.split("/")
    return not (
        last.startswith((".", "~$"))
        or last.endswith(_JUNK)
        or any(folder.startswith((".", "__")) for folder in folders)
    )
