"""A table of any format, opened at one door: its format is decided there, once, by its suffix.

Whole rows come as one lazy frame; chosen columns come with keys and names as texts and scores as numbers, and a value
that is no number stays beside its row, so that whoever uses the column can name it. What columns mean is not here.
"""

import math
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property, partial
from itertools import islice
from pathlib import Path
from types import NoneType
from typing import Any

import msgspec
import orjson
import polars as pl

from vqa_assets.errors import Make, SchemaError, TableError
from vqa_assets.tables.content_errors import reading
from vqa_assets.tables.files import LFS_POINTER, kind_of_node, place_to_read, read_json_lines
from vqa_assets.tables.makers import refuse_newer
from vqa_assets.tables.parquet import column_names, json_texts, open_parquet

ROW = "_row"
"""Column of the rows' places: the line in JSON Lines, else the row's number, from 1."""
REFUSED = "_no_number:"
"""Begins the name of the column that holds, as code would write them, the values of a number column that are none."""
_HAS_VALUE = "_has_value:"
_CHUNK = 20_000
_ROWS_OF_NAMES = 1_000
_BEFORE_EMPTY_ROWS = (b"\n\n", b"\n\r\n", b"\n,", b"\n;", b"\n\t")
_PADDED = r"^\s*[+-]?0[0-9]"
_NEXT = "correct the file, or save it in another format"


class Format(StrEnum):
    """A table file's format."""

    PARQUET = "parquet"
    JSONL = "jsonl"
    JSON = "json"
    CSV = "csv"

    @property
    def is_json(self) -> bool:
        """True where rows are JSON objects, each with keys of its own."""
        return self in (Format.JSONL, Format.JSON)


_SUFFIXES = {
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSON,
    ".csv": Format.CSV,
    ".tsv": Format.CSV,
}
TABLE_SUFFIXES = tuple(_SUFFIXES)
"""Suffixes, in small letters, of the files that hold a table; no other list of them stands anywhere."""


@dataclass(frozen=True)
class ColumnSelection:
    """Which columns are read: ``kind`` says of a name ``str``, ``float`` or None; ``names`` are the expected ones.

    A table of objects may have an expected name in any row, and others where its first thousand rows have them, or with
    ``in_any_row`` wherever they are.
    """

    kind: Callable[[str], type | None]
    names: tuple[str, ...] = ()
    in_any_row: bool = False

    def kinds(self, names: Iterable[str]) -> dict[str, type]:
        """The selected ones of these names, with their kinds."""
        return {name: kind for name in names if (kind := self.kind(name)) is not None}


@dataclass(frozen=True)
class SelectedColumns:
    """The selected columns of one table that it has, and all its names.

    ``frame`` has ``_row``, the columns, and a ``_no_number:`` column beside each that has values that are no numbers.
    """

    table: "ForeignTable"
    names: tuple[str, ...]
    frame: pl.DataFrame

    @property
    def path(self) -> Path:
        """The table's path."""
        return self.table.path

    def refused(self, name: str) -> dict[int, str]:
        """Row → the value as code would write it, of the values of a number column that are no numbers."""
        if REFUSED + name not in self.frame.columns:
            return {}
        return dict(self.frame.select(ROW, REFUSED + name).drop_nulls().iter_rows())


