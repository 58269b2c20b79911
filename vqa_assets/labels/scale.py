"""Which scale a label file's scores are on: decided once per file and corpus, never per row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from vqa_assets.corpora import Corpus
from vqa_assets.corpora.scales import ACR_1_5, CONTINUOUS_0_100, SCALES, SLACK, MosScale, detect_scale
from vqa_assets.errors import LabelError, ScaleError
from vqa_assets.labels.columns import ALWAYS_0_100
from vqa_assets.labels.reading import ROW, Columns
from vqa_assets.labels.settings import OPINION_SCALES

_LEAST_FOR_0_100 = 5.0 + SLACK
_EXAMPLES = 5
_NEXT = "set mos_scale if the column is right, else label_mos_column"


@dataclass(frozen=True)
class ScaleRule:
    """What decides a scale beside the file itself: the setting, and the declared corpora."""

    setting: str | None
    corpora: Mapping[str, Corpus]


@dataclass(frozen=True)
class Decided:
    """The scale of one corpus's rows (None: rows that name no corpus), and what decided it."""

    corpus: str | None
    scale: MosScale
    by: str

    @property
    def rows(self) -> pl.Expr:
        """True for the rows it is decided for."""
        return pl.col("corpus").eq_missing(pl.lit(self.corpus, pl.String))


def decide(file: Columns, column: str, rule: ScaleRule) -> tuple[Decided, ...]:
    """The scale of a column of scores, corpus by corpus.

    The first of these that says it: the column's name (0–100), the setting, the rows' ``mos_scale``, the corpus's
    declaration, detection over all its scores. LabelError where they contradict each other or nothing fits.
    """
    frame = file.frame
    if "corpus" not in frame.columns:
        return (_of_group(file, frame, column, None, rule),)
    groups = frame["corpus"].unique(maintain_order=True).to_list()
    return tuple(
        _of_group(file, frame.filter(pl.col("corpus").eq_missing(pl.lit(name, pl.String))), column, name, rule)
        for name in groups
    )


def scale_expr(decided: Sequence[Decided], *, other: MosScale, value: pl.Expr, spread: bool = False) -> pl.Expr:
    """A score (or with ``spread`` its SD) on another scale."""
    if len(decided) == 1:
        return _converted(decided[0].scale, other, value, spread=spread)
    found = pl.lit(None, pl.Float64)
    for one in decided:
        found = pl.when(one.rows).then(_converted(one.scale, other, value, spread=spread)).otherwise(found)
    return found


def check_inside(file: Columns, column: str, decided: Sequence[Decided]) -> None:
    """LabelError that names the rows whose score is not finite, or outside its scale by more than the slack."""
    outside = []
    for one in decided:
        rows = file.frame if len(decided) == 1 else file.frame.filter(one.rows)
        score = pl.col(column)
        inside = score.is_finite() & score.is_between(one.scale.low - SLACK, one.scale.high + SLACK)
        outside += [(row, value, one.scale.name) for row, value in rows.filter(~inside).select(ROW, column).iter_rows()]
    if outside:
        told = "; ".join(
            f"{file.where(row)}: {value:g} on {scale}" for row, value, scale in sorted(outside)[:_EXAMPLES]
        )
        raise LabelError(
            f"{file.path}: {column}: scores outside their scale",
            found=f"{len(outside)} of {file.frame.height} ({told})",
            expected=f"none more than {SLACK} outside",
            next_step="correct the rows, or set mos_scale if the scale is wrong",
        )


def _converted(scale: MosScale, other: MosScale, value: pl.Expr, *, spread: bool) -> pl.Expr:
    slope, intercept = scale.map_to(other)
    if scale == other:
        return value
    return value * slope if spread else value * slope + intercept


def _of_group(file: Columns, rows: pl.DataFrame, column: str, corpus: str | None, rule: ScaleRule) -> Decided:
    what = f"{file.path}: {column}" + (f" of {corpus}" if corpus else "")
    if column.lower() in ALWAYS_0_100:
        return Decided(corpus, CONTINUOUS_0_100, "column name")
    if rule.setting:
        return Decided(corpus, SCALES[rule.setting], "setting")
    if column.lower() == "mos" and "mos_scale" in rows.columns and (said := _said_by_rows(rows, what)):
        return Decided(corpus, said, "rows")
    declared = rule.corpora.get(corpus or "")
    return _declared(rows, column, corpus, declared, what) if declared else _detected(rows, column, corpus, what)


def _said_by_rows(rows: pl.DataFrame, what: str) -> MosScale | None:
    said = rows["mos_scale"].drop_nulls().unique(maintain_order=True).to_list()
    unknown = [word for word in said if word not in OPINION_SCALES]
    if unknown or len(said) > 1:
        first = [rows.filter(pl.col("mos_scale") == word)[ROW][0] for word in said]
        told = ", ".join(f"{word!r} (row {row})" for word, row in zip(said, first, strict=True))
        raise LabelError(
            f"{what}: mos_scale",
            found=told,
            expected=f"one scale of opinions in all rows: {' or '.join(OPINION_SCALES)}",
            next_step="split the file, name the corpus in a column corpus, or correct the column",
        )
    return SCALES[said[0]] if said else None


def _declared(rows: pl.DataFrame, column: str, corpus: str | None, declared: Corpus, what: str) -> Decided:
    """One declared scale is taken as it is; of several (published and stored differently) the scores tell which."""
    candidates = tuple(dict.fromkeys(filter(None, (declared.stored_scale, *declared.scales))))
    if len(candidates) == 1:
        return Decided(corpus, candidates[0], "corpus")
    return Decided(corpus, _detect(rows, column, candidates, what), "corpus")


def _detected(rows: pl.DataFrame, column: str, corpus: str | None, what: str) -> Decided:
    return Decided(corpus, _detect(rows, column, (ACR_1_5, CONTINUOUS_0_100), what), "detection")


def _detect(rows: pl.DataFrame, column: str, candidates: Sequence[MosScale], what: str) -> MosScale:
    """``detect_scale``, and 0–100 only where a score lies above 5.05: a few low scores do not tell the scales apart."""
    scores = rows[column].drop_nulls().drop_nans().to_list()
    try:
        found = detect_scale(scores, candidates, what)
    except ScaleError as error:
        raise LabelError(error.what, found=error.found, expected=error.expected, next_step=_NEXT) from error
    if found.high > _LEAST_FOR_0_100 >= max(scores):
        raise LabelError(
            f"{what}: the scale cannot be told",
            found=f"{len(scores)} scores from {min(scores):g} to {max(scores):g}",
            expected=f"scores on 1–5, or one above {_LEAST_FOR_0_100:g} for 0–100",
            next_step=_NEXT,
        )
    return found
