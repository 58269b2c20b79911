"""One labelled table from its features and labels to the published file and its audit: under ``mos_features``.

Whatever the format, a Parquet table is written first, which can be validated batch by batch.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow.parquet as pq

from vqa_assets.corpora import CORPORA, Corpus
from vqa_assets.corpora.opinions import LabelSummary
from vqa_assets.errors import LabelError, Make, SchemaError
from vqa_assets.labels.coverage import LabelAudit
from vqa_assets.labels.joining import Join, further_of, plan
from vqa_assets.labels.settings import LabelPaths, LabelSettings
from vqa_assets.provenance import Manifest, ReadInput, RunContext, write_manifest
from vqa_assets.provenance.reading import read_now, refuse_changes
from vqa_assets.tables.files import drafting, fault_of, read_json_lines, read_json_object
from vqa_assets.tables.foreign_tables import (
    ColumnSelection,
    ForeignTable,
    Format,
    check_present,
    numbers_a_row,
    table_at,
)
from vqa_assets.tables.makers import made_by, mark, seal
from vqa_assets.tables.networks import networks_mark, networks_of
from vqa_assets.tables.parquet import iterate_frames, rows_at_once, stands_as, table_version
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.publication import Publication, publishing, settle
from vqa_assets.tables.specs import CORPUS_JSONL, labelled_table
from vqa_assets.tables.targets import OwnTarget, check_targets, is_written_for, why_other_manifest
from vqa_assets.tables.validation import BATCH_ROWS, validate_frames

STAGE = "mos_features"
AUDIT_SCHEMA = "mos-label-audit-v1"
_NOT_IN_OLDER = {"mos_scale"}
_ROW_GROUP = 65_536
_CHUNK_ROWS = 10_000
"""Rows that stream through the join together: the engine's own choice takes twice the memory and no less time."""
_WEIGHT = 8
"""So many rows of 32 columns, and fewer of wider tables: the join holds several chunks and row groups at once."""
_ROWS_AT_ONCE = 200_000
"""Rows of a long table that are validated together: few columns are read, and a batch costs 10 ms by itself."""


@dataclass(frozen=True)
class LabelledTable:
    """A labelled table that stands, or will when its batch is published.

    Its inputs as read, its audit, its replay manifest as written, its data version.
    """

    paths: LabelPaths
    inputs: Mapping[str, ReadInput]
    audit: LabelAudit
    summaries: tuple[LabelSummary, ...]
    manifest: dict[str, Any]
    data_version: str


def make_labelled_table(
    paths: LabelPaths,
    settings: LabelSettings,
    context: RunContext,
    corpora: Mapping[str, Corpus] = CORPORA,
    batch: Publication | None = None,
) -> LabelledTable:
    """Join, validate, publish, and write the audit; as a part of ``batch`` where there is one, which publishes it.

    A table whose content would stay the same is left alone; after an error the earlier one stands. LabelError or
    SchemaError say what of the input cannot be used.
    """
    settle(*(path.parent for path in (paths.out, paths.audit_json, paths.features, *paths.labels)))
    inputs = read_now({"features": paths.features, **{f"labels_{i}": p for i, p in enumerate(paths.labels)}})
    join, out = _planned(paths, settings, corpora)
    _check_targets(paths, context.root)
    as_parquet = out.format is Format.PARQUET
    opened = publishing if batch is None else batch.part
    with opened(STAGE, paths.out, AUDIT_SCHEMA) as publication:
        draft = publication.draft(out.path)
        _write_validated(join, settings, out, draft)
        refuse_changes(inputs.values())
        version = table_version(draft) if as_parquet else _bytes_version(draft)
        if as_parquet:
            stands = stands_as(out.path, version) and networks_of(out.path) == networks_of(paths.features)
        else:
            stands = out.path.is_file() and _bytes_version(out.path) == version
        # an equal table is left alone, so that what is made from it stays fresh
        if stands:
            publication.keep(out.path)
        manifest = write_manifest(
            publication,
            paths.audit_json,
            Manifest(
                schema=AUDIT_SCHEMA,
                body={
                    **join.audit.as_dict(),
                    **_decisions(join),
                    "further_scores": _further_scores(join),
                    "labels": [one.as_dict() for one in join.summaries],
                    "data_version": version,
                },
                args={**settings.described(), **paths.described()},
                inputs=inputs,
                outputs={"features_with_mos": paths.out},
            ),
            context,
        )
    return LabelledTable(paths, inputs, join.audit, join.summaries, manifest, version)


