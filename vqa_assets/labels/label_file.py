"""One label file: which of its columns are read, and its rows as labels on both scales.

Labels of several files become one body of labels in ``conflicts``; votes become scores in ``votes``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from vqa_assets.corpora.contents import KEY_COLUMNS, check_split_words
from vqa_assets.corpora.scales import CONTINUOUS_0_100, RAW_MOS, TRAINING, UNIFIED
from vqa_assets.errors import LabelError, TrainingError
from vqa_assets.labels import columns as names_of
from vqa_assets.labels import votes
from vqa_assets.labels.formats import check_present
from vqa_assets.labels.keys import KeyRule, normalized
from vqa_assets.labels.reading import ROW, Columns, Wanted, place, read_columns
from vqa_assets.labels.scale import Decided, ScaleRule, check_inside, decide, scale_expr
from vqa_assets.labels.settings import LabelSettings

KEY, SOURCE = "_key", "mos_label_source"
SAME_MOS = 1e-6
"""Scores are equal within this share of their scale's range."""
_EXAMPLES = 5


@dataclass(frozen=True)
class LabelFile:
    """One file's labels: ``frame`` has a row per usable row of the file, with ``_key``, the scores, and what it has of
    SD, count, interval and identity.
    """

    path: Path
    key: KeyRule
    mos_column: str
    scales: tuple[Decided, ...]
    frame: pl.DataFrame

    def where(self, row: int) -> str:
        """A row's place as a message names it."""
        return place(self.path, row)


def read_label_file(path: Path, settings: LabelSettings, rule: ScaleRule, *, conventional: bool = False) -> LabelFile:
    """The labels of one file; of a ``conventional`` one, a corpus JSONL, no column is inferred.

    LabelError names what of the file cannot be used, and where.
    """
    check_present(path, "labels", "materialize corpus_jsonl for this corpus, or set labels")
    file = _restricted(read_columns(path, _wanted(settings)), settings)
    key = _key_rule(file, settings, conventional=conventional)
    if settings.vote_columns:
        file = votes.unpivoted(file, names_of.vote_columns(file.names, settings.vote_columns, str(path)))
    mos, scales = _score(file, settings, rule, conventional=conventional)
    _check_usable(file, key.column, mos)
    check_inside(file, mos, scales)
    _check_splits(file)
    frame = _converted(file, mos, scales, rule)
    if settings.vote_columns or settings.rater_column:
        frame = votes.scored(frame, key.column, settings.rater_column, file)
    return LabelFile(path, key, mos, scales, frame.with_columns(normalized(frame[key.column], key).alias(KEY)))


def _key_rule(file: Columns, settings: LabelSettings, *, conventional: bool) -> KeyRule:
    if conventional:
        return KeyRule("src", "raw", None, "label_key_regex")
    column = names_of.key_column(file.names, settings.label_key_column, str(file.path), "label_key_column")
    return KeyRule(column, settings.key_normalize, settings.label_key_regex, "label_key_regex")


def _wanted(settings: LabelSettings) -> Wanted:
    """The columns that may matter: keys, scores, and what is carried."""
    scores = names_of.VOTE_CANDIDATES if settings.rater_column else names_of.MOS_CANDIDATES
    chosen = tuple(filter(None, (settings.label_key_column, settings.rater_column)))
    numbers = (*names_of.SPREADS, *names_of.COUNTS, *filter(None, (settings.label_mos_column,)))
    texts = (*names_of.CARRIED_COLUMNS, "mos_scale")

    def kind(name: str) -> type | None:
        if name in chosen:
            return str
        if name in numbers or name.lower() in scores or votes.matches(name, settings.vote_columns):
            return float
        return str if name in texts or name.lower() in KEY_COLUMNS else None

    known = (*chosen, *numbers, *texts, *scores, *KEY_COLUMNS)
    return Wanted(kind, known, in_any_row=bool(settings.vote_columns))


def _restricted(file: Columns, settings: LabelSettings) -> Columns:
    """Only the rows of the corpus that the settings name."""
    wanted = settings.corpus
    if wanted is not None and "corpus" not in file.frame.columns:
        raise LabelError(
            f"{file.path}",
            found="no column corpus",
            expected=f"one that tells the rows of {wanted!r}",
            next_step="leave corpus empty where the file is of one corpus",
        )
    rows = file.frame if wanted is None else file.frame.filter(pl.col("corpus") == wanted)
    if rows.height:
        kept = set(rows[ROW].to_list()) if wanted is not None else None
        bad = {n: [b for b in found if kept is None or b.row in kept] for n, found in file.bad.items()}
        return Columns(file.path, file.names, rows, bad)
    there = ", ".join(sorted(map(str, file.frame["corpus"].unique()))) if wanted and file.frame.height else ""
    raise LabelError(
        f"labels {file.path}",
        found=f"no row of {wanted!r} (corpora: {there})" if there else "no rows",
        expected="at least one label",
        next_step="set corpus to one of those" if there else "re-ingest, or name another file",
    )


