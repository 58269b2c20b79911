"""One corpus's feature table, from its JSONL and clips to the Parquet file: the function under ``clip_features``.

Memory is bounded by a batch of rows, not by the corpus: its JSONL is read again for each pass over the clips, and what
was measured stays in the cache until its batch is written.
"""

import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from vqa_assets.clips.cap_settings import cap_args
from vqa_assets.clips.caps import ClipCaps, ClipSize
from vqa_assets.clips.folders import ClipFolders, ClipPlace, ClipRoot, StoredClip, is_there
from vqa_assets.clips.geometry import is_raw
from vqa_assets.clips.marks import remove_abandoned
from vqa_assets.clips.scratch import scratch_of_run
from vqa_assets.clips.stores import open_store
from vqa_assets.clips.work import ClipPool, Observer, ProgressLine, Remote, Watch, unobserved
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import ClusterError, FeatureError, Make, SchemaError
from vqa_assets.feature_names import BACKBONE_PREFIX
from vqa_assets.features.backbone import open_devices
from vqa_assets.features.cache import FeatureCache
from vqa_assets.features.clip_description import AUDITED, clip_audit
from vqa_assets.features.embeddings import EmbeddingPlane, clips_alike, embedding_planes
from vqa_assets.features.family import FeatureExtractor
from vqa_assets.features.measuring import (
    ClipToMeasure,
    FeatureReport,
    KnownHashes,
    MeasuringRun,
    extract_features,
    feature_row,
    nothing_known,
)
from vqa_assets.features.near_duplicates import COLUMN as PHASH_COLUMN
from vqa_assets.features.near_duplicates import COMPARED, group_report
from vqa_assets.features.settings import ExtractionSettings
from vqa_assets.features.view import CAPTION, TableView, contact_sheet, table_view, worst_and_best
from vqa_assets.printing import LOSSES_TOLD, logger, warn_of_others
from vqa_assets.provenance import Manifest, ReadInput, RunContext, write_manifest
from vqa_assets.provenance.reading import changed_input, compared
from vqa_assets.settings import RUN_CONFIG, with_origins
from vqa_assets.tables.content_errors import reading
from vqa_assets.tables.files import fault_of, file_identity, parse_json_line
from vqa_assets.tables.makers import Wrote, made_by, mark, refuse_newer
from vqa_assets.tables.networks import Networks, networks_mark, networks_of
from vqa_assets.tables.parquet import (
    ColumnKinds,
    TableDigest,
    column_names,
    open_parquet,
    rows_at_once,
    standing_version,
)
from vqa_assets.tables.paths import manifest_path
from vqa_assets.tables.publication import Publication, publishing, settle
from vqa_assets.tables.specs import CLIP_FEATURES, Column, corpus_jsonl_of
from vqa_assets.tables.validation import validate_frames, why_no_clip

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]

MANIFEST_SCHEMA = "clip-features-manifest-v1"
WINDOW_PER_WORKER = 2

BATCH_ROWS = 8_192
"""Rows of the table in memory at once, and in a row group: about 100 MB of 250 columns; fewer of vectors."""

MOST_SHAPES = 1_024
"""Different sets of columns and types of rows that are kept apart while a table's schema is gathered."""

_READ_BYTES = 1 << 20
_CHECKED = ("src_sha256", "mos", "mos_scale", "mos_polarity")
_CONTENT = Column("content_id", "string", "What the clip shows", required=False, nullable=True)
"""These are read of a corpus row; what the table only carries its own schema judges."""

_log = logger("vqa_assets.features")


@dataclass(frozen=True)
class FeatureSettings:
    """``jsonl`` is the corpus's JSONL, ``clips`` where the clips lie, ``workers`` how many are measured at once.

    ``raw`` is what clips without a container are, ``observe`` hears now and then how far the run is, ``hashes`` knows
    the clips that ingest read, ``caps`` are on what is decoded, of which the run states ``stated_caps``.
    """

    jsonl: Path
    clips: ClipFolders
    workers: int
    overwrite: bool = False
    raw: RawVideo | None = None
    observe: Observer = unobserved
    hashes: KnownHashes = nothing_known
    caps: ClipCaps = field(default_factory=ClipCaps)
    stated_caps: frozenset[str] = frozenset()


@dataclass(frozen=True)
class MeasuredTable:
    """A feature table that stands: ours with its manifest, report, view and contact sheet (a JPEG), or somebody else's,
    left as it is.

    ``planes`` are of its embeddings; where there are any, ``scores`` are each row's native score, NaN for none.
    """

    path: Path
    rows: int
    data_version: str
    foreign: str = ""
    manifest: Mapping[str, Any] | None = None
    report: FeatureReport | None = None
    view: TableView | None = None
    sheet: bytes = b""
    planes: Sequence[EmbeddingPlane] = ()
    scores: Sequence[float] = ()


