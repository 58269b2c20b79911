"""Features joined with opinion scores. Row order and count of the feature table never change.

Reads tables and writes one; which tables, and what a run records of it, is the caller's.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqa_assets.errors import LabelError, SchemaError
from vqa_assets.mos import SCALES, SLACK, TRAINING, UNIFIED
from vqa_assets.provenance import Manifest, RunContext, write_manifest
from vqa_assets.schemas import labelled_table, validate_frames
from vqa_assets.store.files import JsonLine, drafting, read_json_lines
from vqa_assets.store.tables import column_names, iterate_frames, table_version

if TYPE_CHECKING:
    import polars as pl

AUDIT_SCHEMA = "mos-label-audit-v1"
MOS_COLUMNS = ("mos", "mos_raw_0_100", "mos_label_source", "mos_std_dev", "mos_n_ratings")
IDENTITY_COLUMNS = ("corpus", "corpus_version", "content_id", "split", "score_drop")
SAME_MOS = 1e-6
"""Scores are equal within this share of their scale's range."""
_LABELS_KEY = "_label_key"
_EXAMPLES = 5
_log = logging.getLogger("vqa_assets.labels")


@dataclass(frozen=True)
class LabelSettings:
    """How one feature table is labelled. Keys are compared as they stand."""

    feature_key_column: str = "key"
    label_key_column: str = "src"
    min_match_rate: float = 0.95
    status_column: str = "mos_label_status"
    overwrite: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The settings for an audit."""
        return asdict(self)


@dataclass(frozen=True)
class LabelAudit:
    """What a join did. Coverage is matched unique keys over unique feature keys."""

    input_rows: int
    output_rows: int
    total_feature_keys: int
    matched_feature_keys: int
    matched_rows: int
    missing_rows: int
    labels_loaded: int
    match_rate: float
    label_sources: dict[str, int]
    unmatched_features: tuple[str, ...]
    unmatched_labels: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The audit for a manifest."""
        return asdict(self)


@dataclass(frozen=True)
class LabelPaths:
    """One join's files."""

    features: Path
    labels: tuple[Path, ...]
    out: Path
    audit_json: Path


@dataclass(frozen=True)
class LabelledTable:
    """A labelled table that stands: its audit, its replay manifest as written, its data version."""

    paths: LabelPaths
    audit: LabelAudit
    manifest: dict[str, Any]
    data_version: str


def make_labelled_table(paths: LabelPaths, settings: LabelSettings, context: RunContext) -> LabelledTable:
    """Join, validate, publish, and write the audit: the function under ``mos_features``.

    A table whose content would stay the same is left alone; after an error the earlier one stands.
    """
    if not paths.features.is_file():
        raise LabelError(
            f"features {paths.features}",
            found="found nothing there",
            expected="a feature table",
            next_step="materialize clip_features for this corpus, or put a table of your own there",
        )
    with drafting(paths.out) as draft:
        audit = label_features(paths.features, paths.labels, draft.path, settings)
        table = labelled_table(settings.status_column)
        validate_frames(iterate_frames(draft.path, [c.name for c in table.columns]), table, str(paths.out))
        version = table_version(draft.path)
        if _version_of(paths.out) != version:
            draft.publish()
    body = {**audit.as_dict(), "key_columns": [settings.feature_key_column, settings.label_key_column]}
    manifest = write_manifest(
        paths.audit_json,
        Manifest(
            schema=AUDIT_SCHEMA,
            body={**body, "data_version": version},
            args=settings.as_dict(),
            inputs={"features": paths.features, **{f"labels_{i}": p for i, p in enumerate(paths.labels)}},
            outputs={"features_with_mos": paths.out},
        ),
        context,
    )
    return LabelledTable(paths, audit, manifest, version)


def _version_of(path: Path) -> str:
    """The data version of the table that stands; empty where it cannot be read."""
    try:
        return table_version(path)
    except SchemaError:
        return ""


