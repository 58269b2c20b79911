"""Rows judged by the column specs of their table, batch by batch; uniqueness over all of them.

The pandera model of a table is built when first used: pandera is slow to import. The specs are in ``specs``.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqa_assets.errors import SchemaError
from vqa_assets.tables.files import read_json_lines
from vqa_assets.tables.parquet import iterate_batches
from vqa_assets.tables.specs import CLIP_FACTS, Column, Kind, Table

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

BATCH_ROWS = 10_000
"""Rows that are judged together: as Python objects they take a few kilobytes each, and a batch by itself 10 ms."""
_EXAMPLES = 5
_PLAIN_DTYPES = {"integer": "iu", "number": "iuf", "boolean": "b"}
_OF_KIND: Mapping[Kind, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}
_NEXT_STEP = "correct what made these values; no file is replaced by such a table"


@cache
def pandera_model(table: Table) -> Any:
    """The ``pandera.pandas.DataFrameSchema`` of a table; uniqueness is judged over all batches, not in it."""
    import pandera.pandas as pa

    kinds = {"string": str, "integer": "int64", "number": "float64", "boolean": "bool"}

    def column(spec: Column) -> Any:
        kind = "Int64" if spec.kind == "integer" and spec.nullable else kinds[spec.kind]
        coerce = spec.kind == "number" or kind == "Int64"
        return pa.Column(kind, _pandera_checks(spec), nullable=spec.nullable, required=spec.required, coerce=coerce)

    return pa.DataFrameSchema({c.name: column(c) for c in table.columns}, name=table.name)


def _pandera_checks(spec: Column) -> list[Any]:
    """The checks of a column, each with its constraint in words; a number is always finite."""
    import pandera.pandas as pa

    checks = []
    if spec.kind == "number":
        # Not a bound: a column without one may not hold an infinite number either.
        checks.append(pa.Check(lambda values: abs(values) < math.inf, error="a finite number"))
    if spec.low is not None:
        checks.append(pa.Check.ge(spec.low, error=f"≥ {spec.low:g}"))
    if spec.high is not None:
        checks.append(pa.Check.le(spec.high, error=f"≤ {spec.high:g}"))
    if spec.pattern:
        checks.append(pa.Check.str_matches(spec.pattern, error=f"matches {spec.pattern}"))
    if spec.choices:
        checks.append(pa.Check.isin(spec.choices, error="one of " + ", ".join(spec.choices)))
    return checks


def validate_file(path: Path, table: Table) -> int:
    """Validate a Parquet file (by its suffix) or a JSON Lines file; the number of rows. SchemaError as the others."""
    if path.suffix == ".parquet":
        return validate_frames(iterate_batches(path, [c.name for c in table.columns]), table, str(path))
    return validate_rows((line.row for line in read_json_lines(path)), table, str(path))


def why_no_clip(row: Mapping[str, Any], columns: Iterable[Column] = ()) -> str:
    """Why a row of a corpus JSONL names no clip, or holds another kind of value than ``columns`` say; empty if it does.

    For files that may be damaged, row by row. Rows of older versions lack some of today's columns: that is no fault.
    """
    if not isinstance(row.get("src"), str) or not isinstance(row.get("src_sha256"), str):
        return "a row without src or src_sha256"
    for column in columns:
        value = row.get(column.name)
        if value is None:
            if column in CLIP_FACTS:
                return f"a row without {column.name}"
            continue
        if not isinstance(value, _OF_KIND[column.kind]) or (isinstance(value, bool) and column.kind != "boolean"):
            return f"{column.name} is {value!r:.80}"
        if column.pattern and not re.fullmatch(column.pattern, str(value)):
            return f"{column.name} is {value!r:.80}"
    return ""


def validate_rows(rows: Iterable[Mapping[str, Any]], table: Table, what: str, *, first: int = 1) -> int:
    """Validate rows (mappings) batch by batch; the number of rows. SchemaError names columns and example values.

    ``first`` is the number of the first row in that message.
    """
    import pandas as pd

    names = [c.name for c in table.columns]
    source = iter(rows)

    def frames() -> Iterable["pd.DataFrame"]:
        while batch := list(islice(source, BATCH_ROWS)):
            yield pd.DataFrame({n: [row.get(n) for row in batch] for n in names if any(n in row for row in batch)})

    return validate_frames(frames(), table, what, first=first)


def validate_frames(frames: Iterable[Any], table: Table, what: str, *, first: int = 1) -> int:
    """Validate data frames, or Arrow tables, that together are one table; the number of rows.

    SchemaError as ``validate_rows``. Where Arrow sees that every value keeps the column specs nothing is left for
    pandera to judge, which takes five times as long; it judges, and words, everything else.
    """
    seen: dict[tuple[str, ...], set[Any]] = {key: set() for key in table.keys}
    count = 0
    for part in frames:
        before = first - 1 + count
        if not (hasattr(part, "to_pandas") and _plainly_keeps(part, table)):
            _judge(part.to_pandas(ignore_metadata=True) if hasattr(part, "to_pandas") else part, table, what, before)
        _check_unique(part, seen, what)
        count += len(part)
    return count


def _judge(frame: "pd.DataFrame", table: Table, what: str, before: int) -> None:
    """SchemaError where pandera, or the kind of a value, says that a row breaks the column specs."""
    from pandera.errors import SchemaErrors

    _check_kinds(frame, table, what, before)
    try:
        pandera_model(table).validate(frame, lazy=True)
    except SchemaErrors as error:
        raise _schema_error(error, table, what, before) from None


def _plainly_keeps(part: "pa.Table | pa.RecordBatch", table: Table) -> bool:
    """Whether Arrow sees that every value of the specified columns keeps their specs: then it is so for pandera, too.

    False says nothing: other types than the usual ones, NaN, and nulls among booleans are for pandera to judge.
    """
    there = set(part.schema.names)
    return all(_plainly_kept(part.column(s.name), s) if s.name in there else not s.required for s in table.columns)


def _plainly_kept(column: "pa.Array | pa.ChunkedArray", spec: Column) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    usual = {
        "string": (pa.string(), pa.large_string()),
        "integer": (pa.int64(),),
        "number": (pa.float64(), pa.int64()),
        "boolean": (pa.bool_(),),
    }
    if column.type not in usual[spec.kind] or (column.null_count and (not spec.nullable or spec.kind == "boolean")):
        return False
    column = column.drop_null()
    if not len(column):
        return True
    # No value of Python's is handed to Arrow, which imports pandas to look at one: what is in order needs no pandas.
    kept = [True]
    if pa.types.is_floating(column.type):
        kept.append(pc.all(pc.is_finite(column)).as_py())
    if spec.low is not None or spec.high is not None:
        ends = pc.min_max(column)
        kept.append(spec.low is None or spec.low <= ends["min"].as_py())
        kept.append(spec.high is None or ends["max"].as_py() <= spec.high)
    if spec.choices:
        kept.append(set(spec.choices).issuperset(column.unique().to_pylist()))
    if spec.pattern:
        try:
            kept.append(pc.all(pc.match_substring_regex(column, f"^(?:{spec.pattern})")).as_py())
        except pa.ArrowInvalid:  # RE2 has not all that Python's patterns have
            return False
    return all(kept)


def _check_kinds(frame: "pd.DataFrame", table: Table, what: str, offset: int) -> None:
    """SchemaError where a numeric column holds something else: a text ``"3.5"`` must not pass as 3.5."""
    for spec in table.columns:
        if spec.kind == "string" or spec.name not in frame or frame[spec.name].dtype.kind in _PLAIN_DTYPES[spec.kind]:
            continue
        wrong = [(offset + i, v) for i, v in enumerate(frame[spec.name], 1) if not _is_of_kind(v, spec.kind)]
        if wrong:
            raise SchemaError(
                f"{what}: {spec.name}",
                found=f"{len(wrong)} values that are no {spec.kind} ({[v for _, v in wrong[:_EXAMPLES]]} "
                f"in rows {[row for row, _ in wrong[:_EXAMPLES]]})",
                expected=f"kind {spec.kind}",
                next_step=_NEXT_STEP,
            )


def _is_of_kind(value: Any, kind: Kind) -> bool:
    """Whether a value is of that kind, or nothing at all (None, NaN), which is judged elsewhere."""
    import numpy as np

    if value is None or (isinstance(value, (float, np.floating)) and math.isnan(value)):
        return True
    if kind == "boolean":
        return isinstance(value, (bool, np.bool_))
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        return type(value).__name__ == "NAType"
    return kind == "number" or float(value).is_integer()


def _check_unique(part: Any, seen: Mapping[tuple[str, ...], set[Any]], what: str) -> None:
    for names, earlier in seen.items():
        columns = [part.column(n).to_pylist() if hasattr(part, "to_pandas") else part[n].tolist() for n in names]
        values = list(zip(*columns, strict=True)) if len(names) > 1 else columns[0]
        before = len(earlier)
        repeated = [v for v in values if v in earlier][:_EXAMPLES]
        earlier.update(values)
        if len(earlier) - before != len(values):
            # Counting which ones repeat is slow and only for the message: the sizes of the sets decide.
            twice = repeated or [v for v, n in Counter(values).items() if n > 1][:_EXAMPLES]
            raise SchemaError(
                f"{what}: {', '.join(names)}",
                found=f"repeated values {twice}",
                expected="each value once",
                next_step="drop the repetitions where the rows come from",
            )


def _schema_error(error: Any, table: Table, what: str, offset: int) -> SchemaError:
    """What pandera complains of, in our words: per column and constraint the values and rows that break it."""
    specs = {c.name: c for c in table.columns}
    complaints: dict[str, list[str]] = {}
    for (column, check), group in error.failure_cases.groupby(["column", "check"], dropna=False, sort=False):
        of_column = complaints.setdefault(str(column), [])
        # As Python has them: a message must not speak of np.int64.
        values = [value.item() if hasattr(value, "item") else value for value in group["failure_case"]]
        rows = [offset + int(i) + 1 for i in group["index"].dropna()][:_EXAMPLES]
        if check == "column_in_dataframe":
            of_column.append(f"no column {', '.join(values)}")
        elif "dtype(" not in str(check):
            constraint = "not null" if check == "not_nullable" else check
            of_column.append(f'{column}: {len(group)} break "{constraint}" ({values[:_EXAMPLES]} in rows {rows})')
        elif not of_column:  # a wrong kind breaks every other constraint, too: said once is enough
            of_column.append(f"{column}: not of kind {specs[str(column)].kind} ({values[:_EXAMPLES]})")
    return SchemaError(
        what,
        found="; ".join(complaint for of_column in complaints.values() for complaint in of_column),
        expected=f"the columns of {table.name}",
        next_step=_NEXT_STEP,
    )
