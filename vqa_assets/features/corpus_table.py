"""One corpus's feature table, from its JSONL and clips to the Parquet file: the function under ``clip_features``."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqa_assets.clips.folders import ClipFolders
from vqa_assets.clips.geometry import is_raw
from vqa_assets.clips.work import ClipPool, Observer, ProgressLine, Watch, unobserved
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import FeatureError, SchemaError
from vqa_assets.features.audit import AUDITED, clip_audit
from vqa_assets.features.cache import FeatureCache
from vqa_assets.features.contact_sheet import CAPTION, contact_sheet
from vqa_assets.features.ladder import references
from vqa_assets.features.near_duplicates import COLUMN as PHASH_COLUMN
from vqa_assets.features.near_duplicates import COMPARED, group_report
from vqa_assets.features.protocols import FeatureExtractor
from vqa_assets.features.table import ClipToMeasure, FeatureReport, MeasuringRun, extract_features, feature_row
from vqa_assets.features.view import TableView, table_view
from vqa_assets.provenance import Manifest, RunContext, file_record, told_settings, write_manifest
from vqa_assets.tables.files import drafting, read_json_lines, read_json_object
from vqa_assets.tables.parquet import ColumnKinds, TableDigest, column_names, open_parquet, table_version
from vqa_assets.tables.paths import manifest_path
from vqa_assets.tables.specs import CLIP_FEATURES
from vqa_assets.tables.validation import validate_frames

if TYPE_CHECKING:
    import pandas as pd

MANIFEST_SCHEMA = "clip-features-manifest-v1"
WINDOW_PER_WORKER = 2

BATCH_ROWS = 8_192
"""Rows of the table in memory at once, and in a row group: about 100 MB of 250 columns."""

_log = logging.getLogger("vqa_assets.features")


@dataclass(frozen=True)
class FeatureSettings:
    """``clips`` is where the clips lie, ``workers`` how many are measured at once, ``raw`` what those without a
    container are, ``observe`` who is told now and then how far the run is."""

    clips: ClipFolders
    workers: int
    overwrite: bool = False
    raw: RawVideo | None = None
    observe: Observer = unobserved


@dataclass(frozen=True)
class MeasuredTable:
    """A feature table that stands: ours with its manifest, report, view and contact sheet (a JPEG), or somebody else's,
    left as it is."""

    path: Path
    rows: int
    data_version: str
    foreign: str = ""
    manifest: Mapping[str, Any] | None = None
    report: FeatureReport | None = None
    view: TableView | None = None
    sheet: bytes = b""


def make_clip_features(
    corpus: Corpus, settings: FeatureSettings, extractor: FeatureExtractor, pool: ClipPool, context: RunContext
) -> MeasuredTable:
    """Measure every clip of the corpus JSONL; a clip already measured by this extractor version is not measured again.

    A table that this function did not write is left as it is unless ``overwrite``. FeatureError where there is no
    corpus JSONL, or no clip could be measured.
    """
    root = context.root
    path = root.features(corpus)
    foreign = "" if settings.overwrite else why_foreign(path)
    if foreign:
        _log.warning("%s: %s is left as it is: %s", corpus.name, path, foreign)
        return MeasuredTable(path, _row_count(path), table_version(path), foreign)
    corpus_rows = _corpus_rows(corpus, root.corpus_jsonl(corpus))
    clips = clips_to_measure(corpus, corpus_rows, settings)
    begun = time.monotonic()
    with FeatureCache(root.feature_cache(corpus)) as cache, pool.open(settings.workers) as executor:
        watch = Watch(ProgressLine(f"{corpus.name}-features", len(clips), _log.info), settings.observe)
        run = MeasuringRun(WINDOW_PER_WORKER * settings.workers, threading.Event(), watch.update)
        measured, report = extract_features(clips, extractor, executor, cache, run)
        watch.end()
        seconds = time.monotonic() - begun
        _check_report(corpus, report)
        extra = frozenset(column.field for column in corpus.extra_columns)

        def table_rows() -> Iterator[dict[str, Any]]:
            for row, values in zip(corpus_rows, measured, strict=True):
                if values is not None:
                    yield feature_row(row, values, extra)

        version = _publish(table_rows, path)
    hashed = PHASH_COLUMN in column_names(path)
    body = _body(corpus, extractor, report, version) | {
        "clips_per_s": round(report.measured / seconds, 2) if report.measured else None,
        "audit": clip_audit(_written(path, AUDITED)).as_dict(),
        "near_duplicates": group_report(_written(path, COMPARED)) if hashed else None,
    }
    inputs = {"corpus_jsonl": root.corpus_jsonl(corpus), "clips": settings.clips.target}
    manifest = write_manifest(
        manifest_path(path),
        Manifest(MANIFEST_SCHEMA, body, _args(settings), inputs, {"features": path}),
        context,
    )
    mos = {row["src"]: float(row["mos"]) for row in corpus_rows if row.get("mos") is not None}
    view, sheet = table_view(path, mos), contact_sheet(_written(path, ("key", *CAPTION)), mos, clips)
    return MeasuredTable(path, _row_count(path), version, manifest=manifest, report=report, view=view, sheet=sheet)


def _args(settings: FeatureSettings) -> dict[str, dict[str, Any]]:
    defaults = {"overwrite": False, "workers": os.cpu_count() or 1}
    return told_settings({name: getattr(settings, name) for name in defaults}, defaults)


def why_foreign(path: Path) -> str:
    """Why a feature table is not ours to replace; empty where there is none or we wrote it."""
    if not path.exists():
        return ""
    manifest = manifest_path(path)
    if not manifest.is_file():
        return "it has no replay manifest, so it was not written by clip_features"
    try:
        written = read_json_object(manifest)["run_provenance"]["outputs"]["features"]["sha256"]
    except (SchemaError, KeyError, TypeError):
        return "its replay manifest cannot be read, so nothing shows that it was written by clip_features"
    if written != file_record(path).get("sha256"):
        return "its bytes are not those its replay manifest records, so it was changed since"
    return ""


def _corpus_rows(corpus: Corpus, path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise FeatureError(
            f"{corpus.name}: no corpus JSONL",
            found=f"found nothing at {path}",
            expected="the clips to measure",
            next_step="materialize corpus_jsonl for this corpus first",
        )
    return [line.row for line in read_json_lines(path)]


def clips_to_measure(
    corpus: Corpus, rows: Sequence[Mapping[str, Any]], settings: FeatureSettings
) -> list[ClipToMeasure]:
    """The clips of corpus rows with their references; a reference that has no file is a missing one."""

    def path_of(row: Mapping[str, Any]) -> Path:
        return settings.clips.path_of(row["src"], str(row.get("score_drop", "")))

    found = references(corpus, rows)
    clips = []
    for row, reference in zip(rows, found or [None] * len(rows), strict=True):
        beside = path_of(reference) if reference is not None else None
        there = reference is not None and beside is not None and beside.is_file()
        clips.append(
            ClipToMeasure(
                key=row["src"],
                path=path_of(row),
                sha256=row["src_sha256"],
                reference=beside if there else None,
                reference_sha256=reference["src_sha256"] if there and reference is not None else None,
                ladder=found is not None,
                raw=settings.raw if is_raw(row["src"]) else None,
            )
        )
    return clips


def _check_report(corpus: Corpus, report: FeatureReport) -> None:
    """Log what failed; FeatureError where clips do not reconcile, or none could be measured."""
    for key, reason in report.failed:
        _log.warning("%s: %s could not be measured: %s", corpus.name, key, reason)
    if report.again:
        _log.info("%s: %s", corpus.name, report.again)
    if report.no_reference:
        _log.warning("%s: %d ladder clips have no reference", corpus.name, len(report.no_reference))
    if not report.reconciles:
        raise FeatureError(f"{corpus.name}: clips do not reconcile", found=f"{report}", next_step="report this defect")
    if not report.measured + report.cached:
        first = "; ".join(f"{key}: {reason}" for key, reason in report.failed[:3])
        raise FeatureError(
            f"{corpus.name}: no clip could be measured",
            found=f"{len(report.failed)} of {report.rows_in} failed ({first})",
            expected="at least one clip",
            next_step="are the clips where the corpus JSONL says they are?",
        )


def _publish(table_rows: Callable[[], Iterator[dict[str, Any]]], path: Path) -> str:
    """Write in batches, validate, replace; a table whose content would stay the same is left alone. Its data version.

    The rows are read twice: what types the columns have is known only when all have been seen.
    """
    kinds = ColumnKinds()
    for row in table_rows():
        kinds.add(row)
    # The declared columns first, as far as they were measured, then the others in the order they are met.
    met = kinds.names
    declared = [c.name for c in CLIP_FEATURES.columns if c.required or c.name in met]
    schema = kinds.schema(list(dict.fromkeys((*declared, *met))))
    digest = TableDigest(schema.names)
    try:
        with drafting(path) as draft:
            validate_frames(_write(table_rows(), kinds, schema, draft.path, digest), CLIP_FEATURES, str(path))
            version = digest.version()
            if not path.exists() or table_version(path) != version:
                draft.publish()
    except OSError as error:
        raise FeatureError(
            f"{path}: the feature table cannot be written",
            found=error.strerror or str(error),
            next_step="free space or mend its permissions, then materialize again: what was measured is kept",
        ) from error
    return version


def _write(
    rows: Iterator[dict[str, Any]], kinds: ColumnKinds, schema: Any, path: Path, digest: TableDigest
) -> "Iterator[pd.DataFrame]":
    """Write the rows batch by batch, each after the caller has judged it as a frame of the specified columns."""
    import pandas as pd
    import pyarrow.parquet as pq

    specified = [c.name for c in CLIP_FEATURES.columns]
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while batch := list(islice(rows, BATCH_ROWS)):
            met = set().union(*batch)
            yield pd.DataFrame({name: [row.get(name) for row in batch] for name in specified if name in met})
            table = kinds.batch(batch, schema)
            digest.update(table)
            writer.write_table(table)


def _written(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of the written table with a few of its columns; a row lacks those that it has no value for."""
    file = open_parquet(path)
    names = [name for name in columns if name in file.schema_arrow.names]
    return [
        {name: value for name, value in row.items() if value is not None}
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=names)
        for row in batch.to_pylist()
    ]


def _body(corpus: Corpus, extractor: FeatureExtractor, report: FeatureReport, version: str) -> dict[str, Any]:
    return {
        "corpus": corpus.name,
        "extractor": extractor.version,
        "data_version": version,
        "counters": {
            "rows_in": report.rows_in,
            "measured": report.measured,
            "cached": report.cached,
            "failed": len(report.failed),
            "no_reference": len(report.no_reference),
        },
        "measured_again": report.again,
        "no_reference": report.no_reference[:50],
        "failures": [{"key": key, "reason": reason} for key, reason in report.failed[:50]],
    }


def _row_count(path: Path) -> int:
    return int(open_parquet(path).metadata.num_rows)
