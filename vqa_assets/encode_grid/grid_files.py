"""The files of the encode grid: where they lie below the data root, and the inputs, listed and hashed.

What is in them is read elsewhere.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vqa_assets.corpora import ENCODE_GRID_SOURCES, EncodeGridSource
from vqa_assets.corpora.external import BVI_DVC, NETFLIX
from vqa_assets.errors import EncodeGridError
from vqa_assets.provenance import content_version
from vqa_assets.tables.files import no_file_at
from vqa_assets.tables.paths import DataRoot

_NO_REPORT = (".", "~$")


@dataclass(frozen=True)
class InputFile:
    """One input: its path, its size in bytes, the SHA-256 of its bytes."""

    path: Path
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class GridInputs:
    """Every input by name, how many of each source, and a hash of their names and bytes."""

    reports_folder: Path
    files: tuple[InputFile, ...]
    unreadable: tuple[Path, ...]
    counts: Mapping[str, int]
    data_version: str


def folder(root: DataRoot) -> Path:
    """``<root>/encode-grid``."""
    return root.path / "encode-grid"


def reports_folder(root: DataRoot) -> Path:
    """``<root>/encode-grid/bvi-dvc``: cached libvmaf reports, the default ``cache_dir``."""
    return folder(root) / BVI_DVC.name


def vmaf_tune_rows(root: DataRoot) -> Path:
    """``<root>/encode-grid/netflix_vmaf_tune.jsonl``: rows as vmaf-tune wrote them, the default ``input``."""
    return folder(root) / f"{NETFLIX.name}_vmaf_tune.jsonl"


def grid_jsonl(root: DataRoot, source: EncodeGridSource) -> Path:
    """``<root>/encode-grid/<source_>_corpus.jsonl``."""
    return folder(root) / f"{source.name.replace('-', '_')}_corpus.jsonl"


def every_grid_jsonl(root: DataRoot) -> tuple[Path, ...]:
    """The grid JSONL of every source, in the order in which they are merged."""
    return tuple(grid_jsonl(root, source) for source in ENCODE_GRID_SOURCES.values())


def training_corpus(root: DataRoot) -> Path:
    """``<root>/encode-grid/fr_v2_train_corpus.jsonl``."""
    return folder(root) / "fr_v2_train_corpus.jsonl"


def reports_in(folder: Path) -> tuple[Path, ...]:
    """The reports in a folder by name, dangling links included; hidden files and lock files are none."""
    return tuple(sorted(p for p in folder.glob("*.json") if not p.name.startswith(_NO_REPORT) and not p.is_dir()))


def list_reports(folder: Path) -> tuple[Path, ...]:
    """``reports_in`` a folder. EncodeGridError where there is none."""
    if reports := reports_in(folder):
        return reports
    raise EncodeGridError(
        f"{BVI_DVC.name}: no libvmaf report",
        found=f"no *.json in {folder}" if folder.is_dir() else f"no folder {folder}",
        expected="one JSON report per encode, named <clip>_<W>x<H>_<N>fps_….json",
        next_step="put the reports there, or set cache_dir",
    )


def list_inputs(reports_folder: Path, rows: Path) -> GridInputs:
    """The reports in a folder, and vmaf-tune's rows where they are; EncodeGridError where there is neither."""
    reports = reports_in(reports_folder) if rows.is_file() else list_reports(reports_folder)
    paths = [*reports, *([rows] if rows.is_file() else [])]
    files, unreadable = [], []
    for path in paths:
        if no_file_at(path):
            unreadable.append(path)
            continue
        try:
            with path.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            files.append(InputFile(path, path.stat().st_size, digest))
        except OSError:
            unreadable.append(path)
    return GridInputs(
        reports_folder=reports_folder,
        files=tuple(files),
        unreadable=tuple(unreadable),
        counts={BVI_DVC.name: len(reports), NETFLIX.name: len(paths) - len(reports)},
        # a name's bytes may be no UTF-8: they count as they stand
        data_version=content_version(f"{f.path.name}\n{f.sha256}\n".encode("utf-8", "surrogateescape") for f in files),
    )
