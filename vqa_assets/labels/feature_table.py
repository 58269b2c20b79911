"""The feature side: a table in any format, its distinct keys, and the rows that labels are put beside.

Other columns are never looked at here: what they hold is passed through.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from vqa_assets.labels.columns import IDENTITY_COLUMNS, check_names
from vqa_assets.labels.coverage import RAW_KEY, ROWS
from vqa_assets.labels.formats import Format, format_of
from vqa_assets.labels.keys import key_text
from vqa_assets.labels.reading import (
    ROW,
    Wanted,
    csv_header,
    json_rows,
    read_columns,
    scan_csv,
    unreadable,
    without_empty_rows,
)
from vqa_assets.tables.files import read_json_lines
from vqa_assets.tables.parquet import column_names, json_texts


@dataclass(frozen=True)
class FeatureTable:
    """One feature table. ``as_objects``: its rows are JSON objects and stay so, each with keys of its own."""

    path: Path
    out: Path

    @property
    def as_objects(self) -> bool:
        """True where rows go from JSON objects to JSON objects."""
        return format_of(self.path).is_json and format_of(self.out).is_json

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All columns, in their order. SchemaError or LabelError where the file cannot be read."""
        kind = format_of(self.path)
        if kind.is_json:
            return tuple(dict.fromkeys(name for _, row in self.objects() for name in row))
        names = column_names(self.path) if kind is Format.PARQUET else csv_header(self.path)[0]
        check_names(names, str(self.path))
        return tuple(names)

    def scan(self, key: str) -> pl.LazyFrame:
        """The rows in their order; of a table of objects only the key and identity columns, as texts."""
        texts = (key, *(name for name in IDENTITY_COLUMNS if name in self.names))
        kind = format_of(self.path)
        if kind is Format.PARQUET:
            return pl.scan_parquet(self.path)
        if kind is Format.CSV:
            rows = scan_csv(self.path, typed=format_of(self.out) is not Format.CSV, texts=texts)
            return without_empty_rows(rows, self.path)
        if self.as_objects:
            return read_columns(self.path, Wanted(dict.fromkeys(texts, str).get, texts)).frame.drop(ROW).lazy()
        try:
            return frame_of_objects([row for _, row in self.objects()], self.names).lazy()
        except UnicodeEncodeError as error:  # a lone surrogate, which JSON may hold and columns may not
            raise unreadable(self.path, error) from error

    def objects(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The rows of a table of objects, one by one."""
        if format_of(self.path) is Format.JSONL:
            yield from ((line.number, line.row) for line in read_json_lines(self.path))
        else:
            yield from enumerate(json_rows(self.path), 1)

    def distinct(self, rows: pl.LazyFrame, key: str) -> pl.DataFrame:
        """One row per distinct key and identity: ``_raw_key``, ``_rows`` and the identity columns, as texts."""
        schema = rows.collect_schema()
        identity = [key_text(name, schema[name]).alias(name) for name in IDENTITY_COLUMNS if name in schema]
        return (
            rows.select(key_text(key, schema[key]).alias(RAW_KEY), *identity)
            .group_by(pl.all())
            .agg(pl.len().alias(ROWS))
            .collect(engine="streaming")
        )


def frame_of_objects(rows: list[dict[str, Any]], names: tuple[str, ...]) -> pl.DataFrame:
    """Objects as columns; a column whose values have no common type becomes JSON texts."""
    return pl.DataFrame([_column(name, [row.get(name) for row in rows]) for name in names])


def _column(name: str, values: list[Any]) -> pl.Series:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pl.Series(name, values, dtype=pl.Float64, strict=False)
    if len(kinds) <= 1:
        try:
            return pl.Series(name, values)
        except (TypeError, OverflowError, pl.exceptions.PolarsError):
            pass
    return pl.Series(name, json_texts(values), dtype=pl.String)