def label_features(
    features: Path, labels: Sequence[Path], out: Path, settings: LabelSettings, corpora: Mapping[str, Corpus] = CORPORA
) -> LabelAudit:
    """Write ``features`` with opinion scores to ``out`` and nothing beside it; errors as ``make_labelled_table``."""
    paths = LabelPaths(features=features, labels=tuple(labels), out=out, audit_json=out.with_suffix(".audit.json"))
    join, table = _planned(paths, settings, corpora)
    with drafting(out) as draft:
        _write_validated(join, settings, table, draft.path)
        seal(draft.path)
        draft.publish()
    return join.audit


def validate_labelled(path: Path, status_column: str, further: Sequence[str] = ()) -> int:
    """Validate a labelled table of any format batch by batch; the number of rows. SchemaError names values.

    ``further`` are the columns of further scores.
    """
    specs = labelled_table(status_column, further)
    names = [c.name for c in specs.columns]
    check_present(path, "labelled table", "make it, or correct its path")
    table = table_at(path)
    if table.format is Format.PARQUET:
        return validate_frames(iterate_frames(path, names, _ROWS_AT_ONCE), specs, str(path))
    numbers = {c.name for c in specs.columns if c.kind == "number"}
    kinds = {name: float if name in numbers else str for name in names}
    frame = table.columns(ColumnSelection(kinds.get, tuple(names))).frame
    frame = frame.select(name for name in frame.columns if name in kinds)
    return validate_frames((part.to_pandas() for part in frame.iter_slices(BATCH_ROWS)), specs, str(path))


def _planned(paths: LabelPaths, settings: LabelSettings, corpora: Mapping[str, Corpus]) -> tuple[Join, ForeignTable]:
    """The join of the tables at these paths, whose formats are decided here, and the table to write."""
    if not paths.labels:
        raise LabelError("labels", found="no file", expected="at least one label file", next_step="set labels")
    features, out, *labels = (table_at(path) for path in (paths.features, paths.out, *paths.labels))
    roles = {path.resolve(): "an input" for path in (paths.features, *paths.labels)}
    for path in (paths.out, paths.audit_json):
        role = "a folder" if path.is_dir() else roles.get(path.resolve())
        if role:
            raise LabelError(
                f"output {path}",
                found=f"it is {role}",
                expected="a file of its own",
                next_step="set out and audit_json to other files; an input is never replaced",
            )
        roles[path.resolve()] = "another output"
    next_step = Make("clip_features", " for this corpus, or put a table of your own there")
    check_present(paths.features, "features", next_step)
    # nothing is inferred where both sides are our own and nothing is said of columns
    ours = settings.keeps_our_convention and _written_by_clip_features(paths.features)
    conventional = ours and all(_is_corpus_jsonl(table) for table in labels)
    return plan(features, labels, settings, corpora, out=out.format, conventional=conventional), out


def _check_targets(paths: LabelPaths, root: DataRoot) -> None:
    """SettingsError where a place that was stated holds what no join of these features wrote."""
    audit = paths.audit_json

    def of_other_features(_: Path) -> str:
        try:
            features = str(read_json_object(audit)["run_provenance"]["inputs"]["features"]["path"])
        except (OSError, SchemaError, KeyError, TypeError):
            return ""
        return "" if features == root.shown(paths.features) else f"which mos_features made of {features}"

    def is_written(out: Path) -> bool:
        return is_written_for(audit, STAGE, out, root.shown)

    usual = "out" in paths.by_default
    other = why_other_manifest(STAGE, paths.out, root.shown)
    check_targets(
        STAGE,
        [
            OwnTarget("out", paths.out, STAGE, usual, is_own=is_written, why_not=of_other_features),
            OwnTarget("audit_json", audit, STAGE, usual and "audit_json" in paths.by_default, why_not=other),
        ],
        {"the features": paths.features, **{f"label file {n}": p for n, p in enumerate(paths.labels, 1)}},
    )


def _written_by_clip_features(features: Path) -> bool:
    made = made_by(features)
    return made is not None and made.stage == "clip_features" and made.is_ours


def _is_corpus_jsonl(table: ForeignTable) -> bool:
    if not table.path.is_file() or table.format is not Format.JSONL:
        return False
    try:
        first = next(read_json_lines(table.path), None)
    except SchemaError:
        return False
    return (
        first is not None and {c.name for c in CORPUS_JSONL.columns if c.required} - _NOT_IN_OLDER <= first.row.keys()
    )


