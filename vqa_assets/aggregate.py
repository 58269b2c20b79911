"""Many corpora become one: native scales onto 0–100, and each clip once. Knows shards and rows, not Dagster."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vqa_assets.corpora import Corpus, ExternalShard
from vqa_assets.errors import AggregateError, SchemaError
from vqa_assets.losses import Dropped, Duplicate, Losses
from vqa_assets.mos import CONTINUOUS_0_100, RAW_MOS, SCALES, UNIFIED, MosScale, detect_scale
from vqa_assets.provenance import Manifest, RunContext, content_version, utc_text, write_manifest
from vqa_assets.schemas import UNIFIED_CORPUS, validate_rows
from vqa_assets.store.files import JsonLine, drafting, json_line, read_json_lines, write_lines
from vqa_assets.store.paths import manifest_path
from vqa_assets.store.tables import open_parquet, write_rows
from vqa_assets.unified_view import Sidecars, UnifiedView, view_of, write_sidecars

MANIFEST_SCHEMA = "unified-corpus-manifest-v1"
TIME_STAMPS = ("ingested_at_utc", "aggregated_at_utc")
REQUIRED_KEYS = ("src", "src_sha256", "mos", "corpus")
ENCODE_GRID_KEYS = frozenset({"vmaf_score", "encoder", "preset", "crf"})
_MOST_OUTSIDE_SHARE, _LEAST_OUTSIDE_ROWS = 0.01, 20
Source = Corpus | ExternalShard
"""What a shard's rows may come from."""
_log = logging.getLogger("vqa_assets.aggregate")


@dataclass(frozen=True)
class Shard:
    """One corpus JSONL; ``corpus`` overrides the name in its rows."""

    path: Path
    corpus: str | None = None


