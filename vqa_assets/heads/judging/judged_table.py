"""The rows of a labelled table that something is judged by: scores, what clips show, and what is known of errors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vqa_assets.corpora.contents import KEY_COLUMNS, content_groups, joined_groups
from vqa_assets.corpora.scales import RAW_MOS, SLACK, TRAINING, UNIFIED
from vqa_assets.errors import LabelError
from vqa_assets.heads.judging.label_errors import error_variance
from vqa_assets.heads.recipe import MOS_TARGET
from vqa_assets.heads.rows.columns import columns_in_role, columns_of_text, columns_without_numbers, number_column
from vqa_assets.heads.rows.reading import COUNT_COLUMNS
from vqa_assets.labels.keys import absent_column
from vqa_assets.labels.scores import IDENTITY_COLUMNS
from vqa_assets.provenance import ReadInput
from vqa_assets.provenance.reading import read_now
from vqa_assets.tables.foreign_tables import check_present, table_at
from vqa_assets.tables.specs import LABELLED, STATUS_COLUMN

TRAINING_COLUMN = MOS_TARGET.name
"""The target's column in labelled tables."""
NEXT_TABLE = "name a table with scores, such as <root>/<corpus>/features_with_mos.parquet"
_CONTENT = ("content_id", *columns_in_role("content"))
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class JudgedTable:
    """N rows of a labelled table. ``target`` names the column that ``mos`` (N,) came from; NaN is no score.

    ``corpora`` are empty where nothing says them; ``failed`` are encodes that ended in an error, whose score is NaN.
    ``error_variance`` (N,) is that of the errors of the scores; NaN where SD or count are not known.
    """

    as_read: ReadInput
    rows: pl.LazyFrame
    target: str
    mos: F64
    keys: tuple[str, ...]
    corpora: tuple[str, ...]
    contents: tuple[str | None, ...]
    splits: tuple[str | None, ...]
    src_sha256: tuple[str | None, ...]
    failed: int
    error_variance: F64

    @property
    def path(self) -> Path:
        """The table's path."""
        return self.as_read.path

    def of_corpus(self, corpus: str) -> "JudgedTable":
        """The same where rows that name no corpus are of this one."""
        return replace(self, corpora=tuple(own or corpus for own in self.corpora)) if corpus else self

    @property
    def groups(self) -> tuple[str, ...]:
        """Per row the content that intervals are drawn by, else the clip."""
        clips = [f"{corpus}/{key}" for corpus, key in zip(self.corpora, self.keys, strict=True)]
        return joined_groups(content_groups(self.contents, clips), self.src_sha256)


def read_judged(path: Path, target: str) -> JudgedTable:
    """The rows of a labelled table of any format, and their scores in the column ``target``.

    Instead of ``target`` the column may be ``mos_<target>``, and instead of ``mos`` also ``mos_raw_0_100``, mapped onto
    1–5. Rows that ``mos_label_status`` calls unlabelled have no score, and neither have encodes that failed. LabelError
    where there is no such column, or it holds text.
    """
    check_present(path, "labelled table", NEXT_TABLE)
    table = table_at(path)
    as_read = read_now({"table": path})["table"]
    names = table.names
    column = next((name for name in (target, f"mos_{target}") if name in names), None)
    raw = column is None and target == TRAINING_COLUMN and RAW_MOS in names
    if raw:
        column = RAW_MOS
    if column is None:
        expected = f"a column of scores, {target}" + (f" or {RAW_MOS}" if target == TRAINING_COLUMN else "")
        raise absent_column(names, expected, f"{path}", "target to the column of scores")
    key = next((name for name in KEY_COLUMNS if name in names), None)
    rows = table.rows((*([key] if key else []), *IDENTITY_COLUMNS))

    def text(name: str | None) -> pl.Expr:
        words = pl.col(name).cast(pl.String) if name is not None and name in names else pl.lit(None, pl.String)
        return pl.when(words != "").then(words)

    value = number_column(column)
    if raw:
        slope, intercept = UNIFIED.map_to(TRAINING)
        value = value * slope + intercept
    labelled = text(STATUS_COLUMN).eq_missing(LABELLED) if STATUS_COLUMN in names else pl.lit(value=True)
    failed = (
        (number_column("exit_status") != 0).fill_null(value=False) if "exit_status" in names else pl.lit(value=False)
    )
    try:
        if wrong := {**columns_without_numbers(rows, [column]), **columns_of_text(rows, [column])}:
            raise LabelError(
                f"{path}: {column}",
                found=", ".join(repr(example) for example in wrong.values()),
                expected="numbers, and null where there is no score",
                next_step="correct the table, or set target",
            )
        read = rows.select(
            key=pl.coalesce(text(key), pl.format("row {}", pl.int_range(1, pl.len() + 1))),
            mos=pl.when(labelled & ~failed).then(value).fill_null(math.nan),
            failed=failed,
            corpus=text("corpus").fill_null(""),
            content=pl.coalesce(*map(text, _CONTENT)),
            split=text("split"),
            sha256=text("src_sha256").str.to_lowercase(),
            **_opinions(names, column, mapped_onto_1_5=raw),
        ).collect()
    except pl.exceptions.PolarsError as error:
        raise table.unreadable(error) from error
    texts = {name: tuple(read[name].to_list()) for name in ("key", "corpus", "content", "split", "sha256")}
    return JudgedTable(
        as_read=as_read,
        rows=rows,
        target=f"{column}, as 1–5" if raw else column,
        mos=read["mos"].to_numpy().astype(np.float64),
        keys=texts["key"],
        corpora=texts["corpus"],
        contents=texts["content"],
        splits=texts["split"],
        src_sha256=texts["sha256"],
        failed=int(read["failed"].sum()),
        error_variance=_errors(read),
    )


def _opinions(names: Sequence[str], column: str, *, mapped_onto_1_5: bool) -> dict[str, pl.Expr]:
    """``sd`` of the opinions, in the unit of the scores as they are judged, and ``opinions``, their number.

    Null where unknown; of further scores, and of any other column, nothing is known.
    """
    nothing = pl.lit(None, pl.Float64)
    # Rows of the unified corpus keep the SD of their native score beside that of mos.
    spreads = ("mos_std_dev_unified", "mos_std_dev") if column == "mos" else ("mos_std_dev",)
    sd_column = next((name for name in spreads if name in names), None)
    if sd_column is None or column not in ("mos", RAW_MOS):
        return {"sd": nothing, "opinions": nothing}
    slope, _ = UNIFIED.map_to(TRAINING)
    # An SD is in the unit of mos where that is there, which is on 1–5 then; else in that of the raw score.
    unit = slope if mapped_onto_1_5 else 1 / slope if column == RAW_MOS and "mos" in names else 1.0
    counts = [number_column(name) for name in COUNT_COLUMNS if name in names]
    return {"sd": number_column(sd_column) * unit, "opinions": pl.coalesce(*counts, nothing)}


def _errors(read: pl.DataFrame) -> F64:
    """The variance of the scores' errors (N,), NaN where unknown."""
    mos, sd, count = (read[name].cast(pl.Float64).fill_null(math.nan).to_numpy() for name in ("mos", "sd", "opinions"))
    on_1_5 = not (mos > TRAINING.high + SLACK).any()
    return error_variance(sd, count, TRAINING.span if on_1_5 else UNIFIED.span)
