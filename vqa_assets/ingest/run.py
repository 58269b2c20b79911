"""One ingest from beginning to end: lock, read, gather, judge, publish. The plain function under ``corpus_jsonl``."""

import errno
import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vqa_assets.annotations import AnnotationRow, Annotations, first_lines, read_annotations
from vqa_assets.annotations.rows import CONTENT_ID
from vqa_assets.clips.downloading import DownloadLimits
from vqa_assets.clips.work import ClipPool
from vqa_assets.corpora import Corpus
from vqa_assets.ingest.cache import IngestCache
from vqa_assets.ingest.disk import told_disk_faults
from vqa_assets.ingest.fetching import fetch_archives
from vqa_assets.ingest.gather import ClipFolder, gather_outcomes, workers_of
from vqa_assets.ingest.layout import CorpusLayout, corpus_folder
from vqa_assets.ingest.naming import ClipsOnDisk, named_on_disk
from vqa_assets.ingest.progress import Progress
from vqa_assets.ingest.report import IngestReport
from vqa_assets.ingest.rows import Labelling, OutputRow, RowJudge, read_earlier, sizes_of, without_stamp
from vqa_assets.ingest.tools import ClipTools, Downloader, Prober
from vqa_assets.ingest.watching import Observer, unobserved
from vqa_assets.provenance import Manifest, RunContext, content_version, utc_text, write_manifest
from vqa_assets.settings import IngestSettings, ResolvedSettings
from vqa_assets.tables.files import JsonLine, drafting, json_line, write_lines
from vqa_assets.tables.lock import corpus_lock
from vqa_assets.tables.specs import CORPUS_JSONL
from vqa_assets.tables.validation import validate_rows

MANIFEST_SCHEMA = "mos-corpus-manifest-v1"
_log = logging.getLogger("vqa_assets.ingest")


@dataclass(frozen=True)
class Services:
    """What an ingest is given: a prober, a downloader, a pool for per-clip work, who is told how far it is."""

    prober: Prober
    downloader: Downloader
    pool: ClipPool
    observe: Observer = unobserved


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
        with told_disk_faults(folder), corpus_lock(folder, settings.lock_wait_s):
            fetch_archives(corpus, settings, folder)
    layout = CorpusLayout.of(corpus, settings, context.root)
    with told_disk_faults(layout.folder), corpus_lock(layout.folder, settings.lock_wait_s):
        found = read_annotations(corpus, settings, *layout.annotation_files)
        _tell_bad_rows(corpus, found)
        earlier = read_earlier(layout.output)
        scores = {src: line.row.get("mos") for src, line in earlier.items()}
        annotations = replace(found, rows=named_on_disk(found.rows, layout.clips, scores))
        work = _Work(corpus, settings, layout, annotations, IngestReport())
        rows = _gather_and_judge(work, services, earlier)
        work.report.reconcile(corpus.name)
        described = _manifest(work, resolved)
        _publish(rows, work)
        manifest = write_manifest(layout.manifest, described, context)
    _log.info("%s", work.report.summary(corpus.name, context.root.shown(layout.output)))
    _tell_missing(work, context)
    _tell_attrition(work)
    return Ingested(layout, annotations, work.report, manifest, corpus_data_version(rows))


def corpus_data_version(rows: list[OutputRow]) -> str:
    """A hash of the rows without their time stamps."""
    return content_version(json_line(without_stamp(out.row)) for out in rows)


@dataclass(frozen=True)
class _Work:
    """What all steps of one ingest share."""

    corpus: Corpus
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


def _gather_and_judge(work: _Work, services: Services, earlier: Mapping[str, JsonLine]) -> list[OutputRow]:
    settings, layout = work.settings, work.layout
    run = _rows_of_this_run(work.annotations, settings)
    clips = _look_at_clips(work, run)
    with (
        Progress(layout.progress) as progress,
        IngestCache(layout.cache) as cache,
        services.pool.open(workers_of(settings)) as executor,
    ):
        folder = ClipFolder(work.corpus, settings, clips, progress, cache, sizes_of(earlier), services.observe)
        outcomes = gather_outcomes(run, folder, _tools(settings, services), executor, work.report)
    labelling = Labelling(work.corpus, settings, work.annotations, utc_text())
    return RowJudge(labelling, earlier, work.report).judge(run, outcomes)