def label_features(features: Path, labels: Sequence[Path], out: Path, settings: LabelSettings) -> LabelAudit:
    """Write ``features`` with opinion scores to ``out`` (Parquet), joined on the settings' keys.

    LabelError where a needed column is absent, a MOS column would be replaced without ``overwrite``, one key has two
    scores, an identity column disagrees, or fewer keys match than ``min_match_rate``.
    """
    import polars as pl

    names = column_names(features)
    _check_columns(names, features, settings)
    table = _read_labels(labels, settings)
    source = pl.scan_parquet(features).drop([c for c in _mos_columns(settings) if c in names])
    audit = _audit(source, table, settings)
    _check_match_rate(audit, settings, features, labels)
    added = _added_columns(table, names)
    _check_identity(source, table, [c for c in IDENTITY_COLUMNS if c in names and c in table.columns], settings)
    joined = (
        source.with_columns(_key_text(settings).alias(_LABELS_KEY))
        .join(table.select(_LABELS_KEY, *added).lazy(), on=_LABELS_KEY, how="left", maintain_order="left")
        .drop(_LABELS_KEY)
    )
    status = pl.when(pl.col("mos").is_null()).then(pl.lit("missing-label")).otherwise(pl.lit("ok"))
    joined.with_columns(status.alias(settings.status_column)).sink_parquet(out, compression="zstd")
    return audit


def _key_text(settings: LabelSettings) -> "pl.Expr":
    """The features' keys as texts, whatever type the table keeps them in (numbers, categories)."""
    import polars as pl

    return pl.col(settings.feature_key_column).cast(pl.String)


def _check_columns(names: Sequence[str], features: Path, settings: LabelSettings) -> None:
    if settings.feature_key_column not in names:
        raise LabelError(
            f"{features}",
            found=f"columns {', '.join(names[:20])}",
            expected=f"the key column {settings.feature_key_column!r}",
            next_step="set feature_key_column",
        )
    standing = [name for name in _mos_columns(settings) if name in names]
    if standing and not settings.overwrite:
        raise LabelError(
            f"{features}: refusing to overwrite existing MOS columns: {', '.join(standing)}",
            next_step="set overwrite to replace them, or label the table without them",
        )


def _mos_columns(settings: LabelSettings) -> tuple[str, ...]:
    return (*MOS_COLUMNS, settings.status_column)


def _read_labels(paths: Sequence[Path], settings: LabelSettings) -> "pl.DataFrame":
    """One row per key: ``_label_key``, the scores on both scales, their source, and the metadata the labels have."""
    import polars as pl

    chosen: dict[str, dict[str, Any]] = {}
    for path in paths:
        if not path.is_file():
            raise LabelError(
                f"labels {path}",
                found="found nothing there",
                expected="a corpus JSONL",
                next_step="materialize corpus_jsonl for this corpus",
            )
        for label in _labels_of(path, settings):
            _keep_first(label, chosen)
    if not chosen:
        raise LabelError(
            f"labels {', '.join(str(p) for p in paths)}",
            found="no rows",
            expected="at least one label",
            next_step="re-ingest",
        )
    return pl.DataFrame(list(chosen.values()), infer_schema_length=None)


def _labels_of(path: Path, settings: LabelSettings) -> list[dict[str, Any]]:
    try:
        lines = list(read_json_lines(path))
    except SchemaError as error:
        raise LabelError(error.what, found=error.found, expected=error.expected, next_step=error.next_step) from error
    for line in lines:
        _check_label(line, path, settings)
    outside = [line for line in lines if not SCALES[line.row["mos_scale"]].holds(line.row["mos"])]
    if outside:
        told = "; ".join(f"line {o.number}: {o.row['mos']} on {o.row['mos_scale']}" for o in outside[:_EXAMPLES])
        raise LabelError(
            f"{path}: scores outside their scale",
            found=f"{len(outside)} of {len(lines)} ({told})",
            expected=f"none more than {SLACK} outside",
            next_step="set mos_scale and re-run corpus_jsonl",
        )
    return [_label(line.row, path, settings) for line in lines]


def _check_label(line: JsonLine, path: Path, settings: LabelSettings) -> None:
    row = line.row
    usable = {
        settings.label_key_column: row.get(settings.label_key_column) is not None,
        "mos": isinstance(row.get("mos"), (int, float)) and not isinstance(row["mos"], bool),
        "mos_scale": row.get("mos_scale") in tuple(SCALES),
    }
    unusable = [name for name, is_usable in usable.items() if not is_usable]
    if unusable:
        raise LabelError(
            f"{path}:{line.number}",
            found=", ".join(f"{name} {row[name]!r}" if name in row else f"no {name}" for name in unusable),
            expected=f"a key, a number as mos, and mos_scale one of {', '.join(SCALES)}",
            next_step="re-run corpus_jsonl, or set label_key_column",
        )