def _score(
    file: Columns, settings: LabelSettings, rule: ScaleRule, *, conventional: bool
) -> tuple[str, tuple[Decided, ...]]:
    """The column of scores and its scales. LabelError where candidates differ on one scale."""
    if settings.vote_columns:
        return votes.VOTE, decide(file, votes.VOTE, rule)
    chosen = "mos" if conventional else settings.label_mos_column
    candidates = names_of.mos_candidates(file.names, chosen, str(file.path), votes=bool(settings.rater_column))
    known = [name for name in candidates if file.frame[name].count()] or list(candidates[:1])
    if not file.frame[known[0]].count():
        _check_usable(file, None, known[0])
    scales = {name: decide(file, name, rule) for name in known[:1]}
    for other in known[1:]:
        _check_same(file, (known[0], scales[known[0]]), other, rule)
    return known[0], scales[known[0]]


def _check_same(file: Columns, first: tuple[str, tuple[Decided, ...]], other: str, rule: ScaleRule) -> None:
    column, scales = first
    try:
        theirs = decide(file, other, rule)
    except LabelError as error:
        raise _ambiguous(file, column, other, f"{other} fits no scale: {error.found}") from error
    compared = file.frame.select(
        ROW,
        scale_expr(scales, other=TRAINING, value=pl.col(column)).alias("_first"),
        scale_expr(theirs, other=TRAINING, value=pl.col(other)).alias("_other"),
        column,
        other,
    ).filter((pl.col("_first") - pl.col("_other")).abs() > SAME_MOS * (TRAINING.high - TRAINING.low))
    if compared.height:
        row, _, _, mine, their = compared.row(0)
        raise _ambiguous(
            file, column, other, f"{compared.height} rows differ ({file.where(row)}: {mine:g} and {their:g})"
        )


def _ambiguous(file: Columns, column: str, other: str, found: str) -> LabelError:
    return LabelError(
        f"{file.path}: the MOS column is ambiguous: {column} or {other}",
        found=found,
        expected="columns that tell the same score, or one that is chosen",
        next_step=f"set label_mos_column to {column} or {other}",
    )


def _check_usable(file: Columns, key: str | None, mos: str) -> None:
    """LabelError that names rows without a key, and rows whose score is no number."""
    bad = {b.row: f"{mos} {b.value!r}" for b in file.bad.get(mos, [])}
    missing = file.frame.filter(pl.col(mos).is_null())[ROW].to_list()
    found = {row: bad.get(row, f"no {mos}") for row in missing}
    if key is not None:
        found |= dict.fromkeys(file.frame.filter(pl.col(key).is_null())[ROW].to_list(), f"no {key}")
    if found:
        told = "; ".join(f"{file.where(row)}: {found[row]}" for row in sorted(found)[:_EXAMPLES])
        raise LabelError(
            f"{file.path}: {len(found)} of {file.frame.height} rows cannot be used",
            found=told,
            expected=f"a key and a number as {mos} in every row",
            next_step="correct or remove these rows, or set label_key_column and label_mos_column",
        )


def _check_splits(file: Columns) -> None:
    if "split" not in file.frame.columns:
        return
    try:
        check_split_words(file.frame["split"].drop_nulls().unique().to_list())
    except TrainingError as error:
        raise LabelError(
            f"{file.path}: {error.what}", found=error.found, expected=error.expected, next_step=error.next_step
        ) from error


def _converted(file: Columns, mos: str, scales: Sequence[Decided], rule: ScaleRule) -> pl.DataFrame:
    """The rows with scores on both scales, the SD on 1–5, and what else is carried."""
    names = file.frame.columns
    added = [
        scale_expr(scales, other=TRAINING, value=pl.col(mos)).alias("mos"),
        scale_expr(scales, other=UNIFIED, value=pl.col(mos)).alias(RAW_MOS),
        pl.lit(file.path.name).alias(SOURCE),
    ]
    spread = _spread(file, mos, scales, rule)
    if spread is not None:
        added.append(pl.when(spread > 0).then(spread).otherwise(0.0).fill_nan(0.0).alias("mos_std_dev"))
    count = next((name for name in names_of.COUNTS if name in names), None)
    if count is not None:
        added.append(pl.col(count).fill_nan(None).fill_null(0).cast(pl.Int64).alias("mos_n_ratings"))
    carried = [pl.col(n) for n in names_of.CARRIED_COLUMNS if n in names]
    keys = [pl.col(n) for n in names if n not in ("mos", RAW_MOS, *names_of.CARRIED_COLUMNS, ROW)]
    kept = [k for k in keys if k.meta.output_name() not in {e.meta.output_name() for e in added}]
    return file.frame.select(ROW, *kept, *added, *carried)


def _spread(file: Columns, mos: str, scales: Sequence[Decided], rule: ScaleRule) -> pl.Expr | None:
    """The SD on 1–5. It is in the unit of the column mos where the file has one, else in that of the scores."""
    names = file.frame.columns
    if "mos_std_dev_unified" in names:
        return pl.col("mos_std_dev_unified") * CONTINUOUS_0_100.map_to(TRAINING)[0]
    if "mos_std_dev" not in names:
        return None
    of_mos = decide(file, "mos", rule) if mos != "mos" and "mos" in names and file.frame["mos"].count() else scales
    return scale_expr(of_mos, other=TRAINING, value=pl.col("mos_std_dev"), spread=True)
