"""Where one corpus's files are: its paths, and the clips on its disk, by one walk over its folders.

No file is opened but what may be a Git-LFS pointer; an object store is listed once. Which file is a row's clip is
decided in ``naming``; what becomes of a clip in ``gather`` and ``clip_task``.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vqa_assets.annotations.finding import find_annotation_files, present_annotation_files
from vqa_assets.annotations.rows import VIDEO_SUFFIXES
from vqa_assets.clips import marks
from vqa_assets.clips.folders import (
    ClipFolders,
    ClipPlace,
    ClipRoot,
    ClipStore,
    FileStamp,
    StoredClip,
    is_there,
    may_be_lfs_pointer,
    stamp_of,
)
from vqa_assets.clips.stores import open_store
from vqa_assets.corpora import Corpus
from vqa_assets.errors import SchemaError, SettingsError
from vqa_assets.ingest.progress import is_progress, is_progress_log, log_of
from vqa_assets.ingest.settings import INGEST_TOML, IngestSettings, resolve
from vqa_assets.settings import RUN_CONFIG, Resolved
from vqa_assets.tables.allowed import AllowedPlaces
from vqa_assets.tables.files import read_json_lines
from vqa_assets.tables.paths import DataRoot, manifest_path
from vqa_assets.tables.targets import OwnTarget, check_targets, is_written_for, why_other_manifest

STAGE = "corpus_jsonl"
ARCHIVES = "archives"
"""The folder that a corpus's archives are fetched into."""
PART = ".part"
"""What a clip's file ends in while it is fetched."""
PROGRESS = ".download-progress.json"
"""The progress file of a corpus's folder."""
_JUNK = (PART, ".tmp")
SHARED_PLACES = ("corpus_dir", "manifest_csv", "output", "manifest_out", "clips_subdir", "raw_video")
"""The settings of an ingest by which other stages find a corpus's files, and read its raw clips."""
FoundFile = tuple[ClipRoot, str]
"""A folder of clips, or an object store, and the name that a file has below it."""


def losses_path(output: Path) -> Path:
    """Every lost row of the last run, one JSON object a line, beside the corpus JSONL: ``<c_>.losses.jsonl``."""
    return output.with_name(f"{output.stem}.losses.jsonl")


