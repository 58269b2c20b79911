"""One ingest from beginning to end: lock, read, gather, judge, publish. The plain function under ``corpus_jsonl``."""

import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vqa_assets.annotations import AnnotationRow, Annotations, first_lines, read_annotations
from vqa_assets.annotations.rows import CONTENT_ID
from vqa_assets.clip_work import ClipPool
from vqa_assets.corpora import Corpus
from vqa_assets.downloading import DownloadLimits
from vqa_assets.ingest.fetching import fetch_archives
from vqa_assets.ingest.layout import CorpusLayout, corpus_folder
from vqa_assets.ingest.loop import ClipFolder, count_unlabelled, gather_outcomes, remove_leftovers, workers_of
from vqa_assets.ingest.naming import named_on_disk
from vqa_assets.ingest.protocols import ClipTools, Downloader, Prober
from vqa_assets.ingest.report import IngestReport
from vqa_assets.ingest.rows import Labelling, OutputRow, RowJudge, read_earlier, without_stamp
from vqa_assets.provenance import Manifest, RunContext, content_version, utc_text, write_manifest
from vqa_assets.schemas import CORPUS_JSONL, validate_rows
from vqa_assets.settings import IngestSettings, ResolvedSettings
from vqa_assets.store.cache import IngestCache
from vqa_assets.store.files import json_line, replacing, write_lines
from vqa_assets.store.lock import corpus_lock
from vqa_assets.store.progress import Progress

MANIFEST_SCHEMA = "mos-corpus-manifest-v1"
_log = logging.getLogger("vqa_assets.ingest")


@dataclass(frozen=True)
class Services:
    """What an ingest is given: a prober, a downloader, a pool for per-clip work."""

    prober: Prober
    downloader: Downloader
    pool: ClipPool


@dataclass(frozen=True)
class Ingested:
    """A finished ingest: its manifest as written, its report, where things are, its data version."""

    layout: CorpusLayout
    annotations: Annotations
    report: IngestReport
    manifest: Mapping[str, Any]
    data_version: str


def ingest_corpus(corpus: Corpus, resolved: ResolvedSettings, services: Services, context: RunContext) -> Ingested:
    """Make or refresh one corpus's JSONL; the earlier one stands whole until the new one is validated.

    An interrupt loses at most the clips in hand. Every VqaError says what, found, expected and next.
    """
    settings = resolved.values
    if settings.fetch:
        folder = corpus_folder(corpus, settings, context.root)
        with corpus_lock(folder, settings.lock_wait_s):
            fetch_archives(corpus, settings, folder)
    layout = CorpusLayout.of(corpus, settings, context.root)
    with corpus_lock(layout.folder, settings.lock_wait_s):
        found = read_annotations(corpus, settings, *layout.annotation_files)
        _tell_bad_rows(corpus, found)
        annotations = replace(found, rows=named_on_disk(found.rows, layout.clips))
        report = IngestReport()
        run = _rows_of_this_run(annotations, settings)
        layout.clips.target.mkdir(parents=True, exist_ok=True)
        removed = remove_leftovers(layout.clips)
        if removed:
            _log.info("%s: removed %d half-fetched .part files of an interrupted run", corpus.name, removed)
        rows = _gather_and_judge(corpus, run, _Work(settings, layout, annotations, report), services)
        report.unlabelled_clips = count_unlabelled(layout.clips, {row.src for row in annotations.rows})
        report.reconcile(corpus.name)
        _publish(rows, layout.output)
        manifest = write_manifest(layout.manifest, _manifest(corpus, resolved, layout, annotations, report), context)
    _log.info("%s", report.summary(corpus.name, context.root.shown(layout.output)))
    _tell_attrition(corpus, settings, report)
    return Ingested(layout, annotations, report, manifest, corpus_data_version(rows))


def corpus_data_version(rows: list[OutputRow]) -> str:
    """A hash of the rows without their time stamps."""
    return content_version(json_line(without_stamp(out.row)) for out in rows)


@dataclass(frozen=True)
class _Work:
    settings: IngestSettings
    layout: CorpusLayout
    annotations: Annotations
    report: IngestReport


