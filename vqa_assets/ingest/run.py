"""One ingest from beginning to end: lock, read, gather, judge, publish. The plain function under ``corpus_jsonl``.

How clips become outcomes is in ``gather``, how outcomes become rows in ``rows``.
"""

import errno
import logging
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from vqa_assets.annotations.reading import Annotations, first_lines, read_annotations
from vqa_assets.clips.scratch import clear_scratch
from vqa_assets.corpora import Corpus
from vqa_assets.errors import IngestError
from vqa_assets.ingest.cache import IngestCache
from vqa_assets.ingest.clip_task import ClipOutcome, ClipState
from vqa_assets.ingest.earlier import EarlierRows, read_earlier
from vqa_assets.ingest.fetching import fetch_archives
from vqa_assets.ingest.gather import Services, gather_outcomes, keep_in
from vqa_assets.ingest.layout import CorpusLayout, check_targets_of, unseen_by_others
from vqa_assets.ingest.naming import named_as_fetched
from vqa_assets.ingest.outcomes import Outcomes
from vqa_assets.ingest.plan import IngestPlan, KnownClips, plan_ingest, rows_of_this_run
from vqa_assets.ingest.progress import Progress
from vqa_assets.ingest.rows import IngestReport, Labelling, OutputRows, RowJudge, without_stamp
from vqa_assets.ingest.settings import INGEST_TOML, IngestSettings
from vqa_assets.printing import logger
from vqa_assets.provenance import Manifest, RunContext, content_version, utc_text, write_manifest
from vqa_assets.settings import Resolved
from vqa_assets.tables.files import fault_of, json_line, refusal_of, report_line, write_lines
from vqa_assets.tables.lock import corpus_lock
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.publication import Publication, published_count, publishing, settle, what_stands
from vqa_assets.tables.specs import corpus_jsonl_of
from vqa_assets.tables.validation import validate_rows

EXAMPLES = 3
"""Names that a message shows; all of them are in the losses file."""
MANIFEST_SCHEMA = "mos-corpus-manifest-v1"
MOST_LOSSES_TOLD = 50
_TOLD_BY_ROW = ("skipped_missing", "skipped_download", "skipped_broken", "skipped_probe", "skipped_too_large")
_IN_THE_WAY = (errno.ELOOP, errno.EISDIR, errno.ENOTDIR, errno.EEXIST)
_log = logger("vqa_assets.ingest")


@dataclass(frozen=True)
class Ingested:
    """A finished ingest: its manifest as written, its report, where things are, its data version.

    ``unseen`` are the settings by which its files lie where other stages do not look.
    """

    layout: CorpusLayout
    annotations: Annotations
    report: IngestReport
    manifest: Mapping[str, Any]
    data_version: str
    unseen: tuple[str, ...] = ()


def ingest_corpus(
    corpus: Corpus, resolved: Resolved[IngestSettings], services: Services, context: RunContext
) -> Ingested:
    """Make or refresh one corpus's JSONL; the earlier one stands whole until the new one is validated.

    An interrupt loses at most the clips in hand. Every VqaError says what, found, expected and next.
    """
    settings = resolved.values
    settle(context.root.corpus_dir(corpus))
    layout = CorpusLayout.of(corpus, settings, context.root)
    settle(layout.folder, layout.output.parent)
    if settings.fetch:
        # First of all: the annotation file itself may come out of an archive.
        with disk_faults_in_words(layout.folder), corpus_lock(layout.folder, settings.lock_wait_s):
            fetch_archives(corpus, settings, layout.folder)
        layout = CorpusLayout.of(corpus, settings, context.root)  # with the folders that were unpacked
    files = layout.annotation_files
    check_targets_of(layout, context.root)
    unseen = unseen_by_others(resolved, corpus, context.root)
    if unseen:
        _log.warning("%s: %s", corpus.name, this_run_only(unseen))
    report = IngestReport()
    with disk_faults_in_words(layout.folder), corpus_lock(layout.folder, settings.lock_wait_s):
        annotations = read_annotations(corpus, settings, *files)
        if annotations.bad:
            rows = "1 bad row" if len(annotations.bad) == 1 else f"{len(annotations.bad)} bad rows"
            _log.warning("%s: %s in %s: %s", corpus.name, rows, annotations.path, first_lines(annotations.bad))
        earlier = read_earlier(corpus, layout)
        if wrong := earlier.in_words():
            _log.warning("%s: %s: %s; whole rows stay, the others are made again", corpus.name, layout.output, wrong)
        annotations, output = _gather_and_judge(corpus, settings, layout, annotations, earlier, services, report)
        report.reconcile(corpus.name)
        described = _manifest(corpus, resolved, layout, annotations, report)
        with publishing("corpus_jsonl", layout.output, MANIFEST_SCHEMA) as publication:
            replaced = _write(publication, output, corpus, layout, report)
            manifest = write_manifest(publication, layout.manifest, described, context)
    _log_summary(corpus, settings, layout, report, context.root, replaced=replaced)
    return Ingested(layout, annotations, report, manifest, corpus_data_version(output), unseen)


