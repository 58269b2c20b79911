"""The join itself: which columns, the labels, the coverage, and the labelled rows in the features' order.

What is published, and what a run records of it, is in ``labelled``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from vqa_assets.corpora import CORPORA, Corpus
from vqa_assets.corpora.contents import check_split_words
from vqa_assets.errors import LabelError, TrainingError
from vqa_assets.labels.columns import CARRIED_COLUMNS, IDENTITY_COLUMNS, key_column
from vqa_assets.labels.conflicts import SCORES, one_per_key
from vqa_assets.labels.coverage import (
    LABEL,
    RAW_KEY,
    LabelAudit,
    audit_of,
    check_identity,
    check_match_rate,
    match,
    summaries_of,
)
from vqa_assets.labels.feature_table import FeatureTable
from vqa_assets.labels.key_regex import compiled
from vqa_assets.labels.keys import KeyRule, key_text, normalized
from vqa_assets.labels.label_file import KEY, LabelFile, read_label_file
from vqa_assets.labels.reading import unreadable
from vqa_assets.labels.scale import ScaleRule
from vqa_assets.labels.settings import LabelSettings, check_settings
from vqa_assets.unified.label_statistics import LabelSummary


@dataclass(frozen=True)
class Join:
    """Features and labels that match: ``rows`` yields the labelled rows in the features' order.

    ``added`` are the columns that the join adds, in their order; ``summaries`` tell what the labels in use look like.
    """

    table: FeatureTable
    key: KeyRule
    files: tuple[LabelFile, ...]
    audit: LabelAudit
    rows: pl.LazyFrame
    added: tuple[str, ...]
    summaries: tuple[LabelSummary, ...]


def plan(
    table: FeatureTable,
    labels: Sequence[Path],
    settings: LabelSettings,
    corpora: Mapping[str, Corpus] = CORPORA,
    conventional: Sequence[Path] = (),
) -> Join:
    """Read the labels, match the keys and judge the match; nothing is written.

    ``conventional`` are label files whose columns need no inference, as the features' then do not either. LabelError
    where a column is absent or ambiguous, a MOS column would be replaced without ``overwrite``, one key has two scores,
    an identity column disagrees, or fewer keys match than ``min_match_rate``.
    """
    check_settings(settings, IDENTITY_COLUMNS)
    for setting in ("feature_key_regex", "label_key_regex"):
        if getattr(settings, setting):
            compiled(getattr(settings, setting), setting)
    key = _feature_key(table, settings, by_convention=bool(conventional))
    _check_standing(table, settings)
    rule = ScaleRule(settings.mos_scale, corpora)
    files = tuple(read_label_file(path, settings, rule, conventional=path in conventional) for path in labels)
    return _joined(table, key, files, settings)


def _feature_key(table: FeatureTable, settings: LabelSettings, *, by_convention: bool) -> KeyRule:
    column = key_column(table.names, settings.feature_key_column, str(table.path), "feature_key_column")
    if settings.status_column == column:
        check_settings(settings, (column,))
    normalize = "raw" if by_convention else settings.key_normalize
    return KeyRule(column, normalize, settings.feature_key_regex, "feature_key_regex")


def _check_standing(table: FeatureTable, settings: LabelSettings) -> None:
    standing = [name for name in (*SCORES, settings.status_column) if name in table.names]
    if standing and not settings.overwrite:
        raise LabelError(
            f"{table.path}: refusing to overwrite existing MOS columns: {', '.join(standing)}",
            next_step="set overwrite to replace them, or label the table without them",
        )


def _joined(table: FeatureTable, key: KeyRule, files: tuple[LabelFile, ...], settings: LabelSettings) -> Join:
    labels = one_per_key(files)
    _check_pattern_found(labels.height, files[0].key, [f.frame[f.key.column] for f in files])
    try:
        rows = table.scan(key.column)
        matched = match(_distinct_keys(table, rows, key), labels)
    except pl.exceptions.PolarsError as error:
        raise unreadable(table.path, error) from error
    audit = audit_of(matched, labels)
    names = ", ".join(f.path.name for f in files)
    check_match_rate(audit, settings.min_match_rate, f"{table.path} with labels {names}", _hint(key, files))
    check_identity(matched, [name for name in IDENTITY_COLUMNS if name in table.names])
    carried = [name for name in CARRIED_COLUMNS if name in labels.columns and name not in table.names]
    added = (*(name for name in SCORES if name in labels.columns), *carried)
    labelled = _labelled(rows, _beside(matched, added), key, settings)
    return Join(table, key, files, audit, labelled, (*added, settings.status_column), summaries_of(matched))


def _distinct_keys(table: FeatureTable, rows: pl.LazyFrame, key: KeyRule) -> pl.DataFrame:
    """The features' distinct keys, as they stand and as they are compared; their split words are known ones."""
    distinct = table.distinct(rows, key.column)
    compared = distinct.with_columns(normalized(distinct[RAW_KEY], key).alias(KEY))
    _check_pattern_found(compared[KEY].count(), key, [compared[RAW_KEY]])
    _check_splits(compared, table)
    return compared


def _beside(matched: pl.DataFrame, added: Sequence[str]) -> pl.DataFrame:
    """Per key as it stands in the features, the columns to add."""
    renamed = {name: f"{LABEL}:{name}" for name in added if f"{LABEL}:{name}" in matched.columns}
    columns = [pl.col(renamed.get(name, name)).alias(name) for name in added]
    return matched.filter(pl.col(RAW_KEY).is_not_null()).select(RAW_KEY, *columns).unique(RAW_KEY, keep="first")


def _labelled(rows: pl.LazyFrame, beside: pl.DataFrame, key: KeyRule, settings: LabelSettings) -> pl.LazyFrame:
    schema = rows.collect_schema()
    replaced = [name for name in (*SCORES, settings.status_column) if name in schema]
    status = pl.when(pl.col("mos").is_null()).then(pl.lit("missing-label")).otherwise(pl.lit("ok"))
    plain = schema[key.column] == pl.String
    text = pl.col(key.column) if plain else key_text(key.column, schema[key.column])
    joined = rows.drop(replaced).join(
        beside.lazy(), left_on=text, right_on=RAW_KEY, how="left", maintain_order="left", coalesce=plain
    )
    labelled = joined if plain else joined.drop(RAW_KEY)
    return labelled.with_columns(status.alias(settings.status_column))


def _check_pattern_found(found: int, rule: KeyRule, keys: Sequence[pl.Series]) -> None:
    if found or not rule.regex or not any(len(series) for series in keys):
        return
    examples = [str(key) for series in keys for key in series.drop_nulls().head(3)][:3]
    raise LabelError(
        f"{rule.setting} {rule.regex!r}",
        found=f"a match in none of the keys of column {rule.column!r}, such as {examples}",
        expected="a pattern that finds the clip's id in them",
        next_step=f"correct it; it is searched after key_normalize ({rule.resolved})",
    )


def _check_splits(distinct: pl.DataFrame, table: FeatureTable) -> None:
    if "split" not in distinct.columns:
        return
    try:
        check_split_words(distinct["split"].drop_nulls().unique().to_list())
    except TrainingError as error:
        raise LabelError(
            f"{table.path}: {error.what}", found=error.found, expected=error.expected, next_step=error.next_step
        ) from error


def _hint(key: KeyRule, files: Sequence[LabelFile]) -> str:
    theirs = ", ".join(dict.fromkeys(f"{f.key.column} ({f.key.resolved})" for f in files))
    return f"are these the labels of this table? Keys are {key.column} ({key.resolved}) and {theirs}. "
