"""``mos_label_batch``: feature tables wherever they lie, joined with opinion scores by one manifest."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.checks import error, schema_result
from vqa_assets.assets.labels import split_leakage_result
from vqa_assets.assets.runs import artefact_path, run_context
from vqa_assets.assets.telling import manifest_metadata, records, told_failures
from vqa_assets.assets.told_config import ToldConfig
from vqa_assets.errors import SettingsError
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.tables.files import read_json_object
from vqa_assets.tables.paths import DataRoot

if TYPE_CHECKING:
    from vqa_assets.labels.batch import Batch, BatchSettings, TableOutcome

CODE_VERSION = "1"


class BatchConfig(ToldConfig):
    """Settings of one batch."""

    manifest: str | None = Field(
        default=None,
        description="JSON manifest of the tables, or the name of a shipped one. Default: none, it must be set.",
    )
    base_dir: str | None = Field(
        default=None,
        description="Folder that relative paths in the manifest are from. Default: the manifest's own; a shipped one "
        "needs it.",
    )
    report_json: str | None = Field(
        default=None,
        description="Report to write. Default: <manifest stem>.report.json beside the manifest, of a shipped one in "
        "base_dir.",
    )
    report_md: str | None = Field(
        default=None,
        description="The same for people. Default: <manifest stem>.report.md beside that one.",
    )
    fail_fast: bool = Field(default=False, description="End at the first table that fails. Default: false.")

    def settings(self) -> "BatchSettings":
        """The settings; SettingsError without a manifest."""
        from vqa_assets.labels.batch import BatchSettings, find_manifest, shipped_manifests

        if not self.manifest:
            shipped = " or ".join(path.name for path in shipped_manifests())
            raise SettingsError(
                "mos_label_batch: manifest",
                found="found nothing",
                expected="a JSON manifest of the tables to label",
                next_step=f"set manifest in the run config to a file of your own, or to {shipped}",
            )
        return BatchSettings(
            find_manifest(self.manifest),
            _optional(self.base_dir),
            _optional(self.report_json),
            _optional(self.report_md),
            self.fail_fast,
        )


def make_mos_label_batch_asset(catalog: Catalog) -> dg.AssetsDefinition:
    """The asset, without partitions: a manifest may name tables of any corpus."""

    @dg.asset(
        deps=[catalog.every("corpus_jsonl")],
        group_name="labels",
        kinds={"parquet"},
        code_version=CODE_VERSION,
        description="One labelled table per entry of a manifest, and a report of all. A table that fails does not stop "
        "the others; the run fails at the end.",
    )
    def mos_label_batch(
        context: dg.AssetExecutionContext, config: BatchConfig, data_root: DataRootResource
    ) -> dg.MaterializeResult[Any]:
        from vqa_assets.labels.batch import check_batch, label_batch

        with told_failures():
            root, settings = data_root.root(), config.settings()
            done = label_batch(settings, run_context(context, root, __file__), catalog.corpora)
        metadata = _metadata(done, root)
        if done.failed:
            context.log_event(dg.AssetObservation(context.asset_key, metadata=metadata))
        with told_failures():
            check_batch(done)
        return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(done.data_version))

    return mos_label_batch


def make_mos_label_batch_checks() -> list[dg.AssetChecksDefinition]:
    """Schema and match rate (blocking), contents in two splits; over all tables of the latest batch."""

    @dg.asset_check(
        asset="mos_label_batch", blocking=True, description="The added columns of every table keep their specs."
    )
    def mos_label_batch_schema(
        context: dg.AssetCheckExecutionContext, data_root: DataRootResource
    ) -> dg.AssetCheckResult:
        from vqa_assets.labels.labelled import validate_labelled

        root = data_root.root()
        tables = [(root.located(t["out"]), t["settings"]["status_column"]) for t in _report(context, root)["tables"]]
        return schema_result(lambda: sum(validate_labelled(path, status) for path, status in tables))

    @dg.asset_check(
        asset="mos_label_batch", blocking=True, description="In every table enough feature keys have a label."
    )
    def mos_label_batch_match_rate(
        context: dg.AssetCheckExecutionContext, data_root: DataRootResource
    ) -> dg.AssetCheckResult:
        tables = _report(context, data_root.root())["tables"]
        low = [t for t in tables if t["match_rate"] < t["settings"]["min_match_rate"]]
        told = ", ".join(f"{t['id']} {t['match_rate']:.1%}" for t in tables)
        return error(not low, f"keys with a label: {told}", {t["id"]: t["match_rate"] for t in tables})

    @dg.asset_check(asset="mos_label_batch", description="No content of a table stands in two splits.")
    def mos_label_batch_split_leakage(
        context: dg.AssetCheckExecutionContext, data_root: DataRootResource
    ) -> dg.AssetCheckResult:
        tables = _report(context, data_root.root())["tables"]
        leaks = {f"{t['id']}: {content}": s for t in tables for content, s in t["split_leaks"].items()}
        return split_leakage_result(leaks)

    return [mos_label_batch_schema, mos_label_batch_match_rate, mos_label_batch_split_leakage]


def _optional(given: str | None) -> Path | None:
    return Path(given).expanduser() if given else None


def _report(context: dg.AssetCheckExecutionContext, root: DataRoot) -> dict[str, Any]:
    """The report of the latest materialization."""
    return read_json_object(artefact_path(context, root, root.path / "no report", entry="manifest_path"))


def _metadata(done: "Batch", root: DataRoot) -> dict[str, Any]:
    json_path, md_path = done.settings.reports
    return {
        **manifest_metadata(done.report, json_path, root),
        "tables": records([_row(outcome, root) for outcome in done.outcomes]),
        "report": dg.MetadataValue.md(md_path.read_text(encoding="utf-8")),
        "report_path": root.shown(md_path),
        "dagster/row_count": done.report["summary"]["rows"],
    }


def _row(outcome: "TableOutcome", root: DataRoot) -> dict[str, Any]:
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