def _rows_of_this_run(annotations: Annotations, settings: IngestSettings) -> list[AnnotationRow]:
    """The first rows in file order, bad ones included, and the reference clips of their contents.

    A repeat whose first row lies outside cannot occur.
    """
    if settings.max_rows is None:
        return list(annotations.rows)
    first = list(annotations.rows[: settings.max_rows])
    contents = {row.extra[CONTENT_ID] for row in first if CONTENT_ID in row.extra}
    later = annotations.rows[settings.max_rows :]
    return first + [row for row in later if row.reference and row.extra.get(CONTENT_ID) in contents]


def _gather_and_judge(corpus: Corpus, run: list[AnnotationRow], work: _Work, services: Services) -> list[OutputRow]:
    settings, layout = work.settings, work.layout
    earlier = read_earlier(layout.output)
    tools = ClipTools(
        prober=services.prober,
        downloader=services.downloader,
        limits=replace(DownloadLimits(), timeout_s=settings.download_timeout_s, per_host=settings.per_host),
        probe_timeout_s=settings.probe_timeout_s,
        stop=threading.Event(),
        probes=threading.Semaphore(os.cpu_count() or 1),
    )
    with (
        Progress(layout.progress) as progress,
        IngestCache(layout.cache) as cache,
        services.pool.open(workers_of(settings)) as executor,
    ):
        folder = ClipFolder(corpus, settings, layout.clips, progress, cache)
        outcomes = gather_outcomes(run, folder, tools, executor, work.report)
    labelling = Labelling(corpus.name, settings, work.annotations, utc_text())
    return RowJudge(labelling, earlier, work.report).judge(run, outcomes)


def _publish(rows: list[OutputRow], output: Path) -> None:
    """Write, validate, replace; a file whose bytes would stay the same is left alone."""
    validate_rows((out.row for out in rows), CORPUS_JSONL, str(output))
    if output.exists() and _same_bytes(rows, output):
        return
    with replacing(output) as temporary:
        write_lines(temporary, (out.raw for out in rows))


def _same_bytes(rows: list[OutputRow], output: Path) -> bool:
    if output.stat().st_size != sum(len(out.raw) for out in rows):
        return False
    with output.open("rb") as lines:
        return all(line == out.raw for line, out in zip(lines, rows, strict=True))


def _manifest(
    corpus: Corpus, resolved: ResolvedSettings, layout: CorpusLayout, annotations: Annotations, report: IngestReport
) -> Manifest:
    settings = resolved.values
    body = {
        "corpus": corpus.name,
        "corpus_version": settings.corpus_version,
        "corpus_root": layout.folder,
        "annotation_file": {"path": annotations.path, "sha256": annotations.sha256, "rows": len(annotations.rows)},
        "annotation_files": list(annotations.files),
        "annotation_columns": dict(annotations.columns),
        "bad_rows": {"count": len(annotations.bad), "reasons": annotations.problems()},
        "mos_scale": {"name": annotations.scale.name, "from": annotations.scale_from},
        "native_scale": annotations.native_scale.name,
        "labels": annotations.statistics().as_dict(),
        "progress_path": layout.progress,
        "max_rows": settings.max_rows,
        "licence": corpus.licence,
        "citation": corpus.citation,
        **report.described(),
    }
    return Manifest(
        schema=MANIFEST_SCHEMA,
        body=body,
        args=resolved.described(),
        inputs={
            **_annotation_inputs(layout.annotation_files),
            **({"ingest_toml": resolved.toml} if resolved.toml else {}),
            "clips": layout.clips.target,
        },
        outputs={"corpus_jsonl": layout.output},
    )


def _annotation_inputs(files: tuple[Path, ...]) -> dict[str, Path]:
    return {"annotation_file" if i == 0 else f"annotation_file_{i + 1}": path for i, path in enumerate(files)}


def _tell_bad_rows(corpus: Corpus, annotations: Annotations) -> None:
    if annotations.bad:
        told = first_lines(annotations.bad)
        _log.warning("%s: %d bad rows in %s: %s", corpus.name, len(annotations.bad), annotations.path, told)


def _tell_attrition(corpus: Corpus, settings: IngestSettings, report: IngestReport) -> None:
    if report.attrition > settings.attrition_warn_threshold:
        _log.warning(
            "%s: %.1f %% of the rows were lost to downloads, %.1f %% is ordinary; the reasons are in the manifest, "
            "retry_failed tries again what failed for good",
            corpus.name,
            100 * report.attrition,
            100 * settings.attrition_warn_threshold,
        )
