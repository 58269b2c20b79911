"""One row of the encode grid: its keys, its defaults, how it is written, read and judged. What fills it is not here.

NaN is how vmaf-tune says that something was not measured, so these files are written by the standard library's JSON,
which writes ``NaN`` where orjson would write ``null``. Both are read, the latter as NaN, and only in columns that may
be missing. Keys are sorted, one row a line.
"""

import json
import math
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vqa_assets.errors import EncodeGridError, Make, SchemaError
from vqa_assets.tables.files import JsonLine, read_json_lines
from vqa_assets.tables.specs import ENCODE_GRID_JSONL, FR_TRAINING_CORPUS, Column

SCHEMA_VERSION = 3
ROW_KEYS = tuple(c.name for c in ENCODE_GRID_JSONL.columns if c.required)
"""vmaf-tune's Phase A keys, in its order."""

VERSION_2_KEYS = ROW_KEYS[: ROW_KEYS.index("clip_mode") + 1]
NATURAL_KEY = FR_TRAINING_CORPUS.natural_key
OF_THE_RUN = ("run_id", "timestamp", "encode_path", "encode_time_ms", "score_time_ms")
"""Keys that tell of a run and differ where the encode is the same."""

_COLUMNS = {c.name: c for c in ENCODE_GRID_JSONL.columns}
_EMPTY: Mapping[str, Any] = {"string": "", "integer": 0, "number": 0.0, "boolean": False}


def _default(column: Column) -> Any:
    return math.nan if column.nullable else _EMPTY[column.kind]


DEFAULTS: Mapping[str, Any] = {
    **{c.name: _default(c) for c in ENCODE_GRID_JSONL.columns if c.required},
    "schema_version": SCHEMA_VERSION,
    "clip_mode": "full",
}
"""What stands where a source does not say: texts empty, counts 0, numbers 0.0, scores and features NaN."""


def grid_line(row: Mapping[str, Any]) -> bytes:
    """One row as the grid's files hold it: sorted keys, UTF-8, ``NaN`` where nothing was measured, a final newline."""
    text = json.dumps(row, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace") + b"\n"  # a lone surrogate is an escape in JSON


def content_line(row: Mapping[str, Any]) -> bytes:
    """The row without what tells of a run: equal for two scorings of one encode with one result."""
    return grid_line({key: value for key, value in row.items() if key not in OF_THE_RUN})


def content_of(row: Mapping[str, Any]) -> str:
    """What the row's source shows: its content id, else the source itself."""
    return str(row.get("content_id") or row["src_sha256"])


def read_grid(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row) of a file that holds complete rows of version 3. EncodeGridError names file and line of any other."""

    def complete(row: dict[str, Any], where: str) -> dict[str, Any]:
        require(row, ROW_KEYS, where, Make("encode_grid_jsonl", ", which completes older rows"))
        return row

    yield from checked_rows(path, complete)


def checked_rows(
    path: Path, complete: Callable[[dict[str, Any], str], dict[str, Any]]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row) of a file, each row made complete by ``complete(row, where)`` and judged against the columns' kinds.

    EncodeGridError where the file cannot be read, or names the line that holds no row of the grid.
    """
    for line in _lines(path):
        where = f"{path}:{line.number}"
        if "mos" in line.row:
            raise EncodeGridError(
                where,
                found="a row with opinions (mos)",
                expected="an encode-grid row (vmaf_score, encoder, preset, crf)",
                next_step="it belongs to unified_corpus",
            )
        row = complete(line.row, where)
        yield line.number, {key: _checked(key, value, where) for key, value in row.items()}


def require(row: Mapping[str, Any], keys: tuple[str, ...], where: str, next_step: str | Make) -> None:
    """EncodeGridError that lists the keys which a row lacks."""
    missing = [key for key in keys if key not in row]
    if missing:
        raise EncodeGridError(f"{where}: missing required keys: {missing}", next_step=next_step)


def _lines(path: Path) -> Iterator[JsonLine]:
    try:
        yield from read_json_lines(path)
    except SchemaError as error:
        raise EncodeGridError(
            error.what,
            found=error.found,
            expected=error.expected,
            next_step="have the file written again, or cut it",
        ) from error
    except OSError as error:
        raise EncodeGridError(
            f"{path}",
            found=f"it cannot be read ({error.strerror})",
            expected="a JSON Lines file of encode-grid rows",
            next_step="put the file there, or name another one",
        ) from error


def _checked(key: str, value: Any, where: str) -> Any:
    """The value as the grid holds it. EncodeGridError where it is not of its column's kind."""
    column = _COLUMNS.get(key)
    if column is None:
        return value
    if value is None and column.nullable:
        return None if column.kind == "string" else math.nan
    if key == "extra_params" and isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = shlex.join(value)
    if not _is_of_kind(value, column):
        raise EncodeGridError(
            f"{where}: {key}",
            found=repr(value)[:80],
            expected=f"{'an' if column.kind == 'integer' else 'a'} {column.kind}",
            next_step="correct what wrote the row; no file is replaced",
        )
    return value


def _is_of_kind(value: Any, column: Column) -> bool:
    if column.kind == "string":
        return isinstance(value, str) and is_unicode(value)
    if column.kind == "boolean":
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    if isinstance(value, float) and not math.isfinite(value):
        return math.isnan(value) and column.nullable
    return column.kind == "number" or float(value).is_integer()


def shown_name(path: Path) -> str:
    """A file's name as it can be written: bytes that are no UTF-8 are shown as escapes."""
    return path.name.encode("utf-8", "backslashreplace").decode()


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: a lone surrogate, as from a file name of other bytes, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