def _look_at_clips(work: _Work, run: list[AnnotationRow]) -> ClipsOnDisk:
    """One walk over the clips; the folder they are fetched into is made, leftovers go, strangers are counted."""
    work.layout.clips.target.mkdir(parents=True, exist_ok=True)
    clips = ClipsOnDisk(work.layout.clips, {row.src for row in run if not row.problem})
    removed = clips.remove_leftovers()
    if removed:
        _log.info("%s: removed %d half-fetched .part files of an interrupted run", work.corpus.name, removed)
    work.report.unlabelled_clips = clips.count_unlabelled(
        {row.src for row in work.annotations.rows}, work.settings.clip_suffix
    )
    return clips


def _tools(settings: IngestSettings, services: Services) -> ClipTools:
    return ClipTools(
        prober=services.prober,
        downloader=services.downloader,
        limits=replace(DownloadLimits(), timeout_s=settings.download_timeout_s, per_host=settings.per_host),
        probe_timeout_s=settings.probe_timeout_s,
        stop=threading.Event(),
        probes=threading.Semaphore(os.cpu_count() or 1),
    )


def _publish(rows: list[OutputRow], work: _Work) -> None:
    """Write, validate, replace; a file whose bytes would stay the same is left alone.

    Nothing is replaced before all is written and it is known that the manifest can be.
    """
    layout = work.layout
    validate_rows((out.row for out in rows), CORPUS_JSONL, str(layout.output))
    for path in (layout.output, layout.losses, layout.manifest):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with drafting(layout.output) as output, drafting(layout.losses) as losses:
        with drafting(layout.manifest) as manifest:
            manifest.path.touch()
        write_lines(losses.path, (json_line(loss.as_dict()) for loss in work.report.losses))
        if not (layout.output.exists() and _same_bytes(rows, layout.output)):
            write_lines(output.path, (out.raw for out in rows))
            output.publish()
        losses.publish()


def _same_bytes(rows: list[OutputRow], output: Path) -> bool:
    if output.stat().st_size != sum(len(out.raw) for out in rows):
        return False
    with output.open("rb") as lines:
        return all(line == out.raw for line, out in zip(lines, rows, strict=True))


def _manifest(work: _Work, resolved: ResolvedSettings) -> Manifest:
    corpus, settings, layout, annotations = work.corpus, work.settings, work.layout, work.annotations
    body = {
        "corpus": corpus.name,
        "corpus_version": settings.corpus_version,
        "corpus_root": layout.folder,
        "annotation_file": {**_hashed(annotations)[0], "rows": len(annotations.rows)},
        "annotation_files": _hashed(annotations),
        "annotation_columns": dict(annotations.columns),
        "bad_rows": {"count": len(annotations.bad), "reasons": annotations.problems()},
        "mos_scale": {"name": annotations.scale.name, "from": annotations.scale_from},
        "native_scale": annotations.native_scale.name,
        "labels": annotations.statistics().as_dict(),
        "progress_path": layout.progress,
        "losses_path": layout.losses,
        "max_rows": settings.max_rows,
        "licence": corpus.licence,
        "citation": corpus.citation,
        **work.report.described(),
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
        outputs={"corpus_jsonl": layout.output, "losses": layout.losses},
    )


def _hashed(annotations: Annotations) -> list[dict[str, Any]]:
    of_files = zip(annotations.files, annotations.sha256_of_files, strict=True)
    return [{"path": path, "sha256": sha256} for path, sha256 in of_files]


def _annotation_inputs(files: tuple[Path, ...]) -> dict[str, Path]:
    return {"annotation_file" if i == 0 else f"annotation_file_{i + 1}": path for i, path in enumerate(files)}


def _tell_bad_rows(corpus: Corpus, annotations: Annotations) -> None:
    if annotations.bad:
        told = first_lines(annotations.bad)
        _log.warning("%s: %d bad rows in %s: %s", corpus.name, len(annotations.bad), annotations.path, told)


def _tell_missing(work: _Work, context: RunContext) -> None:
    if work.report.skipped_missing:
        _log.warning(
            "%s: %d rows have neither a clip nor a URL (%s); clips are looked for in %s",
            work.corpus.name,
            work.report.skipped_missing,
            work.report.chief_reasons("skipped_missing"),
            ", ".join(context.root.shown(folder) for folder in work.layout.clips.every),
        )


def _tell_attrition(work: _Work) -> None:
    lost, ordinary = work.report.attrition, work.settings.attrition_warn_threshold
    if lost > ordinary:
        _log.warning(
            "%s: %.1f %% of the rows were lost to downloads, %.1f %% is ordinary (%s); every one is in %s, "
            "retry_failed tries again what failed for good",
            work.corpus.name,
            100 * lost,
            100 * ordinary,
            work.report.chief_reasons("skipped_download"),
            work.layout.losses.name,
        )