def _write_validated(join: Join, settings: LabelSettings, out: ForeignTable, draft: Path) -> None:
    """Write the table in the format of ``out`` to a draft, valid batch by batch."""
    specs = labelled_table(settings.status_column, further_of(join.files))
    names = [c.name for c in specs.columns]
    if out.format is Format.PARQUET:
        _write_parquet(join, draft)
        validate_frames(iterate_frames(draft, names, _ROWS_AT_ONCE), specs, str(out.path))
        return
    with drafting(out.path.with_name(f"{out.path.name}.parquet")) as table:
        _write_parquet(join, table.path)
        validate_frames(iterate_frames(table.path, names, _ROWS_AT_ONCE), specs, str(out.path))
        if join.as_objects:
            _write_json(draft, (_json(row) for row in _labelled_objects(join, table.path)), out.format)
        else:
            _write_columns(pl.scan_parquet(table.path, glob=False), draft, out)


def _write_parquet(join: Join, path: Path) -> None:
    """The labelled rows as Parquet, streamed in their order; of a table of objects only the columns that are added."""
    rows = join.rows.select(join.added) if join.as_objects else join.rows
    try:
        numbers = _WEIGHT * numbers_a_row(rows)
        with pl.Config(streaming_chunk_size=rows_at_once(_CHUNK_ROWS, numbers)):
            marked = mark(STAGE) | networks_mark(networks_of(join.features.path))
            rows.sink_parquet(
                path, compression="zstd", row_group_size=rows_at_once(_ROW_GROUP, numbers), metadata=marked
            )
    except pl.exceptions.PolarsError as error:
        if fault_of(error) is not None:
            raise
        raise join.features.unreadable(error) from error


def _write_columns(rows: pl.LazyFrame, path: Path, out: ForeignTable) -> None:
    """Columns in a format of rows; LabelError where it cannot hold them."""
    try:
        if out.format is Format.CSV:
            rows.sink_csv(path, separator="\t" if out.path.suffix.lower() == ".tsv" else ",")
        elif out.format is Format.JSONL:
            rows.sink_ndjson(path)
        else:
            with drafting(path.with_name(f"{path.name}.lines")) as lines:
                rows.sink_ndjson(lines.path)
                with lines.path.open("rb") as written:
                    _write_json(path, (line.rstrip(b"\n") for line in written), out.format)
    except pl.exceptions.PolarsError as error:
        if fault_of(error) is not None:
            raise
        raise LabelError(
            f"{out.path}",
            found=f"columns that {out.format} cannot hold ({str(error).partition(chr(10))[0]})",
            expected="texts, numbers, booleans and times",
            next_step="set out to a .parquet file",
        ) from error


def _labelled_objects(join: Join, parquet: Path) -> Iterator[dict[str, Any]]:
    """The features' objects with the added columns, one by one; replaced columns move to the end."""
    batches = pq.ParquetFile(parquet).iter_batches(_ROW_GROUP)
    labels = (row for batch in batches for row in batch.to_pylist())
    for (_, row), label in zip(join.features.objects(), labels, strict=True):
        yield {name: value for name, value in row.items() if name not in label} | label


def _json(row: dict[str, Any]) -> bytes:
    """An object in its own order; the standard library writes the numbers that orjson does not."""
    # orjson would turn NaN and infinity into null
    is_finite = all(math.isfinite(value) for value in row.values() if isinstance(value, float))
    try:
        return orjson.dumps(row) if is_finite else json.dumps(row, ensure_ascii=False).encode()
    except (TypeError, UnicodeEncodeError):
        return json.dumps(row).encode()


def _write_json(path: Path, objects: Iterator[bytes], kind: Format) -> None:
    with path.open("wb") as out:
        if kind is Format.JSONL:
            out.writelines(one + b"\n" for one in objects)
            return
        out.write(b'{"rows": [')
        for number, one in enumerate(objects):
            out.write((b",\n" if number else b"\n") + one)
        out.write(b"\n]}\n")


def _bytes_version(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:32]


def _further_scores(join: Join) -> dict[str, dict[str, int]]:
    """How many of the labels that were loaded have each further score, and how many of its values were refused."""
    return {
        name: {
            "labels": sum(file.frame[name].count() for file in join.files if name in file.further),
            "refused": sum(file.further.get(name, 0) for file in join.files),
        }
        for name in further_of(join.files)
    }


def _decisions(join: Join) -> dict[str, Any]:
    """What the tables decided: key columns and what of them is compared, score columns, scales."""
    label_keys = list(dict.fromkeys(file.key.column for file in join.files))
    return {
        "key_columns": [join.key.column, *label_keys],
        "feature_key": {"column": join.key.column, "compared": join.key.resolved},
        "label_files": [
            {
                "path": file.path,
                "key_column": file.key.column,
                "compared": file.key.resolved,
                "mos_column": file.mos_column,
                "scales": [one.described() for one in file.scales],
                "votes": file.votes and file.votes.as_dict(),
            }
            for file in join.files
        ],
    }