@dataclass(frozen=True)
class ForeignTable:
    """One table file and its format."""

    path: Path
    format: Format

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All columns, in their order. SchemaError or TableError where the file cannot be read."""
        if self.format.is_json:
            return tuple(dict.fromkeys(name for _, row in self.objects() for name in row))
        names = column_names(self.path) if self.format is Format.PARQUET else self._csv_header[0]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise TableError(
                f"{self.path}: ambiguous columns",
                found=f"more than one column named {', '.join(twice)}",
                expected="each column name once",
                next_step="rename or remove the one that is not meant",
            )
        return tuple(names)

    def place(self, row: int) -> str:
        """A row as a message names it: by its line in JSON Lines, else by its number."""
        return f"{self.path}:{row}" if self.format is Format.JSONL else f"{self.path}: row {row}"

    def unreadable(self, error: Exception) -> TableError:
        """The error of a file whose content cannot be read to its end."""
        reason = str(error).partition("\n")[0]
        return TableError(
            f"{self.path}",
            found=f"content that cannot be read ({reason})",
            expected="text in UTF-8" if "utf-8" in reason.lower() else "a whole table",
            next_step=_NEXT,
        )

    def rows(self, texts: Iterable[str] = (), *, typed: bool = True) -> pl.LazyFrame:
        """All rows and columns in their order.

        A CSV's columns are what all their values are, but for ``texts``; without ``typed`` they are texts. Its empty
        lines are no rows. A column of JSON values without a common type holds JSON texts.
        """
        if self.format is Format.PARQUET:
            return pl.scan_parquet(place_to_read(self.path), glob=False)
        if self.format is Format.CSV:
            rows = self._scan_csv(typed=typed, texts=texts)
            with (
                place_to_read(self.path).open("rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
            ):
                may_have_empty_rows = any(content.find(sign) >= 0 for sign in _BEFORE_EMPTY_ROWS)
            # the filter costs a pass over all columns: only where the bytes show that it may find something
            return _without_empty_rows(rows) if may_have_empty_rows else rows
        try:
            rows_of_values = [row for _, row in self.objects()]
            return pl.DataFrame([_series(n, [row.get(n) for row in rows_of_values]) for n in self.names]).lazy()
        except UnicodeEncodeError as error:  # a lone surrogate, which JSON may hold and columns may not
            raise self.unreadable(error) from error

    def objects(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The rows of a table of objects with their places, one by one."""
        if self.format is Format.JSONL:
            yield from ((line.number, line.row) for line in read_json_lines(self.path))
        else:
            yield from enumerate(self._json_rows(), 1)

    def columns(self, selection: ColumnSelection) -> SelectedColumns:
        """The selected columns; TableError where the file cannot be read."""
        with self._in_our_words():
            if not self.format.is_json:
                return self._selected_of_columns(selection)
            if self.format is Format.JSONL and not selection.in_any_row:
                # where it fails, a second look says what is wrong, or reads what only the standard library accepts
                with suppress(msgspec.DecodeError, UnicodeDecodeError):
                    return self._selected_of_alike_lines(selection)
            return self._selected_of_objects(selection)

    def texts(self, columns: Sequence[str], rows_at_once: int = _CHUNK) -> Iterator[pl.DataFrame]:
        """These columns as texts, as keys are written, in batches of at most so many rows, in the table's order.

        What is in memory is a batch, but of a ``.json``, which is one document. A CSV's empty lines are no rows.
        TableError where the file cannot be read.
        """
        with self._in_our_words():
            for batch in self._batches_of(columns, rows_at_once):
                yield batch.select(
                    key_text(name, batch.schema[name], f"{self.path}: column {name}").alias(name) for name in columns
                )

    @contextmanager
    def _in_our_words(self) -> Iterator[None]:
        """TableError for whatever polars, or a line of the file, says of its content."""
        try:
            yield
        except (pl.exceptions.PolarsError, UnicodeEncodeError) as error:
            raise self.unreadable(error) from error
        except SchemaError as error:
            raise TableError(error.what, found=error.found, expected=error.expected, next_step=error.step) from error

    def _batches_of(self, columns: Sequence[str], rows_at_once: int) -> Iterator[pl.DataFrame]:
        if self.format is Format.PARQUET:
            file = open_parquet(self.path)
            with reading(self.path):
                for batch in file.iter_batches(batch_size=rows_at_once, columns=list(columns)):
                    yield pl.DataFrame(pl.from_arrow(batch))
        elif self.format is Format.CSV:
            rows = _without_empty_rows(self._scan_csv(typed=False)).select(columns)
            yield from rows.collect_batches(chunk_size=rows_at_once, maintain_order=True)
        else:
            objects = self.objects()
            while several := [row for _, row in islice(objects, rows_at_once)]:
                values = {name: [_text(row.get(name)) for row in several] for name in columns}
                yield pl.DataFrame(values, schema=dict.fromkeys(columns, pl.String))

    @cached_property
    def _csv_header(self) -> tuple[list[str], str]:
        """The column names, and what separates values: a comma, a semicolon or a tab."""
        import csv

        with place_to_read(self.path).open(encoding="utf-8-sig", newline="") as lines:
            try:
                first = lines.readline()
                separator = max(",;\t", key=first.count)
                names = next(csv.reader([first], delimiter=separator), [])
            except (UnicodeDecodeError, csv.Error) as error:
                raise self.unreadable(error) from error
        return [name.strip() for name in names], separator

    def _scan_csv(self, *, typed: bool, texts: Iterable[str] = ()) -> pl.LazyFrame:
        names, separator = self._csv_header
        scan = partial(pl.scan_csv, place_to_read(self.path), glob=False, separator=separator, new_columns=names)
        as_texts = scan(infer_schema=False)
        if not typed:
            return as_texts
        overrides = {name: pl.String() for name in texts if name in names}
        rows = scan(infer_schema_length=None, schema_overrides=overrides)
        try:
            # whole numbers of which any has a leading zero are the digits of a name, and stay texts
            whole = [name for name, kind in rows.collect_schema().items() if kind.is_integer()]
            padded = (
                as_texts.select(pl.col(whole).str.contains(_PADDED).any()).collect().row(0, named=True) if whole else {}
            )
        except pl.exceptions.PolarsError as error:
            raise self.unreadable(error) from error
        digits = {name: pl.String() for name, is_padded in padded.items() if is_padded}
        return scan(infer_schema_length=None, schema_overrides=overrides | digits) if digits else rows

    def _json_rows(self) -> list[dict[str, Any]]:
        content = place_to_read(self.path).read_bytes()
        try:
            try:
                value = orjson.loads(content)
            except orjson.JSONDecodeError:  # NaN, 1e400 and lone surrogates are read by the standard library
                import json

                value = json.loads(content)
        except ValueError as error:
            raise self.unreadable(error) from error
        rows = value.get("rows") if isinstance(value, dict) else value

        def no_rows(what: str, value: object) -> TableError:
            expected = 'a list of objects, or {"rows": […]}'
            return TableError(what, found=f"a JSON {type(value).__name__}", expected=expected, next_step=_NEXT)

        if not isinstance(rows, list):
            raise no_rows(f"{self.path}", value)
        for number, row in enumerate(rows, 1):
            if not isinstance(row, dict):
                raise no_rows(self.place(number), row)
        return rows

    def _selected_of_columns(self, selection: ColumnSelection) -> SelectedColumns:
        """The columns of a Parquet or CSV file."""
        kinds = selection.kinds(self.names)
        is_csv = self.format is Format.CSV
        scan = self._scan_csv(typed=False) if is_csv else pl.scan_parquet(place_to_read(self.path), glob=False)
        decimal_comma = is_csv and self._csv_header[1] == ";"
        schema = scan.collect_schema()
        exprs, originals = [], []
        for name, kind in kinds.items():
            dtype = schema[name]
            if kind is str:
                if not dtype.is_nested():
                    exprs.append(key_text(name, dtype).alias(name))
                continue
            exprs.append(_number(name, dtype, decimal_comma=decimal_comma))
            if not dtype.is_numeric():
                # the value as it stands, to name it where it is no number; a CSV's empty cell is no value
                value = pl.when(pl.col(name) != "").then(pl.col(name)) if dtype == pl.String else pl.col(name)
                originals.append(value.alias(REFUSED + name))
        frame = scan.select(*exprs, *originals).collect().with_row_index(ROW, offset=1)
        if is_csv and exprs:  # a blank line is read as a row of nothing
            frame = frame.filter(~pl.all_horizontal(pl.exclude(ROW).is_null()))
        for original in (expr.meta.output_name() for expr in originals):
            is_refused = frame[original.removeprefix(REFUSED)].is_null() & frame[original].is_not_null()
            if is_refused.any():
                values = [repr(v) if bad else None for v, bad in zip(frame[original], is_refused, strict=True)]
                frame = frame.with_columns(pl.Series(original, values, dtype=pl.String))
            else:
                frame = frame.drop(original)
        return SelectedColumns(self, self.names, frame)

    def _selected_of_alike_lines(self, selection: ColumnSelection) -> SelectedColumns:
        """JSON Lines whose fields are those of the first rows, or expected ones: twice as fast as line by line.

        DecodeError where a line needs more care.
        """
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        with place_to_read(self.path).open("rb") as lines:
            first = [decode(raw) for raw in islice((raw for raw in lines if raw.strip()), _ROWS_OF_NAMES)]
            names = tuple(dict.fromkeys(name for row in first for name in row))
            kinds = selection.kinds((*names, *(n for n in selection.names if n not in names)))
            decoder = _field_decoder(tuple(kinds))
            lines.seek(0)
            numbered = ((number, decoder.decode(raw)) for number, raw in enumerate(lines, 1) if raw.strip())
            frames = []
            while batch := list(islice(numbered, _CHUNK)):
                values = zip(*(msgspec.structs.astuple(row) for _, row in batch), strict=True)
                frames.append(_batch_frame([n for n, _ in batch], dict(zip(kinds, values, strict=True)), kinds))
        frame = _joined_batches(frames)
        # an expected name that no row has is no column
        there = [
            n for n in kinds if n in frame.columns and (n in names or REFUSED + n in frame.columns or frame[n].count())
        ]
        kept = [n for n in frame.columns if n == ROW or n.removeprefix(REFUSED) in there]
        return SelectedColumns(self, tuple(dict.fromkeys((*names, *there))), frame.select(kept))

    def _selected_of_objects(self, selection: ColumnSelection) -> SelectedColumns:
        """The columns of rows that are read one by one, each with keys of its own."""
        rows, names, frames = self.objects(), dict[str, None](), []
        while batch := list(islice(rows, _CHUNK)):
            names_of_batch = dict.fromkeys(name for _, row in batch for name in row)
            names.update(names_of_batch)
            kinds = selection.kinds(names_of_batch)
            values = {name: [row.get(name) for _, row in batch] for name in kinds}
            frames.append(_batch_frame([place for place, _ in batch], values, kinds))
        return SelectedColumns(self, tuple(names), _joined_batches(frames))


