"""One labelled table from its features and labels to the published file and its audit: under ``mos_features``."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa_assets.corpora import CORPORA, Corpus
from vqa_assets.errors import LabelError, SchemaError
from vqa_assets.labels.coverage import LabelAudit
from vqa_assets.labels.feature_table import FeatureTable
from vqa_assets.labels.formats import Format, check_apart, check_present, format_of
from vqa_assets.labels.joining import Join, plan
from vqa_assets.labels.reading import Wanted, read_columns
from vqa_assets.labels.settings import LabelPaths, LabelSettings
from vqa_assets.labels.writing import write_as, write_parquet
from vqa_assets.provenance import Manifest, RunContext, file_record, write_manifest
from vqa_assets.tables.files import Draft, drafting, read_json_lines, read_json_object
from vqa_assets.tables.parquet import iterate_frames, table_version
from vqa_assets.tables.paths import manifest_path
from vqa_assets.tables.specs import CORPUS_JSONL, labelled_table
from vqa_assets.tables.validation import BATCH_ROWS, validate_frames
from vqa_assets.unified.label_statistics import LabelSummary

AUDIT_SCHEMA = "mos-label-audit-v1"
_FEATURES_SCHEMA = "clip-features-manifest-v1"
_NOT_IN_OLDER = {"mos_scale"}
_ROWS_AT_ONCE = 4 * BATCH_ROWS
"""Rows of a long table that are validated together: few columns are read, and a batch costs 10 ms by itself."""


@dataclass(frozen=True)
class LabelledTable:
    """A labelled table that stands: its audit, its replay manifest as written, its data version."""

    paths: LabelPaths
    audit: LabelAudit
    summaries: tuple[LabelSummary, ...]
    manifest: dict[str, Any]
    data_version: str


def make_labelled_table(
    paths: LabelPaths, settings: LabelSettings, context: RunContext, corpora: Mapping[str, Corpus] = CORPORA
) -> LabelledTable:
    """Join, validate, publish, and write the audit.

    A table whose content would stay the same is left alone; after an error the earlier one stands. LabelError or
    SchemaError say what of the input cannot be used.
    """
    _check_paths(paths)
    join = plan(
        FeatureTable(paths.features, paths.out), paths.labels, settings, corpora, _conventional(paths, settings)
    )
    version = _publish(join, settings, paths.out)
    manifest = write_manifest(
        paths.audit_json,
        Manifest(
            schema=AUDIT_SCHEMA,
            body={
                **join.audit.as_dict(),
                **_decisions(join),
                "labels": [one.as_dict() for one in join.summaries],
                "data_version": version,
            },
            args={**settings.told(), **paths.told()},
            inputs={"features": paths.features, **{f"labels_{i}": p for i, p in enumerate(paths.labels)}},
            outputs={"features_with_mos": paths.out},
        ),
        context,
    )
    return LabelledTable(paths, join.audit, join.summaries, manifest, version)


def label_features(
    features: Path, labels: Sequence[Path], out: Path, settings: LabelSettings, corpora: Mapping[str, Corpus] = CORPORA
) -> LabelAudit:
    """Write ``features`` with opinion scores to ``out`` and nothing beside it; errors as ``make_labelled_table``."""
    paths = LabelPaths(features, tuple(labels), out, out.with_suffix(".audit.json"))
    _check_paths(paths)
    join = plan(FeatureTable(features, out), labels, settings, corpora, _conventional(paths, settings))
    with _validated(join, settings, out) as draft:
        draft.publish()
    return join.audit


def validate_labelled(path: Path, status_column: str) -> int:
    """Validate a labelled table of any format batch by batch; the number of rows. SchemaError names values."""
    table = labelled_table(status_column)
    names = [c.name for c in table.columns]
    check_present(path, "labelled table", "materialize the asset that writes it")
    if format_of(path) is Format.PARQUET:
        return validate_frames(iterate_frames(path, names, _ROWS_AT_ONCE), table, str(path))
    numbers = {c.name for c in table.columns if c.kind == "number"}
    kinds = {name: float if name in numbers else str for name in names}
    frame = read_columns(path, Wanted(kinds.get, tuple(names))).frame
    return validate_frames((part.to_pandas() for part in frame.iter_slices(BATCH_ROWS)), table, str(path))


def _check_paths(paths: LabelPaths) -> None:
    if not paths.labels:
        raise LabelError("labels", found="no file", expected="at least one label file", next_step="set labels")
    for path in (paths.features, paths.out, *paths.labels):
        format_of(path)
    check_apart((paths.features, *paths.labels), (paths.out, paths.audit_json))
    made_by = "materialize clip_features for this corpus, or put a table of your own there"
    check_present(paths.features, "features", made_by)


@contextmanager
def _validated(join: Join, settings: LabelSettings, out: Path) -> Iterator[Draft]:
    """A draft of the table in the format of ``out``, valid batch by batch; the block may publish it."""
    table = labelled_table(settings.status_column)
    as_parquet = format_of(out) is Format.PARQUET
    with drafting(out if as_parquet else out.with_name(f"{out.name}.parquet")) as draft:
        write_parquet(join, draft.path)
        names = [c.name for c in table.columns]
        validate_frames(iterate_frames(draft.path, names, _ROWS_AT_ONCE), table, str(out))
        if as_parquet:
            yield draft
            return
        with drafting(out) as converted:
            write_as(join, draft.path, converted.path, out)
            yield converted


def _publish(join: Join, settings: LabelSettings, out: Path) -> str:
    """Publish a table whose content is another than that of the one that stands; the data version."""
    version_of = table_version if format_of(out) is Format.PARQUET else _bytes_version
    with _validated(join, settings, out) as draft:
        version = version_of(draft.path)
        with suppress(SchemaError, FileNotFoundError):
            if version_of(out) == version:
                return version
        draft.publish()
        return version


def _bytes_version(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:32]


def _conventional(paths: LabelPaths, settings: LabelSettings) -> tuple[Path, ...]:
    """The label files, where both sides are our own and nothing is said of columns: nothing is inferred then."""
    ours = settings.keeps_our_convention and _written_by_clip_features(paths.features)
    return paths.labels if ours and all(_is_corpus_jsonl(path) for path in paths.labels) else ()


def _written_by_clip_features(features: Path) -> bool:
    manifest = manifest_path(features)
    if not manifest.is_file():
        return False
    try:
        said = read_json_object(manifest)
        recorded = said["run_provenance"]["outputs"]["features"]["sha256"]
    except (SchemaError, KeyError, TypeError):
        return False
    return said.get("schema") == _FEATURES_SCHEMA and recorded == file_record(features).get("sha256")


def _is_corpus_jsonl(path: Path) -> bool:
    if not path.is_file() or format_of(path) is not Format.JSONL:
        return False
    try:
        first = next(read_json_lines(path), None)
    except SchemaError:
        return False
    return first is not None and {c.name for c in CORPUS_JSONL.columns} - _NOT_IN_OLDER <= first.row.keys()


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
                "scales": [{"corpus": one.corpus, "scale": one.scale.name, "from": one.by} for one in file.scales],
            }
            for file in join.files
        ],
    }
