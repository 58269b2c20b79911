"""``clip_features``: what a head learns from, measured from the clips of each corpus."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.checks import parquet_schema_result, shown_examples, warning
from vqa_assets.assets.runs import run_context
from vqa_assets.assets.telling import counted, manifest_metadata, records, table_metadata, told_failures
from vqa_assets.assets.told_config import ToldConfig
from vqa_assets.clip_work import ClipPool
from vqa_assets.features.protocols import FeatureExtractor
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.schemas import CLIP_FEATURES
from vqa_assets.settings import resolve
from vqa_assets.store.files import read_json_object
from vqa_assets.store.paths import DataRoot, manifest_path

if TYPE_CHECKING:
    from vqa_assets.features.corpus_table import MeasuredTable
    from vqa_assets.features.watching import MeasuringCounts, Observer

CODE_VERSION = "1"


class FeatureConfig(ToldConfig):
    """Settings of one extraction."""

    overwrite: bool = Field(
        default=False, description="Replace a feature table that this asset did not write. Default: false."
    )
    workers: int | None = Field(default=None, ge=1, description="Clips measured at once. Default: the cores.")


def make_clip_features_asset(catalog: Catalog) -> dg.AssetsDefinition:
    """The asset over all corpora of the catalog."""

    @dg.asset(
        deps=[catalog.same("corpus_jsonl")],
        partitions_def=catalog.partitions,
        group_name="features",
        kinds={"parquet"},
        code_version=CODE_VERSION,
        description=f"{CLIP_FEATURES.row} A table of your own at the same place is left as it is.",
    )
    def clip_features(
        context: dg.AssetExecutionContext,
        config: FeatureConfig,
        data_root: DataRootResource,
        extractor: dg.ResourceParam[FeatureExtractor],
        clip_pool: dg.ResourceParam[ClipPool],
    ) -> dg.MaterializeResult[Any]:
        from vqa_assets.features.corpus_table import FeatureSettings, make_clip_features
        from vqa_assets.ingest.layout import ClipFolders, corpus_folder

        with told_failures():
            root, corpus = data_root.root(), catalog.corpora[context.partition_key]
            ingest = resolve(corpus, {}, root.ingest_toml(corpus)).values
            settings = FeatureSettings(
                clips=ClipFolders.of(corpus, ingest, corpus_folder(corpus, ingest, root)),
                workers=config.workers or os.cpu_count() or 1,
                overwrite=config.overwrite,
                raw=ingest.raw_video,
                observe=_observer(context),
            )
            done = make_clip_features(corpus, settings, extractor, clip_pool, run_context(context, root, __file__))
        return dg.MaterializeResult(metadata=_metadata(done, root), data_version=dg.DataVersion(done.data_version))

    return clip_features


def _observer(context: dg.AssetExecutionContext) -> "Observer":
    """Counts as observations of the partition, once a minute and at the end, while the run lasts."""

    def observe(counts: "MeasuringCounts") -> None:
        told = {f"clips_{name}": getattr(counts, name) for name in ("done", "total", "failed", "cached")}
        context.log_event(
            dg.AssetObservation(
                context.asset_key, partition=context.partition_key, metadata={**told, "seconds": counts.seconds}
            )
        )

    return observe


def make_clip_features_checks(catalog: Catalog) -> list[dg.AssetChecksDefinition]:
    """Schema (blocking), coverage, and whose table it is."""

    @dg.asset_check(
        asset="clip_features",
        partitions_def=catalog.partitions,
        blocking=True,
        description="Every row keeps the column specs (a table of your own is judged when a head reads it).",
    )
    def clip_features_schema(
        context: dg.AssetCheckExecutionContext, data_root: DataRootResource
    ) -> dg.AssetCheckResult:
        from vqa_assets.features.corpus_table import why_foreign

        path = _table(context, data_root, catalog)
        foreign = why_foreign(path)
        if foreign:
            return dg.AssetCheckResult(passed=True, description=f"not judged here: {foreign}")
        return parquet_schema_result(path, CLIP_FEATURES)

    @dg.asset_check(
        asset="clip_features",
        partitions_def=catalog.partitions,
        description="Every clip of the corpus JSONL could be measured, by a table that this asset wrote.",
    )
    def clip_features_coverage(
        context: dg.AssetCheckExecutionContext, data_root: DataRootResource
    ) -> dg.AssetCheckResult:
        from vqa_assets.features.corpus_table import why_foreign

        path = _table(context, data_root, catalog)
        foreign = why_foreign(path)
        if foreign:
            return warning(False, f"{path.name} is left as it is: {foreign}; set overwrite to replace it")
        manifest = read_json_object(manifest_path(path))
        failed = [f"{f['key']} ({f['reason']})" for f in manifest["failures"]]
        return warning(not failed, f"clips that could not be measured: {shown_examples(failed)}", manifest["counters"])

    return [clip_features_schema, clip_features_coverage]


def _table(context: dg.AssetCheckExecutionContext, data_root: DataRootResource, catalog: Catalog) -> Path:
    return data_root.root().features(catalog.corpora[context.partition_key])


def _metadata(done: "MeasuredTable", root: DataRoot) -> dict[str, Any]:
    told: dict[str, Any] = {"dagster/row_count": done.rows, "path": root.shown(done.path)}
    if done.report is None or done.manifest is None:
        return told | {"left_as_it_is": done.foreign}
    failures = [{"clip": key, "reason": reason} for key, reason in done.report.failed[:50]]
    return {
        **told,
        **table_metadata(CLIP_FEATURES, done.rows),
        **manifest_metadata(done.manifest, manifest_path(done.path), root),
        "counters": counted(done.manifest["counters"], "counter"),
        "failures": records(failures),
        "extractor": done.manifest["extractor"],
    }