def table_at(path: Path) -> ForeignTable:
    """The table at a path, in the format that its suffix says; TableError for any other suffix.

    NewerFormatError where a later version of ours wrote it. None of its rows is read.
    """
    kind = _SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise TableError(
            f"{path}",
            found=f"the suffix {path.suffix!r}",
            expected=f"a table: {', '.join(_SUFFIXES)}",
            next_step="save it in one of these formats under its suffix",
        )
    refuse_newer(path)
    return ForeignTable(path, kind)


def numbers_a_row(rows: pl.LazyFrame) -> int:
    """How many values a row holds, those of vectors each; of lists, whose length the type does not say, one."""
    kinds = rows.collect_schema().dtypes()
    return sum(math.prod(kind.shape) if isinstance(kind, pl.Array) else 1 for kind in kinds)


def check_present(path: Path, role: str, made_by: str | Make) -> None:
    """TableError where a table is not there, empty, or a Git-LFS pointer."""
    if not place_to_read(path).is_file():
        found = f"found {kind_of_node(path.stat().st_mode)}" if path.exists() else "found nothing there"
        next_step: str | Make = made_by
    else:
        try:
            with place_to_read(path).open("rb") as content:
                begin = content.read(len(LFS_POINTER))
        except OSError as error:
            found = f"a file that cannot be opened ({error.strerror})"
            raise TableError(
                f"{role} {path}", found=found, expected="a table with rows", next_step="mend it"
            ) from error
        if begin and begin != LFS_POINTER:
            return
        found = "found a Git-LFS pointer" if begin else "found an empty file"
        next_step = "run git lfs pull where it came from" if begin else made_by
    raise TableError(f"{role} {path}", found=found, expected="a table with rows", next_step=next_step)