def make_clip_features(
    corpus: Corpus, settings: FeatureSettings, extractor: FeatureExtractor, pool: ClipPool, context: RunContext
) -> MeasuredTable:
    """Measure every clip of the corpus JSONL; what a family of the same version measured before is not measured again.

    A table that this function did not write is left as it is unless ``overwrite``. FeatureError where there is no
    corpus JSONL, or no clip could be measured.
    """
    root = context.root
    path = root.features(corpus)
    settle(path.parent, settings.jsonl.parent)
    foreign, standing = why_foreign(path), made_by(path)
    if standing is not None and not foreign and not standing.is_ours:
        _log.warning("%s: %s was damaged on the disk and is made again", corpus.name, path)
    if foreign and not settings.overwrite:
        version = standing_version(path)
        if version is None:
            raise FeatureError(
                f"{path}",
                found=f"no table that can be read to its end, and {foreign}",
                expected="a Parquet table of your own, or none",
                next_step="mend it or move it away, or set overwrite to have it made here",
            )
        _log.warning("%s: %s is left as it is: %s", corpus.name, path, foreign)
        return MeasuredTable(path, _row_count(path), version, foreign)
    begun = time.monotonic()
    with (
        scratch_of_run(),
        CorpusClips(corpus, settings) as clips,
        FeatureCache(root.feature_cache(corpus)) as cache,
        pool.open(settings.workers) as executor,
    ):
        extra = frozenset(column.field for column in corpus.extra_columns)
        watch = Watch(ProgressLine(f"{corpus.name}-features", len(clips), _log.info), settings.observe)
        watch.at(executor)
        _check_sight(executor, settings.clips.target)
        run = MeasuringRun(
            WINDOW_PER_WORKER * settings.workers,
            threading.Event(),
            watch.update,
            watch.look,
            hashes=settings.hashes,
            caps=settings.caps,
        )
        measured, report = extract_features(clips, extractor, executor, cache, run, extra)
        watch.end()
        seconds = time.monotonic() - begun
        devices = _devices_of(executor, report)
        _check_report(corpus, report)

        def table_rows() -> Iterator[dict[str, Any]]:
            for row, values in zip(clips.rows(), measured, strict=True):
                if values is not None:
                    yield feature_row(row, values, extra)

        try:
            with publishing("clip_features", path, MANIFEST_SCHEMA) as publication:
                version = _write_table(publication, table_rows, path, _networks(extractor))
                # What follows is read from the table as it will stand, before anything stands otherwise than it did.
                table = publication.lies_at(path)
                mos = {row["src"]: corpus.upward_score(row) for row in clips.rows() if row.get("mos") is not None}
                keys = worst_and_best([row["key"] for row in _written(table, ("key",))], mos)
                captions = [row for row in _written(table, ("key", *CAPTION)) if row["key"] in keys]
                shown = [clip for clip in clips if clip.key in keys]
                sheet = contact_sheet(captions, mos, shown, settings.caps)
                hashed = PHASH_COLUMN in column_names(table)
                body = _body(corpus, extractor, report, version, devices) | {
                    **({"clips_url": f"{settings.clips.store}"} if settings.clips.store else {}),
                    "backbones": {name: asdict(network) for name, network in _networks(extractor).items()},
                    "clips_per_s": round(report.measured / seconds, 2) if report.measured else None,
                    "time": report.seconds.shares(),
                    "audit": clip_audit(_written(table, AUDITED)).as_dict(),
                    "near_duplicates": group_report(list(_written(table, COMPARED))) if hashed else None,
                    "clips_alike": clips_alike(table),
                }
                clips.refuse_changes()
                inputs: dict[str, Path | ReadInput] = {
                    "corpus_jsonl": clips.as_read,
                    **settings.clips.as_input,
                    **{name: file for family in extractor.families for name, file in family.reads},
                }
                described = Manifest(MANIFEST_SCHEMA, body, _args(settings), inputs, {"features": path})
                manifest = write_manifest(publication, manifest_path(path), described, context)
                rows, view = _row_count(table), table_view(table, mos)
                planes = embedding_planes(table)
                scores = [mos.get(row["key"], math.nan) for row in _written(table, ("key",))] if planes else []
        except OSError as error:
            if fault_of(error) is None:
                raise
            raise FeatureError(
                f"{path}: the feature table cannot be written",
                found=error.strerror or str(error),
                next_step="free space or mend its permissions, then run it again: what was measured is kept",
            ) from error
    return MeasuredTable(
        path, rows, version, manifest=manifest, report=report, view=view, sheet=sheet, planes=planes, scores=scores
    )


