"""Labelled rows into a file of any format. Beside them stands a Parquet table that can be validated batch by batch."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow.parquet as pq

from vqa_assets.errors import LabelError
from vqa_assets.labels.formats import Format, format_of
from vqa_assets.labels.joining import Join
from vqa_assets.labels.reading import unreadable
from vqa_assets.tables.files import drafting, fault_of

_BATCH_ROWS = 65_536
_CHUNK_ROWS = 10_000
"""Rows that stream through the join together: the engine's own choice takes twice the memory and no less time."""


def write_parquet(join: Join, path: Path) -> None:
    """The labelled rows as Parquet, streamed in their order; of a table of objects only the columns that are added."""
    rows = join.rows.select(join.added) if join.table.as_objects else join.rows
    try:
        with pl.Config(streaming_chunk_size=_CHUNK_ROWS):
            rows.sink_parquet(path, compression="zstd", row_group_size=_BATCH_ROWS)
    except pl.exceptions.PolarsError as error:
        if fault_of(error) is not None:
            raise
        raise unreadable(join.table.path, error) from error


def write_as(join: Join, parquet: Path, path: Path, target: Path) -> None:
    """The labelled rows, already written as Parquet, in the format that the target's suffix says."""
    kind = format_of(target)
    if join.table.as_objects:
        _write_json(path, (_json(row) for row in _objects_with(join, parquet)), kind)
        return
    try:
        _write_columns(pl.scan_parquet(parquet), path, kind)
    except pl.exceptions.PolarsError as error:
        if fault_of(error) is not None:
            raise
        raise LabelError(
            f"{target}",
            found=f"columns that {kind} cannot hold ({str(error).partition(chr(10))[0]})",
            expected="texts, numbers, booleans and times",
            next_step="set out to a .parquet file",
        ) from error


def _write_columns(rows: pl.LazyFrame, path: Path, kind: Format) -> None:
    if kind is Format.CSV:
        rows.sink_csv(path)
    elif kind is Format.JSONL:
        rows.sink_ndjson(path)
    else:
        with drafting(path.with_name(f"{path.name}.lines")) as lines:
            rows.sink_ndjson(lines.path)
            with lines.path.open("rb") as found:
                _write_json(path, (line.rstrip(b"\n") for line in found), kind)


def _objects_with(join: Join, parquet: Path) -> Iterator[dict[str, Any]]:
    """The features' objects with the added columns, one by one; replaced columns move to the end."""
    batches = pq.ParquetFile(parquet).iter_batches(_BATCH_ROWS)
    labels = (row for batch in batches for row in batch.to_pylist())
    for (_, row), label in zip(join.table.objects(), labels, strict=True):
        yield {name: value for name, value in row.items() if name not in label} | label


def _json(row: dict[str, Any]) -> bytes:
    """An object in its own order; the standard library writes the numbers that orjson does not."""
    try:
        return orjson.dumps(row) if _is_plain(row) else json.dumps(row, ensure_ascii=False).encode()
    except (TypeError, UnicodeEncodeError):
        return json.dumps(row).encode()


def _is_plain(row: dict[str, Any]) -> bool:
    """False where a value may be NaN or infinite, which orjson would turn into null."""
    return all(math.isfinite(value) for value in row.values() if isinstance(value, float))


def _write_json(path: Path, objects: Iterator[bytes], kind: Format) -> None:
    with path.open("wb") as out:
        if kind is Format.JSONL:
            out.writelines(one + b"\n" for one in objects)
            return
        out.write(b'{"rows": [')
        for number, one in enumerate(objects):
            out.write((b",\n" if number else b"\n") + one)
        out.write(b"\n]}\n")
