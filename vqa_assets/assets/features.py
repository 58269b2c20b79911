"""``clip_features``: what a head learns from, measured from the clips of each corpus."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.checks import parquet_schema_result, shown_examples, warning
from vqa_assets.assets.runs import run_context
from vqa_assets.assets.telling import (
    counted,
    manifest_metadata,
    picture,
    records,
    table_metadata,
    told_failures,
)
from vqa_assets.assets.told_config import ToldConfig
from vqa_assets.clips.work import ClipPool
from vqa_assets.features.protocols import FeatureExtractor
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.settings import resolve
from vqa_assets.tables.files import read_json_object
from vqa_assets.tables.paths import DataRoot, manifest_path
from vqa_assets.tables.specs import CLIP_FEATURES

if TYPE_CHECKING:
    from vqa_assets.features.corpus_table import MeasuredTable
    from vqa_assets.features.watching import MeasuringCounts, Observer

CODE_VERSION = "2"


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
        from vqa_assets.clips.folders import ClipFolders
        from vqa_assets.features.corpus_table import FeatureSettings, make_clip_features
        from vqa_assets.ingest.layout import corpus_folder

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

    @dg.asset_check(
        asset="clip_features",
        partitions_def=catalog.partitions,
        description="HDR clips declare BT.2020, no clip has damaged frames, no ladder clip lacks its reference.",
    )
    def clip_features_audit(context: dg.AssetCheckExecutionContext, data_root: DataRootResource) -> dg.AssetCheckResult:
        from vqa_assets.features.corpus_table import why_foreign

        path = _table(context, data_root, catalog)
        foreign = why_foreign(path)
        if foreign:
            return dg.AssetCheckResult(passed=True, description=f"not judged here: {foreign}")
        manifest = read_json_object(manifest_path(path))
        audit = manifest.get("audit", {})
        found = {
            "PQ or HLG without BT.2020": audit.get("malformed_hdr_clips"),
            "damaged frames": audit.get("damaged_clips"),
            "no reference": manifest.get("no_reference"),
        }
        told = "; ".join(f"{what}: {shown_examples(keys)}" for what, keys in found.items() if keys)
        return warning(not told, told or "nothing found", {"transfers": audit.get("transfers", {})})

    return [clip_features_schema, clip_features_coverage, clip_features_audit]


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
        **_numbers(done.manifest),
        **_view(done),
        "counters": counted(done.manifest["counters"], "counter"),
        "failures": records(failures),
        "extractor": done.manifest["extractor"],
    }


def _numbers(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What is plotted from one materialization to the next, and what only some have."""
    counters, audit = manifest["counters"], manifest["audit"]
    told: dict[str, Any] = {
        "coverage": round((counters["rows_in"] - counters["failed"]) / counters["rows_in"], 4),
        "no_reference": counters["no_reference"],
        "malformed_hdr": audit["malformed_hdr"],
        "damaged_clips": audit["damaged"],
        "transfers": counted(audit["transfers"], "transfer"),
    }
    if manifest["clips_per_s"] is not None:
        told["clips_per_s"] = manifest["clips_per_s"]
    if manifest["measured_again"]:
        told["measured_again"] = manifest["measured_again"]
    if manifest["near_duplicates"] is not None:
        told["near_duplicate_groups"] = manifest["near_duplicates"]["groups"]
        groups = [{"clips": ", ".join(keys)} for keys in manifest["near_duplicates"]["examples"][:20]]
        told["near_duplicates"] = records(groups)
    return told


def _view(done: "MeasuredTable") -> dict[str, Any]:
    if done.view is None:
        return {}
    silent = [{"column": name, "why": "no value in any row"} for name in done.view.missing]
    silent += [{"column": name, "why": "one value in all rows"} for name in done.view.constant]
    silent += [{"column": name, "why": f"no value in {rows} rows"} for name, rows in done.view.patchy.items()]
    told = {"feature_ranges": records(done.view.ranges), "columns_to_look_at": records(silent[:100])}
    return told | ({"worst_and_best": picture(done.sheet, "worst and best clips", "jpeg")} if done.sheet else {})