def _check_sight(executor: Executor, clips: ClipRoot) -> None:
    """ClusterError where workers elsewhere do not see the clips; what killed runs asked theirs by is removed."""
    if isinstance(executor, Remote):
        executor.check_sees(clips)
    elif isinstance(clips, Path):
        remove_abandoned(clips)


def _args(settings: FeatureSettings) -> dict[str, dict[str, Any]]:
    defaults = {**ExtractionSettings().values(), "workers": os.cpu_count() or 1}
    own = with_origins({"overwrite": settings.overwrite, "workers": settings.workers}, defaults)
    return {**own, **cap_args(settings.caps, settings.stated_caps, RUN_CONFIG)}


def why_foreign(path: Path) -> str:
    """Why a feature table is not ours to replace; empty where there is none, or we wrote it.

    Also where a disk damaged what we wrote: that is nobody's edit. NewerFormatError where a later version wrote it.
    """
    refuse_newer(path)
    made = made_by(path)
    if made is None:
        nobody = "neither its metadata nor a file beside it says that clip_features wrote it"
        return nobody if path.exists() else ""
    if made.stage != "clip_features":
        return f"{made.stage} wrote it, not clip_features"
    # What cannot be read to its end is no edit, whatever it differs in.
    if made.content is Wrote.CHANGED and standing_version(path) is not None:
        return (
            f"its bytes are not those that clip_features wrote ({made.said_by.name} says so), so it was changed since"
        )
    return ""


class CorpusClips:
    """The clips of a corpus JSONL in its order, with their references, read anew each time they are gone through.

    A context manager. It stays with the file that it opened: a JSONL that ingest puts in its place meanwhile is the
    next run's. Whether a reference has a file is asked once, so that a clip is the same one in every pass.
    """

    def __init__(self, corpus: Corpus, settings: FeatureSettings) -> None:
        if not settings.jsonl.is_file():
            raise FeatureError(
                f"{corpus.name}: no corpus JSONL",
                found=f"found nothing at {settings.jsonl}",
                expected="the clips to measure",
                next_step=Make("corpus_jsonl", " for this corpus first"),
            )
        refuse_newer(settings.jsonl)
        self._corpus, self._path, self._settings = corpus, settings.jsonl, settings

    def __enter__(self) -> Self:
        self._file = os.open(self._path, os.O_RDONLY)
        try:
            with os.fdopen(os.dup(self._file), "rb") as content:
                self.as_read = compared(ReadInput.of_opened(self._path, content))
            self._count = self._checked_count()
            self._ladder = ladder_of(self._corpus, self.rows())
        except BaseException:
            os.close(self._file)
            raise
        self._references: dict[str, ClipPlace | None] = {}
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._file)

    def refuse_changes(self) -> None:
        """ChangedInputError where somebody wrote into the file since it was opened."""
        if file_identity(os.fstat(self._file)) != self.as_read.identity:
            raise changed_input(self._path)

    def _checked_count(self) -> int:
        """The number of rows; SchemaError for one that lacks what is read here, or has it as another kind of value."""
        columns = [c for c in corpus_jsonl_of(self._corpus).columns if c.name in _CHECKED] + [_CONTENT]
        count = 0
        for row in self.rows():
            count += 1
            if why := why_no_clip(row, columns):
                raise SchemaError(
                    f"{self._path}: row {count}",
                    found=why,
                    expected="a clip's row",
                    next_step=Make("corpus_jsonl", " for this corpus again: the file was damaged or edited"),
                )
        return count

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of the JSONL; SchemaError names file and line of one that is none."""
        # By offset, not by a shared position: one pass may be under way while another begins.
        offset, number, rest = 0, 0, b""
        while chunk := os.pread(self._file, _READ_BYTES, offset):
            offset += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                number += 1
                if line.strip():
                    yield parse_json_line(line, self._path, number)
        if rest.strip():
            yield parse_json_line(rest, self._path, number + 1)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[ClipToMeasure]:
        for row in self.rows():
            reference = self._ladder.reference_of(row) if self._ladder else None
            # A reference that has no file is a missing one.
            beside = self._file_of(reference) if reference is not None else None
            yield ClipToMeasure(
                key=row["src"],
                path=self._path_of(row),
                sha256=row["src_sha256"],
                reference=beside,
                reference_sha256=reference["src_sha256"] if reference is not None and beside else None,
                reference_key=reference["src"] if reference is not None and beside else "",
                ladder=self._ladder is not None,
                raw=self._settings.raw if is_raw(row["src"]) else None,
                size=_size_of(row),
            )

    def _path_of(self, row: Row) -> ClipPlace:
        place = self._settings.clips.path_of(row["src"], str(row.get("score_drop", "")))
        if isinstance(place, StoredClip):
            size = row.get("src_size_bytes")  # what it takes in the scratch; rows of an older version may lack it
            return replace(place, size_bytes=size if isinstance(size, int) else 0)
        return place

    def _file_of(self, reference: Row) -> ClipPlace | None:
        if reference["src"] not in self._references:
            path = self._path_of(reference)
            there = open_store(path.store.url).holds(path.src) if isinstance(path, StoredClip) else is_there(path)
            self._references[reference["src"]] = path if there else None
        return self._references[reference["src"]]


def _size_of(row: Row) -> ClipSize:
    """What a corpus row says of its clip's size; rows of an older version, or of elsewhere, may say nothing."""
    width, height, rate, seconds = (
        value if isinstance(value := row.get(name), int | float) else 0
        for name in ("width", "height", "framerate", "duration_s")
    )
    return ClipSize(int(width), int(height), float(seconds), round(rate * seconds))