def _without_empty_rows(rows: pl.LazyFrame) -> pl.LazyFrame:
    # A column of its own: polars takes seconds to plan a filter that names a thousand columns itself.
    has_value = pl.any_horizontal(pl.all().is_not_null()).alias(_HAS_VALUE)
    return rows.with_columns(has_value).filter(_HAS_VALUE).drop(_HAS_VALUE)


def key_text(column: str, dtype: pl.DataType, what: str = "") -> pl.Expr:
    """A key column's values as texts: 101, 101.0 and "101" are one key.

    TableError for a type that is no key, in which the column is called ``what``.
    """
    if dtype.is_float():
        whole = pl.col(column).cast(pl.Int64, strict=False)
        text = pl.when(whole == pl.col(column)).then(whole.cast(pl.String)).otherwise(pl.col(column).cast(pl.String))
        return pl.when(pl.col(column).is_finite()).then(text)
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        raise TableError(
            what or f"key column {column!r}",
            found=f"values of type {dtype}",
            expected="texts or numbers",
            next_step="name another column",
        )
    text = pl.col(column).cast(pl.String)
    return pl.when(text != "").then(text)


def _number(name: str, dtype: pl.DataType, *, decimal_comma: bool) -> pl.Expr:
    if dtype.is_numeric():
        return pl.col(name).cast(pl.Float64)
    if dtype == pl.String:
        text = pl.col(name).str.strip_chars()
        text = text.str.replace(",", ".", literal=True) if decimal_comma else text
        return text.cast(pl.Float64, strict=False).alias(name)
    return pl.lit(None, pl.Float64).alias(name)