@dataclass
class AggregateReport:
    """Counters of one aggregation, rows_in = rows_out + dropped + dedups, and examples of what was lost."""

    inputs_seen: int = 0
    inputs_missing: int = 0
    rows_in: int = 0
    rows_out: int = 0
    cross_corpus_dedups: int = 0
    same_corpus_dedups: int = 0
    dropped_unknown_corpus: int = 0
    dropped_bad_scale: int = 0
    scales: dict[str, dict[str, float | str]] = field(default_factory=dict)
    rows_per_corpus: dict[str, int] = field(default_factory=dict)
    losses: Losses = field(default_factory=Losses)
    duplicates: tuple[Duplicate, ...] = ()

    def counters(self) -> dict[str, int]:
        """Every counter by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, int)}

    def reconcile(self) -> None:
        """AggregateError where a row is unaccounted for."""
        lost = self.cross_corpus_dedups + self.same_corpus_dedups
        lost += self.dropped_unknown_corpus + self.dropped_bad_scale
        if self.rows_in != self.rows_out + lost:
            raise AggregateError(
                "unified_corpus: rows do not reconcile",
                found=f"{self.rows_in} rows in",
                expected=f"{self.rows_out} out + {lost} dropped or duplicate",
                next_step="the earlier output stands; report this as a defect",
            )


@dataclass(frozen=True)
class UnifiedCorpus:
    """A unified corpus that stands: its files, what it holds, its report, its manifest as written, its data version."""

    jsonl: Path
    parquet: Path
    sidecars: Sidecars
    view: UnifiedView
    report: AggregateReport
    absent: tuple[str, ...]
    manifest: Mapping[str, Any]
    data_version: str


@dataclass(frozen=True)
class UnifiedSettings:
    """What to aggregate and where to: ``shards`` in the order that breaks ties."""

    shards: tuple[Shard, ...]
    output: Path
    manifest_out: Path | None = None


def make_unified_corpus(settings: UnifiedSettings, corpora: Mapping[str, Source], context: RunContext) -> UnifiedCorpus:
    """Aggregate the shards into ``output``, a Parquet file and sidecars; earlier files stand until the new are valid.

    Files whose content would stay the same but for ``aggregated_at_utc`` are left alone.
    """
    rows, report = aggregate(settings.shards, corpora, utc_text())
    validate_rows(rows, UNIFIED_CORPUS, str(settings.output))
    version = content_version(json_line({k: v for k, v in row.items() if k not in TIME_STAMPS}) for row in rows)
    parquet = settings.output.with_suffix(".parquet")
    if not (_has_rows(parquet, len(rows)) and settings.output.exists() and _version_of(settings.output) == version):
        _publish(rows, settings.output, parquet)
    view = view_of(parquet, corpora)
    sidecars = write_sidecars(settings.output, parquet, view, version)
    absent = tuple(s.corpus or context.root.shown(s.path) for s in settings.shards if not s.path.is_file())
    overrides = {context.root.shown(s.path): s.corpus for s in settings.shards if s.corpus}
    manifest = write_manifest(
        settings.manifest_out or manifest_path(settings.output),
        Manifest(
            schema=MANIFEST_SCHEMA,
            body={
                **_told(report),
                **view.as_dict(),
                "corpus_source_overrides": overrides,
                "absent": list(absent),
                "data_version": version,
            },
            args={"inputs": [s.path for s in settings.shards]},
            inputs={context.root.shown(s.path): s.path for s in settings.shards},
            outputs={"unified_corpus": settings.output, "unified_corpus_parquet": parquet, **vars(sidecars)},
        ),
        context,
    )
    _log.info("[unified-corpus] %s", ", ".join(f"{name} {value}" for name, value in report.counters().items()))
    return UnifiedCorpus(settings.output, parquet, sidecars, view, report, absent, manifest, version)


def _told(report: AggregateReport) -> dict[str, Any]:
    return {
        "counters": report.counters(),
        "rows_per_corpus": report.rows_per_corpus,
        "scale_conversions": report.scales,
        "duplicates": [one.as_row() for one in report.duplicates],
        "dropped_rows": report.losses.dropped_rows(),
    }


def _publish(rows: Sequence[Mapping[str, Any]], jsonl: Path, parquet: Path) -> None:
    columns = [c.name for c in UNIFIED_CORPUS.columns]
    others = sorted({name for row in rows for name in row} - set(columns))
    with drafting(parquet) as table, drafting(jsonl) as lines:
        write_rows(table.path, rows, [*columns, *others])
        write_lines(lines.path, (json_line(row) for row in rows))
        table.publish()
        lines.publish()


def _has_rows(parquet: Path, rows: int) -> bool:
    """Whether a Parquet file stands there with that many rows; what it holds is told by the JSONL beside it."""
    try:
        return bool(open_parquet(parquet).metadata.num_rows == rows)
    except SchemaError:
        return False


def _version_of(path: Path) -> str:
    """The data version of the unified corpus that stands; empty where it cannot be read."""
    try:
        rows = (line.row for line in read_json_lines(path))
        return content_version(json_line({k: v for k, v in row.items() if k not in TIME_STAMPS}) for row in rows)
    except SchemaError:
        return ""


def aggregate(
    shards: Sequence[Shard], corpora: Mapping[str, Source], now: str
) -> tuple[list[dict[str, Any]], AggregateReport]:
    """The unified rows, sorted by (corpus_source, src_sha256, src), and what was counted.

    Across corpora the smallest known SD on the unified scale wins, ties by the order of ``shards``; within a corpus
    the first row wins. AggregateError where no shard exists, or one cannot be a corpus JSONL.
    """
    present = _present(shards)
    report = AggregateReport(inputs_seen=len(present), inputs_missing=len(shards) - len(present))
    best: dict[str, dict[str, Any]] = {}
    seen: set[tuple[str, str]] = set()
    for shard in present:
        for row in _unified_rows(shard, corpora, now, report):
            _keep_better(row, best, seen, report)
    report.duplicates = report.losses.duplicates(best)
    rows = sorted(best.values(), key=lambda row: (row["corpus_source"], row["src_sha256"], row["src"]))
    report.rows_out = len(rows)
    for row in rows:
        source = row["corpus_source"]
        report.rows_per_corpus[source] = report.rows_per_corpus.get(source, 0) + 1
    report.reconcile()
    if not rows:
        raise AggregateError(
            "unified_corpus: no row is left",
            found=f"{report.rows_in} rows in, {report.dropped_unknown_corpus} of an unknown corpus, "
            f"{report.dropped_bad_scale} outside their scale",
            expected="at least one clip",
            next_step="the earlier output stands; the log names file and line of each dropped row",
        )
    return rows, report


def _present(shards: Sequence[Shard]) -> list[Shard]:
    present = [shard for shard in shards if shard.path.is_file()]
    for shard in shards:
        if shard not in present:
            _log.warning("unified_corpus: absent: %s", shard.path)
    if not present:
        raise AggregateError(
            "no input JSONL files exist",
            found=f"looked at {', '.join(str(s.path) for s in shards) or 'nothing'}",
            expected="at least one corpus JSONL",
            next_step="materialize corpus_jsonl for a corpus first",
        )
    return present


def _keep_better(
    row: dict[str, Any], best: dict[str, dict[str, Any]], seen: set[tuple[str, str]], report: AggregateReport
) -> None:
    sha256, source = row["src_sha256"], row["corpus_source"]
    if (sha256, source) in seen:
        report.same_corpus_dedups += 1
        report.losses.duplicate(row)
        return
    seen.add((sha256, source))
    other = best.get(sha256)
    better = other is None or _uncertainty(row) < _uncertainty(other)
    if other is not None:
        report.cross_corpus_dedups += 1
        report.losses.duplicate(other if better else row)
    if better:
        best[sha256] = row


def _uncertainty(row: Mapping[str, Any]) -> float:
    spread = row["mos_std_dev_unified"]
    return spread if spread > 0 else math.inf


def _unified_rows(
    shard: Shard, corpora: Mapping[str, Source], now: str, report: AggregateReport
) -> Iterator[dict[str, Any]]:
    lines = list(_checked_lines(shard))
    report.rows_in += len(lines)
    undeclared = _undeclared_scales(lines, shard, corpora)
    outside = 0
    for line in lines:
        name = shard.corpus or str(line.row["corpus"])
        corpus = corpora.get(name)
        if corpus is None:
            report.dropped_unknown_corpus += 1
            found = f"unknown corpus label {name!r}"
            report.losses.drop(Dropped("dropped_unknown_corpus", shard.path, line.number, name, found))
            _log.warning(
                "%s:%d: unknown corpus label %r; row dropped (corpus_source_overrides names the right one)",
                shard.path,
                line.number,
                name,
            )
            continue
        scale = _scale_of(line.row, undeclared[name], f"{shard.path}:{line.number}")
        if not scale.holds(line.row["mos"]):
            outside += 1
            found = f"mos {line.row['mos']} outside [{scale.low:g}, {scale.high:g}]"
            report.losses.drop(Dropped("dropped_bad_scale", shard.path, line.number, name, found))
            _tell_outside(shard, line, scale)
            continue
        row = _unified(line.row, corpus, scale, now)
        report.scales.setdefault(name, _described_scale(SCALES[row["mos_native_scale"]]))
        yield row
    report.dropped_bad_scale += outside
    _check_outside(outside, len(lines), shard)


def _checked_lines(shard: Shard) -> Iterator[JsonLine]:
    try:
        for line in read_json_lines(shard.path):
            _check_row(line, shard.path)
            yield line
    except SchemaError as error:
        raise AggregateError(
            error.what, found=error.found, expected=error.expected, next_step=error.next_step
        ) from error


def _check_row(line: JsonLine, path: Path) -> None:
    where = f"{path}:{line.number}"
    if line.row.keys() >= ENCODE_GRID_KEYS:
        raise AggregateError(
            where,
            found="an encode-grid row",
            expected="a row with opinions",
            next_step="it belongs to fr_training_corpus",
        )
    if "mos_native" in line.row:
        raise AggregateError(
            where,
            found="a unified row",
            expected="a row of one corpus",
            next_step="give the corpus_jsonl files instead",
        )
    missing = [key for key in REQUIRED_KEYS if line.row.get(key) is None]
    if missing:
        raise AggregateError(
            f"{where}: missing required keys: {missing}", next_step="re-run the adapter (corpus_jsonl)"
        )
    for key in REQUIRED_KEYS:
        if key != "mos" and not isinstance(line.row[key], str):
            raise _wrong_value(where, key, line.row[key], "a text")
    for key in ("mos", RAW_MOS, "mos_std_dev"):
        value = line.row.get(key)
        if value is not None and (not isinstance(value, (int, float)) or isinstance(value, bool)):
            raise _wrong_value(where, key, value, "a number")


def _wrong_value(where: str, key: str, value: object, expected: str) -> AggregateError:
    return AggregateError(
        f"{where}: {key}",
        found=repr(value),
        expected=expected,
        next_step="re-run the adapter (corpus_jsonl); is this a corpus JSONL?",
    )


def _undeclared_scales(
    lines: Sequence[JsonLine], shard: Shard, corpora: Mapping[str, Source]
) -> dict[str, MosScale | None]:
    """Corpus → the scale of its rows without ``mos_scale`` (older shards), detected over the whole shard."""
    scores: dict[str, list[float]] = {}
    names = {shard.corpus or str(line.row["corpus"]) for line in lines}
    for line in lines:
        if line.row.get("mos_scale") is None:
            scores.setdefault(shard.corpus or str(line.row["corpus"]), []).append(line.row["mos"])
    return {
        name: detect_scale(scores[name], corpora[name].scales, f"{shard.path}")
        if name in scores and name in corpora
        else None
        for name in names
    }


def _scale_of(row: Mapping[str, Any], detected: MosScale | None, where: str) -> MosScale:
    declared = row.get("mos_scale")
    if declared is None and detected is not None:
        return detected
    if not isinstance(declared, str) or declared not in SCALES:
        raise _wrong_value(where, "mos_scale", declared, f"one of {', '.join(SCALES)}")
    return SCALES[declared]


def _unified(row: Mapping[str, Any], corpus: Source, scale: MosScale, now: str) -> dict[str, Any]:
    mos, native, spread = _native(row, scale)
    return {
        **row,
        "mos": native.convert(mos, UNIFIED),
        "mos_scale": UNIFIED.name,
        "mos_std_dev": spread,
        "mos_std_dev_unified": native.convert_spread(spread, UNIFIED),
        "mos_native": mos,
        "mos_native_scale": native.name,
        "corpus_source": corpus.name,
        "aggregated_at_utc": now,
    }


def _native(row: Mapping[str, Any], scale: MosScale) -> tuple[float, MosScale, float]:
    """(score, scale, SD) as published: a raw 0–100 score beside ``mos`` is the native one; an unknown SD is 0."""
    spread = float(row.get("mos_std_dev") or 0.0)
    known = spread if 0 < spread < math.inf else 0.0
    if row.get(RAW_MOS) is None:
        return row["mos"], scale, known
    return row[RAW_MOS], CONTINUOUS_0_100, scale.convert_spread(known, CONTINUOUS_0_100)


def _described_scale(scale: MosScale) -> dict[str, float | str]:
    slope, intercept = scale.map_to(UNIFIED)
    return {"native": scale.name, "unified": UNIFIED.name, "slope": slope, "intercept": intercept}


def _tell_outside(shard: Shard, line: JsonLine, scale: MosScale) -> None:
    _log.warning(
        "%s:%d: mos %s is outside the published [%g, %g] range; row dropped",
        shard.path,
        line.number,
        line.row["mos"],
        scale.low,
        scale.high,
    )


def _check_outside(outside: int, rows: int, shard: Shard) -> None:
    if outside >= _LEAST_OUTSIDE_ROWS and outside > _MOST_OUTSIDE_SHARE * rows:
        raise AggregateError(
            f"{shard.path}",
            found=f"{outside} of {rows} rows outside their scale",
            expected="at most 1 %: it is the scale that is wrong, not the rows",
            next_step="set mos_scale and re-run corpus_jsonl",
        )
