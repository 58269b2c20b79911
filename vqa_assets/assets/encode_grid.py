"""``libvmaf_reports``, ``encode_grid_jsonl`` and ``fr_training_corpus``: encodes scored by VMAF, one training table.

They have their own partitions, the sources of the grid; no opinion score comes near them.
"""

from typing import TYPE_CHECKING, Any

import dagster as dg

from vqa_assets.assets.metadata import counted, records, sentences
from vqa_assets.assets.published import Latest, PublishedFile, shown_metadata
from vqa_assets.assets.run_config import form, stated
from vqa_assets.assets.runs import dagster_failures, run_context
from vqa_assets.corpora import ENCODE_GRID_SOURCES, EncodeGridSource
from vqa_assets.corpora.external import BVI_DVC
from vqa_assets.encode_grid import grid_files
from vqa_assets.encode_grid.settings import EncodeGridSettings, MergeSettings, ReportsSettings
from vqa_assets.printing import plain
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.specs import ENCODE_GRID_JSONL, FR_TRAINING_CORPUS

if TYPE_CHECKING:
    from vqa_assets.encode_grid.grid import GridJob

CODE_VERSION = "2"
GROUP = "encode_grid"
SOURCES = dg.StaticPartitionsDefinition(list(ENCODE_GRID_SOURCES))
GRID = PublishedFile(
    asset="encode_grid_jsonl",
    place=lambda root, name: grid_files.grid_jsonl(root, ENCODE_GRID_SOURCES[name]),
    table=ENCODE_GRID_JSONL,
    partitions=SOURCES,
)
TRAINING_CORPUS = PublishedFile(
    "fr_training_corpus", lambda root, _: grid_files.training_corpus(root), FR_TRAINING_CORPUS
)
LOST = (
    *("broken", "empty", "without_geometry", "without_features", "unscored", "failed_encodes", "repeated_clips"),
    "other_models",
)
"""The counters of what did not become a row, or not one like the others."""
_EXAMPLES = 50


def _job(settings: EncodeGridSettings, source: EncodeGridSource, root: DataRoot) -> "GridJob":
    """What to make for a source."""
    from vqa_assets.encode_grid.grid import GridOutput
    from vqa_assets.encode_grid.grid_sources import bvi_dvc_job, netflix_job

    to = GridOutput(settings.output or grid_files.grid_jsonl(root, source), settings.manifest_out)
    if source is not BVI_DVC:
        return netflix_job(settings.input or grid_files.vmaf_tune_rows(root), root, to)
    return bvi_dvc_job(settings.cache_dir or grid_files.reports_folder(root), settings.labels, root, to)