def this_run_only(settings: Iterable[str]) -> str:
    """What to say of settings of a run config by which other stages will not find what the run makes."""
    return f"{', '.join(settings)}: set for this run only, other stages will not see it; in {INGEST_TOML} all do"


def corpus_data_version(rows: OutputRows) -> str:
    """A hash of the rows without their time stamps."""
    return content_version(json_line(without_stamp(out.row)) for out in rows)


@contextmanager
def disk_faults_in_words(folder: Path) -> Iterator[None]:
    """Turn what the disk refuses into an IngestError that says where, why and what to do; other errors pass.

    ``folder`` is the corpus's, where the error does not say which file it was.
    """
    before = published_count()
    try:
        yield
    except OSError as error:
        name = error.filename2 or error.filename  # of a file that was to replace another, the other
        if error.errno in _IN_THE_WAY and name:
            raise IngestError(
                f"{Path(name)}",
                found=(error.strerror or str(error)).lower(),
                expected="a file where files are, a folder where folders are",
                next_step="move away what stands there, then run again",
            ) from error
        code = fault_of(error)
        if code is None:
            raise
        raise _refused(code, Path(name or folder), error.strerror or str(error), before) from error
    except sqlite3.OperationalError as error:  # full, read-only, not to be opened: SQLite has no finer classes
        raise _refused(None, folder / ".ingest-cache.sqlite", str(error), before) from error


def _refused(code: int | None, path: Path, reason: str, before: int) -> IngestError:
    words = refusal_of(code, path)
    return IngestError(
        words.what,
        found=reason,
        expected=words.expected,
        next_step=f"{words.remedy}, then run again: {what_stands(before)}, finished clips are kept",
    )


def _gather_and_judge(
    corpus: Corpus,
    settings: IngestSettings,
    layout: CorpusLayout,
    annotations: Annotations,
    earlier: EarlierRows,
    services: Services,
    report: IngestReport,
) -> tuple[Annotations, OutputRows]:
    """The annotation under the names that clips have on disk, and the rows of the new JSONL.

    IngestError where not one clip of the run could be read, unless ``allow_empty``: then nothing is published.

    What the disk, the cache and the progress say of the clips ends with this function: it takes as much memory as the
    rows, and they are yet to be validated.
    """
    place = layout.clips.target
    is_made = isinstance(place, Path) and not place.exists()
    if isinstance(place, Path):
        place.mkdir(parents=True, exist_ok=True)
    with Progress(layout.progress) as progress, IngestCache(layout.cache) as cache:
        known = partial(_known, progress, cache)
        cached = earlier.known(cache.load()) if earlier.in_words() else {}
        plan = plan_ingest(corpus, settings, layout, annotations, earlier.lines, services.hub, known)
        removed = plan.clips.remove_leftovers()
        if removed:
            _log.info("%s: removed %d half-fetched .part files of an interrupted run", corpus.name, removed)
        count_names(plan, report)
        try:
            outcomes = gather_outcomes(plan, services, keep_in(progress, cache), report)
        finally:
            clear_scratch()
            if is_made and isinstance(place, Path):
                with suppress(OSError):  # clips are in it
                    place.rmdir()  # or a link to a folder of clips, made there next, would lie inside it
    annotations, run = plan.annotations, plan.run
    del plan  # what it lists and knows is as long as the corpus, and is not needed any more
    fetched_as = {src: o.source.name for src, o in outcomes.items() if o.source and o.source.name != src}
    if fetched_as:
        annotations = replace(
            annotations, rows=tuple(named_as_fetched(annotations.rows, fetched_as, settings.clip_suffix))
        )
        run = rows_of_this_run(annotations, settings.max_rows)
        renamed = Outcomes()  # packed, as they were
        renamed.update((fetched_as.get(src, src), outcome) for src, outcome in outcomes.items())
        outcomes = renamed
        # The earlier row is of the same clip, whatever it was called then.
        earlier = replace(earlier, lines=earlier.lines.renamed(fetched_as))
    labelling = Labelling(corpus, settings, annotations, utc_text())
    rows = RowJudge(labelling, earlier, report, cached).judge(run, outcomes)
    earlier.lines.refuse_changes()
    refuse_nothing(corpus, settings, layout, report, outcomes)
    return annotations, rows