@dataclass(frozen=True)
class CorpusLayout:
    """Where the files of one corpus lie: the one answer for every stage, sensor, schedule and command.

    ``named`` is the annotation file that the settings name. No file needs to be there.
    """

    corpus: Corpus
    settings: IngestSettings
    folder: Path
    named: Path | None
    clips: ClipFolders
    output: Path
    manifest: Path
    losses: Path
    progress: Path
    cache: Path

    @classmethod
    def standing(cls, corpus: Corpus, root: DataRoot) -> "CorpusLayout":
        """The layout that ``ingest.toml``, the corpus and the defaults give: all that stages know of one another.

        SettingsError where the ``ingest.toml`` cannot be used.
        """
        return cls.of(corpus, resolve(corpus, {}, root.ingest_toml(corpus)).values, root)

    @classmethod
    def of(cls, corpus: Corpus, settings: IngestSettings, root: DataRoot) -> "CorpusLayout":
        """The layout of one run, by its own settings."""
        folder = settings.corpus_dir or root.corpus_dir(corpus)
        output = settings.output or root.corpus_jsonl(corpus)
        return cls(
            corpus=corpus,
            settings=settings,
            folder=folder,
            named=settings.manifest_csv,
            clips=ClipFolders.of(corpus, settings.clips_subdir, folder, settings.clips_target()),
            output=output,
            manifest=settings.manifest_out or manifest_path(output),
            losses=losses_path(output),
            progress=settings.progress_path or folder / PROGRESS,
            cache=folder / ".ingest-cache.sqlite",
        )

    @cached_property
    def annotation_files(self) -> tuple[Path, ...]:
        """The annotation file, or its parts; AnnotationError where it is not there.

        SettingsError where two of the corpus's files would be one.
        """
        files = find_annotation_files(self.corpus, self.folder, self.named)
        self._refuse_one_path_for_two(files)
        return files

    def has_clips(self) -> bool:
        """Whether a clip is there, as far as a look at the disk tells; what is in a store only a run finds out."""
        return self.clips.store is not None or any(
            True for _ in ClipsOnDisk(self.clips, self.settings.clip_suffix).clips()
        )

    def waiting_annotation_files(self) -> tuple[Path, ...]:
        """The same; empty where there is none."""
        if self.named is not None:
            return (self.named,) if self.named.is_file() else ()
        return present_annotation_files(self.corpus, self.folder)

    def place(self, setting: str) -> object:
        """What other stages find by one of the ``SHARED_PLACES``."""
        if setting == "manifest_csv":
            return self.waiting_annotation_files()[:1] or self.named
        moved = {"corpus_dir": self.folder, "output": self.output, "manifest_out": self.manifest}
        return moved.get(setting, getattr(self.settings, setting))

    def _refuse_one_path_for_two(self, annotation_files: Iterable[Path]) -> None:
        """SettingsError where one file would overwrite another, whatever links and spellings hide it."""
        uses = [(path, "the annotation file") for path in dict.fromkeys(annotation_files)]
        uses += [
            (self.output, "output"),
            (self.manifest, "manifest_out"),
            (self.losses, "the file of losses beside output"),
            (self.progress, "progress_path"),
            (self.cache, "the ingest cache"),
        ]
        first: dict[str, str] = {}
        for path, use in uses:
            other = first.setdefault(os.path.realpath(path), use)
            if other != use:
                raise SettingsError(
                    f"{self.corpus.name}: {other} and {use}",
                    found=f"one path for both: {path}",
                    expected="a path of its own for each file",
                    next_step="set another output, manifest_out, progress_path or manifest_csv",
                )


def check_targets_of(layout: CorpusLayout, root: DataRoot) -> None:
    """SettingsError where an ingest would replace a file that is not this corpus's ingest's, by whatever setting.

    A JSONL at its default place is judged by its rows (``earlier``). AnnotationError where there is no score file.
    """
    usual = layout.output == root.corpus_jsonl(layout.corpus)

    def is_written(path: Path) -> bool:
        return is_written_for(layout.manifest, STAGE, path, root.shown)

    def is_of_losses(path: Path) -> bool:
        return is_written(path) or _has_losses(path)

    usual_manifest = usual and layout.manifest == manifest_path(layout.output)
    usual_progress = layout.progress == layout.folder / PROGRESS
    other = why_other_manifest(STAGE, layout.output, root.shown)
    check_targets(
        layout.corpus.name,
        [
            OwnTarget("output", layout.output, STAGE, usual, edited=True, is_own=is_written),
            OwnTarget("manifest_out", layout.manifest, STAGE, usual_manifest, why_not=other),
            OwnTarget("the losses beside output", layout.losses, STAGE, usual, edited=True, is_own=is_of_losses),
            OwnTarget("progress_path", layout.progress, STAGE, usual_progress, is_own=is_progress),
            OwnTarget(
                "the log of progress_path", log_of(layout.progress), STAGE, usual_progress, is_own=is_progress_log
            ),
        ],
        {
            "the annotation file": layout.annotation_files[0],
            **{f"part {n} of the annotation file": p for n, p in enumerate(layout.annotation_files[1:], 2)},
            "the ingest cache": layout.cache,
            INGEST_TOML: root.ingest_toml(layout.corpus),
        },
    )


def _has_losses(path: Path) -> bool:
    """Whether a file is a list of lost rows: of an ingest whose manifest lies elsewhere."""
    try:
        first = next(read_json_lines(path), None)
    except (OSError, SchemaError):
        return False
    return first is not None and {"line", "src", "counter", "reason"} <= first.row.keys()


