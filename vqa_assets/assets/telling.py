"""How a stage's result and its failures are told in the web UI: metadata, column schemas, small pictures, failures."""

import base64
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from vqa_assets.errors import VqaError
from vqa_assets.tables.disk import fault_of, refusal_of
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.specs import Table

SYNTHETIC_TAG = "vqa_assets/synthetic"
"""On a materialization that no real row went into (smoke, synthetic fallback)."""
_TYPES = {"string": "string", "integer": "int", "number": "float", "boolean": "bool"}


@contextmanager
def told_failures() -> Iterator[None]:
    """Turn a ``VqaError`` into a ``dagster.Failure`` that says what, found, expected and next, and is not retried.

    What the disk refuses is told in the same way.
    """
    try:
        yield
    except VqaError as error:
        raise _failure(error) from error
    except OSError as error:
        code = fault_of(error)
        if code is None:
            raise
        raise _failure(_refused(code, error)) from error


def _refused(code: int, error: OSError) -> VqaError:
    words = refusal_of(code, Path(error.filename) if error.filename else None)
    return VqaError(
        words.what,
        found=error.strerror or str(error),
        expected=words.expected,
        next_step=f"{words.remedy}, then run again: the earlier output stands",
    )


def _failure(error: VqaError) -> dg.Failure:
    parts = {"what": error.what, "found": error.found, "expected": error.expected, "next": error.next_step}
    metadata = {name: text for name, text in parts.items() if text}
    return dg.Failure(description=str(error), metadata=metadata, allow_retries=False)


def step_failure(event: dg.DagsterEvent) -> str:
    """Why a step failed, in words: the description of a ``Failure``, else the innermost error and its place."""
    data = event.step_failure_data
    told = data.user_failure_data.description if data.user_failure_data else None
    return told or _unexpected(data.error)


def _unexpected(error: Any) -> str:
    """An error that nobody foresaw: its own message, below Dagster's wrapping, and where it was raised."""
    while error is not None and error.cause is not None:
        error = error.cause
    if error is None:
        return "no reason was recorded"
    return f"unexpected {error.message.strip()} ({' '.join(error.stack[-1].split()) if error.stack else 'nowhere'})"


@contextmanager
def log_level(level: str) -> Iterator[None]:
    """Log from ``level`` on while the block runs."""
    logger = logging.getLogger("vqa_assets")
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


def column_schema(table: Table) -> dg.TableSchema:
    """The table's columns with their constraints, as the Columns panel shows them."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                c.name,
                _TYPES[c.kind],
                c.description,
                dg.TableColumnConstraints(nullable=c.nullable, unique=c.unique, other=c.constraints),
            )
            for c in table.columns
        ]
    )


def table_metadata(table: Table, rows: int) -> dict[str, Any]:
    """Row count and column schema under the names the web UI knows."""
    return {"dagster/row_count": rows, "dagster/column_schema": column_schema(table)}


def manifest_metadata(manifest: Mapping[str, Any], path: Path, root: DataRoot) -> dict[str, Any]:
    """The whole replay manifest and where it is."""
    return {"manifest": dg.MetadataValue.json(dict(manifest)), "manifest_path": root.shown(path)}


def synthetic_tags(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The tags of a materialization: one that says so where a head was trained on synthetic rows."""
    return {SYNTHETIC_TAG: "true"} if manifest["smoke"] or manifest["synthetic"] else {}


def records(rows: Sequence[Mapping[str, Any]]) -> dg.MetadataValue[Any]:
    """Rows as an inline table, ``–`` where a row has no value, numbers ``shortened``; an empty table says so."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    shown = [{name: "–" if row.get(name) is None else shortened(row[name]) for name in names} for row in rows]
    return dg.MetadataValue.table([dg.TableRecord(row) for row in shown or [{"": "none"}]])


def shortened(value: Any) -> Any:
    """A float with four significant figures, and all of those before its point; anything else as it is."""
    if not isinstance(value, float) or not math.isfinite(value) or value == 0:
        return value
    return round(value, max(0, 3 - math.floor(math.log10(abs(value)))))


def counted(counts: Mapping[str, int], name: str = "reason") -> dg.MetadataValue[Any]:
    """Counts by name as an inline table."""
    return records([{name: key, "rows": value} for key, value in counts.items()])


def picture(content: bytes, title: str, kind: str = "png") -> dg.MetadataValue[Any]:
    """A small PNG (or JPEG: ``kind``) inside Markdown, behind the UI's [Show Markdown]."""
    return dg.MetadataValue.md(f"![{title}](data:image/{kind};base64,{base64.b64encode(content).decode()})")
