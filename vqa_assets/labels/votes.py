"""Votes of single raters become scores: mean, sample SD, count, 95 % confidence interval.

In the long form a row is one vote; in the wide form a column is one rater.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import polars as pl

from vqa_assets.corpora.opinions import ci95_half_width
from vqa_assets.corpora.scales import RAW_MOS
from vqa_assets.errors import LabelError
from vqa_assets.labels.reading import ROW, Columns

VOTE = "_vote"
CI95 = "mos_ci95"
_EXAMPLES = 5


def matches(name: str, patterns: Sequence[str]) -> bool:
    """True where one of the shell patterns names the column."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def unpivoted(file: Columns, raters: Sequence[str]) -> Columns:
    """The wide form as rows of one vote each; an empty cell is no vote. LabelError names cells that hold no number."""
    bad = [(file.where(b.row), name, b.value) for name in raters for b in file.bad.get(name, [])]
    if bad:
        told = "; ".join(f"{where}: {name} {value!r}" for where, name, value in bad[:_EXAMPLES])
        raise LabelError(
            f"{file.path}: {len(bad)} votes are no numbers",
            found=told,
            expected="numbers, or empty where a rater did not vote",
            next_step="correct these cells, or leave the column out of vote_columns",
        )
    others = [name for name in file.frame.columns if name not in raters]
    rows = file.frame.unpivot(on=list(raters), index=others, variable_name="_rater", value_name=VOTE)
    voted = rows.filter(pl.col(VOTE).is_not_null() & pl.col(VOTE).is_not_nan()).sort(ROW, maintain_order=True)
    if not voted.height:
        raise LabelError(
            f"{file.path}: no votes",
            found=f"{len(raters)} empty columns: {', '.join(raters[:_EXAMPLES])}",
            expected="votes in vote_columns",
            next_step="set vote_columns",
        )
    return Columns(file.path, file.names, voted, {})


def scored(votes: pl.DataFrame, key: str, rater: str | None, file: Columns) -> pl.DataFrame:
    """One row per key: the mean of its votes on both scales, their SD and number, half the width of the interval.

    ``votes`` have ``mos`` and ``mos_raw_0_100`` per vote. The first vote's row gives the place and what else is
    carried. An SD of a single vote is unknown: 0, without an interval.
    """
    once = votes if rater is None else _each_rater_once(votes, key, rater, file)
    made = ("mos", RAW_MOS, "mos_std_dev", "mos_n_ratings")
    carried = [pl.col(name).first() for name in votes.columns if name not in (key, *made)]
    found = once.group_by(key, maintain_order=True).agg(
        *carried,
        pl.col("mos").std(ddof=1).fill_null(0.0).alias("mos_std_dev"),
        pl.col("mos").mean(),
        pl.col(RAW_MOS).mean(),
        pl.len().cast(pl.Int64).alias("mos_n_ratings"),
    )
    counts = found["mos_n_ratings"].unique().to_list()
    factors = {n: ci95_half_width(1.0, n) for n in counts if n > 1}
    factor = pl.col("mos_n_ratings").replace_strict(factors, default=None, return_dtype=pl.Float64)
    return found.with_columns((factor * pl.col("mos_std_dev")).alias(CI95))


def _each_rater_once(votes: pl.DataFrame, key: str, rater: str, file: Columns) -> pl.DataFrame:
    """A vote told twice counts once; LabelError where a rater gave a clip two different votes, or has no name."""
    if rater not in votes.columns:
        raise LabelError(
            f"{file.path}",
            found=f"columns {', '.join(file.names[:20])}",
            expected=f"the rater column {rater!r}",
            next_step="set rater_column",
        )
    nameless = votes.filter(pl.col(rater).is_null())
    if nameless.height:
        raise LabelError(
            f"{file.path}: {nameless.height} votes of nobody",
            found=f"no {rater} in {file.where(nameless[ROW][0])}",
            expected="a rater in every row",
            next_step="correct these rows",
        )
    differing = votes.group_by(key, rater, maintain_order=True).agg(pl.col("mos").unique(), pl.col(ROW).min())
    twice = differing.filter(pl.col("mos").list.len() > 1)
    if twice.height:
        clip, name, _, row = twice.row(0)
        raise LabelError(
            f"{file.path}: {twice.height} raters gave one clip two votes",
            found=f"{name!r} on {clip!r}, first in {file.where(row)}",
            expected="one vote a rater and clip",
            next_step="leave out sessions that were repeated",
        )
    return votes.unique([key, rater], keep="first", maintain_order=True)