def waits_for_ingest(corpus: Corpus, root: DataRoot) -> bool:
    """Whether an ordinary run has something to ingest, or somebody meant it to and the run will say what is wrong."""
    try:
        layout = CorpusLayout.standing(corpus, root)
    except (SettingsError, OSError):
        return True
    if layout.waiting_annotation_files() or layout.named is not None or layout.settings.fetch:
        return True
    if layout.settings.corpus_dir is not None and not layout.folder.is_dir():  # a disk that is not mounted
        return True
    # Settings alone wait for an annotation file; beside files from elsewhere they say where those are.
    from_elsewhere = (layout.output, root.features(corpus), root.labelled(corpus))
    return root.ingest_toml(corpus).is_file() and not any(path.is_file() for path in from_elsewhere)


@dataclass(frozen=True)
class Present:
    """What of one corpus is there for a pass over all stages to start from.

    ``clips`` is only asked for where there is a JSONL and nothing to ingest.
    """

    to_ingest: bool
    jsonl: bool = False
    clips: bool = False
    features: bool = False
    labelled: bool = False

    @classmethod
    def of(cls, corpus: Corpus, root: DataRoot) -> "Present":
        """What is there; a corpus whose settings are broken is to be ingested, so that its run says what is wrong."""
        to_ingest = waits_for_ingest(corpus, root)
        features, labelled = root.features(corpus).is_file(), root.labelled(corpus).is_file()
        if to_ingest:
            return cls(True, features=features, labelled=labelled)
        layout = CorpusLayout.standing(corpus, root)
        jsonl = layout.output.is_file()
        clips = jsonl and layout.has_clips()
        return cls(False, jsonl, clips, features, labelled)

    @property
    def rows(self) -> bool:
        """Whether there are scores of clips, or will be."""
        return self.to_ingest or self.jsonl

    @property
    def measurable(self) -> bool:
        """Whether there are clips to measure, or will be."""
        return self.to_ingest or self.clips

    @property
    def trainable(self) -> bool:
        """Whether there is a labelled table, or will be."""
        return self.labelled or (self.rows and (self.measurable or self.features))

    @property
    def left_out(self) -> str:
        """Why what is there does not lead to a labelled table; empty where it does, or where nothing is there."""
        if self.trainable or not (self.rows or self.features):
            return ""
        return "scores without clips or a feature table" if self.rows else "a feature table without scores"


def unseen_by_others(resolved: Resolved[IngestSettings], corpus: Corpus, root: DataRoot) -> tuple[str, ...]:
    """The settings by which a run's own config moves files away from where all other stages look for them."""
    own = [name for name in SHARED_PLACES if resolved.origins[name] == RUN_CONFIG]
    if not own:
        return ()
    here, elsewhere = CorpusLayout.of(corpus, resolved.values, root), CorpusLayout.standing(corpus, root)
    return tuple(name for name in own if here.place(name) != elsewhere.place(name))


def check_paths_of_run(resolved: Resolved[IngestSettings], corpus: Corpus, root: DataRoot) -> None:
    """SettingsError where a run config names a path that it may not name (``tables.allowed``).

    What ``ingest.toml`` names is the operator's word, and so is the corpus folder that it names.
    """
    values = resolved.values
    own = {name for name, origin in resolved.origins.items() if origin == RUN_CONFIG}
    layout, standing = CorpusLayout.of(corpus, values, root), CorpusLayout.standing(corpus, root)
    if values.progress_path == layout.folder / PROGRESS:  # where it lies anyway, hidden though it is
        own.discard("progress_path")
    places = AllowedPlaces.of(root, also=[standing.folder])
    places.check_stated(values, sorted(own), corpus.name)
    if own & {"corpus_dir", "clips_subdir"} and not values.clips_url:  # else they say nothing of the target
        places.check(f"{corpus.name}: clips_subdir", layout.folder / values.clips_subdir, written=True)


