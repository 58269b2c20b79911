"""What the encode grid is made from: the files, listed and hashed. What is in them is read elsewhere."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vqa_assets.corpora.external import BVI_DVC, NETFLIX
from vqa_assets.encode_grid.bvi_dvc import list_reports, reports_in
from vqa_assets.provenance import content_version


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


def list_inputs(reports_folder: Path, rows: Path) -> GridInputs:
    """The reports in a folder, and vmaf-tune's rows where they are; EncodeGridError where there is neither."""
    reports = reports_in(reports_folder) if rows.is_file() else list_reports(reports_folder)
    paths = [*reports, *([rows] if rows.is_file() else [])]
    found = {path: _hashed(path) for path in paths}
    files = tuple(file for file in found.values() if file is not None)
    return GridInputs(
        reports_folder=reports_folder,
        files=files,
        unreadable=tuple(path for path, file in found.items() if file is None),
        counts={BVI_DVC.name: len(reports), NETFLIX.name: len(paths) - len(reports)},
        data_version=_version(files),
    )


def _hashed(path: Path) -> InputFile | None:
    try:
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        return InputFile(path, path.stat().st_size, digest)
    except OSError:
        return None


def _version(files: Iterable[InputFile]) -> str:
    return content_version(f"{f.path.name}\n{f.sha256}\n".encode("utf-8", "surrogateescape") for f in files)