def _known(progress: Progress, cache: IngestCache) -> KnownClips:
    return KnownClips(cache.load(), progress.entries, cache.template, cache.deaths())


def count_names(plan: IngestPlan, report: IngestReport) -> None:
    """Count how the clips of the run's rows were found, and the clips that no row names; note the Hub's dataset."""
    report.unclaimed, report.unlabelled_clips = plan.named.unclaimed, len(plan.named.unclaimed)
    report.names_found, report.hub = plan.named.counted(plan.run, plan.clips), plan.hub.record


def refuse_nothing(
    corpus: Corpus,
    settings: IngestSettings,
    layout: CorpusLayout,
    report: IngestReport,
    outcomes: Mapping[str, ClipOutcome],
) -> None:
    """IngestError where a run gave no clip, unless ``allow_empty``: the names it looked for, and what lies there."""
    if settings.allow_empty or any(outcome.state is ClipState.READ for outcome in outcomes.values()):
        return
    # Of a cap the setting and the size count; of any other reason what comes after its kind is of one clip only.
    too_large = [outcome.reason for outcome in outcomes.values() if outcome.state is ClipState.TOO_LARGE]
    reasons = Counter(outcome.reason.partition(":")[0] for outcome in outcomes.values())
    found = f"none of the {len(outcomes)} usable rows of this run has a clip that could be read"
    if reasons:
        found += f" ({'; '.join(f'{count} × {reason}' for reason, count in reasons.most_common(EXAMPLES))})"
        found += f", the first: {too_large[0]}" if too_large else ""
        found += f"; looked for {', '.join(list(outcomes)[:EXAMPLES])}"
    lies = ", ".join(report.unclaimed[:EXAMPLES]) or "no video that no row names"
    kept = f", {report.retained_unavailable} rows have a clip from before: is its disk mounted?" * bool(
        report.retained_unavailable
    )
    remedy = "raise the cap, " if too_large else ""
    place = layout.clips.target
    links = [path for path in place.glob("*") if path.is_symlink() and path.is_dir()] if isinstance(place, Path) else []
    if links:
        remedy += f"make {place} itself the link that {links[0]} is (links to folders in it are not followed), "
    raise IngestError(
        f"{corpus.name}: every row came to nothing",
        found=f"{found}; below {layout.folder} lies {lies}{kept}",
        expected="at least one clip",
        next_step=f"{remedy}correct the names or stage the clips in {place}, or set allow_empty; nothing "
        "was published, and what was there stands",
    )


def _write(
    publication: Publication, rows: OutputRows, corpus: Corpus, layout: CorpusLayout, report: IngestReport
) -> bool:
    """Write and validate rows and losses; a file whose bytes would stay the same is left alone. Whether it changes."""
    validate_rows((out.row for out in rows), corpus_jsonl_of(corpus), str(layout.output))
    write_lines(publication.draft(layout.losses), (report_line(line) for line in report.listed()))
    # Its time of change stays too: whoever watches the file sees that nothing is new.
    changes = not (layout.output.exists() and _same_bytes(rows, layout.output))
    if changes:
        write_lines(publication.draft(layout.output), rows.raw())
    else:
        publication.keep(layout.output)
    return changes


def refuse_folders(layout: CorpusLayout) -> None:
    """IsADirectoryError where a folder stands in the place of a file that is to be published."""
    for path in (layout.output, layout.losses, layout.manifest):
        # It would be met only by the replacement, when another of the three is new already.
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def _same_bytes(rows: OutputRows, output: Path) -> bool:
    if output.stat().st_size != rows.size_bytes:
        return False
    with output.open("rb") as lines:
        return all(line == raw for line, raw in zip(lines, rows.raw(), strict=True))


