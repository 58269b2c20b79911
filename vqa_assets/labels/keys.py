"""What of a key is compared: its text, the file name in it, what a regular expression finds in it."""

import re
from dataclasses import dataclass

import polars as pl

from vqa_assets.errors import LabelError
from vqa_assets.labels.key_regex import extract
from vqa_assets.labels.settings import Normalize

_SPEAKS_OF_FILES = re.compile("path|file|name|src", re.IGNORECASE)
_EXTENSION = r"\.[A-Za-z][A-Za-z0-9]{0,4}$"
"""A suffix begins with a letter: the rest of ``Mont._Education_1`` is none."""


@dataclass(frozen=True)
class KeyRule:
    """How one side's keys are made: the column, what of it, and the pattern that ``setting`` names."""

    column: str
    normalize: Normalize
    regex: str | None
    setting: str

    @property
    def resolved(self) -> Normalize:
        """What ``auto`` means for this column."""
        if self.normalize != "auto":
            return self.normalize
        return "basename" if _SPEAKS_OF_FILES.search(self.column) else "raw"


def key_text(column: str, dtype: pl.DataType) -> pl.Expr:
    """A key column's values as texts: 101, 101.0 and "101" are one key. LabelError for a type that is no key."""
    if dtype.is_float():
        whole = pl.col(column).cast(pl.Int64, strict=False)
        text = pl.when(whole == pl.col(column)).then(whole.cast(pl.String)).otherwise(pl.col(column).cast(pl.String))
        return pl.when(pl.col(column).is_finite()).then(text)
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        raise LabelError(
            f"key column {column!r}",
            found=f"values of type {dtype}",
            expected="texts or numbers",
            next_step="name another key column",
        )
    text = pl.col(column).cast(pl.String)
    return pl.when(text != "").then(text)


def normalized(keys: pl.Series, rule: KeyRule) -> pl.Series:
    """Keys as they are compared; null where a key is empty or the pattern finds nothing."""
    found = keys
    if rule.resolved in ("basename", "stem"):
        found = found.str.replace(r"^(?s:.*)[/\\]", "")
    if rule.resolved == "stem":
        found = found.str.replace(_EXTENSION, "")
    found = found.set(found == "", None)
    return extract(found, rule.regex, rule.setting) if rule.regex else found