@dataclass(frozen=True)
class Ladder:
    """Which clip each clip of a ladder corpus is an encode of; ``field`` holds 1 for the reference of its content."""

    field: str
    of_content: Mapping[str, Sequence[Row]]

    def reference_of(self, row: Row) -> Row | None:
        """The row of its reference (a reference's is itself), None where there is none.

        Of several references of one content the first that is of the clip's orientation counts, else the first.
        """
        if row.get(self.field) == 1:
            return row
        references = self.of_content.get(row.get("content_id", ""), ())
        alike = (one for one in references if _is_portrait(one) == _is_portrait(row))
        return next(alike, references[0] if references else None)


def _is_portrait(row: Row) -> bool:
    return bool(row["height"] > row["width"])


def ladder_of(corpus: Corpus, rows: Iterable[Row]) -> Ladder | None:
    """The ladder of a corpus; None where it declares none."""
    field = reference_field(corpus)
    if not field:
        return None
    of_content: dict[str, list[Row]] = {}
    for row in rows:
        if row.get(field) == 1 and row.get("content_id"):
            of_content.setdefault(row["content_id"], []).append(row)
    return Ladder(field, of_content)


def reference_field(corpus: Corpus) -> str:
    """The corpus-row field that holds 1 for the reference clip of its content; empty where there is no ladder."""
    names = set(corpus.own_spellings.reference)
    return next((column.field for column in corpus.extra_columns if names.intersection(column.columns)), "")


def _check_report(corpus: Corpus, report: FeatureReport) -> None:
    """Log what failed; FeatureError where clips do not reconcile, or none could be measured."""
    losses = (*report.failed, *report.too_large, *report.failed_alone)
    for key, reason in losses[:LOSSES_TOLD]:
        _log.warning("%s: %s could not be measured: %s", corpus.name, key, reason)
    warn_of_others(
        _log, f"{corpus.name}: further clips could not be measured", [key for key, _ in losses[LOSSES_TOLD:]]
    )
    if report.again:
        _log.info("%s: %s", corpus.name, report.again)
    if report.no_reference:
        _log.warning("%s: %d ladder clips have no reference", corpus.name, len(report.no_reference))
    if not report.reconciles:
        raise FeatureError(f"{corpus.name}: clips do not reconcile", found=f"{report}", next_step="report this defect")
    if not report.measured + report.cached:
        failed = [*report.failed, *report.too_large]
        first = "; ".join(f"{key}: {reason}" for key, reason in failed[:3])
        raise FeatureError(
            f"{corpus.name}: no clip could be measured",
            found=f"{len(failed)} of {report.rows_in} failed ({first})",
            expected="at least one clip",
            next_step="are the clips where the corpus JSONL says they are?",
        )
    for name, counts in report.families.items():
        # Else it would be a table whose columns are all null, or missing.
        if counts.failed and not counts.measured + counts.known:
            first = "; ".join(f"{key}: {reason}" for key, reason in report.failed_alone[:3])
            raise FeatureError(
                f"{corpus.name}: {name} could measure no clip",
                found=f"{counts.failed} of {report.rows_in} failed ({first})",
                expected="at least one clip",
                next_step=f"leave {name} out of feature_sets, or correct what it was declared with",
            )


