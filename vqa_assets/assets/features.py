"""``clip_features``: what a head learns from, measured from the clips of each corpus."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.metadata import counted, embeddings_png, picture, records, sentences
from vqa_assets.assets.published import Latest, PublishedFile, listed
from vqa_assets.assets.run_config import form, stated
from vqa_assets.assets.runs import dagster_failures, observer, run_context
from vqa_assets.clips.work import ClipPool
from vqa_assets.features.family import FeatureExtractor
from vqa_assets.features.settings import ExtractionSettings
from vqa_assets.resources.clip_pool import pool_metadata
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.resources.extractor import ClipExtractorResource
from vqa_assets.stages.features import CLIP_FEATURES_VERSION, measure
from vqa_assets.tables.paths import manifest_path
from vqa_assets.tables.specs import CLIP_FEATURES

if TYPE_CHECKING:
    from vqa_assets.features.corpus_table import MeasuredTable

_FAILURES_SHOWN = 50
_GROUPS_SHOWN = 20
_COLUMNS_SHOWN = 100


def published_features(catalog: Catalog) -> PublishedFile:
    """Each corpus's feature table."""
    return PublishedFile(
        asset="clip_features",
        place=lambda root, name: root.features(catalog.corpora[name]),
        table=CLIP_FEATURES,
        partitions=catalog.partitions,
    )


def make_clip_features_asset(catalog: Catalog) -> dg.AssetsDefinition:
    """The asset over all corpora of the catalog."""
    published = published_features(catalog)

    @dg.asset(
        deps=[catalog.same("corpus_jsonl")],
        partitions_def=catalog.partitions,
        group_name="features",
        kinds={"parquet"},
        config_schema=form(ExtractionSettings),
        code_version=CLIP_FEATURES_VERSION,
        description=f"{CLIP_FEATURES.row} A table of your own at the same place is left as it is.",
    )
    def clip_features(
        context: dg.AssetExecutionContext,
        data_root: DataRootResource,
        extractor: dg.ResourceParam[FeatureExtractor],
        clip_pool: dg.ResourceParam[ClipPool],
    ) -> dg.MaterializeResult[Any]:
        with dagster_failures():
            root, corpus = data_root.root(), catalog.corpora[context.partition_key]
            extraction = stated(ExtractionSettings, context, root)
            # Backbones lie in the data root, which only the run knows.
            measuring = extractor.at(root) if isinstance(extractor, ClipExtractorResource) else extractor
            run = run_context(context, root, __file__)
            measured = measure(corpus, extraction, measuring, clip_pool, run, observer(context))
        if measured.manifest is None:
            # A table of somebody else's: nothing is known of its columns, and no manifest of ours describes it.
            return dg.MaterializeResult(
                metadata={
                    "dagster/row_count": measured.rows,
                    "path": root.shown(measured.path),
                    "left_as_it_is": measured.foreign,
                },
                data_version=dg.DataVersion(measured.data_version),
            )
        return published.result(
            root,
            path=measured.path,
            rows=measured.rows,
            manifest=measured.manifest,
            manifest_file=manifest_path(measured.path),
            data_version=measured.data_version,
            metadata=_metadata(measured, measured.manifest) | pool_metadata(clip_pool),
        )

    return clip_features


