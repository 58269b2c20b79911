"""Feature tables joined with opinion scores: ``mos_features`` per corpus, ``mos_label_batch`` of tables anywhere."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.metadata import behind_a_click, counted, histogram_png, picture, records, shortened
from vqa_assets.assets.published import Latest, PublishedFile, listed, manifest_metadata, schema_result, shown_metadata
from vqa_assets.assets.run_config import form, stated
from vqa_assets.assets.runs import dagster_failures, run_context
from vqa_assets.corpora.opinions import SOS_ORDINARY
from vqa_assets.corpora.scales import TRAINING
from vqa_assets.labels.settings import BatchSettings, JoinSettings
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.stages.labels import MOS_FEATURES_VERSION, label
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.specs import MOS_FEATURES

if TYPE_CHECKING:
    from vqa_assets.labels.batch import Batch, TableOutcome
    from vqa_assets.labels.labelled import LabelledTable

BATCH_CODE_VERSION = "1"
BATCH_REPORT = PublishedFile(
    asset="mos_label_batch",
    place=lambda root, _: root.path / "no report",
    manifest_place=lambda root, _: root.path / "no report",
)
"""The report of the latest batch, which is its replay manifest: it has no place of its own below the data root."""
_LEAKS_SHOWN = 20


def published_labelled(catalog: Catalog) -> PublishedFile:
    """Each corpus's labelled table."""
    return PublishedFile(
        asset="mos_features",
        place=lambda root, name: root.labelled(catalog.corpora[name]),
        table=MOS_FEATURES,
        manifest_place=lambda root, name: root.labelled_audit(catalog.corpora[name]),
        partitions=catalog.partitions,
    )


def make_mos_features_asset(catalog: Catalog) -> dg.AssetsDefinition:
    """The asset over all corpora of the catalog."""
    published = published_labelled(catalog)

    @dg.asset(
        deps=[catalog.same("clip_features"), catalog.same("corpus_jsonl")],
        partitions_def=catalog.partitions,
        group_name="labels",
        kinds={"parquet"},
        config_schema=form(JoinSettings, decided_later=True),
        code_version=MOS_FEATURES_VERSION,
        description=f"{MOS_FEATURES.row} Row count, row order and all other columns stay as they are.",
    )
    def mos_features(
        context: dg.AssetExecutionContext,
        data_root: DataRootResource,
    ) -> dg.MaterializeResult[Any]:
        with dagster_failures():
            root, corpus = data_root.root(), catalog.corpora[context.partition_key]
            settings = stated(JoinSettings, context, root)
            labelled = label(corpus, settings, catalog.corpora, run_context(context, root, __file__))
        return published.result(
            root,
            path=labelled.paths.out,
            rows=labelled.audit.output_rows,
            manifest=labelled.manifest,
            manifest_file=labelled.paths.audit_json,
            data_version=labelled.data_version,
            metadata=_metadata(labelled),
        )

    return mos_features


def _metadata(labelled: "LabelledTable") -> dict[str, Any]:
    audit = labelled.audit
    counts = [sum(bins) for bins in zip(*(one.histogram_native for one in labelled.summaries), strict=True)]
    histogram = histogram_png(counts or [0], TRAINING, f"{audit.matched_feature_keys} labelled keys")
    return {
        "match_rate": audit.match_rate,
        "matched_rows": audit.matched_rows,
        "missing_rows": audit.missing_rows,
        "without_label": list(audit.unmatched_features),
        "unused_labels": list(audit.unmatched_labels),
        "split_leaks": len(audit.split_leaks),
        "label_sources": counted(audit.label_sources, "file"),
        "labels": records([one.as_row() for one in labelled.summaries]),
        "mos_histogram": picture(histogram, "MOS histogram"),
    }


def make_mos_features_checks(catalog: Catalog) -> list[dg.AssetChecksDefinition]:
    """Schema and match rate (blocking), contents in two splits, labels that no opinions give."""
    published = published_labelled(catalog)

    @published.check("The added columns keep their specs.", blocking=True)
    def mos_features_schema(latest: Latest) -> dg.AssetCheckResult:
        from vqa_assets.labels.labelled import validate_labelled

        # The status column has the name that the run config gave it; a table of any format may stand here.
        status = latest.manifest["run_provenance"]["args"]["status_column"]["value"]
        further = tuple(latest.manifest.get("further_scores", ()))
        return schema_result(lambda: validate_labelled(latest.path, status, further))

    @published.check("Enough feature keys have a label.", blocking=True)
    def mos_features_match_rate(latest: Latest) -> dg.AssetCheckResult:
        rate = latest.manifest["match_rate"]
        least = latest.manifest["run_provenance"]["args"]["min_match_rate"]["value"]
        message = f"{rate:.1%} of the keys have a label, at least {least:.1%} must"
        return dg.AssetCheckResult(passed=rate >= least, description=message)

    @published.check("No content is in two splits.", severity=dg.AssetCheckSeverity.ERROR)
    def mos_features_split_leakage(latest: Latest) -> dg.AssetCheckResult:
        return _split_leakage(latest.manifest["split_leaks"])

    @published.check("No label has an SD of 0 beside others that have one, and the SOS parameter is one of opinions.")
    def mos_features_labels(latest: Latest) -> dg.AssetCheckResult:
        low, high = SOS_ORDINARY
        odd, parameters = [], {}
        for one in latest.manifest["labels"]:
            unknown = round(one["share_unknown_sd"] * one["clips"])
            if 0 < unknown < one["clips"]:
                odd.append(f"{one['corpus']}: {unknown} of {one['clips']} labels have an SD of 0")
            if not one["sos_is_ordinary"]:
                odd.append(f"{one['corpus']}: SOS parameter {one['sos_parameter']:.4g}, outside {low:g}–{high:g}")
            if one["sos_parameter"] is not None:
                parameters[f"SOS parameter of {one['corpus']}"] = shortened(one["sos_parameter"])
        return dg.AssetCheckResult(passed=not odd, description=f"suspicious labels: {listed(odd)}", metadata=parameters)

    return [mos_features_schema, mos_features_match_rate, mos_features_split_leakage, mos_features_labels]