def make_encode_grid_assets() -> list[dg.AssetsDefinition]:
    """The three assets, from the inputs to the training table."""

    @dg.asset(
        group_name=GROUP,
        kinds={"json"},
        config_schema=form(ReportsSettings),
        code_version=CODE_VERSION,
        description="One row per input of the encode grid: every cached libvmaf report and vmaf-tune's rows, listed "
        "and hashed. Writes nothing; its data version is a hash of their names and bytes.",
    )
    def libvmaf_reports(context: dg.AssetExecutionContext, data_root: DataRootResource) -> dg.MaterializeResult[Any]:
        from vqa_assets.encode_grid.grid_files import list_inputs
        from vqa_assets.encode_grid.grid_rows import shown_name

        with dagster_failures():
            root = data_root.root()
            settings = stated(ReportsSettings, context, root)
            inputs = list_inputs(
                settings.cache_dir or grid_files.reports_folder(root),
                settings.input or grid_files.vmaf_tune_rows(root),
            )
        examples = [
            {"file": shown_name(f.path), "size_mb": f.size_bytes / 1e6, "sha256": f.sha256}
            for f in inputs.files[:_EXAMPLES]
        ]
        return dg.MaterializeResult(
            metadata=shown_metadata(
                {
                    "dagster/row_count": len(inputs.files),
                    "unreadable": [shown_name(path) for path in inputs.unreadable],
                    "inputs": counted(inputs.counts, "source"),
                    "size_mb": round(sum(f.size_bytes for f in inputs.files) / 1e6, 1),
                    "examples": records(examples),
                    "cache_dir": root.shown(inputs.reports_folder),
                }
            ),
            data_version=dg.DataVersion(inputs.data_version),
        )

    @dg.asset(
        deps=[dg.AssetDep("libvmaf_reports", partition_mapping=dg.AllPartitionMapping())],
        partitions_def=SOURCES,
        group_name=GROUP,
        kinds={"jsonl"},
        config_schema=form(EncodeGridSettings),
        code_version=CODE_VERSION,
        description=f"{ENCODE_GRID_JSONL.row} A broken or empty report costs that report only, and is named.",
    )
    def encode_grid_jsonl(context: dg.AssetExecutionContext, data_root: DataRootResource) -> dg.MaterializeResult[Any]:
        from vqa_assets.encode_grid.grid import make_grid

        with dagster_failures():
            root, source = data_root.root(), ENCODE_GRID_SOURCES[context.partition_key]
            job = _job(stated(EncodeGridSettings, context, root), source, root)
            grid = make_grid(job, run_context(context, root, __file__))
        return GRID.result(
            root,
            path=grid.jsonl,
            rows=grid.report.rows_out,
            manifest=grid.manifest,
            manifest_file=job.to.manifest,
            data_version=grid.data_version,
            metadata={
                "rows_in": grid.report.rows_in,
                "losses": sentences("report", (f"{x.name}: {x.reason}" for x in grid.report.losses[:_EXAMPLES])),
                "counters": counted(grid.report.counters(), "counter"),
                "licence": source.licence,
                "citation": source.citation,
                "homepage": dg.MetadataValue.url(source.homepage),
            },
        )

    @dg.asset(
        deps=[dg.AssetDep("encode_grid_jsonl", partition_mapping=dg.AllPartitionMapping())],
        group_name=GROUP,
        kinds={"jsonl"},
        config_schema=form(MergeSettings),
        code_version=CODE_VERSION,
        description=f"{FR_TRAINING_CORPUS.row} Reads every grid JSONL that is there; absent ones are listed.",
    )
    def fr_training_corpus(context: dg.AssetExecutionContext, data_root: DataRootResource) -> dg.MaterializeResult[Any]:
        from vqa_assets.encode_grid.grid import Merge, choose_inputs, make_training_corpus

        with dagster_failures():
            root = data_root.root()
            settings = stated(MergeSettings, context, root)
            present, absent = choose_inputs(list(settings.inputs), grid_files.every_grid_jsonl(root))
            for path in absent:  # no error: a place may have one source of encodes only
                context.log.warning(plain(f"fr_training_corpus: nothing at {path}; its encodes are not among the rows"))
            output = settings.output or grid_files.training_corpus(root)
            merge = Merge(present, output, absent, settings.manifest_out)
            corpus = make_training_corpus(merge, run_context(context, root, __file__))
        return TRAINING_CORPUS.result(
            root,
            path=corpus.jsonl,
            rows=corpus.report.rows_out,
            manifest=corpus.manifest,
            manifest_file=merge.manifest,
            data_version=corpus.data_version,
            metadata={
                "rows_in": corpus.report.rows_in,
                "conflicts": records(corpus.report.conflict_examples),
                "duplicates": corpus.report.duplicates,
                "unique_sources": corpus.report.unique_sources,
                "counters": counted(corpus.report.counters(), "counter"),
                "rows_per_input": counted(corpus.report.rows_per_input, "input"),
                "absent": [root.shown(path) for path in absent],
            },
        )

    return [libvmaf_reports, encode_grid_jsonl, fr_training_corpus]


def make_encode_grid_checks() -> list[dg.AssetChecksDefinition]:
    """Schemas (blocking); reports left out, and encodes with two results (warnings)."""

    @GRID.check(
        "No report was broken or empty, no row lacks geometry, features or a score, no clip has several reports, and "
        "one model scored all."
    )
    def encode_grid_jsonl_dropped(latest: Latest) -> dg.AssetCheckResult:
        # A manifest of an earlier version lacks the counters that came later.
        lost = {name: latest.manifest["counters"].get(name, 0) for name in LOST}
        message = ", ".join(f"{name} {count}" for name, count in lost.items() if count) or "nothing was lost"
        examples = "; ".join(f"{loss['name']}: {loss['reason']}" for loss in latest.manifest["losses"][:3])
        return dg.AssetCheckResult(
            passed=not any(lost.values()),
            description=f"{message} ({examples})" if examples else message,
            metadata=lost,
        )

    @TRAINING_CORPUS.check("No encode has two results, and one VMAF model scored all.")
    def fr_training_corpus_conflicts(latest: Latest) -> dg.AssetCheckResult:
        count = latest.manifest["counters"]["conflicts"]
        conflicts = latest.manifest["conflict_examples"][:3]
        examples = "; ".join(f"{c['kept']} is kept, {c['left_out']} is not" for c in conflicts)
        message = f"{count} encodes have another result as well; {examples}" if count else "no encode has two results"
        models = latest.manifest.get("vmaf_models", {})  # a manifest of an earlier version does not say
        if len(models) > 1:
            message += "; scores by " + ", ".join(f"{name or '(none)'} ({rows})" for name, rows in models.items())
        return dg.AssetCheckResult(passed=not count and len(models) <= 1, description=message)

    return [
        GRID.schema_check("Every row has vmaf-tune's keys of version 3 and keeps the column specs."),
        encode_grid_jsonl_dropped,
        TRAINING_CORPUS.schema_check(
            "Every row keeps the column specs; no encode (source, encoder, preset, CRF) repeats."
        ),
        fr_training_corpus_conflicts,
    ]