def _networks(extractor: FeatureExtractor) -> Networks:
    return {
        family.name.removeprefix(BACKBONE_PREFIX): family.network
        for family in extractor.families
        if family.network is not None
    }


def _write_table(
    publication: Publication, table_rows: Callable[[], Iterator[dict[str, Any]]], path: Path, networks: Networks
) -> str:
    """Write in batches and validate; a table whose content would stay the same is left alone. Its data version.

    The rows are read twice: what types the columns have is known only when all have been seen.
    """
    kinds, shapes = ColumnKinds(), set[tuple[object, ...]]()
    for row in table_rows():
        # Rows of the same columns and types, nearly all of a table, add nothing to what the first of them said.
        shape = (*row, *map(type, row.values()))
        if shape not in shapes:
            kinds.add(row)
            if len(shapes) < MOST_SHAPES:
                shapes.add(shape)
    # The declared columns first, as far as they were measured, then the others in the order they are met.
    met = kinds.names
    declared = [c.name for c in CLIP_FEATURES.columns if c.required or c.name in met]
    schema = kinds.schema(list(dict.fromkeys((*declared, *met))))
    digest = TableDigest(schema.names)
    draft = publication.draft(path)
    marks = mark("clip_features") | networks_mark(networks)
    validate_frames(_write(table_rows(), kinds, schema, draft, digest, marks), CLIP_FEATURES, str(path))
    version = digest.version()
    standing = made_by(path)
    # An earlier edition's table does not say whose vectors it holds.
    alike = standing is not None and standing.is_ours and standing_version(path) == version
    if alike and networks_of(path) == networks:
        publication.keep(path)
    return version


def _write(
    rows: Iterator[dict[str, Any]],
    kinds: ColumnKinds,
    schema: Any,
    path: Path,
    digest: TableDigest,
    marks: Mapping[str, str],
) -> "Iterator[pd.DataFrame]":
    """Write the rows batch by batch, each after the caller has judged it as a frame of the specified columns."""
    import pandas as pd
    import pyarrow.parquet as pq

    specified = [c.name for c in CLIP_FEATURES.columns]
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        writer.add_key_value_metadata(marks)
        numbers = sum(getattr(field.type, "list_size", 1) for field in schema)
        while batch := list(islice(rows, rows_at_once(BATCH_ROWS, numbers))):
            met = set().union(*batch)
            yield pd.DataFrame({name: [row.get(name) for row in batch] for name in specified if name in met})
            table = kinds.batch(batch, schema)
            digest.update(table)
            writer.write_table(table)


def _written(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of the written table with a few of its columns; a row lacks those that it has no value for."""
    file = open_parquet(path)
    names = [name for name in columns if name in file.schema_arrow.names]
    with reading(path):
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=names):
            for row in batch.to_pylist():
                yield {name: value for name, value in row.items() if value is not None}


def _devices_of(executor: Executor, report: FeatureReport) -> dict[str, str]:
    """The devices that backbones ran on, by family: here, or on the workers elsewhere that did the work."""
    if not any(name.startswith(BACKBONE_PREFIX) and counts.measured for name, counts in report.families.items()):
        return {}
    if not isinstance(executor, Remote):
        return open_devices()
    each: dict[str, set[str]] = {}
    with suppress(ClusterError):  # all is measured: the table does not fail for want of a word
        for answer in executor.everywhere(open_devices).values():
            for family, device in answer.items() if isinstance(answer, dict) else ():
                each.setdefault(family, set()).add(device)
    return {family: ", ".join(sorted(devices)) for family, devices in each.items()}


def _body(
    corpus: Corpus, extractor: FeatureExtractor, report: FeatureReport, version: str, devices: Mapping[str, str]
) -> dict[str, Any]:
    families = {
        name: {**vars(counts), **({"device": devices[name]} if counts.measured and name in devices else {})}
        for name, counts in report.families.items()
    }
    return {
        "corpus": corpus.name,
        "extractor": extractor.version,
        "data_version": version,
        "counters": {
            "rows_in": report.rows_in,
            "measured": report.measured,
            "cached": report.cached,
            "failed": len(report.failed),
            "skipped_too_large": len(report.too_large),
            "no_reference": len(report.no_reference),
        },
        "families": families,
        "measured_again": report.again,
        "no_reference": report.no_reference[:50],
        "failures": [
            {"key": key, "reason": reason}
            for key, reason in (*report.failed, *report.too_large, *report.failed_alone)[:50]
        ],
    }


def _row_count(path: Path) -> int:
    return int(open_parquet(path).metadata.num_rows)
