"""Which files are a corpus's annotation file, and what else lies in their place. Reads at most a file's first line."""

import fnmatch
from collections.abc import Sequence
from pathlib import Path

from vqa_assets.annotations.dialects import without_preamble
from vqa_assets.corpora import Corpus
from vqa_assets.errors import AnnotationError
from vqa_assets.printing import logger
from vqa_assets.tables.files import kind_of_node

_log = logger("vqa_assets.annotations")
_TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".xlsx", ".xls", ".ods", ".mat")
_TRAPS = (
    (".~lock.", "a lock file of LibreOffice, where the table is open"),
    ("~$", "a lock file of Excel, where the table is open"),
    ("._", "macOS's notes on a file, not the file"),
    (".ds_store", "macOS's notes on a folder"),
)
_TRAP_FOLDERS = {
    ".ipynb_checkpoints": "a copy that Jupyter keeps",
    "__macosx": "macOS's notes on a file, not the file",
}
_WRITTEN_HERE = (".manifest.json", ".audit.json", "fetch_manifest.json")
"""Endings of the JSON files that stages write beside a corpus's tables."""
_MOST_SHOWN = 5
_HEADER_BYTES = 4096


def find_annotation_files(corpus: Corpus, corpus_dir: Path, explicit: Path | None) -> tuple[Path, ...]:
    """The annotation file, or its parts; behind it the lists that only mark a split, and files of single votes.

    The first one is neither.
    A file that is named and missing is an error, never a fallback. AnnotationError says what to drop, and where to get
    it.
    """
    if explicit is not None:
        if not explicit.is_file() or trap(explicit):
            raise AnnotationError(
                f"{corpus.name}: manifest_csv {explicit}",
                found=f"found {what_is_there(explicit)} there",
                expected="the annotation file that the setting names",
                next_step="correct the path; a file that is named is never replaced by another",
            )
        return (explicit, *_split_lists(corpus, explicit.parent, explicit), *_votes_beside([explicit], corpus))
    files = present_annotation_files(corpus, corpus_dir)
    if not files:
        path = corpus_dir / corpus.acquisition.file
        names = dict.fromkeys((*corpus.annotation_files, *(part.file for part in corpus.parts)))
        raise AnnotationError(
            f"{corpus.name}: no annotation file",
            found=f"found {what_is_there(path)} at {path}{_nearby(corpus_dir, path)}",
            expected=f"{' or '.join(names)} in {corpus_dir}",
            next_step=f"{corpus.acquisition.steps} Get it from {corpus.acquisition.where}",
        )
    return files


def present_annotation_files(corpus: Corpus, corpus_dir: Path) -> tuple[Path, ...]:
    """The files as ``find_annotation_files``, empty where there are none."""
    places = (_at(corpus_dir, name) for name in corpus.annotation_files)
    whole = list(dict.fromkeys(path for path in places if path is not None))
    parts = [path for part in corpus.parts if (path := corpus_dir / part.file).is_file()]
    # parts say of which score drop each row is: a whole file beside them is worth more only for its addresses
    drops = all(part.field == "score_drop" for part in corpus.parts)
    if not whole or (parts and drops and not _has_url_column(whole[0], corpus)):
        return (*parts, *_votes_beside(parts, corpus)) or tuple(whole[:1])
    lists = _split_lists(corpus, corpus_dir, whole[0])
    left = [path.name for path in [*whole[1:], *parts] if path not in lists]
    if left:
        _log.info("%s: %s is taken, %s beside it is not", corpus.name, whole[0].name, ", ".join(left))
    return (whole[0], *lists)


def _at(folder: Path, name: str) -> Path | None:
    """The file of that name, or the one table that a pattern is of, whatever the case; None where none or several."""
    if "*" not in name:
        return path if (path := folder / name).is_file() else None
    # ``KoNViD_1k_metadata/**/*.csv``: the folder, and what a name in it or below it must look like
    within, below, pattern = name.rpartition("**/")
    found = (folder / within).rglob("*") if below else folder.glob("*")
    tables = [
        path
        for path in found
        if fnmatch.fnmatchcase(path.name.lower(), pattern.lower()) and not trap(path) and path.is_file()
    ]
    return tables[0] if len(tables) == 1 else None


def what_is_there(path: Path) -> str:
    """What stands where a file should: nothing, a folder, a pipe, a dangling link, a file that only looks like one."""
    if path.exists():
        return trap(path) or kind_of_node(path.stat().st_mode)
    if path.is_symlink():
        return "a dangling link"
    return "nothing" if path.parent.is_dir() else "no folder"


def trap(path: Path) -> str:
    """What a file really is whose name says that it is no table; empty for any other file."""
    folders = {part.lower() for part in path.parts}
    notes = [note for name, note in _TRAP_FOLDERS.items() if name in folders]
    notes += [note for start, note in _TRAPS if path.name.lower().startswith(start)]
    return notes[0] if notes else ""


def _split_lists(corpus: Corpus, folder: Path, whole: Path) -> list[Path]:
    """The lists beside a whole annotation file that say which of its clips are of an official split but train."""
    if corpus.part_of(whole.name):
        return []
    lists = [part.file for part in corpus.parts if part.field == "split" and part.value != "train"]
    return [path for name in lists if (path := folder / name).is_file()]


def _votes_beside(files: Sequence[Path], corpus: Corpus) -> list[Path]:
    """The files of single votes that lie beside score drops."""
    names = [(path.parent, part.votes) for path in files if (part := corpus.part_of(path.name)) and part.votes]
    return [path for folder, name in names if (path := folder / name).is_file()]


def _has_url_column(path: Path, corpus: Corpus) -> bool:
    with path.open("rb") as content:
        start, _ = without_preamble(content.read(_HEADER_BYTES).decode("utf-8-sig", "replace").lower())
    header = next(iter(start.strip().splitlines()), "")
    names = {name.strip().strip('"') for name in header.replace(";", ",").replace("\t", ",").split(",")}
    return not names.isdisjoint(corpus.spellings.url)


def _is_ours(path: Path) -> bool:
    """Whether a file is one that we write into a corpus's folder, or hidden: nobody's score file."""
    return path.name.startswith(".") or path.name.endswith(_WRITTEN_HERE)


def _nearby(folder: Path, missing: Path) -> str:
    """The tables and traps that lie in a folder, for the message that the right file does not."""
    if not folder.is_dir():
        return ""
    others = (p for p in sorted(folder.iterdir()) if p != missing and not p.is_dir())
    near = [p for p in others if trap(p) or (p.suffix.lower() in _TABLE_SUFFIXES and not _is_ours(p))]
    names = []
    for path in near[:_MOST_SHOWN]:
        note = trap(path) or ("" if path.exists() else "a dangling link")
        names.append(f"{path.name} ({note})" if note else path.name)
    return f" (there lie {', '.join(names)})" if names else ""
