"""Netflix: rows that vmaf-tune wrote, validated, and completed where they are of version 2. Nothing is scored here."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vqa_assets.corpora.external import NETFLIX
from vqa_assets.encode_grid.grid import GridJob, GridOutput, GridReport
from vqa_assets.encode_grid.layout import vmaf_tune_rows
from vqa_assets.encode_grid.rows import DEFAULTS, ROW_KEYS, SCHEMA_VERSION, VERSION_2_KEYS, checked_rows, require
from vqa_assets.errors import EncodeGridError
from vqa_assets.provenance import told_settings
from vqa_assets.tables.paths import DataRoot

_NEXT_STEP = "write the rows again with a vmaf-tune of schema version 3; nothing is guessed but what version 2 lacks"


def netflix_job(rows: Path, root: DataRoot, to: GridOutput) -> GridJob:
    """The grid of vmaf-tune's rows in a JSON Lines file. EncodeGridError where there is none."""
    if not rows.is_file():
        raise EncodeGridError(
            f"{NETFLIX.name}: no rows of vmaf-tune",
            found=f"a folder at {rows}" if rows.is_dir() else f"nothing at {rows}",
            expected="a JSON Lines file of encodes scored by vmaf-tune",
            next_step="put the file there, or set input",
        )
    return GridJob(
        source=NETFLIX,
        inputs={root.shown(rows): rows},
        read=lambda report: _rows(rows, report),
        to=to,
        args=told_settings({"input": rows}, {"input": vmaf_tune_rows(root)}),
    )


def _rows(path: Path, report: GridReport) -> Iterator[dict[str, Any]]:
    def complete(row: dict[str, Any], where: str) -> dict[str, Any]:
        version = _version(row, where)
        require(row, ROW_KEYS if version == SCHEMA_VERSION else VERSION_2_KEYS, where, _NEXT_STEP)
        report.filled_version_2 += version != SCHEMA_VERSION
        return {**DEFAULTS, **row, "schema_version": SCHEMA_VERSION}

    for _, row in checked_rows(path, complete):
        yield row


def _version(row: Mapping[str, Any], where: str) -> int:
    """2 or 3. EncodeGridError names any other version."""
    require(row, ("schema_version",), where, _NEXT_STEP)
    version = row["schema_version"]
    if type(version) is int and version in (2, SCHEMA_VERSION):
        return version
    raise EncodeGridError(
        f"{where}: schema_version", found=f"version {version!r}", expected="version 2 or 3", next_step=_NEXT_STEP
    )
