"""Named columns of a table in any format, as a data frame: keys and names as texts, scores as numbers.

A value that is no number is kept apart with its row, so that whoever uses the column can name it.
"""

import mmap
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from types import NoneType
from typing import Any

import msgspec
import orjson
import polars as pl

from vqa_assets.errors import LabelError, SchemaError
from vqa_assets.labels.columns import check_names
from vqa_assets.labels.formats import Format, format_of
from vqa_assets.labels.keys import key_text
from vqa_assets.tables.files import read_json_lines
from vqa_assets.tables.parquet import column_names

ROW = "_row"
"""Column of the rows' places: the line in JSON Lines, else the row's number, from 1."""
_CHUNK = 20_000
_NEXT = "correct the file, or save it in another format"
_ROWS_OF_NAMES = 1_000
_BEFORE_EMPTY_ROWS = (b"\n\n", b"\n\r\n", b"\n,", b"\n;", b"\n\t")
_PADDED = r"^\s*[+-]?0[0-9]"


@dataclass(frozen=True)
class Wanted:
    """Which columns are read: ``kind`` says of a name ``str``, ``float`` or None; ``names`` are known ones.

    A table of objects may have a known name in any row, and others where its first thousand rows have them, or with
    ``in_any_row`` wherever they are.
    """

    kind: Callable[[str], type | None]
    names: tuple[str, ...] = ()
    in_any_row: bool = False


@dataclass(frozen=True)
class Bad:
    """A value that is no number, and the row it stands in."""

    row: int
    value: object


@dataclass(frozen=True)
class Columns:
    """The wanted columns of one file that it has, and all its names. ``bad`` are values that are no numbers."""

    path: Path
    names: tuple[str, ...]
    frame: pl.DataFrame
    bad: Mapping[str, list[Bad]] = field(default_factory=dict)

    def where(self, row: int) -> str:
        """A row's place as a message names it."""
        return place(self.path, row)


def place(path: Path, row: int) -> str:
    """A row of a file as a message names it: by its line in JSON Lines, else by its number."""
    return f"{path}:{row}" if format_of(path) is Format.JSONL else f"{path}: row {row}"


def read_columns(path: Path, wanted: Wanted) -> Columns:
    """The wanted columns of a file; LabelError where it cannot be read."""
    kind = format_of(path)
    try:
        if kind.is_json:
            return _of_objects(path, kind, wanted)
        names = column_names(path) if kind is Format.PARQUET else csv_header(path)[0]
        check_names(names, str(path))
        scan = pl.scan_parquet(path) if kind is Format.PARQUET else scan_csv(path)
        return _of_columns(path, names, scan, wanted)
    except (pl.exceptions.PolarsError, UnicodeEncodeError) as error:
        raise unreadable(path, error) from error
    except SchemaError as error:
        raise LabelError(error.what, found=error.found, expected=error.expected, next_step=error.next_step) from error


def unreadable(path: Path, error: Exception) -> LabelError:
    """What is said of a file whose content cannot be read to its end."""
    told = str(error).partition("\n")[0]
    return LabelError(
        f"{path}", found=f"content that cannot be read ({told})", expected="a whole table", next_step=_NEXT
    )


def csv_header(path: Path) -> tuple[list[str], str]:
    """The column names of a CSV file, and what separates its values: a comma, a semicolon or a tab."""
    import csv

    with path.open(encoding="utf-8-sig", newline="") as lines:
        try:
            first = lines.readline()
            separator = max(",;\t", key=first.count)
            names = next(csv.reader([first], delimiter=separator), [])
        except (UnicodeDecodeError, csv.Error) as error:
            raise unreadable(path, error) from error
    return [name.strip() for name in names], separator


def scan_csv(path: Path, *, typed: bool = False, texts: Iterable[str] = ()) -> pl.LazyFrame:
    """A CSV file's columns as texts; with ``typed`` as what all their values are, but for ``texts``.

    Whole numbers of which any has a leading zero are the digits of a name, and stay texts. LabelError where the file
    cannot be read.
    """
    names, separator = csv_header(path)
    scan = partial(pl.scan_csv, path, separator=separator, new_columns=names)
    as_texts = scan(infer_schema=False)
    if not typed:
        return as_texts
    kept = {name: pl.String() for name in texts if name in names}
    found = scan(infer_schema_length=None, schema_overrides=kept)
    try:
        whole = [name for name, kind in found.collect_schema().items() if kind.is_integer()]
        padded = (
            as_texts.select(pl.col(whole).str.contains(_PADDED).any()).collect().row(0, named=True) if whole else {}
        )
    except pl.exceptions.PolarsError as error:
        raise unreadable(path, error) from error
    more = {name: pl.String() for name, is_padded in padded.items() if is_padded}
    return scan(infer_schema_length=None, schema_overrides=kept | more) if more else found