class ClipsOnDisk:
    """One walk over every folder of a corpus's clips, and over the corpus's own; links to folders are not followed.

    An object store is listed once, and an object costs nothing more; ObjectStoreError where it cannot be. No file costs
    a ``stat`` before one is asked for. What the walk does not see may be there all the same.
    """

    def __init__(self, folders: ClipFolders, suffix: str = "") -> None:
        self.folders = folders
        self._suffixes = (*VIDEO_SUFFIXES, *((suffix.lower(),) if suffix else ()))
        roots = dict.fromkeys((*folders.every, *((folders.folder,) if folders.folder is not None else ())))
        # Each file is listed once, in the innermost of these folders that holds it.
        self._listings: dict[ClipRoot, _Listing] = {root: _Listing(root, roots) for root in roots}
        if folders.folder is not None and folders.folder not in folders.every:
            self._listings[folders.folder].scan(str(folders.folder), "", skip=_is_no_clip_folder)
        for root in folders.every:
            self._listings[root].scan(str(root), "")
        self._objects: dict[str, FileStamp] = {}
        if folders.store is not None:
            self._objects = {one.name: one.stamp for one in open_store(folders.store.url).listed()}
            self._listings[folders.store] = _Listing.of_store(self._objects)
        self._stamps: dict[str, FileStamp | None] = {}
        self._places: dict[tuple[str, bool], tuple[_SearchedFolder, ...]] = {}

    def stamp_at(self, place: ClipPlace) -> FileStamp | None:
        """The stamp of a file, by a look at it, or of an object, by the listing; None where there is none."""
        if isinstance(place, StoredClip):
            return self._objects.get(place.src)
        return stamp_of(place)

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
            if is_listed and (isinstance(root, ClipStore) or self._is_clip(f"{text}/{src}")):
                return True
        return False

    def stamp(self, src: str, score_drop: str = "") -> FileStamp | None:
        """The stamp of such a clip where ``ClipFolders.path_of`` finds it; None where only a look at it can say."""
        places: list[str] = []
        for root, listing, text in self._searched(src, score_drop):
            if src in listing.names or (listing.has_others and self._listed(root, src) is not None):
                if isinstance(root, ClipStore) and not places:
                    return self._objects[src]
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
        left_out: dict[ClipRoot, set[str]] = {root: set() for root in self._listings}
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
            if name.endswith(PART) and not name.startswith((f"{ARCHIVES}/", marks.PREFIX))
        ]
        for root in self.folders.every:
            if any(name.startswith(marks.PREFIX) for name in self._listings[root].names):
                marks.remove_abandoned(root)
        for path in parts:
            path.unlink(missing_ok=True)  # a worker elsewhere, whose run was killed, may have removed its own
        return len(parts)

    def _searched(self, src: str, score_drop: str) -> "tuple[_SearchedFolder, ...]":
        """The folders that ``ClipFolders.searched`` gives, found once for all names that begin alike."""
        key = (score_drop, src.partition("/")[0] in self.folders.entries)
        places = self._places.get(key)
        if places is None:
            roots = self.folders.searched(src, score_drop)
            places = self._places[key] = tuple((root, self._listings[root], str(root)) for root in roots)
        return places

    def _listed(self, root: ClipRoot, name: str) -> FoundFile | None:
        listing = self._listings[root]
        if name in listing.names:
            return root, name
        for prefix, inner in listing.inner:
            if name.startswith(prefix) and (listed := self._listed(inner, name[len(prefix) :])) is not None:
                return listed
        if isinstance(root, Path) and any(name.startswith(p) for p in listing.linked) and is_there(root / name):
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

    @classmethod
    def of_store(cls, names: Iterable[str]) -> "_Listing":
        """The objects of a store."""
        listing = cls(Path(), ())
        listing.names = set(names)
        return listing

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


_SearchedFolder = tuple[ClipRoot, _Listing, str]
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
