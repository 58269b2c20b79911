"""The join itself: one label per key, the features' keys matched with them, and the labelled rows in their order.

What is published, and what a run records of it, is in ``labelled``; how the match is counted and judged in
``coverage``.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from vqa_assets.corpora import CORPORA, Corpus
from vqa_assets.corpora.opinions import LabelSummary
from vqa_assets.corpora.scales import RAW_MOS, TRAINING
from vqa_assets.errors import LabelError
from vqa_assets.labels.coverage import (
    LABEL,
    RAW_KEY,
    ROWS,
    LabelAudit,
    audit_of,
    check_identity,
    check_match_rate,
    match,
    summaries_of,
)
from vqa_assets.labels.keys import KeyRule, compiled, key_column, normalized
from vqa_assets.labels.scores import (
    CARRIED_COLUMNS,
    CI95,
    IDENTITY_COLUMNS,
    KEY,
    SAME_MOS,
    SOURCE,
    LabelFile,
    ScaleRule,
    check_splits,
    read_label_file,
)
from vqa_assets.labels.settings import LabelSettings, check_settings
from vqa_assets.printing import logger
from vqa_assets.tables.foreign_tables import ROW, ColumnSelection, ForeignTable, Format, key_text

SCORES = ("mos", RAW_MOS, SOURCE, "mos_std_dev", "mos_n_ratings", CI95)
"""Columns that labels add about scores, in their order; the last three where the labels have them."""
_FILE, _TWIN = "_file", "_first"
_DIFFERENCES_IN_LOG = 20
_log = logger("vqa_assets.labels")


@dataclass(frozen=True)
class Join:
    """Features and labels that match: ``rows`` yields the labelled rows in the features' order.

    ``added`` are the columns that the join adds, in their order; ``summaries`` tell what the labels in use look like.
    ``as_objects``: rows go from JSON objects to JSON objects, each with keys of its own, and ``rows`` holds of the
    features' columns only key and identity.
    """

    features: ForeignTable
    as_objects: bool
    key: KeyRule
    files: tuple[LabelFile, ...]
    audit: LabelAudit
    rows: pl.LazyFrame
    added: tuple[str, ...]
    summaries: tuple[LabelSummary, ...]


def plan(
    features: ForeignTable,
    labels: Sequence[ForeignTable],
    settings: LabelSettings,
    corpora: Mapping[str, Corpus] = CORPORA,
    *,
    out: Format = Format.PARQUET,
    conventional: bool = False,
) -> Join:
    """Read the labels, match the keys and judge the match; nothing is written.

    ``conventional``: both sides are tables of our own, and no column is inferred. LabelError where a column is absent
    or ambiguous, a MOS column would be replaced without ``overwrite``, one key has two scores, an identity column
    disagrees, or fewer keys match than ``min_match_rate``.
    """
    check_settings(settings, IDENTITY_COLUMNS)
    for setting in ("feature_key_regex", "label_key_regex"):
        if getattr(settings, setting):
            compiled(getattr(settings, setting), setting)  # an invalid one is an error before any work
    column = key_column(features.names, settings.feature_key_column, str(features.path), "feature_key_column")
    if settings.status_column == column:
        check_settings(settings, (column,))
    normalize = "raw" if conventional else settings.key_normalize
    key = KeyRule(column, normalize, settings.feature_key_regex, "feature_key_regex")
    _check_none_stands(features, (*SCORES, settings.status_column), settings)
    rule = ScaleRule(settings.mos_scale, corpora)
    files = tuple(read_label_file(table, settings, rule, conventional=conventional) for table in labels)
    _check_none_stands(features, further_of(files), settings)
    check_settings(settings, further_of(files))
    one_label_per_key = _one_per_key(files)
    _check_pattern_matches(one_label_per_key[KEY], files[0].key, [f.frame[f.key.column] for f in files])
    return _joined(features, key, files, one_label_per_key, settings, out)


def further_of(files: Sequence[LabelFile]) -> tuple[str, ...]:
    """The columns of further scores that label files have."""
    return tuple(dict.fromkeys(name for file in files for name in file.further))


def _check_none_stands(features: ForeignTable, columns: Sequence[str], settings: LabelSettings) -> None:
    """LabelError where a MOS column would be replaced without ``overwrite``."""
    standing = [name for name in columns if name in features.names]
    if standing and not settings.overwrite:
        raise LabelError(
            f"{features.path}: refusing to overwrite existing MOS columns: {', '.join(standing)}",
            next_step="set overwrite to replace them, or label the table without them",
        )


def _joined(
    features: ForeignTable,
    key: KeyRule,
    files: tuple[LabelFile, ...],
    labels: pl.DataFrame,
    settings: LabelSettings,
    out: Format,
) -> Join:
    as_objects = features.format.is_json and out.is_json
    identity = [name for name in IDENTITY_COLUMNS if name in features.names]
    try:
        if as_objects:
            # objects are written from the file again, each with its own keys: only what the join reads is a column here
            texts = dict.fromkeys((key.column, *identity), str)
            rows = features.columns(ColumnSelection(texts.get, tuple(texts))).frame.drop(ROW).lazy()
        else:
            rows = features.rows((key.column, *identity), typed=out is not Format.CSV)
        matched = match(_distinct_keys(features, rows, key), labels)
    except pl.exceptions.PolarsError as error:
        raise features.unreadable(error) from error
    audit = audit_of(matched, labels)
    label_keys = ", ".join(dict.fromkeys(f"{f.key.column} ({f.key.resolved})" for f in files))
    check_match_rate(
        audit,
        settings.min_match_rate,
        f"{features.path} with labels {', '.join(f.path.name for f in files)}",
        f"are these the labels of this table? Keys are {key.column} ({key.resolved}) and {label_keys}. ",
    )
    check_identity(matched, identity)
    carried = [name for name in CARRIED_COLUMNS if name in labels.columns and name not in features.names]
    added = (*(name for name in (*SCORES, *further_of(files)) if name in labels.columns), *carried)
    return Join(
        features=features,
        as_objects=as_objects,
        key=key,
        files=files,
        audit=audit,
        rows=_labelled(rows, _columns_to_add(matched, added), key, settings.status_column),
        added=(*added, settings.status_column),
        summaries=summaries_of(matched),
    )


def _distinct_keys(features: ForeignTable, rows: pl.LazyFrame, key: KeyRule) -> pl.DataFrame:
    """One row per distinct key and identity of the features: the key as it stands and as it is compared, how many rows
    have it, and the identity columns as texts. LabelError where a split is none, or a pattern matches no key.
    """
    schema = rows.collect_schema()
    identity = [key_text(name, schema[name]).alias(name) for name in IDENTITY_COLUMNS if name in schema]
    distinct = (
        rows.select(key_text(key.column, schema[key.column]).alias(RAW_KEY), *identity)
        .group_by(pl.all())
        .agg(pl.len().alias(ROWS))
        .collect(engine="streaming")
    )
    compared = distinct.with_columns(normalized(distinct[RAW_KEY], key).alias(KEY))
    _check_pattern_matches(compared[KEY], key, [compared[RAW_KEY]])
    check_splits(compared, features.path)
    return compared


def _columns_to_add(matched: pl.DataFrame, added: Sequence[str]) -> pl.DataFrame:
    """Per key as it stands in the features, the columns to add."""
    renamed = {name: f"{LABEL}:{name}" for name in added if f"{LABEL}:{name}" in matched.columns}
    columns = [pl.col(renamed.get(name, name)).alias(name) for name in added]
    return matched.filter(pl.col(RAW_KEY).is_not_null()).select(RAW_KEY, *columns).unique(RAW_KEY, keep="first")


def _labelled(rows: pl.LazyFrame, beside: pl.DataFrame, key: KeyRule, status_column: str) -> pl.LazyFrame:
    schema = rows.collect_schema()
    replaced = [name for name in dict.fromkeys((*SCORES, *beside.columns, status_column)) if name in schema]
    status = pl.when(pl.col("mos").is_null()).then(pl.lit("missing-label")).otherwise(pl.lit("ok"))
    is_text = schema[key.column] == pl.String
    text = pl.col(key.column) if is_text else key_text(key.column, schema[key.column])
    # without maintain_order the streaming engine emits rows in the order in which they meet their labels
    joined = rows.drop(replaced).join(
        beside.lazy(), left_on=text, right_on=RAW_KEY, how="left", maintain_order="left", coalesce=is_text
    )
    labelled = joined if is_text else joined.drop(RAW_KEY)
    return labelled.with_columns(status.alias(status_column))


def _check_pattern_matches(parts: pl.Series, rule: KeyRule, keys: Sequence[pl.Series]) -> None:
    """LabelError where a pattern matches no key at all."""
    if parts.count() or not rule.regex or not any(len(series) for series in keys):
        return
    examples = [str(key) for series in keys for key in series.drop_nulls().head(3)][:3]
    raise LabelError(
        f"{rule.setting} {rule.regex!r}",
        found=f"a match in none of the keys of column {rule.column!r}, such as {examples}",
        expected="a pattern that finds the clip's id in them",
        next_step=f"correct it; it is searched after key_normalize ({rule.resolved})",
    )


def _one_per_key(files: Sequence[LabelFile]) -> pl.DataFrame:
    """One row per key: ``_key``, the scores, and what the labels carry. Later equal labels are left out.

    LabelError where one key has two scores; other differences of twins are warnings.
    """
    sources = _short_names(files)
    wanted = (*SCORES, *further_of(files), *CARRIED_COLUMNS)
    frames = [
        one.frame.select(KEY, ROW, *(n for n in wanted if n in one.frame.columns)).with_columns(
            pl.lit(i).alias(_FILE), pl.lit(sources[i]).alias(SOURCE)
        )
        for i, one in enumerate(files)
    ]
    # keys in which the pattern found nothing are null: they must not join each other
    every = pl.concat(frames, how="diagonal").filter(pl.col(KEY).is_not_null())
    columns = [name for name in wanted if name in every.columns]
    once = every.unique(KEY, keep="first", maintain_order=True)
    if once.height < every.height:
        twins = every.join(once, on=KEY, how="inner", suffix=_TWIN, maintain_order="left").filter(
            (pl.col(ROW) != pl.col(f"{ROW}{_TWIN}")) | (pl.col(_FILE) != pl.col(f"{_FILE}{_TWIN}"))
        )
        _check_scores_agree(twins, files)
        _warn_of_differences(twins, [name for name in columns if name not in ("mos", RAW_MOS, SOURCE)])
    # 0 stands for "not published", as in a corpus JSONL
    unpublished = [pl.col(n).fill_null(0) for n in ("mos_std_dev", "mos_n_ratings") if n in columns]
    return once.select(KEY, *columns).with_columns(unpublished)


def _short_names(files: Sequence[LabelFile]) -> list[str]:
    """The files' names; where files have one name, their paths from the folder that holds them all."""
    of_name: dict[str, list[Path]] = {}
    for one in files:
        of_name.setdefault(one.path.name, []).append(one.path.absolute())
    names = []
    for one in files:
        alike = of_name[one.path.name]
        folder = os.path.commonpath([path.parent for path in alike])
        names.append(one.path.absolute().relative_to(folder).as_posix() if len(set(alike)) > 1 else one.path.name)
    return names