def without_empty_rows(rows: pl.LazyFrame, path: Path) -> pl.LazyFrame:
    """The rows of a CSV file but those without any value: blank lines, and lines of separators alone."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        may_have_some = any(content.find(sign) >= 0 for sign in _BEFORE_EMPTY_ROWS)
    return rows.filter(pl.any_horizontal(pl.all().is_not_null())) if may_have_some else rows


def _of_columns(path: Path, names: list[str], scan: pl.LazyFrame, wanted: Wanted) -> Columns:
    kinds = {name: kind for name in names if (kind := wanted.kind(name)) is not None}
    schema = scan.collect_schema()
    decimal_comma = format_of(path) is Format.CSV and csv_header(path)[1] == ";"
    exprs = [
        key_text(name, schema[name]).alias(name) if kind is str else _number(name, schema[name], decimal_comma)
        for name, kind in kinds.items()
        if kind is float or not schema[name].is_nested()
    ]
    frame = scan.select(*exprs, *_raw_numbers(kinds, schema)).collect().with_row_index(ROW, offset=1)
    if format_of(path) is Format.CSV and exprs:  # a blank line is read as a row of nothing
        frame = frame.filter(~pl.all_horizontal(pl.exclude(ROW).is_null()))
    bad = {}
    for name in (n for n, kind in kinds.items() if kind is float):
        original = f"_raw:{name}"
        if original in frame.columns:
            wrong = frame.filter(pl.col(name).is_null() & pl.col(original).is_not_null()).select(ROW, original)
            bad[name] = [Bad(row, value) for row, value in wrong.iter_rows()]
    return Columns(path, tuple(names), frame.select(ROW, *(e.meta.output_name() for e in exprs)), bad)


def _number(name: str, dtype: pl.DataType, decimal_comma: bool) -> pl.Expr:
    if dtype.is_numeric():
        return pl.col(name).cast(pl.Float64)
    if dtype == pl.String:
        text = pl.col(name).str.strip_chars()
        text = text.str.replace(",", ".", literal=True) if decimal_comma else text
        return text.cast(pl.Float64, strict=False).alias(name)
    return pl.lit(None, pl.Float64).alias(name)


def _raw_numbers(kinds: Mapping[str, type], schema: pl.Schema) -> list[pl.Expr]:
    """The values as they stand of columns that should hold numbers and may not; a CSV's empty cell is no value."""
    doubtful = [name for name, kind in kinds.items() if kind is float and not schema[name].is_numeric()]
    return [
        (pl.when(pl.col(n) != "").then(pl.col(n)) if schema[n] == pl.String else pl.col(n)).alias(f"_raw:{n}")
        for n in doubtful
    ]


def _of_objects(path: Path, kind: Format, wanted: Wanted) -> Columns:
    if kind is Format.JSON:
        return _gathered(path, enumerate(json_rows(path), 1), wanted)
    if not wanted.in_any_row:
        # a second look says what is wrong, or reads what only the standard library accepts
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            return _quick(path, wanted)
    return _gathered(path, ((line.number, line.row) for line in read_json_lines(path)), wanted)


