"""Tables as tests make them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from vqa_assets.tables.parquet import ColumnKinds


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows as Parquet in the given column order, all in one batch."""
    kinds = ColumnKinds()
    for row in rows:
        kinds.add(row)
    pq.write_table(kinds.batch(rows, kinds.schema(columns)), path, compression="zstd")