def _metadata(measured: "MeasuredTable", manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What failed, numbers that are plotted from one materialization to the next, and how the columns look."""
    counters, audit = manifest["counters"], manifest["audit"]
    report = measured.report
    failed = [*report.failed, *report.too_large, *report.failed_alone][:_FAILURES_SHOWN] if report else []
    metadata: dict[str, Any] = {
        "failures": sentences("clip", (f"{key}: {reason}" for key, reason in failed)),
        "coverage": round((counters["measured"] + counters["cached"]) / counters["rows_in"], 4),
        "no_reference": counters["no_reference"],
        "malformed_hdr": audit["malformed_hdr"],
        "damaged_clips": audit["damaged"],
        "transfers": counted(audit["transfers"], "transfer"),
        "counters": counted(counters, "counter"),
        "extractor": manifest["extractor"],
        "families": records([{"family": name, **counts} for name, counts in manifest["families"].items()]),
    }
    # What only some materializations have is left out of the others: the web UI plots numbers, and a null is none.
    if manifest["clips_per_s"] is not None:
        metadata["clips_per_s"] = manifest["clips_per_s"]
    if manifest["time"] is not None:
        metadata["time"] = records([{"part": part, "share": share} for part, share in manifest["time"].items()])
    if devices := sorted({counts["device"] for counts in manifest["families"].values() if "device" in counts}):
        metadata["device"] = ", ".join(devices)
    if manifest["measured_again"]:
        metadata["measured_again"] = manifest["measured_again"]
    if manifest["near_duplicates"] is not None:
        metadata["copy_groups"] = manifest["near_duplicates"]["groups"]
        groups = manifest["near_duplicates"]["examples"][:_GROUPS_SHOWN]
        metadata["near_copies"] = records([{"clips": ", ".join(keys)} for keys in groups])
    alike = [
        {"backbone": name, "clips": ", ".join(keys)}
        for name, found in manifest["clips_alike"].items()
        for keys in found["examples"][:_GROUPS_SHOWN]
    ]
    if alike:
        metadata["clips_alike"] = records(alike)
    if measured.planes:
        metadata["embeddings"] = picture(embeddings_png(measured.planes, measured.scores), "embeddings by MOS")
    if measured.view is not None:
        silent = [{"column": name, "why": "no value in any row"} for name in measured.view.missing]
        silent += [{"column": name, "why": "one value in all rows"} for name in measured.view.constant]
        silent += [{"column": name, "why": f"no value in {rows} rows"} for name, rows in measured.view.patchy.items()]
        metadata["feature_ranges"] = records(measured.view.ranges)
        metadata["silent_columns"] = records(silent[:_COLUMNS_SHOWN])
        if measured.sheet:
            metadata["worst_and_best"] = picture(measured.sheet, "worst and best clips", "jpeg")
    return metadata


def _why_foreign(latest: Latest) -> str:
    """Why the table is not one of this asset; empty where it is."""
    from vqa_assets.features.corpus_table import why_foreign

    return why_foreign(latest.path)


def make_clip_features_checks(catalog: Catalog) -> list[dg.AssetChecksDefinition]:
    """Schema (blocking), coverage, and an audit; a table that ``clip_features`` did not write is not judged by them."""
    published = published_features(catalog)

    @published.check(
        "Every row keeps the column specs (a table of your own is judged when a head reads it).", blocking=True
    )
    def clip_features_schema(latest: Latest) -> dg.AssetCheckResult:
        if foreign := _why_foreign(latest):
            return dg.AssetCheckResult(passed=True, description=f"not judged here: {foreign}")
        return latest.schema_result()

    @published.check("Every clip of the corpus JSONL could be measured, by a table that this asset wrote.")
    def clip_features_coverage(latest: Latest) -> dg.AssetCheckResult:
        if foreign := _why_foreign(latest):
            message = f"{latest.path.name} is left as it is: {foreign}; set overwrite to replace it"
            return dg.AssetCheckResult(passed=False, description=message)
        failed = [f"{f['key']} ({f['reason']})" for f in latest.manifest["failures"]]
        return dg.AssetCheckResult(
            passed=not failed,
            description=f"clips that could not be measured: {listed(failed)}",
            metadata=latest.manifest["counters"],
        )

    @published.check("HDR clips declare BT.2020, no clip has damaged frames, no ladder clip lacks its reference.")
    def clip_features_audit(latest: Latest) -> dg.AssetCheckResult:
        if foreign := _why_foreign(latest):
            return dg.AssetCheckResult(passed=True, description=f"not judged here: {foreign}")
        audit = latest.manifest.get("audit", {})
        clips = {
            "PQ or HLG without BT.2020": audit.get("malformed_hdr_clips"),
            "damaged frames": audit.get("damaged_clips"),
            "no reference": latest.manifest.get("no_reference"),
        }
        complaints = "; ".join(f"{what}: {listed(keys)}" for what, keys in clips.items() if keys)
        return dg.AssetCheckResult(
            passed=not complaints,
            description=complaints or "nothing found",
            metadata={"transfers": audit.get("transfers", {})},
        )

    return [clip_features_schema, clip_features_coverage, clip_features_audit]
