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
from vqa_assets.tables.parquet import iterate_frames
from vqa_assets.tables.specs import CLIP_FACTS, Column, Kind, Table

if TYPE_CHECKING:
    import pandas as pd

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
        return validate_frames(iterate_frames(path, [c.name for c in table.columns]), table, str(path))
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


def validate_frames(frames: Iterable["pd.DataFrame"], table: Table, what: str, *, first: int = 1) -> int:
    """Validate data frames that together are one table; the number of rows. SchemaError as ``validate_rows``."""
    from pandera.errors import SchemaErrors

    model = pandera_model(table)
    seen: dict[tuple[str, ...], set[Any]] = {key: set() for key in table.keys}
    count = 0
    for frame in frames:
        before = first - 1 + count
        _check_kinds(frame, table, what, before)
        try:
            model.validate(frame, lazy=True)
        except SchemaErrors as error:
            raise _schema_error(error, table, what, before) from None
        _check_unique(frame, seen, what)
        count += len(frame)
    return count


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


def _check_unique(frame: "pd.DataFrame", seen: Mapping[tuple[str, ...], set[Any]], what: str) -> None:
    for names, earlier in seen.items():
        values = list(zip(*(frame[n] for n in names), strict=True)) if len(names) > 1 else frame[names[0]].tolist()
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
