"""Sensors that start a run when a person dropped a file: annotation files, feature tables, reports of the encode grid.

How a changed file is told from one that is still being written is in ``sensors.settled``.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import dagster as dg

from vqa_assets.assets.catalog import Catalog
from vqa_assets.corpora import ENCODE_GRID_SOURCES, Corpus
from vqa_assets.corpora.external import BVI_DVC
from vqa_assets.errors import VqaError
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.sensors.settled import Cursor
from vqa_assets.tables.paths import DataRoot

Look = Callable[[str, DataRoot, Cursor], dg.RunRequest | None]
"""Looks at what one partition waits for; a run where it changed, and the cursor is brought up to date."""


def make_drop_sensors(catalog: Catalog, interval_s: int) -> list[dg.SensorDefinition]:
    """One sensor per kind of drop, all off until somebody switches them on."""
    return [
        make_annotation_sensor(catalog, interval_s),
        make_feature_table_sensor(catalog, interval_s),
        make_report_sensor(interval_s),
    ]


def make_annotation_sensor(catalog: Catalog, interval_s: int) -> dg.SensorDefinition:
    """The sensor over the annotation files of all corpora of the catalog."""

    def look(name: str, root: DataRoot, cursor: Cursor) -> dg.RunRequest | None:
        return _annotation_request(catalog.corpora[name], root, cursor)

    @dg.sensor(
        name="changed_annotation_files",
        target=dg.AssetSelection.assets("corpus_annotations", "corpus_jsonl"),
        minimum_interval_seconds=interval_s,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Starts corpus_jsonl for a corpus whose annotation file is new or has other bytes.",
    )
    def changed_annotation_files(context: dg.SensorEvaluationContext, data_root: DataRootResource) -> dg.SensorResult:
        return _tick(context, data_root.root(), catalog.corpora, look)

    return changed_annotation_files


def make_feature_table_sensor(catalog: Catalog, interval_s: int) -> dg.SensorDefinition:
    """The sensor over feature tables that ``clip_features`` did not write."""

    def look(name: str, root: DataRoot, cursor: Cursor) -> dg.RunRequest | None:
        return _feature_request(catalog.corpora[name], root, cursor)

    @dg.sensor(
        name="changed_feature_tables",
        target=dg.AssetSelection.assets("mos_features"),
        minimum_interval_seconds=interval_s,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Starts mos_features for a corpus whose features.parquet is your own and new or changed, once the "
        "corpus has its JSONL.",
    )
    def changed_feature_tables(context: dg.SensorEvaluationContext, data_root: DataRootResource) -> dg.SensorResult:
        return _tick(context, data_root.root(), catalog.corpora, look)

    return changed_feature_tables


def make_report_sensor(interval_s: int) -> dg.SensorDefinition:
    """The sensor over the inputs of the encode grid."""

    @dg.sensor(
        name="changed_encode_reports",
        target=dg.AssetSelection.assets("libvmaf_reports", "encode_grid_jsonl"),
        minimum_interval_seconds=interval_s,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Starts libvmaf_reports and encode_grid_jsonl for a source whose libvmaf reports or vmaf-tune rows "
        "are new, changed or gone.",
    )
    def changed_encode_reports(context: dg.SensorEvaluationContext, data_root: DataRootResource) -> dg.SensorResult:
        return _tick(context, data_root.root(), ENCODE_GRID_SOURCES, _report_request)

    return changed_encode_reports


def _tick(
    context: dg.SensorEvaluationContext, root: DataRoot, partitions: Iterable[str], look: Look
) -> dg.SensorResult:
    """Look at every partition; what is wrong with one is logged, and the others are looked at all the same."""
    cursor = Cursor.read(context.cursor)
    requests = []
    for name in partitions:
        before = cursor.seen.get(name)
        try:
            request = look(name, root, cursor)
        except (VqaError, OSError) as error:
            cursor.put_back(name, before)
            context.log.warning("%s: %s", name, error)
            continue
        requests += [request] if request else []
    waiting = ", ".join(cursor.waiting)
    quiet = f"still being written, or just seen: {waiting}" if waiting else "nothing changed"
    return dg.SensorResult(run_requests=requests, skip_reason=None if requests else quiet, cursor=cursor.written())


def _annotation_request(corpus: Corpus, root: DataRoot, cursor: Cursor) -> dg.RunRequest | None:
    from vqa_assets.ingest.layout import waiting_annotation_files

    return _request(corpus.name, cursor, waiting_annotation_files(corpus, root))


def _feature_request(corpus: Corpus, root: DataRoot, cursor: Cursor) -> dg.RunRequest | None:
    from vqa_assets.features.corpus_table import why_foreign

    table = root.features(corpus)
    if not table.is_file() or not root.corpus_jsonl(corpus).is_file():
        return None
    request = _request(corpus.name, cursor, (table,))
    return request if request and why_foreign(table) else None


def _report_request(source: str, root: DataRoot, cursor: Cursor) -> dg.RunRequest | None:
    from vqa_assets.encode_grid.grid_files import reports_folder, reports_in, vmaf_tune_rows

    inputs = reports_in(reports_folder(root)) if source == BVI_DVC.name else (vmaf_tune_rows(root),)
    return _request(source, cursor, tuple(path for path in inputs if path.is_file()))


def _request(name: str, cursor: Cursor, files: tuple[Path, ...]) -> dg.RunRequest | None:
    change = cursor.change_of(name, files)
    return dg.RunRequest(run_key=f"{name}:{change}", partition_key=name) if change else None