def _split_leakage(leaks: Mapping[str, Sequence[str]]) -> dg.AssetCheckResult:
    """Passes without ``leaks`` (content → the splits it stands in), else names them."""
    examples = [f"{content} ({', '.join(splits)})" for content, splits in list(leaks.items())[:_LEAKS_SHOWN]]
    more = f" and {len(leaks) - _LEAKS_SHOWN} more" if len(leaks) > _LEAKS_SHOWN else ""
    advice = "; a head would be judged on contents it was trained on: correct the split by content" if leaks else ""
    return dg.AssetCheckResult(
        passed=not leaks,
        description=f"contents in two splits: {listed(examples)}{more}{advice}",
        metadata={"contents": len(leaks)},
    )


def make_mos_label_batch_asset(catalog: Catalog) -> dg.AssetsDefinition:
    """The asset, without partitions: a manifest may name tables of any corpus."""

    @dg.asset(
        deps=[catalog.every("corpus_jsonl")],
        group_name="labels",
        kinds={"parquet"},
        config_schema=form(BatchSettings),
        code_version=BATCH_CODE_VERSION,
        description="One labelled table per entry of a manifest, and a report of all. A table that fails does not stop "
        "the others; the run fails at the end.",
    )
    def mos_label_batch(context: dg.AssetExecutionContext, data_root: DataRootResource) -> dg.MaterializeResult[Any]:
        from vqa_assets.labels.batch import check_batch, find_manifest, is_shipped, label_batch

        with dagster_failures():
            root = data_root.root()
            settings = stated(BatchSettings, context, root, trusted=lambda path: is_shipped(find_manifest(path)))
            batch = label_batch(settings, run_context(context, root, __file__), catalog.corpora)
        metadata = _batch_metadata(batch, root)
        if batch.failed:
            # A run that fails materializes nothing; as an observation the report is on the asset's page all the same.
            context.log_event(dg.AssetObservation(context.asset_key, metadata=metadata))
        with dagster_failures():
            check_batch(batch)
        return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(batch.data_version))

    return mos_label_batch


def _batch_metadata(batch: "Batch", root: DataRoot) -> dict[str, Any]:
    reports = batch.reports
    return {
        "dagster/row_count": batch.report["summary"]["rows"],
        **shown_metadata({"tables": records([_table_row(outcome, root) for outcome in batch.outcomes])}),
        "report": behind_a_click(batch.markdown),
        "report_path": root.shown(reports.markdown),
        **manifest_metadata(reports.json, batch.report, root),
    }


def _table_row(outcome: "TableOutcome", root: DataRoot) -> dict[str, Any]:
    audit = outcome.made.audit if outcome.made else None
    return {
        "table": outcome.table.id,
        "status": outcome.status,
        "rows": audit and audit.input_rows,
        "labelled": audit and audit.matched_rows,
        "match_rate": audit and audit.match_rate,
        "out": root.shown(outcome.table.paths.out),
        "error": str(outcome.error) if outcome.error else None,
    }


def make_mos_label_batch_checks() -> list[dg.AssetChecksDefinition]:
    """Schema and match rate (blocking), contents in two splits; over all tables of the latest batch."""

    @BATCH_REPORT.check("The added columns of every table keep their specs.", blocking=True)
    def mos_label_batch_schema(latest: Latest) -> dg.AssetCheckResult:
        from vqa_assets.labels.labelled import validate_labelled

        tables = [(latest.root.located(t["out"]), t["settings"]["status_column"]) for t in latest.manifest["tables"]]
        return schema_result(lambda: sum(validate_labelled(path, status) for path, status in tables))

    @BATCH_REPORT.check("In every table enough feature keys have a label.", blocking=True)
    def mos_label_batch_match_rate(latest: Latest) -> dg.AssetCheckResult:
        tables = latest.manifest["tables"]
        return dg.AssetCheckResult(
            passed=all(t["match_rate"] >= t["settings"]["min_match_rate"] for t in tables),
            description="keys with a label: " + ", ".join(f"{t['id']} {t['match_rate']:.1%}" for t in tables),
            metadata={t["id"]: t["match_rate"] for t in tables},
        )

    @BATCH_REPORT.check("No content of a table is in two splits.", severity=dg.AssetCheckSeverity.ERROR)
    def mos_label_batch_split_leakage(latest: Latest) -> dg.AssetCheckResult:
        tables = latest.manifest["tables"]
        return _split_leakage({f"{t['id']}: {content}": s for t in tables for content, s in t["split_leaks"].items()})

    return [mos_label_batch_schema, mos_label_batch_match_rate, mos_label_batch_split_leakage]