def _label(row: dict[str, Any], path: Path, settings: LabelSettings) -> dict[str, Any]:
    scale = SCALES[row["mos_scale"]]
    spread = float(row.get("mos_std_dev") or 0.0)
    label = {
        _LABELS_KEY: str(row[settings.label_key_column]),
        "mos": scale.convert(row["mos"], TRAINING),
        "mos_raw_0_100": scale.convert(row["mos"], UNIFIED),
        "mos_label_source": path.name,
        "mos_std_dev": scale.convert_spread(spread, TRAINING),
        "mos_n_ratings": int(row.get("n_ratings") or 0),
    }
    return label | {name: row[name] for name in ("src_sha256", *IDENTITY_COLUMNS) if name in row}


def _keep_first(label: dict[str, Any], chosen: dict[str, dict[str, Any]]) -> None:
    key = label[_LABELS_KEY]
    first = chosen.setdefault(key, label)
    if abs(first["mos"] - label["mos"]) > SAME_MOS * (TRAINING.high - TRAINING.low):
        raise LabelError(
            f"conflicting MOS labels for {key!r}",
            found=" and ".join(f"{side['mos']!r} in {side['mos_label_source']}" for side in (first, label)),
            expected="one score a key (both are shown on 1–5)",
            next_step="were the wrong labels joined, or a stale file left in place?",
        )
    for name in sorted(label.keys() | first.keys()):
        if name not in ("mos", "mos_raw_0_100", "mos_label_source") and first.get(name) != label.get(name):
            sides = [side for one in (first, label) for side in (one.get(name), one["mos_label_source"])]
            _log.warning("%r: %s is %r in %s and %r in %s; the first is kept", key, name, *sides)


def _audit(source: "pl.LazyFrame", labels: "pl.DataFrame", settings: LabelSettings) -> LabelAudit:
    import polars as pl

    counts = source.group_by(_key_text(settings).alias("key")).agg(pl.len().alias("rows")).collect()
    known = labels.select(pl.col(_LABELS_KEY).alias("key"), "mos_label_source")
    matched = counts.join(known, on="key", how="inner")
    rows, matched_rows = int(counts["rows"].sum()), int(matched["rows"].sum())
    sources = matched.group_by("mos_label_source").agg(pl.col("rows").sum()).sort("mos_label_source")
    return LabelAudit(
        input_rows=rows,
        output_rows=rows,
        total_feature_keys=counts.height,
        matched_feature_keys=matched.height,
        matched_rows=matched_rows,
        missing_rows=rows - matched_rows,
        labels_loaded=labels.height,
        match_rate=matched.height / counts.height if counts.height else 0.0,
        label_sources={str(name): int(n) for name, n in sources.iter_rows()},
        unmatched_features=_examples(counts.join(known, on="key", how="anti")["key"]),
        unmatched_labels=_examples(known.join(counts, on="key", how="anti")["key"]),
    )


def _examples(keys: "pl.Series") -> tuple[str, ...]:
    return tuple(str(key) for key in keys.sort().head(_EXAMPLES))


def _check_match_rate(audit: LabelAudit, settings: LabelSettings, features: Path, labels: Sequence[Path]) -> None:
    if audit.total_feature_keys and audit.match_rate >= settings.min_match_rate:
        return
    raise LabelError(
        f"{features} with labels {', '.join(p.name for p in labels)}",
        found=f"{audit.matched_feature_keys} of {audit.total_feature_keys} keys matched ({audit.match_rate:.1%}); "
        f"unmatched keys of features: {list(audit.unmatched_features)}, of labels: {list(audit.unmatched_labels)}",
        expected=f"at least {settings.min_match_rate:.1%}",
        next_step="are these the labels of this table? Lower min_match_rate only to explore",
    )


def _added_columns(labels: "pl.DataFrame", present: Sequence[str]) -> list[str]:
    kept = [name for name in ("src_sha256", *IDENTITY_COLUMNS) if name in labels.columns and name not in present]
    return [*MOS_COLUMNS, *kept]


def _check_identity(
    source: "pl.LazyFrame", labels: "pl.DataFrame", columns: Sequence[str], settings: LabelSettings
) -> None:
    import polars as pl

    for name in columns:
        both = source.select(_key_text(settings).alias(_LABELS_KEY), name).join(
            labels.select(_LABELS_KEY, pl.col(name).alias("_label")).lazy(), on=_LABELS_KEY, how="inner"
        )
        wrong = both.filter(pl.col(name).cast(pl.String) != pl.col("_label").cast(pl.String)).head(1).collect()
        if wrong.height:
            key, mine, theirs = wrong.row(0)
            raise LabelError(
                f"{name} of {key!r}",
                found=f"{mine!r} in the features and {theirs!r} in the labels",
                expected="the same clip on both sides",
                next_step="are these the labels of this corpus?",
            )