def _series(name: str, values: list[Any]) -> pl.Series:
    """JSON values as one column; where they have no common type, their JSON texts."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pl.Series(name, values, dtype=pl.Float64, strict=False)
    if len(kinds) <= 1:
        try:
            return pl.Series(name, values)
        except (TypeError, OverflowError, pl.exceptions.PolarsError):
            pass
    return pl.Series(name, json_texts(values), dtype=pl.String)


@cache
def _field_decoder(names: tuple[str, ...]) -> "msgspec.json.Decoder[Any]":
    """A decoder of objects that keeps these fields only, absent ones as None."""
    fields = [(f"f{i}", Any, None) for i in range(len(names))]
    renamed = {f"f{i}": name for i, name in enumerate(names)}
    return msgspec.json.Decoder(msgspec.defstruct("Row", fields, rename=renamed, gc=False))


def _batch_frame(places: list[int], values: Mapping[str, Sequence[Any]], kinds: Mapping[str, type]) -> pl.DataFrame:
    """JSON values of one batch of rows as columns of their kinds."""
    columns = {ROW: pl.Series(ROW, places, dtype=pl.UInt32)}
    for name, kind in kinds.items():
        # looking at the types first spares most columns a call per value
        types = set(map(type, values[name]))
        if types == {NoneType}:  # most names that are expected stand in no row
            columns[name] = pl.repeat(None, len(places), dtype=pl.String if kind is str else pl.Float64, eager=True)
            continue
        if kind is str:
            texts = values[name] if types <= {str, NoneType} else [_text(v) for v in values[name]]
            columns[name] = pl.Series(name, texts, dtype=pl.String)
            continue
        plain = types <= {float, int, NoneType}
        numbers = [_float(v) for v in values[name]] if not plain or int in types else values[name]
        columns[name] = pl.Series(name, numbers, dtype=pl.Float64)
        if not plain:
            refused = [
                repr(value) if number is None and value is not None else None
                for value, number in zip(values[name], numbers, strict=True)
            ]
            if any(refused):
                columns[REFUSED + name] = pl.Series(REFUSED + name, refused, dtype=pl.String)
    return pl.DataFrame(columns)


def _joined_batches(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """All batches as one frame; empty texts are none."""
    frame = pl.concat(frames, how="diagonal") if frames else pl.DataFrame({ROW: []}, {ROW: pl.UInt32})
    texts = pl.col(pl.String)
    return frame.with_columns(pl.when(texts != "").then(texts))


def _text(value: object) -> str | None:
    """A JSON value as a key's text, as ``key_text`` writes it: 101 and 101.0 are one key."""
    if value is None or value == "":
        return None
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    return value if isinstance(value, str) else str(value)


def _float(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None
