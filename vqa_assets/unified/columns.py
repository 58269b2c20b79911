"""The unified corpus's Parquet file as a lazy polars frame, and how numbers of it are told. Computes nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vqa_assets.errors import SchemaError
from vqa_assets.tables.parquet import column_names

if TYPE_CHECKING:
    import polars as pl

CORPUS = "corpus_source"
TOTAL = "(total)"
"""What stands for a corpus where all are counted together; no corpus can have this name."""
_DECIMALS = 9


def unified_columns(parquet: Path, columns: Sequence[str]) -> "pl.LazyFrame":
    """Some columns of a unified corpus; SchemaError where the file is no Parquet table or lacks one of them."""
    import polars as pl

    missing = sorted(set(columns) - set(column_names(parquet)))
    if missing:
        raise SchemaError(
            f"{parquet}",
            found=f"no column {', '.join(missing)}",
            expected="the Parquet file of unified_corpus",
            next_step="materialize unified_corpus, or give its .parquet file",
        )
    return pl.scan_parquet(parquet, glob=False).select(columns)


def settled(value: float | None) -> float | None:
    """A number without the digits that the order of adding up decides."""
    return None if value is None else round(float(value), _DECIMALS)
