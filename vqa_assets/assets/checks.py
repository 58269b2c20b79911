"""Checks that every table has, made from its column specs; they read the published file, so they can run alone."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from vqa_assets.errors import VqaError
from vqa_assets.tables.files import read_json_lines
from vqa_assets.tables.parquet import iterate_frames
from vqa_assets.tables.specs import Table
from vqa_assets.tables.validation import validate_frames, validate_rows


def jsonl_schema_result(path: Path, table: Table) -> dg.AssetCheckResult:
    """Whether a JSON Lines file keeps the table's column specs."""
    return _schema_result(path, lambda: validate_rows((line.row for line in read_json_lines(path)), table, str(path)))


def parquet_schema_result(path: Path, table: Table) -> dg.AssetCheckResult:
    """Whether a Parquet file keeps the table's column specs."""
    names = [c.name for c in table.columns]
    return _schema_result(path, lambda: validate_frames(iterate_frames(path, names), table, str(path)))


def warning(passed: bool, description: str, metadata: Mapping[str, Any] | None = None) -> dg.AssetCheckResult:
    """A result that warns and never blocks."""
    return dg.AssetCheckResult(
        passed=passed, severity=dg.AssetCheckSeverity.WARN, description=description, metadata=dict(metadata or {})
    )


def error(passed: bool, description: str, metadata: Mapping[str, Any] | None = None) -> dg.AssetCheckResult:
    """A result that fails; whether it blocks is the check's own."""
    return dg.AssetCheckResult(
        passed=passed, severity=dg.AssetCheckSeverity.ERROR, description=description, metadata=dict(metadata or {})
    )


def shown_examples(examples: Iterable[str]) -> str:
    """Examples in a sentence, or ``none``."""
    return ", ".join(examples) or "none"


def _schema_result(path: Path, validate: Callable[[], int]) -> dg.AssetCheckResult:
    if not path.exists():
        return error(False, f"{path}: found nothing there, expected the artefact; materialize the asset")
    return schema_result(validate)


def schema_result(validate: Callable[[], int]) -> dg.AssetCheckResult:
    """What validating says: the number of rows, or what breaks the specs."""
    try:
        rows = validate()
    except VqaError as failure:
        return error(False, str(failure), {"found": failure.found, "expected": failure.expected})
    return error(True, f"{rows} rows keep the column specs", {"rows": rows})