def _check_scores_agree(twins: pl.DataFrame, files: Sequence[LabelFile]) -> None:
    """LabelError where a later label of a key tells another score than the first."""
    apart = (pl.col("mos") - pl.col(f"mos{_TWIN}")).abs() > SAME_MOS * (TRAINING.high - TRAINING.low)
    conflicts = twins.filter(apart)
    if not conflicts.height:
        return
    row = conflicts.row(0, named=True)
    sides = [
        f"{row[f'mos{suffix}']!r} in {files[row[f'{_FILE}{suffix}']].table.place(row[f'{ROW}{suffix}'])}"
        for suffix in (_TWIN, "")
    ]
    more = f", and {conflicts.height - 1} more" if conflicts.height > 1 else ""
    raise LabelError(
        f"conflicting MOS labels for {row[KEY]!r}",
        found=" and ".join(sides) + more,
        expected="one score a key (both are shown on 1–5)",
        next_step="were the wrong labels joined, or a stale file left in place? Where the tables hold several "
        "corpora set corpus, where folders tell clips apart set key_normalize to raw",
    )


def _warn_of_differences(twins: pl.DataFrame, names: Sequence[str]) -> None:
    """Log what else differs between labels of one key."""
    count = 0
    for name in names:
        differing = twins.filter(pl.col(name).ne_missing(pl.col(f"{name}{_TWIN}")))
        for row in differing.head(max(0, _DIFFERENCES_IN_LOG - count)).iter_rows(named=True):
            sides = (row[f"{name}{_TWIN}"], row[f"{SOURCE}{_TWIN}"], row[name], row[SOURCE])
            _log.warning("%r: %s is %r in %s and %r in %s; the first is kept", row[KEY], name, *sides)
        count += differing.height
    if count > _DIFFERENCES_IN_LOG:
        more = count - _DIFFERENCES_IN_LOG
        _log.warning("%d more differences between labels of one key; the first is kept each time", more)