def _quick(path: Path, wanted: Wanted) -> Columns:
    """JSON Lines whose fields are those of the first rows, or known names; DecodeError where a line needs more care."""
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    with path.open("rb") as lines:
        first = [decode(raw) for raw in islice((raw for raw in lines if raw.strip()), _ROWS_OF_NAMES)]
        names = tuple(dict.fromkeys(name for row in first for name in row))
        kinds = _kinds((*names, *(n for n in wanted.names if n not in names)), wanted)
        decoder = _field_decoder(tuple(kinds))
        lines.seek(0)
        numbered = ((number, decoder.decode(raw)) for number, raw in enumerate(lines, 1) if raw.strip())
        collected = _Collected(path)
        while batch := list(islice(numbered, _CHUNK)):
            columns = zip(*(msgspec.structs.astuple(row) for _, row in batch), strict=True)
            collected.take([number for number, _ in batch], dict(zip(kinds, columns, strict=True)), kinds)
    found = collected.columns(names)
    filled = [name for name in kinds if name in names or found.bad.get(name) or _count(found.frame, name)]
    there = [name for name in filled if name in found.frame.columns]
    return replace(found, names=tuple(dict.fromkeys((*names, *there))), frame=found.frame.select(ROW, *there))


@cache
def _field_decoder(names: tuple[str, ...]) -> "msgspec.json.Decoder[Any]":
    """A decoder of objects that keeps these fields only, absent ones as None."""
    fields = [(f"f{i}", Any, None) for i in range(len(names))]
    renamed = {f"f{i}": name for i, name in enumerate(names)}
    return msgspec.json.Decoder(msgspec.defstruct("Row", fields, rename=renamed, gc=False))


def _count(frame: pl.DataFrame, name: str) -> int:
    return frame[name].count() if name in frame.columns else 0


def _gathered(path: Path, numbered: Iterable[tuple[int, Mapping[str, Any]]], wanted: Wanted) -> Columns:
    source, names, collected = iter(numbered), dict[str, None](), _Collected(path)
    while batch := list(islice(source, _CHUNK)):
        found = dict.fromkeys(name for _, row in batch for name in row)
        names.update(found)
        kinds = _kinds(tuple(found), wanted)
        collected.take([place for place, _ in batch], {n: [row.get(n) for _, row in batch] for n in kinds}, kinds)
    return collected.columns(tuple(names))


def _kinds(names: Iterable[str], wanted: Wanted) -> dict[str, type]:
    return {name: kind for name in names if (kind := wanted.kind(name)) is not None}


class _Collected:
    """Columns of objects that are read batch by batch."""

    def __init__(self, path: Path) -> None:
        self.path, self.frames, self.bad = path, list[pl.DataFrame](), dict[str, list[Bad]]()

    def take(self, places: list[int], values: Mapping[str, Sequence[Any]], kinds: Mapping[str, type]) -> None:
        """One batch: the rows' places, and per column their values."""
        columns = {ROW: pl.Series(ROW, places, dtype=pl.UInt32)}
        for name, kind in kinds.items():
            types = set(map(type, values[name]))
            if kind is str:
                texts = values[name] if types <= {str, NoneType} else [_text(v) for v in values[name]]
                columns[name] = pl.Series(name, texts, dtype=pl.String)
                continue
            plain = types <= {float, int, NoneType}
            numbers = [_float(v) for v in values[name]] if not plain or int in types else values[name]
            columns[name] = pl.Series(name, numbers, dtype=pl.Float64)
            if not plain:
                found = zip(places, values[name], numbers, strict=True)
                wrong = [Bad(place, value) for place, value, number in found if number is None and value is not None]
                self.bad.setdefault(name, []).extend(wrong)
        self.frames.append(pl.DataFrame(columns))

    def columns(self, names: tuple[str, ...]) -> Columns:
        """Everything taken, as one frame; empty texts are none."""
        frame = pl.concat(self.frames, how="diagonal") if self.frames else pl.DataFrame({ROW: []}, {ROW: pl.UInt32})
        texts = pl.col(pl.String)
        return Columns(self.path, names, frame.with_columns(pl.when(texts != "").then(texts)), self.bad)


def json_rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON file that is a list of them, or an object with such a list under ``rows``."""
    content = path.read_bytes()
    try:
        value = _parsed(content)
    except ValueError as error:
        raise unreadable(path, error) from error
    rows = value.get("rows") if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise _no_rows(f"{path}", value)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise _no_rows(f"{path}: row {number}", row)
    return rows


def _no_rows(what: str, found: object) -> LabelError:
    expected = 'a list of objects, or {"rows": […]}'
    return LabelError(what, found=f"a JSON {type(found).__name__}", expected=expected, next_step=_NEXT)


def _parsed(content: bytes) -> Any:
    import json

    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:  # NaN, 1e400 and lone surrogates are read by the standard library
        return json.loads(content)


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