def _log_summary(
    corpus: Corpus,
    settings: IngestSettings,
    layout: CorpusLayout,
    report: IngestReport,
    root: DataRoot,
    *,
    replaced: bool,
) -> None:
    store = layout.clips.store
    _log_losses(corpus, report)
    if report.damaged_rows:
        _log.warning(
            "%s: of %d damaged rows %d are made again and %d are lost%s",
            corpus.name,
            report.damaged_rows,
            report.rebuilt_rows,
            report.lost_rows,
            "".join(f"; {loss.src}: {loss.reason}" for loss in report.lost_to_damage[:EXAMPLES]),
        )
    _log.info("%s", report.summary(corpus.name, root.shown(layout.output), replaced=replaced))
    if report.skipped_missing:
        _log.warning(
            "%s: %d rows have neither a clip nor a URL (%s); clips are looked for in %s, and below %s",
            corpus.name,
            report.skipped_missing,
            report.chief_reasons("skipped_missing"),
            ", ".join([*(root.shown(folder) for folder in layout.clips.every), *([str(store)] if store else [])]),
            root.shown(layout.folder),
        )
        missing = (loss for loss in report.losses if loss.counter == "skipped_missing" and ": " in loss.reason)
        like = [f"{loss.src} ({loss.reason.partition(': ')[2]})" for loss in missing]
        if like:
            _log.warning("%s: no clip, but files like it: %s", corpus.name, ", ".join(like[:EXAMPLES]))
    if report.unclaimed:
        _log.log(
            logging.WARNING if report.skipped_missing else logging.INFO,
            "%s: no row names %d clips that are there: %s",
            corpus.name,
            len(report.unclaimed),
            ", ".join(report.unclaimed[:EXAMPLES]),
        )
    if report.attrition > settings.attrition_warn_threshold:
        _log.warning(
            "%s: %.1f %% of the rows were lost to downloads, %.1f %% is ordinary (%s); every one is in %s, "
            "retry_failed tries again what failed for good",
            corpus.name,
            100 * report.attrition,
            100 * settings.attrition_warn_threshold,
            report.chief_reasons("skipped_download"),
            layout.losses.name,
        )


def _log_losses(corpus: Corpus, report: IngestReport) -> None:
    """A line for each row whose clip is missing, failed or broken; bad rows were told when the file was read."""
    losses = [loss for loss in report.losses if loss.counter in _TOLD_BY_ROW]
    for loss in losses[:MOST_LOSSES_TOLD]:
        _log.warning("%s:%d: %s: %s: %s", corpus.name, loss.line, loss.src, loss.counter, loss.reason)
    if len(losses) > MOST_LOSSES_TOLD:
        _log.warning("%s: and %d more rows were lost", corpus.name, len(losses) - MOST_LOSSES_TOLD)
    for held in report.held[:MOST_LOSSES_TOLD]:
        _log.warning("%s:%d: %s: its earlier row stays: %s", corpus.name, held.line, held.src, held.reason)
    if len(report.held) > MOST_LOSSES_TOLD:
        _log.warning("%s: and %d more earlier rows stay", corpus.name, len(report.held) - MOST_LOSSES_TOLD)


def _manifest(
    corpus: Corpus,
    resolved: Resolved[IngestSettings],
    layout: CorpusLayout,
    annotations: Annotations,
    report: IngestReport,
) -> Manifest:
    settings = resolved.values
    files = [{"path": one.path, "sha256": one.sha256} for one in annotations.read]
    body = {
        "corpus": corpus.name,
        "corpus_version": settings.corpus_version,
        "corpus_root": layout.folder,
        "annotation_file": {**files[0], "rows": len(annotations.rows)},
        "annotation_files": files,
        "annotation_columns": dict(annotations.columns),
        "bad_rows": {"count": len(annotations.bad), "reasons": annotations.problems()},
        "mos_scale": {"name": annotations.scale.name, "from": annotations.scale_from},
        "mos_polarity": annotations.scale.polarity,
        "native_scale": annotations.native_scale.name,
        "scores": {one.field: one.as_dict() for one in annotations.scores},
        "labels": annotations.statistics().as_dict(),
        **({"votes": [file.described() for file in annotations.votes]} if annotations.votes else {}),
        "progress_path": layout.progress,
        "losses_path": layout.losses,
        "max_rows": settings.max_rows,
        "licence": corpus.licence,
        "citation": corpus.citation,
        **report.described(),
        **({"hub": report.hub} if report.hub else {}),
    }
    inputs = {
        "annotation_file" if number == 1 else f"annotation_file_{number}": one
        for number, one in enumerate(annotations.read, start=1)
    }
    return Manifest(
        schema=MANIFEST_SCHEMA,
        body=body,
        args=resolved.described(),
        inputs={
            **inputs,
            **({"ingest_toml": resolved.toml} if resolved.toml else {}),
            **layout.clips.as_input,
        },
        outputs={"corpus_jsonl": layout.output, "losses": layout.losses},
    )
